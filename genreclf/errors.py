"""What a user can do something about."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""

TERMINATED = 143
"""Exit code after SIGTERM."""

DIVERGED = 3
"""Exit code of a rank whose training diverged, for the process that started it; the command ends with 1."""


class UserError(Exception):
    """A mistake in the command, the configuration or the data.

    The message is what the user reads, without a traceback: it names the key or the file and the way out. The command
    then ends with `exit_code`.
    """

    exit_code = 2


class TrainingDiverged(UserError):
    """The loss of a training is not a number or infinite."""

    exit_code = 1


class Terminated(BaseException):
    """The process was told to end (SIGTERM), as by a batch system; the message says how to go on."""


class UnreadableTrack(Exception):
    """One track that cannot be read; the store collects them and names all at the end."""
