"""Read the rows of a list: pasted lines, the result of a query, or a table in a file."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven import query
from hven.model.errors import ParamError, TooLargeError
from hven.plugins.declared_jobs.declarations import check_parameter_value
from hven.query import uploads
from hven.site.auth import with_service_and_portal_policies

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pyarrow as pa

    from hven.jobs import RunningJob
    from hven.model.params import Param
    from hven.model.table import Column

LIST_PARAMETER, TABLE_PARAMETER = "LIST", "TABLE"
MAX_LIST_ROWS = 10_000  # whatever a list type says; so few rows can be checked one by one
_QUERY_PATTERN = re.compile(r"\s*(SELECT|WITH)\s", re.IGNORECASE)
_SEPARATOR_PATTERNS = (re.compile(r" *\t *"), re.compile(r"\s*[,;]\s*"), re.compile(r"\s+"))
_UCDS_BY_NAME = {"RA": "pos.eq.ra", "DEC": "pos.eq.dec"}


@dataclass(frozen=True, slots=True, kw_only=True)
class RowSchema:
    """The columns of the rows that a list type takes.

    Attributes
    ----------
    columns
        The columns, as parameters.
    patterns
        Patterns of the values of some columns.
    row_limit
        Largest number of rows.
    """

    columns: Sequence[Param]
    patterns: dict[str, re.Pattern[str]]
    row_limit: int

    def is_query(self, text: str) -> bool:
        """Return whether the text of a list is a query."""
        return _QUERY_PATTERN.match(text) is not None

    def parse_lines(self, text: str) -> list[list[str]]:
        """Parse pasted lines, such as ``197.87 -1.33``.

        The first line may name the columns. Otherwise, the values are in the order of the declaration, and the last
        optional ones may be missing. Tabs separate the values if there are any, or else commas and semicolons, or else
        blanks; a list with one column has one value on a line. Blank lines, and lines that begin with ``#``, are left
        out.

        Parameters
        ----------
        text
            The lines.

        Returns
        -------
        rows
            For each row, the text of each column; empty: no value.

        Raises
        ------
        ParamError, TooLargeError
            There are no lines or too many, or a line is wrong; the message names the line.
        """
        self._check_row_count(text.count("\n") - 1 if "\n" in text else 0)
        numbered_lines = [
            (number, line.strip(" "))
            for number, line in enumerate(text.splitlines(), 1)
            if line.strip() and not line.lstrip().startswith("#")
        ]
        order = list(range(len(self.columns)))
        separator = self._find_separator(text)
        if numbered_lines:
            header_order = self._find_header_order(_split_line(numbered_lines[0][1], separator))
            if header_order is not None:
                order = header_order
                numbered_lines = numbered_lines[1:]
        self._check_row_count(len(numbered_lines))
        rows = []
        for number, line in numbered_lines:
            place = f"line {number} of {LIST_PARAMETER} ({line!r:.60})"
            values = _split_line(line, separator)
            if len(values) > len(order):
                remedy = f"write the columns {', '.join(self.columns[index].name for index in order)} in this order"
                message = f"{place} has {len(values)} values, but the number of columns is {len(order)}"
                raise _build_row_error(message, remedy)
            row = [""] * len(self.columns)
            for index, value in zip(order, values, strict=False):
                row[index] = value
            rows.append(self._check_row(row, place))
        return rows

    def convert_table(self, columns: Sequence[Column], table: pa.Table) -> list[list[str]]:
        """Take the rows of a table; its columns are found by their names, and positions also by their UCDs.

        Parameters
        ----------
        columns
            The columns of the table.
        table
            Its rows.

        Returns
        -------
        rows
            As `parse_lines` returns them.

        Raises
        ------
        ParamError, TooLargeError
            A column is missing, there are no rows or too many, or a value is wrong; the message names the row.
        """
        self._check_row_count(table.num_rows)
        texts_by_column = []
        for param in self.columns:
            position = _find_column(param, columns)
            if position is not None:
                texts_by_column.append([_write_value(value) for value in table.column(position).to_pylist()])
                continue
            if param.required:
                names = ", ".join(column.name for column in columns[:20])
                raise _build_row_error(
                    f"the table has no column {param.name}", f"rename one of its columns: {names}", TABLE_PARAMETER
                )
            texts_by_column.append([""] * table.num_rows)
        rows = [list(row) for row in zip(*texts_by_column, strict=True)]
        return [self._check_row(row, f"row {number} of the table") for number, row in enumerate(rows, 1)]

    def _find_separator(self, text: str) -> re.Pattern[str] | None:
        if len(self.columns) == 1:
            return None
        return next((pattern for pattern in _SEPARATOR_PATTERNS if pattern.search(text)), None)

    def _find_header_order(self, words: Sequence[str]) -> list[int] | None:
        """Return the columns that a line names; None if it does not name all that are required."""
        names = [param.name for param in self.columns]
        upper_words = [word.strip('"').upper() for word in words]
        if not all(word in names for word in upper_words):
            return None
        if any(param.required and param.name not in upper_words for param in self.columns):
            return None
        return [names.index(word) for word in upper_words]

    def _check_row_count(self, row_count: int) -> None:
        if row_count > self.row_limit:
            raise TooLargeError(
                f"the list has too many rows; the limit is {self.row_limit:,} rows",
                remedy="split the list into several jobs",
            )

    def _check_row(self, row: list[str], place: str) -> list[str]:
        for param, text in zip(self.columns, row, strict=True):
            if not text:
                if param.required:
                    raise _build_row_error(f"{place}: {param.name} is missing", param.description or "give it a value")
                continue
            try:
                check_parameter_value(param, text, self.patterns.get(param.name))
            except ParamError as error:
                raise _build_row_error(f"{place}: {error.message}", error.remedy) from error
        return row


def read_list_rows(running_job: RunningJob, schema: RowSchema) -> list[list[str]]:
    """Read the rows of a list job from its parameters, a query with the rights of its owner, or its file.

    Parameters
    ----------
    running_job
        The list job.
    schema
        The columns of the rows.

    Returns
    -------
    rows
        As `RowSchema.parse_lines` returns them.

    Raises
    ------
    ParamError
        There are no rows.
    """
    text = "\n".join(running_job.params.read_all(LIST_PARAMETER))
    files = running_job.input_files
    part_name = next((name for name in (TABLE_PARAMETER, LIST_PARAMETER) if name in files), None)
    if part_name is not None:
        reference = uploads.UploadReference(name="list", uri=f"param:{part_name}")
        tables = uploads.read_uploads([reference], files, running_job.site.settings)
        [(table, arrow_table)] = tables.values()
        rows = schema.convert_table(table.columns, arrow_table)
    elif schema.is_query(text):
        rows = _run_row_query(running_job, schema, text)
    else:
        rows = schema.parse_lines(text)
    if not rows:
        raise _build_row_error("the list has no rows", "send at least one row")
    return rows


def _run_row_query(running_job: RunningJob, schema: RowSchema, text: str) -> list[list[str]]:
    policies = with_service_and_portal_policies(tuple(running_job.policies), "tap")
    with query.run_query(
        text,
        running_job.principal,
        site=running_job.site,
        maxrec=schema.row_limit + 1,
        policies=policies,
    ) as result:
        running_job.set_stop_function(result.cancel)
        running_job.record_result_tables(table.qualified_name for table in result.tables)
        rows = result.read_table()
        if result.failure is not None:
            raise result.failure
        return schema.convert_table(result.columns, rows)


def write_lines(columns: Sequence[Param], rows: Sequence[Sequence[str]]) -> str:
    """Write rows as lines that `RowSchema.parse_lines` reads, below a line with the names of the columns.

    Parameters
    ----------
    columns
        The columns.
    rows
        The text of each value.
    """
    lines = ["\t".join(column.name for column in columns)]
    lines += ["\t".join(" ".join(text.split()) for text in row) for row in rows]
    return "\n".join(lines)


def _split_line(line: str, separator: re.Pattern[str] | None) -> list[str]:
    if separator is None:
        return [line]
    return separator.split(line)


def _find_column(param: Param, columns: Sequence[Column]) -> int | None:
    for position, column in enumerate(columns):
        if column.name.upper() == param.name:
            return position
    ucd = _UCDS_BY_NAME.get(param.name, "-")
    positions = [position for position, column in enumerate(columns) if (column.ucd or "").lower().startswith(ucd)]
    if positions:
        return positions[0]
    return None


def _write_value(value: object) -> str:
    """Write a value of a table as the value of a parameter."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        return str(int(value))
    return str(value).strip()


def _build_row_error(message: str, remedy: str, name: str = LIST_PARAMETER) -> ParamError:
    return ParamError(message, name=name, remedy=remedy)
