"""Old addresses answered by our faces, without a redirect: those of the site (``[[alias]]``), and those of its tables (``endpoints``)."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, urlencode

from starlette.requests import Request

from hven.adql.tree import Ident

if TYPE_CHECKING:
    from starlette.types import Scope

    from hven.model.settings import Alias, Settings
    from hven.model.table import Table
    from hven.services.face import Surroundings
    from hven.site import Holdings

Pairs = list[tuple[str, str]]
WHERE = "{where}"  # in an alias's query
PACKED = ";compress=rice"  # what scripts on SITools2 write behind the address of a file, which is given as it is


class Old:
    """One old address. `hven.services.read` finds it in the request's scope, for the names in a body."""

    def __init__(self, alias: Alias) -> None:
        self.to = alias.to
        self._names = {old.upper(): new for old, new in alias.rename.items()}
        self._set = dict(alias.set)
        self._query = alias.query
        self._where = {old.upper(): condition for old, condition in alias.where.items()}

    def renamed(self, pairs: Pairs) -> Pairs:
        """Rename parameters to their present names."""
        return [(self._names.get(name.upper(), name), value) for name, value in pairs]

    def query(self, query: bytes, *, post: bool) -> bytes:
        """Rewrite a query string: names, and the fixed values that the reader does not give otherwise."""
        if not self._names and not self._set and self._query is None:
            return query
        kept = self.renamed(parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True))
        given = {name.upper() for name, _ in kept}
        if not post:  # what a body says is not known yet; a fixed value beside it would be a contradiction
            kept = self._asked(
                [*kept, *((name, value) for name, value in self._set.items() if name.upper() not in given)]
            )
        return urlencode(kept).encode()

    def completed(self, pairs: Pairs) -> Pairs:
        """Add the fixed values to all the parameters of a POST, which have their present names already."""
        given = {name.upper() for name, _ in pairs}
        return self._asked([*pairs, *((name, value) for name, value in self._set.items() if name.upper() not in given)])

    def _asked(self, pairs: Pairs) -> Pairs:
        """Put the old parameters into the alias's query as conditions: their values are text literals of it, whatever is in them."""
        if self._query is None:
            return pairs
        conditions = [
            _with(self._where[name.upper()], value)
            for name, value in pairs
            if name.upper() in self._where and value.strip()
        ]
        where = " AND ".join(f"({condition})" for condition in conditions) or "1 = 1"
        text = self._query if WHERE in self._query else f"{self._query} WHERE {WHERE}"
        kept = [(name, value) for name, value in pairs if name.upper() not in {*self._where, "QUERY", "LANG"}]
        return [*kept, ("LANG", "ADQL"), ("QUERY", text.replace(WHERE, where))]


def _with(condition: str, value: str) -> str:
    literal = "'" + value.strip().replace("'", "''") + "'"
    return literal.join(condition.split("?"))


class Aliases:
    """Rewrites path and query string before the routes see them; the root path is taken off first."""

    def __init__(self, settings: Settings) -> None:
        self._root = settings.root_path.rstrip("/")
        self._known = {
            alias.path.rstrip("/") or "/": Old(alias) for alias in settings.alias if not alias.path.endswith("/*")
        }
        below = {alias.path[:-1]: Old(alias) for alias in settings.alias if alias.path.endswith("/*")}
        self._below = sorted(below.items(), key=lambda pair: -len(pair[0]))

    def present(self, scope: Scope) -> Scope:
        """Return the request under its present address."""
        path = scope["path"]
        if self._root and (path == self._root or path.startswith(self._root + "/")):
            path = path[len(self._root) :] or "/"
            scope = {**scope, "path": path, "raw_path": path.encode()}
        if path.endswith(PACKED):
            path = path.removesuffix(PACKED)
            scope = {**scope, "path": path, "raw_path": quote(path).encode()}
        old = self._known.get(path.rstrip("/") or "/") if self._known else None
        to = "" if old is None else old.to
        if old is None and self._below:
            old, to = self._found(path)
        if old is None:
            return scope
        to, _, asked = to.partition("?")
        query = old.query(scope["query_string"], post=scope["method"] == "POST")
        query = b"&".join(part for part in (asked.encode(), query) if part)
        return {**scope, "path": to, "raw_path": quote(to).encode(), "query_string": query, "hven.alias": old}

    def _found(self, path: str) -> tuple[Old | None, str]:
        """Find the alias of all that is below an old path, and what answers this one."""
        if path.startswith("/ftp:/"):  # a whole address behind ours; proxies make one slash of two
            path = f"ftp://{path[6:].lstrip('/')}"
        for begin, old in self._below:
            if path.startswith(begin):
                rest = path[len(begin) :]
                return old, old.to.removesuffix("*") + (quote(rest, safe="") if "?" in old.to else rest)
        return None, ""


class Named:
    """Old addresses of tables, as descriptors say them: they are looked for where no face has such a path, so that none can take ours.

    Those of tables that a reader may not know of are no addresses for them.
    """

    def __init__(self, around: Surroundings) -> None:
        self._around, self._version = around, ""
        self._known: dict[str, tuple[Table, str]] = {}  # old path -> table, ours
        self._below: list[tuple[str, tuple[Table, str]]] = []  # what old paths begin with; the longest first

    def present(self, scope: Scope) -> Scope | None:
        """Return the request under its present address; None: nobody has named its path."""
        holdings = self._around.site.current()
        if holdings.version != self._version:
            self._read(holdings)
        path: str = scope["path"]
        found, rest = self._known.get(path.rstrip("/") or "/"), ""
        if found is None:
            begin, found = next((one for one in self._below if path.startswith(one[0])), ("", None))
            rest = f"/{path[len(begin) :]}"
        if found is None:
            return None
        table, to = found
        parts = [Ident(table.schema, quoted=True), Ident(table.name, quoted=True)]
        if not holdings.catalogue(self._around.reader(Request(scope)), self._around.policies).find(parts):
            return None
        return {**scope, "path": to + rest, "raw_path": quote(to + rest).encode()}

    def _read(self, holdings: Holdings) -> None:
        known: dict[str, tuple[Table, str]] = {}
        below: dict[str, tuple[Table, str]] = {}
        for item in holdings.published.values():
            table = item.table
            for one in table.endpoints if item.release is None and table.offers("endpoints") else ():
                to = table, f"/endpoints/{table.qualified}/{one.name}"
                for path in one.paths:
                    if one.kind != "page":
                        known.setdefault(path, to)
                    if one.kind != "query":
                        below.setdefault(path.rstrip("/") + "/", to)
        self._known, self._below = known, sorted(below.items(), key=lambda pair: -len(pair[0]))
        self._version = holdings.version
