"""Asking a stranger's service: slowly, with limits on time, bytes and number, and following redirects with open eyes."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from hven.model import split_address
from hven.model.errors import UserError
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Sequence

REDIRECTS = 5
AGENT = {"User-Agent": "hven-lint (IVOA-validate)"}


class Unjudgeable(UserError):
    """The service cannot be judged: it is not there, or what is there is no TAP service."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How much is asked of a service.

    Attributes
    ----------
    rows
        Of a table that are fetched at most.
    seconds, total
        Without a byte for that long, or not whole after that long, an answer is given up.
    size
        Bytes of an answer.
    requests
        In all; then lint stops asking.
    pause
        Seconds between two requests; None: none on this machine, a tenth of a second elsewhere.
    """

    rows: int = 1000
    seconds: float = 30.0
    total: float = 120.0
    size: int = 32 << 20
    requests: int = 2000
    pause: float | None = None


class Client:
    """Sends the requests; counts them."""

    def __init__(self, url: str, limits: Limits) -> None:
        self.host = split_address(url).hostname or ""
        self.limits = limits
        self.sent = 0
        self._last = 0.0
        here = self.host in {"localhost", "127.0.0.1", "::1"}
        self._pause = limits.pause if limits.pause is not None else 0.0 if here else 0.1

    def get(self, url: str, params: Sequence[tuple[str, str]] = (), *, accept: str = "") -> remote.Answer:
        """GET, redirects followed."""
        whole = url + (("&" if "?" in url else "?") + urlencode(params) if params else "")
        return self.follow(self.send("GET", whole, headers={"Accept": accept} if accept else {}))

    def post(self, url: str, form: Sequence[tuple[str, str]]) -> remote.Answer:
        """POST a form, redirects followed (by GET, as 303 says)."""
        return self.follow(self.send("POST", url, form))

    def follow(self, answer: remote.Answer) -> remote.Answer:
        """Follow redirects, a few times at most; never from https to http."""
        for _ in range(REDIRECTS):
            if answer.status not in {301, 302, 303, 307, 308} or not answer.location:
                return answer
            if split_address(answer.url).scheme == "https" and split_address(answer.location).scheme != "https":
                raise UserError(
                    f"{answer.url} leads from https to {answer.location}", remedy="let it redirect to https"
                )
            answer = self.send("GET", answer.location)
        raise UserError(f"{answer.url} leads on and on ({REDIRECTS} redirects)", remedy="give the last address")

    def send(
        self, method: str, url: str, form: Sequence[tuple[str, str]] = (), headers: dict[str, str] | None = None
    ) -> remote.Answer:
        """Ask once. The host that the user named may be private; others that it leads to may not.

        Raises
        ------
        UserError
            No answer, a broken one, or one without an end; too many requests.
        """
        if self.sent >= self.limits.requests:
            raise UserError(
                f"{self.sent} requests have been sent, the limit", remedy="ask for fewer groups with --only"
            )
        wait = self._last + self._pause - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self.sent += 1
        try:
            return remote.exchange(
                method, url, form=form, headers={**AGENT, **(headers or {})}, seconds=self.limits.seconds, total=self.limits.total,
                limit=self.limits.size, allow_private=split_address(url).hostname == self.host,
            )  # fmt: skip
        finally:
            self._last = time.monotonic()
