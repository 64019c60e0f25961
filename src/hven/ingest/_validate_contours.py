"""Regions of contours as the report tells them: how many stand how, and which rows have none, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE
from hven.ingest._casting import whole
from hven.ingest._rules import INFO, WARNING, Broken
from hven.ingest._validate_columns import cells_area
from hven.model.sky import Regions, contours, sphere
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.descriptor.mapping import Mapping
    from hven.engines import Engine
    from hven.ingest._transform import Mapped

OUTLINE, COVERAGE, QUALITY = "s_region", "coverage", "region_quality"
ADDED = 0.0101  # what a MOC may have more than its region, as a share of it
STANDS = {
    "exact": "with an exact region",
    "clipped_at_limb": "whose region is cut at the limb (clipped_at_limb)",
    "multi_part": "whose region has several parts or holes (multi_part): s_region is the outline of the largest",
    "hull": "whose region has several parts or holes: s_region is their hull (hull)",
    "degenerate": "whose contour is a line or a point: a small polygon stands for it (degenerate)",
}
SAME = 1e-12  # radians between corners that are one


def contoured(engine: Engine, mapping: Mapping, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
    """Tell of mapped rows how their regions stand for their contours; contours without one are asked why, once more."""
    if mapped.contour is None:
        return
    rows = mapped.rows
    if QUALITY in mapping.filled:
        words = rows.column(QUALITY)
        for word, message in STANDS.items():
            found = pc.fill_null(pc.equal(words, word), False)
            if pc.any(found).as_py():
                yield Broken(rule=f"{OUTLINE}: region {word}", message=message, severity=INFO, rows=found)

    def asked(places: npt.NDArray[np.int64]) -> pa.Table:
        at = places if mapped.at is None else mapped.at[places]
        once, of = np.unique(at, return_inverse=True)
        told = engine.compute(bound, {SOURCE: batch.take(pa.array(once)), **mapping.lookups})
        return told.take(pa.array(np.argsort(np.asarray(whole(told.column(ROW))))[of]))

    bound = mapped.contour
    empty = np.asarray(pc.is_null(rows.column(OUTLINE)))
    if empty.any():
        yield from _without(np.flatnonzero(empty), asked(np.flatnonzero(empty)), rows.num_rows)
    if COVERAGE in mapping.filled and (there := np.flatnonzero(np.asarray(pc.is_valid(rows.column(COVERAGE))))).size:
        area = np.asarray(whole(asked(there).column("area")).to_numpy(zero_copy_only=False), np.float64)
        cells = [cells_area(text) for text in rows.column(COVERAGE).take(pa.array(there)).to_pylist()]
        added = np.asarray(cells) / area - 1.0
        much = added > ADDED
        if much.any():
            yield Broken(
                rule=f"{COVERAGE}: more",
                message=f"{COVERAGE} has over 1 % more than the region: 10,000 cells along an outline so long are no finer",
                severity=INFO,
                rows=_mask(there[much], rows.num_rows),
                column="added",
                values=_spread(there[much], [f"{one:.1%}" for one in added[much]], rows.num_rows),
            )


def mended(mapped: Mapped, name: str, bad: pa.Array, *, outside: bool) -> Iterator[Broken]:
    """Put what they wind round in the place of polygons that cross themselves, and tell of it; one without area is left empty.

    Of several parts the outline of the largest stands, where the table has them beside `COVERAGE` and `QUALITY`.
    """
    rows = mapped.rows
    at = np.flatnonzero(np.asarray(bad))
    given = rows.column(name).take(pa.array(at))
    ends = np.append(0, np.cumsum(np.asarray(given.value_lengths())))
    numbers = np.asarray(given.flatten(), np.float64)
    found = Regions.polygons(ends, numbers).mended()
    # a corner that is there twice, as at a pole, is no crossing: such a one stays as it was given
    other = ~((found.ring_counts == 1) & (_corners(ends // 2, numbers) == _counted(found.vertex_rows, len(at))))
    at, found = at[other], found.take(np.flatnonzero(other))
    if not len(at):
        return
    rings = found.ring_counts
    shown = found.largest()
    shown = shown if outside else shown.backwards()
    corners = pa.array(np.stack([shown.lon, shown.lat], axis=1).ravel())
    ends = 2 * np.append(0, np.cumsum(np.bincount(shown.vertex_rows, minlength=len(at))))
    none = pa.array(np.append(np.diff(ends) == 0, False))
    lists = pa.ListArray.from_arrays(pc.if_else(none, None, pa.array(ends.astype(np.int32))), corners)
    several = np.flatnonzero(rings > 1)
    rows = _put(rows, name, at, lists)
    mapped.constant -= {name}
    if several.size:
        said = {COVERAGE: [str(moc) for moc in found.take(several).mocs()[0]], QUALITY: ["multi_part"] * len(several)}
        for column in said.keys() & set(rows.schema.names):
            empty = np.asarray(pc.is_null(rows.column(column)))[at[several]]  # what the source says stays
            rows = _put(rows, column, at[several][empty], pa.array(said[column], pa.string()).filter(pa.array(empty)))
            mapped.constant -= {column}
    mapped.rows = rows
    for word, which, message in (
        ("wound round", rings == 1, "what a polygon winds round that crosses itself is published instead of it"),
        ("several parts", rings > 1, f"a polygon that crosses itself winds round several parts, or a hole: {name} is the outline of the largest, and {COVERAGE} has all where the table has that column"),
        ("no area", rings == 0, f"a polygon has no area: {name} is left empty"),
    ):  # fmt: skip
        if which.any():
            yield Broken(
                rule=f"{name}: {word}", message=message, severity=INFO, rows=_mask(at[which], mapped.rows.num_rows)
            )


def _counted(owners: npt.NDArray[np.int64], count: int) -> npt.NDArray[np.int64]:
    return np.bincount(owners, minlength=count)


def _corners(ends: npt.NDArray[np.int64], numbers: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """Count the corners of rings that are not where the one before them is."""
    xyz = sphere.vectors(*numbers.reshape(-1, 2).T)
    before = np.arange(len(xyz)) - 1
    before[ends[:-1]] = ends[1:] - 1
    apart = np.linalg.norm(xyz - xyz[before], axis=1) > SAME
    return np.add.reduceat(apart.astype(np.int64), ends[:-1])


def _put(rows: pa.RecordBatch, name: str, places: npt.NDArray[np.int64], values: pa.Array) -> pa.RecordBatch:
    number, order = rows.schema.get_field_index(name), np.arange(rows.num_rows)
    order[places] = rows.num_rows + np.arange(len(places))
    kind = rows.schema.field(number)
    return rows.set_column(
        number, kind, pa.concat_arrays([rows.column(number), values.cast(kind.type)]).take(pa.array(order))
    )


def _without(places: npt.NDArray[np.int64], told: pa.Table, count: int) -> Iterator[Broken]:
    """Tell which rows have no region, fault by fault."""
    names, said = (whole(told.column(name)).to_numpy(zero_copy_only=False) for name in ("name", "said"))
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        rows = _mask(places[mine], count)
        if name is None:
            message = f"without a contour: {OUTLINE} left empty"
            yield Broken(rule=f"{OUTLINE}: without a contour", message=message, severity=INFO, rows=rows)
            continue
        words = contours.FAULTS[name]
        general = re.sub(r"\{[^}]*\}", "..", words)
        yield Broken(
            rule=f"{OUTLINE}: contour {name}",
            message=f"no region can be made of the contour: {general}",
            severity=WARNING,
            rows=rows,
            column="contour" if general != words else None,
            values=_spread(places[mine], said[mine], count),
        )


def _mask(places: npt.NDArray[np.int64], count: int) -> pa.Array:
    found = np.zeros(count, np.bool_)
    found[places] = True
    return pa.array(found)


def _spread(places: npt.NDArray[np.int64], texts: Sequence[str], count: int) -> pa.Array:
    found = np.full(count, None, object)
    found[places] = texts
    return pa.array(found, pa.string())
