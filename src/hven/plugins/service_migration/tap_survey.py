"""Survey a TAP service: VOSI documents, TAP_SCHEMA, and what its answers really contain."""

from __future__ import annotations

import re
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from hven.descriptor.api.table_descriptions import TableDescriptionRequest
from hven.model import plugins
from hven.model.errors import HvenError, SourceError
from hven.plugins.drafts.descriptions import tap_tables
from hven.plugins.service_migration.service_survey import SurveyedTable
from hven.plugins.service_migration.vosi_documents import (
    VosiTable,
    find_row_limit,
    list_examples,
    list_interfaces,
    list_vosi_tables,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hven.descriptor.api.table_descriptions import DescribedTable
    from hven.model.table import Column
    from hven.plugins.service_migration.remote_documents import RemoteDocument, RemoteDocumentReader
    from hven.plugins.service_migration.service_survey import ServiceSurvey
    from hven.sources import SourceContext

TAP_STANDARD_ID = "ivo://ivoa.net/std/tap"
# vollt's own address of a schema, in its documents of tables
VOLLT_MARK, MARK_BYTES = b"vo.ari.uni-heidelberg.de/docs/schemata/VOSITables", 4096
MAX_KEY_CANDIDATES = 4  # columns of a table whose distinct values are counted
KEY_NAMES = ("granule_uid", "obs_publisher_did", "accref", "source_id", "id", "recno")
# columns whose first value decides how a table is described
SAMPLED_COLUMNS = {"spatial_frame_type", "access_url", "service_title"}


def find_tap_capabilities(url: str, documents: RemoteDocumentReader) -> tuple[str, RemoteDocument] | None:
    """Find the TAP service at an address or below it.

    Parameters
    ----------
    url
        Address of the TAP service, or of its server.
    documents
        Fetches documents.

    Returns
    -------
    service
        Address of the TAP service, and its capabilities; None: there is none.
    """
    base = re.sub(r"/(sync|async|tables|capabilities|availability|examples)?/?$", "", url)
    for candidate in dict.fromkeys((base, f"{base}/tap")):
        document = documents.find(f"{candidate}/capabilities")
        if document is None:
            continue
        try:
            interfaces = list_interfaces(document.parse_xml())
        except SourceError:
            continue
        if any(standard.lower().startswith(TAP_STANDARD_ID) for standard, _ in interfaces):
            return candidate, document
    return None


class TapSurveyor:
    """Asks a TAP service about its tables.

    Parameters
    ----------
    survey
        Takes the results.
    documents
        Fetches documents.
    context
        Opens tables.
    """

    def __init__(self, survey: ServiceSurvey, documents: RemoteDocumentReader, context: SourceContext) -> None:
        self._survey = survey
        self._documents = documents
        self._context = context
        self._source_kind: Any = plugins.load_plugin("sources", "tap")

    def inspect_documents(self, capabilities: RemoteDocument) -> None:
        """Read the service's documents.

        Parameters
        ----------
        capabilities
            Its capabilities.
        """
        self._survey.program = "TAP"
        if capabilities.headers.get("server", "").startswith("DaCHS"):
            self._survey.program = "DaCHS"
        root = capabilities.parse_xml()
        self._survey.interfaces = list_interfaces(root)
        self._survey.row_limit = find_row_limit(root)
        document = self._documents.find(f"{self._survey.url}/examples")
        if document is not None:
            try:
                self._survey.examples = list_examples(document.parse_xml())
            except SourceError as error:
                self._survey.problems.append(f"the examples were not read: {error.message}")

    def inspect_tables(self, pattern: str, save: Callable[[], None]) -> None:
        """Ask about each table that an earlier survey has not read.

        Parameters
        ----------
        pattern
            Name of the tables, perhaps with ``*``.
        save
            Called after each table.

        Raises
        ------
        SourceError
            The service does not list its tables.
        """
        vosi_tables = self._read_vosi_tables()
        request = TableDescriptionRequest(
            name="migration", address=self._survey.url, table=pattern, context=self._context
        )
        described_tables = tap_tables.read_table_set_description(request).tables
        schema_names = {unquote_table_name(str(table.source["table"])) for table in described_tables}
        for name in sorted(vosi_tables.keys() - schema_names if pattern == "*" else ()):
            schemas = {name.lower().partition(".")[0], vosi_tables[name].schema.lower()}
            if f"{vosi_tables[name].schema}.{name}" not in schema_names and not schemas & tap_tables.SERVICE_SCHEMAS:
                self._survey.problems.append(f"VOSI lists the table {name}, but TAP_SCHEMA does not")
        for described in described_tables:
            name = unquote_table_name(str(described.source["table"]))
            if self._survey.has_read(name):
                continue
            vosi_table = vosi_tables.get(name) or vosi_tables.get(name.rpartition(".")[2], VosiTable())
            self._survey.tables[name] = self._inspect_table(described, vosi_table)
            save()

    def _read_vosi_tables(self) -> dict[str, VosiTable]:
        """Read VOSI's tables. Without them, TAP_SCHEMA has to be enough."""
        document = self._documents.find(f"{self._survey.url}/tables")
        if document is None:
            return {}
        if VOLLT_MARK in document.body[:MARK_BYTES] and self._survey.program == "TAP":
            self._survey.program = "vollt"
        try:
            tables = list_vosi_tables(document.parse_xml())
        except SourceError as error:
            self._survey.problems.append(f"the tables of VOSI were not read: {error.message}")
            return {}
        return {unquote_table_name(name): table for name, table in tables.items()}

    def _inspect_table(self, described: DescribedTable, vosi_table: VosiTable) -> SurveyedTable:
        *schema_parts, local_name = split_table_name(str(described.source["table"]))
        table = SurveyedTable(
            name=str(described.source["table"]),
            schema=".".join(schema_parts) or vosi_table.schema,
            local_name=local_name,
            title=vosi_table.title,
            description=choose_longer_text(described.description or "", vosi_table.description),
            utype=vosi_table.utype,
            primary=list(described.primary),
            foreign_keys={key: asdict(value) for key, value in described.keys.items()},
        )
        if not schema_parts and table.schema:
            table.problems.append(
                f"queries may name the table without its schema: Hven needs {table.schema}.{local_name}"
            )
        try:
            self._inspect_answers(table, described, vosi_table)
        except HvenError as error:
            table.failure = error.message
        return table

    def _inspect_answers(self, table: SurveyedTable, described: DescribedTable, vosi_table: VosiTable) -> None:
        """Compare what the service says of a table with what it sends."""
        options = {"url": self._survey.url, "table": table.name}
        source = self._source_kind.open(self._source_kind.Options(**options), self._context)
        columns = source.list_columns()
        stated_types = {column.name.lower(): str(column.type) for column in described.columns}
        for column in columns:
            table.columns[column.name] = _list_column_attributes(column)
            stated = stated_types.pop(column.name.lower(), None)
            if stated is None:
                table.problems.append(f"answers have the column {column.name}, which TAP_SCHEMA does not list")
            elif not _are_compatible_types(stated, str(column.type)):
                table.problems.append(f"{column.name} has the type {column.type}, but TAP_SCHEMA says {stated}")
        if stated_types:
            table.problems.append(f"answers don't have the columns {', '.join(sorted(stated_types))} of TAP_SCHEMA")
        vosi_names = {name.strip('"').lower() for name in vosi_table.column_names}
        answer_names = {name.lower() for name in table.columns}
        if vosi_names and vosi_names != answer_names:
            differing = ", ".join(sorted(vosi_names ^ answer_names))
            table.problems.append(f"VOSI and the answers have different columns: {differing}")
        sample = next(source.read_batches([name for name in table.columns if name in SAMPLED_COLUMNS] or None, 1), None)
        if sample is not None and sample.num_rows:
            values = sample.slice(0, 1).to_pylist()[0]
            table.sample = {name: str(value) for name, value in values.items() if name in SAMPLED_COLUMNS and value}
        table.row_count = source.estimate_progress_total()
        if table.row_count is None:
            table.problems.append("the service does not count its rows")
        elif vosi_table.row_count not in {None, table.row_count}:
            table.problems.append(f"VOSI states {vosi_table.row_count:,} rows, but COUNT(*) is {table.row_count:,}")
        key = self._find_key(table, source, columns)
        table.source = {"kind": "tap", **options, **({"key": key} if key else {})}

    def _find_key(self, table: SurveyedTable, source: Any, columns: list[Column]) -> str:
        """Find a column with another value in each row, by which rows are read page by page."""
        candidates: Iterator[str] = (
            name for name in dict.fromkeys(_list_key_candidates(table, columns)) if table.row_count
        )
        for _, name in zip(range(MAX_KEY_CANDIDATES), candidates, strict=False):
            if source.is_unique_key([name]):
                return name
        if table.row_count:
            table.problems.append(
                "no column has a different value in each row, so all rows come in one response: add `key` if the "
                "service truncates it"
            )
        return ""


def _list_key_candidates(table: SurveyedTable, columns: list[Column]) -> Iterator[str]:
    """Yield columns that may identify rows, the likeliest first."""
    comparable = [column for column in columns if str(column.type) not in {"float32", "bool"} and _is_scalar(column)]
    names = [column.name for column in comparable]
    if len(table.primary) == 1:
        yield from (name for name in names if name == table.primary[0])
    main_ids = [column for column in comparable if (column.ucd or "").lower().startswith(tap_tables.MAIN_ID_UCD)]
    yield from (column.name for column in sorted(main_ids, key=lambda column: not column.indexed))
    yield from (name for name in KEY_NAMES if name in names)
    yield from (column.name for column in comparable if column.indexed and not str(column.type).startswith("float"))
    yield from names[:1]


def _is_scalar(column: Column) -> bool:
    text = str(column.type)
    return "[" not in text or text.startswith(("char", "string", "unicode"))


def _list_column_attributes(column: Column) -> dict[str, Any]:
    """List the attributes of a column as a descriptor has them."""
    is_text = column.type.is_string and column.type.xtype is None
    attributes: dict[str, Any] = {"type": "string" if is_text else str(column.type)}
    texts = {"unit": column.unit, "ucd": column.ucd, "utype": column.utype, "description": column.description}
    attributes |= {name: text for name, text in texts.items() if text}
    if column.indexed:
        attributes["indexed"] = True
    return attributes


def _are_compatible_types(stated: str, sent: str) -> bool:
    """Return whether a type of TAP_SCHEMA is that of answers; lengths of texts and arrays do not matter."""
    first, second = (re.sub(r"\[.*|\(.*", "", text) for text in (stated, sent))
    texts = {"string", "char", "unicode", "unicodeChar"}
    are_texts = first in texts and second in texts
    return are_texts or first == second


def split_table_name(name: str) -> list[str]:
    """Split the name of a table into its parts, without the quotes that a query needs.

    Parameters
    ----------
    name
        The name as TAP_SCHEMA writes it.
    """
    parts = re.findall(r'"((?:[^"]|"")*)"|([^".]+)', name.strip())
    return [quoted.replace('""', '"') or plain for quoted, plain in parts] or [name]


def unquote_table_name(name: str) -> str:
    """Remove the quotes that a query needs from the name of a table.

    Parameters
    ----------
    name
        The name as TAP_SCHEMA writes it.
    """
    return ".".join(split_table_name(name))


def choose_longer_text(text: str, other_text: str) -> str:
    """Choose a text, or another one of which it is only the beginning: programs cut texts at 255 characters.

    Parameters
    ----------
    text, other_text
        The texts.
    """
    beginning = " ".join(text.split()).rstrip(" .\u2026")
    if " ".join(other_text.split()).startswith(beginning):
        return other_text
    return text
