"""``python -m genreclf evaluate RUN [overrides]``: test the best checkpoint of a run again, on any data and devices."""

from datetime import datetime
from pathlib import Path

from genreclf.errors import UserError

HELP = """usage: python -m genreclf evaluate RUN [KEY=VALUE ...]

Test the best checkpoint of a run again, by default as it was tested, and write metrics and predictions into a new
folder, RUN/evaluations/TIME or run_dir=DIR. Settings choose other data, another split or other devices, such as
split=artist_folds split.fold=3 trainer.devices=2."""


def main(arguments: list[str]) -> None:
    """Write metrics and predictions into `run_dir`, by default a new folder beside the run's checkpoints."""
    if arguments[:1] in (["-h"], ["--help"]):
        print(HELP)
        return
    from genreclf.commands.compose import checked_again
    from genreclf.rundir import RunDirectory

    if not arguments or "=" in arguments[0]:
        raise UserError("evaluate wants a run directory first: python -m genreclf evaluate RUN [KEY=VALUE ...]")
    trained, *overrides = arguments
    run = RunDirectory(trained)
    plain = run.read_config()
    run_dir = Path(trained) / "evaluations" / datetime.now().strftime("%Y-%m-%d_%H-%M-%S-%f")
    config = checked_again({**plain, "run_dir": str(run_dir), "init_from": trained}, overrides)
    if Path(config.run_dir).resolve() == run.path.resolve():
        raise UserError(f"run_dir={config.run_dir} is the run itself; choose another for its evaluation.")
    from genreclf.experiment import carry_out

    carry_out("evaluate", config)
