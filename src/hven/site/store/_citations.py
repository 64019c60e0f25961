"""What papers cite: DOIs with what was told of them, what was withdrawn, and persistent addresses of results."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import Conflict, TooLarge, say
from hven.model.resource import Citation, CitedResult
from hven.site.store._database import citations, now, results

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.site.store._database import Database

FINDABLE, WITHDRAWN = "findable", "withdrawn"


class Citations:
    """The citations of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, collection: str, label: str = "") -> Citation | None:
        """Return what is known of a collection or a release.

        Parameters
        ----------
        collection, label
            Which.
        """
        key = Citation(collection=collection, label=label).key
        with self._database.reading() as connection:
            row = connection.execute(sa.select(citations).where(citations.c.id == key)).first()
        return None if row is None else _told(row)

    def all(self) -> list[Citation]:
        """List them, by their names."""
        with self._database.reading() as connection:
            return [_told(row) for row in connection.execute(sa.select(citations).order_by(citations.c.id))]

    def dois(self) -> dict[tuple[str, str], str]:
        """Return the DOIs that lead somewhere, by collection and label."""
        wanted = sa.select(citations.c.collection, citations.c.label, citations.c.doi).where(
            citations.c.doi.is_not(None), citations.c.state.in_((FINDABLE, WITHDRAWN))
        )
        with self._database.reading() as connection:
            return {(row.collection, row.label): row.doi for row in connection.execute(wanted)}

    def reserve(self, one: Citation) -> Citation:
        """Keep a DOI for something before anybody is asked for it, so that whoever tries again asks for the same.

        Parameters
        ----------
        one
            With the DOI that it gets if it has none.

        Returns
        -------
        citation
            As it is kept: with the DOI that it had before, if it had one.

        Raises
        ------
        Conflict
            Something else has that DOI.
        """
        with self._database.writing() as connection:
            row = connection.execute(sa.select(citations).where(citations.c.id == one.key)).first()
            if row is not None and row.doi is not None:
                return _told(row)
            other = connection.execute(sa.select(citations).where(citations.c.doi == one.doi)).first()
            if other is not None:
                raise Conflict(f"{one.doi} is the DOI of {other.collection}{f', {other.label}' if other.label else ''}", remedy="give another suffix")  # fmt: skip
            made = replace(one, changed=now()) if row is None else replace(_told(row), doi=one.doi, changed=now())
            _put(connection, made)
        return made

    def keep(self, one: Citation) -> Citation:
        """Write what is known now.

        Parameters
        ----------
        one
            All of it; `changed` is now.
        """
        made = replace(one, changed=now())
        with self._database.writing() as connection:
            _put(connection, made)
        return made


class Results:
    """The cited results of a site."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def find(self, ident: str) -> CitedResult | None:
        """Return a result.

        Parameters
        ----------
        ident
            Its digest.
        """
        with self._database.reading() as connection:
            row = connection.execute(sa.select(results).where(results.c.id == ident)).first()
        return None if row is None else CitedResult(id=row.id, made=row.made, body=json.loads(row.body))

    def room(self, maker: str, most: int, own: int) -> None:
        """See that one more may be kept.

        Parameters
        ----------
        maker
            Digest of who asks, and the day.
        most, own
            How many are kept in all, and made by one reader in a day.

        Raises
        ------
        TooLarge
            No more may be.
        """
        with self._database.reading() as connection:
            total, mine = (
                int(connection.execute(sa.select(sa.func.count()).select_from(results).where(*where)).scalar_one())
                for where in ((), (results.c.maker == maker,))
            )
        if total >= most:
            raise TooLarge(say("no more addresses of results are kept here: there are {count:,}", total), remedy="ask whoever runs this site: results.keep in hven.toml")  # fmt: skip
        if mine >= own:
            raise TooLarge(say("{count:,} addresses of results were made today; the limit is {most:,}", mine, own), remedy="go on tomorrow, or cite the collection")  # fmt: skip

    def keep(self, ident: str, maker: str, body: Mapping[str, Any]) -> CitedResult:
        """Keep a result; one that is kept already stays as it is.

        Parameters
        ----------
        ident
            Its digest.
        maker
            As of `room`.
        body
            What it is.
        """
        made = CitedResult(id=ident, made=now(), body=body)
        with self._database.writing() as connection:
            row = connection.execute(sa.select(results).where(results.c.id == ident)).first()
            if row is not None:
                return CitedResult(id=row.id, made=row.made, body=json.loads(row.body))
            values = {"id": ident, "made": made.made, "maker": maker, "body": json.dumps(body, sort_keys=True)}
            connection.execute(sa.insert(results).values(**values))
        return made


def _put(connection: sa.Connection, one: Citation) -> None:
    connection.execute(sa.delete(citations).where(citations.c.id == one.key))
    connection.execute(
        sa.insert(citations).values(
            id=one.key, collection=one.collection, label=one.label, doi=one.doi, state=one.state, url=one.url,
            told=json.dumps(dict(one.told), sort_keys=True), changed=one.changed, reason=one.reason,
        )
    )  # fmt: skip


def _told(row: sa.Row[Any]) -> Citation:
    return Citation(
        collection=row.collection, label=row.label, doi=row.doi, state=row.state, url=row.url, told=json.loads(row.told),
        changed=row.changed, reason=row.reason,
    )  # fmt: skip


__all__ = ["Citations", "Results"]
