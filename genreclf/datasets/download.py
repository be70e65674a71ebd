"""Fetch GTZAN's archive: resumable, checked, unpacked all or nothing."""

import gzip
import hashlib
import http.client
import re
import shutil
import ssl
import tarfile
import urllib.error
import urllib.request
import zlib
from pathlib import Path, PurePosixPath

from filelock import FileLock
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from genreclf import __version__
from genreclf.errors import UserError

URL = "https://huggingface.co/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz"
SIZE_BYTES = 1_226_192_050
MD5 = "5b3d6dddb579ab49814ab86dba69e7c7"

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 30.0
_ATTEMPTS = 10
_MOST_MEMBERS = 10_000
_MOST_BYTES = 1 << 32
_NETWORK_ERRORS = (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError, ssl.SSLError)


def ways_out(root: Path) -> str:
    """Return what a user without GTZAN in `root` can do."""
    return f"put the genre folders into {root}, set data.root to where they are, or try data=synthetic"


def fetch(root: str | Path, *, url: str = URL, size: int = SIZE_BYTES, md5: str = MD5) -> None:
    """Put GTZAN's ``genres/`` into a folder.

    What arrived before a cut or a kill lies in ``genres.tar.gz.part`` and is not asked for again; it is removed once it
    is unpacked. A ``genres.tar.gz`` that lies there is the user's: it is checked and unpacked, and never removed. Two
    processes may call this at once: the second waits and finds the work done.

    Args:
        root: The folder; made if need be.
        url: Where the archive is.
        size: Its length in bytes.
        md5: Its MD5 sum, in hexadecimal.

    Raises:
        UserError: No network, a wrong archive, or no room; the message names the ways out.
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
            _check_room(root, size)
            part = root / "genres.tar.gz.part"
            _download_checked(part, url, size, md5)
            try:
                _unpack(part, root / "genres")
            except UserError:
                part.unlink()
                raise
            part.unlink()
    except OSError as error:
        raise UserError(f"GTZAN could not be written ({error.strerror or error}): {ways_out(root)}.") from None


def _check_own(archive: Path, size: int, md5: str) -> None:
    """Check an archive that the user put there; it stays as it is."""
    found = f"{archive.stat().st_size} bytes" if archive.is_file() else "no file"
    if found == f"{size} bytes":
        if (sum_found := _md5(archive)) == md5:
            return
        found = f"MD5 {sum_found}"
    raise UserError(
        f"{archive} is not GTZAN's archive ({found}; it should be {size} bytes with MD5 {md5}): move it away to have "
        f"GTZAN fetched, or {ways_out(archive.parent)}."
    )


def _md5(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _check_room(root: Path, size: int) -> None:
    wanted = 2.2 * size
    free = shutil.disk_usage(root).free
    if free < wanted:
        raise UserError(
            f"GTZAN takes {wanted / 1e9:.1f} GB while it is unpacked and {root} has {free / 1e9:.1f} GB free: make "
            f"room, set data.root to where GTZAN is, or try data=synthetic."
        )


def _download_checked(part: Path, url: str, size: int, md5: str) -> None:
    resumed = part.is_file()
    _download(part, url, size)
    if (found := _md5(part)) == md5:
        return
    part.unlink()
    if resumed:
        _download_checked(part, url, size, md5)
        return
    raise UserError(f"{url} is not the archive it was (MD5 {found}, not {md5}): {ways_out(part.parent)}.")


def _download(part: Path, url: str, size: int) -> None:
    """Fill `part` up to `size` bytes, asking again after a cut for as long as that brings something new."""
    furthest = -1
    reason = "the connection broke again and again"
    columns = (TextColumn("GTZAN"), BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        bar = progress.add_task("GTZAN", total=size)
        for _ in range(_ATTEMPTS):
            try:
                _continue(part, url, size, progress, bar)
            except urllib.error.HTTPError as error:
                if error.code == 416:
                    part.unlink(missing_ok=True)
                reason = f"HTTP {error.code} {error.reason}"
            except _NETWORK_ERRORS as error:
                reason = str(getattr(error, "reason", error))
            got = part.stat().st_size if part.is_file() else 0
            if got == size:
                return
            if got <= furthest:
                break
            furthest = got
    raise UserError(f"{url} could not be fetched ({reason}): {ways_out(part.parent)}; the same command resumes.")


def _continue(part: Path, url: str, size: int, progress: Progress, bar: TaskID) -> None:
    start = part.stat().st_size if part.is_file() else 0
    if start == size:
        return
    if start > size:
        part.unlink()
        start = 0
    request = urllib.request.Request(url, headers={"User-Agent": f"genreclf/{__version__}"})
    if start:
        request.add_header("Range", f"bytes={start}-")
    with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
        total = response.headers.get("Content-Length")
        if response.status == 206:
            sent = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", ""))
            if sent is None or int(sent[1]) != start:
                raise http.client.HTTPException("the server answered with another part than was asked for")
            total = sent[2]
        else:
            start = 0
        if total is not None and int(total) != size:
            part.unlink(missing_ok=True)
            raise UserError(f"{url} is not the archive it was ({total} bytes, not {size}): {ways_out(part.parent)}.")
        with part.open("ab" if start else "wb") as file:
            progress.update(bar, completed=start)
            while start < size and (chunk := response.read(min(_CHUNK_BYTES, size - start))):
                file.write(chunk)
                start += len(chunk)
                progress.update(bar, completed=start)


def _unpack(archive: Path, target: Path) -> None:
    """Unpack beside `target` and rename, so that `target` is whole or not there."""
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
    """Write the regular files of an archive below a new folder; modes, owners and times are not taken over.

    `tarfile.TarFile.extractall` is not used: its filters can be led out of the folder in Python before 3.11.13, 3.12.11
    and 3.13.4 (CVE-2025-4517 and others).

    Raises:
        tarfile.TarError: It holds a link or another special file, a path out of the folder, or too much.
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
