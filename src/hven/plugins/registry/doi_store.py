"""DOIs of collections and releases with their registered metadata, and withdrawals."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import ConflictError
from hven.model.resource import DoiRecord
from hven.plugins.registry.store_tables import citations
from hven.site.store import format_current_time

if TYPE_CHECKING:
    from hven.site.api.store_tables import StateDatabase

FINDABLE_STATE, WITHDRAWN_STATE = "findable", "withdrawn"


class CitationStore:
    """The citations of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def find_doi_record(self, collection: str, label: str = "") -> DoiRecord | None:
        """Return what is known of a collection or a release, or None.

        Parameters
        ----------
        collection, label
            Name of the collection, and label of the release; an empty label means the collection as a whole.
        """
        key = DoiRecord(collection=collection, label=label).key
        with self._database.begin_read() as connection:
            return _read_citation(connection, citations.c.id == key)

    def list_citations(self) -> list[DoiRecord]:
        """List all citations by their names."""
        query = sa.select(citations).order_by(citations.c.id)
        with self._database.begin_read() as connection:
            return [_citation_from_row(row) for row in connection.execute(query)]

    def map_dois(self) -> dict[tuple[str, str], str]:
        """Return the DOIs that resolve, by collection and label."""
        is_resolvable = citations.c.state.in_((FINDABLE_STATE, WITHDRAWN_STATE))
        query = sa.select(citations).where(citations.c.doi.is_not(None), is_resolvable)
        with self._database.begin_read() as connection:
            return {(row.collection, row.label): row.doi for row in connection.execute(query)}

    def reserve_doi(self, citation: DoiRecord) -> DoiRecord:
        """Store a DOI before it is registered, so that a repeated attempt registers the same one.

        Parameters
        ----------
        citation
            The citation, with the DOI to store if none is stored yet.

        Returns
        -------
        citation
            The stored citation; if it had a DOI before, it keeps that.

        Raises
        ------
        ConflictError
            The DOI belongs to something else.
        """
        with self._database.begin_write() as connection:
            stored_citation = _read_citation(connection, citations.c.id == citation.key)
            if stored_citation is not None and stored_citation.doi is not None:
                return stored_citation
            conflicting_citation = _read_citation(connection, citations.c.doi == citation.doi)
            if conflicting_citation is not None:
                owner = f"the collection {conflicting_citation.collection!r}"
                if conflicting_citation.label:
                    owner = f"the release {conflicting_citation.label!r} of {owner}"
                raise ConflictError(
                    f"{citation.doi} is already the DOI of {owner}", remedy="choose a different suffix with --suffix"
                )
            updated_citation = replace(stored_citation or citation, doi=citation.doi, changed=format_current_time())
            _replace_citation(connection, updated_citation)
        return updated_citation

    def save_citation(self, citation: DoiRecord) -> DoiRecord:
        """Store a citation in place of the stored one.

        Parameters
        ----------
        citation
            The whole citation; `changed` is set to the present time.
        """
        updated_citation = replace(citation, changed=format_current_time())
        with self._database.begin_write() as connection:
            _replace_citation(connection, updated_citation)
        return updated_citation


def _read_citation(connection: sa.Connection, row_condition: sa.ColumnElement[bool]) -> DoiRecord | None:
    row = connection.execute(sa.select(citations).where(row_condition)).first()
    if row is None:
        return None
    return _citation_from_row(row)


def _replace_citation(connection: sa.Connection, citation: DoiRecord) -> None:
    connection.execute(sa.delete(citations).where(citations.c.id == citation.key))
    names = ("collection", "label", "doi", "state", "url", "changed", "reason")
    values = {name: getattr(citation, name) for name in names}
    values["id"] = citation.key
    values["told"] = json.dumps(dict(citation.told), sort_keys=True)
    connection.execute(sa.insert(citations).values(values))


def _citation_from_row(row: sa.Row[Any]) -> DoiRecord:
    return DoiRecord(
        collection=row.collection,
        label=row.label,
        doi=row.doi,
        state=row.state,
        url=row.url,
        told=json.loads(row.told),
        changed=row.changed,
        reason=row.reason,
    )
