"""Let a plug-in package repeat the answers of services instead of computing them again."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.params import RequestParams
    from hven.query import QueryResult

ANSWER_CACHE_SCOPE_KEY = "hven.answer_cache"
STORE_ANSWER_SCOPE_KEY = "hven.store_answer"


class AnswerCache(Protocol):
    """What `hven.model.plugins.PluginPackage.answer_cache` names; its argument is a `ServiceContext`."""

    @property
    def is_active(self) -> bool:
        """Whether the settings let it repeat anything."""

    async def answer(
        self, request: Request, params: RequestParams, build_response: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Repeat an answer, or build it, for a route with parameters.

        A function in the request's scope, under `STORE_ANSWER_SCOPE_KEY`, gets the answer if it is a result: the
        `QueryResult`, the headers, and the body, which is not compressed. The body is None if it is large. The function
        may be called after the response was built, while its first bytes are sent.

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


async def repeat_or_build_answer(
    request: Request, params: RequestParams, endpoint: Callable[..., Awaitable[Response]]
) -> Response:
    """Let the cache answer a request.

    Parameters
    ----------
    request, params
        The request, and its parameters.
    endpoint
        Builds the answer from both.

    Returns
    -------
    response
        The answer.
    """
    cache: AnswerCache = request.scope[ANSWER_CACHE_SCOPE_KEY]
    return await cache.answer(request, params, partial(endpoint, request, params))


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
