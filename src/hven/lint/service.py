"""The service that is judged, as a stranger finds it: what it says of itself, its tables, its answers; each asked for once."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.adql.reserved import RESERVED
from hven.lint import documents, votable
from hven.lint.capabilities import Capabilities, read
from hven.lint.client import Client, Limits, Unjudgeable
from hven.lint.documents import NotXml, local
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.lint.findings import Looked
    from hven.lint.votable import VOTable
    from hven.sources.remote import Answer

TAILS = ("/capabilities", "/tables", "/availability", "/examples", "/sync", "/async")


class Refused(UserError):
    """The service answers a query with an error, or with something that is no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a service declares about a column; `flags` lower case."""

    name: str
    datatype: str = ""
    arraysize: str = ""
    xtype: str = ""
    unit: str = ""
    ucd: str = ""
    utype: str = ""
    description: str = ""
    flags: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Its name as names are compared: without quotes, lower case."""
        return bare(self.name)


@dataclass(frozen=True, kw_only=True)
class Table:
    """What a service declares about a table; `keys`: its foreign keys, each as ``column -> table.column``."""

    name: str
    schema: str = ""
    kind: str = ""
    utype: str = ""
    description: str = ""
    columns: tuple[Column, ...] = ()
    keys: frozenset[str] = frozenset()

    @property
    def key(self) -> str:
        """Its name as names are compared."""
        return bare(self.name)

    @cached_property
    def columns_by_key(self) -> dict[str, Column]:
        """Its columns by their names as names are compared; of two with one name the first."""
        return {one.key: one for one in reversed(self.columns)}

    def get(self, name: str) -> Column | None:
        """Find a column."""
        return self.columns_by_key.get(name)

    @property
    def names(self) -> set[str]:
        """Names of its columns, lower case."""
        return set(self.columns_by_key)


def bare(name: str) -> str:
    """Write a name without quotes, in lower case."""
    return name.replace('"', "").strip().lower()


class Service:
    """Everything that checks may ask about; what was fetched is kept."""

    protocol = "tap"

    def __init__(self, url: str, limits: Limits) -> None:
        self.asked = url.rstrip("/")
        self.limits = limits
        self.client = Client(url, limits)
        self.url, self._capabilities = self._found()
        self.looked: list[Looked] = []
        self.samples: dict[str, Any] = {}

    def _found(self) -> tuple[str, Answer]:
        """Find the base address, by its capabilities.

        Raises
        ------
        Unjudgeable
            There is none: with the words of every place that was looked at.
        """
        base = next((self.asked.removesuffix(tail) for tail in TAILS if self.asked.endswith(tail)), self.asked)
        tried = []
        for place in dict.fromkeys((base, f"{base}/tap")):
            try:
                answer = self.client.get(f"{place}/capabilities")
            except UserError as error:
                raise Unjudgeable(f"{place}: {error.message}", remedy=error.remedy) from error
            if answer.status != 200:
                tried.append(f"{place}/capabilities answers {answer.status}")
                continue
            try:
                root = documents.parse(answer.body)
            except NotXml as error:
                tried.append(f"{place}/capabilities is no XML: {error}")
                continue
            if local(root) == "capabilities":
                return place, answer
            tried.append(f"{place}/capabilities has the root <{local(root)}>")
        raise Unjudgeable(
            "there is no TAP service: " + "; ".join(tried),
            remedy="give the base address of TAP, the one below which /capabilities is",
        )

    @cached_property
    def capabilities(self) -> Capabilities:
        """The service's capabilities document, read."""
        return read(documents.parse(self._capabilities.body), self._capabilities)

    @property
    def version(self) -> str:
        """Of TAP, as it says."""
        return self.capabilities.version

    @property
    def old(self) -> bool:
        """True for TAP 1.0."""
        return self.capabilities.version != "1.1"

    @cached_property
    def _documents(self) -> dict[str, Answer]:
        return {"capabilities": self._capabilities}

    def document(self, name: str) -> Answer:
        """Fetch ``/name`` below the base; kept."""
        if name not in self._documents:
            self._documents[name] = self.client.get(f"{self.url}/{name}")
        return self._documents[name]

    # --- queries -----------------------------------------------------------------------------------------------

    def form(self, adql: str, maxrec: int | None = None, **more: str) -> list[tuple[str, str]]:
        """Write the parameters of a query; TAP 1.0 wants REQUEST."""
        given = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": adql}
        if maxrec is not None:
            given["MAXREC"] = str(maxrec)
        return list({**given, **more}.items())

    def raw(self, adql: str, maxrec: int | None = None, *, method: str = "POST", **more: str) -> Answer:
        """Ask /sync; whatever the answer is."""
        form = self.form(adql, maxrec, **more)
        url = f"{self.url}/sync"
        return self.client.get(url, form) if method == "GET" else self.client.post(url, form)

    def query(self, adql: str, maxrec: int | None = None) -> VOTable:
        """Ask, and read the table.

        Raises
        ------
        Refused
            An error document, another status than 200, or no VOTable.
        UserError
            No answer.
        """
        answer = self.raw(adql, maxrec)
        try:
            found = votable.read(answer.body)
        except NotXml as error:
            raise Refused(f"status {answer.status}, and no VOTable: {error}") from error
        if found.error is not None:
            raise Refused(found.error or f"status {answer.status} without a message")
        if answer.status != 200:
            raise Refused(f"status {answer.status}")
        return found

    def number(self, adql: str) -> int | None:
        """Ask for one number; None: the service does not give it."""
        try:
            rows = self.query(adql).rows
            return int(rows[0][0])
        except (UserError, LookupError, TypeError, ValueError):
            return None

    # --- metadata ----------------------------------------------------------------------------------------------

    @cached_property
    def schema(self) -> dict[str, list[dict[str, Any]]]:
        """TAP_SCHEMA's tables that can be read, as records; a table that cannot is missing, and why stands in `schema_faults`."""
        self.schema_faults: dict[str, str] = {}
        self.schema_fields: dict[str, list[votable.Field]] = {}
        found = {}
        for name in ("schemas", "tables", "columns", "keys", "key_columns"):
            try:
                answer = self.query(f"SELECT * FROM TAP_SCHEMA.{name}", 200_000)
            except UserError as error:
                self.schema_faults[name] = error.message
                continue
            found[name] = answer.records()
            self.schema_fields[name] = answer.fields
        return found

    @cached_property
    def declared(self) -> dict[str, Table]:
        """The tables by lower-case name: of TAP_SCHEMA if it can be read, else of /tables."""
        rows = self.schema
        if "tables" not in rows or "columns" not in rows:
            return self.listed or {}
        of: dict[str, list[Column]] = {}
        # TAP 1.0 has them in /tables alone
        told = {} if any("xtype" in row for row in rows["columns"][:1]) else self._xtypes()
        for row in rows["columns"]:
            flags = frozenset(name for name in ("indexed", "principal", "std") if str(row.get(name)) == "1")
            of.setdefault(bare(_text(row, "table_name")), []).append(
                Column(
                    name=_text(row, "column_name"), datatype=_text(row, "datatype"), arraysize=_text(row, "arraysize"),
                    xtype=_text(row, "xtype") or told.get((bare(_text(row, "table_name")), bare(_text(row, "column_name"))), ""), unit=_text(row, "unit"), ucd=_text(row, "ucd"), utype=_text(row, "utype"),
                    description=_text(row, "description"), flags=flags,
                )
            )  # fmt: skip
        return {
            bare(_text(row, "table_name")): Table(
                name=_text(row, "table_name"), schema=_text(row, "schema_name"), kind=_text(row, "table_type"), utype=_text(row, "utype"),
                description=_text(row, "description"), columns=tuple(of.get(bare(_text(row, "table_name")), ())),
            )
            for row in rows["tables"]
        }  # fmt: skip

    def _xtypes(self) -> dict[tuple[str, str], str]:
        return {
            (table.key, column.key): column.xtype for table in (self.listed or {}).values() for column in table.columns
        }

    @cached_property
    def listed(self) -> dict[str, Table] | None:
        """The tables of /tables by lower-case name; None: there is no such document."""
        try:
            answer = self.document("tables")
            root = documents.parse(answer.body) if answer.status == 200 else None
        except (UserError, NotXml):
            return None
        if root is None or local(root) != "tableset":
            return None
        found = {}
        for schema in documents.children(root, "schema"):
            for table in documents.children(schema, "table"):
                one = _listed(table, documents.text(schema, "name"))
                if not one.columns:
                    one = self._alone(one)
                found[one.key] = one
        return found

    def _alone(self, table: Table) -> Table:
        """Ask for one table, as VOSI 1.1 has it where the list is without columns."""
        try:
            answer = self.client.get(f"{self.url}/tables/{table.name}")
            root = documents.parse(answer.body)
        except (UserError, NotXml):
            return table
        return _listed(root, table.schema) if answer.status == 200 and local(root) == "table" else table

    @cached_property
    def foreign_keys(self) -> dict[str, frozenset[str]]:
        """TAP_SCHEMA's foreign keys by lower-case table name, each as ``column -> table.column``."""
        ends = {_text(row, "key_id"): row for row in self.schema.get("keys", ())}
        pairs: dict[str, list[tuple[str, str]]] = {}
        for row in self.schema.get("key_columns", ()):
            pairs.setdefault(_text(row, "key_id"), []).append(
                (bare(_text(row, "from_column")), bare(_text(row, "target_column")))
            )
        found: dict[str, set[str]] = {}
        for ident, row in ends.items():
            found.setdefault(bare(_text(row, "from_table")), set()).add(
                _key(bare(_text(row, "target_table")), pairs.get(ident, []))
            )
        return {name: frozenset(keys) for name, keys in found.items()}

    def tables(self, *, own: bool = True) -> list[Table]:
        """Return the declared tables; `own`: without TAP_SCHEMA's."""
        return [one for key, one in self.declared.items() if not (own and key.startswith("tap_schema."))]


def _listed(table: Any, schema: str) -> Table:
    columns = []
    for column in documents.children(table, "column"):
        kind = documents.children(column, "dataType")
        types = kind[0] if kind else None
        datatype = documents.text(types) if types is not None else ""
        columns.append(
            Column(
                name=documents.text(column, "name"), datatype=datatype,
                arraysize=(types.get("arraysize", "") or types.get("size", "")) if types is not None else "",
                xtype=types.get("extendedType", "") if types is not None else "", unit=documents.text(column, "unit"),
                ucd=documents.text(column, "ucd"), utype=documents.text(column, "utype"), description=documents.text(column, "description"),
                flags=frozenset(documents.text(flag).lower() for flag in documents.children(column, "flag")),
            )
        )  # fmt: skip
    keys = frozenset(
        _key(
            bare(documents.text(key, "targetTable")),
            [
                (bare(documents.text(pair, "fromColumn")), bare(documents.text(pair, "targetColumn")))
                for pair in documents.children(key, "fkColumn")
            ],
        )
        for key in documents.children(table, "foreignKey")
    )
    return Table(
        name=documents.text(table, "name"), schema=schema, kind=table.get("type", ""), utype=documents.text(table, "utype"),
        description=documents.text(table, "description"), columns=tuple(columns), keys=keys,
    )  # fmt: skip


def _key(target: str, pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{column} -> {target}.{other}" for column, other in sorted(pairs))


def _text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def written(name: str) -> str:
    """Write a column name for a query: quoted if it must be."""
    if name.startswith('"'):
        return name
    plain = name.isascii() and name.replace("_", "a").isalnum() and name[:1].isalpha() and name.upper() not in RESERVED
    return name if plain else '"' + name.replace('"', '""') + '"'


def example_key(record: dict[str, Any], names: Sequence[str]) -> str:
    """Write which row is meant: the first key column that has a value."""
    return next((f"{name} = {record[name]}" for name in names if record.get(name) is not None), "")
