"""The server that processes are forked from, forked itself from a test process that has imported all."""

import atexit
import os
import socket
import sys
from multiprocessing import connection, forkserver, resource_tracker


def start_early() -> None:
    """Fork the server of this process from it, in place of a new interpreter that imports PyTorch for seconds.

    To be called before any test has run: what is forked from the server has what this process has now. From Python 3.14
    on, and elsewhere than on Linux, the server starts as it does without tests.
    """
    server = forkserver._forkserver
    if sys.platform != "linux" or hasattr(server, "_forkserver_authkey"):  # Python 3.14 has the two exchange a key.
        return
    resource_tracker.ensure_running()
    address = connection.arbitrary_address("AF_UNIX")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    alive_r, alive_w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(alive_w)
        atexit._clear()  # What this process has to do at its end is not for those that are forked from it.
        for name, descriptor in (("stdout", 1), ("stderr", 2)):  # Pytest's own would stay here.
            setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
        try:
            forkserver.main(listener.detach(), alive_r, ["in_forked_processes"])
        finally:
            os._exit(0)
    listener.close()
    os.close(alive_r)
    server._forkserver_address, server._forkserver_alive_fd, server._forkserver_pid = address, alive_w, pid
