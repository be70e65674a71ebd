"""Hostile bundles on the hub: 100 cases a seed, each pulled, and if it is kept, used."""

import json
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import damage
import pytest
from fake_hub import TOKEN, Hub
from fuzzing import TEXTS, Ended, cases, odd_value, run
from helpers import Trained

pytestmark = pytest.mark.slow

COUNT = 100

REPO = "someone/metal-or-not"
MADE = {"config.yaml", "metrics.json", "split.json", "checkpoints/best.ckpt"}


@pytest.fixture(scope="module")
def hub() -> Iterator[Hub]:
    with pytest.MonkeyPatch.context() as patch:
        server = Hub()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        patch.setenv("HF_ENDPOINT", server.address)
        patch.setenv("HF_TOKEN", TOKEN)
        yield server
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="module")
def bundle(hub: Hub, trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    ended = run("push", str(trained.run.path), "--repo", REPO, place=tmp_path_factory.mktemp("push"))
    assert ended.code == 0, ended.err
    return dict(hub.files[REPO])


@cases(COUNT)
def test_a_bundle_is_refused_or_does_no_harm(
    case: str, hub: Hub, bundle: dict[str, bytes], trained: Trained, tmp_path: Path
) -> None:
    chance = random.Random(f"bundles {case}")
    hub.claimed_sizes.clear()
    hub.files[REPO] = dict(bundle)
    for _ in range(chance.choice([1, 1, 2])):
        spoil(hub, chance)
    (tmp_path / "evil.py").write_text("open('canary', 'w')")
    before = there(tmp_path)
    ended = run("pull", REPO, "--to", "pulled", place=tmp_path)
    ended.check()
    made = there(tmp_path) - before
    if ended.code:
        assert not made, (made, ended)
        return
    assert made == {f"pulled/{name}" for name in MADE}
    assert "${" not in (tmp_path / "pulled/config.yaml").read_text()
    song = str(trained.music / "metal/0.wav")
    for words in (("predict", "pulled", song, "--format", "jsonl"), ("compare", "pulled")):
        check_used(run(*words, place=tmp_path))
    assert not (tmp_path / "canary").exists()


def check_used(ended: Ended) -> None:
    ended.check()
    assert ended.code in (0, 2), ended


def there(place: Path) -> set[str]:
    """Return the files that lie there, those of caches and the command's own temporary folders left out."""
    found = (str(path.relative_to(place)) for path in place.rglob("*") if not path.is_dir())
    return {name for name in found if not name.startswith(("tmp/", "home/", "cache/"))}


def spoil(hub: Hub, chance: random.Random) -> None:
    files = hub.files[REPO]
    name = chance.choice(["config.json"] * 5 + ["metrics.json"] * 3 + ["split.json"] * 2 + ["model.safetensors"] * 3)
    if name not in files:
        return
    kind = chance.randrange(12)
    if kind == 0:
        del files[name]
    elif kind == 1:
        hub.claimed_sizes[name] = chance.choice([0, 2**40, -1])
    elif kind == 2:
        odd = chance.choice(TEXTS).replace("\0", "_") or "x"
        files[odd if chance.random() < 0.5 else f"{odd}/config.json"] = files[name]
    elif kind == 3:
        files[name] = chance.choice([b"", b"{}", b"[]", b"null", b"[" * 50_000, b"1" * 5000, chance.randbytes(999)])
    elif kind < 10 and name == "model.safetensors":
        try:
            files[name] = of_tensors(files[name], chance)
        except (ValueError, struct.error):  # It has been damaged before.
            files[name] = damage.of_bytes(files[name], chance)
    elif kind < 10:
        try:
            files[name] = damage.of_json(files[name], chance)
        except ValueError:
            files[name] = damage.of_bytes(files[name], chance)
    else:
        files[name] = damage.of_bytes(files[name], chance, head=200)


def of_tensors(content: bytes, chance: random.Random) -> bytes:
    """Change the header of safetensors: names, types, shapes and places."""
    (length,) = struct.unpack_from("<Q", content)
    header = damage.of_value(json.loads(content[8 : 8 + length]), chance)
    if chance.random() < 0.2 and isinstance(header, dict):
        header["__metadata__"] = odd_value(chance)
    changed = json.dumps(header).encode()
    length = len(changed) if chance.random() < 0.9 else chance.choice([0, 2**40, 2**64 - 1])
    return struct.pack("<Q", length) + changed + content[8 + len(changed) :]
