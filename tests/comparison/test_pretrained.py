"""Comparisons of probes: what is said of their encoder, and which of its layers validation tracks choose."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from fake_runs import FIRST, SECOND, write_run
from helpers import Cli
from matplotlib.figure import Figure

from genreclf.comparison.comparison import compare
from genreclf.comparison.layers import layer_curves
from genreclf.plots import layers as layers_plot
from genreclf.plots.comparison import Share
from genreclf.plots.layers import LayerCurve, draw_layers

PRETRAINED = {"name": "musicnn_mtt", "pretrained_on": "songs", "license": "CC-BY-NC-4.0", "non_commercial": True}
PRETRAINED |= {"revision": "2", "sha256": "ab" * 32, "citation": "nobody", "overlap": "known (3)"}


def write_probe(path: Path, right: list[bool], layer: str, *, seed: int = 0, dataset: str = "MTT", **of: Any) -> None:
    encoder = {"_target_": "genreclf.models.encoders.musicnn.MusicTagger", "dataset": dataset, "sha256": dataset * 20}
    write_run(path, right, model="Probe", seed=seed, settings={"model.layer": layer, "encoder": encoder})
    shutil.copy(path / "predictions.csv", path / "val_predictions.csv")
    metrics = json.loads((path / "metrics.json").read_text())
    metrics |= {"pretrained": PRETRAINED | of, "probe": {"layer": layer, "layers": ["low", "high"]}}
    (path / "metrics.json").write_text(json.dumps(metrics))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in (0, 1):
        write_probe(tmp_path / f"sweep/all-{seed}", FIRST, "all", seed=seed)
        write_probe(tmp_path / f"sweep/high-{seed}", FIRST if seed else SECOND, "high", seed=seed)
        write_probe(tmp_path / f"sweep/low-{seed}", SECOND, "low", seed=seed)
    return tmp_path / "sweep"


def test_validation_tracks_choose_the_layer(sweep: Path) -> None:
    (curve,) = layer_curves(compare([sweep]).experiments)
    assert curve.layers == ["low", "high", "all"]
    assert [share.value for share in curve.shares] == pytest.approx([0.25, 0.4, 0.55])
    assert all(share.low < share.value < share.high for share in curve.shares)
    assert (curve.chosen, curve.unit) == (2, "tracks")
    assert curve.title == "musicnn_mtt: Probe"
    for run in sweep.glob("low-*"):
        (run / "val_predictions.csv").unlink()
    (curve,) = layer_curves(compare([sweep]).experiments)
    assert curve.layers == ["high", "all"]


def test_layers_are_drawn_from_input_to_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    share = Share(0.5, 0.4, 0.6)
    known = {"small": ["1", "2", "3", "4"], "large": ["1", "2", "3", "4", "5"], "other": ["low", "high"]}
    swept = {"large": ["3", "5"], "small": ["1", "3", "4", "all"], "other": ["low", "high"]}
    curves = [
        LayerCurve(
            title=name,
            leaky=False,
            known=known[name],
            layers=layers,
            shares=[share] * len(layers),
            chosen=0,
            unit="tracks",
        )
        for name, layers in swept.items()
    ]
    drawn: list[Figure] = []
    monkeypatch.setattr(layers_plot, "save", lambda figure, path: drawn.append(figure))
    draw_layers(tmp_path / "layers.png", curves)
    (axes,) = drawn[0].axes
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1", "3", "4", "5", "low", "high", "all"]


@pytest.mark.pictures
def test_the_curve_is_drawn_and_the_encoder_described(cli: Cli, sweep: Path) -> None:
    write_run(sweep / "scratch", FIRST, model="CNN")
    outcome = cli("compare", str(sweep), "--out", "out", "--format", "csv")
    assert outcome.code == 0, outcome.err
    assert Path("out/figures/layers.png").stat().st_size > 10_000
    report = Path("out/comparison.md").read_text()
    assert "figures/layers.png" in report
    words = "trained on songs; license CC-BY-NC-4.0, which forbids commercial use; revision 2, SHA-256 abababababababab"
    for text in (report, outcome.err, Path("out/comparison.html").read_text()):
        assert f"PRETRAINED: musicnn_mtt, {words}; overlap of its pretraining data with the test: known (3) (" in text
    assert ",musicnn_mtt,known (3)," in outcome.out


def test_encoders_are_told_apart_by_name_and_not_by_hash(tmp_path: Path) -> None:
    write_probe(tmp_path / "a", FIRST, "low")
    write_probe(tmp_path / "b", SECOND, "low", dataset="MSD", name="musicnn_msd")
    comparison = compare([tmp_path])
    assert {each.name for each in comparison.experiments} == {"Probe dataset=MTT", "Probe dataset=MSD"}
    assert layer_curves(comparison.experiments) == []
