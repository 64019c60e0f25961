"""Files of samples in time: one row for each, with when its samples begin and end; what `series` of the table says of the files is read, nothing else."""

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

from hven.formats.media import Samples, open_product
from hven.model import Deviation, DeviationKind
from hven.model.errors import Place, SourceError
from hven.model.table import Bins, Clock, Column, FileReader, Series, Variable, written_columns
from hven.sources import FILE_FACTS, ROW, Context, Reject, Source
from hven.sources._reading.filerows import FilesAsRows
from hven.sources._reading.files import DataFile, FileOptions, check_names, fact_type

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.formats.media import Product

AT_ONCE = 256  # files of a batch
LEFT = "samples without a time, or with that of another one behind them, are left out"
CUT = "times have digits below a nanosecond, or others that cannot be counted, which are left out"
COLUMNS = written_columns("""
    path    | string    |  | meta.id;meta.file      | Path of the file, relative to the descriptor
    start   | timestamp |  | time.start;obs         | Time of the first sample (UTC)
    stop    | timestamp |  | time.end;obs           | Time of the last sample (UTC)
    samples | int64     |  | meta.number            | How many samples the file has
    layout  | string    |  | meta.code              | Files whose parameters and channels are alike have one word, or one for each data set
    version | string    |  | meta.version;meta.file | Version, as the file's name has it
""")
_KINDS = {column.name: column.type.arrow for column in COLUMNS}
_VERSION = re.compile(r"_[vV](\d+(?:[._-]\d+)*)(?=[._]|$)")


class Options(FileOptions):
    """What a descriptor may say of files of samples."""

    samples: str = Field("", description="What `series` of the table says of them; it is put here by itself.")


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open files of samples.

    Raises
    ------
    SourceError
        No such file; the table has no `series` whose samples stand in files.
    """
    return Granules(options, context)


class Granules(FilesAsRows):
    """One row for each file."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self._said = options.samples
        self._lost: dict[str, list[str]] = {}
        self._files_of: dict[str, int] = {}  # how many that were read have something of a data set
        self._foreign: dict[str, list[str]] = {}  # why others have nothing of it

    @cached_property
    def _series(self) -> list[Series]:
        found = [_series(one) for one in json.loads(self._said or "[]")]
        if not found:
            raise SourceError(
                "nothing says what its samples are", remedy="series: {file: '{target.path}', time: ..} of the table"
            )
        return found

    def columns(self) -> list[Column]:
        """List the columns: path, first and last time, how many samples, layout, version."""
        return list(COLUMNS)

    def batches(self, columns: Sequence[str] | None = None, limit: int | None = None) -> Iterator[pa.RecordBatch]:
        """Yield a row for each file that can be read; the others are told."""
        names = check_names(columns, [column.name for column in COLUMNS], "files of samples")
        files = self.files if limit is None else self.files[:limit]
        for begin in range(0, len(files), min(AT_ONCE, self.context.batch)):
            part = files[begin : begin + min(AT_ONCE, self.context.batch)]
            rows = [(file, row) for file in part if (row := self._row(file)) is not None]
            if rows:
                yield _batch(rows, names, begin)
        self._tell()

    def _tell(self) -> None:
        """Tell what of the files that were read is not shown."""
        for words, files in self._lost.items():
            kind = DeviationKind.DROPPED_ROW if words == LEFT else DeviationKind.PRECISION
            number = "1 file" if len(files) == 1 else f"{len(files):,} files"
            shown = ", ".join(files[:3]) + (" ..." if len(files) > 3 else "")
            self.context.report(Deviation(kind=kind, file=files[0], message=f"{number}: {words}: {shown}"))
        self._lost.clear()
        for name, reasons in self._foreign.items():
            if not self._files_of.get(name) and self.context.tell is not None:
                none = len(reasons) > 1
                told = f"none of the {len(reasons):,} files that were read has anything" if none else "the file that was read has nothing"  # fmt: skip
                self.context.tell(f"{told} of the data set {name}: {reasons[0]}")
        self._foreign.clear()
        self._files_of.clear()

    def _product(self, file: DataFile, reader: FileReader | None) -> Product:
        name = file.name.rpartition("/")[2]
        if reader is None:
            return open_product(file.path, name, lines=True)
        if self.context.read is None:
            raise SourceError("nobody reads its files here", remedy="ingest the collection")
        return self.context.read(file.path, name, replace(reader, path=self.context.directory / reader.name))

    def _row(self, file: DataFile) -> dict[str, object] | None:
        try:
            before = (file.stat.st_size, file.stat.st_mtime_ns)
            file.hash_whole()
            firsts, lasts, counts, layouts = [], [], [], []
            foreign: SourceError | None = None
            with ExitStack() as stack:
                products: dict[FileReader | None, Product] = {}
                for one in self._series:
                    if one.reader not in products:
                        products[one.reader] = stack.enter_context(self._product(file, one.reader))
                    try:
                        found = Samples(products[one.reader], one, file.name.rpartition("/")[2])
                    except Samples.ForeignFileError as error:  # it is a file of another data set
                        foreign = error
                        layouts.append(Samples.NO_LAYOUT)
                        self._foreign.setdefault(one.id, []).append(error.message)
                        continue
                    self._files_of[one.id] = self._files_of.get(one.id, 0) + 1
                    moments = found.moments
                    if len(moments):
                        firsts.append(int(moments[0]))
                        lasts.append(int(moments[-1]))
                    counts.append(len(moments))
                    layouts.append(found.layout)
                    for words in (LEFT,) * bool(found.left) + (CUT,) * found.cut:
                        self._lost.setdefault(words, []).append(file.name)
            if foreign is not None and not counts:
                raise foreign
            now = file.path.stat()
            if (now.st_size, now.st_mtime_ns) != before:
                raise SourceError("was changed while it was read", remedy="ingest again when it is whole")  # noqa: TRY301
        except (SourceError, OSError) as error:
            reason = error.message if isinstance(error, SourceError) else error.strerror or type(error).__name__
            if self.context.reject is None:
                raise SourceError(reason, place=Place(file=file.name)) from error
            self.context.reject(Reject(file=file.name, row=1, column=None, value=None, reason=reason))
            return None
        version = _VERSION.findall(file.name.rpartition("/")[2])
        self.read += file.stat.st_size
        return {
            "path": file.name,
            "start": _time(min(firsts, default=None)),
            "stop": _time(max(lasts, default=None)),
            "samples": max(counts),
            "layout": " ".join(layouts),
            "version": version[-1] if version else None,
        }


def _time(moment: int | None) -> dt.datetime | None:
    return None if moment is None else dt.datetime(1970, 1, 1) + dt.timedelta(microseconds=moment)  # noqa: DTZ001  (UTC without a zone, as columns have it)


def _batch(rows: Sequence[tuple[DataFile, dict[str, object]]], names: Sequence[str], begin: int) -> pa.RecordBatch:
    arrays = []
    for name in names:
        if name == ROW:
            arrays.append(pa.array(np.arange(begin + 1, begin + 1 + len(rows)), pa.int64()))
        elif name in FILE_FACTS:
            arrays.append(pa.array([file.fact(name) for file, _ in rows], fact_type(name)))
        else:
            arrays.append(pa.array([row[name] for _, row in rows], _KINDS[name]))
    return pa.RecordBatch.from_arrays(arrays, names=list(names))


def _series(said: dict[str, Any]) -> Series:
    """Make what the descriptor says again of what it was written as."""
    clock = _frozen(said["clock"])
    return Series(
        id=said["id"],
        path="",
        time=said["time"],
        parameters=tuple(said["parameters"]),
        cadence=said["cadence"],
        part=said["part"],
        clock=Clock(**clock),
        reader=FileReader(**said["reader"]) if "reader" in said else None,
        variables={key: Variable(**_frozen(one)) for key, one in said["variables"].items()},
        bins={key: tuple(Bins(**_frozen(one)) for one in each) for key, each in said["bins"].items()},
    )


def _frozen(said: Any) -> Any:
    """Make tuples of JSON's lists."""
    if isinstance(said, dict):
        return {key: _frozen(one) for key, one in said.items()}
    return tuple(map(_frozen, said)) if isinstance(said, list) else said
