"""Forward pass of a validation, recorded with the second batch and replayed from then on."""

from collections.abc import Callable

from torch import Tensor

from genreclf.data.clips import ClipBatch
from genreclf.training.gate import DEVICE_GATE
from genreclf.training.recorder import Recorder, Work
from genreclf.training.whole_step import first_cause

Forward = Callable[[Tensor], tuple[ClipBatch, Tensor]]
"""Function that maps the rows of a batch, on the device, to its clips and their logits."""


class RecordedForward:
    """Forward pass that is recorded and replayed, except for batches of another size, or if recording fails.

    Args:
        forward: Forward pass to record.
        recorder: Recorder of the device.
        warn: Function that is called with a reason if the forward pass cannot be recorded.
    """

    def __init__(self, forward: Forward, *, recorder: Recorder, warn: Callable[[str], None]) -> None:
        self._forward, self._recorder, self._warn = forward, recorder, warn
        self._rows: Tensor | None = None
        self._replay: Work | None = None
        self._is_warm = False

    def __call__(self, rows: Tensor) -> tuple[ClipBatch, Tensor]:
        """Return the clips of `rows` ``(batch, 3)`` and their logits; the next call may overwrite both."""
        if self._is_warm and self._rows is None:
            self._record(rows.clone())
        if self._replay is not None and self._rows is not None and self._rows.shape == rows.shape:
            self._rows.copy_(rows)
            self._replay()
            return self._result
        results: list[tuple[ClipBatch, Tensor]] = []
        self._recorder.run(lambda: results.append(self._forward(rows)))
        self._is_warm = True
        return results[0]

    def _record(self, rows: Tensor) -> None:
        self._rows = rows

        def work() -> None:
            self._result = self._forward(rows)

        try:
            with DEVICE_GATE.alone():
                self._replay = self._recorder.record(work)
        except RuntimeError as error:
            self._warn(f"recording it failed ({first_cause(error)})")
