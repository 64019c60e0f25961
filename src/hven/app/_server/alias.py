"""Answer requests at old addresses by the present faces, without a redirect.

Old addresses of the site are in hven.toml (``[[alias]]``), and those of its tables in descriptors (``endpoints``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

from hven.adql.syntax_tree import Ident

if TYPE_CHECKING:
    from starlette.types import Scope

    from hven.model.settings import AddressAlias, Settings
    from hven.model.table import Table
    from hven.services.face import ServiceContext
    from hven.site import PublishedState

Pairs = list[tuple[str, str]]
CONDITION_PLACEHOLDER = "{where}"  # stands in the query of an alias for its conditions
# Scripts for SITools2 write this behind the address of a file. The file is sent as it is.
COMPRESSION_SUFFIX = ";compress=rice"


class OldAddress:
    """An old address of the site.

    `hven.services.read_params` finds it in the request's scope, and renames the parameters of a body with it.
    """

    def __init__(self, alias: AddressAlias) -> None:
        self.target = alias.to
        self._new_names = {old.upper(): new for old, new in alias.rename.items()}
        self._fixed_values = dict(alias.set)
        self._query = alias.query
        self._conditions = {old.upper(): condition for old, condition in alias.where.items()}

    def rename_parameters(self, parameters: Pairs) -> Pairs:
        """Rename parameters to their present names."""
        return [(self._new_names.get(name.upper(), name), value) for name, value in parameters]

    def rewrite_query_string(self, query: bytes, *, is_post: bool) -> bytes:
        """Rewrite a query string: rename parameters, and add fixed values that the request does not have."""
        if not self._new_names and not self._fixed_values and self._query is None:
            return query
        old_parameters = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
        parameters = self.rename_parameters(old_parameters)
        if not is_post:  # the parameters of a body are not known yet, and a fixed value could contradict them
            parameters = self.add_fixed_values(parameters)
        return urlencode(parameters).encode()

    def add_fixed_values(self, parameters: Pairs) -> Pairs:
        """Add the fixed values to parameters that have their present names already."""
        given_names = {name.upper() for name, _ in parameters}
        fixed_parameters = [
            (name, value) for name, value in self._fixed_values.items() if name.upper() not in given_names
        ]
        return self._convert_to_adql_query([*parameters, *fixed_parameters])

    def _convert_to_adql_query(self, parameters: Pairs) -> Pairs:
        """Insert the old parameters as conditions into the query of the alias.

        Their values become text literals, whatever they contain.
        """
        if self._query is None:
            return parameters
        conditions = []
        for name, value in parameters:
            condition = self._conditions.get(name.upper())
            if condition is not None and value.strip():
                conditions.append(f"({_fill_condition_template(condition, value)})")
        text = self._query
        if CONDITION_PLACEHOLDER not in text:
            text = f"{text} WHERE {CONDITION_PLACEHOLDER}"
        text = text.replace(CONDITION_PLACEHOLDER, " AND ".join(conditions) or "1 = 1")
        replaced_names = {*self._conditions, "QUERY", "LANG"}
        remaining = [(name, value) for name, value in parameters if name.upper() not in replaced_names]
        return [*remaining, ("LANG", "ADQL"), ("QUERY", text)]


def _fill_condition_template(condition: str, value: str) -> str:
    literal = "'" + value.strip().replace("'", "''") + "'"
    return literal.join(condition.split("?"))


class AddressAliasRewriter:
    """Rewrite path and query string before requests are routed. The root path of the site is removed first."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root_path.rstrip("/")
        self._exact_aliases: dict[str, OldAddress] = {}
        aliases_by_prefix: dict[str, OldAddress] = {}
        for alias in settings.alias:
            if alias.path.endswith("/*"):
                aliases_by_prefix[alias.path[:-1]] = OldAddress(alias)
            else:
                self._exact_aliases[alias.path.rstrip("/") or "/"] = OldAddress(alias)
        self._prefix_aliases = sorted(aliases_by_prefix.items(), key=lambda prefix_and_alias: -len(prefix_and_alias[0]))

    def rewrite_request(self, scope: Scope) -> Scope:
        """Return the request with its present address."""
        path = scope["path"]
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            path = path[len(self._root) :] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if path.endswith(COMPRESSION_SUFFIX):
            path = path.removesuffix(COMPRESSION_SUFFIX)
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        alias_and_target = self._find_alias(path)
        if alias_and_target is None:
            return scope
        alias, target = alias_and_target
        target_path, _, target_query = target.partition("?")
        query = alias.rewrite_query_string(scope["query_string"], is_post=scope["method"] == "POST")
        if target_query and query:
            query = target_query.encode() + b"&" + query
        else:
            query = query or target_query.encode()
        return {
            **scope,
            "path": target_path,
            "raw_path": quote(target_path).encode(),
            "query_string": query,
            "hven.alias": alias,
        }

    def _find_alias(self, path: str) -> tuple[OldAddress, str] | None:
        """Return the alias of a path, and its present address; None if the path is not an old one."""
        if self._exact_aliases:
            exact_alias = self._exact_aliases.get(path.rstrip("/") or "/")
            if exact_alias is not None:
                return exact_alias, exact_alias.target
        if path.startswith("/ftp:/"):  # a whole address stands behind ours; proxies turn two slashes into one
            path = f"ftp://{path[6:].lstrip('/')}"
        for prefix, alias in self._prefix_aliases:
            if path.startswith(prefix):
                remaining_path = path[len(prefix) :]
                if "?" in alias.target:  # the path becomes a value in the query string
                    remaining_path = quote(remaining_path, safe="")
                return alias, alias.target.removesuffix("*") + remaining_path
        return None


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
            for endpoint in table.endpoints:
                table_and_path = table, f"/endpoints/{table.qualified_name}/{endpoint.name}"
                for path in endpoint.paths:
                    if endpoint.kind != "page":
                        exact_paths.setdefault(path, table_and_path)
                    if endpoint.kind != "query":
                        prefix_paths.setdefault(path.rstrip("/") + "/", table_and_path)
        self._exact_paths = exact_paths
        self._prefix_paths = sorted(prefix_paths.items(), key=lambda prefix_and_path: -len(prefix_and_path[0]))
        self._version = published_state.version
