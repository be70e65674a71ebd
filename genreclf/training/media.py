"""Plots and tables for those of Lightning's loggers that can store them, and names that MLflow accepts."""

import hashlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from PIL import Image

Rows = Sequence[Sequence[Any]]
"""Rows of a table, each with one value per column."""
LONGEST_PART = 200
"""Maximum length of a genre in the name of a metric in MLflow, whose names have at most 250 characters."""


class MLflowMedia:
    """Plots and tables as artifacts of an MLflow run, under names such as ``test/confusion``."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.client, self.run_id = logger.experiment, logger.run_id

    def log_picture(self, name: str, path: Path) -> None:
        """Store a PNG file as an artifact."""
        self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))

    def log_table(self, name: str, columns: Sequence[str], rows: Rows) -> None:
        """Store a table in MLflow's JSON format, which its web interface shows as a table."""
        columns_of = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
        self.client.log_table(self.run_id, columns_of, f"{name}.json")


class TensorBoardMedia:
    """Plots as TensorBoard images, and tables as TensorBoard texts."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.writer: Any = logger.experiment

    def log_picture(self, name: str, path: Path) -> None:
        """Store a PNG file as an image."""
        with Image.open(path) as picture:
            self.writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def log_table(self, name: str, columns: Sequence[str], rows: Rows) -> None:
        """Store a table as Markdown text."""
        lines = [columns, ["---"] * len(columns), *rows]
        self.writer.add_text(name, "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def media_of(logger: Logger) -> MLflowMedia | TensorBoardMedia | None:
    """Return where a logger stores plots and tables, or None if it cannot store them, such as a CSV logger."""
    if isinstance(logger, MLFlowLogger):
        return MLflowMedia(logger)
    return TensorBoardMedia(logger) if isinstance(logger, TensorBoardLogger) else None


def mlflow_name(key: str) -> str:
    """Return a part of the name of a metric, such as a genre, so that Lightning keeps it and MLflow accepts it.

    Different parts stay different. Each character other than an ASCII letter, a digit, a space or one of ``_.-`` is
    replaced by its Unicode number, so that ``R&B`` becomes ``R_x26_B``. A name that would be too long for MLflow ends
    with a hash instead.
    """
    ambiguous = "|[.]" if key in (".", "..") else ""  # MLflow takes names for paths.
    name = re.sub(rf"[^\w. -]|_(?=x){ambiguous}", lambda sign: f"_x{ord(sign[0]):x}_", key, flags=re.ASCII) or "_x_"
    if len(name) <= LONGEST_PART:
        return name
    return f"{name[: LONGEST_PART // 2]}_x-{hashlib.sha256(key.encode(errors='surrogatepass')).hexdigest()[:16]}"
