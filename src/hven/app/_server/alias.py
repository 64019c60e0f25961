"""Old addresses answered by our faces, without a redirect.

Those of the site (``[[alias]]``), and those of its tables (``endpoints``).
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
CONDITION_PLACEHOLDER = "{where}"  # in an alias's query
COMPRESSION_SUFFIX = (
    ";compress=rice"  # what scripts on SITools2 write behind the address of a file, which is given as it is
)


class OldAddress:
    """One old address. `hven.services.read_params` finds it in the request's scope, for the names in a body."""

    def __init__(self, alias: AddressAlias) -> None:
        self.target = alias.to
        self._new_names = {old.upper(): new for old, new in alias.rename.items()}
        self._fixed_values = dict(alias.set)
        self._query = alias.query
        self._conditions = {old.upper(): condition for old, condition in alias.where.items()}

    def rename_parameters(self, parameters: Pairs) -> Pairs:
        """Rename parameters to their present names."""
        return [(self._new_names.get(name.upper(), name), value) for name, value in parameters]

    def rewrite_query(self, query: bytes, *, is_post: bool) -> bytes:
        """Rewrite a query string: names, and the fixed values that the reader does not give otherwise."""
        if not self._new_names and not self._fixed_values and self._query is None:
            return query
        qsl = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
        renamed = self.rename_parameters(qsl)
        given_names = {name.upper() for name, _ in renamed}
        if not is_post:  # what a body says is not known yet; a fixed value beside it would be a contradiction
            renamed = self._apply_query(
                [
                    *renamed,
                    *((name, value) for name, value in self._fixed_values.items() if name.upper() not in given_names),
                ]
            )
        return urlencode(renamed).encode()

    def add_fixed_values(self, parameters: Pairs) -> Pairs:
        """Add the fixed values to all the parameters of a POST, which have their present names already."""
        given_names = {name.upper() for name, _ in parameters}
        return self._apply_query(
            [
                *parameters,
                *((name, value) for name, value in self._fixed_values.items() if name.upper() not in given_names),
            ]
        )

    def _apply_query(self, parameters: Pairs) -> Pairs:
        """Put the old parameters into the alias's query as conditions.

        Their values are text literals of it, whatever is in them.
        """
        if self._query is None:
            return parameters
        conditions = [
            _fill_condition(self._conditions[name.upper()], value)
            for name, value in parameters
            if name.upper() in self._conditions and value.strip()
        ]
        where = " AND ".join(f"({condition})" for condition in conditions) or "1 = 1"
        if CONDITION_PLACEHOLDER in self._query:
            text = self._query
        else:
            text = f"{self._query} WHERE {CONDITION_PLACEHOLDER}"
        remaining = [
            (name, value) for name, value in parameters if name.upper() not in {*self._conditions, "QUERY", "LANG"}
        ]
        return [*remaining, ("LANG", "ADQL"), ("QUERY", text.replace(CONDITION_PLACEHOLDER, where))]


def _fill_condition(condition: str, value: str) -> str:
    literal = "'" + value.strip().replace("'", "''") + "'"
    return literal.join(condition.split("?"))


class AliasRewriter:
    """Rewrites path and query string before the routes see them; the root path is taken off first."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root_path.rstrip("/")
        self._exact_aliases = {
            alias.path.rstrip("/") or "/": OldAddress(alias)
            for alias in settings.alias
            if not alias.path.endswith("/*")
        }
        below = {alias.path[:-1]: OldAddress(alias) for alias in settings.alias if alias.path.endswith("/*")}
        self._prefix_aliases = sorted(below.items(), key=lambda pair: -len(pair[0]))

    def rewrite_request(self, scope: Scope) -> Scope:
        """Return the request under its present address."""
        path = scope["path"]
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            path = path[len(self._root) :] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if path.endswith(COMPRESSION_SUFFIX):
            path = path.removesuffix(COMPRESSION_SUFFIX)
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        if self._exact_aliases:
            alias = self._exact_aliases.get(path.rstrip("/") or "/")
        else:
            alias = None
        target = "" if alias is None else alias.target
        if alias is None and self._prefix_aliases:
            alias, target = self._find_prefix_alias(path)
        if alias is None:
            return scope
        target, _, target_query = target.partition("?")
        query = alias.rewrite_query(scope["query_string"], is_post=scope["method"] == "POST")
        query = b"&".join(part for part in (target_query.encode(), query) if part)
        return {**scope, "path": target, "raw_path": quote(target).encode(), "query_string": query, "hven.alias": alias}

    def _find_prefix_alias(self, path: str) -> tuple[OldAddress | None, str]:
        """Find the alias of all that is below an old path, and what answers this one."""
        if path.startswith("/ftp:/"):  # a whole address behind ours; proxies make one slash of two
            path = f"ftp://{path[6:].lstrip('/')}"
        for prefix, alias in self._prefix_aliases:
            if path.startswith(prefix):
                remaining_path = path[len(prefix) :]
                return alias, alias.target.removesuffix("*") + (
                    quote(remaining_path, safe="") if "?" in alias.target else remaining_path
                )
        return None, ""


class OldTableAddressRewriter:
    """Old addresses of tables, as descriptors say them.

    They are looked for where no face has such a path, so that none can take ours.

    Those of tables that a reader may not know of are no addresses for them.
    """

    def __init__(self, context: ServiceContext) -> None:
        self._context = context
        self._version = ""
        self._exact_paths: dict[str, tuple[Table, str]] = {}  # old path -> table, ours
        self._prefix_paths: list[tuple[str, tuple[Table, str]]] = []  # what old paths begin with; the longest first

    def rewrite_request(self, scope: Scope) -> Scope | None:
        """Return the request under its present address; None: nobody has named its path."""
        published_state = self._context.site.get_published_state()
        if published_state.version != self._version:
            self._read_endpoints(published_state)
        path: str = scope["path"]
        table_and_path = self._exact_paths.get(path.rstrip("/") or "/")
        remaining_path = ""
        if table_and_path is None:
            prefix, table_and_path = next(
                (prefix_path for prefix_path in self._prefix_paths if path.startswith(prefix_path[0])), ("", None)
            )
            remaining_path = f"/{path[len(prefix) :]}"
        if table_and_path is None:
            return None
        table, target_path = table_and_path
        parts = [Ident(table.schema, quoted=True), Ident(table.name, quoted=True)]
        if not published_state.get_catalogue(
            self._context.identify_principal(Request(scope)), self._context.policies
        ).find(parts):
            return None
        return {**scope, "path": target_path + remaining_path, "raw_path": quote(target_path + remaining_path).encode()}

    def _read_endpoints(self, published_state: PublishedState) -> None:
        exact_paths: dict[str, tuple[Table, str]] = {}
        prefix_paths: dict[str, tuple[Table, str]] = {}
        for item in published_state.tables_by_name.values():
            table = item.table
            for endpoint in table.endpoints if item.release is None and table.is_served_by("endpoints") else ():
                table_and_path = table, f"/endpoints/{table.qualified_name}/{endpoint.name}"
                for path in endpoint.paths:
                    if endpoint.kind != "page":
                        exact_paths.setdefault(path, table_and_path)
                    if endpoint.kind != "query":
                        prefix_paths.setdefault(path.rstrip("/") + "/", table_and_path)
        self._exact_paths = exact_paths
        self._prefix_paths = sorted(prefix_paths.items(), key=lambda pair: -len(pair[0]))
        self._version = published_state.version
