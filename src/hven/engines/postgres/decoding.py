"""How values of PostgreSQL's binary format are read where psycopg's own way is too narrow."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from psycopg.adapt import Loader
from psycopg.pq import Format

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_EPOCH = 946_684_800_000_000  # microseconds from 1970 to 2000
_INFINITE = (-(2**63), 2**63 - 1)
_LONG = struct.Struct("!q").unpack


class Instant(Loader):
    """Reads a timestamp as microseconds since 1970, as Arrow keeps it: Python's datetime has the years 1 to 9999 only."""

    format = Format.BINARY

    def load(self, data: Buffer) -> int | None:
        """Read one; an infinite one is None."""
        (value,) = _LONG(data)
        return None if value in _INFINITE else value + _EPOCH


def widen(connection: Any) -> Any:
    """Register our reading of timestamps with a connection."""
    connection.adapters.register_loader("timestamp", Instant)
    return connection


__all__ = ["Instant", "widen"]
