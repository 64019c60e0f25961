"""What readers cite: persistent addresses of results."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import TooLargeError, format_message
from hven.model.resource import CitedResult
from hven.site.store._database import format_current_time, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import StateDatabase


class CitedResultStore:
    """The cited results of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_result(self, result_id: str) -> CitedResult | None:
        """Return a stored result, or None.

        Parameters
        ----------
        result_id
            Digest of the result.
        """
        with self._database.begin_read() as connection:
            return _read_result(connection, result_id)

    def check_quota(self, maker_digest: str, result_limit: int, daily_limit: int) -> None:
        """Check that one more result may be stored.

        Parameters
        ----------
        maker_digest
            Digest of the client and the day.
        result_limit, daily_limit
            How many results are stored in all, and how many one client may add in a day.

        Raises
        ------
        TooLargeError
            A limit is reached.
        """
        count_query = sa.select(sa.func.count()).select_from(results)
        with self._database.begin_read() as connection:
            total = int(connection.execute(count_query).scalar_one())
            own_count = int(connection.execute(count_query.where(results.c.maker == maker_digest)).scalar_one())
        if total >= result_limit:
            message = format_message("the site already keeps {count:,} addresses of results, which is the limit", total)
            raise TooLargeError(message, remedy="ask the site's operators to raise results.keep in hven.toml")
        if own_count >= daily_limit:
            message = format_message(
                "you have created {count:,} addresses of results today; the limit is {most:,}", own_count, daily_limit
            )
            raise TooLargeError(message, remedy="continue tomorrow, or cite the collection")

    def insert_result_if_absent(self, result_id: str, maker_digest: str, body: Mapping[str, Any]) -> CitedResult:
        """Store a result; a stored one stays as it is.

        Parameters
        ----------
        result_id
            Digest of the result.
        maker_digest
            As for `check_quota`.
        body
            The query, its snapshots, and the count and checksum of its rows.
        """
        cited_result = CitedResult(id=result_id, made=format_current_time(), body=body)
        with self._database.begin_write() as connection:
            stored_result = _read_result(connection, result_id)
            if stored_result is not None:
                return stored_result
            body_text = json.dumps(body, sort_keys=True)
            values = {"id": result_id, "made": cited_result.made, "maker": maker_digest, "body": body_text}
            connection.execute(sa.insert(results).values(values))
        return cited_result


def _read_result(connection: sa.Connection, result_id: str) -> CitedResult | None:
    row = connection.execute(sa.select(results).where(results.c.id == result_id)).first()
    if row is None:
        return None
    return CitedResult(id=row.id, made=row.made, body=json.loads(row.body))
