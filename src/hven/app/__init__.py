"""The command line (`_cli`) and the server (`_server`). No other package imports this one."""

from __future__ import annotations

import gc
import os
import signal

from hven.model import refuse_pandas_imports


def main() -> int:
    """Run the command ``hven``.

    Returns
    -------
    code
        Exit code of the process.
    """
    if os.getpid() == 1:  # in a container, where a signal without a handler does nothing
        signal.signal(signal.SIGTERM, signal.default_int_handler)
    gc.disable()  # while modules are loaded, whose objects stay: a tenth of the time of a short verb
    from hven.app._cli import main as run  # noqa: PLC0415  (server workers import this package, and need no commands)

    refuse_pandas_imports()

    return run()
