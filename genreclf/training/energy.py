"""Measure the energy used by a training with CodeCarbon, without network access."""

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from genreclf.errors import missing_packages

try:
    from codecarbon import OfflineEmissionsTracker
    from codecarbon.input import DataSource
    from codecarbon.output_methods.base_output import BaseOutput
except ModuleNotFoundError as missing:
    raise missing_packages("callbacks=codecarbon", "energy", str(missing.name)) from missing


class _LastReading(BaseOutput):  # type: ignore[misc]
    """Receives the readings of CodeCarbon and keeps the totals."""

    kwh = kg_co2eq = 0.0

    def out(self, total: Any, delta: Any) -> None:
        """Keep the totals since the start."""
        self.kwh, self.kg_co2eq = float(total.energy_consumed), float(total.emissions)


class EnergyMeter(Callback):
    """Measure the energy that the machine uses while it trains, over all attempts of a training.

    CodeCarbon reads the energy counters of the CPU (RAPL) and of NVIDIA GPUs if it has access to them. Otherwise it
    estimates the power of the CPU from its nominal power and its load; that of the memory is always estimated from its
    size. The measurement covers the whole machine of the first rank, so other programs count as well.

    Args:
        country: Three-letter code of the country (ISO 3166-1, such as FRA) whose electricity mix determines the
            emissions; None: no emissions are reported.
        interval_s: Seconds from one reading to the next.

    Raises:
        ValueError: CodeCarbon does not know the country.
    """

    def __init__(self, country: str | None = None, interval_s: float = 15.0) -> None:
        if country is not None and country not in DataSource().get_global_energy_mix_data():
            raise ValueError(f"country={country} is not a three-letter country code that CodeCarbon knows, such as FRA")
        self.country, self.interval_s = country, interval_s
        self._before = {"kwh": 0.0, "kg_co2eq": 0.0}
        self._reading = _LastReading()
        self._tracker: Any = None
        self.sources: list[str] = []
        """What was measured and how, in the words of CodeCarbon."""

    @property
    def energy_record(self) -> dict[str, Any]:
        """Entries of ``metrics.json`` about energy; empty if nothing was measured."""
        sums = self._sums
        if not self.sources and not sums["kwh"]:
            return {}
        told = sums if self.country else {"kwh": sums["kwh"]}
        return {"energy": {key: float(f"{value:.4g}") for key, value in told.items()}, "energy_sources": self.sources}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start measuring, on the first rank only."""
        if not trainer.is_global_zero:
            return
        self._tracker = OfflineEmissionsTracker(
            country_iso_code=self.country or "USA",
            measure_power_secs=self.interval_s,
            tracking_mode="machine",
            allow_multiple_runs=True,
            save_to_file=False,
            log_level="error",
            output_handlers=[self._reading],
        )
        self._tracker.start()
        self.sources = [str(part) for part in self._tracker._conf.get("hardware", [])]

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Update the totals before they are saved in the checkpoint of the epoch."""
        if self._tracker is not None:
            self._tracker.flush()

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop measuring."""
        if self._tracker is not None:
            self._tracker.stop()
            self._tracker = None

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Stop measuring."""
        self.on_train_end(trainer, pl_module)

    @property
    def _sums(self) -> dict[str, float]:
        return {key: value + getattr(self._reading, key) for key, value in self._before.items()}

    def state_dict(self) -> dict[str, Any]:
        """Return the totals so far and what was measured, for the checkpoint."""
        return {**self._sums, "sources": self.sources}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Continue from the totals in a checkpoint; those of earlier versions do not say what was measured."""
        self._before = {key: float(state_dict[key]) for key in self._before}
        self.sources = [str(source) for source in state_dict.get("sources", [])]
