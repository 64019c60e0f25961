"""What was used how often: sums by month, collection, table, service and kind of user; nothing here tells of anybody."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.store._database import uses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store._database import Database

COUNTS = ("investigations", "requests", "unique_investigations", "unique_requests", "files", "rows", "bytes")
KEYS = ("month", "collection", "table_name", "service", "access")
KEPT = 120  # months


class Used(NamedTuple):
    """What was used.

    Attributes
    ----------
    month
        ``2026-11``.
    collection
        Its name; empty: the site.
    table
        Without the collection; empty: the collection as a whole, which has each action once.
    service
        Name of a face; empty: all together.
    access
        ``regular``, ``machine`` or ``robot``.
    """

    month: str
    collection: str = ""
    table: str = ""
    service: str = ""
    access: str = "regular"


class Uses:
    """The sums. They are added to, never set."""

    def __init__(self, database: Database) -> None:
        self._database = database
        sums = ", ".join(f"{name} = uses.{name} + excluded.{name}" for name in COUNTS)
        every = (*KEYS, *COUNTS)
        self._add = sa.text(
            f"INSERT INTO uses ({', '.join(every)}) VALUES ({', '.join(f':{one}' for one in every)}) ON CONFLICT ({', '.join(KEYS)}) DO UPDATE SET {sums}"
        )

    def add(self, sums: Mapping[Used, Sequence[int]]) -> None:
        """Add to the sums, all at once.

        Parameters
        ----------
        sums
            By what was used, in the order of `COUNTS`.
        """
        rows = [dict(zip((*KEYS, *COUNTS), (*key, *values), strict=True)) for key, values in sums.items()]
        if not rows:
            return
        # the oldest months go by their number, not by the date: a clock that is years ahead for a moment takes none
        months = sa.select(uses.c.month).distinct().order_by(uses.c.month.desc()).offset(KEPT).limit(1)
        with self._database.writing() as connection:
            connection.execute(self._add, rows)
            if (old := connection.execute(months).scalar()) is not None:
                connection.execute(sa.delete(uses).where(uses.c.month <= old))

    def all(self, since: str = "", until: str = "9999-12") -> dict[Used, tuple[int, ...]]:
        """Return the sums of some months.

        Parameters
        ----------
        since, until
            Months, inclusive.

        Returns
        -------
        sums
            By what was used, in the order of `COUNTS`.
        """
        columns = [uses.c[name] for name in (*KEYS, *COUNTS)]
        query = sa.select(*columns).where(uses.c.month >= since, uses.c.month <= until).order_by(*columns[: len(KEYS)])
        with self._database.reading() as connection:
            return {Used(*row[: len(KEYS)]): tuple(row[len(KEYS) :]) for row in connection.execute(query)}


__all__ = ["COUNTS", "KEPT", "Used", "Uses"]
