"""Download the GTZAN archive: downloads can be resumed, are verified, and are unpacked completely or not at all."""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from pathlib import Path, PurePosixPath

from filelock import FileLock

from genreclf.errors import UserError

REPO, ARCHIVE = "marsyas/gtzan", "data/genres.tar.gz"
"""Name of the dataset on the Hugging Face Hub, and path of the archive in it."""

SIZE_BYTES = 1_226_192_050
MD5 = "5b3d6dddb579ab49814ab86dba69e7c7"

_CHUNK_BYTES = 1 << 20
_MOST_MEMBERS = 10_000
_MOST_BYTES = 1 << 32


def ways_out(root: Path) -> str:
    """Return the part of an error message that says what to do if GTZAN is not in `root`."""
    return f"put the genre folders into {root}, set data.root to where they are, or try data=synthetic"


def fetch(root: str | Path, *, size: int = SIZE_BYTES, md5: str = MD5) -> None:
    """Download GTZAN from the Hugging Face Hub and unpack its ``genres/`` into a folder.

    An interrupted download is resumed from ``genres.tar.gz.part``, which is removed after unpacking. If the user has
    put a ``genres.tar.gz`` into the folder, that file is verified and unpacked instead, and never removed. Several
    processes may call this function at once: one does the work, and the others wait for it.

    Args:
        root: Folder to unpack into; it is created if needed.
        size: Size of the archive in bytes.
        md5: MD5 checksum of the archive, in hexadecimal.

    Raises:
        UserError: The download failed, the archive is not the expected one or cannot be unpacked, or the disk is full;
            the message says what to do.
    """
    root = Path(root)
    archive = root / "genres.tar.gz"
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".genres.lock"):
            if (root / "genres").is_dir():
                return
            if archive.exists():
                _check_own(archive, size, md5)
                _unpack(archive, root / "genres")
                return
            part = root / "genres.tar.gz.part"
            _check_room(part, size)
            _download_checked(part, size, md5)
            try:
                _unpack(part, root / "genres")
            except UserError:
                part.unlink()
                raise
            part.unlink()
    except OSError as error:
        raise UserError(f"GTZAN could not be written ({error.strerror or error}): {ways_out(root)}.") from None


def hub_endpoint() -> str | None:
    """Return the address of the Hugging Face Hub in ``HF_ENDPOINT``, or None for the default one."""
    return os.environ.get("HF_ENDPOINT") or None


def _check_own(archive: Path, size: int, md5: str) -> None:
    """Check an archive that the user provided, without changing it."""
    if not archive.is_file() or _deviation(archive, size, md5):
        found = _deviation(archive, size, md5) if archive.is_file() else "no file"
        raise UserError(
            f"{archive} is not GTZAN's archive ({found}; it should be {size} bytes with MD5 {md5}): move it away to "
            f"have GTZAN downloaded, or {ways_out(archive.parent)}."
        )


def _deviation(path: Path, size: int, md5: str) -> str:
    """Return how a file differs from the expected archive, or an empty string if it does not."""
    if (found_bytes := path.stat().st_size) != size:
        return f"{found_bytes} bytes"
    return "" if (found := _md5(path)) == md5 else f"MD5 {found}"


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check_room(part: Path, size: int) -> None:
    root = part.parent
    wanted = 2.2 * size - (part.stat().st_size if part.is_file() else 0)
    free = shutil.disk_usage(root).free
    if free < wanted:
        raise UserError(
            f"GTZAN takes {wanted / 1e9:.1f} GB while it is unpacked and {root} has {free / 1e9:.1f} GB free: make "
            f"room, set data.root to where GTZAN is, or try data=synthetic."
        )


def _download_checked(part: Path, size: int, md5: str) -> None:
    resumed = part.is_file()
    _download(part, size)
    if not (deviation := _deviation(part, size, md5)):
        return
    part.unlink()
    if resumed:
        _download_checked(part, size, md5)
        return
    raise UserError(
        f"{ARCHIVE} of {REPO} is not the archive it was ({deviation}, not {size} bytes with MD5 {md5}): "
        f"{ways_out(part.parent)}."
    )


def _download(part: Path, size: int) -> None:
    """Append the missing bytes to `part`; `huggingface_hub.hf_hub_download` would start over after being killed."""
    from httpx2 import HTTPError
    from huggingface_hub import hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError
    from huggingface_hub.file_download import http_get

    url = hf_hub_url(REPO, ARCHIVE, repo_type="dataset", endpoint=hub_endpoint())
    with part.open("ab") as file:
        if file.tell() > size:
            file.truncate(0)
            file.seek(0)
        if file.tell() == size:
            return
        try:
            http_get(url, file, resume_size=file.tell(), displayed_filename="GTZAN")
        except (HTTPError, ConnectionError) as error:
            status = error.response.status_code if isinstance(error, HfHubHTTPError) else None
            if status == 416:  # The file on the server is shorter.
                file.truncate(0)
            reason = f"HTTP {status}" if status else str(error) or type(error).__name__
            raise UserError(
                f"{url} could not be downloaded ({reason}): {ways_out(part.parent)}; the same command resumes."
            ) from None


def _unpack(archive: Path, target: Path) -> None:
    """Unpack into a temporary folder and then rename it, so that `target` is either complete or missing."""
    temporary = target.with_name(".genres-unpacking")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        with tarfile.open(archive, "r:gz") as tar:
            _extract(tar, temporary)
        if not (temporary / "genres").is_dir():
            raise tarfile.TarError("it holds no folder 'genres'")
        (temporary / "genres").rename(target)
    except (tarfile.TarError, EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UserError(f"GTZAN's archive {archive} cannot be unpacked ({error}): {ways_out(target.parent)}.") from None
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _extract(tar: tarfile.TarFile, folder: Path) -> None:
    """Write the regular files of an archive into a new folder, without their modes, owners and times.

    `tarfile.TarFile.extractall` is not used because, before Python 3.11.13, 3.12.11 and 3.13.4, an archive can bypass
    its filters and write outside the folder (CVE-2025-4517 and others).
    """
    count = total_bytes = 0
    for member in tar:
        count, total_bytes = count + 1, total_bytes + member.size
        path = PurePosixPath(member.name)
        if not (member.isfile() or member.isdir()):
            raise tarfile.TarError(f"{member.name!r} is neither a file nor a folder")
        if path.is_absolute() or ".." in path.parts or any(sign in member.name for sign in "\\:\0"):
            raise tarfile.TarError(f"{member.name!r} leads out of the folder")
        if count > _MOST_MEMBERS or member.size < 0 or total_bytes > _MOST_BYTES:
            raise tarfile.TarError(f"it holds more than {_MOST_MEMBERS} files or {_MOST_BYTES} bytes")
        place = folder / path
        if member.isdir():
            place.mkdir(parents=True, exist_ok=True)
        elif (content := tar.extractfile(member)) is not None:
            place.parent.mkdir(parents=True, exist_ok=True)
            with content, place.open("xb") as file:
                shutil.copyfileobj(content, file, _CHUNK_BYTES)
