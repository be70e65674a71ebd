from pathlib import Path

import numpy as np
import pytest
from helpers import Cli
from matplotlib.figure import Figure
from PIL import Image

from genreclf.audio.log_mel import FeatureSpec
from genreclf.plots.mel import draw_mel, level_db, mel_ticks
from genreclf.plots.spectrograms import spread

AUDIO = FeatureSpec.of_audio(sample_rate=22050, n_fft=2048, hop_length=512, n_mels=128, clip_seconds=1)
PICTURES = FeatureSpec.of_pictures(n_mels=64, frames_per_second=10.0, clip_seconds=1)


def test_ticks_lie_at_the_bands_of_their_frequency() -> None:
    import librosa

    places, names = mel_ticks(128, (0.0, 11025.0))
    assert names == ["0", "250", "500", "1,000", "2,000", "4,000", "8,000"]
    bank = librosa.filters.mel(sr=22050, n_fft=2048, n_mels=128)
    for place, name in list(zip(places, names, strict=True))[3:]:
        loudest = bank[:, round(float(name.replace(",", "")) * 2048 / 22050)].argmax()
        assert abs(loudest - place) <= 1


def test_axes_are_seconds_and_hz_or_bands() -> None:
    axes = Figure().subplots()
    shown = draw_mel(axes, np.zeros((128, 431), dtype=np.int16), AUDIO)
    assert shown.get_extent()[1] == pytest.approx(431 * 512 / 22050)
    assert axes.get_ylabel() == "frequency (Hz)"
    axes = Figure().subplots()
    stored = np.arange(64 * 30, dtype=np.int64).reshape(64, 30).clip(0, 255).astype(np.uint8)
    shown = draw_mel(axes, stored, PICTURES)
    assert shown.get_extent() == [0, 3.0, -0.5, 63.5]
    assert (axes.get_ylabel(), axes.get_xlabel()) == ("mel band", "time (s)")
    assert shown.origin == "lower"


def test_levels_are_below_the_peak() -> None:
    assert level_db(np.array([[-2560, -25600]], dtype=np.int16), AUDIO).tolist() == [[0.0, -90.0]]
    np.testing.assert_allclose(level_db(np.array([[255, 0]], dtype=np.uint8), PICTURES), [[0.0, -80.0]], atol=1e-4)


def test_tracks_of_a_mosaic_are_spread_over_the_genre() -> None:
    assert spread(list("abcdefghi"), 3) == ["a", "e", "i"]
    assert spread(["a", "b"], 12) == ["a", "b"]


def write_pictures(root: Path) -> None:
    """Write three pictures of each of two genres."""
    for genre in ("high", "low"):
        for number in range(3):
            (root / genre).mkdir(parents=True, exist_ok=True)
            levels = np.random.default_rng(number).integers(0, 255, (32, 30)).astype(np.uint8)
            Image.fromarray(levels).save(root / genre / f"{number}.png")


@pytest.mark.pictures
def test_pictures_of_pictures(cli: Cli, tmp_path: Path) -> None:
    write_pictures(tmp_path / "music")
    source = ["data=spectrogram_images", "data.root=music", "data.n_mels=32", "data.store_dir=stores"]
    outcome = cli("show", *source, "--genre", "low", "--out", "shown")
    assert outcome.code == 0, outcome.err
    written = sorted(path.name for path in (tmp_path / "shown").iterdir())
    assert written == ["genres.png", "log_mel_low.png", "mosaic_low.png"]
    assert all(f"shown/{name}" in outcome.out for name in written)
    wrong = cli("show", *source, "--genre", "jazz")
    assert (wrong.code, wrong.err.strip()) == (2, "--genre jazz is not one of high, low.")
    assert not (tmp_path / "outputs").exists()
    (tmp_path / "a_file").write_text("")
    assert "--out a_file/x cannot be written" in cli("show", *source, "--out", "a_file/x").err


def test_an_unknown_genre_is_told_before_anything_is_computed(cli: Cli) -> None:
    outcome = cli("show", "data=synthetic", "--genre", "polka", "data.store_dir=stores")
    assert outcome.code == 2
    assert outcome.err.startswith("--genre polka is not one of blues, classical, ")
    assert not Path("stores").exists()


def test_a_mistake_in_the_words_is_a_sentence(cli: Cli) -> None:
    outcome = cli("show", "--ganre", "red")
    assert outcome.code == 2
    sentence = "show: there is no option --ganre (did you mean --genre?); python -m genreclf show --help shows how.\n"
    assert outcome.err == sentence


@pytest.mark.slow
def test_pictures_of_audio_go_to_wandb_too(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    data = [override for override in tiny if override.startswith("data")]
    outcome = cli("show", *data, "--wandb")
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "outputs/show/synthetic"
    names = {path.stem for path in folder.glob("*.png")}
    of_one = {"mosaic_blues", "log_mel_blues", "waveform_blues", "spectrogram_and_mel_blues"}
    assert names == {"genres"} | of_one
    sent = [path.name for path in (folder / "wandb").rglob("*.png")]
    assert len(sent) == 5
    assert all(any(path.startswith(name) for path in sent) for name in names)


@pytest.mark.slow
def test_a_run_adds_the_map_to_its_record(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    watched = [override for override in tiny if not override.startswith("logger=")]
    outcome = cli(*watched, "logger=wandb", "run_dir=run")
    assert outcome.code == 0, outcome.err
    assert (tmp_path / "run/figures/genres.png").is_file()
    assert [path.name.startswith("genres") for path in (tmp_path / "run/wandb").rglob("media/**/*.png")] == [True]
