"""Definition in code of a W&B workspace and report for finished runs."""

import contextlib
import io
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from genreclf.comparison.naming import settings_of, varying_keys
from genreclf.config.identity import OF_LATER_VERSIONS, WHOLE_TRAINING_SET, flat
from genreclf.errors import UserError, missing_packages
from genreclf.evaluation.metrics import get_metric
from genreclf.run_directory import RunDirectory

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    try:
        import wandb_workspaces.reports.v2.interface as wr
        import wandb_workspaces.workspaces as ws
        from wandb_workspaces import expr
    except ModuleNotFoundError as missing:
        raise missing_packages("dashboard", "dashboard", str(missing.name)) from missing

CURVES = ("val/track_accuracy", "val/track_loss", "train/loss", "train/accuracy")
"""Metrics that are logged every epoch and plotted over `EPOCH`."""
BY_STEP = ("lr", "train/loss_step")
"""Metrics that are logged every few training steps and plotted over `STEP`."""
COSTS = ("epoch_s", "clips_per_s", "gpu_memory_gb")
"""Time, speed and GPU memory of each epoch, plotted over `EPOCH`."""
EPOCH, STEP = "epoch", "trainer/global_step"
OBJECTIVE = "objective"
SCORES = (OBJECTIVE, "test/track/accuracy", "test/track/f1_macro")
INTERVALS = {"accuracy_ci95": "95 % interval", "accuracy_ci95_artists": "95 % interval over artists"}
PER_GENRE = "test/per_genre/"
"""Beginning of the names of scores by genre, which is followed by the genre, a slash and the score."""
CONFUSION = "test/confusion"
TRACKS = "test/tracks"
SPECTROGRAMS = "test/spectrograms"
MODEL = "model._target_"
AXES = 10
"""Largest number of settings in a parallel-coordinates plot."""


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """The description that a W&B workspace and report are built from."""

    name: str
    """Name of both the workspace and the report."""
    project: str
    """Name of the W&B project."""
    entity: str | None
    """W&B user or team; None for the default entity of the account."""
    runs: tuple[str, ...]
    """Names of the runs in W&B; empty for all runs of the project."""
    varied: tuple[str, ...]
    """Dotted keys of the settings in which the runs differ, at most `AXES`."""
    genres: tuple[str, ...]
    """Genres for which the runs have test scores, sorted."""

    @classmethod
    def of(
        cls, name: str, paths: Sequence[Path], *, whole_project: bool = False, needs_record: bool = True
    ) -> "Dashboard":
        """Return the description for finished runs or for their whole W&B project.

        Args:
            name: Name of the workspace and the report.
            paths: Directories of the finished runs.
            whole_project: Whether the panels show all runs of the W&B project instead of the given runs.
            needs_record: Whether to leave out runs that were not logged to W&B.

        Raises:
            UserError: No run is left, or the runs are in several W&B projects.
        """
        runs = [RunDirectory(path) for path in paths]
        logged = [run for run in runs if not needs_record or _record(run.read_config().get("logger", {}))]
        if not logged:
            raise UserError(f"None of the {len(paths)} finished runs was logged to W&B; train with logger=wandb.")
        configs = [run.read_config() for run in logged]
        records = [_record(config["logger"]) for config in configs]
        places = {(record.get("entity"), record.get("project", "genreclf")) for record in records}
        if len(places) > 1:
            named = ", ".join(sorted("/".join(filter(None, place)) for place in places))
            raise UserError(f"The runs are in several W&B projects ({named}); choose runs from one.")
        ((entity, project),) = places
        genres = {genre for run in logged for genre in get_metric(run.read_metrics(), "test.per_genre") or ()}
        return cls(
            name=name,
            project=project,
            entity=entity,
            runs=() if whole_project else tuple(sorted({run.path.resolve().name for run in logged})),
            varied=varied(configs)[:AXES],
            genres=tuple(sorted(genres)),
        )

    def workspace(self) -> ws.Workspace:
        """Return the W&B workspace with the panels in sections."""
        filters = [expr.Metric("Name").isin(list(self.runs))] if self.runs else []
        return ws.Workspace(
            entity=self.entity or "",
            project=self.project,
            name=self.name,
            sections=[ws.Section(name=title, panels=panels, is_open=True) for title, panels in self.sections().items()],
            settings=ws.WorkspaceSettings(x_axis=EPOCH, max_runs=50),
            runset_settings=ws.RunsetSettings(filters=filters),
        )

    def report(self) -> wr.Report:
        """Return the W&B report with the panels of the workspace under headings."""
        runs = wr.Runset(
            # With both an entity and a project, the constructor asks W&B for the project.
            entity=self.entity or "",
            project=self.project,
            name=self.name,
            filters=[expr.Metric("Name").isin(list(self.runs))] if self.runs else [],
        )
        blocks: list[Any] = [wr.TableOfContents()]
        for title, panels in self.sections().items():
            blocks += [wr.H2(title), wr.PanelGrid(runsets=[runs], panels=panels)]
        return wr.Report(
            entity=self.entity or "",
            project=self.project,
            title=self.name,
            description="Made by: python -m genreclf dashboard",
            blocks=blocks,
            width="fluid",
        )

    def sections(self) -> dict[str, list[Any]]:
        """Return the panels of each section by its title."""
        by_model = wr.Config(MODEL)

        def lines(keys: Sequence[str], x: str) -> list[Any]:
            band: dict[str, Any] = {"groupby": by_model, "groupby_rangefunc": "minmax"}
            return [wr.LinePlot(title=key, x=x, y=[key], **band) for key in keys]

        axes = [
            wr.ParallelCoordinatesPlotColumn(metric=wr.Config(key), display_name=key, log=key.endswith(("lr", "decay")))
            for key in self.varied
        ]
        scores = [wr.ParallelCoordinatesPlotColumn(metric=wr.SummaryMetric(key), display_name=key) for key in SCORES]
        compared: list[Any] = [wr.BarPlot(title=key, metrics=[key], groupby=by_model) for key in SCORES]
        compared += [
            wr.BarPlot(title=title, metrics=[f"test/track/{key}/{end}" for end in ("low", "high")])
            for key, title in INTERVALS.items()
        ]
        if axes:
            compared += [
                wr.ParallelCoordinatesPlot(title="Settings and scores", columns=[*axes, *scores]),
                wr.ParameterImportancePlot(with_respect_to=OBJECTIVE),
            ]
        scores_of = {genre: f"{PER_GENRE}{genre}/f1" for genre in self.genres}
        genres = [wr.BarPlot(title=f"F1, {name}", metrics=[key], groupby=by_model) for name, key in scores_of.items()]
        confusion = wr.CustomChart(
            query={"summaryTable": {"tableKey": f"{CONFUSION}_table"}},
            chart_name="wandb/confusion_matrix/v1",
            chart_fields={name: name for name in ("Actual", "Predicted", "nPredictions")},
            chart_strings={"title": "Test tracks"},
        )
        return {
            "Learning curves by model": lines(CURVES, EPOCH),
            "Training by model": lines(BY_STEP, STEP) + lines(COSTS, EPOCH),
            "Settings and scores": compared,
            "Genres": genres,
            "Confusion": [confusion],
            "Spectrograms, true and predicted": [
                wr.WeavePanelSummaryTable(table_name=SPECTROGRAMS, layout=wr.Layout(w=24, h=14)),
                wr.WeavePanelSummaryTable(table_name=TRACKS, layout=wr.Layout(w=24, h=10)),
            ],
        }

    def specification(self) -> dict[str, Any]:
        """Return the workspace and the report in the format of W&B, without contacting W&B."""
        here = Dashboard(**{**self.__dict__, "entity": None})
        workspace = here.workspace()._to_model()
        report = here.report()._to_model()  # type: ignore[no-untyped-call]
        return {
            "project": self.project,
            "entity": self.entity,
            "workspace": workspace.model_dump(mode="json", by_alias=True, exclude_none=True),
            "report": report.model_dump(mode="json", by_alias=True, exclude_none=True),
        }

    def save(self) -> tuple[str, str]:
        """Save the workspace and the report in W&B.

        Returns:
            URLs of the workspace and the report.
        """
        import wandb

        entity = self.entity or wandb.Api(timeout=20).default_entity
        there = Dashboard(**{**self.__dict__, "entity": entity})
        with contextlib.redirect_stderr(io.StringIO()):
            workspace, report = there.workspace(), there.report()
            workspace.save()  # type: ignore[no-untyped-call]
            report.save()
        return str(workspace.url), str(report.url)


def _record(logger: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the W&B settings in the logger configuration of a run; empty if the run was not logged to W&B."""
    record = logger.get("wandb")
    # In earlier versions, the keys of W&B were next to those of the other loggers.
    return record if isinstance(record, Mapping) else logger if record or logger.get("name") == "wandb" else {}


def values_of(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a run by dotted key, also those without effect, which `settings_of` leaves out."""
    return WHOLE_TRAINING_SET | OF_LATER_VERSIONS | flat(config) | settings_of(config)


def varied(configs: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    """Return the dotted keys of the settings and seeds that all of the runs have and in which they differ."""
    keys = varying_keys([settings_of(config) | {"seed": config.get("seed")} for config in configs])
    # Keys that only some models have would leave gaps in the plot.
    return tuple(key for key in keys if all(key in values_of(config) for config in configs))
