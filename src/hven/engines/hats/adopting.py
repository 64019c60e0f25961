"""Catalogues that others wrote, served where they are, on this machine or behind an address: their footers are read once, and a manifest names their files."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from hven.engines._statistics import plain, written
from hven.engines.hats.manifest import File, Groups, Head, indexed, shares
from hven.formats import hats_layout as layout
from hven.model.errors import HvenError, Place, SourceError, say
from hven.model.sky import Moc, healpix
from hven.model.types import leaf, leaves

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.engines.hats.reading import Reader
    from hven.model.table import Table

READERS = 8  # threads that read footers
MANY = 50_000  # row groups beyond which the extremes of indexed columns alone are looked up
UNREADABLE = "no readable Parquet file: {why}"
READ = 50_000_000  # rows whose positions are read to count those that have none
FEWER = "the catalogue says hats_nrows={said}, and its files have {found:,} rows"


@dataclass(frozen=True, slots=True)
class Found:
    """A file, its footer, and what tells that it changed."""

    path: str
    order: int
    pixel: int
    bytes: int
    stamp: str
    footer: Any
    schema: pa.Schema


def adopted(table: Table, directory: str, reader: Reader) -> tuple[Head, pa.Table]:
    """Read what a manifest says of a catalogue of others, in a directory or behind an address.

    Raises
    ------
    SourceError
        No catalogue; a file is missing, is no Parquet, or differs from the others; cells that lie outside of their partition; fewer rows
        than are said.
    """
    web = layout.on_web(directory)
    opened = layout.opened(directory, reader.webs.folder(directory) if web else layout.Directory(Path(directory)))
    said = opened.said
    with ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="hats-footers") as pool:
        files = list(pool.map(lambda one: _looked(reader, one[0], one[1], f"{directory}/{one[2]}"), opened.partitions))
    cell = cells_in(said)
    _alike(table, files)
    columns = indexed(table)
    groups = Groups(pa.schema([table.arrow.field(name) for name in columns]))
    made: list[File] = []
    for one in files:
        within = layout.cells_of(one.order, one.pixel)
        groups.add(len(made), one.footer, cell, within)
        made.append(File(one.path, one.footer.num_rows, one.bytes, one.order, one.pixel, within[0], within[1] - 1, one.stamp))  # fmt: skip
    described = groups.table()
    _inside(described, made)
    rows = sum(file.rows for file in made)
    if said.get("hats_nrows", "").isdecimal() and int(said["hats_nrows"]) != rows:
        raise SourceError(say(FEWER, said["hats_nrows"], rows), place=Place(file=directory), remedy=layout.ANEW)
    statistics = {
        name: _statistics([one.footer for one in files], name)
        for name in (columns if described.num_rows > MANY else table.arrow.names)
    }
    if table.position is not None and not web and rows <= READ:
        _count_placeless(files, table.position, statistics)
    head = Head(
        rows=rows,
        files=tuple(made),
        schema=table.arrow.serialize().to_pybytes().hex(),
        position=table.position if (said.get("hats_col_ra"), said.get("hats_col_dec")) == table.position else None,
        cell=cell or "",
        shares=shares([one.footer for one in files[:20]]),
        statistics=statistics,
        coverage=_coverage(made),
        foreign=directory,
        leaves={name: path for name, (path, _) in leaves(files[0].schema).items() if path != name} if files else {},
    )
    return head, described


def cells_in(said: Mapping[str, str]) -> str | None:
    """Name the column of cells of order 29; None: there is none, and the partitions alone tell where rows are."""
    name = said.get("hats_col_healpix") or layout.CELL
    return name if name == layout.CELL and said.get("hats_col_healpix_order", "29") == "29" else None


def _looked(reader: Reader, order: int, pixel: int, path: str) -> Found:
    """Read the footer of a partition."""
    web = layout.on_web(path)
    if not web and os.path.isdir(path):  # noqa: PTH112  (of many files)
        raise SourceError(
            say("partitions that are directories (hats_npix_suffix=/) cannot be served in place"),
            place=Place(file=path),
            remedy="leave out engine: hats, and the rows are read",
        )
    try:
        size, stamp = reader.state(path)
        source = reader.source(path, size, stamp)
        if web:  # of a small file Arrow would read all, which servers without ranges give
            source.read(4)
        with pq.ParquetFile(source, pre_buffer=False) as opened:
            return Found(path, order, pixel, size, stamp, opened.metadata, opened.schema_arrow)
    except (HvenError, OSError, pa.ArrowException) as error:
        known = reader.webs.reason(error) if isinstance(error, HvenError) else None
        raise SourceError(
            say(UNREADABLE, known.message if known else str(error)),
            place=Place(file=path),
            remedy=(known and known.remedy) or layout.ANEW,
        ) from error


def _alike(table: Table, files: list[Found]) -> None:
    """Check that every file has the columns of the table, of one type."""
    if not files:
        return
    first = leaves(files[0].schema)
    for one in files:
        here = first if one.schema.equals(files[0].schema) else leaves(one.schema)
        for column in table.columns:
            if column.name not in here:
                raise SourceError(
                    say("no column {name!r}", column.name),
                    place=Place(file=one.path),
                    remedy="leave it out of the descriptor, or get the file anew",
                )
            kind, known = here[column.name][1], first[column.name][1]
            if kind != known and not _null(kind) and not _null(known):
                raise SourceError(
                    say("the column {name} is {kind} here, and {known} in {first}", column.name, str(kind), str(known), os.path.basename(files[0].path)),  # noqa: PTH119
                    place=Place(file=one.path),
                    remedy=layout.ANEW,
                )  # fmt: skip


def _null(kind: pa.DataType) -> bool:
    return bool(pa.types.is_null(kind))


def _inside(groups: pa.Table, files: list[File]) -> None:
    """Check that the cells of each row group lie in its partition."""
    number = np.asarray(groups.column("file"))
    low, high = (np.array([getattr(file, side) for file in files], np.int64)[number] for side in ("low", "high"))
    wrong = np.flatnonzero((np.asarray(groups.column("first")) < low) | (np.asarray(groups.column("last")) > high))
    if len(wrong):
        file = files[int(number[wrong[0]])]
        raise SourceError(
            say("{name} has cells that are not of its partition, Norder={order} Npix={pixel}", layout.CELL, file.order, file.pixel),
            place=Place(file=file.path),
            remedy=layout.ANEW,
        )  # fmt: skip


def _statistics(footers: list[Any], name: str) -> dict[str, object]:
    """Gather nulls and extremes of a column from footers."""
    found: dict[str, object] = {"nulls": 0}
    nulls, lows, highs = 0, [], []
    for footer in footers:
        for number in range(footer.num_row_groups):
            group = footer.row_group(number)
            place = next((at for at in range(group.num_columns) if group.column(at).path_in_schema == name), None)
            statistics = None if place is None else group.column(place).statistics
            if statistics is not None:
                nulls += statistics.null_count or 0
                if statistics.has_min_max:
                    lows.append(statistics.min)
                    highs.append(statistics.max)
    found["nulls"] = nulls
    if lows and isinstance(lows[0], int | float) and not isinstance(lows[0], bool):
        found["minimum"], found["maximum"] = plain(min(lows)), plain(max(highs))
    return found


def _count_placeless(files: list[Found], position: tuple[str, str], statistics: dict[str, dict[str, object]]) -> None:
    """Count rows without a position: NaN, which footers do not tell of, is no number here."""

    def count(one: Found) -> tuple[int, ...]:
        where = leaves(one.schema)
        with pq.ParquetFile(one.path, pre_buffer=False) as opened:
            found = opened.read([where[name][0] for name in position])
        columns = (leaf(found, where[name][0]) for name in position)
        return tuple(pc.sum(pc.is_null(column, nan_is_null=True)).as_py() or 0 for column in columns)

    with ThreadPoolExecutor(max_workers=2, thread_name_prefix="hats-positions") as pool:
        counted = np.array(list(pool.map(count, files)), np.int64).reshape(-1, 2).sum(axis=0)
    for name, nulls in zip(position, counted.tolist(), strict=True):
        statistics.setdefault(name, {})["nulls"] = nulls


def _coverage(files: list[File]) -> str | None:
    """Return the coverage as an ASCII MOC: that of the partitions."""
    if not files:
        return written(np.empty(0, np.int64), 8)
    order = min(max(file.order for file in files), 8)
    ranges = healpix.merge(np.array([layout.cells_of(file.order, file.pixel) for file in files], np.int64))
    return str(Moc(ranges, order).degrade(order))


__all__ = ["adopted"]
