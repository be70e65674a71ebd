"""Pictures and tables in those loggers of Lightning's that have a place for them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from lightning.pytorch.loggers import Logger, MLFlowLogger, TensorBoardLogger
from PIL import Image

Rows = Sequence[Sequence[Any]]
"""Of a table: a value per column."""


class MLflowMedia:
    """Pictures and tables as artifacts of an MLflow run, under names such as ``test/confusion``."""

    def __init__(self, logger: MLFlowLogger) -> None:
        self.client, self.run_id = logger.experiment, logger.run_id

    def log_picture(self, name: str, path: Path) -> None:
        """Keep a PNG as an artifact."""
        self.client.log_artifact(self.run_id, str(path), str(Path(name).parent))

    def log_table(self, name: str, columns: Sequence[str], rows: Rows) -> None:
        """Keep a table as MLflow does, in JSON that its page shows as a table."""
        columns_of = {column: [row[place] for row in rows] for place, column in enumerate(columns)}
        self.client.log_table(self.run_id, columns_of, f"{name}.json")


class TensorBoardMedia:
    """Pictures among TensorBoard's images, tables among its texts."""

    def __init__(self, logger: TensorBoardLogger) -> None:
        self.writer: Any = logger.experiment

    def log_picture(self, name: str, path: Path) -> None:
        """Keep a PNG as an image."""
        with Image.open(path) as picture:
            self.writer.add_image(name, np.asarray(picture.convert("RGB")), dataformats="HWC")

    def log_table(self, name: str, columns: Sequence[str], rows: Rows) -> None:
        """Keep a table as a text in Markdown."""
        lines = [columns, ["---"] * len(columns), *rows]
        self.writer.add_text(name, "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines))


def media_of(logger: Logger) -> MLflowMedia | TensorBoardMedia | None:
    """Return where a logger keeps pictures and tables; None if it has no place for them, as a CSV file."""
    if isinstance(logger, MLFlowLogger):
        return MLflowMedia(logger)
    return TensorBoardMedia(logger) if isinstance(logger, TensorBoardLogger) else None
