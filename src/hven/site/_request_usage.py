"""What the request that is answered here uses: its service, and the rows and files that it sends.

Services record it while they answer. Afterwards, the request observers of plug-in packages get it.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.site.auth import AccessPolicy


class AnswerValidity(NamedTuple):
    """What an answer to a user without credentials depends on, besides the request: another user may get it as well.

    Attributes
    ----------
    version
        Version of the published state.
    access_key, policies
        What this user may see (`PublishedState.find_access_key`), and the policies that decide it.
    counter
        Counter of a plug-in package that counts each answer; empty: none.
    """

    version: str
    access_key: str
    policies: Sequence[AccessPolicy]
    counter: str = ""


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
    validity
        Set by services whose answer may be repeated to others within the same second.
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
    validity: AnswerValidity | None = None

    def mark_answer_as_repeatable(
        self, version: str, access_key: str, policies: Sequence[AccessPolicy], *, counter: str = ""
    ) -> None:
        """Let other users without credentials get the same answer to the same request within this second.

        Parameters
        ----------
        version, access_key, policies, counter
            As of `AnswerValidity`: the answer is repeated only while these are the same.
        """
        self.validity = AnswerValidity(version, access_key, policies, counter)


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
