"""The tools of the server: what a client lists and calls."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.model.errors import NotFoundError, format_message, suggest_spelling
from hven.plugins.mcp.tool_arguments import ToolArgument, build_input_schema
from hven.site import anonymize_for_referee

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal


class ToolContext:
    """What a call of a tool sees of the site: the published state of its time, with the rights of its user.

    Parameters
    ----------
    context
        Service context of the site or the portal.
    principal
        The user.
    base_url
        Address of the site or the portal.
    """

    def __init__(self, context: ServiceContext, principal: Principal, base_url: str) -> None:
        self.context = context
        self.site = context.site
        self.principal = principal
        self.base_url = base_url
        self.published_state = anonymize_for_referee(context.site.get_published_state(), principal)

    def list_tables(self) -> list[Table]:
        """List the tables of collections that the user may see."""
        resources = self.published_state.resources
        collections = self.context.collections
        catalogue = self.published_state.get_catalogue(self.principal, self.context.policies)
        return [
            table
            for table in catalogue.iterate_tables()
            if table.schema in resources and table.release is None and (not collections or table.schema in collections)
        ]

    def find_table(self, name: str) -> Table:
        """Find a table by its name, with or without its schema.

        Raises
        ------
        NotFoundError
            There is no such table, or there are several: the message names them.
        """
        tables = self.list_tables()
        lower_name = name.strip().lower()
        found = [table for table in tables if lower_name in {table.qualified_name.lower(), table.name.lower()}]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(table.qualified_name for table in found[:10])
            message = format_message("{count} tables have the name {name!r:.80}: {names}", len(found), name, names)
            raise NotFoundError(message, remedy="choose one of them, with its schema")
        known_names = [table.qualified_name for table in tables]
        remedy = suggest_spelling(name, known_names) or "search for it with search_collections"
        raise NotFoundError(format_message("there is no table {name!r:.80}", name), remedy=remedy)


def format_table_name(table: Table) -> str:
    """Write the name of a table as queries have it."""
    return f"{quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"


def format_position(table: Table) -> str:
    """Write the two columns of the position of a table as queries have them; empty: it has none."""
    return ", ".join(map(quote_adql_name, table.position or ()))


@dataclass(frozen=True, slots=True, kw_only=True)
class ToolAnswer:
    """The answer of a tool.

    Attributes
    ----------
    headline
        What it says in a sentence. If the answer is incomplete, the sentence begins with that.
    content
        The answer as JSON.
    """

    headline: str
    content: Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tool:
    """A tool.

    Attributes
    ----------
    name, title, description
        Its name; and what it does, for people and for models.
    arguments
        Its arguments.
    run
        Answers a call, from the context and the checked arguments.
    """

    name: str
    title: str
    description: str
    arguments: Sequence[ToolArgument]
    run: Callable[[ToolContext, Mapping[str, Any]], ToolAnswer]

    def to_json(self) -> dict[str, Any]:
        """Describe the tool for clients."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": build_input_schema(self.arguments),
            "annotations": {
                "readOnlyHint": True,
                "destructiveHint": False,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }
