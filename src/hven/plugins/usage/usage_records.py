"""How often what was used: sums by month, collection, table, service and kind of user.

The sums identify nobody.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.api.store_tables import PackageTableSet

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site.api.store_tables import StateDatabase

COUNT_COLUMNS = ("investigations", "requests", "unique_investigations", "unique_requests", "files", "rows", "bytes")
KEY_COLUMNS = ("month", "collection", "table_name", "service", "access")
_ALL_COLUMNS = (*KEY_COLUMNS, *COUNT_COLUMNS)
MAX_MONTHS = 120
TABLES = PackageTableSet()
uses = TABLES.define_table(  # how often what was used
    "uses",
    """
    month                 text key
    collection            text key  -- empty: the site
    table_name            text key  -- empty: the collection as a whole
    service               text key  -- empty: all services together
    access                text key
    investigations        big
    requests              big
    unique_investigations big
    unique_requests       big
    files                 big
    rows                  big
    bytes                 big
    """,
)


class UsageKey(NamedTuple):
    """What was used.

    Attributes
    ----------
    month
        ``2026-11``.
    collection
        Name of the collection; empty: the site.
    table
        Name of the table without the collection; empty: the collection as a whole, which counts each action once.
    service
        Name of a service; empty: all services together.
    access
        ``regular``, ``machine`` or ``robot``.
    """

    month: str
    collection: str = ""
    table: str = ""
    service: str = ""
    access: str = "regular"


class UsageCountStore:
    """The sums of a site. Counts are added to them; they are never set."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database
        names = ", ".join(_ALL_COLUMNS)
        placeholders = ", ".join(f":{name}" for name in _ALL_COLUMNS)
        key_names = ", ".join(KEY_COLUMNS)
        sums = ", ".join(f"{name} = uses.{name} + excluded.{name}" for name in COUNT_COLUMNS)
        self._upsert_statement = sa.text(
            f"INSERT INTO uses ({names}) VALUES ({placeholders}) ON CONFLICT ({key_names}) DO UPDATE SET {sums}"
        )

    def add_counts_and_delete_old_months(self, sums: Mapping[UsageKey, Sequence[int]]) -> None:
        """Add counts to the sums, all at once.

        Parameters
        ----------
        sums
            Counts in the order of `COUNT_COLUMNS`, by what was used.
        """
        rows = [dict(zip(_ALL_COLUMNS, (*key, *counts), strict=True)) for key, counts in sums.items()]
        if not rows:
            return
        # the oldest months are deleted by their number, not by the date: a clock that is years ahead for a moment
        # deletes none
        months = sa.select(uses.c.month).distinct().order_by(uses.c.month.desc())
        with self._database.begin_write() as connection:
            connection.execute(self._upsert_statement, rows)
            first_excess_month = connection.execute(months.offset(MAX_MONTHS).limit(1)).scalar()
            if first_excess_month is not None:
                connection.execute(sa.delete(uses).where(uses.c.month <= first_excess_month))

    def read_usage_sums(self, first_month: str = "", last_month: str = "9999-12") -> dict[UsageKey, tuple[int, ...]]:
        """Return the sums of a range of months.

        Parameters
        ----------
        first_month, last_month
            Months, inclusive.

        Returns
        -------
        sums
            Counts in the order of `COUNT_COLUMNS`, by what was used.
        """
        key_count = len(KEY_COLUMNS)
        columns = [uses.c[name] for name in _ALL_COLUMNS]
        query = sa.select(*columns).where(uses.c.month >= first_month, uses.c.month <= last_month)
        with self._database.begin_read() as connection:
            rows = connection.execute(query.order_by(*columns[:key_count]))
            return {UsageKey(*row[:key_count]): tuple(row[key_count:]) for row in rows}
