"""Describe the site for language models: ``/llms.txt``, and a page in Markdown for each collection."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from starlette.routing import Route

from hven import services
from hven.model.errors import NotFoundError, format_message
from hven.plugins.mcp.catalogue_tools import shorten_text
from hven.plugins.mcp.tools import create_tool_context
from hven.services.api.threads import call_in_thread
from hven.services.citations import build_landing_page_url
from hven.services.face import create_route
from hven.site import list_example_queries

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from starlette.requests import Request
    from starlette.responses import Response

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table
    from hven.plugins.mcp.tools import ToolContext
    from hven.services.face import ServiceContext

HEADERS = {
    "content-type": "text/markdown; charset=utf-8",
    "cache-control": "private, no-cache",
    "vary": "accept-encoding, authorization, cookie, host",
}
MAX_SUMMARY_CHARACTERS = 200
MARKDOWN_ESCAPES = {"\\": "\\\\", "[": "\\[", "]": "\\]", "`": "\\`", "<": "&lt;", "*": "\\*", "_": "\\_"}


def build_markdown_routes(context: ServiceContext) -> Sequence[Route]:
    """Build the routes of the descriptions."""

    async def answer_page(request: Request, write_page: Callable[[ToolContext, str], str]) -> Response:
        tool_context = create_tool_context(context, request)
        text = await call_in_thread(write_page, tool_context, request.path_params.get("name", ""))
        return services.answer_with_body(request, text.encode(), HEADERS)

    return [
        create_route("/llms.txt", partial(answer_page, write_page=_write_site_page)),
        create_route("/llms/{name}.md", partial(answer_page, write_page=_write_collection_page)),
    ]


def escape_markdown(text: str | None) -> str:
    """Write a text into one line, in which no character begins markup."""
    line = " ".join((text or "").split())
    return "".join(MARKDOWN_ESCAPES.get(character, character) for character in line)


def _write_site_page(context: ToolContext, _: str) -> str:
    base_url = context.base_url
    summary = "An archive of astronomical and planetary data, with services of the Virtual Observatory."
    lines = [
        f"# {escape_markdown(context.title)}",
        "",
        f"> {escape_markdown(context.description) or summary}",
        "",
        f"Assistants can search and query it through the Model Context Protocol at {base_url}/mcp.",
        f"Programs send queries in ADQL to {base_url}/tap/sync. Collections have licences and citations.",
        "",
        "## Collections",
        "",
    ]
    resources = context.published_state.resources
    for name in dict.fromkeys(table.schema for table in context.list_tables()):
        resource = resources.get(name)
        if resource is None:
            continue
        text = escape_markdown(shorten_text(resource.description, MAX_SUMMARY_CHARACTERS))
        lines.append(f"- [{escape_markdown(resource.title or name)}]({base_url}/llms/{name}.md): {text}")
    lines += [
        "",
        "## Optional",
        "",
        f"- [Services and help]({base_url}/help): how to use the site",
        f"- [Tables]({base_url}/tap/tables): all tables and columns as VODataService XML",
        "",
    ]
    return "\n".join(lines)


def _write_collection_page(context: ToolContext, name: str) -> str:
    tables = [table for table in context.list_tables() if table.schema == name]
    resource = context.published_state.resources.get(name)
    if not tables or resource is None:
        raise NotFoundError(format_message("there is no collection {name!r:.80}", name), remedy="see /llms.txt")
    lines = [f"# {escape_markdown(resource.title or name)}", "", escape_markdown(resource.description), ""]
    lines += _write_collection_facts(context, resource, tables[0])
    for table in tables:
        lines += _write_table(context, table)
    lines += _write_examples(context, name)
    return "\n".join(lines)


def _write_collection_facts(context: ToolContext, resource: CollectionSpec, table: Table) -> list[str]:
    rights = context.describe_rights(table)
    licence = escape_markdown(rights["licence"] or "not stated")
    facts = {
        "Page": build_landing_page_url(context.base_url, resource.name),
        "Creators": escape_markdown(", ".join(person.name for person in resource.creators)),
        "Licence": f"{licence} ({rights['licence_url']})" if rights["licence_url"] else licence,
        "Cite as": escape_markdown(rights["citation"]),
        "DOI": f"https://doi.org/{resource.doi.removeprefix('doi:')}" if resource.doi else "",
        "Reference": resource.reference_url or "",
        "Acknowledgement": escape_markdown(resource.acknowledgement),
        "Subjects": escape_markdown(", ".join(resource.subjects)),
        "Facilities": escape_markdown(", ".join((*resource.facility, *resource.instrument))),
        "Queries": f"ADQL at {context.base_url}/tap/sync, or the tool `query` at {context.base_url}/mcp",
    }
    return [*(f"* {title}: {text}" for title, text in facts.items() if text), ""]


def _write_table(context: ToolContext, table: Table) -> list[str]:
    statistics = context.find_statistics(table)
    identifier = table.identifier_column
    facts = {
        "Rows": "" if statistics is None or statistics.rows is None else f"{statistics.rows:,}",
        "Updated": context.describe_state(table)["updated"] or "",
        "Key": ", ".join(f"`{name}`" for name in table.primary),
        "Identifier": f"`{identifier.name}`" if identifier is not None else "",
        "Position on the sky": ", ".join(f"`{name}`" for name in table.position or ()),
        "Services": ", ".join(_list_services(context, table)),
    }
    lines = [f"## {escape_markdown(table.qualified_name)}", "", escape_markdown(table.description), ""]
    lines += [f"* {title}: {text}" for title, text in facts.items() if text]
    lines += ["", "### Columns", ""]
    for column in table.columns:
        if not column.hidden:
            kind = ", ".join(text for text in (str(column.type), column.unit, column.ucd) if text)
            lines.append(f"* `{column.name}` ({escape_markdown(kind)}): {escape_markdown(column.description)}")
    return [*lines, ""]


def _list_services(context: ToolContext, table: Table) -> list[str]:
    """List the addresses of the services over one table."""
    return [
        f"[{service.title}]({service.build_url(table, context.base_url)})"
        for service in context.context.faces.values()
        if service.path.endswith("/{table}") and table.is_served_by(service.name) and service.applies(table)
    ]


def _write_examples(context: ToolContext, collection: str) -> list[str]:
    examples = list_example_queries(
        context.published_state, context.principal, context.context.policies, collection=collection
    )
    if not examples:
        return []
    lines = ["## Example queries", ""]
    for example in examples:
        lines += [f"{escape_markdown(example.name)}:", "", f"    {' '.join(example.query.split())}", ""]
    return lines
