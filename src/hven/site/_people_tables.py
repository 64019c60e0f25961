"""Groups and other names of accounts from tables of the site (``[people] tables``).

Any source may fill these tables, and a sync refreshes them.
"""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from hven import adql
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import StorageEngine
    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site._engine_registry import EngineRegistry
    from hven.site._published_state import PublishedState, PublishedTable

MAX_PEOPLE_ROWS = 1_000_000  # rows of all these tables together
ACCOUNT_COLUMN, GROUP_COLUMNS, ALIAS_COLUMNS = "account", ("member_of", "group"), ("name", "alias", "email")
PEOPLE_COLUMNS = (ACCOUNT_COLUMN, *GROUP_COLUMNS, *ALIAS_COLUMNS)
NO_NAMES: frozenset[str] = frozenset()


class SiteForPeopleTables(Protocol):
    """The part of a site that is needed here."""

    settings: Settings
    engines: EngineRegistry

    def get_published_state(self) -> PublishedState:
        """Return the current state."""

    def get_or_create(self, singleton_class: Any, *arguments: Any) -> Any:
        """Return the only object of a class, which the first call creates."""


def find_groups_and_aliases(site: SiteForPeopleTables, account: str) -> tuple[frozenset[str], frozenset[str]]:
    """Find an account in the tables of people, as they are published now.

    Parameters
    ----------
    site
        The site with the tables.
    account
        Name of the account.

    Returns
    -------
    groups
        Groups in which the account is, under any of its names.
    aliases
        Its other names, as tables have them.
    """
    people_index: _AccountGroupAndAliasIndex = site.get_or_create(_AccountGroupAndAliasIndex)
    if site.settings.people.tables:
        return people_index.find_account_groups_and_aliases(site, account)
    return (NO_NAMES, NO_NAMES)


def list_people_table_problems(table_names: Sequence[str], published: Mapping[str, PublishedTable]) -> list[str]:
    """List the tables of people that cannot be used, or that everybody can read.

    Parameters
    ----------
    table_names
        Names of the tables in the settings.
    published
        Published tables by qualified name.

    Returns
    -------
    problems
        A sentence for each.
    """
    return [
        f"people.tables in hven.toml: {text}"
        for _, text in _iterate_people_tables_with_problems(table_names, published)
        if text
    ]


def _iterate_people_tables_with_problems(
    table_names: Sequence[str], published: Mapping[str, PublishedTable]
) -> Iterator[tuple[tuple[Table, Snapshot] | None, str]]:
    """Yield each table, if it can be used, and what is wrong with it."""
    row_count = 0
    for name in table_names:
        published_table = published.get(name)
        if published_table is None:
            yield None, f"{name} is not used: it is not published"
            continue
        if not isinstance(published_table.relation, Snapshot):
            yield None, f"{name} is not used: its rows are not stored here; ingest it"
            continue
        columns = {column.name.lower() for column in published_table.table.columns}
        naming_columns = (*GROUP_COLUMNS, *ALIAS_COLUMNS)
        if ACCOUNT_COLUMN not in columns or columns.isdisjoint(naming_columns):
            reason = f"it needs the column {ACCOUNT_COLUMN}, and one of {', '.join(naming_columns)}"
            yield None, f"{name} is not used: {reason}"
            continue
        row_count += published_table.rows or 0
        if row_count > MAX_PEOPLE_ROWS:
            yield None, f"{name} is not used: with it, there would be more than {MAX_PEOPLE_ROWS:,} rows"
            continue
        problem = ""
        if published_table.table.access == "public":
            problem = f"everybody can read {name}; set `access: private` for it"
        yield (published_table.table, published_table.relation), problem


class _AccountGroupAndAliasIndex:
    """All people in these tables; they are read again when one of the tables is published again."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshot_ids: list[str] | None = None
        self._aliases: Mapping[str, set[str]] = {}
        self._groups: Mapping[str, set[str]] = {}

    def find_account_groups_and_aliases(
        self, site: SiteForPeopleTables, account: str
    ) -> tuple[frozenset[str], frozenset[str]]:
        """Return the groups and the other names of an account."""
        published = site.get_published_state().tables_by_name
        checked_tables = _iterate_people_tables_with_problems(site.settings.people.tables, published)
        tables = [people_table for people_table, _ in checked_tables if people_table is not None]
        snapshot_ids = [snapshot.id for _, snapshot in tables]
        account_name = adql.normalize_person_name(account)
        with self._lock:
            if snapshot_ids != self._snapshot_ids:
                self._aliases, self._groups = _read_aliases_and_groups(site, tables)
                self._snapshot_ids = snapshot_ids
            aliases = self._aliases.get(account_name, NO_NAMES)
            group_sets = [self._groups.get(name, NO_NAMES) for name in {account_name, *aliases}]
        return NO_NAMES.union(*group_sets), frozenset(aliases)


def _read_aliases_and_groups(
    site: SiteForPeopleTables, tables: Sequence[tuple[Table, Snapshot]]
) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    """Return the other names and the groups of each account name."""
    aliases: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    split_names = cache(adql.parse_person_names)
    for table, snapshot in tables:
        engine = site.engines.find_engine(snapshot)
        for account, *texts in _read_people_rows(engine, table, snapshot):
            # a table makes nobody the site's owner, nor a member of a project
            group_names = {text.strip() for text in texts[:2] if text and ":" not in text}
            group_names -= {"", "owner"}
            for account_name in split_names(account or ""):
                groups[account_name] |= group_names
                for text in filter(None, texts[2:]):
                    aliases[account_name] |= split_names(text)
    return aliases, groups


def _read_people_rows(engine: StorageEngine, table: Table, snapshot: Snapshot) -> Iterator[tuple[str | None, ...]]:
    """Read account, groups and other names of each row, under no policy."""
    quoted_columns = {column.name.lower(): adql.quote_adql_name(column.name) for column in table.columns}
    select_items = []
    for name in PEOPLE_COLUMNS:
        if name in quoted_columns:
            select_items.append(f"CAST({quoted_columns[name]} AS VARCHAR)")
        else:
            select_items.append("NULL")
    table_name = f"{adql.quote_adql_name(table.schema)}.{adql.quote_adql_name(table.name)}"
    query = adql.parse_query(f"SELECT {', '.join(select_items)} FROM {table_name}")
    bound = adql.bind_query(query, StaticTableCatalogue([table.copy_with(policy=None, rights=None)]))
    plan = engine.plan_query(bound)
    execution = plan.execute(bound.literal_values, {table.qualified_name: snapshot}, ExecutionLimits())
    try:
        for batch in execution:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    finally:
        execution.close()
