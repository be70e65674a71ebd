"""The typed sections of a configuration, which explain and check every key that is not an argument of a class."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from genreclf.datasets.genres import read_genre_map
from genreclf.errors import UserError
from genreclf.values import decoded, left_as_text

COMPILE_MODES = ("default", "reduce-overhead", "max-autotune")
"""Modes of `torch.compile`."""

PRECISIONS = ("32-true", "bf16-mixed", "16-mixed", "64-true")
"""Precisions of the training, as Lightning names them; the test always uses ``32-true``."""

CLIP_SHAPES = ("square", "whole")
"""Clip lengths other than seconds: as many frames as mel bands, or the length of the longest track."""


@dataclass
class ClipConfig:
    """Settings of every dataset (section ``data``): how tracks become clips and batches."""

    batch_size: int = 32
    """Number of clips per training step, on all devices together."""
    clip_seconds: int | float | str = 10.0
    """Length of a clip in seconds, or one of `CLIP_SHAPES`."""
    crops_per_track: int = 2
    """Number of random clips per training track and epoch."""
    grid_overlap: float = 0.5
    """Minimum overlap of neighboring validation and test clips, as a fraction of a clip."""
    short: str = "pad"
    """How tracks shorter than a clip are filled: ``pad`` (with silence) or ``wrap`` (repeat the track)."""
    store_dir: str | None = None
    """Folder for computed spectrograms; None for the user's cache folder."""
    skip_unreadable: bool = False
    """Whether to leave out tracks that cannot be read, instead of stopping."""
    genre_map: Any = None
    """New names of genres, None for genres to leave out: a dictionary, or the path of a YAML file with one."""

    def problems(self) -> list[str]:
        """Return one sentence for each value that cannot be used."""
        return [
            *_at_least("data.batch_size", self.batch_size, 1, 1_000_000),
            *_at_least("data.crops_per_track", self.crops_per_track, 1, 10_000),
            *self._clip_problems(),
            *_between("data.grid_overlap", self.grid_overlap, 0, 0.95),
            *_one_of("data.short", self.short, ("pad", "wrap")),
            *self._genre_problems(),
        ]

    def _genre_problems(self) -> list[str]:
        try:
            read_genre_map(self.genre_map)
        except UserError as error:
            return [str(error)]
        return []

    def _clip_problems(self) -> list[str]:
        if not isinstance(self.clip_seconds, str):
            return _between("data.clip_seconds", float(self.clip_seconds), 0.05, 3600)
        if self.clip_seconds in CLIP_SHAPES:
            return []
        if not isinstance(decoded(self.clip_seconds), str):
            return [left_as_text("data.clip_seconds", self.clip_seconds)]
        return [f"data.clip_seconds={self.clip_seconds} is neither a number nor one of {', '.join(CLIP_SHAPES)}."]


@dataclass
class SplitConfig:
    """Settings of every split (section ``split``): which of its tracks are trained on and tested."""

    unseen: bool = False
    """Whether to leave out test tracks that the earlier run, or a run that it started from, has seen."""
    train_fraction: float = 1.0
    """Fraction of each genre's training tracks to train on."""
    artists_per_genre: int | None = None
    """Number of artists per genre to train on; None for all."""
    subset_seed: int = 0
    """Random seed for drawing the tracks of `train_fraction` and the artists of `artists_per_genre`."""
    inner_fold: int | None = None
    """Index of the fold of the training and validation tracks to test on; None tests on the test tracks."""
    inner_folds: int = 5
    """Number of folds of the training and validation tracks."""

    def problems(self) -> list[str]:
        """Return one sentence for each value that cannot be used."""
        problems = _between("split.inner_folds", self.inner_folds, 3, 1000)
        if not 0 < self.train_fraction <= 1:
            problems.append(f"split.train_fraction={self.train_fraction} must lie above 0 and at most at 1.")
        if self.artists_per_genre is not None:
            problems += _at_least("split.artists_per_genre", self.artists_per_genre, 1, 1_000_000)
        if self.inner_fold is not None and not problems:
            problems += _between("split.inner_fold", self.inner_fold, 0, self.inner_folds - 1)
        return problems


@dataclass
class FeaturesConfig:
    """Settings of the spectrograms (section ``features``).

    All settings but `scale` are None if images, or the input of the network, determine them.
    """

    sample_rate: int | None = 22050
    """Sample rate in Hz."""
    n_fft: int | None = 2048
    """Window length in samples."""
    hop_length: int | None = 512
    """Number of samples from one frame to the next."""
    n_mels: int | None = 128
    """Number of mel bands."""
    f_min: float | None = 0.0
    """Lowest frequency of the mel bands, in Hz."""
    f_max: float | None = None
    """Highest frequency of the mel bands, in Hz; None for half the sample rate."""
    scale: str = "standardize"
    """Scaling of the network's input, see `genreclf.audio.scaling.Scaling`."""

    @property
    def log_mel(self) -> dict[str, Any]:
        """Parameters of spectrograms of audio, with the names of `genreclf.audio.log_mel.FeatureSpec`."""
        names = ("sample_rate", "n_fft", "hop_length", "n_mels", "f_max")
        return {name: getattr(self, name) for name in names} | {"f_min": self.f_min or 0.0}

    def problems(self) -> list[str]:
        """Return one sentence for each value that cannot be used."""
        scales = ("standardize", "decibel", "peak_decibel", "unit", "power")
        problems = _one_of("features.scale", self.scale, scales)
        bounds = {"sample_rate": (1000, 384_000), "n_fft": (16, 65_536), "hop_length": (1, 65_536), "n_mels": (1, 4096)}
        for name, (lowest, highest) in bounds.items():
            if (value := getattr(self, name)) is not None:
                problems += _at_least(f"features.{name}", value, lowest, highest)
        if self.n_fft and self.n_mels and self.n_mels > self.n_fft // 2:
            problems.append(f"features.n_mels={self.n_mels} are more bands than features.n_fft={self.n_fft} can fill.")
        if self.sample_rate:
            f_min, half = self.f_min or 0.0, self.sample_rate / 2
            f_max = half if self.f_max is None else self.f_max
            if not 0 <= f_min < f_max <= half:
                problems.append(
                    f"features.f_min={f_min:g} and features.f_max={f_max:g} must be in this order between 0 and half "
                    f"of features.sample_rate, {half:g} Hz."
                )
        return problems


@dataclass
class TrainerConfig:
    """Settings of the training (section ``trainer``): its devices, precision and length."""

    _target_: str = "lightning.pytorch.Trainer"
    """Full name of Lightning's Trainer, or of a subclass."""
    accelerator: str = "auto"
    """Kind of device: ``auto``, ``cpu``, ``gpu`` or ``mps``."""
    devices: Any = 1
    """Number of processes, each with its own device; ``auto`` or -1 for one per GPU, or a list of indices of GPUs."""
    sync_batchnorm: bool | None = None
    """Whether batch normalization uses the clips of all devices; None for yes if there are several devices."""
    max_epochs: int = 40
    """Maximum number of epochs."""
    precision: str = "auto"
    """One of `PRECISIONS`, or ``auto``."""
    compile: str | None = None
    """Mode of `torch.compile` for the training step; None for no compilation."""
    step: str = "eager"
    """``graph`` to record the training step once as a CUDA graph and replay it; ``eager`` for ordinary steps."""
    gradient_clip_val: float | None = None
    """Maximum norm to which the gradient is clipped; None for no clipping."""
    limit_train_batches: int | float | None = None
    """Number or fraction of the training batches to use in an epoch; None for all."""
    limit_val_batches: int | float | None = None
    """Number or fraction of the validation batches to use; None for all."""
    limit_test_batches: int | float | None = None
    """Number or fraction of the test batches to use; None for all."""
    others: dict[str, Any] = field(default_factory=dict)
    """Other arguments of Lightning's Trainer that differ from its defaults."""

    def problems(self) -> list[str]:
        """Return one sentence for each value that cannot be used."""
        problems = [
            *_one_of("trainer.accelerator", self.accelerator, ("auto", "cpu", "gpu", "mps")),
            *_one_of("trainer.precision", self.precision, ("auto", *PRECISIONS)),
            *_one_of("trainer.compile", self.compile or "null", ("null", *COMPILE_MODES)),
            *_one_of("trainer.step", self.step, ("eager", "graph")),
            *_device_problems(self.devices),
            *_at_least("trainer.max_epochs", self.max_epochs, 1, 1_000_000),
        ]
        if self.step == "graph" and self.compile not in (None, "default"):
            problems.append(
                f"trainer.compile={self.compile} records CUDA graphs of its own; with trainer.step=graph set "
                "trainer.compile=default or null."
            )
        for name in ("gradient_clip_val", "limit_train_batches", "limit_val_batches", "limit_test_batches"):
            value = getattr(self, name)
            if value is not None and value <= 0:
                problems.append(f"trainer.{name}={value} must be above 0; null turns it off.")
            elif name != "gradient_clip_val" and isinstance(value, float) and value > 1:
                problems.append(
                    f"trainer.{name}={value} is a fraction above 1; a number of batches has no decimal point."
                )
        return problems

    def plain(self) -> dict[str, Any]:
        """Return the section as it is written to ``config.yaml``."""
        return {key: value for key, value in vars(self).items() if key != "others"} | self.others

    def warnings(self) -> list[str]:
        """Return one sentence for each setting whose effect a user may not expect."""
        warnings = [
            f"trainer.{key}={self.others[key]} goes by the clock, so a repeated or resumed run is not quite the same."
            for key in ("max_time", "val_check_interval")
            if isinstance(self.others.get(key), str | dict)
        ]
        if isinstance(batches := self.others.get("fast_dev_run", 0), int) and (batches := int(batches)):
            warnings.append(f"trainer.fast_dev_run={batches} takes so few batches that the figures mean nothing.")
        for subset, name in (("val", "validation"), ("test", "test")):
            key = f"limit_{subset}_batches"
            if leaves_out(limit := getattr(self, key)):
                warnings.append(f"trainer.{key}={limit}: the figures are of a part of the {name} tracks.")
        if overfit := self.others.get("overfit_batches"):
            warnings.append(f"trainer.overfit_batches={overfit}: validation is on a part of the tracks.")
        return warnings


@dataclass
class RootConfig:
    """Keys of the root that belong to no group; `genreclf.config.config.Config` explains them."""

    seed: int = 0
    init_from: str | None = None
    ckpt_path: str | None = None
    refit: str | None = None
    compare_with: str | None = None
    debug: bool = False
    run_dir: str = ""

    def problems(self) -> list[str]:
        """Return one sentence for each value that cannot be used."""
        return _between("seed", self.seed, 0, 2**32 - 1)


def leaves_out(limit: int | float | None) -> bool:
    """Return whether a limit on the batches of an epoch, as a number or a fraction (1.0 for all), can exclude any."""
    return limit is not None and not (isinstance(limit, float) and limit == 1)


def _device_problems(devices: Any) -> list[str]:
    if type(devices) is int:
        return [] if devices == -1 else _at_least("trainer.devices", devices, 1, 10_000)
    numbers = devices if isinstance(devices, list) else []
    if devices == "auto" or (numbers and all(type(number) is int and number >= 0 for number in numbers)):
        twice = len(set(numbers)) < len(numbers)
        return [f"trainer.devices={devices} names a GPU twice."] if twice else []
    if isinstance(devices, str) and not isinstance(decoded(devices), str):
        return [left_as_text("trainer.devices", devices)]
    return [
        f"trainer.devices={devices} is not one of a number, auto, -1 and a list of the numbers of GPUs, as in [0,2]."
    ]


def _at_least(key: str, value: int, lowest: int, highest: int) -> list[str]:
    if value < lowest:
        return [f"{key}={value} must be at least {lowest}."]
    return [] if value <= highest else [f"{key}={value} must be at most {highest}."]


def _between(key: str, value: float, lowest: float, highest: float) -> list[str]:
    return [] if lowest <= value <= highest else [f"{key}={value} must lie between {lowest} and {highest}."]


def _one_of(key: str, value: str, choices: Sequence[str]) -> list[str]:
    return [] if value in choices else [f"{key}={value} is not one of {', '.join(choices)}."]
