"""Describe the site for language models: ``/llms.txt``, and a page in Markdown for each collection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from hven import services
from hven.model.errors import NotFoundError, format_message
from hven.plugins.mcp.catalogue_tools import describe_rights
from hven.plugins.mcp.tools import ToolContext
from hven.services.addresses import get_base_url
from hven.services.api.threads import call_in_thread
from hven.services.citations import build_landing_page_url
from hven.services.face import create_route

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.table import Table
    from hven.services.face import ServiceContext

HEADERS = {
    "content-type": "text/markdown; charset=utf-8",
    "cache-control": "private, no-cache",
    "vary": "accept-encoding, authorization, cookie, host",
}
MAX_SUMMARY_CHARACTERS = 200


def build_markdown_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the descriptions."""

    async def answer_page(request: Request, write_page: Callable[[ToolContext, str], str]) -> Response:
        base_url = get_base_url(request, context.site.settings)
        tool_context = ToolContext(context, context.identify_principal(request), base_url)
        text = await call_in_thread(write_page, tool_context, request.path_params.get("name", ""))
        return services.answer_with_body(request, text.encode(), HEADERS)

    return [
        create_route("/llms.txt", partial(answer_page, write_page=_write_site_page)),
        create_route("/llms/{name}.md", partial(answer_page, write_page=_write_collection_page)),
    ]


def _write_line(text: str | None) -> str:
    """Write a text into one line, in which no character begins markup."""
    line = " ".join((text or "").split())
    return line.replace("\\", "\\\\").replace("[", "\\[").replace("]", "\\]").replace("`", "\\`").replace("<", "&lt;")


def _write_site_page(context: ToolContext, _: str) -> str:
    settings = context.site.settings
    base_url = context.base_url
    lines = [
        f"# {_write_line(settings.title or settings.name)}",
        "",
        "> An archive of astronomical and planetary data, with services of the Virtual Observatory.",
        "",
        f"Assistants can search and query it through the Model Context Protocol at {base_url}/mcp.",
        f"Programs send queries in ADQL to {base_url}/tap/sync.",
        "",
        "## Collections",
        "",
    ]
    for name in dict.fromkeys(table.schema for table in context.list_tables()):
        resource = context.published_state.resources[name]
        summary = _write_line(resource.description)[:MAX_SUMMARY_CHARACTERS]
        lines.append(f"- [{_write_line(resource.title or name)}]({base_url}/llms/{name}.md): {summary}")
    return "\n".join(
        [*lines, "", "## Optional", "", f"- [Services and help]({base_url}/help): how to use the site", ""]
    )


def _write_collection_page(context: ToolContext, name: str) -> str:
    tables = [table for table in context.list_tables() if table.schema == name]
    if not tables:
        raise NotFoundError(format_message("there is no collection {name!r:.80}", name), remedy="see /llms.txt")
    resource = context.published_state.resources[name]
    rights = describe_rights(resource)
    lines = [
        f"# {_write_line(resource.title or name)}",
        "",
        _write_line(resource.description),
        "",
        f"* Page: {build_landing_page_url(context.base_url, name)}",
        f"* Licence: {_write_line(rights['licence'] or 'not stated')}",
        f"* Cite as: {_write_line(rights['citation'])}",
        "",
    ]
    for table in tables:
        lines += _write_table(table)
    return "\n".join(lines)


def _write_table(table: Table) -> list[str]:
    lines = [f"## {table.qualified_name}", "", _write_line(table.description), ""]
    for column in table.columns:
        if not column.hidden:
            unit = f", {column.unit}" if column.unit else ""
            lines.append(f"* `{column.name}` ({column.type}{unit}): {_write_line(column.description)}")
    return [*lines, ""]
