"""Decoding of timestamps from PostgreSQL's binary format, with a wider range than that of psycopg."""

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
    """A loader of timestamps as microseconds since 1970, as in Arrow.

    Python's datetime has only the years 1 to 9999.
    """

    format = Format.BINARY

    def load(self, data: Buffer) -> int | None:
        """Decode a timestamp; an infinite one is None."""
        microseconds: int = _unpack_int64(data)[0]
        if microseconds in _INFINITE_VALUES:
            return None
        return microseconds + _POSTGRES_EPOCH_MICROSECONDS


def register_timestamp_loader(connection: Any) -> Any:
    """Register the loader of timestamps with a connection."""
    connection.adapters.register_loader("timestamp", TimestampLoader)
    return connection
