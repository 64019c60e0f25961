"""Keep what is known of cited results. A verdict and the states of the tables that it is about change together."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from hven.model.errors import format_message
from hven.plugins.living_citations.store_tables import citation_findings, citation_readers, citation_rests
from hven.site.api.events import SiteEvent, notify_accounts
from hven.site.api.state_tables import metadata

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from hven.model.errors import TranslatableMessage
    from hven.site.api.state_tables import StateDatabase

SAME, CHANGED, UNKNOWN = "same", "changed", "unknown"
NO_WORK, COUNT, RUN = "none", "count", "run"
CHANGED_KIND = "citations.changed"
MAX_LISTED_FINDINGS = 500


@dataclass(frozen=True, kw_only=True)
class CitationFinding:
    """What is known of a cited result.

    Attributes
    ----------
    id
        Id of the result.
    made
        When it got its address, in ISO 8601.
    collections
        Names of its collections.
    snapshots
        Table -> id of its state that was looked at last.
    work
        ``none``; ``count``: its changed rows are to be counted again; or ``run``: its query is to be repeated.
    verdict
        ``same``, ``changed`` or ``unknown``: the answer in these states, compared with that of the paper.
    how
        ``keys``: from the keys of changed rows; ``run``: by repeating the query.
    at
        When it was looked at, in seconds since 1970.
    cited_rows, row_count
        Numbers of rows then and now.
    counts
        Numbers of new, changed and gone rows; empty: not known.
    columns
        Columns of changed rows with other values.
    error
        Why the verdict is unknown.
    shown_names, shows_key, definition
        As in `RowQuery`; without a definition, only the query itself can tell.
    """

    id: str
    made: str
    collections: Sequence[str]
    snapshots: Mapping[str, str]
    work: str = NO_WORK
    verdict: str = SAME
    how: str = "keys"
    at: float = field(default_factory=time.time)
    cited_rows: int
    row_count: int
    counts: Mapping[str, int] = field(default_factory=dict)
    columns: Sequence[str] = ()
    error: str = ""
    shown_names: Sequence[str] = ()
    shows_key: int = 0
    definition: str = ""

    def to_row(self) -> dict[str, Any]:
        """Return the columns of its row."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {name: write_json(value) if name in JSON_NAMES else value for name, value in values.items()}


JSON_NAMES = frozenset({"collections", "snapshots", "counts", "columns", "shown_names"})


def write_json(value: Any) -> str:
    """Write a value so that equal values have equal texts."""
    return json.dumps(value, sort_keys=True)


def _finding_from_row(row: Any) -> CitationFinding:
    values = dict(row._mapping)  # noqa: SLF001  (SQLAlchemy's name of the mapping of a row)
    return CitationFinding(**values | {name: json.loads(values[name]) for name in JSON_NAMES})


class CitationFindingStore:
    """What is known of the cited results of a site."""

    def __init__(self, database: StateDatabase) -> None:
        self._database = database

    def list_new_results(self, limit: int) -> list[tuple[str, str, Mapping[str, Any]]]:
        """List cited results that are not known yet, the oldest first: id, time and body.

        Parameters
        ----------
        limit
            At most this many.
        """
        results = metadata.tables["results"]
        findings = citation_findings
        result_count, known_count = (sa.select(sa.func.count()).select_from(table) for table in (results, findings))
        query = sa.select(results.c.id, results.c.made, results.c.body)
        query = query.where(results.c.id.not_in(sa.select(findings.c.id))).order_by(results.c.made).limit(limit)
        with self._database.begin_read() as connection:
            if connection.execute(result_count).scalar_one() == connection.execute(known_count).scalar_one():
                return []  # the usual case, every few seconds
            return [(row.id, row.made, json.loads(row.body)) for row in connection.execute(query)]

    def add_findings(self, findings: Iterable[CitationFinding]) -> None:
        """Store findings about new results; one that is known stays as it is."""
        with self._database.begin_write() as connection:
            known_ids = set(connection.execute(sa.select(citation_findings.c.id)).scalars())
            rows = [finding.to_row() for finding in findings if finding.id not in known_ids]
            if rows:
                connection.execute(sa.insert(citation_findings), rows)

    def list_states(self) -> list[dict[str, str]]:
        """List the different states of tables that results were looked at in."""
        with self._database.begin_read() as connection:
            texts = connection.execute(sa.select(citation_findings.c.snapshots).distinct()).scalars()
            return [json.loads(text) for text in texts]

    def list_findings(
        self,
        *conditions: sa.ColumnElement[bool],
        order: sa.ColumnElement[Any] = citation_findings.c.made,
        limit: int | None = None,
    ) -> list[CitationFinding]:
        """List findings.

        Parameters
        ----------
        conditions
            Conditions on columns of `citation_findings`.
        order
            By what they are ordered.
        limit
            At most this many; None: all.
        """
        query = sa.select(citation_findings).where(*conditions).order_by(order).limit(limit)
        with self._database.begin_read() as connection:
            return [_finding_from_row(row) for row in connection.execute(query)]

    def record_findings(
        self, pairs: Iterable[tuple[CitationFinding, CitationFinding]], list_curators: Callable[[str], Sequence[str]]
    ) -> None:
        """Replace findings by later ones, and announce answers that have changed, in one transaction.

        Parameters
        ----------
        pairs
            The former and the later finding of each result. A finding that another process has replaced stays.
        list_curators
            Returns the accounts and groups that are told of all changed answers of a collection.
        """
        columns = citation_findings.c
        pairs = list(pairs)
        states_query = sa.select(columns.id, columns.snapshots, columns.work)
        if len(pairs) <= MAX_LISTED_FINDINGS:  # a repeated query has one
            states_query = states_query.where(columns.id.in_([old.id for old, _ in pairs]))
        with self._database.begin_write() as connection:
            states = {ident: state for ident, *state in connection.execute(states_query)}
            pairs = [(old, new) for old, new in pairs if states.get(old.id) == [write_json(old.snapshots), old.work]]
            rows = [{**new.to_row(), "old_id": old.id} for old, new in pairs if old != new]
            if rows:
                connection.execute(sa.update(citation_findings).where(columns.id == sa.bindparam("old_id")), rows)
            changed_findings = [new for old, new in pairs if new.verdict == CHANGED and old.verdict != CHANGED]
            if changed_findings:
                _notify_of_changes(connection, changed_findings, list_curators)

    def find_rest_end(self) -> float:
        """Return the time before which no query is repeated."""
        with self._database.begin_read() as connection:
            return float(connection.execute(sa.select(citation_rests.c.until)).scalar() or 0.0)

    def record_rest_end(self, time_seconds: float) -> None:
        """Repeat no query before a time."""
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(citation_rests))
            connection.execute(sa.insert(citation_rests).values(id=1, until=time_seconds))

    # --- readers ----------------------------------------------------------------------------------------------

    def is_reader_told(self, result: str, account: str) -> bool:
        """Return whether an account is told when the answer of a result changes."""
        query = sa.select(citation_readers.c.wish).where(citation_readers.c.wish == f"{result} {account}")
        with self._database.begin_read() as connection:
            return connection.execute(query).first() is not None

    def change_wish(self, result: str, account: str, *, is_told: bool) -> None:
        """Store whether an account is told when the answer of a result changes."""
        wish = f"{result} {account}"
        with self._database.begin_write() as connection:
            connection.execute(sa.delete(citation_readers).where(citation_readers.c.wish == wish))
            if is_told:
                connection.execute(sa.insert(citation_readers).values(wish=wish, result=result, account=account))

    def remove_account(self, account: str) -> None:
        """Delete the wishes of an account."""
        with self._database.begin_write() as connection:
            if sa.inspect(connection).has_table(citation_readers.name):
                connection.execute(sa.delete(citation_readers).where(citation_readers.c.account == account))


def _notify_of_changes(
    connection: sa.Connection, findings: Sequence[CitationFinding], list_curators: Callable[[str], Sequence[str]]
) -> None:
    """Tell readers of their results, and curators of how many there are in each collection."""
    accounts_by_result: dict[str, list[str]] = {}
    for result, account in connection.execute(sa.select(citation_readers.c.result, citation_readers.c.account)):
        accounts_by_result.setdefault(result, []).append(account)
    findings_by_collection: dict[str, list[CitationFinding]] = {}
    for finding in findings:
        for name in finding.collections:
            findings_by_collection.setdefault(name, []).append(finding)
        message = format_message("the answer of the cited result {id} has changed", finding.id)
        _notify(connection, accounts_by_result.get(finding.id, ()), message, f"/results/{finding.id}", finding)
    for name, own_findings in findings_by_collection.items():
        count = len(own_findings)
        message = format_message("the answers of {count:,} cited results of {collection} have changed", count, name)
        if count == 1:
            message = format_message("the answer of a cited result of {collection} has changed", name)
        _notify(connection, list_curators(name), message, f"/cited-results/{name}", own_findings[0])


def _notify(
    connection: sa.Connection,
    accounts: Sequence[str],
    message: TranslatableMessage,
    path: str,
    finding: CitationFinding,
) -> None:
    if accounts:
        table = next(iter(finding.snapshots), "")  # all its tables are public, else there is no verdict
        event = SiteEvent(kind=CHANGED_KIND, accounts=accounts, message=message, path=path, table=table)
        notify_accounts(connection, event)
