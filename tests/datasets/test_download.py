import hashlib
import io
import re
import shutil
import tarfile
from collections import namedtuple
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from genreclf.datasets.download import fetch
from genreclf.errors import UserError


class Server(ThreadingHTTPServer):
    body = b""
    understands_range = True
    cut_after_bytes: int | None = None
    status: int | None = None

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.starts: list[int] = []

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        body, start = self.server.body, 0
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        if asked and self.server.understands_range:
            start = int(asked[1])
        self.server.starts.append(start)
        assert self.path == "/datasets/marsyas/gtzan/resolve/main/data/genres.tar.gz"
        if self.server.status or start >= len(body) > 0:
            self.send_error(self.server.status or 416)
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.send_header("Content-Length", str(len(body) - start))
        self.end_headers()
        stop = len(body) if self.server.cut_after_bytes is None else start + self.server.cut_after_bytes
        self.wfile.write(body[start:stop])

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda seconds: None)
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 10)
    with Server() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        server.body = archive({"genres/blues/blues.00000.wav": b"sound" * 100, "genres/rock/rock.00000.wav": b"more"})
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def archive(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return file.getvalue()


def fetch_from(server: Server, root: Path, body: bytes | None = None) -> None:
    body = server.body if body is None else body
    fetch(root, size=len(body), md5=hashlib.md5(body).hexdigest())


def check_whole(root: Path) -> None:
    assert (root / "genres/blues/blues.00000.wav").read_bytes() == b"sound" * 100
    assert {path.name for path in root.iterdir()} - {".genres.lock"} == {"genres"}


def test_whole_and_only_once(server: Server, tmp_path: Path) -> None:
    root = tmp_path / "data/gtzan"
    for _ in range(2):
        fetch_from(server, root)
        check_whole(root)
    assert server.starts == [0]


def test_a_cut_connection_is_resumed(server: Server, tmp_path: Path) -> None:
    server.cut_after_bytes = 80
    fetch_from(server, tmp_path)
    check_whole(tmp_path)
    assert server.starts == [0, server.cut_after_bytes]


def test_a_killed_download_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "genres.tar.gz.part").write_bytes(server.body[:50])
    (tmp_path / ".genres-unpacking/genres/blues").mkdir(parents=True)
    fetch_from(server, tmp_path)
    check_whole(tmp_path)
    assert server.starts == [50]


def test_a_kill_while_unpacking_fetches_nothing_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "genres.tar.gz.part").write_bytes(server.body)
    (tmp_path / ".genres-unpacking/genres/blues").mkdir(parents=True)
    (tmp_path / ".genres-unpacking/genres/blues/half.wav").touch()
    fetch_from(server, tmp_path)
    check_whole(tmp_path)
    assert not list((tmp_path / "genres/blues").glob("half*"))
    assert server.starts == []


def test_a_server_that_ignores_range_is_read_from_the_start(server: Server, tmp_path: Path) -> None:
    server.understands_range = False
    (tmp_path / "genres.tar.gz.part").write_bytes(server.body[:50])
    fetch_from(server, tmp_path)
    check_whole(tmp_path)


@pytest.mark.parametrize("part", [b"x" * 50, b"x" * 100_000, "whole but wrong"])
def test_a_wrong_part_is_discarded(server: Server, tmp_path: Path, part: bytes | str) -> None:
    wrong = b"x" * len(server.body) if isinstance(part, str) else part
    (tmp_path / "genres.tar.gz.part").write_bytes(wrong)
    fetch_from(server, tmp_path)
    check_whole(tmp_path)
    assert server.starts[-1] == 0


def test_a_wrong_sum_is_refused(server: Server, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"MD5.*data\.root.*data=synthetic"):
        fetch_from(server, tmp_path, body=b"y" * len(server.body))
    assert not list(tmp_path.glob("genres*"))


@pytest.mark.parametrize("more", [-10, 10])
def test_a_wrong_size_is_refused(server: Server, tmp_path: Path, more: int) -> None:
    with pytest.raises(UserError, match=f"{len(server.body)} bytes, not {len(server.body) + more}"):
        fetch_from(server, tmp_path, body=b"y" * (len(server.body) + more))
    assert not list(tmp_path.glob("genres*"))


def test_an_archive_of_the_users_own_is_unpacked_and_kept(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "genres.tar.gz"
    own.write_bytes(server.body)
    fetch_from(server, tmp_path)
    assert (tmp_path / "genres/rock/rock.00000.wav").read_bytes() == b"more"
    assert own.read_bytes() == server.body
    assert server.starts == []


@pytest.mark.parametrize("kind", ["another size", "another sum", "a folder"])
def test_another_archive_of_the_users_own_is_refused_and_kept(server: Server, tmp_path: Path, kind: str) -> None:
    own = tmp_path / "genres.tar.gz"
    wrong = b"x" * (len(server.body) + (kind == "another size"))
    if kind == "a folder":
        own.mkdir()
    else:
        own.write_bytes(wrong)
    with pytest.raises(UserError, match=r"genres\.tar\.gz is not GTZAN's archive .*move it away.*data=synthetic"):
        fetch_from(server, tmp_path)
    assert own.is_dir() if kind == "a folder" else own.read_bytes() == wrong
    assert not (tmp_path / "genres").exists()
    assert server.starts == []


def test_an_archive_of_the_users_own_that_does_not_unpack_is_kept(server: Server, tmp_path: Path) -> None:
    own = tmp_path / "genres.tar.gz"
    own.write_bytes(server.body[:100])
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetch_from(server, tmp_path, body=server.body[:100])
    assert own.read_bytes() == server.body[:100]


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_special_files_are_refused(server: Server, tmp_path: Path, kind: bytes) -> None:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        member = tarfile.TarInfo("genres/link")
        member.type, member.linkname = kind, "../../evil"
        tar.addfile(member)
    server.body = file.getvalue()
    with pytest.raises(UserError, match="'genres/link' is neither a file nor a folder"):
        fetch_from(server, tmp_path / "data")
    assert [path.name for path in (tmp_path / "data").iterdir()] == [".genres.lock"]


@pytest.mark.parametrize(("limit", "value"), [("_MOST_MEMBERS", 1), ("_MOST_BYTES", 400)])
def test_too_much_is_refused(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: str, value: int
) -> None:
    monkeypatch.setattr(f"genreclf.datasets.download.{limit}", value)
    with pytest.raises(UserError, match="it holds more than"):
        fetch_from(server, tmp_path)
    assert not (tmp_path / "genres").exists()


@pytest.mark.parametrize("name", ["../evil.wav", "genres/../../evil.wav", "/evil.wav", "genres\\..\\..\\evil.wav"])
def test_a_path_out_of_the_folder_is_refused(server: Server, tmp_path: Path, name: str) -> None:
    server.body = archive({"genres/blues/blues.00000.wav": b"sound", name: b"evil"})
    root = tmp_path / "in/data"
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetch_from(server, root)
    assert not list(tmp_path.rglob("*evil*"))
    assert not list(root.glob("genres*"))


@pytest.mark.parametrize("body", [archive({"other/a.wav": b"sound"}), b"no archive at all"], ids=["other", "none"])
def test_another_archive_is_refused(server: Server, tmp_path: Path, body: bytes) -> None:
    server.body = body
    with pytest.raises(UserError, match="cannot be unpacked"):
        fetch_from(server, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {".genres.lock"}


def test_no_server(tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(UserError, match=r"127\.0\.0\.1:9/.* not be downloaded.*refused.*data\.root.*data=synthetic"):
        fetch_from(server, tmp_path)


def test_no_network_is_asked_where_the_hub_is_off(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match=r"could not be downloaded .*offline"):
        fetch_from(server, tmp_path)
    assert server.starts == []


def test_an_http_error_keeps_what_arrived(server: Server, tmp_path: Path) -> None:
    server.status = 503
    (tmp_path / "genres.tar.gz.part").write_bytes(server.body[:50])
    with pytest.raises(UserError, match="HTTP 503"):
        fetch_from(server, tmp_path)
    assert (tmp_path / "genres.tar.gz.part").read_bytes() == server.body[:50]


def test_a_full_disk_is_named_before_the_download(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 99, 1))
    with pytest.raises(UserError, match="make room"):
        fetch_from(server, tmp_path)
    assert server.starts == []


def test_what_a_killed_download_left_counts_as_room(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = namedtuple("usage", "total used free")
    free = round(1.5 * len(server.body))
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(free, 0, free))
    with pytest.raises(UserError, match="make room"):
        fetch_from(server, tmp_path)
    (tmp_path / "genres.tar.gz.part").write_bytes(server.body[:-1])
    fetch_from(server, tmp_path)
    check_whole(tmp_path)


def test_a_disk_that_fills_is_named(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(shutil, "copyfileobj", full)
    with pytest.raises(UserError, match="No space left"):
        fetch_from(server, tmp_path)
    assert not (tmp_path / "genres").exists()


def test_a_root_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="could not be written"):
        fetch(tmp_path / "file/gtzan")


def test_two_at_once_fetch_once(server: Server, tmp_path: Path) -> None:
    threads = [Thread(target=fetch_from, args=(server, tmp_path)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    check_whole(tmp_path)
    assert server.starts == [0]
