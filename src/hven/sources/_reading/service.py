"""A service that is asked many times: at a certain rate, again after a pause if it has too much to do or does not answer."""

from __future__ import annotations

import base64
import datetime as dt
import email.utils
import random
import re
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, TypeVar
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hven.model.errors import SourceError, TooLarge, UserError
from hven.sources import remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from hven.sources import Context
    from hven.sources.remote import Streamed

PAUSE, LONGEST = 1.0, 60.0  # seconds before the second try, and at most
PATIENCE = 600.0  # seconds that a service may ask us to wait (Retry-After)
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


class ServiceOptions(BaseModel):
    """What a descriptor may say of every service that is asked many times."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = Field(pattern=r"^https?://", description="Address of the server.")
    bytes: int = Field(10 << 30, gt=0, description="Bytes of all answers of one run, at most.")
    total: float = Field(86_400.0, gt=0, description="Seconds of one run, at most.")
    token: Secret | None = Field(None, description="`$NAME` of a secret that lets us in as a bearer token.")
    login: Secret | None = Field(None, description="`$NAME` of a secret `user:password`, instead of `token`.")
    rate: float | None = Field(None, gt=0, le=1000, description="Requests a second at most.")
    seconds: float = Field(120.0, gt=0, le=86_400, description="Without a byte for that long, an answer is given up.")
    tries: int = Field(6, ge=1, le=20, description="How often something is tried that a pause may mend.")


class Budget:
    """Bytes and seconds that a run may still cost."""

    def __init__(self, options: ServiceOptions, what: str, remedy: str) -> None:
        self.options, self.what, self.remedy = options, what, remedy
        self.bytes, self._begun = 0, time.monotonic()

    def read(self, parts: Iterable[bytes], most: int | None = None) -> bytes:
        """Read an answer, within what is left, of `most` bytes.

        Raises
        ------
        TooLarge
            More bytes.
        SourceError
            More seconds.
        """
        found = bytearray()
        for part in parts:
            found += part
            self.bytes += len(part)
            if self.bytes > self.options.bytes:
                raise TooLarge(
                    f"{self.what} sends more than {self.options.bytes:,} bytes",
                    remedy=f"say more `bytes`, {self.remedy}",
                )
            if most is not None and len(found) > most:
                raise TooLarge(
                    f"{self.what} sends more than {most:,} bytes at once", remedy="ask for fewer at once: `page`"
                )
            if time.monotonic() - self._begun > self.options.total:
                raise SourceError(
                    f"{self.what} is not read within {self.options.total:g} s",
                    remedy="say a longer `total`, or sync again: what can be gone on with goes on where it was",
                )
        return bytes(found)


class Busy(UserError):
    """The service has too much to do, or trouble of its own; `seconds`: when it wants to be asked again."""

    def __init__(self, message: str, seconds: float | None = None) -> None:
        super().__init__(message)
        self.seconds = seconds


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
    """

    def __init__(
        self, url: str, context: Context, *, seconds: float, tries: int, rate: float | None, secret: str | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.host = urlsplit(url).hostname or url
        self.seconds = seconds
        self.tries = tries
        self.secret = secret
        self._pause = 0.0
        self.slow(rate)
        self.slow(context.rate)
        self._next = 0.0
        self._private = context.allow_private
        self._tell = context.tell
        self._through: remote.Connections | None = None
        if secret is not None and urlsplit(url).scheme != "https" and not self._private:
            raise SourceError(
                "a token would go over http, where all can read it", remedy="give the https address of the service"
            )

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
            except (remote.Unreachable, Busy, Broken) as error:
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
                time.sleep(
                    wait if wait is not None else min(LONGEST, PAUSE * 2 ** (number - 1)) * random.uniform(0.5, 1.0)  # noqa: S311  (so that not all come back at once)
                )
        raise AssertionError("a service is tried once at least")

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
        wait = self._next - time.monotonic()
        if wait > 0:
            time.sleep(wait)
        self._next = time.monotonic() + self._pause
        ours = urlsplit(url)[:2] == urlsplit(self.url)[:2]
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
        ) as answer:
            if answer.status in {429, 502, 503, 504}:
                raise Busy(
                    f"answers {answer.status}: {words(answer) or 'it does not say why'}",
                    _after(answer.headers.get("retry-after")),
                )
            yield answer


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


def _after(text: str | None) -> float | None:
    """Parse Retry-After: seconds, or a date (RFC 9110 section 10.2.3)."""
    if not text:
        return None
    if text.strip().isdigit():
        return float(text)
    try:
        moment = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=dt.UTC)
    return max(0.0, (moment - dt.datetime.now(dt.UTC)).total_seconds())


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
