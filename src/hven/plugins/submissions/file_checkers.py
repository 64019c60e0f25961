"""Checkers of submitted files: what is wrong with a file, and which rows it gives.

A package offers a checker in a module of the extension point ``submissions.checkers``: its ``CHECKER`` is a
`FileChecker`. This package has the checkers of FITS files, and of CSV and JSON files with rows.
"""

from __future__ import annotations

import gzip
import io
import zlib
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import orjson
import pyarrow as pa
import pyarrow.csv

from hven.model import plugins
from hven.model.errors import SourceError, UserError, format_message
from hven.sources.fits_headers import BLOCK_BYTES, HduHeader, read_next_hdu_header

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

CHECKER_POINT = "submissions.checkers"
ERROR, WARNING = "error", "warning"
MAX_SHEET_ROWS = 5_000  # of a CSV file
MAX_SHEET_BYTES = 16 << 20
UNREADABLE_RULE = "FILE_LOAD"
NAME_RULE = "name"
MAX_FITS_HDUS = 1_000
MAX_UNPACKED_BYTES = 1 << 30  # data of a compressed FITS file
GZIP_MAGIC = b"\x1f\x8b"
FITS_EXTENSIONS = (".fits", ".fit", ".fts", ".fits.gz")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileFinding:
    """What a checker found in a file.

    Attributes
    ----------
    rule
        Name of the rule.
    severity
        ``error``, ``warning`` or ``info``.
    message
        What is wrong.
    place
        Where in the file: a table, keyword or column.
    section
        Section of the standard that has the rule; empty: unknown.
    count
        Number of values.
    rows
        The first rows, from 1.
    repairable
        Whether the checker can repair it.
    """

    rule: str
    severity: str
    message: str
    place: str = ""
    section: str = ""
    count: int = 1
    rows: Sequence[int] = ()
    repairable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Convert the finding to JSON values."""
        return asdict(self) | {"rows": list(self.rows)}


@dataclass(frozen=True, slots=True, kw_only=True)
class FileChecker:
    """A checker of files of one kind.

    Attributes
    ----------
    name
        Name of the kind, as descriptors write it.
    extensions
        Possible ends of names. Other names are refused, because browsers would take the file for something else.
    check_file
        Checks a file by a profile of severities, and returns what is wrong. It never fails because of the file.
    read_rows
        Reads the values of the rows that the file gives; a `SourceError` says why it cannot.
    write_repaired_file
        Writes a copy without the faults that can be repaired, and returns the rules that the file broke; None: no
        fault can be repaired.
    """

    name: str
    extensions: tuple[str, ...]
    check_file: Callable[[Path, str], Sequence[FileFinding]]
    read_rows: Callable[[Path], Sequence[Mapping[str, Any]]]
    write_repaired_file: Callable[[Path, Path], Sequence[str]] | None = None


def find_file_checker(kind: str, file_name: str) -> FileChecker:
    """Find the checker of a file: that of CSV and JSON by the name of the file, others by the kind in the descriptor.

    Parameters
    ----------
    kind
        Kind of the files.
    file_name
        Name of the file.

    Raises
    ------
    UserError
        No package has a checker of this kind.
    """
    if file_name.lower().endswith(".csv"):
        return CSV_CHECKER
    if file_name.lower().endswith(".json"):
        return JSON_CHECKER
    if kind == FITS_CHECKER.name:
        return FITS_CHECKER
    for module in plugins.load_extensions(CHECKER_POINT):
        checker: FileChecker = module.CHECKER
        if checker.name == kind:
            return checker
    message = format_message("there is no checker for {kind} files", kind)
    raise UserError(message, remedy="ask the site's operators to install the package that contains it")


def check_file_name(checker: FileChecker, name: str) -> list[FileFinding]:
    """Check that a file has a name of its kind, so that nobody publishes a page for browsers.

    Parameters
    ----------
    checker
        Checker of the file.
    name
        Its name.
    """
    if name.lower().endswith(checker.extensions):
        return []
    message = format_message("the name must end with one of {extensions}", ", ".join(checker.extensions))
    return [FileFinding(rule=NAME_RULE, severity=ERROR, message=message)]


def build_unreadable_finding(error: Exception) -> FileFinding:
    """Build the finding of a file that cannot be read.

    Parameters
    ----------
    error
        Why.
    """
    message = error.message if isinstance(error, UserError) else str(error)
    return FileFinding(rule=UNREADABLE_RULE, severity=ERROR, message=message)


def _read_whole_fits_headers(path: Path) -> list[HduHeader]:
    """Read the headers of a file; a `SourceError` says that it is damaged or ends within its data."""
    headers: list[HduHeader] = []
    remaining_bytes = MAX_UNPACKED_BYTES
    try:
        with path.open("rb") as plain_file:
            is_compressed = plain_file.read(2) == GZIP_MAGIC
            plain_file.seek(0)
            with gzip.open(plain_file) if is_compressed else nullcontext(plain_file) as file:
                while len(headers) < MAX_FITS_HDUS:
                    header = read_next_hdu_header(file.read, len(headers), path.name)
                    if header is None:
                        break
                    headers.append(header)
                    remaining_bytes -= header.data_bytes if is_compressed else 0
                    if remaining_bytes < 0:
                        message = format_message("the file has more than {most:,} bytes of data", MAX_UNPACKED_BYTES)
                        raise SourceError(message, remedy="split it")
                    # the last block may lack its padding
                    needed_bytes = header.data_bytes - BLOCK_BYTES + 1
                    if needed_bytes > 0:
                        file.seek(needed_bytes - 1, io.SEEK_CUR)
                        if not file.read(1):
                            message = format_message("the file ends within the data of HDU {number}", header.index)
                            raise SourceError(message, remedy="send the whole file")
                        file.seek(header.data_bytes - needed_bytes, io.SEEK_CUR)
    except (EOFError, OSError, zlib.error) as error:
        message = format_message("the file is damaged: {reason}", str(error))
        raise SourceError(message, remedy="send the file again") from error
    if not headers:
        raise SourceError(format_message("the file is empty"), remedy="send the file again")
    return headers


def _check_fits_is_readable(path: Path, _: str) -> list[FileFinding]:
    try:
        _read_whole_fits_headers(path)
    except SourceError as error:
        return [build_unreadable_finding(error)]
    return []


def _read_fits_cards_as_row(path: Path) -> list[dict[str, Any]]:
    """Read the keywords of all headers; the first of each name counts."""
    values: dict[str, Any] = {}
    for header in reversed(_read_whole_fits_headers(path)):
        values |= header.card_values
    return [values]


def _check_sheet_size(path: Path) -> None:
    if path.stat().st_size > MAX_SHEET_BYTES:
        message = format_message("a file with table rows may have at most {most:,} bytes", MAX_SHEET_BYTES)
        raise SourceError(message, remedy="send several files")


def _check_row_count(row_count: int) -> None:
    if row_count > MAX_SHEET_ROWS:
        message = format_message("a table may have at most {most:,} rows", MAX_SHEET_ROWS)
        raise SourceError(message, remedy="send several files")
    if not row_count:
        raise SourceError("the file has no rows", remedy="add a line for each row")


def _read_csv_sheet(path: Path) -> pa.Table:
    _check_sheet_size(path)
    try:
        with path.open("rb") as file:
            names = file.readline(1 << 16).decode("utf-8-sig").strip().split(",")
        types = {name.strip().strip('"'): pa.string() for name in names}
        options = pyarrow.csv.ConvertOptions(column_types=types, strings_can_be_null=True)
        sheet = pyarrow.csv.read_csv(path, convert_options=options)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        reason = str(error).partition("\n")[0][:200]
        message = format_message("the file is not CSV with a line of column names: {reason}", reason)
        raise SourceError(message, remedy="save it as CSV in UTF-8") from error
    _check_row_count(sheet.num_rows)
    return sheet


def _read_csv_rows(path: Path) -> list[dict[str, Any]]:
    sheet = _read_csv_sheet(path)
    rows: list[dict[str, Any]] = sheet.rename_columns([name.strip() for name in sheet.column_names]).to_pylist()
    return rows


def _read_json_rows(path: Path) -> list[dict[str, Any]]:
    """Read a list of objects with names and values."""
    _check_sheet_size(path)
    try:
        rows = orjson.loads(path.read_bytes())
    except ValueError as error:
        message = format_message("the file is not JSON: {reason}", str(error)[:200])
        raise SourceError(message, remedy="send a list of objects, one for each row") from error
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise SourceError("the file is JSON, but not a list of rows", remedy="send a list of objects, one for each row")
    _check_row_count(len(rows))
    return rows


def _find_no_faults(_: Path, __: str) -> list[FileFinding]:
    """Return no findings: the reader of the rows reports what is wrong."""
    return []


FITS_CHECKER = FileChecker(
    name="fits", extensions=FITS_EXTENSIONS, check_file=_check_fits_is_readable, read_rows=_read_fits_cards_as_row
)
CSV_CHECKER = FileChecker(name="csv", extensions=(".csv",), check_file=_find_no_faults, read_rows=_read_csv_rows)
JSON_CHECKER = FileChecker(name="json", extensions=(".json",), check_file=_find_no_faults, read_rows=_read_json_rows)
