"""Send requests to the service that is validated: slowly, and with limits on time, bytes and number of requests."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model import split_address
from hven.model.errors import UserError
from hven.sources import http_client

if TYPE_CHECKING:
    from collections.abc import Sequence

MAX_REDIRECTS = 5
REQUEST_HEADERS = {"User-Agent": "hven-lint (IVOA-validate)"}


class ServiceNotCheckableError(UserError):
    """The service cannot be validated: it does not respond, or is not a TAP or HAPI service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LintRequestLimits:
    """Limits of the requests to a service.

    Attributes
    ----------
    row_limit
        Maximum number of rows that are fetched of a table.
    timeout_seconds, total_seconds
        Time without a byte, and time for the whole answer, after which an answer is given up.
    byte_limit
        Maximum size of an answer.
    request_limit
        Maximum number of requests to the service.
    pause_seconds
        Pause between two requests; None: none on this machine, a tenth of a second elsewhere.
    """

    row_limit: int = 1000
    timeout_seconds: float = 30.0
    total_seconds: float = 120.0
    byte_limit: int = 32 << 20
    request_limit: int = 2000
    pause_seconds: float | None = None


class LintHttpClient:
    """Send requests to a service, and count them."""

    def __init__(self, url: str, limits: LintRequestLimits) -> None:
        self.host = split_address(url).hostname or ""
        self.limits = limits
        self.request_count = 0
        self._last_request_time = 0.0
        is_local = self.host in {"localhost", "127.0.0.1", "::1"}
        if limits.pause_seconds is not None:
            self._pause_seconds = limits.pause_seconds
        elif is_local:
            self._pause_seconds = 0.0
        else:
            self._pause_seconds = 0.1

    def send_get(self, url: str, params: Sequence[tuple[str, str]] = (), *, accept: str = "") -> http_client.HttpAnswer:
        """Send a GET request, and follow redirects."""
        full_url = url
        if params:
            separator = "&" if "?" in url else "?"
            full_url = f"{url}{separator}{urlencode(params)}"
        headers = {}
        if accept:
            headers["Accept"] = accept
        return self.follow_redirects(self.send_request("GET", full_url, headers=headers))

    def send_post(self, url: str, form: Sequence[tuple[str, str]]) -> http_client.HttpAnswer:
        """Post a form, and follow redirects (by GET, as 303 says)."""
        return self.follow_redirects(self.send_request("POST", url, form))

    def follow_redirects(self, answer: http_client.HttpAnswer) -> http_client.HttpAnswer:
        """Follow redirects, at most five, and never from https to http.

        Raises
        ------
        UserError
            There are too many redirects, or one leads from https to http.
        """
        for _ in range(MAX_REDIRECTS):
            if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                return answer
            if split_address(answer.url).scheme == "https" and split_address(answer.location).scheme != "https":
                raise UserError(
                    f"{answer.url} redirects from https to {answer.location}",
                    remedy="configure the server to redirect to https",
                )
            answer = self.send_request("GET", answer.location)
        raise UserError(
            f"{answer.url} redirects too many times ({MAX_REDIRECTS} redirects)",
            remedy="give the address to which the last redirect leads",
        )

    def send_request(
        self, method: str, url: str, form: Sequence[tuple[str, str]] = (), headers: dict[str, str] | None = None
    ) -> http_client.HttpAnswer:
        """Send one request.

        The host that the user named may be private. Other hosts, to which it redirects, may not.

        Raises
        ------
        UserError
            There is no complete answer, or the limit of requests is reached.
        """
        if self.request_count >= self.limits.request_limit:
            raise UserError(
                f"the limit of {self.request_count} requests has been reached",
                remedy="choose fewer groups with --only",
            )
        wait_seconds = self._last_request_time + self._pause_seconds - time.monotonic()
        if wait_seconds > 0:
            time.sleep(wait_seconds)
        self.request_count += 1
        try:
            return http_client.send_request_once(
                method,
                url,
                form_fields=form,
                headers={**REQUEST_HEADERS, **(headers or {})},
                timeout_seconds=self.limits.timeout_seconds,
                total_timeout_seconds=self.limits.total_seconds,
                byte_limit=self.limits.byte_limit,
                allow_private=split_address(url).hostname == self.host,
            )
        finally:
            self._last_request_time = time.monotonic()


def get_media_type(answer: http_client.HttpAnswer) -> str:
    """Return the media type of an answer, in lower case and without parameters; empty if it has none."""
    content_type = answer.headers.get("content-type", "")
    return content_type.partition(";")[0].strip().lower()
