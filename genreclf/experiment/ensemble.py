"""Combine finished runs of the same split into an ensemble, which has its own run directory."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from genreclf.checkpoint import load_checkpoint
from genreclf.config import instantiate
from genreclf.config.config import Config
from genreclf.errors import UserError
from genreclf.evaluation.combining import mixture_weights
from genreclf.evaluation.predictions import read_track_csv
from genreclf.evaluation.provenance import provenance_of
from genreclf.experiment.checks import check_spectrograms, spec_of
from genreclf.experiment.lineage import Lineage, read_lineage
from genreclf.run_directory import RunDirectory

TARGET = "genreclf.models.ensemble.Ensemble"
"""Class of the model of an ensemble."""


@dataclass(frozen=True)
class Combination:
    """An ensemble, ready to be written into its own run directory."""

    model: dict[str, Any]
    """Section ``model`` of the configuration of the ensemble."""
    encoder: dict[str, Any]
    """Section ``encoder`` of the configuration of the ensemble."""
    checkpoint: dict[str, Any]
    """Checkpoint with the weights of all members."""


def combine(runs: Sequence[RunDirectory], configs: Sequence[Config], *, weights: str) -> Combination:
    """Combine the networks of finished runs.

    Args:
        runs: Run directories of the members.
        configs: Configurations of the members, in the order of `runs`.
        weights: ``equal`` for equal weights, or ``validation`` for weights fitted on the validation tracks.

    Raises:
        UserError: A run is not finished, or runs differ in their split, spectrograms, clips, genres or encoder.
    """
    for run in runs:
        if run.read_metrics().get("status") != "finished":
            raise UserError(f"{run.path} is not finished; let it end first, or leave it out.")
    checkpoints = [load_checkpoint(run.best) for run in runs]
    for run in runs:
        if run.split_hash != runs[0].split_hash:
            raise UserError(
                f"{runs[0].path} and {run.path} were trained and tested on different splits, so that one has learned "
                "what the other is tested on; give runs of one split."
            )
    parts = zip(runs, checkpoints, configs, strict=True)
    specs = [spec_of(run.best, checkpoint, config) for run, checkpoint, config in parts]
    genres = [list(checkpoint["hyper_parameters"]["genres"]) for checkpoint in checkpoints]
    for run, spec, known in zip(runs, specs, genres, strict=True):
        check_spectrograms(run.path, spec, specs[0])
        if known != genres[0]:
            raise UserError(
                f"{runs[0].path} knows {', '.join(genres[0])}, and {run.path} {', '.join(known)}; give runs of the "
                "same genres."
            )
    for run, config in zip(runs, configs, strict=True):
        for key in ("short", "grid_overlap"):
            first, other = getattr(configs[0].clips, key), getattr(config.clips, key)
            if first != other:
                raise UserError(
                    f"{runs[0].path} has data.{key}={first} and {run.path} {other}, so they were tested on different "
                    "clips; give runs with the same clips."
                )
    encoders = [config.encoder for config in configs if config.encoder.get("_target_")]
    if any(encoder != encoders[0] for encoder in encoders):
        raise UserError("The runs have different encoders, which one ensemble cannot hold; give runs of one encoder.")
    model = {
        "_target_": TARGET,
        "runs": [str(run.path) for run in runs],
        "weights": _weights(runs, weights),
        "members": [{**config.model, "_partial_": True, "scale": config.features.scale} for config in configs],
    }
    encoder = encoders[0] if encoders else {"_target_": None}
    built = instantiate.make_model(model, encoder, spec=specs[0], genres=genres[0], scale=configs[0].features.scale)
    for member, checkpoint in zip(built.network, checkpoints, strict=True):
        used = tuple(f"{name}." for name, _ in member.named_children())
        member.load_state_dict({key: value for key, value in checkpoint["state_dict"].items() if key.startswith(used)})
    described = {"spec": specs[0].plain(), "genres": genres[0]}
    return Combination(model, encoder, {"state_dict": built.state_dict(), "hyper_parameters": described, "epoch": 0})


def _weights(runs: Sequence[RunDirectory], weights: str) -> list[float]:
    if weights == "equal":
        return [1 / len(runs)] * len(runs)
    tables = [read_track_csv(run.val_predictions) for run in runs]
    for run, table in zip(runs, tables, strict=True):
        if not table.track_ids or table.track_ids != tables[0].track_ids:
            raise UserError(
                f"{run.path} has not predicted the validation tracks by which the runs are to be weighed; leave "
                "--weights out."
            )
    rows = np.arange(len(tables[0].targets))
    return [float(w) for w in mixture_weights(np.stack([t.probabilities[rows, t.targets] for t in tables])).round(6)]


def members_of(config: Config) -> list[RunDirectory]:
    """Return the runs that are combined in the ensemble of a configuration."""
    return [RunDirectory(path) for path in config.model["runs"]]


def joint_lineage(runs: Sequence[RunDirectory], config: Config) -> Lineage:
    """Return the joint lineage of runs of the same split: the tracks seen by them and the runs they started from.

    Raises:
        UserError: The ``split.json`` of a run cannot be read.
    """
    lineages = [read_lineage(run, config) for run in runs]
    joint = [lineages[0].runs[0]]
    for tracks in (tracks for lineage in lineages for tracks in lineage.runs[1:]):
        joint += [tracks] * (tracks not in joint)
    unknown = next(filter(None, (lineage.unknown for lineage in lineages)), None)
    return Lineage(config.run_dir, tuple(joint), lineages[0].held_out, unknown)


def joint_provenance(runs: Sequence[RunDirectory], config: Config) -> dict[str, Any]:
    """Return the entries of ``metrics.json`` that describe the origin of the networks of an ensemble."""
    names = [run.path.resolve().name for run in runs]
    found = [provenance_of(run.read_metrics()) for run in runs]
    joint: dict[str, Any] = {"ensemble": {"runs": names, "weights": config.model["weights"]}}
    if refits := [each["refit"] for each in found if "refit" in each]:
        joint["refit"] = {"run": ", ".join(dict.fromkeys(str(each["run"]) for each in refits)), "epochs": None}
    if pretrained := [each["pretrained"] for each in found if "pretrained" in each]:
        joint["pretrained"] = _joint(pretrained)
    return joint


def _joint(records: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Merge records into one, in which differing values of a key are joined with 'and'."""
    joint: dict[str, Any] = {}
    for key in dict.fromkeys(key for record in records for key in record):
        values = list(dict.fromkeys(record[key] for record in records if key in record))
        joint[key] = values[0] if len(values) == 1 else " and ".join(map(str, values))
    return joint | {"non_commercial": True} if any(record.get("non_commercial") for record in records) else joint
