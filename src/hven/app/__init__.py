"""The command line (`_cli`) and the server (`_server`). No other package imports this one."""

from __future__ import annotations

import gc
import os
import signal
import sys
from pathlib import Path

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
    _open_closed_streams()
    gc.disable()  # while modules are loaded, whose objects stay: a tenth of the time of a short verb
    from hven.app._cli import main as run  # noqa: PLC0415  (server workers import this package, and need no commands)

    refuse_pandas_imports()

    return run()


def _open_closed_streams() -> None:
    """Open the standard streams that the caller closed (`>&-`): otherwise, other files get their numbers."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115  (for the whole process)
