"""The listening socket that a service manager such as systemd passes to the server: see sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket

from hven.model.errors import UsageError

FIRST_FILE_DESCRIPTOR = 3
_REMEDY = "use a socket unit with one line ListenStream=ADDRESS:PORT; `hven deploy` writes one"


def take_activation_socket() -> socket.socket | None:
    """Take the socket that a service manager has passed to this process.

    Returns
    -------
    socket
        A socket that listens; None: none was passed.

    Raises
    ------
    UsageError
        The server can't listen on what was passed.
    """
    target_pid, count = (os.environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS"))
    if target_pid != str(os.getpid()) or count in {"", "0"}:
        return None
    if count != "1":
        raise UsageError(f"the service manager passed {count} sockets, but Hven listens on only one", remedy=_REMEDY)
    try:
        activation_socket = socket.socket(fileno=FIRST_FILE_DESCRIPTOR)
    except OSError as error:
        raise UsageError(f"the service manager passed no socket: {error.strerror}", remedy=_REMEDY) from None
    is_listening = activation_socket.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    if activation_socket.family not in {socket.AF_INET, socket.AF_INET6} or not is_listening:
        activation_socket.detach()  # it is not this program's to close
        raise UsageError("the service manager passed a socket that does not listen on a TCP port", remedy=_REMEDY)
    return activation_socket
