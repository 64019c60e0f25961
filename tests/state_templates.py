"""Create the system states of new sites by copying a template: tests open thousands of sites.

Hven creates the first state of a process. The others begin as copies of it and share its compiled statements. Hven
alone creates the states of other processes and those of ``tests/store``, which tests their creation.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hven.site.store import _database
from hven.site.store._database import StateDatabase

if TYPE_CHECKING:
    import sqlalchemy as sa

make_state = StateDatabase._open_or_create


class NewState(StateDatabase):
    """A state that Hven creates without a template."""

    _open_or_create = make_state


@cache
def read_new_state(_format: int) -> bytes:
    """Return the bytes of a new state, for each version of the format."""
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "hven.sqlite"
        NewState(f"sqlite:///{path}").close()
        return path.read_bytes()


def open_state(database: StateDatabase) -> None:
    """Open a state; create a missing one from the template."""
    file = database._file
    if file and database._state_address not in _database._EXPECTED_ADDRESSES and not Path(file).exists():
        new = read_new_state(_database.STATE_FORMAT)
        copy = Path(f"{file}.{os.getpid()}-{threading.get_ident()}")
        # atomic, and never over a state that another process has created; Hven itself reports failures
        with contextlib.suppress(OSError):
            try:
                copy.touch(0o644, exist_ok=False)
                copy.write_bytes(new)
                os.link(copy, file)
            finally:
                copy.unlink(missing_ok=True)
    if database.is_sqlite and _first_engine:
        share_statements(database.engine)
    make_state(database)
    if database.is_sqlite and not _first_engine:  # it is connected, so its dialect knows the database
        _first_engine.append((database.engine.dialect, database.engine._compiled_cache))


# the dialect of the first engine and its compiled statements
_first_engine: list[tuple[sa.Dialect, Any]] = []


def share_statements(engine: sa.Engine) -> None:
    """Let an engine use the compiled statements of the first engine of this process."""
    engine.dialect, engine._compiled_cache = _first_engine[0]
    engine.pool._dialect = engine.dialect


def install() -> None:
    """Create new states from the template from now on."""
    StateDatabase._open_or_create = open_state  # type: ignore[method-assign]


install()
