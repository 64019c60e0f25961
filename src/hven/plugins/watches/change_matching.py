"""Match the changed rows of a table with all its watches at once.

A row is *new* in a watch if the watch finds it in the later state of the table and did not find it in the earlier one,
whatever happened to the row itself; so it is with the rights of the watch's account. Accounts that see the same rows
share the queries; if everybody sees the whole table, there is one query for each state.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from hven.engines import Snapshot
from hven.model.errors import NotFoundError
from hven.plugins.changes.row_matching import ChangedRowMatcher
from hven.plugins.changes.table_changes import TableChanges, load_table_changes
from hven.plugins.notifications.recipients import RecipientRights
from hven.plugins.watches.match_building import MatchBuilder, build_match
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
MAX_FAULT_CHARACTERS = 300


class ChangeMatcher:
    """Match what has changed on a site with its watches."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._store = site.store.get_or_create(WatchStore)
        self._rights = RecipientRights(site)

    def match_all_changes(self) -> None:
        """Match the changes of all tables that have watches, and store what they found."""
        published_state = self._site.get_published_state()
        for table_name, since in self._store.list_watched_states():
            published_table = published_state.tables_by_name.get(table_name)
            relation = None if published_table is None else published_table.relation
            if isinstance(relation, Snapshot) and relation.id != since:
                try:
                    self._match_table(published_state, table_name, since, relation.id)
                except Exception:  # a later round tries again; the watches of other tables do not wait
                    log.exception("the changes of %s could not be matched with its watches", table_name)

    def _match_table(self, published_state: PublishedState, table_name: str, since: str, version: str) -> None:
        """Match the watches of a table in parts; a process that is killed leaves the later parts to the next."""
        changes = None
        try:
            changes = load_table_changes(self._site, published_state, table_name, since)
        except NotFoundError as error:
            log.warning("watches of %s cannot tell what changed: %s", table_name, error)
        for table_watches in self._store.iterate_watches(table_name, since):
            faults: dict[str, str] = {}
            if changes is None:
                matches = [build_match(watch, since, version, "[]", {}) for watch in table_watches]
            else:
                matches, faults = self._match_watches(changes, table_watches)
            self._store.record_matches(table_watches, since, version, matches, faults)

    def _match_watches(
        self, changes: TableChanges, table_watches: Sequence[Watch]
    ) -> tuple[list[WatchMatch], dict[str, str]]:
        """Return what watches find; and of those whose condition was evaluated, why this failed, or an empty text."""
        matches: list[WatchMatch] = []
        faults = {}
        for principal, scope_watches in self._group_by_scope(changes.table, table_watches):
            builder = MatchBuilder(changes, scope_watches)
            matcher = ChangedRowMatcher(self._site, changes, principal, builder.definitions)
            for found in matcher.iterate_pairs():
                matches += builder.build_matches(found)
            for watch in scope_watches:
                condition = watch.definition.condition
                if condition in matcher.tried_conditions:
                    faults[watch.name] = matcher.failed_conditions.get(condition, "")[:MAX_FAULT_CHARACTERS]
        return matches, faults

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
