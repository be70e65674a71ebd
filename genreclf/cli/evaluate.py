"""``python -m genreclf evaluate RUN [overrides]``: test the best checkpoint of a run again, on any data and devices."""

from datetime import datetime
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.errors import UserError


def main(arguments: list[str]) -> None:
    """Write metrics and predictions into `run_dir`, by default a new folder beside the run's checkpoints."""
    asked = parser().parse(arguments)
    from genreclf.cli.compose import checked_again, refuse_without_effect
    from genreclf.run_directory import RunDirectory

    refuse_without_effect(asked.overrides)
    run = RunDirectory(asked.run)
    run_dir = run.path / "evaluations" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    given = {"run_dir": str(run_dir), "init_from": asked.run, "ckpt_path": None}
    config = checked_again(run, asked.overrides, trust=asked.trust, config_dir=asked.config_dir, **given)
    if Path(config.run_dir).resolve() == run.path.resolve():
        raise UserError(f"run_dir={config.run_dir} is the run itself; choose another for its evaluation.")
    from genreclf.experiment.run import carry_out

    carry_out("evaluate", config)


def parser() -> Parser:
    """Return the parser of the command."""
    command = Parser(
        "evaluate",
        "Test the best checkpoint of a run again, by default as it was tested, and write metrics and predictions into "
        "a new folder, RUN/evaluations/TIME or run_dir=DIR.",
        "Test tracks that the run, or one that it started from, trained or validated on make the result LEAKY; "
        "split.unseen=true leaves them out.",
    )
    command.add_run()
    command.add_overrides("other data, split or devices, such as split=artist_folds split.fold=3 trainer.devices=2")
    return command
