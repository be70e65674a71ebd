"""One rank: ``python -m genreclf.parallel.rank TASK RUN_DIR``, started by `genreclf.parallel.launch`."""

import os
import sys

from genreclf.errors import UserError


def main() -> None:
    """Do this rank's share of a task."""
    from genreclf.config import Config
    from genreclf.experiment import TASKS
    from genreclf.rundir import RunDirectory

    task, run_dir = sys.argv[1:]
    plain = RunDirectory(run_dir).read_config()
    try:
        config = Config.from_plain({**plain, "run_dir": run_dir})
        TASKS[task].compute(config, TASKS[task].prepare(config))
    except UserError as error:
        if os.environ["RANK"] == "0":
            RunDirectory(run_dir).record_failure(error)
            print(error, file=sys.stderr)
        if plain.get("debug"):
            raise
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        RunDirectory(run_dir).record_failure(error)
        raise


if __name__ == "__main__":
    main()
