"""The Model Context Protocol at ``/mcp``, for the site and below each portal: one address, which takes POST."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import orjson
from starlette.responses import Response
from starlette.routing import Route

from hven import __version__, services
from hven.model.errors import HvenError, ParamError, TooManyRequestsError
from hven.plugins.mcp.catalogue_tools import CATALOGUE_TOOLS
from hven.plugins.mcp.json_rpc import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    LEGACY_VERSIONS,
    META_PREFIX,
    METHOD_NOT_FOUND,
    SUPPORTED_VERSIONS,
    ProtocolError,
    ProtocolRequest,
    parse_request,
    write_error,
    write_result,
)
from hven.plugins.mcp.markdown_pages import build_markdown_routes
from hven.plugins.mcp.row_tools import ROW_TOOLS
from hven.plugins.mcp.tool_arguments import check_arguments
from hven.plugins.mcp.tools import ToolContext
from hven.query.resolver import AmbiguousObjectNameError
from hven.services.addresses import get_base_url
from hven.services.api.threads import call_in_thread
from hven.services.face import ServiceFace, wrap_endpoint_with_error_responses

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from starlette.requests import Request

    from hven.model.settings import Settings
    from hven.services.face import ServiceContext

PATH = "/mcp"
MAX_BODY_BYTES = 1024**2
MAX_CANDIDATES = 20
LOCAL_HOSTS = ("localhost", "127.0.0.1", "::1")
LIST_LIFETIME_MILLISECONDS = 3_600_000
HEADERS = {"content-type": "application/json", "cache-control": "private, no-store", "vary": "accept-encoding"}
TOOLS = {tool.name: tool for tool in (*CATALOGUE_TOOLS, *ROW_TOOLS)}
INSTRUCTIONS = (
    "This server searches and queries an archive of astronomical and planetary data. Search for tables, describe a "
    "table before you query it, and read the first line of each answer: it says whether the rows are complete. Cite "
    "what you use."
)


def _answer_error(request_id: str | int | None, error: ProtocolError) -> Response:
    return Response(write_error(request_id, error), error.status, HEADERS)


def _respond_to_error(request: Request, error: Exception) -> Response:
    """Answer an error that no tool has answered: a limit, a body that is too large, a fault of the server."""
    status = services.find_http_status(error)
    message = services.write_error_message(error, services.get_request_id(request))
    code = INTERNAL_ERROR if status >= 500 else INVALID_PARAMS
    if isinstance(error, TooManyRequestsError):
        code = -32000
    body = write_error(None, ProtocolError(code, message))
    return Response(body, status, {**HEADERS, **services.build_error_headers(error)})


def _check_origin(request: Request, base_url: str, settings: Settings) -> None:
    """Refuse pages of other sites in browsers: the name of their server may have been pointed at this one.

    Without a public address, the base address has the name that the client sent: only names of this machine are known.
    """
    origin = request.headers.get("origin")
    if origin is None:
        return
    is_known = bool(settings.public_url) or urlsplit(origin).hostname in {*LOCAL_HOSTS, settings.host}
    if not is_known or urlsplit(origin)[:2] != urlsplit(base_url)[:2]:
        raise ProtocolError(-32600, "pages of other sites may not call this server", status=403)


def build_mcp_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the route of the protocol."""

    async def answer_message(request: Request) -> Response:
        base_url = get_base_url(request, context.site.settings)
        body = await services.read_body(request, MAX_BODY_BYTES)
        message: ProtocolRequest | None = None
        try:
            _check_origin(request, base_url, context.site.settings)
            message = parse_request(body, request.headers)
            if message.id is None:
                return Response(None, 202, {"cache-control": "no-store"})
            tool_context = ToolContext(context, context.identify_principal(request), base_url)
            result = await call_in_thread(partial(_answer_request, request), tool_context, message)
        except ProtocolError as error:
            return _answer_error(message.id if message is not None else None, error)
        return services.answer_with_body(request, write_result(message, result), HEADERS)

    route = Route(PATH, wrap_endpoint_with_error_responses(answer_message, _respond_to_error), methods=["POST"])
    return [route, *build_markdown_routes(context)]


def _answer_request(request: Request, context: ToolContext, message: ProtocolRequest) -> Mapping[str, Any]:
    method = message.method
    if method == "tools/call":
        return _call_tool(request, context, message.params)
    if method == "tools/list":
        tools = [tool.to_json() for tool in TOOLS.values()]
        return {"tools": tools, **(_describe_cache() if message.is_modern else {})}
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
    raise ProtocolError(
        METHOD_NOT_FOUND, "this server does not know this method", status=404 if message.is_modern else 200
    )


def _describe_cache() -> dict[str, Any]:
    return {"ttlMs": LIST_LIFETIME_MILLISECONDS, "cacheScope": "public"}


def _describe_server(context: ToolContext, *, is_modern: bool) -> dict[str, Any]:
    settings = context.site.settings
    info = {"name": "hven", "title": settings.title or settings.name, "version": __version__}
    facts: dict[str, Any] = {"capabilities": {"tools": {}}, "instructions": INSTRUCTIONS}
    if is_modern:
        return {**facts, "_meta": {f"{META_PREFIX}serverInfo": info}}
    return {**facts, "serverInfo": info}


def _call_tool(request: Request, context: ToolContext, params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Call a tool. Faults of the call are answers, so that the model can mend them."""
    tool = TOOLS.get(str(params.get("name")))
    if tool is None:
        raise ProtocolError(INVALID_PARAMS, f"there is no such tool; the tools are {', '.join(TOOLS)}")
    try:
        values = params.get("arguments") or {}
        if not isinstance(values, dict):
            raise ParamError("arguments is not an object", remedy="send an object with a value for each argument")
        answer = tool.run(context, check_arguments(tool.arguments, values))
    except HvenError as error:
        message = services.write_error_message(error, services.get_request_id(request))
        if isinstance(error, AmbiguousObjectNameError):
            names = [f"{candidate.name} at {candidate.position}" for candidate in error.candidates[:MAX_CANDIDATES]]
            message = f"{message}\n{orjson.dumps({'candidates': names}).decode()}"
        return {"content": [{"type": "text", "text": message}], "isError": True}
    text = f"{answer.headline}\n{orjson.dumps(answer.content).decode()}"
    return {"content": [{"type": "text", "text": text}], "structuredContent": answer.content, "isError": False}


FACE = ServiceFace(
    name="mcp",
    title="Tools for AI assistants",
    description="Tools of the Model Context Protocol, with which AI assistants search and query this site.",
    path=PATH,
    build_routes=build_mcp_routes,
)
