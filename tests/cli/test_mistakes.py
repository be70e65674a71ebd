"""Wrong commands and inputs: each ends with exit code 2 and one sentence that names the key or the file."""

import errno
import io
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
from helpers import Cli, Outcome
from PIL import Image

from genreclf.run_directory import RunDirectory

COMMANDS = {
    "unknown key": (["trainer.devcies=2"], "There is no key trainer.devcies; did you mean trainer.devices?"),
    "key of another model": (["model=cnn", "model.hidden=8"], "There is no key model.hidden; the model that is chosen"),
    "unknown root key": (["sed=1"], "There is no key sed; did you mean seed?"),
    "added section": (["+foo.bar=1"], "There is no key foo; python -m genreclf --cfg job shows all keys."),
    "added root key of a section": (["+tags=[a]"], "There is no key tags; python -m genreclf --cfg job shows"),
    "added root key of nothing": (["+nothing=x"], "There is no key nothing; python -m genreclf --cfg job shows"),
    "added callback without a class": (
        ["+callbacks.early.patience=1"],
        "callbacks.early has no _target_; set callbacks.early._target_, or add the option that sets it to",
    ),
    "added callback of another kind": (
        ["+callbacks.early._target_=torch.nn.Linear"],
        "is not a lightning.pytorch",
    ),
    "added argument of a callback": (
        ["+callbacks.checkpoint.every=1"],
        "checkpoint.every is not a key of Best",
    ),
    "callback that is off": (
        ["callbacks.ema.decay=0.9"],
        "There is no key callbacks.ema.decay; callbacks.ema is off, or has no such key: turn it on with ",
    ),
    "augmentation that is off": (
        ["augmentation.mixup.alpha=0.3"],
        "augmentation.mixup is off, or has no such key: turn it on with augmentation=mixup, or add the key with +",
    ),
    "added key of an augmentation that does not have it": (
        ["experiment=best", "+augmentation.filter_augment.knot=9"],
        "augmentation.filter_augment.knot is not a key of FilterAugment; did you mean augmentation.filter_augment.k",
    ),
    "text for a callback": (
        ["callbacks.checkpoint=true"],
        "callbacks.checkpoint=true is not a class; null turns it off",
    ),
    "callbacks that log without a logger": (
        ["callbacks=[default,learning_rate_monitor]", "logger=none"],
        "LearningRateMonitor of callbacks needs a logger: choose one, such as logger=csv.",
    ),
    "two progress bars": (
        ["+callbacks.bar._target_=lightning.pytorch.callbacks.TQDMProgressBar"],
        "Lightning refuses a setting of trainer: You added multiple progress bar callbacks",
    ),
    "key of an earlier version": (["early_stopping.monitor=null"], "it is callbacks.checkpoint.monitor now."),
    "added key of an earlier version": (["+regularization.ema=0.9"], "it is callbacks.ema.decay now"),
    "added key of the trainer": (
        ["+trainer.max_epoch=1"],
        "trainer.max_epoch is not a key of Trainer; did you mean trainer.max_epochs?",
    ),
    "several models": (["model=[cnn,crnn]"], "names several options, but a run has one model; for a run of each: -m"),
    "several experiments": (["experiment=[quickstart,best]"], "but a run has one experiment"),
    "unknown group": (["modle=crnn"], "There is no key modle; did you mean model?"),
    "unknown option": (["model=crn"], "There is no model=crn; the options of model are attention_crnn, band_stat"),
    "unknown published system": (["experiment=published/mine"], "the options of experiment are ablation/"),
    "unknown command": (["evalute"], "evalute is neither a command nor an override; did you mean evaluate?"),
    "unreadable override": (["model.channels=[1,"], "model.channels=[1, cannot be read as KEY=VALUE"),
    "unknown argument of a model": (["+model.widht=3"], "model.widht is not a key of CRNN"),
    "argument the experiment gives": (["+model.genres=[a]"], "model.genres is not a key of CRNN"),
    "text for a number": (["trainer.max_epochs=many"], "trainer.max_epochs=many"),
    "number for a group": (["model=3"], "A group is chosen by the name of one of its options"),
    "no epochs": (["trainer.max_epochs=0"], "trainer.max_epochs=0 must be at least 1."),
    "no devices": (["trainer.devices=0"], "trainer.devices=0 must be at least 1."),
    "devices by a word": (["trainer.devices=all"], "trainer.devices=all is not one of a number, auto, -1 and a list"),
    "one GPU for two": (["trainer.devices=[1,1]"], "trainer.devices=[1, 1] names a GPU twice."),
    "all of no GPUs": (["trainer.devices=-1"], "trainer.devices=-1 means all GPUs, but there is none to use"),
    "a GPU of none": (["trainer.devices=[0]"], "trainer.devices=[0]: there is no GPU 0; there is no GPU to choose."),
    "too small a batch": (
        ["data.batch_size=1", "trainer.devices=2"],
        "data.batch_size=1 leaves some of trainer.devices=2",
    ),
    "no batch": (["data.batch_size=0"], "data.batch_size=0 must be at least 1."),
    "negative clip": (["data.clip_seconds=-1"], "data.clip_seconds=-1.0 must lie between"),
    "clip too short": (["data.clip_seconds=0.1"], "set data.clip_seconds to"),
    "dropout of more than all": (["model.dropout=1.5"], "dropout probability has to be between 0 and 1"),
    "negative mixup": (["augmentation=mixup", "augmentation.mixup.alpha=-1"], "alpha=-1 must not be below 0"),
    "certain average": (["regularization=ema", "callbacks.ema.decay=1.0"], "decay=1.0 must be at least 0 and below 1"),
    "unknown scale": (["features.scale=loud"], "features.scale=loud is not one of standardize"),
    "more mels than bins": (["features.n_mels=2000"], "features.n_mels=2000 are more bands than"),
    "unknown accelerator": (["trainer.accelerator=tpu"], "trainer.accelerator=tpu is not one of auto, cpu, gpu, mps."),
    "unknown precision": (["trainer.precision=8"], "trainer.precision=8 is not one of auto"),
    "fraction above one": (["trainer.limit_val_batches=1.5"], "trainer.limit_val_batches=1.5 is a fraction above 1"),
    "unknown logger": (["logger=paper"], "There is no logger=paper; the options of logger are csv, mlflow, none"),
    "nothing to watch": (
        ["callbacks=[default,early_stopping]", "callbacks.checkpoint.monitor=null"],
        "it needs a monitor, such as val/track_loss",
    ),
    "unknown tie": (["callbacks.checkpoint.ties=both"], "ties=both must be first or last."),
    "unknown monitor": (
        ["callbacks.checkpoint.monitor=val/accuracy"],
        "callbacks.checkpoint.monitor=val/accuracy is not one of val/track_loss",
    ),
    "negative learning rate": (["optimizer.lr=-1"], "optimizer: AdamW cannot be made of"),
    "target of another kind": (["loss._target_=os.system"], "loss._target_=os.system is not a torch.nn.modules"),
    "target that is not there": (["model._target_=no.such.Model"], "add the folder that holds no to PYTHONPATH"),
    "fold beyond the folds": (["split=artist_folds", "split.fold=9"], "split.fold=9"),
    "fractions beyond one": (["split=track", "split.test=0.9"], "split.train=0.7, split.val=0.15 and split.test=0.9"),
    "lists of nothing": (["split=list"], "split.train"),
    "fault-filtered list of other tracks": (["split=fault_filtered"], "split=track"),
    "run directory of a sweep": (["-m", "seed=1,2", "run_dir=x"], "run_dir is for one run; a sweep gives"),
    "run directory of a sweep without -m": (["hydra.mode=MULTIRUN", "seed=1,2", "run_dir=x"], "run_dir is for one run"),
    "two run directories": (["run_dir=x", "hydra.run.dir=y"], "run_dir and hydra.run.dir are one setting"),
    "configuration of a sweep": (["-m", "seed=1,2", "--cfg", "job"], "--multirun and --cfg exclude each other"),
    "run directory below a file": (["run_dir=file/run"], "Run directory file/run cannot be created (Not a directory)"),
    "weights of no run": (["init_from=nowhere"], "There is no nowhere/checkpoints/best.ckpt"),
    "unseen tracks of no run": (["split.unseen=true"], "split.unseen=true leaves out the test tracks that an earlier"),
    "unseen that is neither": (["split.unseen=perhaps"], "split.unseen=perhaps: Value 'perhaps'"),
    "no run to evaluate": (["evaluate", "nowhere"], "nowhere is not a run directory"),
    "evaluate nothing": (["evaluate"], "evaluate needs a run directory first"),
    "no root": (["data=folder", "~data.tracks_per_genre"], "data.root"),
}


def is_a_sentence(outcome: Outcome) -> bool:
    return outcome.code == 2 and "Traceback" not in outcome.err and "Traceback" not in outcome.out and bool(outcome.err)


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_command(name: str, cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    overrides, sentence = COMMANDS[name]
    base = tiny
    if overrides[0] == "evaluate":
        base = []
    elif overrides[0] == "data=folder":
        base, overrides = ["logger=none"], ["data=folder"]
    outcome = (
        cli(*overrides[:1], *base, *overrides[1:]) if overrides[0] in ("-m", "evaluate") else cli(*base, *overrides)
    )
    assert is_a_sentence(outcome), outcome
    assert sentence in outcome.err
    assert not list(tmp_path.glob("outputs/runs/*"))


def test_all_faults_are_named_at_once(cli: Cli, tiny: list[str]) -> None:
    outcome = cli(*tiny, "trainer.max_epochs=0", "optimizer.weight_decy=1", "data.batch_size=-1", "+model.x=1")
    assert is_a_sentence(outcome)
    outcome = cli(*tiny, "trainer.max_epochs=0", "data.batch_size=-1", "+model.x=1")
    assert len(outcome.err.strip().splitlines()) == 3


def test_debug_shows_the_traceback(cli: Cli, tiny: list[str]) -> None:
    assert "Traceback" in cli(*tiny, "trainer.max_epochs=0", "debug=true").err


@pytest.fixture
def songs(tmp_path: Path) -> Path:
    """Three short songs each of two genres."""
    rng = np.random.default_rng(0)
    for genre in ("calm", "loud"):
        for number in range(4):
            path = tmp_path / "songs" / genre / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, rng.normal(0, 0.1, 22050 * 2), 22050)
    return tmp_path / "songs"


FILES: dict[str, tuple[bytes | None, str]] = {
    "text": (b"not audio at all", "bad.wav"),
    "empty": (b"", "bad.wav"),
    "cut off header": (b"RIFF\x00\x00\x00\x00WAVEfmt ", "bad.wav"),
    "one sample": (None, "bad.wav"),
    "not a number": (None, "bad.wav"),
    "no sample": (None, "bad.wav"),
}


def audio(name: str) -> bytes:
    content = FILES[name][0]
    if content is not None:
        return content
    samples = {"one sample": np.zeros(1), "not a number": np.full(22050, np.nan), "no sample": np.zeros(0)}[name]
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, 22050, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def folder_run(songs: Path, stores: Path) -> list[str]:
    small = ["data.clip_seconds=1", "data.batch_size=4", f"data.store_dir={stores}", "trainer.precision=32-true"]
    split = ["split.train=0.5", "split.val=0.25", "split.test=0.25"]
    return ["data=folder", f"data.root={songs}", *small, *split, "trainer=cpu", "trainer.max_epochs=1", "logger=none"]


@pytest.mark.parametrize("name", FILES)
def test_unreadable_audio_is_named_and_can_be_left_out(name: str, cli: Cli, songs: Path, tmp_path: Path) -> None:
    (songs / "calm/bad.wav").write_bytes(audio(name))
    outcome = cli("prepare", *folder_run(songs, tmp_path / "stores"))
    assert is_a_sentence(outcome)
    assert "1 file cannot be read" in outcome.err
    assert str(songs / "calm/bad.wav") in outcome.err
    outcome = cli("prepare", *folder_run(songs, tmp_path / "stores"), "data.skip_unreadable=true")
    assert outcome.code == 0, outcome.err
    assert "8 tracks" in outcome.out


def test_all_unreadable_files_are_named(cli: Cli, songs: Path, tmp_path: Path) -> None:
    for name in ("calm/x.wav", "loud/y.flac", "loud/z.mp3"):
        (songs / name).write_bytes(b"no")
    outcome = cli(*folder_run(songs, tmp_path / "stores"))
    assert is_a_sentence(outcome)
    assert all(name in outcome.err for name in ("calm/x.wav", "loud/y.flac", "loud/z.mp3"))


def test_runs_without_the_unreadable_and_says_so(cli: Cli, songs: Path, tmp_path: Path) -> None:
    (songs / "calm/bad.wav").write_bytes(b"no")
    outcome = cli(*folder_run(songs, tmp_path / "stores"), "data.skip_unreadable=true", "run_dir=run", "model=ffnn")
    assert outcome.code == 0, outcome.err
    assert "calm/bad" in (tmp_path / "run/report.md").read_text()


@pytest.mark.parametrize("root", ["missing", "empty", "file"])
@pytest.mark.parametrize("source", ["gtzan", "folder", "spectrogram_images"])
def test_root_without_tracks(source: str, root: str, cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").touch()
    outcome = cli(f"data={source}", f"data.root={tmp_path / root}", "logger=none")
    assert is_a_sentence(outcome)
    assert root in outcome.err


def test_features_beside_pictures(cli: Cli, tmp_path: Path) -> None:
    outcome = cli("data=spectrogram_images", f"data.root={tmp_path}", "features=log_mel_16k")
    assert is_a_sentence(outcome)
    assert "Pictures bring their own features; leave out features=log_mel_16k" in outcome.err


def test_picture_of_the_wrong_kind(cli: Cli, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for genre in ("calm", "loud"):
        (tmp_path / "pictures" / genre).mkdir(parents=True)
        for number in range(3):
            gray = rng.integers(0, 255, (128, 64), dtype=np.uint8)
            Image.fromarray(gray).save(tmp_path / "pictures" / genre / f"{number}.png")
    noise = rng.integers(0, 255, (128, 64, 3), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "pictures/calm/photo.png")
    outcome = cli("prepare", "data=spectrogram_images", f"data.root={tmp_path / 'pictures'}")
    assert is_a_sentence(outcome)
    assert "photo.png" in outcome.err


def test_damaged_checkpoint(cli: Cli, finished: RunDirectory) -> None:
    finished.best.write_bytes(finished.best.read_bytes()[:1000])
    outcome = cli("evaluate", "run", "run_dir=again")
    assert is_a_sentence(outcome)
    assert "best.ckpt is damaged" in outcome.err


@pytest.mark.usefixtures("finished")
def test_checkpoint_of_other_genres(cli: Cli, songs: Path, tmp_path: Path) -> None:
    override = ["data=folder", f"data.root={songs}", "data.clip_seconds=1", f"data.store_dir={tmp_path / 'stores'}"]
    outcome = cli("evaluate", "run", *override, "split=track", "split.train=0.5", "split.val=0.25", "split.test=0.25")
    assert is_a_sentence(outcome)
    assert "does not know calm, loud (it knows blues" in outcome.err


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_no_space_left_keeps_what_is_done(
    code: int, cli: Cli, songs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from genreclf.data import store

    real, written = store.atomic_write_text, []

    def full(path: Path, text: str) -> None:
        if path.name == "index.json" and not written:
            written.append(path)
            raise OSError(code, os.strerror(code))
        real(path, text)

    monkeypatch.setattr(store, "atomic_write_text", full)
    outcome = cli("prepare", *folder_run(songs, tmp_path / "stores"))
    assert is_a_sentence(outcome)
    assert "No space is left" in outcome.err
    monkeypatch.setattr("genreclf.datasets.folder.Folder.waveform", lambda *_: pytest.fail("was decoded again"))
    assert cli("prepare", *folder_run(songs, tmp_path / "stores")).code == 0


def test_an_unknown_mode_of_wandb_is_named(cli: Cli, tiny: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "bogus")
    outcome = cli(*tiny, "logger=wandb")
    assert (outcome.code, outcome.err) == (
        2,
        "WANDB_MODE=bogus is not one of online, offline, shared, disabled, dryrun, run.\n",
    )
