"""Tools that say what the site has: collections, tables, names of objects, and how to cite."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hven import adql
from hven.plugins.mcp import answer_schemas
from hven.plugins.mcp.answer_schemas import (
    COMPLETENESS,
    COUNT_OR_NULL,
    NUMBER,
    RIGHTS,
    SCALAR,
    STATE,
    TEXT,
    TEXT_OR_NULL,
    build_list_schema,
    build_object_schema,
)
from hven.plugins.mcp.tool_arguments import ToolArgument
from hven.plugins.mcp.tools import Tool, ToolAnswer, format_position
from hven.query import resolver
from hven.services.citations import (
    build_landing_page_url,
    collect_citation_metadata,
    find_licence_url,
    write_bibtex,
    write_citation_sentence,
)
from hven.site import list_example_queries

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import CollectionSpec
    from hven.model.table import Column, Table
    from hven.plugins.mcp.tools import ToolContext

MAX_FOUND_TABLES = 50
MAX_DESCRIBED_COLUMNS = 200
MAX_LISTED_EXAMPLES = 5
MAX_DESCRIPTION_CHARACTERS = 400
SHORTENING_MARK = ".. (shortened)"
PLURAL_ENDING_PATTERN = re.compile(r"(?<=\w{4})(ies|es|y|e|s)$")

TABLE_ARGUMENT = ToolArgument(
    name="table", description="name of a table, such as stars.main; search_collections lists names", is_required=True
)


def shorten_text(text: str | None, max_characters: int = MAX_DESCRIPTION_CHARACTERS) -> str:
    """Write a text into one line; of a longer one it is the beginning, with a mark that says so."""
    line = " ".join((text or "").split())
    if len(line) <= max_characters:
        return line
    return f"{line[:max_characters]} {SHORTENING_MARK}"


def contains_words(searched_text: str, words: list[str]) -> bool:
    """Return whether a text in lower case contains all words."""
    return all(word in searched_text for word in words)


def _compile_word_pattern(word: str) -> re.Pattern[str]:
    """Compile a pattern for a whole word in singular or plural, so that ``stars`` finds ``star``, but not ``start``."""
    stem = re.escape(PLURAL_ENDING_PATTERN.sub("", word))
    return re.compile(rf"(?<![^\W_]){stem}(ies|es|y|e|s)?(?![^\W_])")


def _find_tables(context: ToolContext, words: list[str]) -> list[Table]:
    """Find the tables whose texts have all words; if there is none, those whose texts have words with these parts."""
    resources = context.published_state.resources
    texts = [(table, _collect_searched_text(resources.get(table.schema), table)) for table in context.list_tables()]
    patterns = [_compile_word_pattern(word) for word in words]
    tables = [table for table, text in texts if all(pattern.search(text) for pattern in patterns)]
    return tables or [table for table, text in texts if contains_words(text, words)]


def _search_collections(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    tables = _find_tables(context, str(arguments["text"]).lower().split())
    table_count = len(tables)
    found: dict[str, dict[str, Any]] = {}
    for table in tables[:MAX_FOUND_TABLES]:
        if table.schema not in found:
            resource = context.published_state.resources.get(table.schema)
            found[table.schema] = _describe_collection(context, table, resource)
        found[table.schema]["tables"].append(
            {
                "table": table.qualified_name,
                "title": table.title or "",
                "about": shorten_text(table.description),
                **context.describe_state(table),
            }
        )
    is_complete = table_count <= MAX_FOUND_TABLES
    headline = f"Complete: {table_count} tables in {len(found)} collections."
    if not table_count:
        headline += " Search for fewer words, or without words for all tables."
    if not is_complete:
        headline = f"INCOMPLETE: the first {MAX_FOUND_TABLES} of {table_count} tables. Search for more words."
    content = {
        "complete": is_complete,
        "available": table_count,
        "limit": MAX_FOUND_TABLES,
        "collections": list(found.values()),
    }
    return ToolAnswer(headline=headline, content=content)


def _describe_collection(context: ToolContext, table: Table, resource: CollectionSpec | None) -> dict[str, Any]:
    facts = {"collection": table.schema, "title": table.schema, "description": "", "page": None}
    if resource is not None:
        facts["title"] = resource.title or table.schema
        facts["description"] = shorten_text(resource.description)
        facts["page"] = build_landing_page_url(context.base_url, table.schema)
    return {**facts, **context.describe_rights(table), "tables": []}


def _collect_searched_text(resource: CollectionSpec | None, table: Table) -> str:
    texts = [table.qualified_name, table.title, table.description, table.standard]
    if resource is not None:
        texts += [resource.name, resource.title, resource.description]
    for column in table.columns:
        if not column.hidden:
            texts += [column.name, column.description, column.ucd]
    return "\n".join(text for text in texts if text).lower()


COLLECTION_SCHEMA = build_object_schema(
    {
        "collection": TEXT,
        "title": TEXT,
        "description": TEXT,
        "page": TEXT_OR_NULL,
        **RIGHTS,
        "tables": build_list_schema(build_object_schema({"table": TEXT, "title": TEXT, "about": TEXT, **STATE})),
    }
)


def _describe_table(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    words = str(arguments["columns"]).lower().split()
    columns = [
        column
        for column in table.columns
        if not column.hidden and contains_words(f"{column.name}\n{column.description or ''}".lower(), words)
    ]
    identifier = table.identifier_column
    statistics = context.find_statistics(table)
    column_statistics = {} if statistics is None else statistics.statistics
    listed = [
        _describe_column(column, column_statistics.get(column.name, {})) for column in columns[:MAX_DESCRIBED_COLUMNS]
    ]
    is_complete = len(listed) == len(columns)
    content = {
        "complete": is_complete,
        "available": len(columns),
        "limit": MAX_DESCRIBED_COLUMNS,
        "table": table.qualified_name,
        "title": table.title or "",
        "description": table.description or "",
        "rows": None if statistics is None else statistics.rows,
        "columns": listed,
        "key": list(table.primary),
        "identifier": identifier.name if identifier is not None else None,
        "has_links": has_row_links(context, table),
        "position": list(table.position or ()),
        **context.describe_state(table),
        **context.describe_rights(table),
        "examples": _list_examples(context, table),
    }
    headline = f"Complete: {len(columns)} columns of {table.qualified_name}."
    if not is_complete:
        headline = (
            f"INCOMPLETE: the first {len(listed)} of {len(columns)} columns of {table.qualified_name}. Send words of "
            "their names in `columns`."
        )
    return ToolAnswer(headline=headline, content=content)


def has_row_links(context: ToolContext, table: Table) -> bool:
    """Return whether the rows of a table have links that the site or portal serves."""
    service = context.context.faces.get("datalink")
    return service is not None and table.is_served_by(service.name) and service.applies(table)


def _describe_column(column: Column, statistics: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        "name": column.name,
        "type": str(column.type),
        "unit": column.unit,
        "ucd": column.ucd,
        "description": column.description,
        "minimum": statistics.get("minimum"),
        "maximum": statistics.get("maximum"),
        "nulls": statistics.get("nulls"),
        "values": [value for value, _ in statistics.get("top", ())],
    }
    return {key: value for key, value in facts.items() if value not in (None, "", [])}


COLUMN_SCHEMA = build_object_schema(
    {
        "name": TEXT,
        "type": TEXT,
        "unit": TEXT,
        "ucd": TEXT,
        "description": TEXT,
        "minimum": SCALAR,
        "maximum": SCALAR,
        "nulls": {**COUNT_OR_NULL, "description": "number of rows without a value"},
        "values": {**build_list_schema(SCALAR), "description": "all values, if there are few"},
    },
    optional=("unit", "ucd", "description", "minimum", "maximum", "nulls", "values"),
)


def _list_examples(context: ToolContext, table: Table) -> list[dict[str, str]]:
    """List queries that work: some of the descriptor's for this table, and general ones."""
    examples = list_example_queries(
        context.published_state, context.principal, context.context.policies, collection=table.schema
    )
    query_name = adql.quote_table_name(table)
    listed = [{"title": item.name, "adql": item.query} for item in examples if query_name in item.tables]
    position = format_position(table)
    general = [{"title": "Number of rows", "adql": f"SELECT COUNT(*) AS n FROM {query_name}"}]
    if position:
        cone = f"SELECT TOP 10 * FROM {query_name} WHERE DISTANCE({position}, 10.68, 41.27) < 0.5"
        general.append({"title": "Rows around a position", "adql": cone})
    return listed[: MAX_LISTED_EXAMPLES - len(general)] + general


def _resolve_name(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    resolved = resolver.resolve_object_name(arguments["name"], site=context.site, policies=context.context.policies)
    facts = {key: value for key, value in asdict(resolved).items() if value not in (None, "", ())}
    content = {"complete": True, **facts, "position": resolved.position, "licence": resolved.licence or None}
    headline = f"{resolved.name}, from {resolved.source}."
    if resolved.position is None:
        headline += f" It has no fixed position: {resolved.note or 'send a position'}."
    return ToolAnswer(headline=headline, content=content)


RESOLVED_SCHEMA = build_object_schema(
    {
        "complete": answer_schemas.BOOLEAN,
        "name": TEXT,
        "position": {
            "type": ["array", "null"],
            "items": NUMBER,
            "description": "longitude and latitude in degrees; null: the object moves",
        },
        "source": {"type": "string", "description": "who says so: cite it"},
        "licence": TEXT_OR_NULL,
        "confidence": NUMBER,
        "frame": TEXT,
        "epoch": NUMBER,
        "proper_motion": build_list_schema(NUMBER),
        "ids": build_list_schema(TEXT),
        "kind": TEXT,
        "age": {"type": "number", "description": "seconds since the source said so"},
        "note": TEXT,
        "radius_degrees": NUMBER,
    },
    optional=("frame", "epoch", "proper_motion", "ids", "kind", "age", "note", "radius_degrees"),
)


def _write_citation(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    metadata = collect_citation_metadata(
        context.context,
        context.published_state,
        context.catalogue,
        arguments["collection"],
        arguments["release"],
        base_url=context.base_url,
    )
    label, doi, year = metadata.label, metadata.doi, metadata.year
    sentence = write_citation_sentence(metadata.resource, label=label, doi=doi, year=year)
    content = {
        "complete": True,
        "citation": sentence,
        "bibtex": write_bibtex(metadata.resource, metadata.address, label=label, doi=doi, year=year),
        "doi": doi,
        "page": metadata.address,
        "release": label,
        "updated": metadata.updated or None,
        "licence": metadata.resource.licence,
        "licence_url": find_licence_url(metadata.resource),
    }
    return ToolAnswer(headline=sentence, content=content)


CITATION_SCHEMA = build_object_schema(
    {
        "complete": answer_schemas.BOOLEAN,
        **RIGHTS,
        "bibtex": TEXT,
        "doi": TEXT_OR_NULL,
        "page": TEXT,
        "release": TEXT,
        "updated": TEXT_OR_NULL,
    }
)

CATALOGUE_TOOLS = (
    Tool(
        name="search_collections",
        title="Search collections",
        description="Find the tables of this archive whose names, standards, titles, descriptions or columns contain "
        "all given words. Without words, it lists all tables. The answer says whether it is complete.",
        arguments=(ToolArgument(name="text", description="words, separated by blanks", default=""),),
        answer_schema=build_object_schema({**COMPLETENESS, "collections": build_list_schema(COLLECTION_SCHEMA)}),
        run=_search_collections,
        next_step="send text, or nothing for all tables",
    ),
    Tool(
        name="describe_table",
        title="Describe a table",
        description="Describe a table: its columns with units, meanings, least and greatest values, its number of "
        "rows, its key and position, its licence, how to cite it, and example queries. Call it before you write a "
        "query.",
        arguments=(
            TABLE_ARGUMENT,
            ToolArgument(
                name="columns", description="words that the columns must contain; empty: all columns", default=""
            ),
        ),
        answer_schema=build_object_schema(
            {
                **COMPLETENESS,
                "table": TEXT,
                "title": TEXT,
                "description": TEXT,
                "rows": {**COUNT_OR_NULL, "description": "number of rows; null: count them by a query"},
                "columns": build_list_schema(COLUMN_SCHEMA),
                "key": build_list_schema(TEXT),
                "identifier": {**TEXT_OR_NULL, "description": "column whose values the tool links takes as id"},
                "has_links": {"type": "boolean", "description": "whether the tool links finds files of its rows"},
                "position": {
                    **build_list_schema(TEXT),
                    "description": "columns of its longitude and latitude",
                },
                **STATE,
                **RIGHTS,
                "examples": build_list_schema(build_object_schema({"title": TEXT, "adql": TEXT})),
            }
        ),
        run=_describe_table,
        next_step="search_collections lists the tables",
    ),
    Tool(
        name="resolve",
        title="Find an object by its name",
        description="Find the position (ICRS degrees) and other names of an object. If several objects have the name, "
        "the error lists them.",
        arguments=(ToolArgument(name="name", description="name of an object, such as M 31", is_required=True),),
        answer_schema=RESOLVED_SCHEMA,
        run=_resolve_name,
        next_step="send another name of the object, use its position in degrees, or query a table that has a column of "
        "names",
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
        answer_schema=CITATION_SCHEMA,
        run=_write_citation,
        next_step="search_collections lists the collections",
    ),
)
