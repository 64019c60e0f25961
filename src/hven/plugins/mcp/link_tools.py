"""The tool that lists what a row leads to: files, previews, and services that take the row (DataLink 1.1)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from lxml import etree

from hven.model.errors import NotFoundError, ParamError, format_message
from hven.plugins.mcp.answer_schemas import (
    BOOLEAN_OR_NULL,
    COMPLETENESS,
    COUNT_OR_NULL,
    RIGHTS,
    STATE,
    TEXT,
    TEXT_OR_NULL,
    build_list_schema,
    build_object_schema,
)
from hven.plugins.mcp.catalogue_tools import TABLE_ARGUMENT, has_row_links
from hven.plugins.mcp.tool_arguments import ToolArgument
from hven.plugins.mcp.tools import Tool, ToolAnswer
from hven.services.datalinks import expand_link_lists, list_row_links

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pyarrow as pa

    from hven.model.table import Table
    from hven.plugins.mcp.tools import ToolContext

MAX_LINKS = 200
MAX_ID_CHARACTERS = 2_000
FETCHING_ADVICE = (
    "Send GET to access_url. Where authorized is false, the file needs an account with rights: send its token as the "
    "header Authorization. To call a service, send GET to its access_url with its inputs as a query string: keep the "
    "inputs that have a value, and choose values for the others."
)


def _list_links(context: ToolContext, arguments: Mapping[str, Any]) -> ToolAnswer:
    table = context.find_table(arguments["table"])
    identifier = arguments["id"]
    if len(identifier) > MAX_ID_CHARACTERS:
        raise ParamError(f"the id is longer than {MAX_ID_CHARACTERS:,} characters", remedy="send the id of one row")
    id_column = table.identifier_column
    if id_column is None or not has_row_links(context, table):
        raise ParamError(
            format_message("the rows of {table} have no links", table.qualified_name),
            remedy="query the table: its columns may have addresses; describe_table says which tables have links",
        )
    link_rows = _fetch_links(context, table, identifier)
    links = [_describe_link(link) for link in link_rows.slice(0, MAX_LINKS).to_pylist()]
    if links and all(link.get("error") and not link["access_url"] for link in links):
        example = f"SELECT TOP 10 {id_column.name} FROM {table.qualified_name}"
        raise NotFoundError(
            format_message("{error} ({identifier!r:.80})", links[0]["error"], identifier),
            remedy=f"send a value of the column {id_column.name}, such as one of {example}",
        )
    is_complete = len(links) == link_rows.num_rows
    content = {
        "complete": is_complete,
        "available": link_rows.num_rows,
        "limit": MAX_LINKS,
        "table": table.qualified_name,
        "id": identifier,
        "links": links,
        "how_to_fetch": FETCHING_ADVICE,
        "download": f"{context.base_url}/datalink/{quote(table.qualified_name)}?ID={quote(identifier, safe='')}",
        **context.describe_state(table),
        **context.describe_rights(table),
    }
    headline = f"Complete: {len(links)} links."
    if not is_complete:
        headline = (
            f"INCOMPLETE: the first {len(links)} of {link_rows.num_rows} links. The address in `download` has all."
        )
    return ToolAnswer(headline=headline, content=content)


def _fetch_links(context: ToolContext, table: Table, identifier: str) -> pa.Table:
    """Fetch the links of a row as DataLink does; of an observation, they are those of its row."""

    def list_links_of(linked_table: Table, identifiers: Sequence[str]) -> pa.Table:
        return list_row_links(
            linked_table,
            identifiers,
            principal=context.principal,
            site=context.site,
            policies=context.context.policies,
            published_state=context.published_state,
            base_url=context.base_url,
            face_links=context.context.list_links(linked_table),
        )

    link_rows = list_links_of(table, [identifier])
    if not table.is_observation_view:
        return link_rows
    return expand_link_lists(
        link_rows,
        context.site.settings.site_url,
        lambda table_name, identifiers: list_links_of(context.find_table(table_name), identifiers),
    )


def _describe_link(link: Mapping[str, Any]) -> dict[str, Any]:
    facts = {
        "semantics": link["semantics"],
        "description": link["description"],
        "content_type": link["content_type"],
        "content_length": link["content_length"],
        "content_qualifier": link["content_qualifier"],
        "error": (link["error_message"] or "").partition(": ")[2] or link["error_message"],
    }
    described = {key: value for key, value in facts.items() if value not in (None, "")}
    described |= {"access_url": link["access_url"], "authorized": link["link_authorized"]}
    if link["service_def"]:
        described["service"] = describe_service(link["service_def"])
    return described


def describe_service(descriptor_xml: str) -> dict[str, Any]:
    """Describe the service of a descriptor (DataLink 1.1, section 4): its address, and what it takes."""
    root = etree.fromstring(descriptor_xml)
    params = {param.get("name"): param.get("value") for param in root.iterfind("PARAM")}
    inputs = []
    for param in root.iterfind("GROUP/PARAM"):
        bounds = {name: [bound.get("value") for bound in param.iter(name)] for name in ("MIN", "MAX", "OPTION")}
        facts = {
            "value": param.get("value"),
            "unit": param.get("unit"),
            "description": param.findtext("DESCRIPTION"),
            "minimum": next(iter(bounds["MIN"]), None),
            "maximum": next(iter(bounds["MAX"]), None),
            "options": bounds["OPTION"],
        }
        inputs.append({"name": param.get("name") or "", **{key: value for key, value in facts.items() if value}})
    return {
        "access_url": params.get("accessURL") or "",
        "standard": params.get("standardID"),
        "example": params.get("exampleURL"),
        "inputs": inputs,
    }


SERVICE_SCHEMA = build_object_schema(
    {
        "access_url": TEXT,
        "standard": TEXT_OR_NULL,
        "example": {**TEXT_OR_NULL, "description": "address of a call that works"},
        "inputs": build_list_schema(
            build_object_schema(
                {
                    "name": TEXT,
                    "value": {"type": "string", "description": "send it as it is"},
                    "unit": TEXT,
                    "description": TEXT,
                    "minimum": TEXT,
                    "maximum": TEXT,
                    "options": build_list_schema(TEXT),
                },
                optional=("value", "unit", "description", "minimum", "maximum", "options"),
            )
        ),
    }
)
LINK_SCHEMA = build_object_schema(
    {
        "semantics": {"type": "string", "description": "#this: the row's own file; #preview, #calibration, .."},
        "description": TEXT,
        "content_type": TEXT,
        "content_length": {**COUNT_OR_NULL, "description": "bytes"},
        "content_qualifier": TEXT,
        "error": {"type": "string", "description": "why there is no file"},
        "access_url": TEXT_OR_NULL,
        "authorized": {**BOOLEAN_OR_NULL, "description": "whether you may fetch it; null: not known"},
        "service": SERVICE_SCHEMA,
    },
    optional=("description", "content_type", "content_length", "content_qualifier", "error", "service"),
)

LINK_TOOLS = (
    Tool(
        name="links",
        title="List the files of a row",
        description="List what a row of a table leads to: the addresses of its files and previews with types and "
        "sizes, whether you may fetch them, and services that cut or convert them.",
        arguments=(
            TABLE_ARGUMENT,
            ToolArgument(
                name="id",
                description="value of the table's identifier column, which describe_table names",
                is_required=True,
            ),
        ),
        answer_schema=build_object_schema(
            {
                **COMPLETENESS,
                "table": TEXT,
                "id": TEXT,
                "links": build_list_schema(LINK_SCHEMA),
                "how_to_fetch": TEXT,
                "download": {"type": "string", "description": "address of all links, as a VOTable"},
                **STATE,
                **RIGHTS,
            }
        ),
        run=_list_links,
        next_step="describe_table names the identifier column and says whether rows have links",
    ),
)
