"""One rank: ``python -m genreclf.parallel.rank TASK RUN_DIR PARENT``, started by `genreclf.parallel.launch`."""

import os
import sys

from genreclf.errors import UserError
from genreclf.parallel.orphans import end_with_parent


def main() -> None:
    """Do this rank's share of a task."""
    task, run_dir, parent_pid = sys.argv[1:]
    end_with_parent(int(parent_pid))
    from genreclf.experiment import take_part
    from genreclf.rundir import RunDirectory

    try:
        take_part(task, run_dir)
    except UserError as error:
        if os.environ["RANK"] == "0":
            RunDirectory(run_dir).record_failure(error)
            print(error, file=sys.stderr)
        if RunDirectory(run_dir).read_config().get("debug"):
            raise
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        RunDirectory(run_dir).record_failure(error)
        raise


if __name__ == "__main__":
    main()
