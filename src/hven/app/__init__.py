"""Command line (`_cli`) and server (`_server`); no other package imports this one."""

from __future__ import annotations

from hven.model import refuse_pandas_imports


def main() -> int:
    """Run the command ``hven``.

    Returns
    -------
    code
        Of exit.
    """
    from hven.app._cli import main as run  # noqa: PLC0415  (workers are under this roof and need no commands)

    refuse_pandas_imports()

    return run()
