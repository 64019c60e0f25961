"""List a time series' files: one row for each file, with the times of its first and last sample.

Only what the `series` of the table states about the files is read.
"""

from __future__ import annotations

import datetime as dt
import json
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pydantic import Field

from hven.formats.media import open_product
from hven.model import DeviationKind, ReadDeviation
from hven.model.errors import SourceError, TextPlace
from hven.model.table import (
    Column,
    FileReaderSpec,
    ParameterBins,
    SeriesParameterSpec,
    TimeDecoding,
    TimeSeriesSpec,
    parse_column_lines,
)
from hven.plugins.series.file_time_samples import NO_LAYOUT, FileTimeSamples, WrongDataSetFileError, find_file_version
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, RejectedRow, Source, SourceContext, SourceKindTraits
from hven.sources.api.file_rows import FileOptions, FilesAsRowsSource, find_file_fact_type
from hven.sources.api.rows import DataFile, resolve_column_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.formats.media import OpenProductFile

TRAITS = SourceKindTraits(is_followed_without_sync=True)
FILES_PER_BATCH = 256
SKIPPED_SAMPLES_MESSAGE = "samples are left out, because they have no time or a later sample has the same time"
TRUNCATED_TIMES_MESSAGE = "digits of times are left out, because they are below a nanosecond or do not fit into 64 bits"
_LAYOUT_DESCRIPTION = "One word for each data set; files with the same parameters and channels have the same word"
GRANULE_COLUMNS = parse_column_lines(f"""
    path    | string    |  | meta.id;meta.file      | Path of the file, relative to the descriptor
    start   | timestamp |  | time.start;obs         | Time of the first sample (UTC)
    stop    | timestamp |  | time.end;obs           | Time of the last sample (UTC)
    samples | int64     |  | meta.number            | How many samples the file has
    layout  | string    |  | meta.code              | {_LAYOUT_DESCRIPTION}
    version | string    |  | meta.version;meta.file | Version in the file name
""")
_COLUMN_TYPES = {column.name: column.type.arrow for column in GRANULE_COLUMNS}
_EPOCH = dt.datetime(1970, 1, 1)  # noqa: DTZ001  (columns have UTC without a zone)


class Options(FileOptions):
    """What a descriptor may state about files of samples."""

    samples: str = Field(
        "",
        description="The settings in the table's `series`. Hven sets this option itself.",
        examples=['{"time": "Epoch"}'],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open files of samples.

    Raises
    ------
    SourceError
        No such file; the table has no `series` whose samples stand in files.
    """
    return GranuleSource(options, context)


class GranuleSource(FilesAsRowsSource):
    """One row for each file."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self._series_json = options.samples
        self._files_by_loss: dict[str, list[str]] = {}
        self._file_counts: dict[str, int] = {}  # data set -> number of files with samples of it
        self._foreign_reasons: dict[str, list[str]] = {}  # data set -> why other files have none

    @cached_property
    def _time_series(self) -> list[TimeSeriesSpec]:
        series_entries = json.loads(self._series_json or "[]")
        series_list = [_restore_series(series_entry) for series_entry in series_entries]
        if not series_list:
            raise SourceError(
                "the table does not describe its samples",
                remedy="write `series: {file: '{target.path}', time: ..}` in the table",
            )
        return series_list

    def list_columns(self) -> list[Column]:
        """List the columns: path, first and last time, number of samples, layout, version."""
        return list(GRANULE_COLUMNS)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file that can be read; the other files are rejected."""
        known_names = [column.name for column in GRANULE_COLUMNS]
        names = resolve_column_names(column_names, known_names, "files of samples")
        fact_types = {name: find_file_fact_type(name) for name in names if name in FILE_FACT_COLUMNS}
        types_by_name = {**_COLUMN_TYPES, **fact_types, ROW_NUMBER_COLUMN: pa.int64()}
        schema = pa.schema([(name, types_by_name[name]) for name in names])
        files = self.files
        if row_limit is not None:
            files = self.files[:row_limit]
        step = min(FILES_PER_BATCH, self.context.batch_row_limit)
        for begin in range(0, len(files), step):
            rows: list[dict[str, object]] = []
            for file in files[begin : begin + step]:
                row = self._build_row(file)
                if row is not None:
                    row |= {name: file.find_file_fact(name) for name in fact_types}
                    row[ROW_NUMBER_COLUMN] = begin + 1 + len(rows)
                    rows.append(row)
            if rows:
                yield pa.RecordBatch.from_pylist(rows, schema)
        self._report_sample_losses()

    def _report_sample_losses(self) -> None:
        """Report what of the files that were read is left out."""
        for loss, files in self._files_by_loss.items():
            kind = DeviationKind.PRECISION
            if loss == SKIPPED_SAMPLES_MESSAGE:
                kind = DeviationKind.DROPPED_ROW
            count_text = f"{len(files):,} file{'s' if len(files) > 1 else ''}"
            message = f"{count_text}: {loss}: {', '.join(files[:3])}{' ...' if len(files) > 3 else ''}"
            self.context.report_deviation(ReadDeviation(kind=kind, file=files[0], message=message))
        self._files_by_loss.clear()
        for name, reasons in self._foreign_reasons.items():
            if not self._file_counts.get(name) and self.context.on_notice is not None:
                subject = "the file has no samples"
                if len(reasons) > 1:
                    subject = f"none of the {len(reasons):,} files has samples"
                self.context.on_notice(f"{subject} of the data set {name}: {reasons[0]}")
        self._foreign_reasons.clear()
        self._file_counts.clear()

    def _open_product(self, file: DataFile, reader: FileReaderSpec | None) -> OpenProductFile:
        name = file.name.rpartition("/")[2]
        if reader is None:
            return open_product(file.path, name, includes_text_tables=True)
        if self.context.open_sample_file is None:
            raise SourceError("this command does not read the files", remedy="ingest the collection to read the files")
        located_reader = replace(reader, path=self.context.directory / reader.name)
        return self.context.open_sample_file(file.path, name, located_reader)

    def _build_row(self, file: DataFile) -> dict[str, object] | None:
        """Build the row of a file; None: it is rejected."""
        try:
            before = (file.stat.st_size, file.stat.st_mtime_ns)
            file.compute_sha256()
            row = self._summarize_samples(file)
            stat_after = file.path.stat()
            if (stat_after.st_size, stat_after.st_mtime_ns) != before:
                raise file.build_change_error()
        except (SourceError, OSError) as error:
            if isinstance(error, SourceError):
                reason = error.message
            else:
                reason = error.strerror or type(error).__name__
            if self.context.on_reject is None:
                raise SourceError(reason, place=TextPlace(file=file.name)) from error
            self.context.on_reject(RejectedRow(file=file.name, row=1, column=None, value=None, reason=reason))
            return None
        self.read_count += file.stat.st_size
        return row

    def _summarize_samples(self, file: DataFile) -> dict[str, object]:
        """Read the times, the number and the layout of the samples of a file."""
        name = file.name.rpartition("/")[2]
        instants: list[int] = []
        counts: list[int] = []
        layouts: list[str] = []
        foreign: SourceError | None = None
        with ExitStack() as stack:
            products: dict[FileReaderSpec | None, OpenProductFile] = {}
            for time_series in self._time_series:
                reader = time_series.reader
                if reader not in products:
                    products[reader] = stack.enter_context(self._open_product(file, reader))
                try:
                    samples = FileTimeSamples(products[reader], time_series, name)
                except WrongDataSetFileError as error:  # it is a file of another data set
                    foreign = error
                    layouts.append(NO_LAYOUT)
                    self._foreign_reasons.setdefault(time_series.id, []).append(error.message)
                    continue
                file_count = self._file_counts.get(time_series.id, 0)
                self._file_counts[time_series.id] = file_count + 1
                if len(samples.instants):
                    instants += [int(samples.instants[0]), int(samples.instants[-1])]
                counts.append(len(samples.instants))
                layouts.append(samples.layout_digest)
                if samples.times.omitted_count:
                    self._files_by_loss.setdefault(SKIPPED_SAMPLES_MESSAGE, []).append(file.name)
                if samples.times.has_truncated_times:
                    self._files_by_loss.setdefault(TRUNCATED_TIMES_MESSAGE, []).append(file.name)
        if foreign is not None and not counts:
            raise foreign
        return {
            "path": file.name,
            "start": _to_datetime(min(instants, default=None)),
            "stop": _to_datetime(max(instants, default=None)),
            "samples": max(counts),
            "layout": " ".join(layouts),
            "version": find_file_version(name),
        }


def _to_datetime(moment: int | None) -> dt.datetime | None:
    """Convert microseconds since 1970 to UTC without a zone, as columns have it."""
    if moment is None:
        return None
    return _EPOCH + dt.timedelta(microseconds=moment)


def _restore_series(series_entry: dict[str, Any]) -> TimeSeriesSpec:
    """Restore a series from the JSON that the descriptor wrote."""
    entry = _convert_lists_to_tuples(series_entry)
    entry["clock"] = TimeDecoding(**entry["clock"])
    entry["variables"] = {name: SeriesParameterSpec(**item) for name, item in entry["variables"].items()}
    entry["bins"] = {name: tuple(ParameterBins(**item) for item in items) for name, items in entry["bins"].items()}
    if "reader" in entry:
        entry["reader"] = FileReaderSpec(**entry["reader"])
    return TimeSeriesSpec(path="", **entry)


def _convert_lists_to_tuples(value: Any) -> Any:
    """Convert JSON's lists to tuples."""
    if isinstance(value, dict):
        return {key: _convert_lists_to_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(map(_convert_lists_to_tuples, value))
    return value
