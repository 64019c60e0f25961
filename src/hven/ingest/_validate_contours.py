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
from hven.model.sky import Moc, Regions, contours, region_files, sphere
from hven.sources import ROW

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.descriptor.mapping import Mapping
    from hven.engines import Engine
    from hven.ingest._transform import Mapped
    from hven.model.types import Type

OUTLINE, COVERAGE, QUALITY = "s_region", "coverage", "region_quality"
ADDED = 0.0101  # what a MOC may have more than its region, as a share of it, before the report tells of it
MOST_ADDED = 1.0  # .. and be published: with more, most places that it holds are outside the region
MENDED = "mended"
STANDS = {
    "exact": "with an exact region",
    "clipped_at_limb": "whose region is cut at the limb (clipped_at_limb)",
    "multi_part": "whose region has several parts or holes (multi_part): s_region is the outline of the largest",
    MENDED: "polygons cross or touch themselves, or each other: what they wind round stands for them (mended)",
    "hull": "whose region has several parts or holes: s_region is their hull (hull)",
    "degenerate": "whose contour is a line or a point: a small polygon stands for it (degenerate)",
}
_DALI = re.compile(r"\s*(?:circle|polygon|range|point)\s+[-+.\d]")
_OWN = re.compile(r"(?i)\b(?:unknownframe|geo_[cd])\b")
_SKY = re.compile(r"(?i)\b(?:icrs|fk[45]|j2000|b1950|(?:super_)?galactic(?:_ii?)?|ecliptic)\b")


def contoured(engine: Engine, mapping: Mapping, mapped: Mapped, batch: pa.RecordBatch) -> Iterator[Broken]:
    """Tell of mapped rows how their regions stand for their contours; contours without one are asked why, once more."""
    if mapped.contour is None:
        return
    rows = mapped.rows

    def asked(places: npt.NDArray[np.int64]) -> pa.Table:
        at = places if mapped.at is None else mapped.at[places]
        once, of = np.unique(at, return_inverse=True)
        told = engine.compute(bound, {SOURCE: batch.take(pa.array(once)), **mapping.lookups})
        return told.take(pa.array(np.argsort(np.asarray(whole(told.column(ROW))))[of]))

    bound = mapped.contour
    words, named = None, STANDS
    if QUALITY in mapping.filled:
        words = rows.column(QUALITY)
    elif any(column.name == QUALITY for column in bound.columns):
        words, named = asked(np.arange(rows.num_rows)).column(QUALITY), {MENDED: STANDS[MENDED]}
    if mapping.table.column(OUTLINE).type.xtype == "multishape":
        named = {word: text.replace("is the outline of the largest", "has all parts") for word, text in named.items()}
    for word, message in named.items() if words is not None else ():
        found = pc.fill_null(pc.equal(whole(words), word), False)
        if pc.any(found).as_py():
            rule, severity = (word, WARNING) if word == MENDED else (f"region {word}", INFO)
            yield Broken(rule=f"{OUTLINE}: {rule}", message=message, severity=severity, rows=found)
    empty = np.asarray(pc.is_null(rows.column(OUTLINE)))
    if empty.any():
        yield from _without(np.flatnonzero(empty), asked(np.flatnonzero(empty)), rows.num_rows)
    if COVERAGE in mapping.filled and (there := np.flatnonzero(np.asarray(pc.is_valid(rows.column(COVERAGE))))).size:
        area = np.asarray(whole(asked(there).column("area")).to_numpy(zero_copy_only=False), np.float64)
        added = Moc.areas(rows.column(COVERAGE).take(pa.array(there))) * sphere.SKY / area - 1.0
        yield from _report_excess_cells(there, added, rows.num_rows)
        if (worse := there[added > MOST_ADDED]).size:
            mapped.rows = _put(rows, COVERAGE, worse, pa.nulls(len(worse), pa.string()))
            mapped.constant -= {COVERAGE}


def _report_excess_cells(places: npt.NDArray[np.int64], added: npt.NDArray[np.float64], count: int) -> Iterator[Broken]:
    """Tell which rows have cells that cover more than the region, and which have none, as they would cover far more."""
    for word, severity, some, message in (
        ("more", INFO, (added > ADDED) & (added <= MOST_ADDED), f"{COVERAGE} has over 1 % more than the region: 10,000 cells along an outline so long are no finer"),
        ("left out", WARNING, added > MOST_ADDED, f"{COVERAGE} is left empty: most of what 10,000 cells along an outline so long and narrow cover is outside the region"),
    ):  # fmt: skip
        if some.any():
            shown, at = [f"{one:.1%}" for one in added[some]], places[some]
            yield Broken(
                rule=f"{COVERAGE}: {word}",
                message=message,
                severity=severity,
                rows=_mask(at, count),
                column="added",
                values=_spread(at, shown, count),
            )


def mended(mapped: Mapped, name: str, bad: pa.Array, *, kind: Type, outside: bool) -> Iterator[Broken]:
    """Put what they wind round in the place of polygons that cross themselves, and tell of it; one without area is left empty.

    Texts say all its parts. Of several parts a polygon is the outline of the largest; all stand in `COVERAGE`, where the table has that.
    """
    rows = mapped.rows
    at = np.flatnonzero(np.asarray(bad))
    given = rows.column(name).take(pa.array(at))
    text = pa.types.is_string(given.type)
    if text:
        found = region_files.of_texts(given.to_pylist(), mend=True).regions
    else:
        ends = np.append(0, np.cumsum(np.asarray(given.value_lengths())))
        found = Regions.polygons(ends, np.asarray(given.flatten(), np.float64)).mended()
    rings = found.ring_counts
    part = rings > 1 if not text or kind.xtype == "shape" else np.zeros(len(at), np.bool_)
    shown = found.replaced(np.flatnonzero(part), found.take(np.flatnonzero(part)).largest())
    made = _written(shown, given, outside=outside) if text else _listed(shown if outside else shown.backwards())
    rows = _put(rows, name, at, made)
    mapped.constant -= {name}
    for column, which in ((QUALITY, rings > 0), (COVERAGE, part)):
        if name != OUTLINE or column not in rows.schema.names or not which.any():
            continue
        if not pa.types.is_string(rows.schema.field(column).type):  # in a table of no standard
            continue
        free = which & np.asarray(pc.is_null(rows.column(column)))[at]  # what the source says stays
        several = column == COVERAGE
        said, added = pa.repeat(MENDED, int(free.sum())), np.zeros(int(free.sum()))
        if several:
            mocs, added = found.take(np.flatnonzero(free)).mocs()
            said = pc.if_else(pa.array(added > MOST_ADDED), None, Moc.texts(mocs))
        rows = _put(rows, column, at[free], said)
        yield from _report_excess_cells(at[free], added, rows.num_rows)
        mapped.constant -= {column}
    mapped.rows = rows
    for word, which, message in (
        ("wound round", (rings > 0) & ~part, "what a polygon winds round that crosses itself is published instead of it"),
        ("several parts", part, f"a polygon that crosses itself winds round several parts, or a hole: {name} is the outline of the largest, and {COVERAGE} has all where the table has that column"),
        ("no area", rings == 0, f"a polygon has no area: {name} is left empty"),
    ):  # fmt: skip
        if which.any():
            yield Broken(
                rule=f"{name}: {word}", message=message, severity=INFO, rows=_mask(at[which], mapped.rows.num_rows)
            )


def _listed(shown: Regions) -> pa.Array:
    """Write regions of one ring each as DALI's numbers."""
    corners = pa.array(np.stack([shown.lon, shown.lat], axis=1).ravel())
    ends = 2 * np.append(0, np.cumsum(np.bincount(shown.vertex_rows, minlength=len(shown))))
    none = pa.array(np.append(np.diff(ends) == 0, False))
    return pa.ListArray.from_arrays(pc.if_else(none, None, pa.array(ends.astype(np.int32))), corners)


def _written(shown: Regions, given: pa.Array, *, outside: bool) -> pa.Array:
    """Write regions in the words of the texts that they come from: DALI's or STC-S, with the frame, which is ICRS of all on the sky now."""
    made = pa.nulls(len(given), pa.string())
    forms = np.array(
        [("multishape", "") if _DALI.match(text) else ("stcs", _frame(text)) for text in given.to_pylist()]
    )
    for kind, frame in np.unique(forms, axis=0).tolist():
        which = (forms == (kind, frame)).all(axis=1)
        texts = region_files.texts(shown.take(np.flatnonzero(which)), kind, frame=frame, outside=outside)
        made = pc.replace_with_mask(made, pa.array(which), texts)
    return made


def _frame(text: str) -> str:
    own = _OWN.search(text)
    return own[0] if own else "ICRS" if _SKY.search(text) else ""


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
    all_ = np.asarray(pc.fill_null(pc.greater(whole(told.column("area")), 0.0), False))
    for name in dict.fromkeys(names.tolist()):
        mine = names == name
        rows = _mask(places[mine], count)
        if name is None:
            there = _mask(places[mine & all_], count)
            for which, message in (
                (pc.and_not(rows, there), f"without a contour: {OUTLINE} left empty"),
                (there, f"without an outline, for the region is all of the sphere: {OUTLINE} left empty"),
            ):
                if pc.any(which).as_py():
                    rule = f"{OUTLINE}: {message.partition(',')[0].partition(':')[0]}"
                    yield Broken(rule=rule, message=message, severity=INFO, rows=which)
            continue
        words = contours.FAULTS[name]
        general = re.sub(r"\{[^}]*\}", "..", words)
        yield Broken(
            rule=f"{OUTLINE}: contour {name}",
            message=f"no region can be made of the contour: {general}; {contours.REMEDIES[name]}",
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
