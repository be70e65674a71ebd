"""Check the pretrained encoder of a run before any data are downloaded or embeddings computed."""

import math

from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.errors import UserError
from genreclf.experiment.corpus import make_encoder
from genreclf.models.encoders.base import Encoder


def check_encoder(config: Config) -> None:
    """Check that the model can use the configured encoder, and that its pretrained weights are available and intact."""
    if config.encoder.get("_target_") is None:
        return
    if config.takes != "embedding" and not instantiate.accepts("model", config.model, "encoder"):
        name = str(config.model["_target_"]).rpartition(".")[2]
        raise UserError(f"{name} does not use encoder: leave it out, or choose a model that does, such as model=probe.")
    if config.takes == "embedding" and config.features.scale != "standardize":
        raise UserError("features.scale is for spectrograms, and a probe takes embeddings: leave it out.")
    encoder = make_encoder(config)
    _check_lengths(config, encoder)
    if config.model.get("pretrained", True):
        encoder.fetch()


def _check_lengths(config: Config, encoder: Encoder) -> None:
    probes, clip_s = config.takes == "embedding", config.clips.clip_seconds
    key, seconds = ("encoder.window_s", encoder.window_s) if probes else ("data.clip_seconds", clip_s)
    if (longest := encoder.longest_s) is not None and (isinstance(seconds, str) or seconds > longest):
        raise UserError(
            f"{key}={seconds} is longer than the {longest:g} s that encoder={encoder.name} takes at a time: set "
            f"{key}={longest:g} or less."
        )
    if not probes or isinstance(clip_s, str) or not config.model.get("deviation"):
        return
    if round(clip_s / encoder.hop_s) < 2:
        if instantiate.accepts("encoder", config.encoder, "window_s"):
            way = f"encoder.window_s={clip_s / 2:g} or less"
        else:
            way = f"data.clip_seconds={math.ceil(2 * encoder.hop_s)} or more"
        raise UserError(
            f"model.deviation=true needs several windows in a clip, and data.clip_seconds={clip_s:g} holds only one of "
            f"encoder={encoder.name}, {encoder.window_s:g} s long: set {way}, or model.deviation=false."
        )
