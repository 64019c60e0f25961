"""Repeat answers that many users without credentials request at the same time, before a request is routed.

An answer that was sent several times within a second of the clock is repeated as it is until this second ends. So its
INFO element `request_date` is right, and what a page reads besides published data is at most a second old. Before each
repetition, the version of the published data and the rights of users without an account are compared.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from hven.site.auth import ANONYMOUS_PRINCIPAL

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from starlette.types import Scope

    from hven.services.admission import SentAnswer
    from hven.services.face import ServiceContext

# headers of a request on which an answer may depend; `keep_sent_answer` compares them with the answer's Vary
KEY_HEADERS = (b"host", b"accept", b"accept-encoding", b"accept-language", b"if-none-match", b"range")
CREDENTIAL_HEADERS = (b"authorization", b"cookie")  # requests that have these are never answered here
MIN_EQUAL_REQUESTS = 5  # in a second, before the answer is repeated: nobody alone sees a page that is out of date
MAX_COUNTED_KEYS = 1_000
MAX_KEY_CHARACTERS = 8_000
MAX_KEPT_BYTES = 8 * 1024**2


class SentAnswerCache:
    """The answers of the present second.

    Parameters
    ----------
    context
        The site.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._site = context.site
        self._sent_second = 0
        self._sent_counts: dict[Hashable, int] = {}
        self._sent_answers: dict[Hashable, SentAnswer] = {}
        self._sent_bytes = 0

    def find_sent_answer(
        self, scope: Scope, headers_by_name: Mapping[bytes, bytes]
    ) -> tuple[Hashable, SentAnswer | None]:
        """Find the answer to an equal request of this second, if its data and rights have not changed since.

        Parameters
        ----------
        scope, headers_by_name
            A request without credentials.

        Returns
        -------
        key
            The second, and all of the request on which an answer may depend; None: it changes something, or has a
            header twice.
        answer
            None: there is none.
        """
        if scope["method"] not in {"GET", "HEAD"} or len(headers_by_name) != len(scope["headers"]):
            return None, None
        address = (scope["scheme"], scope["path"], scope["query_string"])
        key = (int(time.time()), scope["method"], *address, *map(headers_by_name.get, KEY_HEADERS))
        answer = self._sent_answers.get(key)
        if answer is None or answer.usage.validity is None:
            return key, None
        version, access_key, policies, _ = answer.usage.validity
        published_state = self._site.get_published_state()
        if published_state.version != version:
            return key, None
        if published_state.find_access_key(ANONYMOUS_PRINCIPAL, policies) != access_key:
            return key, None
        return key, answer

    def keep_sent_answer(self, key: Hashable, answer: SentAnswer) -> None:
        """Count an answer, and keep it if it is requested often.

        Parameters
        ----------
        key, answer
            Key of the request from `find_sent_answer`, and the answer.
        """
        second = cast("tuple[int, str]", key)[0]
        is_late = second == self._sent_second - 1  # it began in the second before
        if is_late or len(repr(key)) > MAX_KEY_CHARACTERS:
            return
        if second != self._sent_second or len(self._sent_counts) >= MAX_COUNTED_KEYS:
            self._sent_second = second
            self._sent_counts, self._sent_answers, self._sent_bytes = {}, {}, 0
        self._sent_counts[key] = self._sent_counts.get(key, 0) + 1
        size = len(answer.body)
        if self._sent_counts[key] < MIN_EQUAL_REQUESTS or self._sent_bytes + size > MAX_KEPT_BYTES:
            return
        if _is_same_for_all(answer):
            self._sent_answers[key] = answer
            self._sent_bytes += size


def _is_same_for_all(answer: SentAnswer) -> bool:
    """Return whether an answer is public, and depends on no header of the request that the key lacks."""
    headers = dict(answer.headers)
    if answer.status not in {200, 303, 304} or b"set-cookie" in headers:
        return False
    if not headers.get(b"cache-control", b"").startswith(b"public"):
        return False
    varying_headers = set(headers.get(b"vary", b"").replace(b" ", b"").lower().split(b","))
    return varying_headers <= {b"", *KEY_HEADERS, *CREDENTIAL_HEADERS}
