"""Measure tables, and write their rows as lines of fixed width, by blocks."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING

import numpy as np

from hven.adql import quote_adql_name
from hven.model.errors import Fault, SourceError, TextPlace, TooLargeError, UsageError, suggest_spelling
from hven.plugins.schema_life.delivery.cds_units import write_cds_unit
from hven.plugins.schema_life.delivery.fixed_width_columns import create_fixed_width_column
from hven.plugins.schema_life.delivery.sexagesimal_columns import (
    PARTS_BY_UCD,
    SexagesimalColumn,
    find_sexagesimal_columns,
)
from hven.query import run_query

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import BinaryIO

    import pyarrow as pa

    from hven.model.resource import TableSpec
    from hven.model.table import Column, Table
    from hven.plugins.schema_life.delivery.fixed_width_columns import FixedWidthColumn
    from hven.site import PublishedState, Site
    from hven.site.auth import Principal
    from hven.site.store import Release

MAX_LABEL_CHARACTERS = 16
# https://vizier.cds.unistra.fr/doc/catstd-3.3.htx: error, reference, quality, lowest and highest value
PREFIXES_BY_ROLE = {"error": "e_", "origin": "r_", "confidence": "q_", "lower": "b_", "upper": "B_"}
MAX_EXPORT_SECONDS = 24 * 3600.0
BLOCK_ROWS = 65_536
DEFAULT_MAX_WIDTH_BYTES = 256  # wider columns are texts that belong to notes
_LABEL_GAP_PATTERN = re.compile(r"[^\x21-\x7e]+")


class ExportDestination(StrEnum):
    """Who gets the files."""

    CDS = "cds"
    MRT = "mrt"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredColumn:
    """A column of a file.

    Attributes
    ----------
    column
        The column of the table.
    label
        Its name in the file, with at most `MAX_LABEL_CHARACTERS`.
    cells
        Writes its values.
    unit
        Its unit as CDS writes it; None if CDS has no such unit.
    part_title
        What it is of an angle that is divided into several columns, such as its minute; empty: a whole value.
    has_role_label
        Whether the label is the one that CDS uses for the column's role: ``e_V`` for the error of V.
    """

    column: Column
    label: str
    cells: FixedWidthColumn
    unit: str | None
    part_title: str = ""
    has_role_label: bool = False


class UndeliverableTableError(SourceError):
    """Columns of a table cannot be written into a file of fixed width.

    Parameters
    ----------
    faults
        One for each column.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        messages = "; ".join(fault.message for fault in faults)
        remedies = "; ".join(dict.fromkeys(fault.remedy for fault in faults))
        super().__init__(messages, place=faults[0].place, remedy=remedies)
        self.faults = faults


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveredTable:
    """A table that becomes a file, after its values were measured.

    Attributes
    ----------
    table
        The table.
    columns
        The columns of the file.
    row_count
        Number of rows.
    flag_bits
        For a column of flags: its name, and the meanings of its bits.
    """

    table: Table
    columns: Sequence[DeliveredColumn]
    row_count: int
    flag_bits: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    @property
    def record_bytes(self) -> int:
        """Number of bytes of a line, without its end."""
        return sum(column.cells.width for column in self.columns) + len(self.columns) - 1

    def list_byte_ranges(self) -> list[tuple[int, int]]:
        """List the first and the last byte of each column, counted from 1."""
        ranges = []
        start = 1
        for column in self.columns:
            end = start + column.cells.width - 1
            ranges.append((start, end))
            start = end + 2
        return ranges


class TableExporter:
    """Reads tables twice from one published state: to measure their values, and to write them.

    Parameters
    ----------
    site
        The site.
    published_state
        The state that both passes read.
    principal
        The user, whose rights apply.
    """

    def __init__(self, site: Site, published_state: PublishedState, principal: Principal) -> None:
        self._site = site
        self._published_state = published_state
        self._principal = principal

    def measure_table(
        self, table: Table, omitted_names: Sequence[str], max_width: int, *, has_sexagesimal_positions: bool = False
    ) -> DeliveredTable:
        """Read all values, and find how wide the columns of the file are.

        Parameters
        ----------
        table
            The table.
        omitted_names
            Names of columns that the file does not have.
        max_width
            Bytes of the widest column that is allowed.
        has_sexagesimal_positions
            Whether the position of the table is written in hours, degrees, minutes and seconds.

        Raises
        ------
        UndeliverableTableError
            Columns have values that cannot be written, or are too wide.
        SourceError
            No columns are left.
        TooLargeError
            The table has more rows than a query may return.
        """
        columns = [column for column in table.columns if not column.hidden and column.name not in omitted_names]
        if not columns:
            raise SourceError(f"no columns of {table.qualified_name} are left", remedy="omit fewer columns")
        angles = find_sexagesimal_columns(columns) if has_sexagesimal_positions else {}
        delivered_columns = self._create_all_columns(table, columns, angles)
        row_count = 0
        for batch in self._iterate_blocks(table, columns):
            row_count += batch.num_rows
            for delivered_column in delivered_columns:
                delivered_column.cells.measure(batch.column(delivered_column.column.name))
        faults = []
        for delivered_column in delivered_columns:
            cells = delivered_column.cells
            if cells.width > max_width:
                message = f"{cells.name} needs {cells.width:,} bytes in each line; the limit is {max_width:,}"
                remedy = f"{_write_omission_remedy(cells.name)}, or allow more with --max-width"
                faults.append(self._build_fault(table, cells.name, message, remedy))
        if faults:
            raise UndeliverableTableError(faults)
        flag_bits = self._find_flag_bits(table)
        return DeliveredTable(table=table, columns=delivered_columns, row_count=row_count, flag_bits=flag_bits)

    def _create_all_columns(
        self, table: Table, columns: Sequence[Column], angles: Mapping[str, str]
    ) -> list[DeliveredColumn]:
        """Create the columns of the file, with their labels.

        Raises
        ------
        UndeliverableTableError
            Columns have values that cannot be written.
        """
        faults = []
        delivered_columns: list[DeliveredColumn] = []
        role_labels = choose_role_labels(table)
        for column in columns:
            try:
                new_columns = _create_delivered_columns(column, angles.get(column.name))
            except SourceError as error:
                remedy = _write_omission_remedy(column.name)
                faults.append(self._build_fault(table, column.name, error.message, remedy))
                continue
            if len(new_columns) == 1 and column.name in role_labels:
                new_columns = [replace(new_columns[0], label=role_labels[column.name], has_role_label=True)]
            delivered_columns += new_columns
        if faults:
            raise UndeliverableTableError(faults)
        labels = choose_labels([delivered_column.label for delivered_column in delivered_columns])
        return [
            replace(delivered_column, label=label)
            for delivered_column, label in zip(delivered_columns, labels, strict=True)
        ]

    def _build_fault(self, table: Table, column_name: str, message: str, remedy: str) -> Fault:
        place = TextPlace()
        for table_spec in self._list_specs(table):
            place = table_spec.column_places.get(column_name, place)
        return Fault(message=f"{table.qualified_name}: {message}", place=place, remedy=remedy)

    def _list_specs(self, table: Table) -> list[TableSpec]:
        """List what the descriptor says of a table; nothing if there is no descriptor."""
        resource = self._published_state.resources.get(table.schema)
        return [] if resource is None else [spec for spec in resource.tables if spec.table.name == table.name]

    def _find_flag_bits(self, table: Table) -> dict[str, dict[int, str]]:
        """Find the column of flags of a table, and what its bits mean."""
        for table_spec in self._list_specs(table):
            flags = table_spec.flags
            if flags is not None:
                messages = {rule.name: rule.message or rule.name for rule in table_spec.rules}
                return {flags.column: {bit: messages.get(rule, rule) for rule, bit in flags.bits.items()}}
        return {}

    def write_rows(self, delivered_table: DeliveredTable, file: BinaryIO) -> None:
        """Write the lines of a table.

        Parameters
        ----------
        delivered_table
            The table, as it was measured.
        file
            The file.

        Raises
        ------
        DataError
            Another program changed the values meanwhile.
        """
        columns = list({column.column.name: column.column for column in delivered_table.columns}.values())
        ranges = delivered_table.list_byte_ranges()
        for batch in self._iterate_blocks(delivered_table.table, columns):
            lines = np.full((batch.num_rows, delivered_table.record_bytes + 1), ord(" "), np.uint8)
            lines[:, -1] = ord("\n")
            for column, (start, end) in zip(delivered_table.columns, ranges, strict=True):
                lines[:, start - 1 : end] = column.cells.write_cells(batch.column(column.column.name))
            file.write(lines.data)

    def list_releases(self, collection: str) -> list[Release]:
        """List the releases of a collection.

        Parameters
        ----------
        collection
            Name of the collection.
        """
        return self._site.store.releases.list_releases(collection)

    def _iterate_blocks(self, table: Table, columns: Sequence[Column]) -> Iterator[pa.RecordBatch]:
        names = ", ".join(quote_adql_name(column.name) for column in columns)
        query = f"SELECT {names} FROM {quote_adql_name(table.schema)}.{quote_adql_name(table.name)}"
        limits = self._site.settings.limits
        result = run_query(
            query,
            self._principal,
            site=self._site,
            maxrec=limits.maxrec_hard,
            timeout_seconds=MAX_EXPORT_SECONDS,
            published_state=self._published_state,
        )
        with result:
            for batch in result.iterate_batches():
                for start in range(0, batch.num_rows, BLOCK_ROWS):
                    yield batch.slice(start, BLOCK_ROWS)
        if result.overflow:
            raise TooLargeError(
                f"{table.qualified_name} has more than {limits.maxrec_hard:,} rows",
                remedy="raise limits.maxrec_hard in hven.toml",
            )


def _create_delivered_columns(column: Column, angle_ucd: str | None) -> list[DeliveredColumn]:
    """Create the column of a file, or the columns of an angle; their labels are chosen later."""
    if angle_ucd is not None:
        return [
            DeliveredColumn(
                column=column,
                label=part.label,
                cells=SexagesimalColumn(column.name, part),
                unit=part.unit,
                part_title=part.title,
            )
            for part in PARTS_BY_UCD[angle_ucd]
        ]
    cells = create_fixed_width_column(column.name, column.type.arrow)
    return [DeliveredColumn(column=column, label=column.name, cells=cells, unit=write_cds_unit(column.unit))]


def _write_omission_remedy(name: str) -> str:
    return f"leave the column out with --omit {name}"


def choose_role_labels(table: Table) -> dict[str, str]:
    """Choose the labels that CDS uses for the columns of a quantity: ``e_V``, ``r_V``, ``q_V``, ``b_V``, ``B_V``.

    Parameters
    ----------
    table
        The table.

    Returns
    -------
    labels
        Names of columns -> labels, without columns that are called so, and without labels that other columns have.
    """
    names = {column.name.lower() for column in table.columns if not column.hidden}
    labels: dict[str, str] = {}
    for group in table.groups:
        value_name = group.roles.get("value")
        for role, prefix in PREFIXES_BY_ROLE.items():
            column_name = group.roles.get(role)
            if value_name is None or column_name is None or column_name in labels:
                continue
            label = f"{prefix}{value_name}"
            if label.lower() not in names and len(label) <= MAX_LABEL_CHARACTERS:
                labels[column_name] = label
    return labels


def choose_labels(names: Sequence[str]) -> list[str]:
    """Choose labels of at most `MAX_LABEL_CHARACTERS`, which differ also without regard to case.

    Only the prefixes ``b_`` and ``B_`` differ by case alone: CDS uses them for the bounds of a value.

    Parameters
    ----------
    names
        Names of columns.

    Returns
    -------
    labels
        A label for each name; a name that is short enough is its own label.
    """
    cleaned_names = [_LABEL_GAP_PATTERN.sub("_", name) for name in names]
    used_labels = {_fold_label(name) for name in cleaned_names if len(name) <= MAX_LABEL_CHARACTERS}
    seen_names: set[str] = set()
    labels = []
    for name in cleaned_names:
        label = name
        number = 1
        is_taken = len(name) > MAX_LABEL_CHARACTERS or _fold_label(name) in seen_names
        while is_taken:
            number += 1
            suffix = str(number)
            label = name[: MAX_LABEL_CHARACTERS - len(suffix)] + suffix
            is_taken = _fold_label(label) in used_labels
        seen_names.add(_fold_label(name))
        used_labels.add(_fold_label(label))
        labels.append(label)
    return labels


def _fold_label(label: str) -> str:
    """Return a label in lower case, but for the prefix of a bound."""
    if label[:2] == PREFIXES_BY_ROLE["upper"]:
        return label[:2] + label[2:].lower()
    return label.lower()


def select_delivered_tables(name: str, tables: Sequence[Table]) -> list[Table]:
    """Select the tables of a collection, or one table.

    Parameters
    ----------
    name
        Name of a collection, or of a table with its schema.
    tables
        All tables that the user sees.

    Raises
    ------
    UsageError
        There is no such table.
    """
    selected_tables = [table for table in tables if name in {table.schema, table.qualified_name}]
    if not selected_tables:
        known_names = [known for table in tables for known in (table.schema, table.qualified_name)]
        remedy = suggest_spelling(name, known_names) or "run `hven status` to see all collections"
        raise UsageError(f"there is no published collection or table {name!r:.80}", remedy=remedy)
    return selected_tables
