"""Files of samples in time: one row for each, with when its samples begin and end.

What `series` of the table says of the files is read, nothing else.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from contextlib import ExitStack
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from pydantic import Field

from hven.formats.media import FileSamples, open_product
from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.table import (
    Column,
    FileParameter,
    FileReaderSpec,
    ParameterBins,
    TimeDecoding,
    TimeSeries,
    parse_columns,
)
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN, RejectedRow, Source, SourceContext
from hven.sources._reading.data_files import DataFile, FileOptions, check_column_names, find_fact_type
from hven.sources._reading.file_rows import FileListingRows

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.formats.media import Product

FILES_PER_BATCH = 256  # files of a batch
SKIPPED_SAMPLES_MESSAGE = "samples without a time, or with that of another one behind them, are left out"
TRUNCATED_TIMES_MESSAGE = "times have digits below a nanosecond, or others that cannot be counted, which are left out"
GRANULE_COLUMNS = parse_columns("""
    path    | string    |  | meta.id;meta.file      | Path of the file, relative to the descriptor
    start   | timestamp |  | time.start;obs         | Time of the first sample (UTC)
    stop    | timestamp |  | time.end;obs           | Time of the last sample (UTC)
    samples | int64     |  | meta.number            | How many samples the file has
    layout  | string    |  | meta.code              | Files whose parameters and channels are alike have one word, or one for each data set
    version | string    |  | meta.version;meta.file | Version, as the file's name has it
""")
_COLUMN_TYPES = {column.name: column.type.arrow for column in GRANULE_COLUMNS}
_VERSION_PATTERN = re.compile(r"_[vV](\d+(?:[._-]\d+)*)(?=[._]|$)")


class Options(FileOptions):
    """What a descriptor may say of files of samples."""

    samples: str = Field("", description="What `series` of the table says of them; it is put here by itself.")


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open files of samples.

    Raises
    ------
    SourceError
        No such file; the table has no `series` whose samples stand in files.
    """
    return GranuleSource(options, context)


class GranuleSource(FileListingRows):
    """One row for each file."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self._series_json = options.samples
        self._files_by_loss: dict[str, list[str]] = {}
        self._file_counts: dict[str, int] = {}  # how many that were read have something of a data set
        self._foreign_reasons: dict[str, list[str]] = {}  # why others have nothing of it

    @cached_property
    def _time_series(self) -> list[TimeSeries]:
        series_list = [_restore_series(series_entry) for series_entry in json.loads(self._series_json or "[]")]
        if not series_list:
            raise SourceError(
                "nothing says what its samples are", remedy="series: {file: '{target.path}', time: ..} of the table"
            )
        return series_list

    def list_columns(self) -> list[Column]:
        """List the columns: path, first and last time, how many samples, layout, version."""
        return list(GRANULE_COLUMNS)

    def read_batches(
        self, column_names: Sequence[str] | None = None, row_limit: int | None = None
    ) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file that can be read; the others are told."""
        names = check_column_names(column_names, [column.name for column in GRANULE_COLUMNS], "files of samples")
        if row_limit is None:
            files = self.files
        else:
            files = self.files[:row_limit]
        for begin in range(0, len(files), min(FILES_PER_BATCH, self.context.batch_row_limit)):
            part = files[begin : begin + min(FILES_PER_BATCH, self.context.batch_row_limit)]
            rows = [(file, row) for file in part if (row := self._build_row(file)) is not None]
            if rows:
                yield _build_batch(rows, names, begin)
        self._report_losses()

    def _report_losses(self) -> None:
        """Tell what of the files that were read is not shown."""
        for words, files in self._files_by_loss.items():
            if words == SKIPPED_SAMPLES_MESSAGE:
                kind = DeviationKind.DROPPED_ROW
            else:
                kind = DeviationKind.PRECISION
            if len(files) == 1:
                number = "1 file"
            else:
                number = f"{len(files):,} files"
            file_names_text = ", ".join(files[:3]) + (" ..." if len(files) > 3 else "")
            self.context.report_deviation(
                Deviation(kind=kind, file=files[0], message=f"{number}: {words}: {file_names_text}")
            )
        self._files_by_loss.clear()
        for name, reasons in self._foreign_reasons.items():
            if not self._file_counts.get(name) and self.context.on_notice is not None:
                none = len(reasons) > 1
                if none:
                    subject = f"none of the {len(reasons):,} files that were read has anything"
                else:
                    subject = "the file that was read has nothing"
                self.context.on_notice(f"{subject} of the data set {name}: {reasons[0]}")
        self._foreign_reasons.clear()
        self._file_counts.clear()

    def _open_product(self, file: DataFile, reader: FileReaderSpec | None) -> Product:
        name = file.name.rpartition("/")[2]
        if reader is None:
            return open_product(file.path, name, includes_text_tables=True)
        if self.context.open_sample_file is None:
            raise SourceError("nobody reads its files here", remedy="ingest the collection")
        return self.context.open_sample_file(
            file.path, name, replace(reader, path=self.context.directory / reader.name)
        )

    def _build_row(self, file: DataFile) -> dict[str, object] | None:
        try:
            before = (file.stat.st_size, file.stat.st_mtime_ns)
            file.compute_sha256()
            firsts = []
            lasts = []
            counts = []
            layouts = []
            foreign: SourceError | None = None
            with ExitStack() as stack:
                products: dict[FileReaderSpec | None, Product] = {}
                for time_series in self._time_series:
                    if time_series.reader not in products:
                        products[time_series.reader] = stack.enter_context(self._open_product(file, time_series.reader))
                    try:
                        samples = FileSamples(products[time_series.reader], time_series, file.name.rpartition("/")[2])
                    except FileSamples.ForeignFileError as error:  # it is a file of another data set
                        foreign = error
                        layouts.append(FileSamples.NO_LAYOUT)
                        self._foreign_reasons.setdefault(time_series.id, []).append(error.message)
                        continue
                    self._file_counts[time_series.id] = self._file_counts.get(time_series.id, 0) + 1
                    moments = samples.instants
                    if len(moments):
                        firsts.append(int(moments[0]))
                        lasts.append(int(moments[-1]))
                    counts.append(len(moments))
                    layouts.append(samples.layout)
                    for words in (SKIPPED_SAMPLES_MESSAGE,) * bool(samples.omitted_count) + (
                        TRUNCATED_TIMES_MESSAGE,
                    ) * samples.has_truncated_times:
                        self._files_by_loss.setdefault(words, []).append(file.name)
            if foreign is not None and not counts:
                raise foreign
            stat_after = file.path.stat()
            if (stat_after.st_size, stat_after.st_mtime_ns) != before:
                raise SourceError("was changed while it was read", remedy="ingest again when it is whole")  # noqa: TRY301
        except (SourceError, OSError) as error:
            if isinstance(error, SourceError):
                reason = error.message
            else:
                reason = error.strerror or type(error).__name__
            if self.context.on_reject is None:
                raise SourceError(reason, place=Place(file=file.name)) from error
            self.context.on_reject(RejectedRow(file=file.name, row=1, column=None, value=None, reason=reason))
            return None
        version = _VERSION_PATTERN.findall(file.name.rpartition("/")[2])
        self.read_count += file.stat.st_size
        return {
            "path": file.name,
            "start": _to_datetime(min(firsts, default=None)),
            "stop": _to_datetime(max(lasts, default=None)),
            "samples": max(counts),
            "layout": " ".join(layouts),
            "version": version[-1] if version else None,
        }


def _to_datetime(moment: int | None) -> dt.datetime | None:
    # UTC without a zone, as columns have it
    return None if moment is None else dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=moment)  # noqa: DTZ001


def _build_batch(
    rows: Sequence[tuple[DataFile, dict[str, object]]], column_names: Sequence[str], rows_before: int
) -> pa.RecordBatch:
    arrays = []
    for name in column_names:
        if name == ROW_NUMBER_COLUMN:
            arrays.append(pa.array(np.arange(rows_before + 1, rows_before + 1 + len(rows)), pa.int64()))
        elif name in FILE_FACT_COLUMNS:
            arrays.append(pa.array([file.find_fact(name) for file, _ in rows], find_fact_type(name)))
        else:
            arrays.append(pa.array([row[name] for _, row in rows], _COLUMN_TYPES[name]))
    return pa.RecordBatch.from_arrays(arrays, names=list(column_names))


def _restore_series(series_entry: dict[str, Any]) -> TimeSeries:
    """Make what the descriptor says again of what it was written as."""
    clock = _lists_to_tuples(series_entry["clock"])
    return TimeSeries(
        id=series_entry["id"],
        path="",
        time=series_entry["time"],
        parameters=tuple(series_entry["parameters"]),
        cadence=series_entry["cadence"],
        part=series_entry["part"],
        clock=TimeDecoding(**clock),
        reader=FileReaderSpec(**series_entry["reader"]) if "reader" in series_entry else None,
        variables={key: FileParameter(**_lists_to_tuples(entry)) for key, entry in series_entry["variables"].items()},
        bins={
            key: tuple(ParameterBins(**_lists_to_tuples(entry)) for entry in each)
            for key, each in series_entry["bins"].items()
        },
    )


def _lists_to_tuples(value: Any) -> Any:
    """Make tuples of JSON's lists."""
    if isinstance(value, dict):
        return {key: _lists_to_tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        return tuple(map(_lists_to_tuples, value))
    return value
