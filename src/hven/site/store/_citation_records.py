"""What papers cite: DOIs with what was told of them, what was withdrawn, and persistent addresses of results."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError, TooLargeError, format_message
from hven.model.resource import Citation, CitedResult
from hven.site.store._database import citations, format_current_time, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import StateDatabase

FINDABLE_STATE, WITHDRAWN_STATE = "findable", "withdrawn"


class CitationStore:
    """The citations of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_citation(self, collection: str, label: str = "") -> Citation | None:
        """Return what is known of a collection or a release.

        Parameters
        ----------
        collection, label
            Which.
        """
        key = Citation(collection=collection, label=label).key
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(citations).where(citations.c.id == key)).first()
        return None if row is None else _citation_from_row(row)

    def list_citations(self) -> list[Citation]:
        """List them, by their names."""
        with self._database.begin_read() as connection:
            return [
                _citation_from_row(row) for row in connection.execute(sa.select(citations).order_by(citations.c.id))
            ]

    def map_dois(self) -> dict[tuple[str, str], str]:
        """Return the DOIs that lead somewhere, by collection and label."""
        query = sa.select(citations.c.collection, citations.c.label, citations.c.doi).where(
            citations.c.doi.is_not(None), citations.c.state.in_((FINDABLE_STATE, WITHDRAWN_STATE))
        )
        with self._database.begin_read() as connection:
            return {(row.collection, row.label): row.doi for row in connection.execute(query)}

    def reserve_doi(self, citation: Citation) -> Citation:
        """Keep a DOI for something before anybody is asked for it, so that whoever tries again asks for the same.

        Parameters
        ----------
        citation
            With the DOI that it gets if it has none.

        Returns
        -------
        citation
            As it is kept: with the DOI that it had before, if it had one.

        Raises
        ------
        ConflictError
            Something else has that DOI.
        """
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(citations).where(citations.c.id == citation.key)).first()
            if row is not None and row.doi is not None:
                return _citation_from_row(row)
            conflicting_row = connection.execute(sa.select(citations).where(citations.c.doi == citation.doi)).first()
            if conflicting_row is not None:
                raise ConflictError(
                    f"{citation.doi} is the DOI of "
                    f"{conflicting_row.collection}{f', {conflicting_row.label}' if conflicting_row.label else ''}",
                    remedy="give another suffix",
                )
            if row is None:
                updated_citation = replace(citation, changed=format_current_time())
            else:
                updated_citation = replace(_citation_from_row(row), doi=citation.doi, changed=format_current_time())
            _replace_citation(connection, updated_citation)
        return updated_citation

    def save_citation(self, citation: Citation) -> Citation:
        """Write what is known now.

        Parameters
        ----------
        citation
            All of it; `changed` is now.
        """
        updated_citation = replace(citation, changed=format_current_time())
        with self._database.begin_write() as connection:
            _replace_citation(connection, updated_citation)
        return updated_citation


class CitedResultStore:
    """The cited results of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_result(self, result_id: str) -> CitedResult | None:
        """Return a result.

        Parameters
        ----------
        result_id
            Its digest.
        """
        with self._database.begin_read() as connection:
            row = connection.execute(sa.select(results).where(results.c.id == result_id)).first()
        if row is None:
            return None
        return CitedResult(id=row.id, made=row.made, body=json.loads(row.body))

    def check_quota(self, maker: str, result_limit: int, daily_limit: int) -> None:
        """See that one more may be kept.

        Parameters
        ----------
        maker
            Digest of who asks, and the day.
        result_limit, daily_limit
            How many are kept in all, and made by one reader in a day.

        Raises
        ------
        TooLargeError
            No more may be.
        """
        with self._database.begin_read() as connection:
            total, own_count = (
                int(connection.execute(sa.select(sa.func.count()).select_from(results).where(*conditions)).scalar_one())
                for conditions in ((), (results.c.maker == maker,))
            )
        if total >= result_limit:
            raise TooLargeError(
                format_message("no more addresses of results are kept here: there are {count:,}", total),
                remedy="ask whoever runs this site: results.keep in hven.toml",
            )
        if own_count >= daily_limit:
            raise TooLargeError(
                format_message(
                    "{count:,} addresses of results were made today; the limit is {most:,}", own_count, daily_limit
                ),
                remedy="go on tomorrow, or cite the collection",
            )

    def save_result(self, result_id: str, maker: str, body: Mapping[str, Any]) -> CitedResult:
        """Keep a result; one that is kept already stays as it is.

        Parameters
        ----------
        result_id
            Its digest.
        maker
            As of `check_quota`.
        body
            What it is.
        """
        cited_result = CitedResult(id=result_id, made=format_current_time(), body=body)
        with self._database.begin_write() as connection:
            row = connection.execute(sa.select(results).where(results.c.id == result_id)).first()
            if row is not None:
                return CitedResult(id=row.id, made=row.made, body=json.loads(row.body))
            values = {
                "id": result_id,
                "made": cited_result.made,
                "maker": maker,
                "body": json.dumps(body, sort_keys=True),
            }
            connection.execute(sa.insert(results).values(**values))
        return cited_result


def _replace_citation(connection: sa.Connection, citation: Citation) -> None:
    connection.execute(sa.delete(citations).where(citations.c.id == citation.key))
    connection.execute(
        sa.insert(citations).values(
            id=citation.key,
            collection=citation.collection,
            label=citation.label,
            doi=citation.doi,
            state=citation.state,
            url=citation.url,
            told=json.dumps(dict(citation.told), sort_keys=True),
            changed=citation.changed,
            reason=citation.reason,
        )
    )


def _citation_from_row(row: sa.Row[Any]) -> Citation:
    return Citation(
        collection=row.collection,
        label=row.label,
        doi=row.doi,
        state=row.state,
        url=row.url,
        told=json.loads(row.told),
        changed=row.changed,
        reason=row.reason,
    )


__all__ = ["CitationStore", "CitedResultStore"]
