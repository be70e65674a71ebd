"""What the scripts in benchmarks/ compute from what they measure."""

import json
from pathlib import Path

import pytest

from benchmarks import gpu
from benchmarks.peers import __main__ as peers


def test_subsets_share_no_track_and_hold_every_genre(tmp_path: Path) -> None:
    for genre, tracks in (("blues", 10), ("metal", 3)):
        (tmp_path / genre).mkdir()
        for number in range(tracks):
            (tmp_path / genre / f"{number}.wav").touch()
    subsets = peers.subsets_of(tmp_path)
    assert {subset: len(tracks) for subset, tracks in subsets.items()} == {"train": 7, "val": 3, "test": 3}
    assert len({track for tracks in subsets.values() for track in tracks}) == 13
    assert all({track.split("/")[0] for track in tracks} == {"blues", "metal"} for tracks in subsets.values())


def test_ratio_is_to_the_fastest_setting_of_a_peer() -> None:
    def row(system: str, clips_per_s: float) -> dict[str, object]:
        return {
            "system": system,
            "channels_last": system == "genreclf" or clips_per_s > 10,
            "clips_per_s": clips_per_s,
            "clips_per_s_without_startup": 2 * clips_per_s,
        }

    speeds = (("genreclf", 20.0), ("genreclf", 60.0), ("autrainer", 5.0), ("autrainer", 10.0), ("autrainer", 15.0))
    rows = [row(*entry) for entry in speeds]
    ratios = peers.compare(rows)
    assert ratios["autrainer"] == {"fp32": 2, "auto": 6, "fp32_without_startup": 2, "auto_without_startup": 6}
    assert ratios["autrainer, channels_last"]["auto"] == 4
    assert [entry["auto_ratio"] for entry in rows] == [3, 1, 12, 6, 4]


def test_both_settings_of_ours_and_no_bf16_where_there_is_none() -> None:
    names = [system.name for system in peers.systems(["genreclf", "autrainer"], has_bf16=True, cores=2)]
    assert names == [
        *("genreclf-fp32-0", "genreclf-bf16-0"),
        *("autrainer-fp32-0", "autrainer-fp32-2", "autrainer-fp32-0-channels_last"),
    ]
    assert all(system.precision == "fp32" for system in peers.systems(list(peers.FAMILIES), has_bf16=False, cores=2))
    without = list(peers.systems(list(peers.FAMILIES), has_bf16=False, cores=2))
    assert len(without) == len(set(without))


def test_workers_are_as_many_as_the_cores() -> None:
    assert {system.workers for system in peers.systems(["lightning"], has_bf16=True, cores=16)} == {0, 16}


@pytest.mark.parametrize("error", [SystemExit("no room"), KeyError("no room")])
def test_a_failed_part_is_said_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    def fail(_: object) -> None:
        raise error

    monkeypatch.setattr(gpu.Measurement, "fit", fail)
    monkeypatch.setattr(gpu.Measurement, "small_jobs", lambda _: {"ratio": 3.5})
    monkeypatch.setattr(gpu, "machine", lambda _: {"device": "a processor"})
    words = ["gpu.py", "--accelerator", "cpu", "--out", str(tmp_path), "--parts"]
    monkeypatch.setattr("sys.argv", [*words, "fit,small_jobs"])
    with pytest.raises(SystemExit, match=r"^Failed, wholly or in part: fit$"):
        gpu.main()
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert "no room" in written["fit"]["failed"]
    assert written["small_jobs"] == {"ratio": 3.5}

    monkeypatch.setattr(gpu.Measurement, "fit", lambda _: {"vs_bare_loop": 1.1, "fixed_cost_epoch_s": 0.1})
    monkeypatch.setattr("sys.argv", [*words, "fit"])
    gpu.main()
    written = json.loads((tmp_path / "gpu.json").read_text())
    assert (written["fit"]["vs_bare_loop"], written["small_jobs"]["ratio"]) == (1.1, 3.5)
    assert gpu.earlier_parts(tmp_path / "gpu.json", {"device": "another", "quick": False}) == {}
