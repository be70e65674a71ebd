"""What a user can do something about."""

INTERRUPTED = 130
"""Exit code after Ctrl-C."""


class UserError(Exception):
    """A mistake in the command, the configuration or the data.

    The message is what the user reads, without a traceback: it names the key or the file and the way out. The command
    then ends with `exit_code`.
    """

    exit_code = 2
