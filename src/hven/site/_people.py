"""Who is who by tables of the site (``[people] tables``), which any source fills and a sync refreshes: groups of accounts, and their other names."""

from __future__ import annotations

import threading
from collections import defaultdict
from functools import cache
from typing import TYPE_CHECKING, Any, Protocol

from hven import adql
from hven.adql.scope import Tables
from hven.engines import Limits, Snapshot

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.engines import Engine
    from hven.model.settings import Settings
    from hven.model.table import Table
    from hven.site._engines import Engines
    from hven.site._picture import Holdings, Published

MOST = 1_000_000  # rows of all tables
ACCOUNT, GROUPS, NAMES = "account", ("member_of", "group"), ("name", "alias", "email")  # columns
NOBODY: frozenset[str] = frozenset()


class Site(Protocol):
    """What is asked of a site."""

    settings: Settings
    engines: Engines

    def current(self) -> Holdings:
        """Return the picture of now."""

    def kept(self, kind: Any, *given: Any) -> Any:
        """Return what a class made at first."""


def people_of(site: Site, account: str) -> tuple[frozenset[str], frozenset[str]]:
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
    known: _People = site.kept(_People)
    return known.of(site, account) if site.settings.people.tables else (NOBODY, NOBODY)


def unusable(names: Sequence[str], published: Mapping[str, Published]) -> list[str]:
    """Tell which tables of people cannot be used, or are read by everybody.

    Parameters
    ----------
    names
        As the settings have them.
    published
        By qualified name.

    Returns
    -------
    problems
        A sentence for each.
    """
    return [f"people.tables in hven.toml: {text}" for _, text in _usable(names, published) if text]


def _usable(
    names: Sequence[str], published: Mapping[str, Published]
) -> Iterator[tuple[tuple[Table, Snapshot] | None, str]]:
    """Yield each table, if it can be used, and what is wrong with it."""
    rows = 0
    for name in names:
        item = published.get(name)
        columns = {column.name.lower() for column in item.table.columns} if item is not None else set()
        why = ""
        if item is None:
            why = "it is not published"
        elif not isinstance(item.relation, Snapshot):
            why = "its rows are not kept here: ingest it"
        elif ACCOUNT not in columns or not columns & {*GROUPS, *NAMES}:
            why = f"it needs the column {ACCOUNT}, and one of {', '.join((*GROUPS, *NAMES))}"
        elif (rows := rows + (item.rows or 0)) > MOST:
            why = f"with it there are more than {MOST:,} rows"
        else:
            public = item.table.access == "public"
            yield (
                (item.table, item.relation),
                f"everybody can read {name}: say `access: private` of it" if public else "",
            )
        if why:
            yield None, f"nobody is known by {name}: {why}"


class _People:
    """Everybody in the tables of people, read anew when one of them was published anew."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._snapshots: list[str] | None = None
        self._aliases: Mapping[str, set[str]] = {}
        self._groups: Mapping[str, set[str]] = {}

    def of(self, site: Site, account: str) -> tuple[frozenset[str], frozenset[str]]:
        """Find an account."""
        tables = [one for one, _ in _usable(site.settings.people.tables, site.current().published) if one is not None]
        snapshots = [snapshot.id for _, snapshot in tables]
        with self._lock:
            if snapshots != self._snapshots:
                self._aliases, self._groups = _read(site, tables)
                self._snapshots = snapshots
            aliases = self._aliases.get(adql.normal(account), NOBODY)
            mine = [self._groups.get(name, NOBODY) for name in {adql.normal(account), *aliases}]
        return NOBODY.union(*mine), frozenset(aliases)


def _read(
    site: Site, tables: Sequence[tuple[Table, Snapshot]]
) -> tuple[Mapping[str, set[str]], Mapping[str, set[str]]]:
    aliases: dict[str, set[str]] = defaultdict(set)
    groups: dict[str, set[str]] = defaultdict(set)
    split = cache(adql.names_in)
    for table, snapshot in tables:
        for account, *texts in _rows(site.engines.of(snapshot), table, snapshot):
            for one in split(account or ""):
                # the site's owner, and members of projects, are not made so
                groups[one] |= {text.strip() for text in texts[:2] if text and ":" not in text} - {"", "owner"}
                for text in filter(None, texts[2:]):
                    aliases[one] |= split(text)
    return aliases, groups


def _rows(engine: Engine, table: Table, snapshot: Snapshot) -> Iterator[tuple[str | None, ...]]:
    """Read account, groups and other names of each row, under no policy."""
    known = {column.name.lower(): adql.quote(column.name) for column in table.columns}
    asked = [f"CAST({known[name]} AS VARCHAR)" if name in known else "NULL" for name in (ACCOUNT, *GROUPS, *NAMES)]
    text = f"SELECT {', '.join(asked)} FROM {adql.quote(table.schema)}.{adql.quote(table.name)}"
    bound = adql.bind(adql.parse(text), Tables([table.having(policy=None, rights=None)]))
    execution = engine.prepare(bound).execute(bound.slots, {table.qualified: snapshot}, Limits())
    try:
        for batch in execution:
            yield from zip(*(column.to_pylist() for column in batch.columns), strict=True)
    finally:
        execution.close()


__all__ = ["MOST", "people_of", "unusable"]
