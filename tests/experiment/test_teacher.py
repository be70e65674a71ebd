"""A network is distilled from what a finished run says of its training tracks."""

import importlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Cli
from torch.nn import functional

from genreclf.evaluation.predictions import read_track_csv
from genreclf.experiment import teacher
from genreclf.run_directory import RunDirectory
from genreclf.training.losses import Distillation


def change(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.fixture
def distil(tiny: list[str], finished: RunDirectory, stores: Path, tmp_path: Path) -> list[str]:
    """Overrides of a student of another model, on clips of another length, with a cache of its own."""
    (tmp_path / "stores").mkdir()
    for index in stores.glob("*/index.json"):  # Not built anew.
        (tmp_path / "stores" / index.parent.name).symlink_to(index.parent)
    others = [word for word in tiny if not word.startswith(("model", "data.clip_seconds", "data.store_dir"))]
    own = ["model=ffnn", "data.clip_seconds=0.5", f"data.store_dir={tmp_path / 'stores'}"]
    return [*others, *own, "loss=distill", "loss.teacher=run", "regularization=mixup"]


def test_learns_from_what_the_test_s_code_says_of_the_training_tracks(
    cli: Cli, finished: RunDirectory, distil: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The student trains on the tracks of the teacher's test, whose figures are known."""
    taught: list[torch.Tensor] = []
    teach = Distillation.teach
    monkeypatch.setattr(Distillation, "teach", lambda self, given: (taught.append(given), teach(self, given))[1])
    ours = json.loads(finished.split.read_text())
    swapped = {"train": ours["test"], "val": ours["val"], "test": ours["train"]}
    for subset, ids in swapped.items():
        Path(f"{subset}.txt").write_text("".join(f"{id}\n" for id in ids))
    lists = ["split=list", *(f"split.{subset}={subset}.txt" for subset in swapped)]
    outcome = cli(*distil, *lists, "run_dir=student")
    assert outcome.code == 0, outcome.err
    known = read_track_csv(finished.predictions)
    assert swapped["train"] == list(known.track_ids)
    np.testing.assert_allclose(taught[0], known.probabilities, atol=1e-6)
    # It now tests tracks on which its teacher was trained.
    metrics = RunDirectory("student").read_metrics()
    assert metrics["distilled"] == {"from": "run"}
    assert metrics["split"]["leaky"] is True
    assert metrics["split"]["seen"]["trained"] == len(swapped["test"])
    assert Path("student/report.md").read_text().splitlines()[0].endswith("(LEAKY)")
    # The same again takes what is kept.
    monkeypatch.setattr(teacher.Teacher, "_predict", None)
    again = cli(*distil, *lists, "run_dir=again")
    assert again.code == 0, again.err
    assert Path("again/predictions.csv").read_text() == Path("student/predictions.csv").read_text()


def test_a_pretrained_teacher_makes_the_student_pretrained(cli: Cli, finished: RunDirectory, distil: list[str]) -> None:
    change(finished.metrics, pretrained={"name": "some_encoder", "license": "MIT"})
    outcome = cli(*distil, "run_dir=student")
    assert outcome.code == 0, outcome.err
    metrics = RunDirectory("student").read_metrics()
    assert metrics["pretrained"] == {"name": "some_encoder (distilled from run)", "license": "MIT"}
    assert metrics["split"]["leaky"] is False
    assert Path("student/report.md").read_text().splitlines()[0].endswith("(PRETRAINED)")
    from_scratch = [word for word in distil if not word.startswith("loss")]
    for command in (["evaluate", "student", "run_dir=again"], [*from_scratch, "init_from=student", "run_dir=again"]):
        shutil.rmtree("again", ignore_errors=True)
        outcome = cli(*command)
        assert outcome.code == 0, outcome.err
        assert RunDirectory("again").read_metrics()["pretrained"] == metrics["pretrained"]


def test_a_teacher_of_another_class_is_trusted_once_it_is_imported(
    cli: Cli, finished: RunDirectory, distil: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "taught_model.py").write_text("from genreclf.models import CRNN\n\n\nclass Mine(CRNN):\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    config = finished.read_config()
    finished.write_config(config | {"model": config["model"] | {"_target_": "taught_model.Mine"}})
    refused = cli(*distil, "run_dir=student")
    assert refused.code == 2
    assert "if you trust it, train in Python, with import taught_model before genreclf.train." in refused.err
    importlib.import_module("taught_model")
    outcome = cli(*distil, "run_dir=student")
    assert outcome.code == 0, outcome.err


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["loss.teacher=null"], "loss=distill learns from a finished run: name it with loss.teacher=RUN."),
        (["loss.teacher=none"], "none is not a run directory"),
        (["loss.teacher=begun"], "loss.teacher=begun is not finished"),
        (["loss.teacher=hostile"], "hostile/config.yaml names os.system"),
        (["loss.temperature=0"], "temperature=0 must be above 0"),
        (["two genres"], "and the network is to learn blues, rock: choose a teacher of the same genres."),
    ],
)
def test_a_mistake_is_one_sentence(
    cli: Cli, finished: RunDirectory, distil: list[str], no_val: list[str], arguments: list[str], sentence: str
) -> None:
    arguments = no_val if arguments == ["two genres"] else arguments
    for name in ("begun", "hostile"):
        if f"loss.teacher={name}" in arguments:
            run = RunDirectory(shutil.copytree("run", name))
            change(run.metrics, status="running" if name == "begun" else "finished")
            if name == "hostile":
                run.write_config(run.read_config() | {"model": {"_target_": "os.system"}})
    outcome = cli(*distil, *arguments, "run_dir=student")
    assert outcome.code == 2
    assert sentence in outcome.err
    assert not RunDirectory("student").metrics.exists()


def test_the_loss_is_that_of_the_paper() -> None:
    torch.manual_seed(0)
    logits, teachers, true = torch.randn(6, 4).double(), torch.randn(3, 4).double(), torch.tensor([0, 1, 2, 3, 0, 1])
    loss = Distillation(teacher="run", temperature=3.0, weight=0.7, label_smoothing=0.1)
    loss.teach(teachers.softmax(1))
    assert loss.soft_targets is not None
    assert not loss.state_dict()
    torch.testing.assert_close(loss.soft_targets, (teachers / 3).softmax(1))
    soft = loss.soft_targets.repeat(2, 1)
    given = loss(logits, torch.cat([functional.one_hot(true, 4), soft], 1))
    hard = functional.cross_entropy(logits, true, label_smoothing=0.1)
    divergence = (soft * (soft.log() - (logits / 3).log_softmax(1))).sum(1).mean()
    torch.testing.assert_close(given, 0.3 * hard + 0.7 * 9 * divergence, rtol=1e-12, atol=0)
