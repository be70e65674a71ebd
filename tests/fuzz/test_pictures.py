"""Damaged and hostile pictures: 100 cases a seed, each beside good ones that must be prepared as ever."""

import io
import random
import struct
import zlib
from pathlib import Path

import damage
import numpy as np
import pytest
from fuzzing import BYTES_OF_ODD_NUMBERS, cases, run
from PIL import Image

pytestmark = pytest.mark.slow

COUNT = 100


@pytest.fixture(scope="module")
def pictures() -> dict[str, bytes]:
    """A small spectrogram in the modes and formats that there are."""
    levels = np.random.default_rng(0).integers(0, 256, (32, 40), dtype=np.uint8)
    gray = Image.fromarray(levels)
    found = {}
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = Image.fromarray(levels.astype(np.uint16) * 257) if mode == "I;16" else gray.convert(mode)
        found[f"{mode}.png"] = encoded(image, "PNG")
    found["exif.png"] = encoded(gray, "PNG", exif=Image.Exif().tobytes() or b"Exif\0\0", dpi=(1, 1))
    found["animated.png"] = encoded(gray, "PNG", save_all=True, append_images=[gray.rotate(90)])
    for mode in ("L", "RGB", "CMYK"):
        found[f"{mode}.jpg"] = encoded(gray.convert(mode), "JPEG")
    found["progressive.jpg"] = encoded(gray, "JPEG", progressive=True)
    for kind in ("GIF", "TIFF", "BMP", "PPM", "WEBP", "ICO"):
        found[f"{kind}.png"] = encoded(gray, kind)
    return found


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


@cases(COUNT)
def test_no_picture_keeps_the_others_from_being_prepared(case: str, pictures: dict[str, bytes], tmp_path: Path) -> None:
    chance = random.Random(f"pictures {case}")
    for genre in ("a", "b"):
        folder = tmp_path / "pictures" / genre
        folder.mkdir(parents=True)
        for number in range(3):
            (folder / f"{number}.png").write_bytes(pictures["L.png"])
    name = chance.choice(sorted(pictures))
    content = pictures[name]
    if content.startswith(b"\x89PNG") and chance.random() < 0.7:
        content = with_odd_chunks(content, chance)
    else:
        content = damage.of_bytes(content, chance, head=64)
    suffix = Path(name).suffix if chance.random() < 0.9 else ".png"
    (tmp_path / "pictures/b" / f"odd{suffix}").write_bytes(content)
    data = ("data=spectrogram_images", "data.root=pictures", "data.seconds=4", "data.store_dir=stores", "logger=none")
    data = (*data, "split=track", "data.clip_seconds=1", "data.n_mels=32")
    ended = run("prepare", *data, "data.skip_unreadable=true", place=tmp_path)
    ended.check()
    assert ended.code == 0, ended.err
    again = run("prepare", *data, place=tmp_path)
    again.check()
    if again.code:
        assert f"odd{suffix}" in again.err


def with_odd_chunks(content: bytes, chance: random.Random) -> bytes:
    """Change chunks of a PNG, whose checksums then fit, so that a reader believes them."""
    chunks, at = [], 8
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        chunks.append((content[at + 4 : at + 8], content[at + 8 : at + 8 + length]))
        at += length + 12
    for _ in range(chance.choice([1, 1, 2])):
        place = 0 if chance.random() < 0.5 else chance.randrange(len(chunks))
        kind, body = chunks[place]
        action = chance.randrange(6)
        if action < 3 and len(body) >= 4:
            width = 4 if kind == b"IHDR" and action else 1
            offset = chance.choice([0, 4]) if width == 4 else chance.randrange(len(body))
            number = chance.choice([*BYTES_OF_ODD_NUMBERS, 170_000_000, 60_000]) % 256**width
            chunks[place] = (kind, body[:offset] + number.to_bytes(width, "big") + body[offset + width :])
        elif action == 3:
            chunks.pop(chance.randrange(len(chunks)))
        elif action == 4:
            chunks.insert(place, chance.choice(chunks or [(b"IEND", b"")]))
        else:
            bomb = zlib.compress(bytes(10**7))
            texts = [(b"zTXt", b"a\0\0" + bomb), (b"iCCP", b"a\0\0" + bomb), (b"IDAT", bomb), (b"acTL", bytes(8))]
            chunks.insert(1, chance.choice(texts))
        if not chunks:
            break
    made = content[:8]
    for kind, body in chunks:
        made += struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
    return made
