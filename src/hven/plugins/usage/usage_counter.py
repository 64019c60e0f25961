"""Count how often collections and tables are used.

A request is recorded within a microsecond. A thread sums the recorded requests, and adds the sums to the system state
every few seconds.

The counts follow the COUNTER Code of Practice for Research Data (release RD1): actions of people and of machines,
double clicks once, sessions of an hour; the robots of its list are counted separately. A collection is COUNTER's
dataset.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import counter_robots

from hven.model.errors import HvenError
from hven.plugins.usage.usage_records import UsageCountStore, UsageKey
from hven.plugins.usage.usage_sessions import SESSION_SECONDS, UsageSessions, create_shared_usage_session_memory
from hven.site import TAP_SCHEMA, USER_SCHEMA, RequestObserver

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.site import AnsweredRequest, PublishedState, RequestUsage, Site

log = logging.getLogger("hven")

GATHER_INTERVAL_SECONDS = 2.0  # seconds between two sums of what was recorded
WRITE_INTERVAL_SECONDS = 15.0  # seconds between two writes: what a process that is killed loses
MAX_PENDING_REQUESTS = 20_000  # more recorded requests are summed at once
REGULAR_ACCESS, MACHINE_ACCESS, ROBOT_ACCESS = "regular", "machine", "robot"
_SUCCESS_STATUSES = {200, 203, 206, 304}  # what COUNTER calls successful (10.1: 200 and 304), and parts of files
_PARTIAL_CONTENT_SERVICES = {"previews", "hips"}  # pieces of what is shown: their bytes count, but are no action
_METADATA_SERVICES = {"datalink"}  # its answers are rows about data, not data
# pages that are about a collection; what their scripts fetch is no action of anybody
_COUNTED_PAGE_PATHS = {
    "/collections/{name}",
    "/collections/{name}/{table}",
    "/collections/{name}/downloads",
    "/collections/{name}/columns",
    "/collections/{name}/{table}/services/{face}",
    "/statistics/{name}",
    "/",
    "/search",
    "/search/{kind}",
    "/adql",
    "/help/{page}",
    "/news/{name}",
}


class UsageCounter(RequestObserver):
    """Counts uses in this process, and adds them to the sums of all.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        super().__init__(site)
        self._usage_counts = site.store.get_or_create(UsageCountStore)
        self._get_published_state = site.get_published_state
        self._pending_requests: deque[AnsweredRequest] = deque()
        self._sums_by_key: dict[UsageKey, list[int]] = {}
        self._usage_sessions = UsageSessions()
        self._countable_names: tuple[PublishedState, _CountableCollectionsAndTables] | None = None
        self._lock = threading.Lock()  # protects the sums
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_write_failed = False

    @staticmethod
    def reserve_shared_memory() -> None:
        """Allocate the memory that the processes of a server share for the sessions of an hour."""
        create_shared_usage_session_memory()

    def record_request(self, request: AnsweredRequest) -> None:
        """Record a request that was answered; only on the event loop.

        Parameters
        ----------
        request
            The request.
        """
        self._pending_requests.append(request)
        if len(self._pending_requests) > MAX_PENDING_REQUESTS:
            self.count_pending_requests()

    def start(self) -> None:
        """Start a thread that counts from now on."""
        self._stopping.clear()
        self._thread = threading.Thread(target=self._count_periodically, name="tally", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop counting, and write the sums."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None
        self.count_pending_requests()
        self.write_sums()

    def _count_periodically(self) -> None:
        last_write = time.monotonic()
        while not self._stopping.wait(GATHER_INTERVAL_SECONDS):
            self.count_pending_requests()
            if time.monotonic() - last_write > WRITE_INTERVAL_SECONDS:
                self.write_sums()
                last_write = time.monotonic()

    def count_pending_requests(self) -> None:
        """Add the recorded requests to the sums."""
        if not self._pending_requests:
            return
        published_state = self._get_published_state()
        with self._lock:
            if self._countable_names is None or self._countable_names[0] is not published_state:
                self._countable_names = published_state, _CountableCollectionsAndTables(published_state)
            _, countable_names = self._countable_names
            while self._pending_requests:
                try:
                    self._count_request(self._pending_requests.popleft(), countable_names)
                except Exception:
                    log.exception("a request could not be counted")

    def write_sums(self) -> None:
        """Add the sums to the system state; if it cannot be written, they are kept until it can."""
        with self._lock:
            sums = self._sums_by_key
            self._sums_by_key = {}
        if not sums:
            return
        try:
            self._usage_counts.add_counts_and_delete_old_months(sums)
        except HvenError as error:
            if not self._has_write_failed:
                log.warning("usage counts cannot be written at the moment: %s", error)
            self._has_write_failed = True
            with self._lock:
                for key, counts in sums.items():
                    self._add_to_sums(key, counts)
        else:
            self._has_write_failed = False

    def _add_to_sums(self, key: UsageKey, counts: Sequence[int]) -> None:
        old_sums = self._sums_by_key.get(key)
        if old_sums is None:
            self._sums_by_key[key] = list(counts)
        else:
            self._sums_by_key[key] = [old_sum + count for old_sum, count in zip(old_sums, counts, strict=True)]

    def _count_request(self, request: AnsweredRequest, countable_names: _CountableCollectionsAndTables) -> None:
        usage = request.usage
        if request.status not in _SUCCESS_STATUSES or request.method == "HEAD":
            return
        if not usage.face:
            return
        access = classify_user_agent(request.user_agent)
        month = "{:04d}-{:02d}".format(*time.gmtime(request.unix_time)[:2])
        collections, row_counts, sends_data = countable_names.find_used_collections_and_tables(usage)
        user_hash = 0
        is_counted = _is_user_action(request)
        if is_counted:
            user_text = f"{request.get_user_name()}|{request.user_agent}"
            user_hash = self._usage_sessions.hash_user(user_text, int(request.unix_time // SESSION_SECONDS))
            request_text = f"{request.method} {request.target}"
            is_counted = access == ROBOT_ACCESS or not self._usage_sessions.record_request_and_detect_double_click(
                user_hash, request_text, request.monotonic_time
            )
        action_counts = [int(is_counted), int(is_counted and sends_data)]
        for collection in collections or [""]:
            unique_counts = self._record_and_count_first_actions(user_hash, collection, action_counts)
            rows_by_table: dict[str, int] = {}
            for (table_collection, table), row_count in row_counts.items():
                if table_collection == collection:
                    rows_by_table[table] = row_count
            files = (usage.files_by_collection or {}).get(collection, 0)
            sent_bytes = request.byte_count // max(len(collections), 1)
            sent_counts = [files, max(rows_by_table.values(), default=0), sent_bytes]
            if collection:
                total_key = UsageKey(month, collection, "", "", access)
                self._add_to_sums(total_key, [*action_counts, *unique_counts, *sent_counts])
            service_key = UsageKey(month, collection, "", usage.face, access)
            self._add_to_sums(service_key, [*action_counts, 0, 0, *sent_counts])
            for table, row_count in rows_by_table.items():
                table_key = UsageKey(month, collection, table, usage.face, access)
                table_counts = [files // len(rows_by_table), row_count, sent_bytes // len(rows_by_table)]
                self._add_to_sums(table_key, [*action_counts, 0, 0, *table_counts])

    def _record_and_count_first_actions(
        self, user_hash: int, collection: str, action_counts: Sequence[int]
    ) -> list[int]:
        """Return for each kind of action 1 if the user does it for the first time in this session, else 0."""
        unique_counts = []
        for action_count, action_kind in zip(action_counts, ("look", "take"), strict=True):
            is_unique = False
            if action_count and collection:
                is_unique = self._usage_sessions.record_action_and_detect_first(
                    user_hash, f"{action_kind} {collection}"
                )
            unique_counts.append(int(is_unique))
        return unique_counts


def _is_user_action(request: AnsweredRequest) -> bool:
    """Return whether a user requested this, not a page or its script."""
    usage = request.usage
    if usage.face in _PARTIAL_CONTENT_SERVICES:
        return False
    if usage.face == "portal" and not (usage.answers or usage.files_by_collection):
        return usage.path in _COUNTED_PAGE_PATHS and request.fetch_destination in {"", "document"}
    return request.fetch_destination in {"", "document", "empty"}


@lru_cache(maxsize=1024)
def classify_user_agent(user_agent: str) -> str:
    """Return the kind of user by the User-Agent: ``regular``, ``machine`` or ``robot``.

    The kinds are those of COUNTER for Research Data RD1, 10.5 and 10.6.

    Parameters
    ----------
    user_agent
        User-Agent. Services that check whether others work have ``(IVOA-test)`` in it (IVOA note SoftID 1.0), and are
        robots, too.
    """
    if "(IVOA-test" in user_agent:
        return ROBOT_ACCESS
    # machines come first: the list of robots also has general programs (curl, python), which RD1 wants counted
    if not user_agent or counter_robots.is_machine(user_agent):
        return MACHINE_ACCESS
    if counter_robots.is_robot(user_agent):
        return ROBOT_ACCESS
    if user_agent.startswith("Mozilla/"):
        return REGULAR_ACCESS
    return MACHINE_ACCESS


class _CountableCollectionsAndTables:
    """The published names that may be counted: other names in addresses get no sums."""

    def __init__(self, published_state: PublishedState) -> None:
        self.collections_by_schema = {name: name for name in published_state.resources}
        # collection and table, by the qualified name in lower case
        self.tables_by_name: dict[str, tuple[str, str]] = {}
        for published_table in published_state.tables_by_name.values():
            schema, table_name = published_table.table.schema, published_table.table.name
            if published_table.release is not None:
                self.collections_by_schema[schema] = published_table.release.collection
            elif schema not in self.collections_by_schema and schema not in {TAP_SCHEMA, USER_SCHEMA}:
                self.collections_by_schema[schema] = schema
            if schema in self.collections_by_schema:
                collection = self.collections_by_schema[schema]
                self.tables_by_name[f"{schema}.{table_name}".lower()] = (collection, table_name)

    def find_used_collections_and_tables(
        self, usage: RequestUsage
    ) -> tuple[list[str], dict[tuple[str, str], int], bool]:
        """Return the collections of a request, the row counts of its tables, and whether it sent data."""
        row_counts: dict[tuple[str, str], int] = {}
        sends_data = False
        for answer in usage.answers:
            used_tables = [self.tables_by_name.get(table.qualified_name.lower()) for table in answer.tables]
            row_counts |= {used_table: answer.row_count for used_table in used_tables if used_table is not None}
            if answer.row_limit != 0 and any(used_tables):
                sends_data = True
        for name, row_count in (usage.rows_by_table or {}).items():
            used_table = self.tables_by_name.get(name.lower())
            if used_table is not None:
                row_counts[used_table], sends_data = row_count, True
        file_names = [name for name in usage.files_by_collection or () if name in self.collections_by_schema]
        file_collections = [self.collections_by_schema[name] for name in file_names]
        table_collections = [collection for collection, _ in row_counts]
        collections = list(dict.fromkeys([*table_collections, *file_collections]))
        if not collections:
            collections = self._find_route_collections_and_add_table(usage.params or {}, row_counts)
        has_sent_data = (sends_data or bool(file_collections)) and usage.face not in _METADATA_SERVICES
        return collections, row_counts, has_sent_data

    def _find_route_collections_and_add_table(
        self, route_params: Mapping[str, Any], row_counts: dict[tuple[str, str], int]
    ) -> list[str]:
        """Return the collection that a route names; add a table that it names with no rows."""
        route_name = str(route_params.get("name") or route_params.get("table") or "")
        name, _, table_name = route_name.partition(".")
        table_name = table_name or str(route_params.get("table") or "")
        used_table = self.tables_by_name.get(f"{name}.{table_name}".lower())
        if used_table is not None:
            row_counts[used_table] = 0
            return [used_table[0]]
        if name in self.collections_by_schema:
            return [self.collections_by_schema[name]]
        return []
