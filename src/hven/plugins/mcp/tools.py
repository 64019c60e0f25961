"""The tools of the server: what a client lists and calls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.engines import Snapshot
from hven.model.errors import NotFoundError, format_message, suggest_spelling
from hven.plugins.mcp.tool_arguments import ToolArgument, build_input_schema
from hven.services.addresses import PORTAL_SCOPE_KEY, get_base_url
from hven.services.citations import find_licence_url, write_citation_sentence
from hven.site import anonymize_for_referee

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from starlette.requests import Request

    from hven.model.resource import CollectionSpec
    from hven.model.settings import PortalSettings
    from hven.model.table import Table
    from hven.plugins.mcp.answer_schemas import JsonSchema
    from hven.services.face import ServiceContext
    from hven.site import Catalogue, PublishedState, PublishedTable
    from hven.site.auth import Principal

MAX_CANDIDATES = 20
END_OF_TIME = "9999"  # later than each time of a publication
VIEW_CITATION = "cite the collections that the rows come from; the column obs_collection names them"


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
    portal
        The portal; None: the site.
    """

    def __init__(
        self, context: ServiceContext, principal: Principal, base_url: str, portal: PortalSettings | None = None
    ) -> None:
        self.context = context
        self.site = context.site
        self.principal = principal
        self.base_url = base_url
        settings = context.site.settings
        self.title = settings.title or settings.name
        self.description = settings.description
        if portal is not None:
            self.title = portal.title or self.title
            self.description = portal.description
        self.queried_state = context.site.get_published_state()
        self.published_state = anonymize_for_referee(self.queried_state, principal)

    @cached_property
    def catalogue(self) -> Catalogue:
        """The tables that the user may know of."""
        return self.published_state.get_catalogue(self.principal, self.context.policies)

    @cached_property
    def _statistics_lookup(self) -> Callable[[Table], PublishedTable | None]:
        return self.published_state.create_visible_statistics_lookup(self.principal, self.context.policies)

    def find_statistics(self, table: Table) -> PublishedTable | None:
        """Find the statistics of the rows of a table; None: the user sees only some of its rows."""
        return self._statistics_lookup(table)

    def is_restricted(self, table_name: str) -> bool:
        """Return whether a policy hides rows or values of a published table from the user."""
        published_table = self.published_state.tables_by_name.get(table_name)
        return published_table is not None and self.find_statistics(published_table.table) is None

    def list_tables(self) -> list[Table]:
        """List the tables of collections that the user may see, and the view of observations."""
        return [table for table in self.catalogue.iterate_tables() if table.release is None and self._is_offered(table)]

    def _is_offered(self, table: Table) -> bool:
        collections = self.context.collections
        if table.schema in self.published_state.resources:
            return not collections or table.schema in collections
        return table.is_observation_view

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
            names = join_candidates([table.qualified_name for table in found])
            message = format_message("{count} tables have the name {name!r:.80}: {names}", len(found), name, names)
            raise NotFoundError(message, remedy="choose one of them, with its schema")
        known_names = [table.qualified_name for table in tables]
        remedy = suggest_spelling(name, known_names) or "search for it with search_collections"
        raise NotFoundError(format_message("there is no table {name!r:.80}", name), remedy=remedy)

    def describe_state(
        self, table: Table, published_state: PublishedState | None = None, as_of: str | None = None
    ) -> dict[str, Any]:
        """Describe the state of a table's rows: its snapshot, and when it was made.

        A view has no snapshot. In its place stands a time at which its tables were as they are in this state.
        """
        state = published_state or self.published_state
        published_table = state.tables_by_name.get(table.qualified_name)
        if published_table is None:
            return {"snapshot": None, "updated": None}
        if published_table.relation is not None:
            return {"snapshot": published_table.run_id, "updated": published_table.updated or None}
        visible_names = {item.qualified_name for item in self.catalogue.iterate_tables()}
        read_tables = [state.tables_by_name.get(name) for name in published_table.read_tables if name in visible_names]
        stored_tables = [item for item in read_tables if item is not None and item.relation is not None]
        updated = max((item.updated for item in stored_tables), default=None)
        return {"snapshot": as_of or self._find_publication_time(stored_tables), "updated": updated}

    def _find_publication_time(self, stored_tables: Sequence[PublishedTable]) -> str | None:
        """Find when the last of some tables was published; None: one of them has no past, or a later state now."""
        events = self.site.store.find_last_publication_events(END_OF_TIME)
        times = []
        for published_table in stored_tables:
            table, relation = published_table.table, published_table.relation
            event = events.get(table.schema)
            if event is None or not isinstance(relation, Snapshot):
                return None
            if event.state.get(table.qualified_name) != relation.id:
                return None
            times.append(event.at)
        return max(times, default=None)

    def describe_rights(self, table: Table) -> dict[str, Any]:
        """Describe the licence of a table and how to cite it."""
        resource = self.published_state.resources.get(table.schema)
        if resource is not None:
            return describe_collection_rights(resource)
        citation = VIEW_CITATION if table.is_observation_view else ""
        return {"licence": None, "licence_url": None, "citation": citation}


def create_tool_context(context: ServiceContext, request: Request) -> ToolContext:
    """Create what a call sees: with the rights of the user, at the site or the portal of the request."""
    base_url = get_base_url(request, context.site.settings)
    return ToolContext(context, context.identify_principal(request), base_url, request.scope.get(PORTAL_SCOPE_KEY))


def describe_collection_rights(resource: CollectionSpec) -> dict[str, Any]:
    """Describe the licence of a collection and how to cite it."""
    return {
        "licence": resource.licence,
        "licence_url": find_licence_url(resource),
        "citation": write_citation_sentence(resource),
    }


def join_candidates(names: Sequence[str]) -> str:
    """Join names into a text; of many, it says how many are left out."""
    text = ", ".join(names[:MAX_CANDIDATES])
    hidden_count = len(names) - MAX_CANDIDATES
    if hidden_count > 0:
        return f"{text} and {hidden_count} more"
    return text


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
    answer_schema
        JSON Schema of its answers.
    run
        Answers a call, from the context and the checked arguments.
    next_step
        What to do after a faulty call, besides what the error says.
    """

    name: str
    title: str
    description: str
    arguments: Sequence[ToolArgument]
    answer_schema: JsonSchema
    run: Callable[[ToolContext, Mapping[str, Any]], ToolAnswer]
    next_step: str

    def to_json(self) -> dict[str, Any]:
        """Describe the tool for clients."""
        return {
            "name": self.name,
            "title": self.title,
            "description": self.description,
            "inputSchema": build_input_schema(self.arguments),
            "outputSchema": self.answer_schema,
            "annotations": {
                "readOnlyHint": True,
                "destructiveHint": False,
                "idempotentHint": True,
                "openWorldHint": False,
            },
        }
