"""Measure the energy that a training takes with CodeCarbon, without network access."""

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
    """Receives the readings of CodeCarbon and keeps the sums."""

    kwh = kg_co2eq = 0.0

    def out(self, total: Any, delta: Any) -> None:
        """Keep the sums since the start."""
        self.kwh, self.kg_co2eq = float(total.energy_consumed), float(total.emissions)


class EnergyMeter(Callback):
    """Measure the energy of the machine while it trains, over all attempts of a training.

    CodeCarbon reads the counters of the processor (RAPL) and of NVIDIA GPUs where it may. Else it estimates the
    processor from its nominal power and load, and always the memory from its size. It measures the whole machine of the
    first device, so that other programs count as well.

    Args:
        country: Three letters of the country (ISO 3166-1, such as FRA), whose mix of electricity tells the emissions;
            None: no emissions are told.
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
        """What was measured and how, as CodeCarbon calls it."""

    @property
    def energy_record(self) -> dict[str, Any]:
        """What ``metrics.json`` says of the energy; empty where nothing was measured."""
        if not self.sources:
            return {}
        sums = {key: value + getattr(self._reading, key) for key, value in self._before.items()}
        told = sums if self.country else {"kwh": sums["kwh"]}
        return {"energy": {key: float(f"{value:.4g}") for key, value in told.items()}, "energy_sources": self.sources}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start to measure, on one rank."""
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
        """Read the sums, before the checkpoint of the epoch keeps them."""
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

    def state_dict(self) -> dict[str, float]:
        """Return the sums so far, for the checkpoint."""
        return {key: value + getattr(self._reading, key) for key, value in self._before.items()}

    def load_state_dict(self, state_dict: dict[str, float]) -> None:
        """Go on from the sums of a checkpoint."""
        self._before = {key: float(state_dict[key]) for key in self._before}
