"""The service that is judged, as a stranger finds it: what it says of itself, its tables, its answers.

Each asked for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.lint import votable, xml_documents
from hven.lint.capabilities import ServiceCapabilities, parse_capabilities
from hven.lint.client import LintClient, LintLimits, NotJudgeableError
from hven.lint.xml_documents import NotXmlError, get_local_name
from hven.model.errors import UserError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.lint.findings import TableCoverage
    from hven.lint.votable import VOTableDocument
    from hven.sources.http_client import HttpAnswer

RESOURCE_SUFFIXES = ("/capabilities", "/tables", "/availability", "/examples", "/sync", "/async")


class QueryRefusedError(UserError):
    """The service answers a query with an error, or with something that is no table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredColumn:
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
    def comparison_name(self) -> str:
        """Its name as names are compared: without quotes, lower case."""
        return normalize_name(self.name)


@dataclass(frozen=True, kw_only=True)
class DeclaredTable:
    """What a service declares about a table; `foreign_keys`: its foreign keys, each as ``column -> table.column``."""

    name: str
    schema: str = ""
    kind: str = ""
    utype: str = ""
    description: str = ""
    columns: tuple[DeclaredColumn, ...] = ()
    foreign_keys: frozenset[str] = frozenset()

    @property
    def comparison_name(self) -> str:
        """Its name as names are compared."""
        return normalize_name(self.name)

    @cached_property
    def columns_by_key(self) -> dict[str, DeclaredColumn]:
        """Its columns by their names as names are compared; of two with one name the first."""
        return {column.comparison_name: column for column in reversed(self.columns)}

    def find_column(self, name: str) -> DeclaredColumn | None:
        """Find a column."""
        return self.columns_by_key.get(name)

    @property
    def column_names(self) -> set[str]:
        """Names of its columns, lower case."""
        return set(self.columns_by_key)


def normalize_name(name: str) -> str:
    """Write a name without quotes, in lower case."""
    return name.replace('"', "").strip().lower()


class ExaminedTapService:
    """Everything that checks may ask about; what was fetched is kept."""

    protocol = "tap"

    def __init__(self, url: str, limits: LintLimits) -> None:
        self.given_url = url.rstrip("/")
        self.limits = limits
        self.client = LintClient(url, limits)
        self.url, self._capabilities_answer = self._find_base_url()
        self.table_coverages: list[TableCoverage] = []
        self.samples_by_table: dict[str, Any] = {}

    def _find_base_url(self) -> tuple[str, HttpAnswer]:
        """Find the base address, by its capabilities.

        Raises
        ------
        NotJudgeableError
            There is none: with the words of every place that was looked at.
        """
        base_url = next(
            (self.given_url.removesuffix(tail) for tail in RESOURCE_SUFFIXES if self.given_url.endswith(tail)),
            self.given_url,
        )
        failed_urls = []
        for candidate_url in dict.fromkeys((base_url, f"{base_url}/tap")):
            try:
                answer = self.client.send_get(f"{candidate_url}/capabilities")
            except UserError as error:
                raise NotJudgeableError(f"{candidate_url}: {error.message}", remedy=error.remedy) from error
            if answer.status != 200:
                failed_urls.append(f"{candidate_url}/capabilities answers {answer.status}")
                continue
            try:
                root = xml_documents.parse_xml(answer.body)
            except NotXmlError as error:
                failed_urls.append(f"{candidate_url}/capabilities is no XML: {error}")
                continue
            if get_local_name(root) == "capabilities":
                return candidate_url, answer
            failed_urls.append(f"{candidate_url}/capabilities has the root <{get_local_name(root)}>")
        raise NotJudgeableError(
            "there is no TAP service: " + "; ".join(failed_urls),
            remedy="give the base address of TAP, the one below which /capabilities is",
        )

    @cached_property
    def capabilities(self) -> ServiceCapabilities:
        """The service's capabilities document, read."""
        xml = xml_documents.parse_xml(self._capabilities_answer.body)
        return parse_capabilities(xml, self._capabilities_answer)

    @property
    def tap_version(self) -> str:
        """Of TAP, as it says."""
        return self.capabilities.version

    @property
    def is_tap_1_0(self) -> bool:
        """True for TAP 1.0."""
        return self.capabilities.version != "1.1"

    @cached_property
    def _answers_by_name(self) -> dict[str, HttpAnswer]:
        return {"capabilities": self._capabilities_answer}

    def get_document(self, name: str) -> HttpAnswer:
        """Fetch ``/name`` below the base; kept."""
        if name not in self._answers_by_name:
            self._answers_by_name[name] = self.client.send_get(f"{self.url}/{name}")
        return self._answers_by_name[name]

    # --- queries -----------------------------------------------------------------------------------------------

    def build_query_form(self, adql: str, maxrec: int | None = None, **extra_params: str) -> list[tuple[str, str]]:
        """Write the parameters of a query; TAP 1.0 wants REQUEST."""
        form_fields = {"REQUEST": "doQuery", "LANG": "ADQL", "QUERY": adql}
        if maxrec is not None:
            form_fields["MAXREC"] = str(maxrec)
        return list({**form_fields, **extra_params}.items())

    def send_query(
        self, adql: str, maxrec: int | None = None, *, method: str = "POST", **extra_params: str
    ) -> HttpAnswer:
        """Ask /sync; whatever the answer is."""
        form = self.build_query_form(adql, maxrec, **extra_params)
        url = f"{self.url}/sync"
        if method == "GET":
            return self.client.send_get(url, form)
        return self.client.send_post(url, form)

    def run_query(self, adql: str, maxrec: int | None = None) -> VOTableDocument:
        """Ask, and read the table.

        Raises
        ------
        QueryRefusedError
            An error document, another status than 200, or no VOTable.
        UserError
            No answer.
        """
        answer = self.send_query(adql, maxrec)
        try:
            votable_document = votable.parse_votable(answer.body)
        except NotXmlError as error:
            raise QueryRefusedError(f"status {answer.status}, and no VOTable: {error}") from error
        if votable_document.error_message is not None:
            raise QueryRefusedError(votable_document.error_message or f"status {answer.status} without a message")
        if answer.status != 200:
            raise QueryRefusedError(f"status {answer.status}")
        return votable_document

    def query_number(self, adql: str) -> int | None:
        """Ask for one number; None: the service does not give it."""
        try:
            rows = self.run_query(adql).rows
            return int(rows[0][0])
        except (UserError, LookupError, TypeError, ValueError):
            return None

    # --- metadata ----------------------------------------------------------------------------------------------

    @cached_property
    def tap_schema_rows(self) -> dict[str, list[dict[str, Any]]]:
        """TAP_SCHEMA's tables that can be read, as records.

        A table that cannot is missing, and why stands in `schema_faults`.
        """
        self.schema_faults: dict[str, str] = {}
        self.schema_fields: dict[str, list[votable.VOTableField]] = {}
        rows_by_table = {}
        for name in ("schemas", "tables", "columns", "keys", "key_columns"):
            try:
                answer = self.run_query(f"SELECT * FROM TAP_SCHEMA.{name}", 200_000)
            except UserError as error:
                self.schema_faults[name] = error.message
                continue
            rows_by_table[name] = answer.list_records()
            self.schema_fields[name] = answer.fields
        return rows_by_table

    @cached_property
    def declared_tables(self) -> dict[str, DeclaredTable]:
        """The tables by lower-case name: of TAP_SCHEMA if it can be read, else of /tables."""
        rows = self.tap_schema_rows
        if "tables" not in rows or "columns" not in rows:
            return self.listed_tables or {}
        columns_by_table: dict[str, list[DeclaredColumn]] = {}
        # TAP 1.0 has them in /tables alone
        if any("xtype" in row for row in rows["columns"][:1]):
            xtypes = {}
        else:
            xtypes = self._map_listed_xtypes()
        for row in rows["columns"]:
            flags = frozenset(name for name in ("indexed", "principal", "std") if str(row.get(name)) == "1")
            columns_by_table.setdefault(normalize_name(_get_text(row, "table_name")), []).append(
                DeclaredColumn(
                    name=_get_text(row, "column_name"),
                    datatype=_get_text(row, "datatype"),
                    arraysize=_get_text(row, "arraysize"),
                    xtype=_get_text(row, "xtype")
                    or xtypes.get(
                        (normalize_name(_get_text(row, "table_name")), normalize_name(_get_text(row, "column_name"))),
                        "",
                    ),
                    unit=_get_text(row, "unit"),
                    ucd=_get_text(row, "ucd"),
                    utype=_get_text(row, "utype"),
                    description=_get_text(row, "description"),
                    flags=flags,
                )
            )
        return {
            normalize_name(_get_text(row, "table_name")): DeclaredTable(
                name=_get_text(row, "table_name"),
                schema=_get_text(row, "schema_name"),
                kind=_get_text(row, "table_type"),
                utype=_get_text(row, "utype"),
                description=_get_text(row, "description"),
                columns=tuple(columns_by_table.get(normalize_name(_get_text(row, "table_name")), ())),
            )
            for row in rows["tables"]
        }

    def _map_listed_xtypes(self) -> dict[tuple[str, str], str]:
        return {
            (table.comparison_name, column.comparison_name): column.xtype
            for table in (self.listed_tables or {}).values()
            for column in table.columns
        }

    @cached_property
    def listed_tables(self) -> dict[str, DeclaredTable] | None:
        """The tables of /tables by lower-case name; None: there is no such document."""
        try:
            answer = self.get_document("tables")
            if answer.status == 200:
                root = xml_documents.parse_xml(answer.body)
            else:
                root = None
        except (UserError, NotXmlError):
            return None
        if root is None or get_local_name(root) != "tableset":
            return None
        tables_by_name = {}
        for schema in xml_documents.find_children(root, "schema"):
            for table in xml_documents.find_children(schema, "table"):
                listed_table = _parse_table(table, xml_documents.get_text(schema, "name"))
                if not listed_table.columns:
                    listed_table = self._fetch_table_document(listed_table)
                tables_by_name[listed_table.comparison_name] = listed_table
        return tables_by_name

    def _fetch_table_document(self, table: DeclaredTable) -> DeclaredTable:
        """Ask for one table, as VOSI 1.1 has it where the list is without columns."""
        try:
            answer = self.client.send_get(f"{self.url}/tables/{table.name}")
            root = xml_documents.parse_xml(answer.body)
        except (UserError, NotXmlError):
            return table
        if answer.status == 200 and get_local_name(root) == "table":
            return _parse_table(root, table.schema)
        return table

    @cached_property
    def foreign_keys(self) -> dict[str, frozenset[str]]:
        """TAP_SCHEMA's foreign keys by lower-case table name, each as ``column -> table.column``."""
        key_rows = {_get_text(row, "key_id"): row for row in self.tap_schema_rows.get("keys", ())}
        pairs: dict[str, list[tuple[str, str]]] = {}
        for row in self.tap_schema_rows.get("key_columns", ()):
            pairs.setdefault(_get_text(row, "key_id"), []).append(
                (normalize_name(_get_text(row, "from_column")), normalize_name(_get_text(row, "target_column")))
            )
        keys_by_table: dict[str, set[str]] = {}
        for key_id, row in key_rows.items():
            keys_by_table.setdefault(normalize_name(_get_text(row, "from_table")), set()).add(
                _format_foreign_key(normalize_name(_get_text(row, "target_table")), pairs.get(key_id, []))
            )
        return {name: frozenset(keys) for name, keys in keys_by_table.items()}

    def list_tables(self, *, without_tap_schema: bool = True) -> list[DeclaredTable]:
        """Return the declared tables; `without_tap_schema`: without TAP_SCHEMA's."""
        return [
            table
            for key, table in self.declared_tables.items()
            if not (without_tap_schema and key.startswith("tap_schema."))
        ]


def _parse_table(element: Any, schema: str) -> DeclaredTable:
    columns = []
    for column in xml_documents.find_children(element, "column"):
        type_elements = xml_documents.find_children(column, "dataType")
        type_element = type_elements[0] if type_elements else None
        if type_element is not None:
            datatype = xml_documents.get_text(type_element)
        else:
            datatype = ""
        columns.append(
            DeclaredColumn(
                name=xml_documents.get_text(column, "name"),
                datatype=datatype,
                arraysize=(type_element.get("arraysize", "") or type_element.get("size", ""))
                if type_element is not None
                else "",
                xtype=type_element.get("extendedType", "") if type_element is not None else "",
                unit=xml_documents.get_text(column, "unit"),
                ucd=xml_documents.get_text(column, "ucd"),
                utype=xml_documents.get_text(column, "utype"),
                description=xml_documents.get_text(column, "description"),
                flags=frozenset(
                    xml_documents.get_text(flag).lower() for flag in xml_documents.find_children(column, "flag")
                ),
            )
        )
    keys = frozenset(
        _format_foreign_key(
            normalize_name(xml_documents.get_text(key, "targetTable")),
            [
                (
                    normalize_name(xml_documents.get_text(pair, "fromColumn")),
                    normalize_name(xml_documents.get_text(pair, "targetColumn")),
                )
                for pair in xml_documents.find_children(key, "fkColumn")
            ],
        )
        for key in xml_documents.find_children(element, "foreignKey")
    )
    return DeclaredTable(
        name=xml_documents.get_text(element, "name"),
        schema=schema,
        kind=element.get("type", ""),
        utype=xml_documents.get_text(element, "utype"),
        description=xml_documents.get_text(element, "description"),
        columns=tuple(columns),
        foreign_keys=keys,
    )


def _format_foreign_key(target: str, pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{column} -> {target}.{other}" for column, other in sorted(pairs))


def _get_text(row: dict[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else str(value)


def quote_column_name(name: str) -> str:
    """Write a column name for a query: quoted if it must be."""
    if name.startswith('"'):
        return name
    is_plain = (
        name.isascii()
        and name.replace("_", "a").isalnum()
        and name[:1].isalpha()
        and name.upper() not in RESERVED_WORDS
    )
    if is_plain:
        return name
    return '"' + name.replace('"', '""') + '"'


def format_example_key(record: dict[str, Any], names: Sequence[str]) -> str:
    """Write which row is meant: the first key column that has a value."""
    return next((f"{name} = {record[name]}" for name in names if record.get(name) is not None), "")
