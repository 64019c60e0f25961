"""Messages of the Model Context Protocol: JSON-RPC in both eras of the protocol.

From 2026-07-28, each request has its version, and stands alone. Before, a client sent ``initialize`` first. This server
needs no session for that, so that any process can answer any request.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    from collections.abc import Mapping

MODERN_VERSION = "2026-07-28"
LEGACY_VERSIONS = ("2025-11-25", "2025-06-18", "2025-03-26")
SUPPORTED_VERSIONS = (MODERN_VERSION, *LEGACY_VERSIONS)
META_PREFIX = "io.modelcontextprotocol/"
NAMED_METHODS = {"tools/call": "name", "resources/read": "uri", "prompts/get": "name"}  # method -> key of its name
ENCODED_HEADER_START, ENCODED_HEADER_END = "=?base64?", "?="

PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMS, INTERNAL_ERROR = -32700, -32600, -32601, -32602, -32603
HEADER_MISMATCH, UNSUPPORTED_VERSION = -32020, -32022


class ProtocolError(Exception):
    """A message that is not as the protocol has it.

    Parameters
    ----------
    code, message
        Code and text of JSON-RPC.
    status
        HTTP status.
    data
        Further facts.
    """

    def __init__(self, code: int, message: str, *, status: int = 400, data: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.data = data
        self.request_id: str | int | None = None  # of the message, if it could be read


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolRequest:
    """A request of a client.

    Attributes
    ----------
    id
        Its id; None: it is a notification, which gets no answer.
    method, params
        What it asks for.
    is_modern
        Whether it stands alone, as from 2026-07-28.
    """

    id: str | int | None
    method: str
    params: Mapping[str, Any]
    is_modern: bool


def parse_request(body: bytes, headers: Mapping[str, str]) -> ProtocolRequest:
    """Parse a request, and compare it with its HTTP headers.

    Parameters
    ----------
    body
        Body of the HTTP request.
    headers
        Its headers, with names in lower case.

    Raises
    ------
    ProtocolError
        The message is not as the protocol has it.
    """
    message = _parse_message(body)
    request_id = message.get("id")
    if "id" in message and (isinstance(request_id, bool) or not isinstance(request_id, (str, int))):
        raise ProtocolError(INVALID_REQUEST, "the id is neither a text nor a whole number")
    try:
        return _check_message(message, headers)
    except ProtocolError as error:
        error.request_id = request_id
        raise


def _check_message(message: Mapping[str, Any], headers: Mapping[str, str]) -> ProtocolRequest:
    request_id, params = message.get("id"), message.get("params") or {}
    if not isinstance(params, dict):
        raise ProtocolError(INVALID_PARAMS, "params is not an object: send the arguments by their names")
    meta = params.get("_meta")
    version = None
    if isinstance(meta, dict):
        version = meta.get(f"{META_PREFIX}protocolVersion")
    header_version = headers.get("mcp-protocol-version")
    is_modern = version is not None or header_version == MODERN_VERSION
    request = ProtocolRequest(id=request_id, method=message["method"], params=params, is_modern=is_modern)
    if header_version is not None and header_version not in SUPPORTED_VERSIONS:
        raise build_version_error(header_version)
    if is_modern and request_id is not None:
        _check_modern_request(request, meta if isinstance(meta, dict) else {}, headers)
    return request


def _parse_message(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        text = f"the body is not JSON, or it is nested too deep: {error.msg[:80]}"
        raise ProtocolError(PARSE_ERROR, text) from None
    if isinstance(message, list):
        text = "this server takes no batches: send each request by a POST of its own"
        raise ProtocolError(INVALID_REQUEST, text)
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0" or not isinstance(message.get("method"), str):
        text = (
            "the body is no request and no notification of JSON-RPC 2.0: send an object with jsonrpc, id, method and "
            "params"
        )
        raise ProtocolError(INVALID_REQUEST, text)
    return message


def build_version_error(version: object) -> ProtocolError:
    """Build the error of a version that this server does not know."""
    data = {"supported": list(SUPPORTED_VERSIONS), "requested": str(version)[:40]}
    text = f"this server does not know this version of the protocol; it knows {', '.join(SUPPORTED_VERSIONS)}"
    return ProtocolError(UNSUPPORTED_VERSION, text, data=data)


def _check_modern_request(request: ProtocolRequest, meta: Mapping[str, Any], headers: Mapping[str, str]) -> None:
    version = meta.get(f"{META_PREFIX}protocolVersion")
    if version is None:
        text = (
            f"the header MCP-Protocol-Version is {MODERN_VERSION}, but _meta has no {META_PREFIX}protocolVersion: from "
            "this version on, each request has it, and none is initialize"
        )
        raise ProtocolError(HEADER_MISMATCH, text)
    if headers.get("mcp-protocol-version") != version:
        raise ProtocolError(HEADER_MISMATCH, "the header MCP-Protocol-Version is not the version in _meta")
    if version != MODERN_VERSION:
        raise build_version_error(version)
    if headers.get("mcp-method") != request.method:
        raise ProtocolError(HEADER_MISMATCH, "the header Mcp-Method is not the method of the body")
    name_key = NAMED_METHODS.get(request.method)
    if name_key is not None and _decode_header(headers.get("mcp-name")) != request.params.get(name_key):
        raise ProtocolError(HEADER_MISMATCH, f"the header Mcp-Name is not the {name_key} of the body")
    if not isinstance(meta.get(f"{META_PREFIX}clientCapabilities"), dict):
        raise ProtocolError(INVALID_PARAMS, f"_meta has no {META_PREFIX}clientCapabilities")


def _decode_header(value: str | None) -> str | None:
    """Decode a header whose text is not ASCII; any other is returned as it is."""
    if value is None or not (value.startswith(ENCODED_HEADER_START) and value.endswith(ENCODED_HEADER_END)):
        return value
    encoded = value.removeprefix(ENCODED_HEADER_START).removesuffix(ENCODED_HEADER_END)
    try:
        return base64.b64decode(encoded, validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return value


def write_result(request: ProtocolRequest, result: Mapping[str, Any]) -> bytes:
    """Write the answer to a request."""
    if request.is_modern:
        result = {"resultType": "complete", **result}
    return orjson.dumps({"jsonrpc": "2.0", "id": request.id, "result": result})


def write_error(request_id: str | int | None, error: ProtocolError) -> bytes:
    """Write the answer to a request that is not as the protocol has it."""
    fault: dict[str, Any] = {"code": error.code, "message": str(error)}
    if error.data is not None:
        fault["data"] = error.data
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": fault})


def write_event(message: bytes) -> bytes:
    """Write an answer as the only event of a stream, for clients that read nothing else."""
    return b"event: message\ndata: " + message + b"\n\n"
