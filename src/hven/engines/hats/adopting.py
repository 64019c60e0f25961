"""Catalogues that others wrote, served where they are, on this machine or behind an address: their footers are read once, and a manifest names their files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.engines._statistics import plain, written
from hven.engines.hats.manifest import File, Groups, Head, indexed, shares
from hven.formats import hats_catalogues as catalogues
from hven.formats import hats_layout as layout
from hven.model.errors import HvenError, Place, SourceError, say
from hven.model.sky import Moc, healpix
from hven.model.types import leaves

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.engines.hats.reading import Reader
    from hven.model.table import Table

MANY = 50_000  # row groups beyond which the extremes of indexed columns alone are looked up
UNREADABLE = "no readable Parquet file: {why}"
READ = 50_000_000  # rows whose positions are read to count those that have none
LOOKED = (
    20,
    3,
)  # files of larger catalogues, and of those behind an address, of which the positions of a row group are compared with their partition
ASTRAY = 0.01  # share of a file's positions beyond its partition that is no matter of rounding
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


def adopted(
    table: Table, directory: str, reader: Reader, columns: Mapping[str, str] | None = None
) -> tuple[Head, pa.Table]:
    """Read what a manifest says of a catalogue of others, in a directory or behind an address.

    Parameters
    ----------
    columns
        What columns of the table are called there, as `model.types.leaves` names them; None: as here.

    Raises
    ------
    SourceError
        No catalogue; a file is missing, is no Parquet, or differs from the others; cells or positions that lie outside of their partition; fewer rows
        than are said; a mount that hangs.
    """
    web = layout.on_web(directory)
    opened = catalogues.opened(
        directory, reader.webs.folder(directory) if web else catalogues.Directory(Path(directory))
    )
    said = opened.said
    files = catalogues.abreast(
        lambda one: _looked(reader, one[0], one[1], f"{directory}/{one[2]}"),
        opened.partitions,
        lambda one: f"{directory}/{one[2]}",
    )
    names = {column.name: (columns or {}).get(column.name, column.name) for column in table.columns}
    _alike(names, files)
    _said_of(said, files, f"{directory}/{opened.base}{layout.PROPERTIES}")
    paths = _paths(files[0].schema, names) if files else {}
    cell = cells_in(said, files)
    kept = indexed(table)
    groups = Groups(pa.schema([table.arrow.field(name) for name in kept]), paths)
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
    footers = [one.footer for one in files]
    many = described.num_rows > MANY
    statistics = {name: _statistics(footers, paths.get(name, name)) for name in (kept if many else table.arrow.names)}
    position = table.position
    own = (said.get("hats_col_ra"), said.get("hats_col_dec"))
    if position is not None and own != (names[position[0]], names[position[1]]):
        position = None
    if table.position is not None:
        whole = not web and rows <= READ
        pair = paths.get(table.position[0], table.position[0]), paths.get(table.position[1], table.position[1])
        looked = files if whole else _smallest(files, LOOKED[web])
        counted = _positions(reader, looked, pair, whole, placed=position is not None)
        for name, nulls in zip(table.position, counted if whole else (), strict=False):
            statistics.setdefault(name, {})["nulls"] = nulls
    if position is None and own[0] and own[1] and files:  # what they say decides which files are read for a region
        there = leaves(files[0].schema)
        _positions(reader, _smallest(files, LOOKED[web]), (there[own[0]][0], there[own[1]][0]), False, placed=True)
    head = Head(
        rows=rows,
        files=tuple(made),
        schema=table.arrow.serialize().to_pybytes().hex(),
        position=position,
        cell=cell or "",
        shares=shares(footers[:20], paths),
        statistics=statistics,
        coverage=_coverage(made),
        foreign=directory,
        leaves=paths,
    )
    return head, described


def _paths(schema: pa.Schema, names: Mapping[str, str]) -> dict[str, str]:
    """Tell where columns stand in the files that are not called so there: in structs, or by another name."""
    known = leaves(schema)
    return {name: known[own][0] for name, own in names.items() if known[own][0] != name}


def cells_in(said: Mapping[str, str], files: Sequence[Found]) -> str | None:
    """Name the column of cells of order 29; None: there is none whose extremes all files tell, and the partitions alone tell where rows are."""
    name = said.get("hats_col_healpix") or layout.CELL
    if name != layout.CELL or said.get("hats_col_healpix_order", "29") != "29":
        return None
    first: Any = None
    for one in files:
        if first is None or not one.footer.schema.equals(first):
            first = one.footer.schema
            names = [first.column(number).path for number in range(one.footer.num_columns)]
            place = names.index(name) if name in names else None
        groups = () if place is None else (one.footer.row_group(number) for number in range(one.footer.num_row_groups))
        known = place is not None and all(group.num_rows == 0 or ((told := group.column(place).statistics) is not None and told.has_min_max) for group in groups)  # fmt: skip
        if not known:
            return None
    return name


def _said_of(said: Mapping[str, str], files: Sequence[Found], file: str) -> None:
    """Check that there are the columns that the properties name."""
    known = leaves(files[0].schema) if files else {}
    for key in ("hats_col_ra", "hats_col_dec"):
        if known and said.get(key) and said[key] not in known:
            raise SourceError(
                say("{key}={name}, and there is no such column in {first}", key, said[key], os.path.basename(files[0].path)),  # noqa: PTH119
                place=Place(file=file),
                remedy="write the names of its columns there, or get the catalogue anew",
            )  # fmt: skip


def _looked(reader: Reader, order: int, pixel: int, path: str) -> Found:
    """Read the footer of a file."""
    try:
        size, stamp = reader.state(path)
        footer = reader.footer(path, (size, stamp)).footer
        return Found(path, order, pixel, size, stamp, footer, footer.schema.to_arrow_schema())
    except (HvenError, OSError, pa.ArrowException) as error:
        known = reader.webs.reason(error) if isinstance(error, HvenError) else None
        raise SourceError(
            say(UNREADABLE, known.message if known else str(error)),
            place=Place(file=path),
            remedy=(known and known.remedy) or layout.ANEW,
        ) from error


def _alike(names: Mapping[str, str], files: list[Found]) -> None:
    """Check that every file has the columns of the table, of one type."""
    if not files:
        return
    known: dict[str, tuple[pa.DataType, str]] = {}  # and the first file that has values of it
    first = leaves(files[0].schema)
    for one in files:
        here = first if one.schema.equals(files[0].schema) else leaves(one.schema)
        for name in names.values():
            if name not in here:
                raise SourceError(
                    say("no column {name!r}", name),
                    place=Place(file=one.path),
                    remedy="leave it out of the descriptor, or get the file anew",
                )
            kind = here[name][1]
            if _null(kind):
                continue
            before, where = known.setdefault(name, (kind, one.path))
            if kind != before:
                raise SourceError(
                    say("the column {name} is {kind} here, and {known} in {first}", name, str(kind), str(before), os.path.basename(where)),  # noqa: PTH119
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


def _positions(
    reader: Reader, files: Sequence[Found], paths: tuple[str, str], whole: bool, *, placed: bool
) -> tuple[int, int]:
    """Count the rows without a position, and check that the others lie in their partition.

    NaN, which footers do not tell of, is no number here. `whole`: all row groups are read, else the first of each file; `placed`: partitions are made of these
    columns.
    """

    def look(one: Found) -> tuple[int, int]:
        groups = list(range(one.footer.num_row_groups if whole else min(one.footer.num_row_groups, 1)))
        found = reader.read(one.path, groups, list(paths), (one.bytes, one.stamp), {path: path for path in paths})
        columns = [_numbers(found.column(path)) for path in paths]
        if placed:
            _astray(one, *columns)
        return int(np.isnan(columns[0]).sum()), int(np.isnan(columns[1]).sum())

    counted = catalogues.abreast(look, files, lambda one: one.path, threads=2)
    return sum(lon for lon, _ in counted), sum(lat for _, lat in counted)


def _smallest(files: Sequence[Found], most: int) -> list[Found]:
    """Choose the files whose first row groups have the fewest rows."""
    some = [one for one in files if one.footer.num_row_groups]
    return sorted(some, key=lambda one: one.footer.row_group(0).num_rows)[:most]


def _numbers(values: pa.ChunkedArray) -> Any:
    if not (pa.types.is_floating(values.type) or pa.types.is_integer(values.type) or pa.types.is_decimal(values.type)):
        return np.full(len(values), np.nan)  # what a position in text means is the descriptor's to say
    return np.asarray(pc.fill_null(values.cast(pa.float64()), np.nan).to_numpy(), np.float64)


def _astray(one: Found, lon: Any, lat: Any) -> None:
    """Refuse positions that are not of their partition: searches would miss them, and nobody would see it."""
    good = np.isfinite(lon) & np.isfinite(lat) & (np.abs(lat) <= 90)
    wrong = int((healpix.index(one.order, lon[good] % 360, lat[good]) != one.pixel).sum()) + int(
        (np.abs(lat) > 90).sum()
    )
    if wrong > ASTRAY * max(len(lon), 1):
        raise SourceError(
            say("{wrong:,} of {rows:,} positions are not of its partition, Norder={order} Npix={pixel}", wrong, len(lon), one.order, one.pixel),
            place=Place(file=one.path),
            remedy="look at hats_col_ra and hats_col_dec in its properties, or get the catalogue anew",
        )  # fmt: skip


def _coverage(files: list[File]) -> str | None:
    """Return the coverage as an ASCII MOC: that of the partitions."""
    if not files:
        return written(np.empty(0, np.int64), 8)
    order = min(max(file.order for file in files), 8)
    ranges = healpix.merge(np.array([layout.cells_of(file.order, file.pixel) for file in files], np.int64))
    return str(Moc(ranges, order).degrade(order))


__all__ = ["adopted"]
