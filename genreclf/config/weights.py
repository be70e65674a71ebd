"""Check that the weights of a run match the model that its files describe, before memory is allocated for either."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields
from typing import Any, cast

import torch
from torch.nn.modules.module import register_module_module_registration_hook
from torch.nn.parameter import is_lazy

from genreclf.audio.log_mel import FeatureSpec
from genreclf.audio.scaling import Scale
from genreclf.config import instantiate
from genreclf.training.parts import OF_TRAINING

LARGEST = {
    "n_mels": 2**16,
    "clip_frames": 2**20,
    "frames_per_second": 2**16,
    "step_db": 2**10,
    "zero_db": 2**10,
    "silence": 2**15,
    "sample_rate": 10**6,
    "n_fft": 2**17,
    "hop_length": 2**17,
    "top_db": 2**10,
    "f_min": 2**20,
    "f_max": 2**20,
}
"""Maximum values of the numbers in a `genreclf.audio.log_mel.FeatureSpec`, in magnitude."""

NULLABLE = ("sample_rate", "n_fft", "hop_length", "top_db", "f_max")
"""Keys of `LARGEST` whose values may be null."""

LARGEST_CLIP, LARGEST_FILTER_BANK = 2**27, 2**27
"""Maximum number of values of a clip, and maximum of ``n_fft`` times ``n_mels``."""

LONGEST_NAME = 100
"""Maximum length of the name of an encoder's layer, in characters."""

MODULES_PER_TENSOR = 20
"""Maximum number of modules of a network per tensor of its weights; those of genreclf have fewer than 3."""


def is_models(key: str) -> bool:
    """Return whether the tensor of a key belongs to the model, and not to its loss or its augmentation."""
    return not key.startswith(OF_TRAINING)


def checked_spec(values: Any) -> FeatureSpec:
    """Return the spectrogram parameters that a mapping describes; raise `ValueError` if a value is not plausible."""
    names = {field.name for field in fields(FeatureSpec)}
    if not isinstance(values, Mapping) or not values.keys() <= names:
        raise ValueError(f"the description of spectrograms has other keys than {', '.join(sorted(names))}")
    for key, largest in LARGEST.items():
        value = values.get(key)
        if value is None and (key in NULLABLE or (key == "f_min" and key not in values)):
            continue
        whole = key not in ("frames_per_second", "step_db", "zero_db", "top_db", "f_min", "f_max")
        if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
            raise ValueError(f"{key} of {value!r}")
        lowest = -largest if key in ("zero_db", "silence") else 0
        if not lowest <= value <= largest or (value == 0 and lowest == 0 and key != "f_min"):
            raise ValueError(f"{key} of {value}")
    kind, layers = values.get("kind", "log_mel"), values.get("layers")
    if kind not in ("log_mel", "waveform", "embedding"):
        raise ValueError(f"kind of {kind!r}")
    if (kind == "embedding") != (layers is not None):
        raise ValueError(f"kind of {kind!r} with layers of {layers!r}")
    if layers is not None:
        sizes = [size for name, size in layers if isinstance(name, str) and len(name) <= LONGEST_NAME]
        if not all(type(size) is int and size > 0 for size in sizes) or sum(sizes) != values["n_mels"]:
            raise ValueError(f"layers of {layers!r}")
    if (source := values.get("source")) is not None:
        checked_spec(source)
        if kind != "embedding" or source.get("kind") != "log_mel" or values.get("sample_rate") is not None:
            raise ValueError(f"kind of {kind!r} with a source of {source.get('kind')!r}")
    spec = FeatureSpec.from_plain(values)
    if spec.n_mels * spec.clip_frames > LARGEST_CLIP:
        raise ValueError(f"n_mels of {spec.n_mels} with clip_frames of {spec.clip_frames}")
    if spec.n_fft is not None and spec.n_mels * spec.n_fft > LARGEST_FILTER_BANK:
        raise ValueError(f"n_mels of {spec.n_mels} with n_fft of {spec.n_fft}")
    if spec.range_hz is not None and not 0 <= spec.range_hz[0] < spec.range_hz[1] <= cast(int, spec.source_rate) / 2:
        raise ValueError(f"f_min of {spec.f_min!r} with f_max of {spec.f_max!r}")
    if spec.rendering is not None:
        from genreclf.datasets.images import RENDERINGS

        if spec.rendering not in RENDERINGS:
            raise ValueError(f"rendering of {spec.rendering!r}")
    return spec


def check_weights(
    shapes: Mapping[str, Sequence[int]],
    section: Mapping[str, Any],
    encoder: Mapping[str, Any],
    *,
    spec: FeatureSpec,
    genres: Sequence[str],
    scale: Scale,
) -> None:
    """Check that weights match the model that a section names; the model is built without allocating memory for it.

    Args:
        shapes: Shapes of the weights by key, which may include tensors that do not belong to the model.
        section: Section of the model.
        encoder: Section of the encoder.
        spec: Parameters of the spectrograms.
        genres: Names of the classes.
        scale: Scaling of the model's input.

    Raises:
        ValueError: The weights do not match; the message names a tensor.
        UserError: The section does not describe a model, or describes one with far more layers than there are weights.
    """
    theirs = {key: tuple(shape) for key, shape in shapes.items() if is_models(key)}
    with torch.device("meta"), _at_most(MODULES_PER_TENSOR * (len(theirs) + 10)):
        model = instantiate.make_model(section, encoder, spec=spec, genres=list(genres), scale=scale)
    state = {key: values for key, values in model.state_dict().items() if is_models(key)}
    ours = {key: theirs.get(key, ()) if is_lazy(values) else tuple(values.shape) for key, values in state.items()}
    for key in sorted(ours.keys() | theirs.keys()):
        if ours.get(key) != theirs.get(key):
            found, wanted = (str(list(each[key])) if key in each else "missing" for each in (theirs, ours))
            raise ValueError(f"{key} is {found} in the weights and {wanted} in the model")


def check_checkpoint(
    checkpoint: Mapping[str, Any], section: Mapping[str, Any], encoder: Mapping[str, Any], *, scale: Scale
) -> FeatureSpec:
    """Check that a checkpoint matches the model that a section names, and return the parameters of its spectrograms.

    The weights of models that are not part of genreclf are not checked, since building such models may need memory.

    Args:
        checkpoint: Content of the checkpoint.
        section: Section of the model.
        encoder: Section of the encoder.
        scale: Scaling of the model's input.

    Raises:
        KeyError, TypeError, ValueError: The checkpoint does not match.
        UserError: The section does not describe a model, see `check_weights`.
    """
    known, state = checkpoint["hyper_parameters"], checkpoint["state_dict"]
    spec = checked_spec(known["spec"])
    if str(section["_target_"]).startswith("genreclf."):
        shapes = {key: values.shape for key, values in state.items()}
        check_weights(shapes, section, encoder, spec=spec, genres=known["genres"], scale=scale)
    return spec


@contextmanager
def _at_most(modules: int) -> Iterator[None]:
    """Raise `ValueError` when this thread builds a network with more than so many modules."""
    here, count = threading.get_ident(), 0

    def hook(*_: Any) -> None:
        nonlocal count
        if threading.get_ident() == here:
            count += 1
            if count > modules:
                raise ValueError("it has more layers than there are weights")

    handle = register_module_module_registration_hook(hook)
    try:
        yield
    finally:
        handle.remove()
