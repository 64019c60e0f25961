"""Send many requests to a service, at a limited rate.

A request is tried again after a pause if the service is overloaded or does not respond.
"""

from __future__ import annotations

import base64
import re
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from hven.model import split_address
from hven.model.errors import SourceError, TooLargeError, UserError
from hven.sources import http_client
from hven.sources._rate_limiting import RETRYABLE_STATUSES, ServiceBusyError, compute_backoff, parse_retry_after
from hven.sources._reading.bearer_challenges import request_token

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence

    from hven.sources import SourceContext
    from hven.sources.http_client import StreamedAnswer

INSPECTION_TIMEOUT_SECONDS = 30.0  # longest time without a byte while a person waits for a first look
INSPECTION_ATTEMPTS = 2  # of a request while a person waits for a first look
MAX_RETRY_AFTER_SECONDS = 600.0  # longest pause that a service may demand (Retry-After)
MAX_ANSWER_BYTES = 256 << 20  # of an answer that is held in memory
MAX_CACHED_ANSWER_BYTES = 32 << 20
MAX_ERROR_TEXT_CHARACTERS = 400  # of an answer that is no document
USER_AGENT_HEADERS = {"User-Agent": "hven (sync)"}
_HTML_TAG_PATTERN = re.compile(r"<(script|style)\b.*?</\1>|<[^>]*>", re.DOTALL | re.IGNORECASE)
_SECRET_NAME_PATTERN = re.compile(r"\$\w+")
T = TypeVar("T")


def _check_secret_name(value: str) -> str:
    if not _SECRET_NAME_PATTERN.fullmatch(value):
        raise ValueError("put the value into a secret, and write the name of the secret here, as `$NAME`")
    return value


Secret = Annotated[str, AfterValidator(_check_secret_name)]
Token = Annotated[
    Secret | None,
    Field(
        description="`$NAME`, where the secret NAME contains a bearer token. Hven sends the token only over https.",
        examples=["$ARCHIVE_TOKEN"],
    ),
]
Login = Annotated[
    Secret | None,
    Field(
        description="Instead of `token`: `$NAME`, where the secret NAME contains `user:password`.",
        examples=["$ARCHIVE_LOGIN"],
    ),
]
RequestRate = Annotated[
    float | None,
    Field(
        gt=0,
        le=1000,
        description="Maximum number of requests per second. The limit in `sync: rate` also applies.",
        examples=[2],
    ),
]
PageRows = Annotated[
    int | None,
    Field(
        ge=1,
        le=10_000_000,
        description="Number of rows in a page. `sync: page` takes precedence over this option. Default: 50,000.",
        examples=[10000],
    ),
]
SilenceSeconds = Annotated[
    float,
    Field(
        gt=0,
        le=86_400,
        description="Hven aborts a request if it receives no data for this many seconds.",
        examples=[60],
    ),
]
AttemptCount = Annotated[
    int,
    Field(
        ge=1,
        le=20,
        description=(
            "Maximum number of times that Hven sends a request. Hven repeats a request if its failure may be "
            "temporary, for example if the service doesn't respond, or sends status 503 or a truncated response."
        ),
        examples=[3],
    ),
]


class RunBudgetOptions(BaseModel):
    """What a descriptor may state about the cost of a run."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bytes: int = Field(
        10 << 30, gt=0, description=("Maximum total size in bytes of all responses in one run."), examples=[1000000000]
    )
    total: float = Field(86_400.0, gt=0, description="Maximum duration of one run in seconds.", examples=[3600])


class RequestOptions(RunBudgetOptions):
    """What a descriptor may state about requests to a server."""

    token: Token = None
    login: Login = None
    rate: RequestRate = None
    seconds: SilenceSeconds = 120.0
    tries: AttemptCount = 6


class ServiceOptions(RequestOptions):
    """What a descriptor may state about every service that gets many requests."""

    url: str = Field(pattern=r"^https?://", description="Address of the server.", examples=["https://archive.example"])


class RequestPolicy(Protocol):
    """What the options of a source say about each request to its service."""

    @property
    def seconds(self) -> float:
        """The longest time without a byte."""
        ...

    @property
    def tries(self) -> int:
        """The largest number of attempts, where a pause may help."""
        ...

    @property
    def rate(self) -> float | None:
        """The largest number of requests a second."""
        ...


class RunBudget:
    """The bytes and seconds that a run may still use.

    Its `ServiceClient` counts what it receives, so that no answer is left out.
    """

    def __init__(self, options: RunBudgetOptions, source_name: str, remedy: str) -> None:
        self.options = options
        self.source_name = source_name
        self.remedy = remedy
        self.byte_count = 0
        self._start_time = time.monotonic()

    def reset(self) -> None:
        """Start another run."""
        self.byte_count = 0
        self._start_time = time.monotonic()

    def count_bytes_of_parts(self, parts: Iterable[bytes]) -> Iterator[bytes]:
        """Pass an answer on, and count its bytes.

        Parameters
        ----------
        parts
            The parts of an answer.

        Yields
        ------
        part
            The same parts.

        Raises
        ------
        TooLargeError, SourceError
            As for `add_bytes`.
        """
        for part in parts:
            self.add_bytes(len(part))
            yield part

    def read_answer_within_limit(self, parts: Iterable[bytes], byte_limit: int | None = None) -> bytes:
        """Read the answer of a service into memory.

        Parameters
        ----------
        parts
            The parts of an answer.
        byte_limit
            Maximum number of bytes; None: `MAX_ANSWER_BYTES`.

        Returns
        -------
        answer
            The whole answer.

        Raises
        ------
        TooLargeError
            The answer has more bytes than `byte_limit`, or `MAX_ANSWER_BYTES`.
        """
        byte_limit = MAX_ANSWER_BYTES if byte_limit is None else byte_limit
        answer = bytearray()
        for part in parts:
            answer += part
            if len(answer) > byte_limit:
                raise TooLargeError(
                    f"{self.source_name} sent more than {byte_limit:,} bytes in one response",
                    remedy="set a smaller `page`",
                )
        return bytes(answer)

    def add_bytes(self, byte_count: int) -> None:
        """Count received bytes.

        Parameters
        ----------
        byte_count
            Number of bytes that were received.

        Raises
        ------
        TooLargeError
            The run used more bytes.
        SourceError
            The run used more seconds.
        """
        self.byte_count += byte_count
        if self.byte_count > self.options.bytes:
            raise TooLargeError(
                f"{self.source_name} sent more than {self.options.bytes:,} bytes",
                remedy=f"raise `bytes`, {self.remedy}",
            )
        if time.monotonic() - self._start_time > self.options.total:
            raise SourceError(
                f"reading {self.source_name} takes longer than {self.options.total:g} s",
                remedy="raise `total`, or sync again; if the sync can be resumed, it continues where it stopped",
            )


class BrokenAnswerError(SourceError):
    """An answer broke off: another attempt may help."""


class ServiceClient:
    """A remote service.

    Parameters
    ----------
    url
        Address of the service.
    options
        Limits of each request, as the descriptor gives them. The context may lower them.
    authorization
        The header ``Authorization``.
    budget
        Limits of a run: everything that the service sends counts.

    Attributes
    ----------
    on_wait
        Called whenever a request is sent, and before each pause: work that it does delays nothing.
    """

    def __init__(
        self,
        url: str,
        context: SourceContext,
        *,
        options: RequestPolicy,
        authorization: str | None = None,
        budget: RunBudget | None = None,
    ) -> None:
        self.budget = budget
        self.url = url.rstrip("/")
        self.host = split_address(url).hostname or url
        self.timeout_seconds = options.seconds
        self.max_attempts = options.tries
        if context.is_inspection:
            self.timeout_seconds = min(options.seconds, INSPECTION_TIMEOUT_SECONDS)
            self.max_attempts = min(options.tries, INSPECTION_ATTEMPTS)
        self.authorization = authorization
        kind, _, login = (authorization or "").partition(" ")
        self._login = base64.b64decode(login).decode() if kind == "Basic" else None
        self._min_interval_seconds = 0.0
        self.reduce_rate_limit(options.rate)
        self.reduce_rate_limit(context.requests_per_second)
        self._next_request_time = 0.0
        self._pacing_lock = threading.Lock()
        self._allow_private = context.allow_private
        self._on_notice = context.on_notice
        self._answer_cache = context.answer_cache
        self._connections: http_client.HttpConnections | None = None
        self.on_wait: Callable[[], object] | None = None
        if authorization is not None and split_address(url).scheme != "https" and not self._allow_private:
            raise SourceError(
                "the token would be sent over plain http, where others can read it",
                remedy="give the https address of the service",
            )

    def check_address(self) -> None:
        """Check that requests to the service are allowed; its host may be unknown for now.

        Raises
        ------
        PrivateAddressError
            The service is not on the public internet.
        """
        try:
            http_client.resolve_url(self.url, allow_private=self._allow_private)
        except http_client.PrivateAddressError:
            raise
        except UserError:
            return

    def reset_budget(self) -> None:
        """Start another run, with a new budget."""
        if self.budget is not None:
            self.budget.reset()

    def reduce_rate_limit(self, requests_per_second: float | None) -> None:
        """Limit the number of requests a second; None: no change.

        Parameters
        ----------
        requests_per_second
            Maximum rate in requests per second; None: no change.
        """
        self._min_interval_seconds = max(
            self._min_interval_seconds, 1 / requests_per_second if requests_per_second else 0.0
        )

    def retry(self, operation: Callable[[], T]) -> T:
        """Try an action, again if a pause may help.

        Parameters
        ----------
        operation
            A function that sends a request and reads its answer.

        Returns
        -------
        result
            What the function returns.

        Raises
        ------
        SourceError
            The service never answered as it should.
        """
        for number in range(1, self.max_attempts + 1):
            try:
                return operation()
            except (http_client.UnreachableError, BrokenAnswerError) as error:
                if isinstance(error, ServiceBusyError):
                    retry_after_seconds = error.retry_after_seconds
                else:
                    retry_after_seconds = None
                if number == self.max_attempts or (
                    retry_after_seconds is not None and retry_after_seconds > MAX_RETRY_AFTER_SECONDS
                ):
                    if retry_after_seconds is not None and retry_after_seconds > MAX_RETRY_AFTER_SECONDS:
                        retry_text = f" (the service asks clients to wait {retry_after_seconds:.0f} s)"
                    else:
                        retry_text = ""
                    if number > 1:
                        message = f"{self.host}: {error.message}{retry_text}; Hven tried {number} times"
                    else:
                        message = f"{self.host}: {error.message}{retry_text}"
                    raise SourceError(
                        message, remedy="try again later; until then, the published rows stay as they are"
                    ) from error
                self._wait_notifying_listener(
                    compute_backoff(number) if retry_after_seconds is None else retry_after_seconds
                )
        raise AssertionError("`tries` must be at least 1")

    def _wait_notifying_listener(self, duration_seconds: float) -> None:
        if self.on_wait is not None:
            self.on_wait()
        time.sleep(duration_seconds)

    @contextmanager
    def keep_connections_open(self) -> Iterator[None]:
        """Keep connections open between many requests."""
        with http_client.HttpConnections(self.timeout_seconds) as connections:
            self._connections = connections
            try:
                yield
            finally:
                self._connections = None

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        form_fields: Sequence[tuple[str, str]] = (),
        *,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        follow_redirects: bool = True,
        timeout_seconds: float | None = None,
    ) -> Iterator[StreamedAnswer]:
        """Send one request, in its turn; statuses that a pause may help become `ServiceBusyError`.

        Parameters
        ----------
        method
            Method of HTTP.
        url
            Address.
        form_fields
            Names and values of the fields of a form.
        content
            Body of the request; None: the form, if it has fields.
        headers
            Further headers.
        follow_redirects
            Whether to follow redirects.
        timeout_seconds
            Seconds to wait for each part of the answer; None: those of the options.

        Yields
        ------
        answer
            The answer, whose body is read in parts.

        Raises
        ------
        ServiceBusyError
            429, 502, 503, 504.
        UnreachableError, ForbiddenError, UserError
            As for `hven.sources.http_client.stream_answer`.
        """
        if method == "GET":
            key = (url, tuple((headers or {}).items()))
        else:
            key = None
        if key is not None and self._answer_cache is not None and (cached_answer := self._answer_cache.find(key)):
            yield replace(cached_answer[0], parts=iter(cached_answer[1]))
            return
        with self._pacing_lock:
            now = time.monotonic()
            begin = max(self._next_request_time, now)
            self._next_request_time = max(self._next_request_time, now) + self._min_interval_seconds
        if begin > now:
            self._wait_notifying_listener(begin - now)
        is_own_server = split_address(url)[:2] == split_address(self.url)[:2]
        for first in (True, False):
            with http_client.stream_answer(
                method,
                url,
                form_fields=form_fields,
                content=content,
                headers={**USER_AGENT_HEADERS, **(headers or {})},
                authorization=self.authorization if is_own_server else None,
                timeout_seconds=timeout_seconds or self.timeout_seconds,
                follow_redirects=follow_redirects,
                allow_private=self._allow_private,
                connections=self._connections,
                on_sent=self.on_wait,
            ) as answer:
                if first and is_own_server and answer.status == 401 and self._request_bearer_token(answer):
                    continue
                if answer.status in RETRYABLE_STATUSES:
                    raise ServiceBusyError(
                        f"the service returned status {answer.status}: "
                        f"{extract_error_text(answer) or 'no reason given'}",
                        parse_retry_after(answer.headers.get("retry-after")),
                    )
                if self.budget is not None:
                    answer = replace(answer, parts=self.budget.count_bytes_of_parts(answer.parts))  # noqa: PLW2901
                keeps = self._answer_cache is not None and key is not None and answer.status == 200
                yield replace(answer, parts=self._cache_answer(key, answer)) if keeps else answer
                return

    def _cache_answer(self, key: Hashable, answer: StreamedAnswer) -> Iterator[bytes]:
        """Pass an answer on, and keep it once it was read to its end."""
        parts: list[bytes] = []
        size = 0
        for part in answer.parts:
            yield part
            size += len(part)
            if size <= MAX_CACHED_ANSWER_BYTES:
                parts.append(part)
        if self._answer_cache is not None and size <= MAX_CACHED_ANSWER_BYTES:
            self._answer_cache.store(key, (replace(answer, parts=iter(())), parts), size)

    def _request_bearer_token(self, answer: StreamedAnswer) -> bool:
        """Get a token for the password, if the service says where (``ivoa_bearer``)."""
        if self._login is None:
            return False
        bearer_token = request_token(
            answer.headers.get("www-authenticate", ""),
            self._login,
            timeout_seconds=self.timeout_seconds,
            allow_private=self._allow_private,
        )
        self.authorization = bearer_token or self.authorization
        return bearer_token is not None


def extract_error_text(answer: StreamedAnswer | bytes) -> str:
    """Read the beginning of an answer as plain text.

    Parameters
    ----------
    answer
        An answer, or its bytes.

    Returns
    -------
    text
        The text, shortened.
    """
    if isinstance(answer, bytes):
        data = answer
    else:
        data = b""
    try:
        for part in () if isinstance(answer, bytes) else answer.parts:
            data += part
            if len(data) > 1 << 16:
                break
    except UserError:  # the text so far is enough for a message
        pass
    return " ".join(_HTML_TAG_PATTERN.sub(" ", data.decode("utf-8", "replace")).split())[:MAX_ERROR_TEXT_CHARACTERS]


def resolve_authorization(secret_name: str | None, context: SourceContext, scheme: str) -> str | None:
    """Resolve a secret for the authorization.

    Parameters
    ----------
    secret_name
        Name of the secret, ``$NAME``; None: no authorization.
    context
        Context of the source, which resolves secrets.
    scheme
        Scheme of HTTP authentication, such as ``Bearer``.

    Returns
    -------
    value
        Value of the header Authorization; None without a secret.

    Raises
    ------
    SourceError
            No secrets can be resolved here.
    """
    if secret_name is None:
        return None
    if context.resolve_secret is None:
        raise SourceError(
            f"the secret {secret_name} cannot be read here", remedy="ingest the collection with `hven ingest`"
        )
    value = context.resolve_secret(secret_name)
    if scheme == "Basic":
        value = base64.b64encode(value.encode()).decode()
    return f"{scheme} {value}"


def resolve_token_or_login(token: str | None, login: str | None, context: SourceContext) -> str | None:
    """Resolve the secret of a bearer token, or else that of a login, for the authorization.

    Parameters
    ----------
    token, login
        Names of secrets, ``$NAME``; None: there is none.
    context
        Context of the source, which resolves secrets.

    Returns
    -------
    value
        Value of the header Authorization; None without a secret.
    """
    return resolve_authorization(token, context, "Bearer") or resolve_authorization(login, context, "Basic")
