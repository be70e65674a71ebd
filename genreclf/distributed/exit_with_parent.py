"""End a process together with its parent."""

import os
import threading
import time
from functools import cache


@cache
def exit_with_parent(parent_pid: int) -> None:
    """Exit this process within a second after its parent ends for any reason; otherwise ranks would wait forever."""

    def watch() -> None:
        while os.getppid() == parent_pid:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
