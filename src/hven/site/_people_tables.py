"""Who is who by tables of the site (``[people] tables``), which any source fills and a sync refreshes.

Groups of accounts, and their other names.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from hven import adql
from hven.adql.scope import StaticCatalogue
from hven.engines import ExecutionLimits, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import StorageEngine
    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site._engine_registry import EngineRegistry
    from hven.site._published_state import PublishedState, PublishedTable

MAX_PEOPLE_ROWS = 1_000_000  # rows of all tables
ACCOUNT_COLUMN, GROUP_COLUMNS, ALIAS_COLUMNS = "account", ("member_of", "group"), ("name", "alias", "email")  # columns
NO_NAMES: frozenset[str] = frozenset()


class PeopleSite(Protocol):
    """What is asked of a site."""

    settings: Settings
    engines: EngineRegistry

    def get_published_state(self) -> PublishedState:
        """Return the picture of now."""

    def get_or_create(self, singleton_class: Any, *arguments: Any) -> Any:
        """Return what a class made at first."""


def find_groups_and_aliases(site: PeopleSite, account: str) -> tuple[frozenset[str], frozenset[str]]:
    """Find an account in the tables of people, as they are published now.

    Parameters
    ----------
    site
        Whose tables they are.
    account
        Its name.

    Returns
    -------
    groups
        Those in which it is, under any of its names.
    aliases
        Its other names, as tables have them.
    """
    people_index: _PeopleIndex = site.get_or_create(_PeopleIndex)
    if site.settings.people.tables:
        return people_index.find_account(site, account)
    return (NO_NAMES, NO_NAMES)


def list_people_table_problems(table_names: Sequence[str], published: Mapping[str, PublishedTable]) -> list[str]:
    """Tell which tables of people cannot be used, or are read by everybody.

    Parameters
    ----------
    table_names
        As the settings have them.
    published
        By qualified name.

    Returns
    -------
    problems
        A sentence for each.
    """
    return [f"people.tables in hven.toml: {text}" for _, text in _check_people_tables(table_names, published) if text]


def _check_people_tables(
    table_names: Sequence[str], published: Mapping[str, PublishedTable]
) -> Iterator[tuple[tuple[Table, Snapshot] | None, str]]:
    """Yield each table, if it can be used, and what is wrong with it."""
    rows = 0
    for name in table_names:
        published_table = published.get(name)
        if published_table is not None:
            columns = {column.name.lower() for column in published_table.table.columns}
        else:
            columns = set()
        reason = ""
        if published_table is None:
            reason = "it is not published"
        elif not isinstance(published_table.relation, Snapshot):
            reason = "its rows are not kept here: ingest it"
        elif ACCOUNT_COLUMN not in columns or not columns & {*GROUP_COLUMNS, *ALIAS_COLUMNS}:
            reason = f"it needs the column {ACCOUNT_COLUMN}, and one of {', '.join((*GROUP_COLUMNS, *ALIAS_COLUMNS))}"
        elif (rows := rows + (published_table.rows or 0)) > MAX_PEOPLE_ROWS:
            reason = f"with it there are more than {MAX_PEOPLE_ROWS:,} rows"
        else:
            is_public = published_table.table.access == "public"
            yield (
                (published_table.table, published_table.relation),
                f"everybody can read {name}: say `access: private` of it" if is_public else "",
            )
        if reason:
            yield None, f"nobody is known by {name}: {reason}"


class _PeopleIndex:
    """Everybody in the tables of people, read anew when one of them was published anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot_ids: list[str] | None = None
        self._aliases: Mapping[str, set[str]] = {}
        self._groups: Mapping[str, set[str]] = {}

    def find_account(self, site: PeopleSite, account: str) -> tuple[frozenset[str], frozenset[str]]:
        """Find an account."""
        tables = [
            people_table
            for people_table, _ in _check_people_tables(
                site.settings.people.tables, site.get_published_state().tables_by_name
            )
            if people_table is not None
        ]
        snapshots = [snapshot.id for _, snapshot in tables]
        with self._lock:
            if snapshots != self._snapshot_ids:
                self._aliases, self._groups = _read_people(site, tables)
                self._snapshot_ids = snapshots
            aliases = self._aliases.get(adql.normalize_name(account), NO_NAMES)
            group_sets = [self._groups.get(name, NO_NAMES) for name in {adql.normalize_name(account), *aliases}]
        return NO_NAMES.union(*group_sets), frozenset(aliases)


def _read_people(
    site: PeopleSite, tables: Sequence[tuple[Table, Snapshot]]
) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    aliases: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    split_names = cache(adql.parse_person_names)
    for table, snapshot in tables:
        for account, *texts in _read_people_rows(site.engines.find_engine(snapshot), table, snapshot):
            for account_name in split_names(account or ""):
                # the site's owner, and members of projects, are not made so
                groups[account_name] |= {text.strip() for text in texts[:2] if text and ":" not in text} - {"", "owner"}
                for text in filter(None, texts[2:]):
                    aliases[account_name] |= split_names(text)
    return aliases, groups


def _read_people_rows(engine: StorageEngine, table: Table, snapshot: Snapshot) -> Iterator[tuple[str | None, ...]]:
    """Read account, groups and other names of each row, under no policy."""
    quoted_columns = {column.name.lower(): adql.quote_name(column.name) for column in table.columns}
    select_items = [
        f"CAST({quoted_columns[name]} AS VARCHAR)" if name in quoted_columns else "NULL"
        for name in (ACCOUNT_COLUMN, *GROUP_COLUMNS, *ALIAS_COLUMNS)
    ]
    text = f"SELECT {', '.join(select_items)} FROM {adql.quote_name(table.schema)}.{adql.quote_name(table.name)}"
    query = adql.parse_query(text)
    bound = adql.bind_query(query, StaticCatalogue([table.copy_with(policy=None, rights=None)]))
    execution = engine.plan_query(bound).execute(
        bound.literal_values, {table.qualified_name: snapshot}, ExecutionLimits()
    )
    try:
        for batch in execution:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    finally:
        execution.close()


__all__ = ["MAX_PEOPLE_ROWS", "find_groups_and_aliases", "list_people_table_problems"]
