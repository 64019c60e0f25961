"""The service that is judged, as a stranger finds it: what it says of itself, its tables, its answers.

Each asked for once.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.model.errors import UserError
from hven.plugins.lint import votable, xml_documents
from hven.plugins.lint.capabilities import ServiceCapabilities, parse_capabilities
from hven.plugins.lint.client import LintHttpClient, LintRequestLimits, ServiceNotCheckableError
from hven.plugins.lint.xml_documents import NotXmlError, get_local_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.lint.findings import CheckedRowCoverage
    from hven.plugins.lint.votable import VOTableDocument
    from hven.sources.http_client import HttpAnswer

COLUMN_TEXT_KEYS = ("unit", "ucd", "utype", "description")
RESOURCE_SUFFIXES = ("/capabilities", "/tables", "/availability", "/examples", "/sync", "/async")


class QueryRefusedError(UserError):
    """The service answers a query with an error, or with something that is not a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredColumn:
    """The declaration of a column; `flags` are in lower case."""

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
        """The name in the form in which names are compared: without quotes, in lower case."""
        return normalize_identifier(self.name)


@dataclass(frozen=True, kw_only=True)
class DeclaredTable:
    """The declaration of a table; `foreign_keys` has each key as ``column -> table.column``."""

    name: str
    schema: str = ""
    kind: str = ""
    utype: str = ""
    description: str = ""
    columns: tuple[DeclaredColumn, ...] = ()
    foreign_keys: frozenset[str] = frozenset()

    @property
    def comparison_name(self) -> str:
        """The name in the form in which names are compared."""
        return normalize_identifier(self.name)

    @cached_property
    def columns_by_key(self) -> dict[str, DeclaredColumn]:
        """Columns by the names in which they are compared; of two columns with one name, the first."""
        return {column.comparison_name: column for column in reversed(self.columns)}

    def find_column(self, name: str) -> DeclaredColumn | None:
        """Find a column."""
        return self.columns_by_key.get(name)

    @property
    def column_names(self) -> set[str]:
        """Names of the columns, in lower case."""
        return set(self.columns_by_key)


def normalize_identifier(name: str) -> str:
    """Return a name without quotes, in lower case."""
    return name.replace('"', "").strip().lower()


class ExaminedTapService:
    """A TAP service under examination; answers that checks ask for are cached."""

    protocol = "tap"

    def __init__(self, url: str, limits: LintRequestLimits) -> None:
        self.given_url = url.rstrip("/")
        self.limits = limits
        self.client = LintHttpClient(url, limits)
        self.url, self._capabilities_answer = self._find_base_url()
        self.table_coverages: list[CheckedRowCoverage] = []
        self.samples_by_table: dict[str, Any] = {}

    def _find_base_url(self) -> tuple[str, HttpAnswer]:
        """Find the base address by its capabilities.

        Raises
        ------
        ServiceNotCheckableError
            There is none; the message tells what each address answers.
        """
        base_url = self.given_url
        for suffix in RESOURCE_SUFFIXES:
            if self.given_url.endswith(suffix):
                base_url = self.given_url.removesuffix(suffix)
                break
        failed_urls = []
        for candidate_url in dict.fromkeys((base_url, f"{base_url}/tap")):
            try:
                answer = self.client.send_get(f"{candidate_url}/capabilities")
            except UserError as error:
                raise ServiceNotCheckableError(f"{candidate_url}: {error.message}", remedy=error.remedy) from error
            if answer.status != 200:
                failed_urls.append(f"{candidate_url}/capabilities returns status {answer.status}")
                continue
            try:
                root = xml_documents.parse_xml(answer.body)
            except NotXmlError as error:
                failed_urls.append(f"{candidate_url}/capabilities is not XML: {error}")
                continue
            if get_local_name(root) == "capabilities":
                return candidate_url, answer
            failed_urls.append(f"{candidate_url}/capabilities has the root <{get_local_name(root)}>")
        raise ServiceNotCheckableError(
            "no TAP service was found: " + "; ".join(failed_urls),
            remedy="give the base address of the TAP service, without /capabilities at its end",
        )

    @cached_property
    def capabilities(self) -> ServiceCapabilities:
        """The service's capabilities document, read."""
        xml = xml_documents.parse_xml(self._capabilities_answer.body)
        return parse_capabilities(xml, self._capabilities_answer)

    @property
    def tap_version(self) -> str:
        """Version of TAP, as the service declares it."""
        return self.capabilities.version

    @property
    def is_tap_1_0(self) -> bool:
        """True for TAP 1.0."""
        return self.capabilities.version != "1.1"

    @cached_property
    def _answers_by_name(self) -> dict[str, HttpAnswer]:
        return {"capabilities": self._capabilities_answer}

    def fetch_cached_document(self, name: str) -> HttpAnswer:
        """Fetch ``/name`` below the base address; the answer is cached."""
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
        """Send a query to /sync, and return the answer whatever it is."""
        form = self.build_query_form(adql, maxrec, **extra_params)
        url = f"{self.url}/sync"
        if method == "GET":
            return self.client.send_get(url, form)
        return self.client.send_post(url, form)

    def run_query(self, adql: str, maxrec: int | None = None) -> VOTableDocument:
        """Send a query to /sync, and return its table.

        Raises
        ------
        QueryRefusedError
            The answer is an error document, has another status than 200, or is no VOTable.
        UserError
            There is no answer.
        """
        answer = self.send_query(adql, maxrec)
        try:
            votable_document = votable.parse_votable(answer.body)
        except NotXmlError as error:
            raise QueryRefusedError(f"the response with status {answer.status} is not a VOTable: {error}") from error
        if votable_document.error_message is not None:
            raise QueryRefusedError(votable_document.error_message or f"status {answer.status} without a message")
        if answer.status != 200:
            raise QueryRefusedError(f"status {answer.status}")
        return votable_document

    def query_number(self, adql: str) -> int | None:
        """Send a query for one number; None: the service does not return it."""
        try:
            rows = self.run_query(adql).rows
            return int(rows[0][0])
        except (UserError, LookupError, TypeError, ValueError):
            return None

    # --- metadata ----------------------------------------------------------------------------------------------

    @cached_property
    def tap_schema_rows(self) -> dict[str, list[dict[str, Any]]]:
        """Rows of TAP_SCHEMA's tables, as records.

        A table that cannot be read is missing; `schema_faults` has the reason.
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
        """Tables by name in lower case: those of TAP_SCHEMA if it can be read, else those of /tables."""
        rows = self.tap_schema_rows
        if "tables" not in rows or "columns" not in rows:
            return self.listed_tables or {}
        columns_by_table: dict[str, list[DeclaredColumn]] = {}
        xtypes = {}
        if not any("xtype" in row for row in rows["columns"][:1]):  # TAP 1.0 has them in /tables alone
            xtypes = self._map_listed_xtypes()
        for row in rows["columns"]:
            table_name = normalize_identifier(_get_row_text(row, "table_name"))
            column_name = normalize_identifier(_get_row_text(row, "column_name"))
            xtype = _get_row_text(row, "xtype") or xtypes.get((table_name, column_name), "")
            columns_by_table.setdefault(table_name, []).append(_build_declared_column(row, xtype))
        tables_by_name = {}
        for row in rows["tables"]:
            name = _get_row_text(row, "table_name")
            tables_by_name[normalize_identifier(name)] = DeclaredTable(
                name=name,
                schema=_get_row_text(row, "schema_name"),
                kind=_get_row_text(row, "table_type"),
                utype=_get_row_text(row, "utype"),
                description=_get_row_text(row, "description"),
                columns=tuple(columns_by_table.get(normalize_identifier(name), ())),
            )
        return tables_by_name

    def _map_listed_xtypes(self) -> dict[tuple[str, str], str]:
        xtypes = {}
        for table in (self.listed_tables or {}).values():
            for column in table.columns:
                xtypes[table.comparison_name, column.comparison_name] = column.xtype
        return xtypes

    @cached_property
    def listed_tables(self) -> dict[str, DeclaredTable] | None:
        """Tables of /tables by name in lower case; None: there is no such document."""
        root = None
        try:
            answer = self.fetch_cached_document("tables")
            if answer.status == 200:
                root = xml_documents.parse_xml(answer.body)
        except (UserError, NotXmlError):
            return None
        if root is None or get_local_name(root) != "tableset":
            return None
        tables_by_name = {}
        for schema in root.findall("{*}schema"):
            for table in schema.findall("{*}table"):
                listed_table = _parse_vosi_table(table, xml_documents.get_element_text(schema, "name"))
                if not listed_table.columns:
                    listed_table = self._fetch_table_document(listed_table)
                tables_by_name[listed_table.comparison_name] = listed_table
        return tables_by_name

    def _fetch_table_document(self, table: DeclaredTable) -> DeclaredTable:
        """Fetch the document of one table, which VOSI 1.1 has if the list is without columns."""
        try:
            answer = self.client.send_get(f"{self.url}/tables/{table.name}")
            root = xml_documents.parse_xml(answer.body)
        except (UserError, NotXmlError):
            return table
        if answer.status == 200 and get_local_name(root) == "table":
            return _parse_vosi_table(root, table.schema)
        return table

    @cached_property
    def foreign_keys(self) -> dict[str, frozenset[str]]:
        """Foreign keys of TAP_SCHEMA by table name in lower case, each as ``column -> table.column``."""
        pairs_by_key: dict[str, list[tuple[str, str]]] = {}
        for row in self.tap_schema_rows.get("key_columns", ()):
            pair = (
                normalize_identifier(_get_row_text(row, "from_column")),
                normalize_identifier(_get_row_text(row, "target_column")),
            )
            pairs_by_key.setdefault(_get_row_text(row, "key_id"), []).append(pair)
        key_rows = {_get_row_text(row, "key_id"): row for row in self.tap_schema_rows.get("keys", ())}
        keys_by_table: dict[str, set[str]] = {}
        for key_id, row in key_rows.items():
            table_name = normalize_identifier(_get_row_text(row, "from_table"))
            target = normalize_identifier(_get_row_text(row, "target_table"))
            foreign_key = _format_foreign_key(target, pairs_by_key.get(key_id, []))
            keys_by_table.setdefault(table_name, set()).add(foreign_key)
        return {name: frozenset(keys) for name, keys in keys_by_table.items()}

    def list_tables(self, *, without_tap_schema: bool = True) -> list[DeclaredTable]:
        """Return the declared tables; `without_tap_schema` leaves those of TAP_SCHEMA out."""
        tables = []
        for name, table in self.declared_tables.items():
            if not without_tap_schema or not name.startswith("tap_schema."):
                tables.append(table)
        return tables


def _build_declared_column(row: dict[str, Any], xtype: str) -> DeclaredColumn:
    """Build a column from its row in TAP_SCHEMA.columns."""
    flags = frozenset(name for name in ("indexed", "principal", "std") if str(row.get(name)) == "1")
    texts = {key: _get_row_text(row, key) for key in ("datatype", "arraysize", *COLUMN_TEXT_KEYS)}
    return DeclaredColumn(name=_get_row_text(row, "column_name"), xtype=xtype, flags=flags, **texts)


def _parse_vosi_table(element: Any, schema: str) -> DeclaredTable:
    """Parse a table of VOSI."""
    return DeclaredTable(
        name=xml_documents.get_element_text(element, "name"),
        schema=schema,
        kind=element.get("type", ""),
        utype=xml_documents.get_element_text(element, "utype"),
        description=xml_documents.get_element_text(element, "description"),
        columns=tuple(map(_parse_vosi_column, element.findall("{*}column"))),
        foreign_keys=frozenset(map(_parse_foreign_key, element.findall("{*}foreignKey"))),
    )


def _parse_vosi_column(element: Any) -> DeclaredColumn:
    datatype, arraysize, xtype = "", "", ""
    type_element = element.find("{*}dataType")
    if type_element is not None:
        datatype = xml_documents.get_element_text(type_element)
        arraysize = type_element.get("arraysize", "") or type_element.get("size", "")
        xtype = type_element.get("extendedType", "")
    flags = (xml_documents.get_element_text(flag_element).lower() for flag_element in element.findall("{*}flag"))
    return DeclaredColumn(
        datatype=datatype,
        arraysize=arraysize,
        xtype=xtype,
        flags=frozenset(flags),
        **{key: xml_documents.get_element_text(element, key) for key in ("name", *COLUMN_TEXT_KEYS)},
    )


def _parse_foreign_key(element: Any) -> str:
    pairs = []
    for pair_element in element.findall("{*}fkColumn"):
        own_column = normalize_identifier(xml_documents.get_element_text(pair_element, "fromColumn"))
        target_column = normalize_identifier(xml_documents.get_element_text(pair_element, "targetColumn"))
        pairs.append((own_column, target_column))
    target = normalize_identifier(xml_documents.get_element_text(element, "targetTable"))
    return _format_foreign_key(target, pairs)


def _format_foreign_key(target: str, pairs: list[tuple[str, str]]) -> str:
    return ", ".join(f"{column} -> {target}.{target_column}" for column, target_column in sorted(pairs))


def _get_row_text(row: dict[str, Any], column_name: str) -> str:
    value = row.get(column_name)
    if value is None:
        return ""
    return str(value)


def quote_column_name(name: str) -> str:
    """Return a column name for a query, in quotes if it needs them."""
    if name.startswith('"'):
        return name
    is_identifier = name.isascii() and name.replace("_", "a").isalnum() and name[:1].isalpha()
    if is_identifier and name.upper() not in RESERVED_WORDS:
        return name
    escaped_name = name.replace('"', '""')
    return f'"{escaped_name}"'


def format_first_key_value(record: dict[str, Any], names: Sequence[str]) -> str:
    """Return the first key column of a record that has a value, and the value."""
    for name in names:
        if record.get(name) is not None:
            return f"{name} = {record[name]}"
    return ""
