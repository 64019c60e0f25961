"""HTTP -> Params by DALI's rules: names without case, GET = POST, repeats counted, values checked against `Param`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

import anyio.to_thread

from hven.errors import Cancelled, ParamError, TooLarge

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable, Mapping

    from starlette.requests import Request

    from hven.model.params import Param

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"
FORM_MOST = 16 * 1024**2  # bytes of a form without files: the longest query, percent-encoded, fits
LONG = 64 * 1024  # bytes of a form that is taken apart in a thread: the event loop has others to serve
_NUMBER = re.compile(r"\s*[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?\s*", re.ASCII)
_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}\s*", re.ASCII)


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A file that came inline with a multipart request."""

    name: str
    content: bytes
    media_type: str | None = None


@dataclass(frozen=True, slots=True)
class Params:
    """The parameters of one request: upper-case name -> values in order (DALI 1.1 section 3.1)."""

    values: Mapping[str, tuple[str, ...]]
    files: Mapping[str, Upload] = field(default_factory=dict)

    def one(self, name: str, default: str | None = None) -> str | None:
        """Give a single-valued parameter; an empty value counts as absent.

        Raises
        ------
        ParamError
            It came more than once with different values.
        """
        found = {value for value in self.values.get(name, ()) if value != ""}
        if len(found) > 1:
            raise ParamError(f"{name} was given {len(self.values[name])} times, with different values", name=name, remedy="give it once")
        return found.pop() if found else default

    def all(self, name: str) -> tuple[str, ...]:
        """Give every value of a parameter that may be repeated."""
        return self.values.get(name, ())

    def number(self, name: str, *, minimum: float | None = None, maximum: float | None = None) -> float | None:
        """Give a number (DALI 1.1 section 3.3.1), None if absent.

        Raises
        ------
        ParamError
            Not a finite number, or out of bounds.
        """
        text = self.one(name)
        if text is None:
            return None
        if not _NUMBER.fullmatch(text) and text.strip().lower().lstrip("+-") not in {"nan", "inf", "infinity"}:
            raise ParamError(f"{name}={text!r} is not a number", name=name, remedy="write decimal degrees such as 83.633")
        value = float(text)
        if not math.isfinite(value):
            raise ParamError(f"{name}={text} is not a finite number", name=name)
        if (minimum is not None and value < minimum) or (maximum is not None and value > maximum):
            raise ParamError(f"{name}={text} is out of range", name=name, remedy=f"allowed: {_bounds(minimum, maximum)}")
        return value

    def whole(self, name: str, *, minimum: int = 0) -> int | None:
        """Give a whole number, None if absent.

        Raises
        ------
        ParamError
            Not a whole number, or too small.
        """
        text = self.one(name)
        if text is None:
            return None
        if not _WHOLE.fullmatch(text):
            raise ParamError(f"{name}={text!r:.60} is not a whole number", name=name)
        value = int(text)
        if value < minimum:
            raise ParamError(f"{name}={text} is too small", name=name, remedy=f"at least {minimum}")
        return value

    def check(self, known: Iterable[Param]) -> None:
        """Check values against what a service declares; unknown names are ignored (DALI 1.1 section 3.1).

        Raises
        ------
        ParamError
            A required parameter is absent, or a value is not among the allowed ones.
        """
        for param in known:
            values = self.values.get(param.name, ())
            if param.required and not any(values):
                raise ParamError(f"{param.name} is missing", name=param.name, remedy=param.description or "")
            if param.allowed:
                for value in values:
                    if value and value not in param.allowed:
                        remedy = f"allowed: {', '.join(param.allowed)}"
                        raise ParamError(f"{param.name}={value!r} is not known", name=param.name, remedy=remedy)


def _bounds(minimum: float | None, maximum: float | None) -> str:
    low = "" if minimum is None else f"from {minimum:g} "
    high = "" if maximum is None else f"to {maximum:g}"
    return (low + high).strip()


async def read(request: Request, limit: int) -> Params:
    """Read the parameters of a request from its address and its body.

    Raises
    ------
    TooLarge
        The body is larger than `limit` bytes.
    ParamError
        The body is not a form, or not UTF-8.
    """
    pairs = _pairs(request.scope.get("query_string", b""), "the address")
    files: dict[str, Upload] = {}
    if request.method == "POST":
        alias = request.scope.get("hven.alias")  # an old address: its parameters' names hold for the body too
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > limit:
            raise _too_large(int(declared), limit)
        kind = request.headers.get("content-type", FORM).partition(";")[0].strip().lower()
        if kind == FORM:
            body = await _body(request, min(limit, FORM_MOST))
            more = _pairs(body, "the body") if len(body) <= LONG else await anyio.to_thread.run_sync(_pairs, body, "the body")
        elif kind == MULTIPART:
            more, files = await _multipart(request, limit)
        else:
            raise ParamError(f"a body of type {kind!r} is not understood", remedy=f"send {FORM} or {MULTIPART}")
        pairs = [*pairs, *more] if alias is None else alias.completed([*pairs, *alias.renamed(more)])
    return collect(pairs, files)


def collect(pairs: Iterable[tuple[str, str]], files: Mapping[str, Upload] | None = None) -> Params:
    """Gather name-value pairs under upper-case names."""
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        values.setdefault(name.upper(), []).append(value)
    return Params({name: tuple(found) for name, found in values.items()}, files or {})


def _pairs(raw: bytes, where: str) -> list[tuple[str, str]]:
    if not raw:
        return []
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:  # unescaped UTF-8 is common and harmless
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParamError(f"{where} is not UTF-8 (byte {error.start})", remedy="percent-encode UTF-8") from None
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=10_000)
    except UnicodeDecodeError as error:
        raise ParamError(
            f"{where} has percent-encoded bytes that are not UTF-8 ({error.object!r:.60})", remedy="percent-encode UTF-8"
        ) from None
    except ValueError as error:
        raise ParamError(f"{where} cannot be read: {error}") from None


async def _chunks(request: Request) -> AsyncGenerator[bytes, None]:
    """Read what is sent; a reader who leaves in the middle of it is no fault of ours."""
    from starlette.requests import ClientDisconnect

    try:
        async for chunk in request.stream():
            yield chunk
    except ClientDisconnect:
        raise Cancelled("the reader left before the request was complete") from None


async def _body(request: Request, limit: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in _chunks(request):
        size += len(chunk)
        if size > limit:
            raise _too_large(size, limit)
        chunks.append(chunk)
    return b"".join(chunks)


async def _multipart(request: Request, limit: int) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    from starlette.datastructures import UploadFile
    from starlette.formparsers import MultiPartException, MultiPartParser

    async def bounded() -> AsyncGenerator[bytes, None]:
        size = 0
        async for chunk in _chunks(request):
            size += len(chunk)
            if size > limit:
                raise _too_large(size, limit)
            yield chunk

    pairs: list[tuple[str, str]] = []
    files: dict[str, Upload] = {}
    try:
        form = await MultiPartParser(request.headers, bounded(), max_part_size=limit).parse()
    except MultiPartException as error:
        raise ParamError(f"the multipart body cannot be read: {error.message}") from None
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                files[name] = Upload(name=name, content=await value.read(), media_type=value.content_type)
            else:
                pairs.append((name, value))
    finally:
        await form.close()
    return pairs, files


def _too_large(size: int, limit: int) -> TooLarge:
    return TooLarge(f"the request has {size:,} bytes or more; the limit is {limit:,}", remedy="send less, or ask the site's owner")
