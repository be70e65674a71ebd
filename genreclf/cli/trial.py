"""``python -m genreclf trial SWEEP [overrides] --search KEYS -- ...``: train a trial of a W&B sweep for an agent."""

import os
from pathlib import Path

from genreclf.cli.parser import Parser
from genreclf.errors import UserError


def parser() -> Parser:
    """Return the argument parser of the command."""
    command = Parser(
        "trial",
        "Train one trial of a W&B sweep in its own folder in SWEEP. `wandb agent` calls this command, with the "
        "parameters of the trial after a --. A finished trial is not trained again; a killed one continues.",
    )
    command.add_argument("sweep", metavar="SWEEP", type=Path, help="folder of the sweep")
    command.add_argument(
        "--search", metavar="KEYS", required=True, help="keys that the sweep searches, such as seed,model"
    )
    command.add_overrides("settings of all trials, as for a training")
    return command


def main(arguments: list[str]) -> None:
    """Train the trial, or report the result to W&B again if the trial is already finished."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    asked = parser().parse(arguments[:end])
    from genreclf.cli.compose import composed
    from genreclf.cli.directories import fixed_keys, job_folder
    from genreclf.sweep.job import Job, JobFailed, job_folders
    from genreclf.sweep.process import hide_gpus_from
    from genreclf.sweep.wandb import trial_arguments

    overrides = [*trial_arguments(arguments[end + 1 :], asked.search.split(",")), *asked.overrides]
    if "run_dir" in (fixed := fixed_keys(asked.overrides)):
        raise UserError("run_dir is for a single run; a sweep gives each trial its own.")
    config = composed(overrides, asked.config_dir, can_sweep=True)
    job = Job(
        run_dir=asked.sweep / job_folder(overrides, fixed, _root_=config),
        sweep_dir=asked.sweep,
        number=len(job_folders(asked.sweep)),
        overrides=overrides,
        fixed=fixed,
    )
    was_finished = job.run.status == "finished"
    hide_gpus_from([config])
    job.carry_out(config, logged=False, in_new_process=False)
    try:
        job.result(searched=True)
    except JobFailed as failure:
        raise SystemExit(job.record["exit_code"] or failure.exit_code) from None
    if was_finished and "WANDB_SWEEP_ID" in os.environ:
        from genreclf.experiment.tasks import record_again

        record_again(job.check(config))
