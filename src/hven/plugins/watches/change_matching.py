"""Match the changed rows of a table with all its watches at once.

A row is *new* in a watch if the watch finds it in the later state of the table and did not find it in the earlier one,
whatever happened to the row itself; so it is with the rights of the watch's account. Accounts that see the same rows
share the queries; if everybody sees the whole table, there is one query for each state.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines import Snapshot
from hven.ingest.sync import change_sets
from hven.model.errors import HvenError, NotFoundError
from hven.plugins.changes.change_feeds import find_changes_between
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.watches.scope_matching import NUMBER_COLUMN, ScopeMatcher, TableChanges, build_match
from hven.plugins.watches.store_tables import watches
from hven.plugins.watches.watch_store import WatchStore
from hven.site.auth import (
    ANONYMOUS_PRINCIPAL,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    is_table_visible,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.table import Table
    from hven.plugins.watches.watch_store import Watch, WatchMatch
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal

log = logging.getLogger("hven.watches")


class ChangeMatcher:
    """Match what has changed on a site with its watches."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store.get_or_create(WatchStore)
        self._rights = RecipientRights(site)

    def match_all_changes(self) -> None:
        """Match the changes of all tables that have watches, and store what they found."""
        tables_by_name = self._site.get_published_state().tables_by_name
        for table_name, since in self._store.list_watched_states():
            published_table = tables_by_name.get(table_name)
            relation = None if published_table is None else published_table.relation
            if isinstance(relation, Snapshot) and relation.id != since:
                try:
                    self._match_table(table_name, since, relation.id)
                except Exception:  # a later round tries again; the watches of other tables do not wait
                    log.exception("the changes of %s could not be matched with its watches", table_name)

    def _match_table(self, table_name: str, since: str, version: str) -> None:
        table_watches = self._store.list_watches(watches.c.table_name == table_name, watches.c.snapshot == since)
        if not table_watches:
            return
        try:
            changes = self._load_changes(table_name, since, version)
        except NotFoundError as error:
            log.warning("watches of %s cannot tell what changed: %s", table_name, error)
            matches = [build_match(watch, since, version, [], {}) for watch in table_watches]
        else:
            matches = list(self._match_watches(changes, table_watches))
        self._store.record_matches(table_watches, since, version, matches)

    def _load_changes(self, table_name: str, since: str, version: str) -> TableChanges:
        """Load the changed rows of a table.

        Raises
        ------
        NotFoundError
            They are not known any more, or the key has changed.
        """
        state_after = self._site.get_published_state()
        table = state_after.tables_by_name[table_name].table
        change_set = find_changes_between(self._site, table_name, since, version)
        if not table.primary or not set(table.primary) <= set(change_set.column_names):
            raise NotFoundError(f"the primary key of {table_name} has changed")
        change_set = change_set.sort_by([(name, "ascending") for name in table.primary])
        kinds = change_set.column(change_sets.CHANGE_COLUMN).cast(pa.string())
        key_schema = pa.schema([pa.field(name, table.find_column(name).type.arrow) for name in table.primary])
        numbers = pa.array(np.arange(change_set.num_rows, dtype=np.int64))
        keys = change_set.select(list(table.primary)).cast(key_schema).append_column(NUMBER_COLUMN, numbers)
        return TableChanges(
            table=table,
            since=since,
            version=version,
            keys=keys.combine_chunks(),
            existed_before=np.asarray(pc.not_equal(kinds, change_sets.ADDED_CHANGE)),
            exists_after=np.asarray(pc.not_equal(kinds, change_sets.REMOVED_CHANGE)),
            state_before=self._find_earlier_state(table_name, since),
            state_after=state_after,
        )

    def _find_earlier_state(self, table_name: str, snapshot: str) -> PublishedState | None:
        try:
            published_state = self._site.find_past_state(snapshot).published_state
        except HvenError:
            return None
        published_table = published_state.tables_by_name.get(table_name)
        relation = None if published_table is None else published_table.relation
        return published_state if isinstance(relation, Snapshot) and relation.id == snapshot else None

    def _match_watches(self, changes: TableChanges, table_watches: Sequence[Watch]) -> Iterator[WatchMatch]:
        for principal, scope_watches in self._group_by_scope(changes.table, table_watches):
            yield from ScopeMatcher(self._site, changes, principal, scope_watches).match_watches()

    def _group_by_scope(
        self, table: Table, table_watches: Sequence[Watch]
    ) -> Iterator[tuple[Principal, Sequence[Watch]]]:
        """Yield groups of watches whose accounts see the same rows of a table; others are left out."""
        if (
            is_table_visible(table, ANONYMOUS_PRINCIPAL)
            and not collect_row_filters([table], ANONYMOUS_PRINCIPAL)
            and not collect_column_masks([table], ANONYMOUS_PRINCIPAL)
        ):
            yield ANONYMOUS_PRINCIPAL, table_watches
            return
        groups: defaultdict[str, list[Watch]] = defaultdict(list)
        principals: dict[str, Principal] = {}
        watches_by_account: defaultdict[str, list[Watch]] = defaultdict(list)
        for watch in table_watches:
            watches_by_account[watch.account].append(watch)
        for account, account_watches in watches_by_account.items():
            principal = self._rights.find_principal(account)
            if principal is None or not is_table_visible(table, principal):
                continue
            column_masks = collect_column_masks([table], principal)
            scope = build_access_scope(collect_row_filters([table], principal), [table.qualified_name], column_masks)
            key = account if column_masks else scope.key
            principals.setdefault(key, principal)
            groups[key] += account_watches
        for key, scope_watches in groups.items():
            yield principals[key], scope_watches
