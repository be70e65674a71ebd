"""Reading what a training kept."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import torch

from genreclf.errors import UserError


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Return a checkpoint, on the CPU.

    Raises:
        UserError: It is not there or damaged.
    """
    try:
        checkpoint: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"There is no {path}: the run has not finished an epoch.") from error
    except (OSError, RuntimeError, EOFError, pickle.UnpicklingError, zipfile.BadZipFile) as error:
        raise UserError(f"The checkpoint {path} is damaged; delete it to start anew.") from error
    return checkpoint
