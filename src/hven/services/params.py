"""HTTP -> Params by DALI's rules: names without case, GET = POST, repeats counted, values checked against `Param`."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import UTC, datetime
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import anyio.to_thread
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from hven.formats import CURRENT_REQUEST_INFOS, InfoElement
from hven.formats.votable import replace_illegal_characters
from hven.model.errors import ParamError, TooLargeError
from hven.model.literal import to_plain_time
from hven.model.params import MAX_INT64, RequestParams, Upload, collect_params
from hven.services.request_bodies import build_too_large_error, read_body, read_chunks
from hven.site.auth import signed_addresses

if TYPE_CHECKING:
    from collections.abc import Iterable

    from starlette.requests import Request

    from hven.model.params import Param

FORM_MEDIA_TYPE = "application/x-www-form-urlencoded"
MULTIPART_MEDIA_TYPE = "multipart/form-data"
MAX_FORM_BYTES = 16 * 1024**2  # bytes of a form without files: the longest query, percent-encoded, fits
_BOOLEAN_WORDS = {"true": True, "1": True, "false": False, "0": False}
_BLANK_ZONE_PATTERN = re.compile(r"(:\d\d(?:\.\d+)?) (?=\d\d:?\d\d$)")
_UPLOAD_PART_PATTERN = re.compile(r",\s*param:([^;,]+)", re.IGNORECASE)
MAX_PARAMETERS = 10_000
STANDARD_IDS_BY_ENDPOINT: WeakKeyDictionary[Any, str] = WeakKeyDictionary()  # endpoint -> the standard that it answers
MAX_ADDRESS_CHARACTERS = 2_000  # characters of an address that answers repeat
MIN_THREADED_BYTES = 64 * 1024  # bytes of a form that is taken apart in a thread: the event loop has others to serve


def record_request_infos(request: Request) -> None:
    """Keep which request is answered, for the heads of its answers (IVOA note Data Origin in the VO 1.1).

    Parameters
    ----------
    request
        Any; what signs its address is left out.
    """
    url = request.url
    scope = request.scope
    query = signed_addresses.remove_signature(url.query.encode())[0].decode("utf-8", "replace")
    address_text = str(url.replace(query=query, username=None, password=None))[:MAX_ADDRESS_CHARACTERS]
    endpoint = scope.get("endpoint")
    if endpoint is not None:
        protocol = STANDARD_IDS_BY_ENDPOINT.get(endpoint, "")
    else:
        protocol = ""
    info_values = {
        "service_protocol": protocol,
        "request": address_text,
        "request_date": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    CURRENT_REQUEST_INFOS.set(
        tuple(
            InfoElement(name=name, value=replace_illegal_characters(text)) for name, text in info_values.items() if text
        )
    )


async def read_params(request: Request, byte_limit: int) -> RequestParams:
    """Read the parameters of a request from its address and its body (DALI 1.1, 3.1).

    Parameters
    ----------
    request
        GET or POST.
    byte_limit
        Bytes.

    Returns
    -------
    params
        Names in upper case; files of a multipart body.

    Raises
    ------
    TooLargeError
        The body is larger than `byte_limit` bytes.
    ParamError
        The body is not a form, or not UTF-8.
    """
    pairs = _parse_pairs(request.scope.get("query_string", b""), "the address")
    files: dict[str, Upload] = {}
    if request.method == "POST":
        alias = request.scope.get("hven.alias")  # an old address: its parameters' names hold for the body too
        declared = request.headers.get("content-length", "")
        if declared.isdigit() and int(declared) > byte_limit:
            raise build_too_large_error(int(declared), byte_limit)
        packed = request.headers.get("content-encoding", "identity").strip().lower()
        if packed not in {"identity", ""}:
            raise ParamError(
                f"a body that is packed with {packed!r:.40} is not understood",
                remedy="send it as it is; files may be packed by themselves",
            )
        kind = request.headers.get("content-type", FORM_MEDIA_TYPE).partition(";")[0].strip().lower()
        if kind == FORM_MEDIA_TYPE:
            body = await read_body(request, min(byte_limit, MAX_FORM_BYTES))
            if len(body) <= MIN_THREADED_BYTES:
                body_pairs = _parse_pairs(body, "the body")
            else:
                body_pairs = await anyio.to_thread.run_sync(_parse_pairs, body, "the body")
        elif kind == MULTIPART_MEDIA_TYPE:
            body_pairs, files = await _read_multipart(request, byte_limit)
            body_pairs = _read_query_files(_extract_inline_uploads(pairs, body_pairs, files), files)
        else:
            raise ParamError(
                f"a body of type {kind!r} is not understood", remedy=f"send {FORM_MEDIA_TYPE} or {MULTIPART_MEDIA_TYPE}"
            )
        if alias is None:
            pairs = [*pairs, *body_pairs]
        else:
            pairs = alias.add_fixed_values([*pairs, *alias.rename_parameters(body_pairs)])
    return collect_params(pairs, files)


def parse_values(params: RequestParams, declared: Iterable[Param]) -> dict[str, Any]:
    """Parse parameters as they are declared.

    Parameters
    ----------
    params
        Of the request.
    declared
        Their declarations.

    Returns
    -------
    values
        Each as `parse_value` returns it, by name.

    Raises
    ------
    ParamError
        Of the first that is absent though it must not be, or not as it is declared.
    """
    return {param.name: parse_value(params, param) for param in declared}


def parse_value(params: RequestParams, param: Param) -> Any:
    """Parse one parameter as it is declared.

    Parameters
    ----------
    params
        Of the request.
    param
        Its declaration.

    Returns
    -------
    value
        What was given, else its default, else None; a tuple if there may be `many`.

    Raises
    ------
    ParamError
        It is absent though it must not be, or not as it is declared.
    """
    if param.many:
        texts = [text for text in params.read_all(param.name) if text] or [""]
        read = (parse_value(RequestParams({param.name: (text,)}), replace(param, many=False)) for text in texts)
        return tuple(parsed for parsed in read if parsed is not None)
    params.check_values([param] if param.allowed else [])
    name = param.name
    type_ = param.type
    if param.default is not None and params.read_one(name) is None:
        params = RequestParams({name: (param.default,)})
    parsed_value: Any
    if type_.is_integer:
        minimum = -MAX_INT64 if param.minimum is None else int(param.minimum)
        parsed_value = params.read_integer(name, minimum=minimum, maximum=param.maximum)
    elif type_.is_numeric and not type_.is_array:
        parsed_value = params.read_number(name, minimum=param.minimum, maximum=param.maximum, period=param.period)
    else:
        text = params.read_one(name)
        if text is None:
            parsed_value = None
        else:
            parsed_value = _parse_text_value(text, param)
    if parsed_value is None and param.required:
        unit = {None: "", "deg": " in decimal degrees"}.get(param.unit, f" in {param.unit}")
        raise ParamError(f"{name} is missing", name=name, remedy=f"give the {param.description or 'value'}{unit}")
    return parsed_value


def _parse_interval(text: str, param: Param) -> tuple[float, float]:
    """Read two numbers, of which the first may be -Inf and the second +Inf, or one number, which is both."""
    try:
        numbers = [float(word) for word in text.split()]
        if len(numbers) == 2:
            low, high = numbers
        elif len(numbers) == 1:
            low, high = numbers * 2
        else:
            low, high = numbers
    except ValueError:
        raise ParamError(
            f"{param.name}={text!r:.60} is no interval",
            name=param.name,
            remedy=f"write two numbers{f' in {param.unit}' if param.unit else ''}, such as 1 2 or -Inf 2, or one",
        ) from None
    if math.isnan(low) or math.isnan(high):
        message = f"{param.name}={text!r:.60} has a number that is none"
        raise ParamError(message, name=param.name, remedy="write -Inf or +Inf for an end that is open")
    if not low <= high:
        message = f"{param.name}={text!r:.60} is empty: its end is before its beginning"
        raise ParamError(message, name=param.name, remedy="write the smaller number first")
    return low, high


def _parse_text_value(text: str, param: Param) -> Any:
    """Read what is no number: an interval, a boolean, a time (DALI 1.1 section 3.3), or text as it is."""
    if param.type.xtype == "interval":
        return _parse_interval(text, param)
    if param.type.is_boolean:
        if text.strip().lower() in _BOOLEAN_WORDS:
            return _BOOLEAN_WORDS[text.strip().lower()]
        raise ParamError(
            f"{param.name}={text!r:.60} is neither true nor false", name=param.name, remedy="write true or false"
        )
    if param.type.is_timestamp:
        moment = parse_utc_time(text)
        if moment is None:
            remedy = "timestamps look like 2026-11-20T10:15:00"
            raise ParamError(f"{param.name}={text!r:.60} is no timestamp", name=param.name, remedy=remedy)
        return datetime.fromisoformat(moment)
    return text


def parse_utc_time(text: str) -> str | None:
    """Read a time of a client that may have a zone, or none.

    Parameters
    ----------
    text
        ISO 8601; the + of its zone may have become a blank, as where nobody escaped it.

    Returns
    -------
    time
        ISO 8601 in UTC without a zone; None: it is no time.
    """
    return to_plain_time(_BLANK_ZONE_PATTERN.sub(r"\1+", text.strip()))


def describe_param(param: Param) -> dict[str, Any]:
    """Describe a parameter as plain values: what it has not is left out.

    Parameters
    ----------
    param
        Its declaration.

    Returns
    -------
    description
        For JSON.
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


def _parse_pairs(raw: bytes, source_name: str) -> list[tuple[str, str]]:
    if not raw:
        return []
    if raw.count(b"&") >= MAX_PARAMETERS:
        raise TooLargeError(
            f"{source_name} has more than {MAX_PARAMETERS:,} parameters", remedy="ask in several requests"
        )
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:  # unescaped UTF-8 is common and harmless
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise ParamError(
                f"{source_name} is not UTF-8 (byte {error.start})", remedy="percent-encode UTF-8"
            ) from None
    try:
        return parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_PARAMETERS)
    except UnicodeDecodeError as error:
        raise ParamError(
            f"{source_name} has percent-encoded bytes that are not UTF-8 ({error.object!r:.60})",
            remedy="percent-encode UTF-8",
        ) from None
    except ValueError as error:
        raise ParamError(f"{source_name} cannot be read: {error}") from None


class _BoundedMultiPartParser(MultiPartParser):
    """Counts what it holds as text, which is all but files: these go to disk."""

    field_bytes = 0

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._current_part.file is None:
            self.field_bytes += end - start
            if self.field_bytes > MAX_FORM_BYTES:
                raise TooLargeError(
                    f"the parts without a file name have more than {MAX_FORM_BYTES:,} bytes",
                    remedy='give a table\'s part a file name: filename="t.vot"',
                )
        super().on_part_data(data, start, end)


async def _read_multipart(request: Request, byte_limit: int) -> tuple[list[tuple[str, str]], dict[str, Upload]]:
    pairs: list[tuple[str, str]] = []
    files: dict[str, Upload] = {}
    try:
        form = await _BoundedMultiPartParser(
            request.headers, read_chunks(request, byte_limit), max_part_size=byte_limit
        ).parse()
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
    address: list[tuple[str, str]], body: list[tuple[str, str]], files: dict[str, Upload]
) -> list[tuple[str, str]]:
    """Read parts that UPLOAD names as files though they have no file name.

    DALI asks for none, and scripts in browsers send so.
    """
    upload_names = {
        part.strip()
        for name, value in (*address, *body)
        if name.upper() == "UPLOAD"
        for part in _UPLOAD_PART_PATTERN.findall(value)
    } - set(files)
    remaining_pairs = []
    for name, value in body:
        if name in upload_names and name.upper() != "UPLOAD":
            content = value.encode()
            files[name] = Upload(name=name, file=BytesIO(content), size=len(content))
        else:
            remaining_pairs.append((name, value))
    return remaining_pairs


def _read_query_files(body: list[tuple[str, str]], files: dict[str, Upload]) -> list[tuple[str, str]]:
    """Read a query that was sent as a file (``curl -F QUERY=@query.adql``) as text, unless it was also sent as text."""
    all_pairs = list(body)
    for name in [
        name
        for name in files
        if name.upper() == "QUERY" and all(known_name.upper() != "QUERY" for known_name, _ in body)
    ]:
        content = files[name].file.read(MAX_FORM_BYTES + 1)
        if len(content) > MAX_FORM_BYTES:
            raise build_too_large_error(len(content), MAX_FORM_BYTES)
        try:
            all_pairs.append((name, content.decode("utf-8-sig")))
        except UnicodeDecodeError as error:
            raise ParamError(
                f"the file {name} is not UTF-8 (byte {error.start})", name=name, remedy="send the query as text"
            ) from None
        files.pop(name).file.close()
    return all_pairs


async def _build_upload(name: str, part: UploadFile) -> Upload:
    """Keep a part: a small one needs no closing, so that faces that know no files need not think of them."""
    size = part.size or 0
    if size > MIN_THREADED_BYTES:
        return Upload(name=name, file=part.file, size=size, media_type=part.content_type, filename=part.filename or "")
    content = await part.read()
    await part.close()
    return Upload(
        name=name, file=BytesIO(content), size=size, media_type=part.content_type, filename=part.filename or ""
    )
