"""How values of PostgreSQL's binary format are read where psycopg's own way is too narrow."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from psycopg.adapt import Loader
from psycopg.pq import Format

if TYPE_CHECKING:
    from psycopg.abc import Buffer

_POSTGRES_EPOCH_MICROSECONDS = 946_684_800_000_000  # microseconds from 1970 to 2000
_INFINITE_VALUES = (-(2**63), 2**63 - 1)
_unpack_int64 = struct.Struct("!q").unpack


class TimestampLoader(Loader):
    """Reads a timestamp as microseconds since 1970, as Arrow keeps it.

    Python's datetime has the years 1 to 9999 only.
    """

    format = Format.BINARY

    def load(self, data: Buffer) -> int | None:
        """Read one; an infinite one is None."""
        (value,) = _unpack_int64(data)
        return None if value in _INFINITE_VALUES else value + _POSTGRES_EPOCH_MICROSECONDS


def register_timestamp_loader(connection: Any) -> Any:
    """Register our reading of timestamps with a connection."""
    connection.adapters.register_loader("timestamp", TimestampLoader)
    return connection


__all__ = ["TimestampLoader", "register_timestamp_loader"]
