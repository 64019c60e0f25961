"""What the request that is answered here uses: its service, and the rows and files that it sends.

Services record it while they answer. Afterwards, the request observers of plug-in packages get it.
"""

from __future__ import annotations

import logging
from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from hven.model import plugins

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.site._site import Site

log = logging.getLogger("hven")


class CountedAnswer(Protocol):
    """What observers must know of the rows of an answer."""

    @property
    def tables(self) -> tuple[Table, ...]: ...
    @property
    def row_count(self) -> int: ...
    @property
    def row_limit(self) -> int | None: ...


@dataclass(slots=True)
class RequestUsage:
    """What one request uses; the code that answers it records that here.

    Attributes
    ----------
    request_id
        Id of the request.
    face
        Name of the service; empty if no service has the route.
    is_counted
        Whether observers get the request.
    is_limited
        Whether gates may refuse the request.
    path
        Path of its route, with names of parameters.
    params
        Values of these.
    answers
        Rows that are sent.
    rows_by_table
        Number of rows that are sent in other ways, by the qualified names of their tables.
    files_by_collection
        Collection -> number of files that are sent.
    end_callbacks
        Functions that are called with this object when the answer has ended, or broken off.
    """

    request_id: str = ""
    face: str = ""
    is_counted: bool = False
    is_limited: bool = False
    path: str = ""
    params: Mapping[str, Any] | None = None  # most requests record little: each object costs time
    answers: Sequence[CountedAnswer] = ()
    rows_by_table: Mapping[str, int] | None = None
    files_by_collection: Mapping[str, int] | None = None
    end_callbacks: Sequence[Callable[[RequestUsage], None]] = ()


#: The usage of the request that is answered here; threads that work for the request have it, too.
CURRENT_USAGE: ContextVar[RequestUsage | None] = ContextVar("using", default=None)


def record_sent_data(
    *,
    answer: CountedAnswer | None = None,
    rows_by_table: Mapping[str, int] | None = None,
    file_collections: Sequence[str] = (),
) -> None:
    """Record what the current request sends.

    Parameters
    ----------
    answer
        Rows, while they are sent.
    rows_by_table
        Qualified names of tables, and their numbers of rows.
    file_collections
        The collection of each file.
    """
    usage = CURRENT_USAGE.get()
    if usage is None:
        return
    if answer is not None:
        usage.answers = (*usage.answers, answer)
    if rows_by_table:
        row_counts = dict(usage.rows_by_table or {})
        for name, row_count in rows_by_table.items():
            row_counts[name] = row_counts.get(name, 0) + row_count
        usage.rows_by_table = row_counts
    if file_collections:
        usage.files_by_collection = Counter(usage.files_by_collection or {}) + Counter(file_collections)


class CountedAnswerFacts(NamedTuple):
    """What is kept of a `CountedAnswer` after it was sent: the answer itself holds a query's plan."""

    tables: tuple[Table, ...]
    row_count: int
    row_limit: int | None


def replace_answers_with_facts(usage: RequestUsage) -> None:
    """Replace the answers of a request by facts about them, which observers may keep."""
    if usage.answers:
        usage.answers = [
            CountedAnswerFacts(answer.tables, answer.row_count, answer.row_limit) for answer in usage.answers
        ]


class AnsweredRequest(NamedTuple):
    """A request that was answered.

    Attributes
    ----------
    usage
        What it used.
    method, target, status, byte_count
        Method and address of the request, with its query; status and body bytes of the answer.
    unix_time, monotonic_time
        Seconds since 1970, and seconds of a clock that never goes back.
    get_user_name
        Returns the name of the account, or the address.
    user_agent
        User-Agent.
    fetch_destination
        Sec-Fetch-Dest: what a browser will use the answer for.
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


class RequestObserver:
    """What a plug-in package does with the requests that a server of the site has answered.

    Records of packages name such classes (`hven.model.plugins.PluginPackage.request_observers`). A process that serves
    a site has one object of each class, `site.get_or_create(Observer, site)`.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @staticmethod
    def reserve_shared_memory() -> None:
        """Prepare what the processes of a server share; called once, before they are forked."""

    def start(self) -> None:
        """Start what works beside requests, such as a thread; called in the processes of a server."""

    def stop(self) -> None:
        """Stop it, and write what is still to be written; the store of the site is open."""

    def record_request(self, request: AnsweredRequest) -> None:
        """Record a request after its answer was sent as a whole.

        It is called on the event loop, so that it may take some microseconds at most. Requests of services whose
        `hven.services.face.ServiceFace.is_usage_counted` is False are not reported.

        Parameters
        ----------
        request
            The request, and what it used.
        """


class RequestObserverGroup:
    """The request observers of a site in this process.

    Parameters
    ----------
    site
        The open site.

    Attributes
    ----------
    has_observers
        Whether a package in use has an observer that records requests.
    """

    def __init__(self, site: Site) -> None:
        self.has_observers = False
        self._site = site
        self._observers: tuple[RequestObserver, ...] = ()
        self._recorders: tuple[RequestObserver, ...] = ()
        self._is_started = False

    def update_observers(self) -> None:
        """Use the observers of the packages in use, and stop those of packages that the settings now leave out."""
        previous_observers = self._observers
        site = self._site
        self._observers = tuple(site.get_or_create(observer, site) for observer in load_request_observers())
        base_method = RequestObserver.record_request
        self._recorders = tuple(one for one in self._observers if type(one).record_request is not base_method)
        self.has_observers = bool(self._recorders)
        for observer in previous_observers:
            if observer not in self._observers:
                observer.stop()
        if self._is_started:
            for observer in self._observers:
                if observer not in previous_observers:
                    observer.start()

    def record_request(self, request: AnsweredRequest) -> None:
        """Report a request to all observers; an error of one goes to the log.

        Parameters
        ----------
        request
            The request.
        """
        replace_answers_with_facts(request.usage)
        for observer in self._recorders:
            try:
                observer.record_request(request)
            except Exception as error:
                where = plugins.describe_error_origin(error)
                log.exception("a request could not be recorded (error in %s)", where)

    def start(self) -> None:
        """Start what works beside requests."""
        self._is_started = True
        for observer in self._observers:
            observer.start()

    def stop(self) -> None:
        """Stop all observers, before the site is closed."""
        for observer in self._observers:
            observer.stop()


def load_request_observers() -> list[type[RequestObserver]]:
    """Load the observers of the packages in use; one that cannot be loaded is left out, and goes to the log."""
    return [observer for _, observer in plugins.iterate_package_objects("request_observers")]


def reserve_request_observer_memory() -> None:
    """Prepare what the processes of a server share for their observers; called once, before they are forked."""
    for observer in load_request_observers():
        observer.reserve_shared_memory()
