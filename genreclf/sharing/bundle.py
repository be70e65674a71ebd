"""What is shared of a run, and a run made of what was shared; files from elsewhere are taken as hostile."""

import copy
import json
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any, TypeGuard

from genreclf import __version__
from genreclf.errors import UserError
from genreclf.rundir import RunDirectory

CONFIG, WEIGHTS, METRICS, SPLIT, CARD = "config.json", "model.safetensors", "metrics.json", "split.json", "README.md"

LARGEST_BYTES = {CONFIG: 2**20, METRICS: 2**22, SPLIT: 2**26, WEIGHTS: 2**32}
"""What a run is made of again, and how large each file may be."""

OURS = ("genreclf.", "torch.nn.", "torch.optim.")
"""Where classes named by a configuration may come from unless the user trusts another module."""

_LARGEST_SPEC = {
    "n_mels": 2**12,
    "clip_frames": 2**20,
    "frames_per_second": 2**16,
    "sample_rate": 10**6,
    "n_fft": 2**20,
    "hop_length": 2**20,
}


def needs(extra: str, *modules: str) -> None:
    """Check that what an extra installs is there.

    Raises:
        UserError: It is not.
    """
    if missing := [name for name in modules if find_spec(name) is None]:
        raise UserError(f'This needs {", ".join(missing)}: python -m pip install -e ".[{extra}]".')


def write_bundle(run: RunDirectory, folder: Path) -> None:
    """Write what is shared of a finished run, but for the card, into a folder.

    Paths of this machine, the logger's names and the loss's own values stay here.

    Raises:
        UserError: The run is not finished, or damaged.
    """
    needs("hub", "safetensors")
    from safetensors.torch import save_file

    from genreclf.checkpoint import load_checkpoint

    metrics, split = run.read_metrics(), run.read_json(run.split)
    if metrics.get("status") != "finished":
        raise UserError(f"{run.path} is not finished, so there are no figures to share; finish it first.")
    checkpoint = load_checkpoint(run.best)
    known = checkpoint["hyper_parameters"]
    config = {
        "genreclf": __version__,
        "genres": list(known["genres"]),
        "spec": dict(known["spec"]),
        "config": shareable(run.read_config()),
    }
    state = {key: values.contiguous() for key, values in checkpoint["state_dict"].items() if _is_models(key)}
    save_file(state, folder / WEIGHTS, metadata={"format": "pt"})
    for name, content in ((CONFIG, config), (METRICS, metrics), (SPLIT, split)):
        (folder / name).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def shareable(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration without what is this machine's or this user's alone."""
    shared: dict[str, Any] = _without_folders(copy.deepcopy(dict(config)))
    shared |= {"run_dir": "", "init_from": None}
    for section in ("data", "split"):
        shared[section] = _without_folders(shared[section], relative=True)
    shared["data"] |= {"store_dir": None}
    shared["split"] |= {"unseen": False}  # Without init_from there is nothing that it could have seen.
    shared["logger"] |= {"entity": None, "group": None, "tags": []}
    return shared


def _without_folders(value: Any, *, relative: bool = False) -> Any:
    """Return `value` with every absolute path in it, and every relative one if asked, cut down to its last name."""
    if isinstance(value, dict):
        return {key: _without_folders(entry, relative=relative) for key, entry in value.items()}
    if isinstance(value, list):
        return [_without_folders(entry, relative=relative) for entry in value]
    if isinstance(value, str):
        for kind in (PurePosixPath(value), PureWindowsPath(value)):
            if kind.is_absolute() or (relative and len(kind.parts) > 1):
                return kind.name
    return value


def rebuild(folder: Path, path: Path, *, trusted: Sequence[str] = ()) -> str:
    """Make a run directory of shared files: `predict`, `evaluate` and `genreclf.load` take it.

    Nothing in the files is executed: classes named by the configuration come from genreclf, PyTorch or a trusted
    module, and the weights are tensors alone, of the names and shapes that the model has.

    Args:
        folder: Where the files lie.
        path: The directory to make.
        trusted: Modules beside genreclf and PyTorch that the configuration may name, such as ``my_model``.

    Returns:
        What it scored, in a sentence.

    Raises:
        UserError: A file is missing, too large, or not what it should be; nothing is made then.
    """
    needs("hub", "safetensors")
    import torch

    from genreclf.config import Config
    from genreclf.data.split import Assignment
    from genreclf.evaluation.report import answer
    from genreclf.lineage import earlier_runs

    shared, metrics, split = (_json(folder / name) for name in (CONFIG, METRICS, SPLIT))
    config, spec, genres = (shared.get(key) for key in ("config", "spec", "genres"))
    if not isinstance(config, dict) or not isinstance(spec, dict) or not _are_genres(genres):
        raise UserError(f"{CONFIG} is not what push writes: it needs config, spec and genres.")
    config["run_dir"] = str(path)
    _check_targets(config, trusted)
    try:
        checked = Config.from_plain(copy.deepcopy(config))
        assignment = Assignment.from_json(split)
        earlier_runs(split)
        told = (metrics["split"]["hash"], metrics["split"]["leaky"])
        scored, best_epoch = answer(metrics), int(metrics["best_epoch"])
        if told != (assignment.hash, assignment.leaky):
            raise UserError(f"{METRICS} tells of another split than {SPLIT} holds, so its figures cannot be trusted.")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UserError(f"{CONFIG}, {METRICS} or {SPLIT} is not what push writes ({error!r}).") from None
    state = _weights(folder / WEIGHTS, checked, _checked_spec(spec), genres)
    partial = RunDirectory(path.parent / f".{path.name}.{secrets.token_hex(4)}.partial")
    try:
        partial.make()
        partial.write_config(config)
        partial.write_json(partial.metrics, metrics)
        partial.write_json(partial.split, split)
        known = {"spec": spec, "genres": genres}
        torch.save({"state_dict": state, "hyper_parameters": known, "epoch": best_epoch}, partial.best)
        try:
            os.replace(partial.path, path)
        except OSError as error:
            raise UserError(f"--to {path} cannot be made ({error.strerror}); choose a new folder.") from error
    finally:
        shutil.rmtree(partial.path, ignore_errors=True)
    return f"{scored} LEAKY: not to be compared with other splits." if assignment.leaky else scored


def _json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise UserError(f"{path.name} is missing: this is no model of genreclf.")
    if path.stat().st_size > LARGEST_BYTES[path.name]:
        raise UserError(f"{path.name} is larger than {LARGEST_BYTES[path.name]} bytes, so it is not read.")
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        printable = _is_printable(content)
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{path.name} is not readable as JSON ({type(error).__name__}).") from None
    if not isinstance(content, dict) or not printable:
        raise UserError(f"{path.name} is not what push writes: it holds no object, or signs that cannot be printed.")
    return content


def _is_printable(value: Any) -> bool:
    """Return whether all strings can be shown in a terminal."""
    if isinstance(value, dict):
        return all(key.isprintable() and _is_printable(entry) for key, entry in value.items())
    if isinstance(value, list):
        return all(map(_is_printable, value))
    return not isinstance(value, str) or value.isprintable()


def _are_genres(genres: Any) -> TypeGuard[list[str]]:
    names = isinstance(genres, list) and all(isinstance(genre, str) and genre for genre in genres)
    return names and 1 < len(set(genres)) == len(genres) <= 1000


def _check_targets(config: Any, trusted: Sequence[str]) -> None:
    """Refuse names of classes from elsewhere, before anything imports them."""
    if isinstance(config, dict):
        name = config.get("_target_")
        allowed = (*OURS, *(f"{module}." for module in trusted))
        if name is not None and not (isinstance(name, str) and name.startswith(allowed)):
            module = str(name).rpartition(".")[0]
            raise UserError(
                f"{CONFIG} names {name}, which is no part of genreclf: read that code, put it where Python finds it, "
                f"and pull with --trust {module}, if you trust it."
            )
        config = list(config.values())
    if isinstance(config, list):
        for entry in config:
            _check_targets(entry, trusted)


def _checked_spec(spec: dict[str, Any]) -> dict[str, Any]:
    """Return what spectrograms are, if its numbers can be meant."""
    from genreclf.features import FeatureSpec

    try:
        FeatureSpec.from_plain(spec)
        for key, largest in _LARGEST_SPEC.items():
            if (value := spec.get(key)) is not None and not 0 < value <= largest:
                raise ValueError(f"{key} of {value}")
    except (TypeError, ValueError) as error:
        raise UserError(f"{CONFIG}: spec is not what push writes ({error}).") from None
    return spec


def _weights(path: Path, config: Any, spec: dict[str, Any], genres: list[str]) -> dict[str, Any]:
    """Return the tensors of the file, if they are those of the model, before memory is spent on either."""
    import torch
    from safetensors import SafetensorError, safe_open

    from genreclf import targets
    from genreclf.features import FeatureSpec

    if not path.is_file():
        raise UserError(f"{path.name} is missing: this is no model of genreclf.")
    if path.stat().st_size > LARGEST_BYTES[WEIGHTS]:
        raise UserError(f"{path.name} is larger than {LARGEST_BYTES[WEIGHTS]} bytes, so it is not read.")
    try:
        with torch.device("meta"):
            model = targets.make(
                "model", config.model, spec=FeatureSpec.from_plain(spec), genres=genres, scale=config.features.scale
            )
        wanted = {key: list(values.shape) for key, values in model.state_dict().items() if _is_models(key)}
        with safe_open(path, framework="pt") as file:
            if {key: file.get_slice(key).get_shape() for key in file.keys()} != wanted:  # noqa: SIM118
                raise UserError(f"{WEIGHTS} does not hold the weights of the model that {CONFIG} describes.")
            state = {key: file.get_tensor(key) for key in wanted}
    except (SafetensorError, RuntimeError, TypeError, ValueError, OverflowError, MemoryError, OSError) as error:
        raise UserError(f"{WEIGHTS} and {CONFIG} make no model ({str(error).strip().splitlines()[0]}).") from None
    if not all(values.isfinite().all() for values in state.values()):
        raise UserError(f"{WEIGHTS} holds values that are no numbers.")
    return state


def _is_models(key: str) -> bool:
    """Return whether a tensor is the model's, not the training's loss or metrics."""
    return key.startswith(("network.", "scaling."))
