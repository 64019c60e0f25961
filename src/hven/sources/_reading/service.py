"""A service that is asked many times: at a certain rate, again after a pause if it has too much to do or does not answer."""

from __future__ import annotations

import base64
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hven.model import split_address
from hven.model.errors import SourceError, TooLarge, UserError
from hven.sources import remote
from hven.sources._reading.bearer import token
from hven.sources._turns import MENDED, Busy, after, backoff

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from hven.sources import Context
    from hven.sources.remote import Streamed

PATIENCE = 600.0  # seconds that a service may ask us to wait (Retry-After)
MAX_ANSWER_BYTES = 256 << 20  # of an answer that is held in memory
KEPT = 32 << 20  # bytes of an answer that is kept, where they are
WORDS = 400  # characters of an answer that is no document
AGENT = {"User-Agent": "hven (sync)"}
_TAG = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_SECRET = re.compile(r"\$\w+")
T = TypeVar("T")


def _named(value: str) -> str:
    if not _SECRET.fullmatch(value):
        raise ValueError("a token belongs into a secret: write $NAME here")
    return value


Secret = Annotated[str, AfterValidator(_named)]


class BudgetOptions(BaseModel):
    """What a descriptor may say of how much a run may cost."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(10 << 30, gt=0, description="Bytes of all answers of one run, at most.")
    total: float = Field(86_400.0, gt=0, description="Seconds of one run, at most.")


class AskedOptions(BudgetOptions):
    """What a descriptor may say of how something elsewhere is asked for."""

    token: Secret | None = Field(None, description="`$NAME` of a secret that lets us in as a bearer token.")
    login: Secret | None = Field(None, description="`$NAME` of a secret `user:password`, instead of `token`.")
    rate: float | None = Field(None, gt=0, le=1000, description="Requests a second at most.")
    seconds: float = Field(120.0, gt=0, le=86_400, description="Without a byte for that long, an answer is given up.")
    tries: int = Field(6, ge=1, le=20, description="How often something is tried that a pause may mend.")


class ServiceOptions(AskedOptions):
    """What a descriptor may say of every service that is asked many times."""

    url: str = Field(pattern=r"^https?://", description="Address of the server.")


class Budget:
    """Bytes and seconds that a run may still cost. Its `Service` counts what it is sent, so that no answer is left out."""

    def __init__(self, options: BudgetOptions, what: str, remedy: str) -> None:
        self.options, self.what, self.remedy = options, what, remedy
        self.bytes, self._begun = 0, time.monotonic()

    def renew(self) -> None:
        """Begin another run."""
        self.bytes, self._begun = 0, time.monotonic()

    def watch(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Pass an answer on, and count it.

        Raises
        ------
        TooLarge, SourceError
            As `count`.
        """
        for part in parts:
            self.count(len(part))
            yield part

    def read(self, parts: Iterable[bytes], most: int | None = None) -> bytes:
        """Read an answer of a service into memory.

        Raises
        ------
        TooLarge
            It has more bytes than `most`, or `MAX_ANSWER_BYTES`.
        """
        most = MAX_ANSWER_BYTES if most is None else most
        found = bytearray()
        for part in parts:
            found += part
            if len(found) > most:
                raise TooLarge(
                    f"{self.what} sends more than {most:,} bytes at once", remedy="ask for fewer at once: `page`"
                )
        return bytes(found)

    def count(self, more: int) -> None:
        """Count bytes that came.

        Raises
        ------
        TooLarge
            More bytes.
        SourceError
            More seconds.
        """
        self.bytes += more
        if self.bytes > self.options.bytes:
            raise TooLarge(
                f"{self.what} sends more than {self.options.bytes:,} bytes", remedy=f"say more `bytes`, {self.remedy}"
            )
        if time.monotonic() - self._begun > self.options.total:
            raise SourceError(
                f"{self.what} is not read within {self.options.total:g} s",
                remedy="say a longer `total`, or sync again: what can be gone on with goes on where it was",
            )


class Broken(SourceError):
    """An answer that broke off: trying again may help."""


class Service:
    """A service elsewhere.

    Parameters
    ----------
    url
        Where it is.
    seconds
        Without a byte for that long, an answer is given up.
    tries
        How often something is tried that a pause may mend.
    rate
        Requests a second at most.
    secret
        The header ``Authorization``.
    budget
        What a run may cost: all that the service sends counts.

    Attributes
    ----------
    meanwhile
        Called whenever a request is on its way, and before each pause: what is done then holds up nothing.
    """

    def __init__(
        self,
        url: str,
        context: Context,
        *,
        seconds: float,
        tries: int,
        rate: float | None,
        secret: str | None = None,
        budget: Budget | None = None,
    ) -> None:
        self.budget = budget
        self.url = url.rstrip("/")
        self.host = split_address(url).hostname or url
        self.seconds = seconds
        self.tries = tries
        self.secret = secret
        kind, _, login = (secret or "").partition(" ")
        self._login = base64.b64decode(login).decode() if kind == "Basic" else None
        self._pause = 0.0
        self.slow(rate)
        self.slow(context.rate)
        self._next, self._turn = 0.0, threading.Lock()
        self._private = context.allow_private
        self._tell = context.tell
        self._answers = context.answers
        self._through: remote.Connections | None = None
        self.meanwhile: Callable[[], object] | None = None
        if secret is not None and split_address(url).scheme != "https" and not self._private:
            raise SourceError(
                "a token would go over http, where all can read it", remedy="give the https address of the service"
            )

    def check(self) -> None:
        """Check that the service may be asked; one that cannot be found now may be later.

        Raises
        ------
        Private
            It is not on the public internet.
        """
        try:
            remote.resolve(self.url, allow_private=self._private)
        except remote.Private:
            raise
        except UserError:
            return

    def renew_budget(self) -> None:
        """Begin another run, which may cost as much as the one before."""
        if self.budget is not None:
            self.budget.renew()

    def slow(self, rate: float | None) -> None:
        """Limit requests to so many a second; None: as before."""
        self._pause = max(self._pause, 1 / rate if rate else 0.0)

    def tried(self, what: Callable[[], T]) -> T:
        """Try something, again and again if a pause may mend it.

        Raises
        ------
        SourceError
            It never answered as it should.
        """
        for number in range(1, self.tries + 1):
            try:
                return what()
            except (remote.Unreachable, Broken) as error:
                wait = error.seconds if isinstance(error, Busy) else None
                if number == self.tries or (wait is not None and wait > PATIENCE):
                    asked = (
                        f" (it asks to be left alone for {wait:.0f} s)" if wait is not None and wait > PATIENCE else ""
                    )
                    message = (
                        f"{self.host}: {error.message}{asked}, after {number} tries"
                        if number > 1
                        else f"{self.host}: {error.message}{asked}"
                    )
                    raise SourceError(message, remedy="what was published stays; try again later") from error
                self._rest(backoff(number) if wait is None else wait)
        raise AssertionError("a service is tried once at least")

    def _rest(self, seconds: float) -> None:
        if self.meanwhile is not None:
            self.meanwhile()
        time.sleep(seconds)

    @contextmanager
    def connected(self) -> Iterator[None]:
        """Keep connections open between requests, of which there will be many."""
        with remote.Connections(self.seconds) as kept:
            self._through = kept
            try:
                yield
            finally:
                self._through = None

    @contextmanager
    def asked(
        self,
        method: str,
        url: str,
        form: Sequence[tuple[str, str]] = (),
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        follow: bool = True,
        seconds: float | None = None,
    ) -> Iterator[Streamed]:
        """Ask once, in its turn; statuses that a pause may mend become `Busy`.

        Raises
        ------
        Busy
            429, 502, 503, 504.
        Unreachable, Forbidden, UserError
            As `hven.sources.remote.stream`.
        """
        key = (url, tuple((headers or {}).items())) if method == "GET" else None
        if key is not None and self._answers is not None and (known := self._answers.find(key)):
            yield replace(known[0], parts=iter(known[1]))
            return
        with self._turn:
            now = time.monotonic()
            begin, self._next = max(self._next, now), max(self._next, now) + self._pause
        if begin > now:
            self._rest(begin - now)
        ours = split_address(url)[:2] == split_address(self.url)[:2]
        for first in (True, False):
            with remote.stream(
                method,
                url,
                form=form,
                content=content,
                headers={**AGENT, **(headers or {})},
                secret=self.secret if ours else None,
                seconds=seconds or self.seconds,
                follow=follow,
                allow_private=self._private,
                through=self._through,
                sent=self.meanwhile,
            ) as answer:
                if first and ours and answer.status == 401 and self._let_in(answer):
                    continue
                if answer.status in MENDED:
                    raise Busy(
                        f"answers {answer.status}: {words(answer) or 'it does not say why'}",
                        after(answer.headers.get("retry-after")),
                    )
                if self.budget is not None:
                    answer = replace(answer, parts=self.budget.watch(answer.parts))  # noqa: PLW2901
                keeps = self._answers is not None and key is not None and answer.status == 200
                yield replace(answer, parts=self._kept(key, answer)) if keeps else answer
                return

    def _kept(self, key: Hashable, answer: Streamed) -> Iterator[bytes]:
        """Pass an answer on, and keep it once it was read to its end."""
        found: list[bytes] = []
        size = 0
        for part in answer.parts:
            yield part
            size += len(part)
            if size <= KEPT:
                found.append(part)
        if self._answers is not None and size <= KEPT:
            self._answers.keep(key, (replace(answer, parts=iter(())), found), size)

    def _let_in(self, answer: Streamed) -> bool:
        """Get a token for our password, if the service says where (``ivoa_bearer``)."""
        if self._login is None:
            return False
        found = token(
            answer.headers.get("www-authenticate", ""), self._login, seconds=self.seconds, allow_private=self._private
        )
        self.secret = found or self.secret
        return found is not None


def words(answer: Streamed | bytes) -> str:
    """Read the beginning of an answer as plain words."""
    data = answer if isinstance(answer, bytes) else b""
    try:
        for part in () if isinstance(answer, bytes) else answer.parts:
            data += part
            if len(data) > 1 << 16:
                break
    except UserError:  # what came is enough for a message
        pass
    return " ".join(_TAG.sub(" ", data.decode("utf-8", "replace")).split())[:WORDS]


def authorization(option: str | None, context: Context, how: str) -> str | None:
    """Resolve a secret that lets us in.

    Raises
    ------
    SourceError
        Nobody here knows secrets.
    """
    if option is None:
        return None
    if context.secret is None:
        raise SourceError(f"the secret {option} can't be resolved here", remedy="ingest it with `hven ingest`")
    value = context.secret(option)
    if how == "Basic":
        value = base64.b64encode(value.encode()).decode()
    return f"{how} {value}"
