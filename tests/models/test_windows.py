"""Windows of the music that encoders embed for a probe."""

from pathlib import Path

import pytest
import torch
from helpers import small_encoder

from genreclf.cli.compose import checked
from genreclf.experiment.corpus import audio_spec, make_encoder
from genreclf.models.encoders.store import EmbeddingExtractor


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
