"""Count how often collections and tables are used.

A request is noted within a microsecond. A thread sums the notes, and adds the sums to the system state every few
seconds.

Counted as the COUNTER Code of Practice for Research Data (release RD1) has it: actions of people and of machines,
double clicks once, sessions of an hour; robots of its list apart. A collection is COUNTER's dataset.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, deque
from contextvars import ContextVar
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import counter_robots

from hven.model.errors import HvenError
from hven.site._published_state import USER_SCHEMA
from hven.site._tap_schema import TAP_SCHEMA_NAME as TAP_SCHEMA
from hven.site._usage_sessions import SESSION_SECONDS, UsageSessions, create_shared_memory
from hven.site.store._usage_records import UsageKey

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.site._published_state import PublishedState
    from hven.site.store._usage_records import UsageCountStore

log = logging.getLogger("hven")

GATHER_INTERVAL_SECONDS = 2.0  # seconds between two looks at what was noted
WRITE_INTERVAL_SECONDS = 15.0  # seconds between two writings: what a process that is killed loses
MAX_PENDING_REQUESTS = 20_000  # noted requests that are not waited with
REGULAR_ACCESS, MACHINE_ACCESS, ROBOT_ACCESS = "regular", "machine", "robot"
_SUCCESS_STATUSES = {200, 203, 206, 304}  # what COUNTER calls successful (10.1: 200 and 304), and parts of files
_UNCOUNTED_SERVICES = {
    "",
    "health",
    "login",
    "sign",
    "jobs",
    "referee",
    "push",
}  # nothing that is published is used by these
_PARTIAL_CONTENT_SERVICES = {"previews", "hips"}  # pieces of what is shown: their bytes count, but nobody has acted
_METADATA_SERVICES = {"datalink"}  # answers rows, which are about data
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


class CountedAnswer(Protocol):
    """What the tally must know of the rows of an answer."""

    @property
    def tables(self) -> tuple[Table, ...]: ...
    @property
    def row_count(self) -> int: ...
    @property
    def row_limit(self) -> int | None: ...


@dataclass(slots=True)
class RequestUsage:
    """What one request is about; whoever answers it notes that here.

    Attributes
    ----------
    face
        Name of the service.
    path
        Of its route, with names of parameters.
    params
        Values of these.
    answers
        Rows that are sent.
    rows_by_table
        Qualified names of those whose rows are sent otherwise, and how many.
    files_by_collection
        Collection -> files that are sent.
    """

    face: str = ""
    path: str = ""
    params: Mapping[str, Any] | None = None  # most requests note little: what is made for each costs
    answers: Sequence[CountedAnswer] = ()
    rows_by_table: Mapping[str, int] | None = None
    files_by_collection: Mapping[str, int] | None = None


#: Of the request that is answered here; threads that work for it have it, too.
CURRENT_USAGE: ContextVar[RequestUsage | None] = ContextVar("using", default=None)


def record_sent_data(
    *,
    answer: CountedAnswer | None = None,
    rows_by_table: Mapping[str, int] | None = None,
    file_collections: Sequence[str] = (),
) -> None:
    """Note what the request that is answered here sends.

    Parameters
    ----------
    answer
        Rows, as they leave.
    rows_by_table
        Qualified names of tables, and how many rows of them.
    file_collections
        The collection of each file.
    """
    use = CURRENT_USAGE.get()
    if use is None:
        return
    if answer is not None:
        use.answers = (*use.answers, answer)
    if rows_by_table:
        use.rows_by_table = {
            name: (use.rows_by_table or {}).get(name, 0) + rows_by_table.get(name, 0)
            for name in {**(use.rows_by_table or {}), **rows_by_table}
        }
    if file_collections:
        use.files_by_collection = Counter(use.files_by_collection or {}) + Counter(file_collections)


class SentAnswer(NamedTuple):
    """What is left of an `CountedAnswer` that has been sent: the answer itself holds a query's plan."""

    tables: tuple[Table, ...]
    row_count: int
    row_limit: int | None


class AnsweredRequest(NamedTuple):
    """A request that was answered, for the few seconds until it is counted.

    Attributes
    ----------
    usage
        What it was about.
    method, target, status, byte_count
        Of the request, with its query; of the answer, with the bytes of its body.
    unix_time, monotonic_time
        Seconds since 1970; and of a clock that never goes back.
    get_user_name
        Tells the name of the account, or the address.
    user_agent
        User-Agent.
    fetch_destination
        Sec-Fetch-Dest: what a browser wants it for.
    """

    usage: RequestUsage
    unix_time: float
    monotonic_time: float
    method: str
    target: str
    status: int
    byte_count: int
    get_user_name: Callable[[], str]
    user_agent: str
    fetch_destination: str


class UsageCounter:
    """Counts uses in this process, for the sums of all.

    Parameters
    ----------
    usage_counts
        Where the sums are kept.
    get_published_state
        What is published now.
    """

    def __init__(self, usage_counts: UsageCountStore, get_published_state: Callable[[], PublishedState]) -> None:
        self._usage_counts = usage_counts
        self._get_published_state = get_published_state
        self._pending_requests: deque[AnsweredRequest] = deque()
        self._sums_by_key: dict[UsageKey, list[int]] = {}
        self._usage_sessions = UsageSessions()
        self._countable_names: tuple[PublishedState, _CountableNames] | None = None
        self._lock = threading.Lock()  # of the sums
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._has_write_failed = False

    #: Allocates what the processes of a server that begins remember together for an hour.
    create_shared_memory = staticmethod(create_shared_memory)

    def record_request(self, request: AnsweredRequest) -> None:
        """Note a request that was answered; only on the event loop.

        Parameters
        ----------
        request
            The request.
        """
        if request.usage.answers:
            request.usage.answers = [
                SentAnswer(answer.tables, answer.row_count, answer.row_limit) for answer in request.usage.answers
            ]
        self._pending_requests.append(request)
        if len(self._pending_requests) > MAX_PENDING_REQUESTS:
            self.count_pending_requests()

    def start(self) -> None:
        """Count by itself from now on, in a thread."""
        self._thread = threading.Thread(target=self._count_periodically, name="tally", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Write what was counted, and count no more."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
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
        """Make sums of what was noted."""
        if not self._pending_requests:
            return
        holdings = self._get_published_state()
        with self._lock:
            if self._countable_names is None or self._countable_names[0] is not holdings:
                self._countable_names = holdings, _CountableNames(holdings)
            while self._pending_requests:
                try:
                    self._count_request(self._pending_requests.popleft(), self._countable_names[1])
                except Exception:
                    log.exception("a request could not be counted")

    def write_sums(self) -> None:
        """Add the sums to the system state; where that cannot be written, they are kept until it can."""
        with self._lock:
            sums = self._sums_by_key
            self._sums_by_key = {}
        if not sums:
            return
        try:
            self._usage_counts.add_counts(sums)
        except HvenError as error:
            if not self._has_write_failed:
                log.warning("what was used cannot be written down yet: %s", error)
            self._has_write_failed = True
            with self._lock:
                for key, values in sums.items():
                    self._add_to_sums(key, values)
        else:
            self._has_write_failed = False

    def _add_to_sums(self, key: UsageKey, values: Sequence[int]) -> None:
        old_sums = self._sums_by_key.get(key)
        if old_sums is None:
            self._sums_by_key[key] = list(values)
        else:
            self._sums_by_key[key] = [a + b for a, b in zip(old_sums, values, strict=True)]

    def _count_request(self, request: AnsweredRequest, names: _CountableNames) -> None:
        use = request.usage
        if request.status not in _SUCCESS_STATUSES or request.method == "HEAD" or use.face in _UNCOUNTED_SERVICES:
            return
        access = classify_user_agent(request.user_agent)
        month = "{:04d}-{:02d}".format(*time.gmtime(request.unix_time)[:2])
        collections, tables, sends_data = names.find_used_items(use)
        user = 0
        is_counted = _is_user_action(request)
        if is_counted:
            user = self._usage_sessions.hash_user(
                f"{request.get_user_name()}|{request.user_agent}", int(request.unix_time // SESSION_SECONDS)
            )
            is_counted = access == ROBOT_ACCESS or not self._usage_sessions.is_double_click(
                user, f"{request.method} {request.target}", request.monotonic_time
            )
        action_counts = [int(is_counted), int(is_counted and sends_data)]
        for collection in collections or [""]:
            unique_counts = [
                int(
                    bool(action_count)
                    and bool(collection)
                    and self._usage_sessions.is_first_in_session(user, f"{action_kind} {collection}")
                )
                for action_count, action_kind in zip(action_counts, ("look", "take"), strict=True)
            ]
            collection_tables = {
                table: rows for (table_collection, table), rows in tables.items() if table_collection == collection
            }
            rows = max(collection_tables.values(), default=0)
            files = (use.files_by_collection or {}).get(collection, 0)
            sent_bytes = request.byte_count // max(len(collections), 1)
            if collection:
                self._add_to_sums(
                    UsageKey(month, collection, "", "", access),
                    [*action_counts, *unique_counts, files, rows, sent_bytes],
                )
            self._add_to_sums(
                UsageKey(month, collection, "", use.face, access), [*action_counts, 0, 0, files, rows, sent_bytes]
            )
            for table, count in collection_tables.items():
                self._add_to_sums(
                    UsageKey(month, collection, table, use.face, access),
                    [
                        *action_counts,
                        0,
                        0,
                        files // len(collection_tables),
                        count,
                        sent_bytes // len(collection_tables),
                    ],
                )


def _is_user_action(request: AnsweredRequest) -> bool:
    """Return whether somebody wanted this, not a page or a script of one."""
    use = request.usage
    if use.face in _PARTIAL_CONTENT_SERVICES:
        return False
    if use.face == "portal" and not (use.answers or use.files_by_collection):
        return use.path in _COUNTED_PAGE_PATHS and request.fetch_destination in {"", "document"}
    return request.fetch_destination in {"", "document", "empty"}


@lru_cache(maxsize=1024)
def classify_user_agent(user_agent: str) -> str:
    """Return how something is asked, by its User-Agent.

    ``regular``, ``machine`` or ``robot`` (COUNTER for Research Data RD1, 10.5 and 10.6).

    Parameters
    ----------
    user_agent
        User-Agent; services that look whether others work say ``(IVOA-test)`` in it (IVOA note SoftID 1.0), and are
        robots, too.
    """
    if "(IVOA-test" in user_agent:
        return ROBOT_ACCESS
    # first: the list of robots has general programs, too (curl, python), which RD1 wants counted
    if not user_agent or counter_robots.is_machine(user_agent):
        return MACHINE_ACCESS
    if counter_robots.is_robot(user_agent):
        return ROBOT_ACCESS
    return REGULAR_ACCESS if user_agent.startswith("Mozilla/") else MACHINE_ACCESS


class _CountableNames:
    """What may be counted, as it is published now: nothing else that somebody writes into an address becomes a line."""

    def __init__(self, holdings: PublishedState) -> None:
        self.collections_by_schema = {name: name for name in holdings.resources}  # by schema
        self.tables_by_name: dict[
            str, tuple[str, str]
        ] = {}  # collection and table, by the qualified name in lower case
        for item in holdings.tables_by_name.values():
            schema = item.table.schema
            if item.release is not None:
                self.collections_by_schema[schema] = item.release.collection
            elif schema not in self.collections_by_schema and schema not in {TAP_SCHEMA, USER_SCHEMA}:
                self.collections_by_schema[schema] = schema
            if schema in self.collections_by_schema:
                self.tables_by_name[f"{schema}.{item.table.name}".lower()] = (
                    self.collections_by_schema[schema],
                    item.table.name,
                )

    def find_used_items(self, use: RequestUsage) -> tuple[list[str], dict[tuple[str, str], int], bool]:
        """Return the collections of a request, the row counts of its tables, and whether it sent data."""
        tables: dict[tuple[str, str], int] = {}
        sends_data = False
        for answer in use.answers:
            used_tables = [self.tables_by_name.get(table.qualified_name.lower()) for table in answer.tables]
            tables |= {used_table: answer.row_count for used_table in used_tables if used_table is not None}
            if answer.row_limit != 0 and any(used_tables):
                sends_data = True
        for name, rows in (use.rows_by_table or {}).items():
            used_table = self.tables_by_name.get(name.lower())
            if used_table is not None:
                tables[used_table], sends_data = rows, True
        files = [
            self.collections_by_schema[name]
            for name in use.files_by_collection or ()
            if name in self.collections_by_schema
        ]
        collections = list(dict.fromkeys([*(name for name, _ in tables), *files]))
        if not collections:
            route_params = use.params or {}
            name, _, table_name = str(route_params.get("name") or route_params.get("table") or "").partition(".")
            table_name = table_name or str(route_params.get("table") or "")
            used_table = self.tables_by_name.get(f"{name}.{table_name}".lower())
            if used_table is not None:
                tables[used_table], collections = 0, [used_table[0]]
            elif name in self.collections_by_schema:
                collections = [self.collections_by_schema[name]]
        return collections, tables, (sends_data or bool(files)) and use.face not in _METADATA_SERVICES


__all__ = [
    "CURRENT_USAGE",
    "MACHINE_ACCESS",
    "REGULAR_ACCESS",
    "ROBOT_ACCESS",
    "AnsweredRequest",
    "RequestUsage",
    "UsageCounter",
    "classify_user_agent",
    "record_sent_data",
]
