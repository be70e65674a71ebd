import errno
import json
import multiprocessing
import os
import random
import shutil
import signal
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import Cli
from numpy.typing import NDArray

from genreclf.data import store
from genreclf.data.store import Recipe, Store, open_or_build
from genreclf.datasets.base import Track
from genreclf.errors import UnreadableTrack, UserError

RECIPE = Recipe("test", "int16", 4, {"hop_length": 512})
TRACKS = [Track(id=f"g/{number}", genre="g", path=Path(f"{number}.wav"), fingerprint="1") for number in range(12)]


def encode(track: Track) -> NDArray[np.int16]:
    number = int(track.id[2:])
    return np.full((number + 1, 4), number, dtype=np.int16)


def build(directory: Path, tracks: list[Track] = TRACKS, **options: Any) -> Store:
    return open_or_build(directory=directory, recipe=RECIPE, tracks=tracks, **{"encode": encode, **options})


def check(store: Store, tracks: list[Track] = TRACKS) -> None:
    assert list(store.lengths_frames) == [track.id for track in tracks]
    for track in tracks:
        np.testing.assert_array_equal(store.spectrogram(track.id), encode(track).T)
    store.check()


def test_holds_every_track(tmp_path: Path) -> None:
    check(build(tmp_path))
    assert not list(tmp_path.glob("*.building"))


@pytest.mark.parametrize("workers", [1, 2, 7])
def test_any_number_of_workers_writes_the_same_bytes(tmp_path: Path, workers: int) -> None:
    store, other = build(tmp_path / "a", workers=workers), build(tmp_path / "b", workers=3)
    assert (store.directory / "frames.bin").read_bytes() == (other.directory / "frames.bin").read_bytes()


def test_is_built_once(tmp_path: Path) -> None:
    build(tmp_path)
    check(build(tmp_path, encode=lambda track: pytest.fail("was computed again")))


def test_a_complete_store_is_opened_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(tmp_path)

    def refused(path: str) -> None:
        raise OSError(errno.EROFS, "Read-only file system", path)

    monkeypatch.setattr(store, "FileLock", refused)
    check(build(tmp_path))
    with pytest.raises(UserError, match=r"cannot be kept in .* \(Read-only file system\); set data.store_dir"):
        build(tmp_path, TRACKS[:-1])


def test_a_changed_file_or_recipe_is_another_store(tmp_path: Path) -> None:
    first = build(tmp_path)
    changed = [*TRACKS[:-1], Track(id="g/11", genre="g", path=Path("11.wav"), fingerprint="2")]
    assert build(tmp_path, changed).directory != first.directory
    recipe = Recipe("test", "int16", 4, {"hop_length": 256})
    assert open_or_build(directory=tmp_path, recipe=recipe, tracks=TRACKS, encode=encode).directory != first.directory


def _killed_build(directory: Path) -> None:
    def encode_some(track: Track) -> NDArray[np.int16]:
        if track.id == "g/8":
            os.kill(os.getpid(), signal.SIGKILL)
        return encode(track)

    build(directory, encode=encode_some, workers=1)


def test_goes_on_after_a_kill(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed_build, args=(tmp_path,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    (building,) = tmp_path.glob("*.building")
    finished = len((building / "journal.jsonl").read_text().splitlines())
    assert 0 < finished < 12
    with (building / "journal.jsonl").open("a") as journal:
        journal.write('["g/11", "1", 9')
    with (building / "frames.bin").open("ab") as frames:
        frames.write(b"half a frame")
    seen = []

    def encode_rest(track: Track) -> NDArray[np.int16]:
        seen.append(track.id)
        return encode(track)

    check(build(tmp_path, encode=encode_rest))
    assert sorted(seen) == sorted(track.id for track in TRACKS[finished:])


def test_a_mended_file_costs_only_itself(tmp_path: Path) -> None:
    def broken(track: Track) -> NDArray[np.int16]:
        if track.id in ("g/3", "g/5"):
            raise UnreadableTrack("is empty")
        return encode(track)

    with pytest.raises(UserError, match=r"2 files cannot be read.*\n  3.wav: is empty\n  5.wav: is empty"):
        build(tmp_path, encode=broken)
    mended = [Track(id="g/3", genre="g", path=Path("3.wav"), fingerprint="2") if t.id == "g/3" else t for t in TRACKS]
    mended = [track for track in mended if track.id != "g/5"]
    seen = []

    def encode_rest(track: Track) -> NDArray[np.int16]:
        seen.append(track.id)
        return encode(track)

    check(build(tmp_path, mended, encode=encode_rest), mended)
    assert seen == ["g/3"]


def test_unreadable_tracks_are_remembered(tmp_path: Path) -> None:
    def broken(track: Track) -> NDArray[np.int16]:
        if track.id == "g/3":
            raise UnreadableTrack("is empty")
        return encode(track)

    store = build(tmp_path, encode=broken, skip_unreadable=True)
    assert store.unreadable == {"g/3": "is empty"}
    assert "g/3" not in store.lengths_frames
    with pytest.raises(UserError, match=r"1 file cannot be read.*\n  3.wav: is empty") as known:
        build(tmp_path)
    assert f"delete {store.directory}, which says that they cannot" in str(known.value)
    shutil.rmtree(store.directory)
    assert build(tmp_path).unreadable == {}


def test_only_unreadable_tracks_are_no_store(tmp_path: Path) -> None:
    def broken(track: Track) -> NDArray[np.int16]:
        raise UnreadableTrack("is empty")

    with pytest.raises(UserError, match="12 files cannot be read"):
        build(tmp_path, encode=broken, skip_unreadable=True)


def test_damage_is_found(tmp_path: Path) -> None:
    store = build(tmp_path)
    with (store.directory / "frames.bin").open("r+b") as frames:
        frames.write(b"\xff\xff")
    with pytest.raises(UserError, match="1 of the 12 tracks that were read back are not what was written, g/0 first"):
        Store(store.directory).check()
    (store.directory / "frames.bin").write_bytes(b"")
    with pytest.raises(UserError, match="is damaged"):
        build(tmp_path)


def test_no_flipped_bit_of_the_index_is_used(tmp_path: Path) -> None:
    store = build(tmp_path)
    index = (store.directory / "index.json").read_bytes()
    for bit in random.Random(0).sample(range(8 * len(index)), 300):
        damaged = bytearray(index)
        damaged[bit // 8] ^= 1 << bit % 8
        (store.directory / "index.json").write_bytes(damaged)
        with suppress(UserError):
            check(Store(store.directory))


def test_a_large_store_is_sampled(tmp_path: Path) -> None:
    store = build(tmp_path)
    (store.directory / "frames.bin").write_bytes(b"\xff" * store.frames.nbytes)
    for at_most, read in ((None, 12), (store.frames.nbytes // 2, 6), (1, 1), (2 * store.frames.nbytes, 12)):
        with pytest.raises(UserError, match=f"{read} of the {read} tracks"):
            store.check(at_most)


def test_only_what_a_killed_build_left_whole_is_kept(tmp_path: Path) -> None:
    process = multiprocessing.get_context("fork").Process(target=_killed_build, args=(tmp_path,))
    process.start()
    process.join(60)
    (building,) = tmp_path.glob("*.building")
    entries = [json.loads(line) for line in (building / "journal.jsonl").read_text().splitlines()]
    finished, end = len(entries), sum(entries[-1][2:4])  # Frames beyond are of a track that is not in the journal yet.
    content = bytearray((building / "frames.bin").read_bytes())
    content[8] ^= 1  # The second track's first frame.
    (building / "frames.bin").write_bytes(content[: 8 * end - 1])
    seen = []

    def encode_rest(track: Track) -> NDArray[np.int16]:
        seen.append(track.id)
        return encode(track)

    check(build(tmp_path, encode=encode_rest))
    assert sorted(seen) == sorted(["g/1", *(track.id for track in TRACKS[finished - 1 :])])


def test_a_run_reads_its_store_back(cli: Cli, tiny: list[str], stores: Path, tmp_path: Path) -> None:
    name = Path(cli("prepare", *tiny).out.splitlines()[-1]).name
    copy = tmp_path / "stores" / name
    shutil.copytree(stores / name, copy)
    with (copy / "frames.bin").open("r+b") as frames:
        frames.seek(1000)
        frames.write(bytes(1))
    for command in (["prepare"], ["run_dir=run"]):
        outcome = cli(command[0], *tiny, f"data.store_dir={copy.parent}")
        assert outcome.code == 2
        assert f"{copy} is damaged (1 of the 50 tracks that were read back are not what was written" in outcome.err
        assert "delete the folder to have it built anew" in outcome.err
    assert not (tmp_path / "run").exists()


def _build_slowly(directory: Path, results: "multiprocessing.Queue[int]") -> None:
    seen = []

    def encode_counting(track: Track) -> NDArray[np.int16]:
        seen.append(track.id)
        return encode(track)

    build(directory, encode=encode_counting)
    results.put(len(seen))


def test_two_processes_build_one_store(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results: multiprocessing.Queue[int] = context.Queue()
    processes = [context.Process(target=_build_slowly, args=(tmp_path, results)) for _ in range(2)]
    for process in processes:
        process.start()
    assert sorted(results.get(timeout=60) for _ in processes) == [0, 12]
    for process in processes:
        process.join(60)


def test_the_index_says_how_it_was_made(tmp_path: Path) -> None:
    index = json.loads((build(tmp_path).directory / "index.json").read_text())
    assert index["settings"] == {"hop_length": 512}
    assert (index["dtype"], index["n_mels"]) == ("int16", 4)


def test_store_larger_than_the_memory_is_opened(tmp_path: Path) -> None:
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    frames = 2 * memory // 256
    with (tmp_path / "frames.bin").open("wb") as file:
        file.truncate(frames * 256)  # Holes: nothing is written.
    index = {"dtype": "int16", "n_mels": 128, "frames": frames, "tracks": {"a": (frames - 9, 9, 0)}, "unreadable": {}}
    (tmp_path / "index.json").write_text(json.dumps(index))
    store = Store(tmp_path)
    assert store.frames.nbytes > memory
    assert torch.from_numpy(store.spectrogram("a")).shape == (128, 9)
