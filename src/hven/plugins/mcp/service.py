"""The Model Context Protocol at ``/mcp``, for the site and below each portal: one address, which takes POST."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import __version__, services
from hven.model.errors import HvenError, ParamError, TimeLimitError, TooManyRequestsError, UserError, suggest_spelling
from hven.plugins.mcp.catalogue_tools import CATALOGUE_TOOLS
from hven.plugins.mcp.json_rpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    LEGACY_VERSIONS,
    META_PREFIX,
    METHOD_NOT_FOUND,
    SUPPORTED_VERSIONS,
    ProtocolError,
    ProtocolRequest,
    parse_request,
    write_error,
    write_event,
    write_result,
)
from hven.plugins.mcp.link_tools import LINK_TOOLS
from hven.plugins.mcp.markdown_pages import build_markdown_routes
from hven.plugins.mcp.row_tools import ROW_TOOLS
from hven.plugins.mcp.tool_arguments import check_arguments
from hven.plugins.mcp.tools import MAX_CANDIDATES, create_tool_context
from hven.query.resolver import AmbiguousObjectNameError
from hven.services.addresses import get_base_url
from hven.services.api.threads import call_in_thread
from hven.services.face import ServiceFace, wrap_endpoint_with_gates_and_errors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.plugins.mcp.tools import Tool, ToolContext
    from hven.services.face import ServiceContext

PATH = "/mcp"
MAX_BODY_BYTES = 1024**2
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LIST_LIFETIME_MILLISECONDS = 3_600_000
JSON_MEDIA_TYPE, EVENT_MEDIA_TYPE = "application/json", "text/event-stream"
HEADERS = {"content-type": JSON_MEDIA_TYPE, "cache-control": "private, no-store", "vary": "accept, accept-encoding"}
OTHER_METHODS = ("GET", "PUT", "PATCH", "DELETE")
CALL_PARAMETERS = {"name", "arguments", "_meta"}
TOOLS = {tool.name: tool for tool in (*CATALOGUE_TOOLS, *ROW_TOOLS, *LINK_TOOLS)}
INSTRUCTIONS = (
    "This server searches and queries an archive of astronomical and planetary data. Search for tables, describe a "
    "table before you query it, and read the first line of each answer: it says whether the rows are complete. After "
    "a faulty call, do what its answer says. Cite what you use: answers have the citation and the licence of the data."
)


def _answer_error(request: Request, request_id: str | int | None, error: ProtocolError) -> Response:
    return _answer_message(request, write_error(request_id, error), error.status)


def _answer_message(request: Request, message: bytes, status: int = 200) -> Response:
    """Send an answer as JSON; to a client that reads only event streams, as an event."""
    headers = HEADERS
    if _choose_media_type(request) == EVENT_MEDIA_TYPE:
        message = write_event(message)
        headers = {**HEADERS, "content-type": EVENT_MEDIA_TYPE}
    return services.answer_with_body(request, message, headers, status)


def _choose_media_type(request: Request) -> str:
    """Choose the media type of the answer; empty: the client takes neither of the two."""
    accepted = {item.partition(";")[0].strip().lower() for item in request.headers.get("accept", "*/*").split(",")}
    if accepted & {JSON_MEDIA_TYPE, "application/*", "*/*", ""}:
        return JSON_MEDIA_TYPE
    if accepted & {EVENT_MEDIA_TYPE, "text/*"}:
        return EVENT_MEDIA_TYPE
    return ""


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error that no tool has answered: a limit, a body that is too large, a fault of the server."""
    status = services.find_http_status(error)
    message = services.log_error_and_write_message(error, services.get_request_id(request))
    code = INTERNAL_ERROR if status >= 500 else INVALID_PARAMS
    if isinstance(error, TooManyRequestsError):
        code = -32000
    request_id = request.scope.get("state", {}).get("message_id")
    body = write_error(request_id, ProtocolError(code, message))
    return Response(body, status, {**HEADERS, **services.build_retry_after_header(error)})


def _check_origin(request: Request, base_url: str, settings: Settings) -> None:
    """Refuse pages of other sites in browsers: the name of their server may have been pointed at this one.

    Without a public address, the base address has the name that the client sent: only names of this machine are known.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return
    is_known = bool(settings.public_url) or urlsplit(origin).hostname in {*LOCAL_HOSTS, settings.host}
    if not is_known or urlsplit(origin)[:2] != urlsplit(base_url)[:2]:
        raise ProtocolError(INVALID_REQUEST, "pages of other sites may not call this server", status=403)


def _check_media_type(request: Request) -> None:
    if not _choose_media_type(request):
        text = f"this address answers with {JSON_MEDIA_TYPE} or {EVENT_MEDIA_TYPE}: name them in the header Accept"
        raise ProtocolError(INVALID_REQUEST, text, status=406)


def build_mcp_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the protocol and of the descriptions of the site."""

    async def answer_request(request: Request) -> Response:
        base_url = get_base_url(request, context.site.settings)
        body = await services.read_body(request, MAX_BODY_BYTES)
        message: ProtocolRequest | None = None
        try:
            _check_origin(request, base_url, context.site.settings)
            _check_media_type(request)
            message = parse_request(body, request.headers)
            request.state.message_id = message.id
            if message.id is None:
                return Response(None, 202, {"cache-control": "no-store"})
            tool_context = create_tool_context(context, request)
            result = await call_in_thread(partial(_compute_result, request), tool_context, message)
        except ProtocolError as error:
            return _answer_error(request, error.request_id if message is None else message.id, error)
        return _answer_message(request, write_result(message, result))

    async def refuse_method(request: Request) -> Response:
        text = (
            f"this address takes requests of the Model Context Protocol by POST, not by {request.method}: it has no "
            f"sessions and no streams of its own. {get_base_url(request, context.site.settings)}/llms.txt describes "
            "the site"
        )
        response = _answer_error(request, None, ProtocolError(INVALID_REQUEST, text, status=405))
        response.headers["allow"] = "POST"
        return response

    return [
        Route(PATH, wrap_endpoint_with_gates_and_errors(answer_request, _respond_to_error), methods=["POST"]),
        Route(PATH, wrap_endpoint_with_gates_and_errors(refuse_method, _respond_to_error), methods=OTHER_METHODS),
        *build_markdown_routes(context),
    ]


def _compute_result(request: Request, context: ToolContext, message: ProtocolRequest) -> Mapping[str, Any]:
    method = message.method
    if method == "tools/call":
        return _call_tool(request, context, message.params)
    if method == "tools/list":
        if message.params.get("cursor") is not None:
            raise ProtocolError(INVALID_PARAMS, "there is no such cursor: the list of tools has one page")
        return {"tools": list_tools(), **(_describe_cache() if message.is_modern else {})}
    if method == "server/discover":
        return {
            "supportedVersions": list(SUPPORTED_VERSIONS),
            **_describe_server(context, is_modern=True),
            **_describe_cache(),
        }
    if method == "initialize" and not message.is_modern:
        version = message.params.get("protocolVersion")
        return {
            "protocolVersion": version if version in LEGACY_VERSIONS else LEGACY_VERSIONS[0],
            **_describe_server(context, is_modern=False),
        }
    if method == "ping" and not message.is_modern:
        return {}
    text = "this server does not know this method; it knows server/discover, tools/list and tools/call"
    raise ProtocolError(METHOD_NOT_FOUND, text, status=404 if message.is_modern else 200)


@cache
def list_tools() -> list[dict[str, Any]]:
    """List the tools as clients see them."""
    return [tool.to_json() for tool in TOOLS.values()]


def _describe_cache() -> dict[str, Any]:
    return {"ttlMs": LIST_LIFETIME_MILLISECONDS, "cacheScope": "public"}


def _describe_server(context: ToolContext, *, is_modern: bool) -> dict[str, Any]:
    info = {"name": "hven", "title": context.title, "version": __version__}
    facts: dict[str, Any] = {"capabilities": {"tools": {}}, "instructions": INSTRUCTIONS}
    if is_modern:
        return {**facts, "_meta": {f"{META_PREFIX}serverInfo": info}}
    return {**facts, "serverInfo": info}


def _find_tool(params: Mapping[str, Any]) -> Tool:
    name = params.get("name")
    tool = None
    if isinstance(name, str):
        tool = TOOLS.get(name)
    if tool is None:
        suggestion = suggest_spelling(str(name)[:80], TOOLS)
        hint = f"{suggestion} " if suggestion else ""
        text = f"there is no such tool; {hint}the tools are {', '.join(TOOLS)}"
        raise ProtocolError(INVALID_PARAMS, text)
    foreign_names = sorted(set(params) - CALL_PARAMETERS)
    if foreign_names:
        text = (
            f"a call has a name and arguments, and nothing like {foreign_names[0][:80]!r}: the schema of the tool is "
            "that of tools/list"
        )
        raise ProtocolError(INVALID_PARAMS, text)
    return tool


def _call_tool(request: Request, context: ToolContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call a tool. Faults of the call are answers, so that the model can mend them."""
    tool = _find_tool(params)
    try:
        values = params.get("arguments")
        if values is not None and not isinstance(values, dict):
            raise ParamError("arguments is not an object", remedy="send an object with a value for each argument")
        answer = tool.run(context, check_arguments(tool.arguments, values or {}))
    except HvenError as error:
        text = _write_tool_error(tool, error, services.get_request_id(request))
        return {"content": [{"type": "text", "text": text}], "isError": True}
    text = f"{answer.headline}\n{orjson.dumps(answer.content).decode()}"
    return {"content": [{"type": "text", "text": text}], "structuredContent": answer.content, "isError": False}


def _write_tool_error(tool: Tool, error: HvenError, request_id: str) -> str:
    """Write what is wrong with a call, how to mend it, and what to call next."""
    lines = [services.log_error_and_write_message(error, request_id)]
    if isinstance(error, AmbiguousObjectNameError):
        shown = [f"{candidate.name} at {candidate.position}" for candidate in error.candidates[:MAX_CANDIDATES]]
        candidates = {"candidates": shown, "candidates_available": len(error.candidates)}
        lines.append(orjson.dumps(candidates).decode())
    if isinstance(error, (UserError, TimeLimitError)):
        lines.append(f"Next: {tool.next_step}.")
    return "\n".join(lines)


FACE = ServiceFace(
    name="mcp",
    title="Tools for AI assistants",
    description="Tools of the Model Context Protocol, with which AI assistants search and query this site.",
    path=PATH,
    build_routes=build_mcp_routes,
)
