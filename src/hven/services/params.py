"""Read the parameters of HTTP requests by DALI's rules.

Names are case-insensitive, GET and POST mean the same, and values are checked against their `Param` declarations.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hven.formats import CURRENT_REQUEST_INFOS, InfoElement, replace_illegal_characters
from hven.model.errors import ParamError, TooLargeError
from hven.model.literal import to_portable_time_text
from hven.model.params import MAX_INT64, RequestParams, UploadedFile, collect_params
from hven.services.address_rewriting import FORM_REWRITER_SCOPE_KEY
from hven.services.request_bodies import build_too_large_error, read_body, read_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import HTTPConnection, Request

    from hven.model.params import Param

FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
MULTIPART_MEDIA_TYPE = "multipart/form-data"
MAX_FORM_BYTES = 16 * 1024**2  # of a form without files: enough for the longest query, percent-encoded
_BOOLEAN_WORDS = {"true": True, "1": True, "false": False, "0": False}
_BLANK_ZONE_PATTERN = re.compile(r"(:\d\d(?:\.\d+)?) (?=\d\d:?\d\d$)")
_UPLOAD_PART_PATTERN = re.compile(r",\s*param:([^;,]+)", re.IGNORECASE)
MAX_PARAMETERS = 10_000
STANDARD_IDS_BY_ENDPOINT: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # the standard that each endpoint follows
MAX_ADDRESS_CHARACTERS = 2_000  # of a request's address that answers repeat
MIN_THREADED_BYTES = 64 * 1024  # a larger form is parsed in a thread, so that the event loop serves other requests


def get_request_id(request: HTTPConnection) -> str:
    """Return the id of a request in the log; error documents contain it, too.

    Parameters
    ----------
    request
        Any request.
    """
    return str(request.scope.get("hven.request_id", ""))


def record_request_infos(request: Request) -> None:
    """Record the request that is answered, for the headers of results (IVOA note Data Origin in the VO 1.1).

    Parameters
    ----------
    request
        Any request, after the middleware has removed the signature of a signed address.
    """
    CURRENT_REQUEST_INFOS.set(partial(_describe_request, request, datetime.now(UTC)))


def _describe_request(request: Request, time: datetime) -> tuple[InfoElement, ...]:
    """Describe a request; most answers do not need it."""
    address = str(request.url)
    if "@" in address:  # a password in the header Host; to look for it takes longer than the rest
        address = str(request.url.replace(username=None, password=None))
    endpoint = request.scope.get("endpoint")
    if endpoint is not None:
        protocol = STANDARD_IDS_BY_ENDPOINT.get(endpoint, "")
    else:
        protocol = ""
    values_by_name = {
        "service_protocol": protocol,
        "request": address[:MAX_ADDRESS_CHARACTERS],
        "request_date": time.strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    infos: tuple[InfoElement, ...] = ()
    for name, value in values_by_name.items():
        if value:
            infos = (*infos, InfoElement(name=name, value=replace_illegal_characters(value)))
    return infos


async def read_params(request: Request, byte_limit: int) -> RequestParams:
    """Read the parameters of a request from its address and its body (DALI 1.1, 3.1).

    Parameters
    ----------
    request
        GET or POST request.
    byte_limit
        Limit on the bytes of the body.

    Returns
    -------
    params
        Parameters with names in upper case, and the files of a multipart body.

    Raises
    ------
    TooLargeError
        The body is larger than `byte_limit` bytes.
    ParamError
        The body is not a form, or not UTF-8.
    """
    pairs = _parse_pairs(request.scope.get("query_string", b""), "the address")
    files: dict[str, UploadedFile] = {}
    if request.method == "POST":
        content_length = request.headers.get("content-length", "")
        if content_length.isdigit() and int(content_length) > byte_limit:
            raise build_too_large_error(int(content_length), byte_limit)
        body_pairs, files = await _read_body_pairs(request, pairs, byte_limit)
        rewrite_form = request.scope.get(FORM_REWRITER_SCOPE_KEY)  # of an old address
        if rewrite_form is None:
            pairs = [*pairs, *body_pairs]
        else:
            pairs = rewrite_form(pairs, body_pairs)
    return collect_params(pairs, files)


async def _read_body_pairs(
    request: Request, address_pairs: list[tuple[str, str]], byte_limit: int
) -> tuple[list[tuple[str, str]], dict[str, UploadedFile]]:
    """Read names and values, and the files of a multipart body."""
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding not in {"identity", ""}:
        raise ParamError(
            f"request bodies with the compression {encoding!r:.40} are not supported",
            remedy="send the body without compression; the files in it may be compressed",
        )
    media_type = request.headers.get("content-type", FORM_MEDIA_TYPE).partition(";")[0].strip().lower()
    if media_type == FORM_MEDIA_TYPE:
        body = await read_body(request, min(byte_limit, MAX_FORM_BYTES))
        if len(body) <= MIN_THREADED_BYTES:
            form_pairs = _parse_pairs(body, "the body")
        else:
            form_pairs = await anyio.to_thread.run_sync(_parse_pairs, body, "the body")
        return form_pairs, {}
    if media_type == MULTIPART_MEDIA_TYPE:
        multipart_pairs, files = await _read_multipart(request, byte_limit)
        remaining_pairs = _extract_inline_uploads(address_pairs, multipart_pairs, files)
        return _move_query_file_to_parameters(remaining_pairs, files), files
    raise ParamError(
        f"request bodies of type {media_type!r} are not supported",
        remedy=f"send {FORM_MEDIA_TYPE} or {MULTIPART_MEDIA_TYPE}",
    )


def parse_values(params: RequestParams, declared_params: Iterable[Param]) -> dict[str, Any]:
    """Parse parameters as they are declared.

    Parameters
    ----------
    params
        Parameters of the request.
    declared_params
        Declarations of the parameters.

    Returns
    -------
    values
        Values by name, each as `parse_value` returns it.

    Raises
    ------
    ParamError
        A required parameter is missing, or a value does not match its declaration.
    """
    return {param.name: parse_value(params, param) for param in declared_params}


def parse_value(params: RequestParams, param: Param) -> Any:
    """Parse one parameter as it is declared.

    Parameters
    ----------
    params
        Parameters of the request.
    param
        Declaration of the parameter.

    Returns
    -------
    value
        Value of the request, else the default, else None; a tuple for a parameter with `many`.

    Raises
    ------
    ParamError
        The parameter is required and missing, or its value does not match the declaration.
    """
    name = param.name
    if param.many:
        single_param = replace(param, many=False)
        texts = [text for text in params.read_all(name) if text] or [""]
        values = [parse_value(RequestParams({name: (text,)}), single_param) for text in texts]
        return tuple(value for value in values if value is not None)
    if param.allowed:
        params.check_values([param])
    else:
        params.check_values([])
    if param.default is not None and params.read_one(name) is None:
        params = RequestParams({name: (param.default,)})
    parsed_value: Any
    if param.type.is_integer:
        minimum = -MAX_INT64
        if param.minimum is not None:
            minimum = int(param.minimum)
        parsed_value = params.read_integer(name, minimum=minimum, maximum=param.maximum)
    elif param.type.is_numeric and not param.type.is_array:
        parsed_value = params.read_number(
            name, minimum=param.minimum, maximum=param.maximum, period=param.period, unit=param.unit
        )
    else:
        text = params.read_one(name)
        if text is None:
            parsed_value = None
        else:
            parsed_value = _parse_text_value(text, param)
    if parsed_value is None and param.required:
        unit_text = {None: "", "deg": " in decimal degrees"}.get(param.unit, f" in {param.unit}")
        raise ParamError(f"{name} is missing", name=name, remedy=f"give the {param.description or 'value'}{unit_text}")
    return parsed_value


def _parse_interval(text: str, param: Param) -> tuple[float, float]:
    """Parse two numbers, of which the first may be -Inf and the second +Inf, or one number, which is both ends."""
    try:
        numbers = [float(word) for word in text.split()]
        if len(numbers) == 1:
            numbers *= 2
        low, high = numbers
    except ValueError:
        unit_text = ""
        if param.unit:
            unit_text = f" in {param.unit}"
        raise ParamError(
            f"{param.name}={text!r:.60} is not an interval",
            name=param.name,
            remedy=f"write one or two numbers{unit_text}, such as 1 2 or -Inf 2",
        ) from None
    if math.isnan(low) or math.isnan(high):
        message = f"{param.name}={text!r:.60} has an end that is not a number"
        raise ParamError(message, name=param.name, remedy="write -Inf or +Inf for an open end")
    if not low <= high:
        message = f"{param.name}={text!r:.60} is an empty interval, because its end is before its start"
        raise ParamError(message, name=param.name, remedy="write the smaller number first")
    return low, high


def _parse_text_value(text: str, param: Param) -> Any:
    """Parse a value that is no number: an interval, a boolean, a time (DALI 1.1 section 3.3), or plain text."""
    if param.type.xtype == "interval":
        return _parse_interval(text, param)
    if param.type.is_boolean:
        word = text.strip().lower()
        if word in _BOOLEAN_WORDS:
            return _BOOLEAN_WORDS[word]
        raise ParamError(
            f"{param.name}={text!r:.60} is neither true nor false", name=param.name, remedy="write true or false"
        )
    if param.type.is_timestamp:
        utc_time = parse_utc_time(text)
        if utc_time is None:
            remedy = "write a time such as 2026-11-20T10:15:00"
            raise ParamError(f"{param.name}={text!r:.60} is not a timestamp", name=param.name, remedy=remedy)
        return datetime.fromisoformat(utc_time)
    check_text_characters(param.name, (text,))
    return text


def check_text_characters(name: str, texts: Iterable[str]) -> None:
    """Check that the values of a parameter can be texts in a query, which cannot contain NUL characters.

    Parameters
    ----------
    name
        Name of the parameter.
    texts
        Its values.

    Raises
    ------
    ParamError
        One of them contains a NUL character.
    """
    if any("\0" in text for text in texts):
        raise ParamError(f"{name} contains a NUL character (%00)", name=name, remedy="remove the character")


def parse_utc_time(text: str) -> str | None:
    """Convert a client's time, with or without a zone, to UTC.

    Parameters
    ----------
    text
        Time in ISO 8601; the ``+`` of its zone may have become a blank because the client did not escape it.

    Returns
    -------
    time
        Time in ISO 8601 and UTC without a zone; None if the text is no time.
    """
    return to_portable_time_text(_BLANK_ZONE_PATTERN.sub(r"\1+", text.strip()))


def describe_param(param: Param) -> dict[str, Any]:
    """Describe a parameter with plain values, without the ones that it does not have.

    Parameters
    ----------
    param
        Declaration of the parameter.

    Returns
    -------
    description
        Dictionary for JSON.
    """
    description = {
        "name": param.name,
        "type": str(param.type),
        "unit": param.unit,
        "required": param.required,
        "many": param.many,
        "default": param.default,
        "allowed": list(param.allowed) or None,
        "minimum": param.minimum,
        "maximum": param.maximum,
        "description": param.description,
    }
    return {name: value for name, value in description.items() if value not in (None, False)}


def _parse_pairs(raw_query: bytes, source_name: str) -> list[tuple[str, str]]:
    if not raw_query:
        return []
    if raw_query.count(b"&") >= MAX_PARAMETERS:
        raise TooLargeError(
            f"{source_name} has more than {MAX_PARAMETERS:,} parameters", remedy="send several requests"
        )
    try:
        text = raw_query.decode("utf-8")  # bytes that are not escaped are common and harmless
    except UnicodeDecodeError as error:
        raise ParamError(
            f"{source_name} is not UTF-8 (byte {error.start})", remedy="send percent-encoded UTF-8"
        ) from None
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise ParamError(
            f"{source_name} has percent-encoded bytes that are not UTF-8 ({error.object!r:.60})",
            remedy="send percent-encoded UTF-8",
        ) from None
    except ValueError as error:
        raise ParamError(f"{source_name} cannot be read: {error}") from None


class _BoundedMultiPartParser(MultiPartParser):
    """A parser with a limit on the bytes of fields, which it holds in memory; files go to disk."""

    field_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self.field_bytes += end - start
            if self.field_bytes > MAX_FORM_BYTES:
                raise TooLargeError(
                    f"the parts without a file name have more than {MAX_FORM_BYTES:,} bytes in total",
                    remedy='add a file name, such as filename="t.vot", to each part that contains a table',
                )
        super().on_part_data(data, start, end)


async def _read_multipart(request: Request, byte_limit: int) -> tuple[list[tuple[str, str]], dict[str, UploadedFile]]:
    pairs: list[tuple[str, str]] = []
    files: dict[str, UploadedFile] = {}
    body_chunks = read_chunks(request, byte_limit)
    parser = _BoundedMultiPartParser(request.headers, body_chunks, max_part_size=byte_limit)
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise ParamError(f"the multipart body cannot be read: {error.message}") from None
    for name, value in form.multi_items():
        if not isinstance(value, UploadFile):
            pairs.append((name, value))
        elif name in files:
            await form.close()
            raise ParamError(
                f"the multipart body has two files called {name!r}", name=name, remedy="give each part its own name"
            )
        else:
            files[name] = await _build_upload(name, value)
    return pairs, files


def _extract_inline_uploads(
    address_pairs: list[tuple[str, str]], body_pairs: list[tuple[str, str]], files: dict[str, UploadedFile]
) -> list[tuple[str, str]]:
    """Move parts without a file name that UPLOAD names to the files, and return the other pairs.

    DALI does not require a file name, and scripts in browsers send none.
    """
    upload_names: set[str] = set()
    for name, value in (*address_pairs, *body_pairs):
        if name.upper() == "UPLOAD":
            upload_names.update(part_name.strip() for part_name in _UPLOAD_PART_PATTERN.findall(value))
    upload_names -= set(files)
    remaining_pairs = []
    for name, value in body_pairs:
        if name in upload_names and name.upper() != "UPLOAD":
            content = value.encode()
            files[name] = UploadedFile(name=name, file=BytesIO(content), size=len(content))
        else:
            remaining_pairs.append((name, value))
    return remaining_pairs


def _move_query_file_to_parameters(
    pairs: list[tuple[str, str]], files: dict[str, UploadedFile]
) -> list[tuple[str, str]]:
    """Read a query that was sent as a file (``curl -F QUERY=@query.adql``) as text, unless it was also sent as text."""
    all_pairs = list(pairs)
    if any(name.upper() == "QUERY" for name, _ in pairs):
        return all_pairs
    query_names = [name for name in files if name.upper() == "QUERY"]
    for name in query_names:
        content = files[name].file.read(MAX_FORM_BYTES + 1)
        if len(content) > MAX_FORM_BYTES:
            raise build_too_large_error(len(content), MAX_FORM_BYTES)
        try:
            all_pairs.append((name, content.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            raise ParamError(
                f"the file {name!r} is not UTF-8 (byte {error.start})", name=name, remedy="send the query as UTF-8 text"
            ) from None
        files.pop(name).file.close()
    return all_pairs


async def _build_upload(name: str, part: UploadFile) -> UploadedFile:
    """Build an upload from a part; a small one is in memory, so that services without files need not close it."""
    size = part.size or 0
    file = part.file
    if size <= MIN_THREADED_BYTES:
        file = BytesIO(await part.read())
        await part.close()
    return UploadedFile(name=name, file=file, size=size, media_type=part.content_type, filename=part.filename or "")
