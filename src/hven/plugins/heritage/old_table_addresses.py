"""Answer requests at old addresses of tables, which descriptors declare (``endpoints``), without a redirect."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from starlette.requests import Request

from hven.adql.syntax_tree import Ident
from hven.plugins.heritage.table_endpoints import list_endpoints

if TYPE_CHECKING:
    from starlette.types import Scope

    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState


class OldTableAddressRewriter:
    """Rewrite old addresses of tables, which their descriptors declare.

    They are looked up only where no face has the path, so that they cannot take a path of Hven. Users who may not know
    of a table do not find its old addresses.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._version = ""
        self._exact_paths: dict[str, tuple[Table, str]] = {}  # old path -> table, present path
        self._prefix_paths: list[tuple[str, tuple[Table, str]]] = []  # the same for prefixes, the longest first

    def rewrite_request(self, scope: Scope) -> Scope | None:
        """Return the request with its present address; None if no table declares its path."""
        published_state = self._context.site.get_published_state()
        if published_state.version != self._version:
            self._index_endpoint_paths(published_state)
        table_and_path = self._find_table_by_path(scope["path"])
        if table_and_path is None:
            return None
        table, target_path = table_and_path
        principal = self._context.identify_principal(Request(scope))
        catalogue = published_state.get_catalogue(principal, self._context.policies)
        if not catalogue.find_tables_by_identifiers([Ident(table.schema, quoted=True), Ident(table.name, quoted=True)]):
            return None
        return {**scope, "path": target_path, "raw_path": quote(target_path).encode()}

    def _find_table_by_path(self, path: str) -> tuple[Table, str] | None:
        """Return the table that declares an old path, and the present path."""
        table_and_path = self._exact_paths.get(path.rstrip("/") or "/")
        if table_and_path is not None:
            return table_and_path
        for prefix, (table, target_path) in self._prefix_paths:
            if path.startswith(prefix):
                return table, f"{target_path}/{path[len(prefix) :]}"
        return None

    def _index_endpoint_paths(self, published_state: PublishedState) -> None:
        exact_paths: dict[str, tuple[Table, str]] = {}
        prefix_paths: dict[str, tuple[Table, str]] = {}
        for item in published_state.tables_by_name.values():
            table = item.table
            if item.release is not None or not table.is_served_by("endpoints"):
                continue
            for endpoint in list_endpoints(table):
                table_and_path = table, f"/endpoints/{table.qualified_name}/{endpoint.name}"
                for path in endpoint.paths:
                    if endpoint.kind != "page":
                        exact_paths.setdefault(path, table_and_path)
                    if endpoint.kind != "query":
                        prefix_paths.setdefault(path.rstrip("/") + "/", table_and_path)
        self._exact_paths = exact_paths
        self._prefix_paths = sorted(prefix_paths.items(), key=lambda prefix_and_path: -len(prefix_and_path[0]))
        self._version = published_state.version
