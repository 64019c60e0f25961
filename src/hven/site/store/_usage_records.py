"""What was used how often: sums by month, collection, table, service and kind of user.

Nothing here tells of anybody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.store._database import uses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.store._database import StateDatabase

COUNT_COLUMNS = ("investigations", "requests", "unique_investigations", "unique_requests", "files", "rows", "bytes")
KEY_COLUMNS = ("month", "collection", "table_name", "service", "access")
MAX_MONTHS = 120  # months


class UsageKey(NamedTuple):
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


class UsageCountStore:
    """The sums. They are added to, never set."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        sums = ", ".join(f"{name} = uses.{name} + excluded.{name}" for name in COUNT_COLUMNS)
        all_columns = (*KEY_COLUMNS, *COUNT_COLUMNS)
        self._upsert_statement = sa.text(
            f"INSERT INTO uses ({', '.join(all_columns)}) VALUES "
            f"({', '.join(f':{column_name}' for column_name in all_columns)}) ON CONFLICT "
            f"({', '.join(KEY_COLUMNS)}) DO UPDATE SET {sums}"
        )

    def add_counts(self, sums: Mapping[UsageKey, Sequence[int]]) -> None:
        """Add to the sums, all at once.

        Parameters
        ----------
        sums
            By what was used, in the order of `COUNT_COLUMNS`.
        """
        rows = [dict(zip((*KEY_COLUMNS, *COUNT_COLUMNS), (*key, *values), strict=True)) for key, values in sums.items()]
        if not rows:
            return
        # the oldest months go by their number, not by the date: a clock that is years ahead for a moment takes none
        months = sa.select(uses.c.month).distinct().order_by(uses.c.month.desc()).offset(MAX_MONTHS).limit(1)
        with self._database.begin_write() as connection:
            connection.execute(self._upsert_statement, rows)
            oldest_month = connection.execute(months).scalar()
            if oldest_month is not None:
                connection.execute(sa.delete(uses).where(uses.c.month <= oldest_month))

    def sum_months(self, first_month: str = "", last_month: str = "9999-12") -> dict[UsageKey, tuple[int, ...]]:
        """Return the sums of some months.

        Parameters
        ----------
        first_month, last_month
            Months, inclusive.

        Returns
        -------
        sums
            By what was used, in the order of `COUNT_COLUMNS`.
        """
        columns = [uses.c[name] for name in (*KEY_COLUMNS, *COUNT_COLUMNS)]
        query = (
            sa.select(*columns)
            .where(uses.c.month >= first_month, uses.c.month <= last_month)
            .order_by(*columns[: len(KEY_COLUMNS)])
        )
        with self._database.begin_read() as connection:
            return {
                UsageKey(*row[: len(KEY_COLUMNS)]): tuple(row[len(KEY_COLUMNS) :]) for row in connection.execute(query)
            }


__all__ = ["COUNT_COLUMNS", "MAX_MONTHS", "UsageCountStore", "UsageKey"]
