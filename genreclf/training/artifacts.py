"""W&B artifacts: the dataset and the split that a run uses, the model that it makes, and models to start from."""

import hashlib
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from platformdirs import user_cache_path

from genreclf.errors import UserError
from genreclf.escaping import say
from genreclf.run_directory import RunDirectory, atomic_write_text, csv_of
from genreclf.splits.base import SUBSETS

PREFIX = "wandb:"
"""Prefix that marks the name of a model in W&B, where a run directory can be given instead."""

REFERENCE = re.compile(r"wandb:(?P<entity>[\w.-]+)/(?P<project>[\w.-]+)/(?P<name>[\w.-]+):(?P<alias>[\w.-]+)")

LARGEST_BYTES = {
    "config.yaml": 2**20,
    "metrics.json": 2**22,
    "split.json": 2**26,
    "history.csv": 2**26,
    "environment.json": 2**20,
    "checkpoints/best.ckpt": 2**33,
    "checkpoints/last.ckpt": 2**34,
}
"""Files that a model in W&B may contain, and the maximum size of each in bytes."""

CHECKPOINTS = {"none": (), "best": ("best",), "last": ("last",), "both": ("best", "last")}
"""Checkpoints that W&B keeps, by value of ``logger.wandb.log_model``."""

SOURCE = "wandb.json"
"""Name of the file that says which artifact a run directory was fetched from."""

TIMEOUT_S = 30
"""Seconds that W&B may take to answer."""


@dataclass(frozen=True)
class KeptModel:
    """Choice of which checkpoints of a run W&B keeps, for how long, and in which registry.

    Raises:
        UserError: A value is invalid, or `days` or `registry` is set although no checkpoint is kept.
    """

    checkpoints: str = "none"
    """Which checkpoints are kept, a key of `CHECKPOINTS`."""
    days: int | None = None
    """Days after which W&B deletes the model; None: never."""
    registry: str | None = None
    """Where the model is linked, ``REGISTRY/COLLECTION`` or ``REGISTRY/COLLECTION:ALIAS``; None: nowhere."""

    def __post_init__(self) -> None:
        if self.checkpoints not in CHECKPOINTS:
            raise UserError(f"logger.wandb.log_model={self.checkpoints} is not one of {', '.join(CHECKPOINTS)}.")
        if self.days is not None and (type(self.days) is not int or self.days < 1):
            raise UserError(f"logger.wandb.model_days={self.days} must be a whole number of at least 1, or null.")
        if self.registry is not None and not re.fullmatch(r"[\w-]+/[\w.-]+(:[\w.-]+)?", self.registry):
            raise UserError(f"logger.wandb.registry={self.registry} is not a REGISTRY/COLLECTION[:ALIAS].")
        for key, value in (("registry", self.registry), ("model_days", self.days)):
            if value is not None and self.checkpoints == "none":
                raise UserError(f"logger.wandb.{key}={value} needs a model, but log_model=none keeps none: set best.")


def use_inputs(
    wandb_run: Any, dataset: str, genre_of: Mapping[str, str], run: RunDirectory, source: str | None
) -> None:
    """Record in W&B which dataset, split and model a run uses; offline, only its settings mention the model."""
    split = run.read_json(run.split)
    for artifact in (
        dataset_artifact(run.path / "wandb", dataset, genre_of, split["artists"]),
        split_artifact(run.split, split),
    ):
        # The same as the public `use_artifact`, which waits for W&B indefinitely and does not work offline.
        wandb_run._log_artifact(
            artifact, aliases=[artifact.metadata["hash"]], is_user_created=True, use_after_commit=True
        )
    if source is not None and not wandb_run.offline:
        wandb_run.use_artifact(source)


def keep_model(wandb_run: Any, run: RunDirectory, metrics: Mapping[str, Any], kept: KeptModel) -> None:
    """Keep the chosen checkpoints of a finished run in W&B, if there are any, and link them to the chosen registry."""
    if not any((run.path / f"checkpoints/{name}.ckpt").is_file() for name in CHECKPOINTS[kept.checkpoints]):
        return
    artifact = model_artifact(run, wandb_run.id, metrics, kept)
    wandb_run.log_artifact(artifact, aliases=["latest", *CHECKPOINTS[kept.checkpoints]])
    if kept.registry is not None and wandb_run.offline:
        say(f"Note: W&B cannot link offline: link {artifact.name} to {kept.registry} after wandb sync.")
    elif kept.registry is not None:
        place, _, alias = kept.registry.partition(":")
        artifact.wait()
        wandb_run.link_artifact(artifact, f"wandb-registry-{place}", aliases=[alias] if alias else None)


def dataset_artifact(folder: Path, dataset: str, tracks: Mapping[str, str], artists: Mapping[str, Any]) -> Any:
    """Return a dataset as a W&B artifact: a file in `folder` with track ids, genres and artists, but not the music."""
    import wandb

    rows = ([id, tracks[id], "; ".join(artists.get(id, ()))] for id in sorted(tracks))
    text = csv_of(["track_id", "genre", "artist"], rows)
    atomic_write_text(folder / "tracks.csv", text)
    found = hashlib.sha256(text.encode()).hexdigest()[:16]
    metadata = {"dataset": dataset, "hash": found, "tracks": len(tracks), "genres": sorted(set(tracks.values()))}
    artifact = wandb.Artifact(_name("dataset", dataset), type="dataset", metadata=metadata)
    artifact.add_file(str((folder / "tracks.csv").resolve()), skip_cache=True, policy="immutable")
    return artifact


def split_artifact(path: Path, split: Mapping[str, Any]) -> Any:
    """Return a split as a W&B artifact: the run's ``split.json`` at `path`, summarized in the metadata."""
    import wandb

    counts = {subset: len(split[subset]) for subset in SUBSETS}
    metadata = {key: split[key] for key in ("name", "hash", "leaky", "dataset")} | counts
    artifact = wandb.Artifact(_name("split", split["name"]), type="split", metadata=metadata)
    artifact.add_file(str(path.resolve()), skip_cache=True, policy="immutable")
    return artifact


def model_artifact(run: RunDirectory, run_id: str, metrics: Mapping[str, Any], kept: KeptModel) -> Any:
    """Return a model as a W&B artifact: the files of a run directory needed for predictions and further training."""
    import wandb

    figures = {key: metrics.get(key) for key in ("objective", "parameters", "epochs", "best_epoch", "pretrained")}
    metadata = {**figures, "split": metrics["split"], "checkpoints": kept.checkpoints}
    artifact = wandb.Artifact(f"model-{run_id}", type="model", metadata=metadata)
    wanted = [f"checkpoints/{name}.ckpt" for name in CHECKPOINTS[kept.checkpoints]]
    for name in (*[name for name in LARGEST_BYTES if "/" not in name and name != "metrics.json"], *wanted):
        if (run.path / name).is_file():
            artifact.add_file(str((run.path / name).resolve()), name, skip_cache=True, policy="immutable")
    with artifact.new_file("metrics.json", encoding="utf-8") as file:
        file.write(json.dumps(metrics, indent=2) + "\n")
    if kept.days is not None:
        artifact.ttl = timedelta(days=kept.days)
    return artifact


def local_run(run: str) -> RunDirectory:
    """Return the directory of a run; if `run` names a model in W&B, the model is fetched first."""
    return RunDirectory(fetch(run) if run.startswith(PREFIX) else run)


def check_reference(reference: str) -> dict[str, str]:
    """Return entity, project, name and alias of a model in W&B; raise `UserError` if `reference` is not such a name."""
    if (found := REFERENCE.fullmatch(reference)) is None:
        raise UserError(f"{reference} is not the name of a W&B model; write it as wandb:ENTITY/PROJECT/ARTIFACT:ALIAS.")
    return found.groupdict()


def fetch(reference: str) -> Path:
    """Fetch a model from W&B into the user's cache folder, once for each version, and return its directory.

    An artifact that contains files other than `LARGEST_BYTES` is rejected, and each file must match the artifact's
    checksums. The files are trusted no more than any run directory from elsewhere: nothing in them is executed.

    Args:
        reference: Name of the model, ``wandb:ENTITY/PROJECT/ARTIFACT:ALIAS``, where the alias is a version or a word
            such as ``latest``.

    Raises:
        UserError: The model does not exist, cannot be fetched, or was not saved by a run.
    """
    parts = check_reference(reference)
    cache = Path(user_cache_path("genreclf"), "wandb", *(parts[key] for key in ("entity", "project", "name")))
    if re.fullmatch(r"v\d+", parts["alias"]) and (kept := cache / parts["alias"]).is_dir():
        return kept  # A version never changes.
    with _sentences(reference):
        import wandb

        artifact = wandb.Api(timeout=TIMEOUT_S).artifact(reference.removeprefix(PREFIX))
        entries = artifact.manifest.entries
        if artifact.type != "model" or not {"config.yaml", "metrics.json"} <= entries.keys() <= LARGEST_BYTES.keys():
            raise UserError(f"{reference} is not a model saved by logger.wandb.log_model.")
        for name, entry in entries.items():
            if entry.ref is not None or (entry.size or 0) > LARGEST_BYTES[name]:
                raise UserError(f"{name} of {reference} is larger than {LARGEST_BYTES[name]} bytes, or not in W&B.")
        target = cache / str(artifact.version)
        if target.is_dir():
            return target
        partial = cache / f".{artifact.version}.{secrets.token_hex(4)}.partial"
        try:
            artifact.download(str(partial), skip_cache=True)
            artifact.verify(str(partial))
            full_name = f"{parts['entity']}/{parts['project']}/{parts['name']}:{artifact.version}"
            RunDirectory.write_json(partial / SOURCE, {"artifact": full_name, "digest": artifact.digest})
            if not target.is_dir():
                os.replace(partial, target)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return target


def source_of(run: RunDirectory) -> str | None:
    """Return the name of the artifact that a run directory was fetched from, or None if it was not fetched."""
    path = run.path / SOURCE
    return str(run.read_json(path).get("artifact")) if path.is_file() else None


def _name(kind: str, words: str) -> str:
    return f"{kind}-{re.sub(r'[^A-Za-z0-9_.-]+', '-', words).strip('-')[:100] or 'unnamed'}"


@contextmanager
def _sentences(reference: str) -> Iterator[None]:
    """Turn errors of W&B into a `UserError` with one readable sentence."""
    import wandb

    try:
        yield
    except (wandb.Error, OSError, ValueError, AttributeError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{reference} cannot be downloaded from W&B ({reason}); check its name and your account (wandb login)."
        ) from error
