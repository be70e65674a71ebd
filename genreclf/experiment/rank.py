"""Process of a rank, ``python -m genreclf.experiment.rank TASK RUN_DIR PARENT``; see `genreclf.distributed.launch`."""

import gc
import os
import sys
import time

from genreclf.distributed.exit_with_parent import exit_with_parent
from genreclf.errors import DIVERGED, INTERRUPTED, TrainingDiverged, UserError
from genreclf.escaping import say
from genreclf.run_directory import RunDirectory

SURVIVED_S = 1.0
"""Seconds that a failing rank waits before it prints its error. If another rank has died, this rank is ended in the
meantime; its error would only say that the connection was lost."""


def main() -> None:
    """Do this rank's share of a task."""
    task, run_dir, parent = sys.argv[1:]
    parent_pid = int(parent)
    exit_with_parent(parent_pid)
    run = RunDirectory(run_dir)
    try:
        gc.disable()  # Imports leave no garbage, and looking for it would take a sixth of the time.
        from genreclf.experiment.run import take_part

        gc.enable()
        take_part(task, run_dir)
    except KeyboardInterrupt:
        raise SystemExit(INTERRUPTED) from None
    except TrainingDiverged as error:  # Raised on every rank; the process that started the ranks reports it once.
        run.record_failure(error, unless_known=True)
        raise SystemExit(DIVERGED) from None
    except UserError as error:
        run.record_failure(error, unless_known=True)
        if os.environ["RANK"] == "0":
            say(error)
        if run.read_config().get("debug"):
            raise
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        if os.getppid() == parent_pid:  # Otherwise the run was killed, and another rank ended first.
            run.record_failure(error, unless_known=True)
        time.sleep(SURVIVED_S)
        raise


if __name__ == "__main__":
    main()
