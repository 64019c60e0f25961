"""Count the results that users have cited: they have a persistent address (`hven.query.cited_results`)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

import sqlalchemy as sa

from hven.site.api.state_tables import metadata

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.site.api.state_tables import StateDatabase

MAX_READ_RESULTS = 10_000  # the newest


class CitableResult(NamedTuple):
    """A result with an address: its identifier, when it got it (ISO, UTC), and the collections whose rows it has."""

    id: str
    time: str
    collections: Sequence[str]


class CitableResultReader:
    """Reads which results were cited.

    Parameters
    ----------
    database
        The system state.
    """

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_new_citable_results(self, since: str) -> list[CitableResult]:
        """List the results that got an address since a time, the newest first.

        Parameters
        ----------
        since
            ISO time, UTC.
        """
        results = metadata.tables["results"]
        query = sa.select(results.c.id, results.c.made, results.c.body).where(results.c.made >= since)
        query = query.order_by(results.c.made.desc()).limit(MAX_READ_RESULTS)
        with self._database.begin_read() as connection:
            rows = connection.execute(query).all()
        return [CitableResult(row.id, row.made, tuple(json.loads(row.body).get("collections", ()))) for row in rows]
