"""Processes that end with their parent."""

import os
import threading
import time
from functools import cache


@cache
def exit_with_parent(parent_pid: int) -> None:
    """End this process within a second after its parent, however that ended: ranks alone wait for each other for ever.

    Args:
        parent_pid: The parent's process number, as the parent knows it: this process may be an orphan already.
    """

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
