"""Make rows of the headers of many files: keywords become columns, with types from a sample of the files.

The data of the files are not read.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

import hven
from hven.model import plugins, units
from hven.model.errors import SourceError, UpstreamError
from hven.model.table import Column
from hven.model.types import build_type_from_arrow
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, InputVersion, RejectedRow, SourceContext
from hven.sources._reading.cells import replace_null_markers
from hven.sources._reading.data_files import DataFile, FileOptions, Texts, find_file_fact_type, resolve_column_names
from hven.sources._reading.file_rows import FileSource
from hven.sources._reading.header_cache import FileHeader, FileHeaderCache, read_headers
from hven.sources._reading.text_rows import Nulls, list_null_words
from hven.sources._reading.whole_numbers import MAX_INT64, MIN_INT64

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.sources.fits_headers import Value

_UNIT_PATTERN = re.compile(r"\[([^\]]{1,20})\]\s*")
_TRUNCATED_UNIT_PATTERN = re.compile(r"\[([^\[\]]{1,20})")  # a comment that ends where the card of 80 characters does
# labels have these words in the place of a unit: `ExposureDuration = 640.0 <IR>` is a value of one detector
_DETECTOR_CHANNELS = {"IR", "VIS", "UV", "VNIR", "SWIR", "NIR"}
SAMPLE_FILE_COUNT = 200
BATCH_ROW_COUNT = 1000
FOOTPRINT_COLUMN = "file.footprint"
_NumberedRow = tuple[int, DataFile, "dict[str, Value]"]


class HeaderSourceOptions(FileOptions):
    """The options of every source that reads the headers of files."""

    cards: list[str] | None = Field(
        None,
        description=(
            "Keywords that Hven reads if `mode` selects headers or cards. Default: all keywords that occur in a sample "
            "of the files. If a file does not have a card, the value is null."
        ),
        examples=[["DATE-OBS", "EXPTIME", "OBJECT"]],
    )
    null: Nulls = Field(
        default_factory=dict,
        description=(
            "Values that mark a missing value, in addition to TNULL and NaN. Write a list, or one list for each column "
            "name (`*` means all columns). Hven does not replace these values in arrays."
        ),
        examples=[[-999]],
    )
    root: str = Field(
        "",
        description=(
            "Address of the directory that contains the files: `https://..`, `ftp://..` or `s3://..`. Default: the "
            "descriptor's directory. You can use this option only if Hven reads only the headers of the files. A web "
            "server does not list its files, so for `https`, write the name of each file in `files`."
        ),
        examples=["https://archive.example/raw"],
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "How Hven logs in to another server: `user`, `password` and `token`, or for S3 `endpoint_url`, `key`, "
            "`secret` and `anon`. `$NAME` inserts a secret."
        ),
        examples=[{"token": "$ARCHIVE_TOKEN"}],
    )
    members: Texts | None = Field(
        None,
        description=(
            "If some of the files are archives (zip, tar): patterns of the files that Hven reads inside the archives. "
            "You can use this option only if Hven reads only headers. Default: the usual file names for this kind of "
            "source."
        ),
        examples=["raw/*.fits"],
    )
    at_once: int = Field(
        8,
        ge=1,
        le=64,
        description="Number of files that Hven reads at the same time from one mounted file system.",
        examples=[4],
    )


class FileHeaderSource(FileSource):
    """One row for each file, or several, from its header.

    Parameters
    ----------
    options, context
        Options and context of the source.
    structure
        Keywords that are no columns unless the descriptor requests them.
    longitudes
        The option ``longitudes`` of the source, for columns that packages compute (`PluginPackage.header_columns`).

    Common
    ------
    column_names
        Names of columns; None: all real columns.
    row_limit
        Largest number of rows; None: all.
    """

    #: The remedy where no card is found: how to look for cards in files of the kind.
    cards_remedy = "use `mode: cards` to list the cards and attributes of the first files"

    def __init__(
        self,
        options: HeaderSourceOptions,
        context: SourceContext,
        files: Sequence[DataFile] | None = None,
        *,
        structure: frozenset[str] = frozenset(),
        longitudes: str | None = None,
    ) -> None:
        super().__init__(options, context, files)
        self.longitudes = longitudes or ""
        self._structure = structure
        self.cards: list[str] | None = None
        if options.cards is not None:
            self.cards = list(options.cards)
        self.nulls = options.null
        self.concurrency = options.at_once

    @abstractmethod
    def read_header(self, file: DataFile) -> FileHeader:
        """Read the header of a file; raise `SourceError` if it cannot be read.

        Parameters
        ----------
        file
            The file.

        Returns
        -------
        header
            The rows that the header gives.
        """

    @abstractmethod
    def build_cache_key(self) -> str:
        """Return a key of what `read_header` reads: cached headers with another key are not used."""

    def list_fixed_columns(self) -> Sequence[Column]:
        """List the columns that all rows have, whatever the files hold; they come first."""
        return ()

    def list_columns(self) -> list[Column]:
        """List a column for each keyword, with types from up to 200 of the files."""
        return list(self._columns.values())

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield the rows of one file after the other."""
        names = resolve_column_names(column_names, list(self._columns), "the headers")
        rows: list[_NumberedRow] = []
        count = min(BATCH_ROW_COUNT, self.context.batch_row_limit)
        files = self.files
        if row_limit is not None:
            files = self.files[:row_limit]
        remaining_rows = row_limit
        number = 0
        for place, (file, header) in enumerate(self._read_headers(files), 1):
            self.read_count = place
            if isinstance(header, SourceError):
                number += 1
                reason = header.message
                reject = RejectedRow(file=file.name, row=number, column=None, value=None, reason=reason)
                self._reject_row(reject, header)
                continue
            for row in header.rows[:remaining_rows]:
                number += 1
                rows.append((number, file, row))
            while len(rows) >= count:
                yield from self._build_batch(rows[:count], names)
                rows = rows[count:]
            if remaining_rows is not None:
                remaining_rows -= len(header.rows)
                if remaining_rows <= 0:
                    break
        if rows:
            yield from self._build_batch(rows, names)

    def _read_headers(self, files: Sequence[DataFile]) -> Iterator[tuple[DataFile, FileHeader | SourceError]]:
        cache = None
        if self.context.cache_directory is not None:
            cache_key = f"{hven.__version__} {self.build_cache_key()}"
            cache = FileHeaderCache(self.context.cache_directory / "heads.sqlite", cache_key)
        try:
            yield from read_headers(files, self.read_header, self.concurrency, cache)
            if cache is not None:
                cache.delete_unused()
        except UpstreamError as fault:  # the server does not respond: nothing is known about any file
            raise SourceError(fault.message, remedy=fault.remedy) from fault
        finally:
            if cache is not None:
                cache.close()

    def list_input_versions(self) -> list[InputVersion]:
        """Return the files; only their headers were read, so there is no checksum."""
        versions: list[InputVersion] = []
        for file in self.files:
            version = InputVersion(
                name=file.name,
                bytes=file.stat.st_size,
                modified=file.modified.isoformat(timespec="seconds"),
                detail="header only",
            )
            versions.append(version)
        return versions

    def estimate_progress_total(self) -> int:
        """Count the files."""
        return len(self.files)

    def count_progress_units(self) -> int:
        """Count the files read so far."""
        return self.read_count

    @cached_property
    def _columns(self) -> dict[str, Column]:
        fixed = {column.name: column for column in self.list_fixed_columns()}
        types_by_key: dict[str, pa.DataType | None] = dict.fromkeys(self.cards or ())
        comments: dict[str, str] = {}
        last_error: SourceError | None = None
        good_count = 0
        step = max(1, len(self.files) // SAMPLE_FILE_COUNT)
        for _, header in self._read_headers(self.files[::step]):
            if isinstance(header, SourceError):
                last_error = header
                continue
            good_count += 1
            comments = header.comments | comments
            for key, value in chain.from_iterable(row.items() for row in header.rows):
                if key in fixed:
                    continue
                if key in types_by_key or (self.cards is None and key not in self._structure):
                    types_by_key[key] = _widen_type(types_by_key.get(key), value)
        if not good_count and last_error is not None:
            raise last_error
        missing = [key for key in dict.fromkeys(self.cards or ()) if types_by_key.get(key) is None]
        if missing and len(missing) == len(types_by_key):
            raise SourceError(f"no file contains any of these cards: {', '.join(missing)}", remedy=self.cards_remedy)
        types_by_key.pop(FOOTPRINT_COLUMN, None)
        if not types_by_key and not fixed:
            raise SourceError("the headers contain only structural cards", remedy=self.cards_remedy)
        columns = dict(fixed)
        for key, kind in types_by_key.items():
            columns[key] = _build_column(key, kind or pa.string(), comments.get(key, ""))
        return columns

    def _build_batch(self, rows: Sequence[_NumberedRow], names: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """Build a batch of the rows of many files.

        Rows with a value that does not fit the type of its column are rejected.
        """
        arrays: dict[str, pa.Array] = {}
        rejects: dict[int, RejectedRow] = {}
        for name in dict.fromkeys(names):
            if name == ROW_NUMBER_COLUMN:
                row_numbers = [number for number, _, _ in rows]
                arrays[name] = pa.array(row_numbers, pa.int64())
            elif name == FOOTPRINT_COLUMN:
                headers: list[Any] = [row.get(FOOTPRINT_COLUMN, row) for _, _, row in rows]
                arrays[name] = self._compute_package_column(name, headers)
            elif name in FILE_FACT_COLUMNS:
                facts = [file.find_file_fact(name) for _, file, _ in rows]
                arrays[name] = pa.array(facts, find_file_fact_type(name))
            else:
                arrays[name] = self._build_card_array(name, rows, rejects)
        batch_arrays = [arrays[name] for name in names]
        batch = pa.RecordBatch.from_arrays(batch_arrays, names=list(names))
        for index in sorted(rejects):
            self._reject_row(rejects[index], None)
        if rejects:
            is_good = [index not in rejects for index in range(len(rows))]
            batch = batch.filter(pa.array(is_good))
        if batch.num_rows:
            yield batch

    def _build_card_array(self, name: str, rows: Sequence[_NumberedRow], rejects: dict[int, RejectedRow]) -> pa.Array:
        """Build the column of a keyword, and add the rows whose value does not fit to `rejects`, by their index."""
        kind = self._columns[name].type.arrow
        try:
            cells = pa.array([_convert_value_to_type(row.get(name), kind) for _, _, row in rows], kind)
        except (ValueError, TypeError, pa.ArrowException, OverflowError):
            fitting_values: list[Value] = []
            for index, (row_number, file, row) in enumerate(rows):
                value = row.get(name)
                fitting_value: Value = None
                try:
                    fitting_value = _convert_value_to_type(value, kind)
                    pa.scalar(fitting_value, kind)
                except (ValueError, TypeError, pa.ArrowException, OverflowError):
                    fitting_value = None
                    reason = f"not {self._columns[name].type}, the type in the other files"
                    reject = RejectedRow(file=file.name, row=row_number, column=name, value=str(value), reason=reason)
                    rejects.setdefault(index, reject)
                fitting_values.append(fitting_value)
            cells = pa.array(fitting_values, kind)
        null_words = list_null_words(self.nulls, name)
        return replace_null_markers(cells, null_words)

    def _compute_package_column(self, name: str, headers: Sequence[Mapping[str, Value]]) -> pa.Array:
        """Compute a column of the headers by the package that has it; without it, the column is empty."""
        for column_name, compute in plugins.iterate_package_objects("header_columns"):
            if column_name == name:
                column: pa.Array = compute(headers, self.longitudes)
                return column
        return pa.nulls(len(headers), find_file_fact_type(name))

    def _reject_row(self, reject: RejectedRow, error: SourceError | None) -> None:
        if self.context.on_reject is None:
            raise error or SourceError(
                f"{reject.file}: the value {reject.value!r} of card {reject.column} is {reject.reason}"
            )
        self.context.on_reject(reject)


def _widen_type(arrow_type: pa.DataType | None, value: Any) -> pa.DataType | None:
    if value is None or value == "" or isinstance(value, dict):
        return arrow_type
    if isinstance(value, bool):
        kind = pa.bool_()
    elif isinstance(value, int) and MIN_INT64 <= value <= MAX_INT64:
        kind = pa.int64()
    elif isinstance(value, float):
        kind = pa.float64()
    else:
        kind = pa.string()
    if arrow_type is None or arrow_type == kind:
        return kind
    if {arrow_type, kind} == {pa.int64(), pa.float64()}:
        return pa.float64()
    return pa.string()


def _convert_value_to_type(value: Any, arrow_type: pa.DataType) -> Any:
    """Convert a value to a type; raise an error, or return a value that Arrow refuses, if it does not fit."""
    if value is None or value == "":
        return None
    if pa.types.is_string(arrow_type):
        if isinstance(value, bool):
            return {True: "T", False: "F"}[value]
        return str(value)
    if pa.types.is_floating(arrow_type):
        return float(value)
    if pa.types.is_integer(arrow_type) and isinstance(value, float) and value == int(value):
        return int(value)
    return value


def _build_column(key: str, arrow_type: pa.DataType, comment: str) -> Column:
    match = _UNIT_PATTERN.search(comment)
    if (
        match is None
        and (cut := _TRUNCATED_UNIT_PATTERN.fullmatch(comment.strip())) is not None
        and units.normalize_unit(cut.group(1))
    ):
        match = cut
    if match:
        unit_text = match.group(1).strip()
    else:
        unit_text = ""
    if not unit_text or unit_text.isdigit() or unit_text in _DETECTOR_CHANNELS:
        unit = None
    else:
        unit = unit_text
    if match and unit:
        text = comment.replace(match.group(0), "", 1).strip()
    else:
        text = comment
    return Column(name=key, type=build_type_from_arrow(arrow_type), unit=unit, description=text or None)
