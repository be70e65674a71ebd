"""Write the shared files of a run (a bundle), and rebuild a run from them; files from elsewhere are not trusted."""

import json
import os
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, cast

from genreclf import __version__
from genreclf.config.keys import COMBINED
from genreclf.config.trust import GROUPS, check_trust
from genreclf.config_file import check_resolved
from genreclf.datasets.genres import read_genre_map
from genreclf.errors import UserError, require
from genreclf.run_directory import RunDirectory

if TYPE_CHECKING:
    from genreclf.audio.log_mel import FeatureSpec
    from genreclf.audio.scaling import Scale
    from genreclf.config.config import Config

CONFIG, WEIGHTS, METRICS, SPLIT = "config.json", "model.safetensors", "metrics.json", "split.json"

SIMILARITY = "similarity.json"
"""Optional file with the weights of the similarity for recommending songs, see `genreclf.recommend.searching`."""

LARGEST_BYTES = {CONFIG: 2**16, METRICS: 2**22, SPLIT: 2**26, WEIGHTS: 2**32, SIMILARITY: 2**12}
"""Files of a bundle and their maximum sizes in bytes."""

_FOREIGN_ERRORS = (AttributeError, KeyError, RecursionError, TypeError, ValueError)
"""Exceptions raised while reading files that `write_bundle` did not write."""


def write_bundle(run: RunDirectory, folder: Path) -> None:
    """Write the shared files of a finished run, except for the model card, into a folder.

    Settings and metrics that `genreclf.hub.contents` leaves out are not shared, and neither are tensors of the loss.

    Raises:
        UserError: The run is not finished or is damaged.
    """
    require("A shared model", "hub", "safetensors")
    from safetensors.torch import save_file

    from genreclf.checkpoint import load_checkpoint
    from genreclf.config.weights import is_models
    from genreclf.hub.contents import check_sizes, shareable, shareable_metrics, shareable_split
    from genreclf.recommend.searching import weighting_of

    metrics, split_record = run.read_metrics(), run.read_json(run.split)
    if metrics.get("status") != "finished":
        raise UserError(f"{run.path} is not finished, so it has no results to share; finish it first.")
    checkpoint = load_checkpoint(run.best)
    config = _with_genre_map(run)
    try:
        metrics, split_record, shared = shareable_metrics(metrics), shareable_split(split_record), shareable(config)
        check_sizes(shared)
        known = checkpoint["hyper_parameters"]
        genres, spec = list(known["genres"]), dict(known["spec"])
    except _FOREIGN_ERRORS as error:
        files_read = f"{run.config}, {run.metrics}, {run.split} or {run.best}"
        raise UserError(f"{files_read} cannot be shared ({_reason(error)}).") from error
    described = {"genreclf": __version__, "genres": genres, "spec": spec, "config": shared}
    state = {key: values.contiguous() for key, values in checkpoint["state_dict"].items() if is_models(key)}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    files = {CONFIG: described, METRICS: metrics, SPLIT: split_record}
    if (weighting := weighting_of(run, ())) is not None:
        files[SIMILARITY] = dict(zip(("sizes", "weights"), weighting, strict=True))
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def rebuild(folder: Path, path: Path, *, trusted: Sequence[str] = ()) -> str:
    """Create a run directory from shared files, for the commands ``predict`` and ``evaluate`` and `genreclf.load`.

    Nothing in the files is executed: classes named by the configuration must come from genreclf, PyTorch or a trusted
    module; only those settings and metrics are kept that `genreclf.hub.contents` knows; and the weights are read as
    plain tensors, which must have the names and shapes of the model's.

    Args:
        folder: Folder with the shared files.
        path: Run directory to create.
        trusted: Modules, besides genreclf and PyTorch, whose classes the configuration may name, such as ``my_model``.

    Returns:
        The score of the run, in a sentence.

    Raises:
        UserError: A file is missing, too large or invalid; no directory is created then.
    """
    require("A shared model", "hub", "safetensors")
    from genreclf.checkpoint import SafeCheckpointIO
    from genreclf.config.weights import checked_spec
    from genreclf.evaluation.provenance import pretrained_words
    from genreclf.experiment.lineage import earlier_runs
    from genreclf.hub.contents import check_sizes, shareable, shareable_metrics
    from genreclf.recommend.searching import read_weighting
    from genreclf.reports.run import answer
    from genreclf.splits.base import Split

    shared, metrics, split_record = (_json(folder / name) for name in (CONFIG, METRICS, SPLIT))
    config, spec, genres = (shared.get(key) for key in ("config", "spec", "genres"))
    if not isinstance(config, dict) or not isinstance(spec, dict) or not _are_genres(genres):
        raise UserError(f"{CONFIG} is not what push writes: it needs config, spec and genres.")
    try:
        check_resolved(config)
        config = {**shareable(config), "run_dir": str(path)}
        check_sizes(config)
        described = checked_spec(spec)
        metrics = shareable_metrics(metrics)
    except _FOREIGN_ERRORS as error:
        raise UserError(f"{CONFIG} or {METRICS} is not what push writes ({_reason(error)}).") from None
    nodes = {f"{group}.{name}": node for group in COMBINED for name, node in config[group].items()}
    check_trust(config | nodes, trusted, place=CONFIG, groups=(*GROUPS, *nodes))
    try:
        checked = _checked(config)
        split = Split.from_json(split_record)
        earlier_runs(split_record)
        claimed = (metrics["split"]["hash"], metrics["split"]["leaky"])
        scored, best_epoch = answer(metrics), int(metrics["best_epoch"] or 0)
        if claimed != (split.hash, split.leaky):
            raise UserError(f"{METRICS} is about another split than {SPLIT}, so its results cannot be trusted.")
    except _FOREIGN_ERRORS as error:
        raise UserError(f"{CONFIG}, {METRICS} or {SPLIT} is not what push writes ({_reason(error)}).") from None
    similarity = _json(folder / SIMILARITY) if (folder / SIMILARITY).exists() else None
    try:
        weighting = None if similarity is None else read_weighting(similarity)
    except ValueError:
        raise UserError(f"{SIMILARITY} is not what push writes.") from None
    state = _weights(folder / WEIGHTS, checked, described, genres)
    partial = RunDirectory(path.parent / f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.make()
        partial.write_config(checked.plain)
        partial.write_json(partial.metrics, metrics)
        partial.write_json(partial.split, split_record)
        if weighting is not None:
            partial.write_json(partial.path / SIMILARITY, dict(zip(("sizes", "weights"), weighting, strict=True)))
        known = {"spec": described.plain(), "genres": genres}
        checkpoint = {"state_dict": state, "hyper_parameters": known, "epoch": best_epoch}
        SafeCheckpointIO().save_checkpoint(checkpoint, partial.best)
        try:
            os.replace(partial.path, path)
        except OSError as error:
            raise UserError(f"--to {path} cannot be created ({error.strerror}); choose a new folder.") from error
    finally:
        shutil.rmtree(partial.path, ignore_errors=True)
    if words := pretrained_words(metrics):
        scored += f" PRETRAINED: {words}."
    return f"{scored} LEAKY: not to be compared with other splits." if split.leaky else scored


def _with_genre_map(run: RunDirectory) -> dict[str, Any]:
    """Return the configuration of a run, with the content of the file that ``data.genre_map`` may name."""
    config = run.read_config()
    if isinstance(data := config.get("data"), dict) and data.get("genre_map") is not None:
        try:
            data["genre_map"] = read_genre_map(data["genre_map"])
        except UserError as error:
            raise UserError(f"{run.config}: {error}") from error
    return config


def _checked(config: dict[str, Any]) -> "Config":
    """Check a shared configuration, except for arguments of the dataset and the split that are null.

    Paths are shared as null, also those that a class requires; to use the class, they have to be set again.
    """
    from genreclf.config.config import Config

    sections = {name: config[name] for name in ("data", "split")}
    filled = {name: {key: value for key, value in sections[name].items() if value is not None} for name in sections}
    checked = Config.from_plain({**config, **filled})
    checked.data = {key: value for key, value in sections["data"].items() if key not in vars(checked.clips)}
    checked.split = {key: value for key, value in sections["split"].items() if key not in vars(checked.subsets)}
    return checked


def _check_size(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path.name} is missing: this is not a genreclf model.")
    if path.stat().st_size > LARGEST_BYTES[path.name]:
        raise UserError(f"{path.name} is larger than {LARGEST_BYTES[path.name]} bytes, so it is not read.")


def _json(path: Path) -> dict[str, Any]:
    _check_size(path)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        printable = _is_printable(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not readable as JSON ({type(error).__name__}).") from None
    if not isinstance(content, dict) or not printable:
        raise UserError(f"{path.name} is not what push writes: it is not an object, or has unprintable characters.")
    return content


def _is_printable(value: Any) -> bool:
    """Return whether all strings in a value can be shown in a terminal."""
    if isinstance(value, dict):
        return all(key.isprintable() and _is_printable(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_is_printable, value))
    return not isinstance(value, str) or value.isprintable()


def _are_genres(genres: Any) -> TypeGuard[list[str]]:
    names = isinstance(genres, list) and all(isinstance(genre, str) and 0 < len(genre) <= 200 for genre in genres)
    return names and 1 < len(set(genres)) == len(genres) <= 1000


def _reason(error: Exception) -> str:
    return f"there is no {error.args[0]}" if isinstance(error, KeyError) else str(error)


def _weights(path: Path, config: "Config", spec: "FeatureSpec", genres: list[str]) -> dict[str, Any]:
    """Return the tensors of a file of weights, after checking their names and shapes without allocating memory."""
    from safetensors import SafetensorError, safe_open

    from genreclf.config.weights import check_weights, is_models

    _check_size(path)
    try:
        with safe_open(path, framework="pt") as file:
            shapes = {key: file.get_slice(key).get_shape() for key in file.keys()}  # noqa: SIM118
            scale = cast("Scale", config.features.scale)
            check_weights(shapes, config.model, config.encoder, spec=spec, genres=genres, scale=scale)
            state = {key: file.get_tensor(key) for key in shapes if is_models(key)}
    except ValueError as error:
        raise UserError(f"{WEIGHTS} does not contain the weights of the model in {CONFIG} ({error}).") from None
    except (SafetensorError, RuntimeError, TypeError, OverflowError, MemoryError, OSError) as error:
        raise UserError(f"{WEIGHTS} and {CONFIG} do not make a model ({str(error).strip().splitlines()[0]}).") from None
    if not all(values.isfinite().all() for values in state.values()):
        raise UserError(f"{WEIGHTS} contains NaN or infinity.")
    return state
