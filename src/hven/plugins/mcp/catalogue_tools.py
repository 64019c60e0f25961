"""Tools that say what the site has: collections, tables, names of objects, and how to cite."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hven.plugins.mcp.tool_arguments import ToolArgument
from hven.plugins.mcp.tools import Tool, ToolAnswer, format_position, format_table_name
from hven.query import resolver
from hven.services.citations import (
    build_landing_page_url,
    collect_citation_metadata,
    find_licence_url,
    write_bibtex,
    write_citation_sentence,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Table
    from hven.plugins.mcp.tools import ToolContext

MAX_FOUND_TABLES = 50
MAX_DESCRIPTION_CHARACTERS = 400

TABLE_ARGUMENT = ToolArgument(
    name="table", description="name of a table, such as stars.main; search_collections lists names", is_required=True
)


def describe_rights(resource: CollectionSpec) -> dict[str, Any]:
    """Describe the licence of a collection and how to cite it."""
    return {
        "licence": resource.licence,
        "licence_url": find_licence_url(resource),
        "citation": write_citation_sentence(resource),
    }


def _search_collections(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    words = str(arguments["text"]).lower().split()
    resources = context.published_state.resources
    found: dict[str, dict[str, Any]] = {}
    table_count = 0
    for table in context.list_tables():
        resource = resources[table.schema]
        searched_text = _collect_searched_text(resource, table)
        if not all(word in searched_text for word in words):
            continue
        table_count += 1
        if table_count > MAX_FOUND_TABLES:
            continue
        collection = found.setdefault(
            table.schema,
            {
                "collection": table.schema,
                "title": resource.title or table.schema,
                "description": _shorten(resource.description),
                "page": build_landing_page_url(context.base_url, table.schema),
                "tables": [],
            },
        )
        collection["tables"].append(
            {"table": table.qualified_name, "title": table.title or "", "about": _shorten(table.description)}
        )
    is_complete = table_count <= MAX_FOUND_TABLES
    headline = f"{table_count} tables in {len(found)} collections."
    if not is_complete:
        headline = f"INCOMPLETE: the first {MAX_FOUND_TABLES} of {table_count} tables. Search for more words."
    return ToolAnswer(
        headline=headline,
        content={"complete": is_complete, "tables_found": table_count, "collections": list(found.values())},
    )


def _collect_searched_text(resource: CollectionSpec, table: Table) -> str:
    texts = [resource.name, resource.title, resource.description, table.qualified_name, table.title, table.description]
    for column in table.columns:
        if not column.hidden:
            texts += [column.name, column.description, column.ucd]
    return "\n".join(text for text in texts if text).lower()


def _shorten(text: str | None) -> str:
    words = " ".join((text or "").split())
    return words if len(words) <= MAX_DESCRIPTION_CHARACTERS else f"{words[:MAX_DESCRIPTION_CHARACTERS]} .."


def _describe_table(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    resource = context.published_state.resources[table.schema]
    columns = [column for column in table.columns if not column.hidden]
    identifier = table.identifier_column
    content = {
        "table": table.qualified_name,
        "title": table.title or "",
        "description": table.description or "",
        "columns": [_describe_column(column) for column in columns],
        "key": list(table.primary),
        "identifier": identifier.name if identifier is not None else None,
        "position": list(table.position or ()),
        "updated": context.published_state.tables_by_name[table.qualified_name].updated,
        **describe_rights(resource),
        "examples": _list_example_queries(table),
    }
    return ToolAnswer(headline=f"{table.qualified_name} has {len(columns)} columns.", content=content)


def _describe_column(column: Column) -> dict[str, Any]:
    facts = {
        "name": column.name,
        "type": str(column.type),
        "unit": column.unit,
        "ucd": column.ucd,
        "description": column.description,
    }
    return {key: value for key, value in facts.items() if value}


def _list_example_queries(table: Table) -> list[str]:
    name, position = format_table_name(table), format_position(table)
    queries = [f"SELECT TOP 10 * FROM {name}", f"SELECT COUNT(*) AS n FROM {name}"]
    if position:
        queries.append(f"SELECT TOP 10 * FROM {name} WHERE DISTANCE({position}, 10.68, 41.27) < 0.5")
    return queries


def _resolve_name(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    resolved = resolver.resolve_object_name(arguments["name"], site=context.site, policies=context.context.policies)
    facts = {key: value for key, value in asdict(resolved).items() if value not in (None, "", ())}
    return ToolAnswer(headline=f"{resolved.name}, from {resolved.source}.", content=facts)


def _write_citation(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    catalogue = context.published_state.get_catalogue(context.principal, context.context.policies)
    metadata = collect_citation_metadata(
        context.context,
        context.published_state,
        catalogue,
        arguments["collection"],
        arguments["release"],
        base_url=context.base_url,
    )
    label, doi, year = metadata.label, metadata.doi, metadata.year
    sentence = write_citation_sentence(metadata.resource, label=label, doi=doi, year=year)
    content = {
        "citation": sentence,
        "bibtex": write_bibtex(metadata.resource, metadata.address, label=label, doi=doi, year=year),
        "doi": doi,
        "page": metadata.address,
        "licence": metadata.resource.licence,
        "licence_url": find_licence_url(metadata.resource),
    }
    return ToolAnswer(headline=sentence, content=content)


CATALOGUE_TOOLS = (
    Tool(
        name="search_collections",
        title="Search collections",
        description="Find the tables of this archive whose names, titles, descriptions or columns contain all given "
        "words. Without words, it lists all tables.",
        arguments=(ToolArgument(name="text", description="words, separated by blanks", default=""),),
        run=_search_collections,
    ),
    Tool(
        name="describe_table",
        title="Describe a table",
        description="Describe a table: its columns with units and meanings, its key and position, its licence, how to "
        "cite it, and example queries. Call it before you write a query.",
        arguments=(TABLE_ARGUMENT,),
        run=_describe_table,
    ),
    Tool(
        name="resolve",
        title="Find an object by its name",
        description="Find the position (ICRS degrees) and other names of an object. If several objects have the name, "
        "the error lists them.",
        arguments=(ToolArgument(name="name", description="name of an object, such as M 31", is_required=True),),
        run=_resolve_name,
    ),
    Tool(
        name="cite",
        title="Cite a collection",
        description="Say how to cite a collection, or one of its releases: as a sentence and as BibTeX, with its DOI "
        "and licence.",
        arguments=(
            ToolArgument(name="collection", description="name of a collection", is_required=True),
            ToolArgument(name="release", description="label of a release; empty: the collection", default=""),
        ),
        run=_write_citation,
    ),
)
