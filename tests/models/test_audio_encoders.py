"""Encoders of waveforms on small networks, whose weights the test makes."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import librosa
import numpy as np
import pytest
import torch
import yaml
from helpers import ROOT, Cli

import genreclf
from genreclf.config import instantiate
from genreclf.datasets.synthetic import Synthetic
from genreclf.errors import UserError
from genreclf.evaluation.predictions import read_track_csv
from genreclf.models.encoders import panns
from genreclf.models.encoders.base import Origin
from genreclf.models.encoders.panns import Cnn14
from genreclf.run_directory import RunDirectory

ORIGIN = Origin(pretrained_on="nothing", license="MIT", revision="main", sha256="0" * 64, citation="nobody")

LAYERS = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16}
WAVES = {
    **{"conv_dim": (8, 8), "conv_kernel": (10, 8), "conv_stride": (5, 4), "num_feat_extract_layers": 2},
    **{"num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2},
}
SIZES = {
    "wav2vec2": LAYERS | WAVES,
    "hubert": LAYERS | WAVES,
    "ast": {**LAYERS, "max_length": 64, "num_mel_bins": 32},
    "whisper": {"d_model": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 16},
    "clap": {"depths": [1] * 4, "num_attention_heads": [1] * 4, "patch_embeds_hidden_size": 4, "hidden_size": 32},
}
SHAPES = {
    "wav2vec2": (3, 798, 16),
    "hubert": (3, 798, 16),
    "ast": (3, 5, 16),
    "whisper": (3, 50, 16),
    "clap": (5, 1, 32),
}


@pytest.mark.parametrize("architecture", SIZES)
def test_networks_of_transformers_take_the_weights_of_larger_files(architecture: str, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from safetensors.torch import load_file, save_file

    from genreclf.models.encoders.hugging_face import ARCHITECTURES, TransformersEncoder

    def encoder(**changed: str) -> TransformersEncoder:
        rate = 48000 if architecture == "clap" else 16000
        sizes: dict[str, Any] = SIZES[architecture]
        return TransformersEncoder(
            architecture=architecture, repo="a/b", sample_rate=rate, window_s=0.5, sizes=sizes, **ORIGIN | changed
        ).eval()

    published = encoder()
    published.network.save_pretrained(tmp_path / "theirs")
    prefix, theirs = ARCHITECTURES[architecture].prefix, load_file(tmp_path / "theirs" / "model.safetensors")
    whole = {prefix + key: values for key, values in theirs.items()} | {"decoder.weight": torch.zeros(2)}
    path = tmp_path / "whole.safetensors"
    save_file(whole, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    loaded = encoder(weights=str(path), sha256=sha256)
    loaded.load()
    x = torch.randn(2, loaded.sample_rate, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = loaded.embed(x)
        torch.testing.assert_close(embedded, published.embed(x))
        assert published.double().embed(x.double()).dtype == torch.float64
    assert embedded.shape == (2, *SHAPES[architecture])
    assert len(loaded.layers) == len(loaded.dimensions) == embedded.shape[1]
    assert len(loaded.blocks()) == len(loaded.layers)
    save_file({key: values for key, values in whole.items() if "layers.1" not in key and "layer.1" not in key}, path)
    with pytest.raises(UserError, match="lack"):
        encoder(weights=str(path), sha256=hashlib.sha256(path.read_bytes()).hexdigest()).load()


@pytest.mark.slow
def test_a_network_built_on_the_meta_device_leaves_constants_of_modules_their_values() -> None:
    pytest.importorskip("transformers")
    given = {"architecture": "ast", "repo": "a/b", "sizes": SIZES["ast"], **ORIGIN}
    code = (
        "import sys, torch; from genreclf.models.encoders.hugging_face import TransformersEncoder\n"
        f"with torch.device('meta'): TransformersEncoder(**{given})\n"
        "assert sys.modules['torchaudio.compliance.kaldi'].EPSILON.device.type == 'cpu'\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "conf/encoder").glob("[!n]*.yaml")))
def test_a_network_is_built_without_memory_for_it(name: str) -> None:
    section = yaml.safe_load((ROOT / f"conf/encoder/{name}.yaml").read_text()) | ORIGIN
    if section.get("window_s") == "${clip_s:}":
        section["window_s"] = 10.0
    pytest.importorskip("transformers" if "Transformers" in section["_target_"] else "timm")
    if section.get("model") == "???":
        section["model"] = "test_efficientnet"
    with torch.device("meta"):
        encoder = instantiate.make("encoder", section)
    assert sum(values.numel() for values in encoder.parameters() if not values.is_meta) < 1000


def test_clap_takes_the_mel_bands_of_its_training() -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    encoder = TransformersEncoder(architecture="clap", repo="a/b", sample_rate=48000, sizes=SIZES["clap"], **ORIGIN)
    filters = librosa.filters.mel(sr=48000, n_fft=1024, n_mels=64, fmin=50, fmax=14000)
    np.testing.assert_allclose(encoder.features.mel_filters_slaney.T, filters, atol=1e-6)
    assert encoder.options["frequency_min"] == 50  # Embeddings that were stored with other bands are computed again.


@pytest.mark.parametrize(("seconds", "frames"), [(0.1, 1), (0.3, 3), (0.64, 5)])
def test_frames_of_ast_hold_no_padding(seconds: float, frames: int) -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    encoder = TransformersEncoder(architecture="ast", repo="a/b", window_s=seconds, sizes=SIZES["ast"], **ORIGIN)
    assert encoder.embed(torch.randn(2, round(16000 * seconds))).shape == (2, 3, frames, 16)
    assert ("padding" in encoder.options) == (frames < 5)  # Averages over padding are computed again.


@pytest.mark.parametrize(
    "sizes",
    [
        {"attn_implementation": "someone/code"},
        {"_attn_implementation": "someone/code"},
        {"dtype": "float16"},
        {"hidden_act": "someone/code"},
        {"num_hidden_layers": 10**9},
        {"hidden_size": 10**9},
        {"vocab_size": {"x": 1}},
        {"num_hidden_layers": 150, "hidden_size": 2**15, "intermediate_size": 2**15},
    ],
)
def test_sizes_name_no_code_and_take_no_memory(sizes: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    with pytest.raises(ValueError, match=r"is not a size of Wav2Vec2Config|the network has more than"):
        TransformersEncoder(architecture="wav2vec2", repo="a/b", sizes={**LAYERS, **WAVES, **sizes}, **ORIGIN)


@pytest.mark.parametrize("changed", [{"window_s": 1e9}, {"window_s": float("nan")}, {"sample_rate": 10**9}])
def test_windows_take_no_memory(changed: dict[str, Any]) -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    with pytest.raises(ValueError, match=r"window_s must be 0\.1 to 300"):
        TransformersEncoder(architecture="wav2vec2", repo="a/b", sizes=LAYERS | WAVES, **changed, **ORIGIN)


def test_a_network_of_timm_is_none_of_a_repository() -> None:
    pytest.importorskip("timm")
    from genreclf.models.encoders.pictures import TimmEncoder

    with pytest.raises(UserError, match="is not a timm model name"):
        TimmEncoder(model="hf-hub:someone/network", **ORIGIN)


def test_cnn14_takes_the_model_of_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
    theirs = Cnn14(**ORIGIN).eval()
    path = tmp_path / "Cnn14.pth"
    torch.save({"iteration": 3, "model": {**theirs.state_dict(), "fc_audioset.weight": torch.zeros(2)}}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    ours = Cnn14(**ORIGIN | {"weights": str(path), "sha256": sha256}).eval()
    ours.load()
    x = torch.randn(2, 32000, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        embedded = ours.embed(x)
        torch.testing.assert_close(embedded, theirs.embed(x))
    assert embedded.shape == (2, 7, 3, 7)
    assert not embedded[:, 0, :, 2:].any()
    assert embedded[:, 6].std(1).max() == 0
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(UserError, match="has no weights of CNN14"):
        Cnn14(**ORIGIN | {"weights": str(path), "sha256": hashlib.sha256(b"not a checkpoint").hexdigest()}).load()


def test_the_hash_of_the_weights_is_to_be_named(cli: Cli, tiny: list[str]) -> None:
    settings = [word for word in tiny if not word.startswith("model")]
    outcome = cli(*settings, "encoder=panns_cnn14", "model=finetune")
    assert outcome.code == 2
    assert "encoder.sha256" in outcome.err


def test_an_encoder_of_waveforms_is_trained_on(cli: Cli, tiny: list[str], tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    from genreclf.models.encoders.hugging_face import TransformersEncoder

    encoder = TransformersEncoder(architecture="hubert", repo="a/b", sizes=SIZES["hubert"], **ORIGIN)
    encoder.network.save_pretrained(tmp_path / "theirs")
    path = tmp_path / "theirs" / "model.safetensors"
    sizes = ",".join(
        f"{key}: {list(size) if isinstance(size, tuple) else size}" for key, size in SIZES["hubert"].items()
    )
    outcome = cli(
        *(word for word in tiny if not word.startswith("model")),
        *("encoder=hubert", f"encoder.weights={path}", f"encoder.sizes={{{sizes}}}", "model=finetune", "run_dir=run"),
        *(
            f"encoder.sha256={hashlib.sha256(path.read_bytes()).hexdigest()}",
            "model.lora_rank=2",
            "model.train_blocks=1",
            "regularization=mixup",
        ),
    )
    assert outcome.code == 0, outcome.err
    assert "PRETRAINED" in outcome.out
    song = torch.randn(32000, generator=torch.Generator().manual_seed(0)).numpy() / 10
    assert genreclf.load("run").predict(song, sample_rate=16000).probabilities.shape == (10,)


def test_a_clip_that_an_encoder_would_cut_off_is_refused(cli: Cli, tiny: list[str]) -> None:
    pytest.importorskip("transformers")
    settings = [word for word in tiny if not word.startswith("model")]
    sizes = ",".join(f"{key}: {list(size) if isinstance(size, list) else size}" for key, size in SIZES["ast"].items())
    encoder = ["encoder=ast", f"encoder.sizes={{{sizes}}}", f"encoder.sha256={'0' * 64}"]
    for words, key, seconds in (
        (["model=finetune", "model.pretrained=false"], "data.clip_seconds", "1.0"),
        (["model=finetune", "model.pretrained=false", "data.clip_seconds=whole"], "data.clip_seconds", "whole"),
        (["model=probe"], "encoder.window_s", "10.24"),
    ):
        outcome = cli(*settings, *encoder, *words, "run_dir=run")
        assert outcome.code == 2
        takes = f"{key}={seconds} is longer than the 0.64 s that encoder=ast takes at a time: set {key}=0.64 or less."
        assert takes in outcome.err


@pytest.mark.parametrize("name", ["ast", "panns_cnn14"])
def test_a_probe_of_waveforms_predicts_as_it_was_tested(
    name: str, cli: Cli, tiny: list[str], stores: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "ast":
        pytest.importorskip("transformers")
        from genreclf.models.encoders.hugging_face import TransformersEncoder

        encoder = TransformersEncoder(architecture="ast", repo="a/b", window_s=0.5, sizes=SIZES["ast"], **ORIGIN)
        encoder.network.save_pretrained(tmp_path)
        path, sizes = tmp_path / "model.safetensors", ",".join(f"{key}: {size}" for key, size in SIZES["ast"].items())
        more = [f"encoder.sizes={{{sizes}}}"]
    else:
        monkeypatch.setattr(panns, "CHANNELS", (2, 3, 4, 5, 6, 7))
        path, more = tmp_path / "Cnn14.pth", []
        torch.save({"model": Cnn14(**ORIGIN).state_dict()}, path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    settings = [word for word in tiny if not word.startswith("model")]
    outcome = cli(
        *settings,
        *(f"encoder={name}", f"encoder.weights={path}", f"encoder.sha256={sha256}", *more, "model=probe"),
        *("encoder.window_s=0.5" for _ in more),
        "run_dir=run",
    )
    assert outcome.code == 0, outcome.err
    tested, predictor = read_track_csv(RunDirectory("run").predictions), genreclf.load("run")
    music = Synthetic(tracks_per_genre=5, artists_per_genre=5, duration_s=2.0)
    track = next(track for track in music.tracks() if track.id in tested.track_ids)
    rate = predictor.feature_extractor.sample_rate
    predicted = predictor.predict(music.waveform(track, rate), sample_rate=rate).probabilities
    np.testing.assert_allclose(predicted, tested.probabilities[tested.track_ids.index(track.id)], atol=1e-4)
    if name == "ast":
        outcome = cli("export", "run")
        assert (outcome.code, "computes its input outside PyTorch" in outcome.err) == (2, True)


def test_augmentation_of_spectrograms_is_refused_for_waveforms(cli: Cli, tiny: list[str]) -> None:
    pytest.importorskip("transformers")
    settings = [word for word in tiny if not word.startswith("model")]
    outcome = cli(
        *settings,
        "encoder=hubert",
        "encoder.weights=-",
        "encoder.sha256=" + "0" * 64,
        "model=finetune",
        "augmentation=spec_augment",
    )
    assert outcome.code == 2
    assert "augmentation.spec_augment is for spectrograms" in outcome.err
