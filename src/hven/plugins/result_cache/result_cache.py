"""Repeat answers to equal queries until the published data change.

Whether a client already has an answer is known from its entity tag alone (`entity_tags.py`). For other requests, this
module keeps answers in memory, if the settings give it any. The key of an answer has everything on which it depends:
the service with its parameters, the requested format, the version of the published data, what the user may see, and the
address of the site. Users with different rights have different keys, so that no answer reaches somebody who may not see
its rows.

While an answer is computed, equal requests wait for it. Answers that differ each time, such as those of live tables and
random numbers, are not kept.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, NamedTuple

from starlette.responses import Response

from hven import services
from hven.formats import describe_current_request, quote_attribute
from hven.model import LruCache
from hven.plugins.result_cache.entity_tags import TaggedRequest, describe_tagged_settings
from hven.plugins.result_cache.sent_answers import SentAnswerCache
from hven.plugins.result_cache.settings import get_result_cache_settings
from hven.query import has_object_name_call
from hven.services.addresses import PORTAL_SCOPE_KEY
from hven.services.admission import BUILD_TAG_SCOPE_KEY, STORE_ANSWER_SCOPE_KEY
from hven.site import CURRENT_USAGE, anonymize_for_referee, record_sent_data

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Mapping

    from starlette.requests import Request

    from hven.model.params import RequestParams
    from hven.model.table import Table
    from hven.plugins.result_cache.entity_tags import UnchangedAnswer
    from hven.query import QueryResult
    from hven.services.face import ServiceContext
    from hven.site import RequestUsage

    NormalizedValues = tuple[tuple[str, tuple[str, ...]], ...]  # names of parameters with their values, sorted

HITS_COUNTER, MISSES_COUNTER = "result_cache_hits_total", "result_cache_misses_total"
MAX_ANSWER_BYTES = 256 * 1024
ENTRY_OVERHEAD_BYTES = 2_000  # about what an answer needs besides its body
MAX_KEY_CHARACTERS = 4_000
MAX_STREAMED_KEYS = 1_000
# A streamed answer is most likely too large to be kept, and its client may read it slowly.
MAX_STREAM_WAIT_SECONDS = 1.0
# parameters of TAP whose answers are the same each time; uploads, past states and citations are not
TAP_PARAMETERS = {"REQUEST", "LANG", "QUERY", "FORMAT", "RESPONSEFORMAT", "MAXREC"}
# formats whose documents have the request as INFO elements, or nowhere
TEXT_MEDIA_TYPES = ("text/", "application/json", "application/x-votable+xml")
_BLANK_PATTERN = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*"|--[^\n]*\n?)|\s+""")  # texts, names and comments stay
CHANGING_INFO_NAMES = ("request", "request_date")


class CachedAnswer(NamedTuple):
    """An answer that was sent.

    Attributes
    ----------
    body_parts
        The body, split where each answer states its own request; None: only the headers are known.
    headers
        Headers of the answer, with its entity tag.
    tables, row_count, row_limit
        What `hven.site.record_sent_data` records.
    """

    body_parts: tuple[bytes, ...] | None
    headers: Mapping[str, str]
    tables: tuple[Table, ...]
    row_count: int
    row_limit: int | None


class ResultCache(SentAnswerCache):
    """The answers that a process keeps.

    Parameters
    ----------
    context
        The site, its policies, and the function that identifies users.
    """

    def __init__(self, context: ServiceContext) -> None:
        super().__init__(context)
        self._context = context
        self._byte_limit = get_result_cache_settings(context.site.settings).bytes
        self._settings_text = describe_tagged_settings(context.site.settings)
        self._version = ""
        self._answers: LruCache[CachedAnswer] = LruCache(self._byte_limit)
        self._running: dict[Hashable, asyncio.Future[None]] = {}  # by key
        self._streamed_keys: set[Hashable] = set()  # of answers that were not complete in time
        self._paths_by_face = {
            name: face.path for name, face in context.faces.items() if face.build_query is not None or name == "tap"
        }

    async def answer(
        self, request: Request, params: RequestParams, build_response: Callable[[], Awaitable[Response]]
    ) -> Response:
        """Repeat an answer, or build it and keep it.

        Parameters
        ----------
        request
            The request.
        params
            Its parameters.
        build_response
            Builds the answer.
        """
        usage = CURRENT_USAGE.get()
        if usage is None or not self._is_repeatable(usage, params):
            return await build_response()
        principal = self._context.identify_principal(request)
        published_state = self._context.site.get_published_state()
        if principal.groups:
            published_state = anonymize_for_referee(published_state, principal)
        access_key = published_state.find_access_key(principal, self._context.policies)
        validity = (published_state.version, access_key, self._context.policies)
        tagged_request = None
        if request.method in {"GET", "HEAD"}:
            portal = request.scope.get(PORTAL_SCOPE_KEY)
            portal_name = portal.name if portal else ""
            parameters_text = repr(sorted(params.values.items()))
            facts = (self._settings_text, access_key, usage.face, portal_name, parameters_text)
            tagged_request = TaggedRequest(request, published_state, facts)
            if tagged_request.client_tags and (unchanged_answer := tagged_request.find_unchanged_answer()):
                self._context.site.counters.count_event(HITS_COUNTER)
                usage.mark_answer_as_repeatable(*validity, counter=HITS_COUNTER)
                return _build_unchanged_response(unchanged_answer)
            request.scope[BUILD_TAG_SCOPE_KEY] = tagged_request.build_tag
        if not self._byte_limit or request.method == "HEAD":
            return await build_response()
        values = _normalize_values(params.values, usage.face)
        key = self._build_cache_key(request, values, usage, (published_state.version, access_key))
        if key is None:
            return await build_response()
        cached_answer = self._answers.find(key)
        is_collapsed = cached_answer is None and key in self._running
        if is_collapsed:
            cached_answer = await self._wait_for_answer(key)
        cache_status = "hven; fwd=uri-miss; collapsed" if is_collapsed else "hven; hit"
        response = cached_answer and self._repeat_answer(request, cached_answer, tagged_request, cache_status)
        if response:
            self._context.site.counters.count_event(HITS_COUNTER)
            if not is_collapsed:
                usage.mark_answer_as_repeatable(*validity, counter=HITS_COUNTER)
            return response
        return await self._build_and_store_answer(request, key, build_response)

    async def _wait_for_answer(self, key: Hashable) -> CachedAnswer | None:
        """Wait for the answer that another request computes; None: this request has to compute it.

        If the other request fails, if its client leaves, or if its answer is large, one of those who wait computes the
        answer, and the rest wait for it: they compute one after the other. Nobody waits longer than a query may take.
        """
        end_time = time.monotonic() + self._context.site.settings.limits.seconds
        cached_answer = None
        while cached_answer is None and key in self._running:
            done, _ = await asyncio.wait([self._running[key]], timeout=max(end_time - time.monotonic(), 0.0))
            cached_answer = self._answers.find(key)
            if not done:
                break
        return cached_answer

    async def _build_and_store_answer(
        self, request: Request, key: Hashable, build_response: Callable[[], Awaitable[Response]]
    ) -> Response:
        self._context.site.counters.count_event(MISSES_COUNTER)
        computation = self._running.get(key)
        is_leader = computation is None
        if computation is None:
            computation = self._running[key] = asyncio.get_running_loop().create_future()
        is_stored = False

        def store(result: QueryResult, headers: Mapping[str, str], body: bytes | None) -> None:
            nonlocal is_stored
            is_stored = self._store_answer(key, result, headers, body)
            end_computation()

        def end_computation(_: object = None) -> None:
            if is_leader and not computation.done():
                self._running.pop(key, None)
                computation.set_result(None)

        def stop_waiting_for_stream() -> None:
            if is_leader and not computation.done():
                if len(self._streamed_keys) >= MAX_STREAMED_KEYS:
                    self._streamed_keys.clear()
                self._streamed_keys.add(key)
            end_computation()

        request.scope[STORE_ANSWER_SCOPE_KEY] = store
        usage = CURRENT_USAGE.get()
        if is_leader and usage is not None:  # whatever happens, nobody waits longer than for the whole answer
            usage.end_callbacks = (*usage.end_callbacks, end_computation)
        try:
            response = await build_response()
        except BaseException:
            end_computation()
            raise
        if "content-length" in response.headers or key in self._streamed_keys:
            end_computation()
        else:  # it is streamed, and stored when its size is known
            asyncio.get_running_loop().call_later(MAX_STREAM_WAIT_SECONDS, stop_waiting_for_stream)
        response.headers["cache-status"] = "hven; fwd=uri-miss; stored" if is_stored else "hven; fwd=uri-miss"
        return response

    def _is_repeatable(self, usage: RequestUsage, params: RequestParams) -> bool:
        """Return whether the answer is that of a query, and the same until the published data change."""
        if params.files or usage.path.rstrip("/") != self._paths_by_face.get(usage.face):
            return False
        if usage.face != "tap":
            return True
        values = params.values
        return values.keys() <= TAP_PARAMETERS and not has_object_name_call(" ".join(values.get("QUERY", ())))

    def _build_cache_key(
        self, request: Request, values: NormalizedValues, usage: RequestUsage, data_key: tuple[str, str]
    ) -> Hashable:
        """Return everything on which an answer depends; None: the answer is not kept."""
        if sum(len(value) for _, texts in values for value in texts) > MAX_KEY_CHARACTERS:
            return None
        portal = request.scope.get(PORTAL_SCOPE_KEY)
        return (
            *data_key,
            usage.face,
            portal and portal.name,
            tuple((usage.params or {}).items()),
            values,
            request.headers.get("accept"),
            services.get_base_url(request, self._context.site.settings),
        )

    def _repeat_answer(
        self, request: Request, cached_answer: CachedAnswer, tagged_request: TaggedRequest | None, cache_status: str
    ) -> Response | None:
        """Build the response of an answer that is kept; None: its body is not."""
        headers = {**cached_answer.headers, "cache-status": cache_status}
        if tagged_request is not None:  # the answer may be that to another request for the same rows
            is_public = headers["cache-control"].startswith("public")
            headers["etag"] = tagged_request.build_tag(cached_answer.tables, is_public=is_public)
        if services.is_unchanged(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        if cached_answer.body_parts is None:
            return None
        record_sent_data(answer=cached_answer)
        body_parts = cached_answer.body_parts
        if len(body_parts) > 1:
            first, second = _write_request_info_elements()
            body_parts = (body_parts[0], first, body_parts[1], second, body_parts[2])
        return services.answer_with_body(request, b"".join(body_parts), headers)

    def _store_answer(self, key: Hashable, result: QueryResult, headers: Mapping[str, str], body: bytes | None) -> bool:
        """Keep an answer, and return whether that includes its body."""
        if result.volatile or result.failure is not None or result.error is not None or "etag" not in headers:
            return False
        version = self._context.site.get_published_state().version
        if version != self._version:  # no answer of an earlier state is requested again
            self._version = version
            self._answers = LruCache(self._byte_limit)
        body_parts = None
        if body is not None and len(body) <= MAX_ANSWER_BYTES:
            body_parts = split_body_at_request_infos(body, headers.get("content-type", ""))
        cached_answer = CachedAnswer(body_parts, headers, result.tables, result.row_count, result.row_limit)
        size = ENTRY_OVERHEAD_BYTES + len(repr(key)) + sum(map(len, body_parts or ()))
        self._answers.store(key, cached_answer, size)
        return body_parts is not None


def _normalize_values(values: Mapping[str, tuple[str, ...]], face: str) -> NormalizedValues:
    """Write parameters in the same way for all spellings and orders that mean the same."""
    if face == "tap":
        values = {**values, "QUERY": tuple(map(normalize_query_whitespace, values.get("QUERY", ())))}
    return tuple(sorted(values.items()))


def _build_unchanged_response(unchanged_answer: UnchangedAnswer) -> Response:
    record_sent_data(answer=CachedAnswer(None, {}, unchanged_answer.tables, 0, None))
    headers = services.build_cache_headers(
        unchanged_answer.tag, is_public=unchanged_answer.is_public, vary=services.RESULT_VARY
    )
    return Response(status_code=304, headers={**headers, "cache-status": "hven; hit"})


def normalize_query_whitespace(text: str) -> str:
    """Replace each run of blanks and line ends in an ADQL query by one blank.

    Case stays as it is, because the answer's columns can have the names that the query writes.
    """
    if text.isprintable() and "  " not in text:  # most programs write queries without line ends and runs of blanks
        return text.strip()
    return _BLANK_PATTERN.sub(lambda match: match[1] or " ", text).strip()


def _write_request_info_elements() -> list[bytes]:
    """Write the INFO elements that state the request that is answered."""
    return [
        f'<INFO name="{info.name}" value={quote_attribute(info.value)}/>'.encode()
        for info in describe_current_request()
        if info.name in CHANGING_INFO_NAMES
    ]


def split_body_at_request_infos(body: bytes, content_type: str) -> tuple[bytes, ...] | None:
    """Split the body of an answer where it states the present request.

    Parameters
    ----------
    body
        The body, not compressed.
    content_type
        Its media type.

    Returns
    -------
    parts
        One part if the body does not state the request, or three. None: the request is somewhere else.
    """
    if not content_type.startswith(TEXT_MEDIA_TYPES):
        return None
    elements = _write_request_info_elements()
    if len(elements) == len(CHANGING_INFO_NAMES) and all(body.count(element) == 1 for element in elements):
        before, _, rest = body.partition(elements[0])
        between, _, after = rest.partition(elements[1])
        if after:
            return (before, between, after)
        return None
    if any(info.value.encode() in body for info in describe_current_request() if info.name in CHANGING_INFO_NAMES):
        return None
    return (body,)
