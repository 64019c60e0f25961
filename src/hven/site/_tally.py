"""What is used how often: each request is noted in a microsecond, made sums of in a thread, and these are added to the system state every few seconds.

Counted as the COUNTER Code of Practice for Research Data (release RD1) has it: actions of people and of machines, double clicks once, sessions
of an hour; robots of its list apart. A collection is COUNTER's dataset.
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
from hven.site._picture import USER_SCHEMA
from hven.site._tap_schema import NAME as TAP_SCHEMA
from hven.site._visits import HOUR, Visits, prepare
from hven.site.store._uses import Used

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.site._picture import Holdings
    from hven.site.store._uses import Uses

log = logging.getLogger("hven")

GATHER = 2.0  # seconds between two looks at what was noted
WRITE = 15.0  # seconds between two writings: what a process that is killed loses
MANY = 20_000  # noted requests that are not waited with
REGULAR, MACHINE, ROBOT = "regular", "machine", "robot"
_GOOD = {200, 203, 206, 304}  # what COUNTER calls successful (10.1: 200 and 304), and parts of files
_NOT_COUNTED = {"", "health", "login", "sign", "jobs", "referee", "push"}  # nothing that is published is used by these
_PARTS = {"previews", "hips"}  # pieces of what is shown: their bytes count, but nobody has acted
_ABOUT = {"datalink"}  # answers rows, which are about data
# pages that are about a collection; what their scripts fetch is no action of anybody
_PAGES = {
    "/collections/{name}", "/collections/{name}/{table}", "/collections/{name}/downloads", "/collections/{name}/columns",
    "/collections/{name}/{table}/services/{face}", "/statistics/{name}", "/", "/search", "/search/{kind}", "/adql", "/help/{page}", "/news/{name}",
}  # fmt: skip


class Answer(Protocol):
    """What the tally must know of the rows of an answer."""

    @property
    def tables(self) -> tuple[Table, ...]: ...
    @property
    def rows(self) -> int: ...
    @property
    def limit(self) -> int | None: ...


@dataclass(slots=True)
class Use:
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
    tables
        Qualified names of those whose rows are sent otherwise, and how many.
    files
        Collection -> files that are sent.
    """

    face: str = ""
    path: str = ""
    params: Mapping[str, Any] | None = None  # most requests note little: what is made for each costs
    answers: Sequence[Answer] = ()
    tables: Mapping[str, int] | None = None
    files: Mapping[str, int] | None = None


#: Of the request that is answered here; threads that work for it have it, too.
using: ContextVar[Use | None] = ContextVar("using", default=None)


def sends(*, answer: Answer | None = None, tables: Mapping[str, int] | None = None, files: Sequence[str] = ()) -> None:
    """Note what the request that is answered here sends.

    Parameters
    ----------
    answer
        Rows, as they leave.
    tables
        Qualified names of tables, and how many rows of them.
    files
        The collection of each file.
    """
    use = using.get()
    if use is None:
        return
    if answer is not None:
        use.answers = (*use.answers, answer)
    if tables:
        use.tables = {
            name: (use.tables or {}).get(name, 0) + tables.get(name, 0) for name in {**(use.tables or {}), **tables}
        }
    if files:
        use.files = Counter(use.files or {}) + Counter(files)


class Sent(NamedTuple):
    """What is left of an `Answer` that has been sent: the answer itself holds a query's plan."""

    tables: tuple[Table, ...]
    rows: int
    limit: int | None


class Noted(NamedTuple):
    """A request that was answered, for the few seconds until it is counted.

    Attributes
    ----------
    use
        What it was about.
    method, target, status, sent
        Of the request, with its query; of the answer, with the bytes of its body.
    at, now
        Seconds since 1970; and of a clock that never goes back.
    user
        Tells the name of the account, or the address.
    agent
        User-Agent.
    shown
        Sec-Fetch-Dest: what a browser wants it for.
    """

    use: Use
    at: float
    now: float
    method: str
    target: str
    status: int
    sent: int
    user: Callable[[], str]
    agent: str
    shown: str


class Tally:
    """Counts uses in this process, for the sums of all.

    Parameters
    ----------
    uses
        Where the sums are kept.
    holdings
        What is published now.
    """

    def __init__(self, uses: Uses, holdings: Callable[[], Holdings]) -> None:
        self._uses, self._holdings = uses, holdings
        self._noted: deque[Noted] = deque()
        self._sums: dict[Used, list[int]] = {}
        self._visits = Visits()
        self._names: tuple[Holdings, _Names] | None = None
        self._lock = threading.Lock()  # of the sums
        self._over = threading.Event()
        self._thread: threading.Thread | None = None
        self._failing = False

    #: Allocates what the processes of a server that begins remember together for an hour.
    prepare = staticmethod(prepare)

    def note(self, noted: Noted) -> None:
        """Note a request that was answered; only on the event loop.

        Parameters
        ----------
        noted
            The request.
        """
        if noted.use.answers:
            noted.use.answers = [Sent(one.tables, one.rows, one.limit) for one in noted.use.answers]
        self._noted.append(noted)
        if len(self._noted) > MANY:
            self.gather()

    def begin(self) -> None:
        """Count by itself from now on, in a thread."""
        self._thread = threading.Thread(target=self._run, name="tally", daemon=True)
        self._thread.start()

    def end(self) -> None:
        """Write what was counted, and count no more."""
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        self.gather()
        self.write()

    def _run(self) -> None:
        written = time.monotonic()
        while not self._over.wait(GATHER):
            self.gather()
            if time.monotonic() - written > WRITE:
                self.write()
                written = time.monotonic()

    def gather(self) -> None:
        """Make sums of what was noted."""
        if not self._noted:
            return
        holdings = self._holdings()
        with self._lock:
            if self._names is None or self._names[0] is not holdings:
                self._names = holdings, _Names(holdings)
            while self._noted:
                try:
                    self._count(self._noted.popleft(), self._names[1])
                except Exception:
                    log.exception("a request could not be counted")

    def write(self) -> None:
        """Add the sums to the system state; where that cannot be written, they are kept until it can."""
        with self._lock:
            sums, self._sums = self._sums, {}
        if not sums:
            return
        try:
            self._uses.add(sums)
        except HvenError as error:
            if not self._failing:
                log.warning("what was used cannot be written down yet: %s", error)
            self._failing = True
            with self._lock:
                for key, values in sums.items():
                    self._add(key, values)
        else:
            self._failing = False

    def _add(self, key: Used, values: Sequence[int]) -> None:
        known = self._sums.get(key)
        self._sums[key] = list(values) if known is None else [a + b for a, b in zip(known, values, strict=True)]

    def _count(self, one: Noted, names: _Names) -> None:
        use = one.use
        if one.status not in _GOOD or one.method == "HEAD" or use.face in _NOT_COUNTED:
            return
        access = access_of(one.agent)
        month = "{:04d}-{:02d}".format(*time.gmtime(one.at)[:2])
        whole, tables, data = names.about(use)
        user = 0
        acted = _acted(one)
        if acted:
            user = self._visits.user(f"{one.user()}|{one.agent}", int(one.at // HOUR))
            acted = access == ROBOT or not self._visits.again(user, f"{one.method} {one.target}", one.now)
        acts = [int(acted), int(acted and data)]
        for collection in whole or [""]:
            unique = [int(bool(did) and bool(collection) and self._visits.first(user, f"{what} {collection}")) for did, what in zip(acts, ("look", "take"), strict=True)]  # fmt: skip
            own = {table: rows for (of, table), rows in tables.items() if of == collection}
            rows, files, sent = (
                max(own.values(), default=0),
                (use.files or {}).get(collection, 0),
                one.sent // max(len(whole), 1),
            )
            if collection:
                self._add(Used(month, collection, "", "", access), [*acts, *unique, files, rows, sent])
            self._add(Used(month, collection, "", use.face, access), [*acts, 0, 0, files, rows, sent])
            for table, count in own.items():
                self._add(Used(month, collection, table, use.face, access), [*acts, 0, 0, files // len(own), count, sent // len(own)])  # fmt: skip


def _acted(one: Noted) -> bool:
    """Return whether somebody wanted this, not a page or a script of one."""
    use = one.use
    if use.face in _PARTS:
        return False
    if use.face == "portal" and not (use.answers or use.files):
        return use.path in _PAGES and one.shown in {"", "document"}
    return one.shown in {"", "document", "empty"}


@lru_cache(maxsize=1024)
def access_of(agent: str) -> str:
    """Return how something is asked, by its User-Agent: ``regular``, ``machine`` or ``robot`` (COUNTER for Research Data RD1, 10.5 and 10.6).

    Parameters
    ----------
    agent
        User-Agent; services that look whether others work say ``(IVOA-test)`` in it (IVOA note SoftID 1.0), and are robots, too.
    """
    if "(IVOA-test" in agent:
        return ROBOT
    # first: the list of robots has general programs, too (curl, python), which RD1 wants counted
    if not agent or counter_robots.is_machine(agent):
        return MACHINE
    if counter_robots.is_robot(agent):
        return ROBOT
    return REGULAR if agent.startswith("Mozilla/") else MACHINE


class _Names:
    """What may be counted, as it is published now: nothing else that somebody writes into an address becomes a line."""

    def __init__(self, holdings: Holdings) -> None:
        self.collections = {name: name for name in holdings.resources}  # by schema
        self.tables: dict[str, tuple[str, str]] = {}  # collection and table, by the qualified name in lower case
        for item in holdings.published.values():
            schema = item.table.schema
            if item.release is not None:
                self.collections[schema] = item.release.collection
            elif schema not in self.collections and schema not in {TAP_SCHEMA, USER_SCHEMA}:
                self.collections[schema] = schema
            if schema in self.collections:
                self.tables[f"{schema}.{item.table.name}".lower()] = self.collections[schema], item.table.name

    def about(self, use: Use) -> tuple[list[str], dict[tuple[str, str], int], bool]:
        """Return the collections that a request is about, its tables with their rows, and whether data were sent, not what is about data."""
        tables: dict[tuple[str, str], int] = {}
        data = False
        for answer in use.answers:
            found = [self.tables.get(table.qualified.lower()) for table in answer.tables]
            tables |= {one: answer.rows for one in found if one is not None}
            data = data or (answer.limit != 0 and any(found))
        for name, rows in (use.tables or {}).items():
            if (one := self.tables.get(name.lower())) is not None:
                tables[one], data = rows, True
        files = [self.collections[name] for name in use.files or () if name in self.collections]
        whole = list(dict.fromkeys([*(name for name, _ in tables), *files]))
        if not whole:
            given = use.params or {}
            name, _, beside = str(given.get("name") or given.get("table") or "").partition(".")
            beside = beside or str(given.get("table") or "")
            if (one := self.tables.get(f"{name}.{beside}".lower())) is not None:
                tables[one], whole = 0, [one[0]]
            elif name in self.collections:
                whole = [self.collections[name]]
        return whole, tables, (data or bool(files)) and use.face not in _ABOUT


__all__ = ["MACHINE", "REGULAR", "ROBOT", "Noted", "Tally", "Use", "access_of", "sends", "using"]
