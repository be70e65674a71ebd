"""Windows of the music that encoders embed for a probe."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import Cli, small_encoder

from genreclf.cli.compose import checked
from genreclf.experiment.corpus import audio_spec, load_corpus, make_encoder
from genreclf.models.encoders import panns
from genreclf.models.encoders.base import Encoder, Origin
from genreclf.models.encoders.panns import Cnn14
from genreclf.models.encoders.store import EmbeddingExtractor

ORIGIN = Origin(pretrained_on="nothing", license="MIT", revision="main", sha256="0" * 64, citation="nobody")
LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
SIZES: dict[str, dict[str, Any]] = {
    "ast": {**LAYERS, "max_length": 64, "num_mel_bins": 32},
    "whisper": {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
    "clap": {"depths": [1] * 4, "num_attention_heads": [1] * 4, "patch_embeds_hidden_size": 4, "hidden_size": 32},
}


def stored(encoder: Encoder, signal: torch.Tensor) -> torch.Tensor:
    """Return the last layer's embedding of a song of one window, as a store keeps it."""
    encoder.load = lambda: None  # type: ignore[method-assign]
    (values,) = EmbeddingExtractor(encoder.eval(), torch.device("cpu")).of_blocks([signal])
    return torch.from_numpy(values[0, -encoder.dimensions[-1] :]).float()


@pytest.mark.parametrize(("architecture", "window_s"), [("ast", 0.64), ("whisper", 30.0), ("clap", 10.0)])
def test_short_songs_are_embedded_without_padding(architecture: str, window_s: float) -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    torch.manual_seed(0)
    given = {"architecture": architecture, "sizes": SIZES[architecture], "window_s": window_s}
    encoder = TransformersEncoder(repo="a/b", sample_rate=48000 if architecture == "clap" else 16000, **given, **ORIGIN)
    song = torch.randn(round(0.4 * window_s * encoder.sample_rate)) / 10
    with torch.no_grad():
        direct = encoder.eval().embed(song[None])[0, -1].mean(0)
    torch.testing.assert_close(stored(encoder, song), direct, rtol=0, atol=2e-3)
    assert stored(encoder, song[:2]).isfinite().all()


def test_short_songs_are_repeated_for_a_network_that_fills_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
    encoder, song = Cnn14(**ORIGIN), torch.randn(100_000) / 10
    torch.testing.assert_close(stored(encoder, song), stored(encoder, song.repeat(4)[:320_000]))


@pytest.mark.parametrize(("clip", "frames"), [("4", 172), ("whole", 431)])
def test_a_probe_of_pictures_embeds_as_much_as_fine_tuning_hears(clip: str, frames: int, tmp_path: Path) -> None:
    given = ["data=synthetic", *small_encoder(tmp_path), f"data.clip_seconds={clip}"]
    config = checked([*given, "model=probe"], run_dir="-")
    spec, encoder = audio_spec(config), make_encoder(config)
    assert spec.source is not None
    extractor = EmbeddingExtractor(encoder, torch.device("cpu"), spec.source.frames_per_second)
    assert extractor.window == extractor.hop == frames
    if clip != "whole":
        assert audio_spec(checked([*given, "model=finetune"], run_dir="-")).clip_frames == frames


@pytest.fixture
def cnn14(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Overrides of a probe of a small CNN14, whose windows are 10 s long."""
    monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
    path = tmp_path / "Cnn14.pth"
    torch.save({"model": Cnn14(**ORIGIN).state_dict()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return ["model=probe", "encoder=panns_cnn14", f"encoder.weights={path}", f"encoder.sha256={sha256}"]


def test_a_deviation_needs_several_windows(cli: Cli, tiny: list[str], cnn14: list[str], tmp_path: Path) -> None:
    kept = [word for word in tiny if not word.startswith("model")]
    outcome = cli(*kept, *cnn14, "model.deviation=true", "run_dir=run")
    assert (outcome.code, "set data.clip_seconds=20 or more, or model.deviation=false" in outcome.err) == (2, True)
    outcome = cli(*kept, *small_encoder(tmp_path), "model=probe", "model.deviation=true", "run_dir=run")
    assert (outcome.code, "set encoder.window_s=0.5 or less, or model.deviation=false" in outcome.err) == (2, True)


def test_clips_longer_than_asked_for_are_announced(cnn14: list[str], tmp_path: Path) -> None:
    data = [
        "data=synthetic",
        "data.tracks_per_genre=1",
        "data.artists_per_genre=1",
        "data.duration_s=1",
        f"data.store_dir={tmp_path}",
    ]
    for seconds, notices in ((3, 1), (6, 0)):
        corpus = load_corpus(checked([*data, *cnn14, f"data.clip_seconds={seconds}"], run_dir="-"))
        assert len([each for each in corpus.warnings if "Clips are 10 s long, one window" in each]) == notices


@pytest.mark.parametrize("model", ["finetune", "probe"])
def test_pictures_of_a_size_that_a_network_does_not_take_are_refused(
    model: str, cli: Cli, tiny: list[str], tmp_path: Path
) -> None:
    timm, safetensors = pytest.importorskip("timm"), pytest.importorskip("safetensors.torch")
    kept = [word for word in tiny if not word.startswith(("model", "data.store_dir"))]
    words = [*kept, *small_encoder(tmp_path), f"model={model}", "data.store_dir=stores", "run_dir=run"]
    path = tmp_path / "vit.safetensors"
    safetensors.save_file(timm.create_model("test_vit").state_dict(), path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    vit = ["encoder.model=test_vit", f"encoder.weights={path}", f"encoder.sha256={sha256}"]
    for given, sentence in (
        (vit, "test_vit does not take pictures of 128 x 43"),
        (["encoder.enlarge=0.001"], "raise encoder.enlarge"),
    ):
        outcome = cli(*words, *given)
        assert (outcome.code, sentence in outcome.err) == (2, True), outcome.err
        assert not Path("stores").exists()
        assert not Path("run").exists()
