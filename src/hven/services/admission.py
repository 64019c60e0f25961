"""Let plug-in packages refuse requests above a limit, and repeat answers instead of computing them again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, NamedTuple, Protocol

from hven.model import plugins
from hven.services.addresses import PRINCIPAL_SCOPE_KEY
from hven.site import CURRENT_USAGE
from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.types import Scope

    from hven.model.params import RequestParams
    from hven.query import QueryResult
    from hven.site import RequestUsage, Site
    from hven.site.auth import Principal

GATES_SCOPE_KEY = "hven.gates"  # the gates that a request must pass
ANSWER_CACHE_SCOPE_KEY = "hven.answer_cache"
STORE_ANSWER_SCOPE_KEY = "hven.store_answer"
BUILD_TAG_SCOPE_KEY = "hven.build_tag"
REFUSAL_SCOPE_KEY = "hven.refusal"  # the error of a gate that has seen the request already


class RequestGate(ABC):
    """What a plug-in package decides before a service answers a request.

    Records of packages name such classes (`hven.model.plugins.PluginPackage.request_gates`). A process that serves a
    site has one object of each class.

    Parameters
    ----------
    site
        The open site.
    """

    def __init__(self, site: Site) -> None:
        self._site = site

    @property
    def is_active(self) -> bool:
        """Whether the settings let it refuse anything; read again after each change of the settings."""
        return True

    @staticmethod  # noqa: B027  (most gates prepare nothing)
    def reserve_shared_memory(worker_count: int) -> None:
        """Prepare what the processes of a server share; called once, before they are forked.

        Parameters
        ----------
        worker_count
            Number of processes that answer requests. While one is replaced, there are more.
        """

    @abstractmethod
    def check_request(self, request: Request, principal: Principal, usage: RequestUsage) -> None:
        """Admit a request, or raise an error, which the service writes as its protocol requires.

        It is called on the event loop, so that it may take some microseconds at most. Requests of services whose
        `hven.services.face.ServiceFace.is_limited` is False need not pass.

        Parameters
        ----------
        request
            The request; its service and route are known.
        principal
            The user.
        usage
            What the request uses. Functions in its `end_callbacks` are called when the answer has ended.
        """


def load_request_gates() -> list[type[RequestGate]]:
    """Load the gates of the packages in use."""
    return [gate for _, gate in plugins.iterate_package_objects("request_gates")]


def check_request_gates(request: Request) -> None:
    """Raise the error of the first gate that refuses a request.

    Parameters
    ----------
    request
        A request that a route has taken.
    """
    if REFUSAL_SCOPE_KEY in request.scope:
        raise request.scope[REFUSAL_SCOPE_KEY]
    usage = CURRENT_USAGE.get()
    if usage is not None and usage.is_limited:
        principal = request.scope.get(PRINCIPAL_SCOPE_KEY, ANONYMOUS_PRINCIPAL)
        for gate in request.scope.get(GATES_SCOPE_KEY, ()):
            gate.check_request(request, principal, usage)


class SentAnswer(NamedTuple):
    """An answer that was sent in one piece to a user without credentials.

    Attributes
    ----------
    status, headers, body
        As the service has sent them.
    usage
        What the request used; `hven.site.RequestUsage.mark_answer_as_repeatable` was called.
    """

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes
    usage: RequestUsage


class AnswerCache(Protocol):
    """What `hven.model.plugins.PluginPackage.answer_cache` names; its argument is a `ServiceContext`."""

    def find_sent_answer(
        self, scope: Scope, headers_by_name: Mapping[bytes, bytes]
    ) -> tuple[Hashable, SentAnswer | None]:
        """Find the answer to an equal request, if everybody without credentials still gets it.

        Parameters
        ----------
        scope, headers_by_name
            A request without credentials, before it is routed.

        Returns
        -------
        key
            Key of the request; None if answers to it cannot be repeated.
        answer
            None: there is none.
        """
        ...

    def keep_sent_answer(self, key: Hashable, answer: SentAnswer) -> None:
        """Keep an answer that may be repeated.

        Parameters
        ----------
        key, answer
            Key of the request from `find_sent_answer`, and the answer.
        """

    async def answer(
        self, request: Request, params: RequestParams, build_response: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Repeat an answer, or build it, for a route with parameters.

        A function in the request's scope, under `STORE_ANSWER_SCOPE_KEY`, gets the answer if it is a result: the
        `QueryResult`, the headers, and the body, which is not compressed. The body is None if it is large. The function
        may be called after the response was built, while its first bytes are sent.

        A function under `BUILD_TAG_SCOPE_KEY` gets the tables that an answer reads and, as `is_public`, whether
        everybody gets it. It returns the entity tag. It is called only for answers that are the same each time.

        Parameters
        ----------
        request, params
            The request, and its parameters.
        build_response
            Builds the answer.

        Returns
        -------
        response
            The answer.
        """


def store_answer(request: Request, result: QueryResult, headers: Mapping[str, str], body: bytes | None) -> None:
    """Give an answer to the cache.

    Parameters
    ----------
    request
        The request.
    result, headers, body
        As `AnswerCache.answer` describes them.
    """
    store = request.scope.get(STORE_ANSWER_SCOPE_KEY)
    if store is not None:
        store(result, headers, body)
