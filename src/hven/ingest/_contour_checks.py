"""Regions of contours as the report tells them: how many stand how, and which rows have none, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE_RELATION
from hven.ingest._casting import combine_chunks
from hven.ingest._rules import INFO_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.model.sky import Moc, Regions, contours, region_files, sphere
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping
    from hven.engines import StorageEngine
    from hven.ingest._transform import MappedRows
    from hven.model.types import Type

OUTLINE_COLUMN, COVERAGE_COLUMN, QUALITY_COLUMN = "s_region", "coverage", "region_quality"
MAX_ADDED_SHARE = 0.0101  # what a MOC may have more than its region, as a share of it, before the report tells of it
MOST_ADDED = 1.0  # .. and be published: with more, most places that it holds are outside the region
CORRECTED_QUALITY = "mended"
QUALITY_MESSAGES = {
    "exact": "with an exact region",
    "clipped_at_limb": "whose region is cut at the limb (clipped_at_limb)",
    "multi_part": "whose region has several parts or holes (multi_part): s_region is the outline of the largest",
    CORRECTED_QUALITY: "polygons cross or touch themselves, or each other: "
    "what they wind round stands for them (mended)",
    "hull": "whose region has several parts or holes: s_region is their hull (hull)",
    "degenerate": "whose contour is a line or a point: a small polygon stands for it (degenerate)",
}
_DALI_SHAPE_PATTERN = re.compile(r"\s*(?:circle|polygon|range|point)\s+[-+.\d]")
_OTHER_FRAME_PATTERN = re.compile(r"(?i)\b(?:unknownframe|geo_[cd])\b")
_SKY_FRAME_PATTERN = re.compile(r"(?i)\b(?:icrs|fk[45]|j2000|b1950|(?:super_)?galactic(?:_ii?)?|ecliptic)\b")


# the checks share the rows of contours that are asked for once
def find_contour_violations(  # noqa: C901
    engine: StorageEngine, mapping: CompiledMapping, mapped: MappedRows, batch: pa.RecordBatch
) -> Iterator[RuleViolation]:
    """Tell of mapped rows how their regions stand for their contours; contours without one are asked why, once more."""
    if mapped.contour_query is None:
        return
    rows = mapped.rows

    def query_contours(row_positions: npt.NDArray[np.int64]) -> pa.Table:
        if mapped.source_positions is None:
            source_positions = row_positions
        else:
            source_positions = mapped.source_positions[row_positions]
        unique_positions, inverse = np.unique(source_positions, return_inverse=True)
        answers = engine.evaluate_query(
            bound, {SOURCE_RELATION: batch.take(pa.array(unique_positions)), **mapping.lookups}
        )
        return answers.take(
            pa.array(np.argsort(np.asarray(combine_chunks(answers.column(ROW_NUMBER_COLUMN))))[inverse])
        )

    bound = mapped.contour_query
    quality_words, messages = None, QUALITY_MESSAGES
    if QUALITY_COLUMN in mapping.contour_columns:
        quality_words = rows.column(QUALITY_COLUMN)
    elif any(column.name == QUALITY_COLUMN for column in bound.columns):
        quality_words = query_contours(np.arange(rows.num_rows)).column(QUALITY_COLUMN)
        messages = {CORRECTED_QUALITY: QUALITY_MESSAGES[CORRECTED_QUALITY]}
    if mapping.table.find_column(OUTLINE_COLUMN).type.xtype == "multishape":
        messages = {
            word: text.replace("is the outline of the largest", "has all parts") for word, text in messages.items()
        }
    for word, message in messages.items() if quality_words is not None else ():
        quality_mask = pc.fill_null(pc.equal(combine_chunks(quality_words), word), False)
        if pc.any(quality_mask).as_py():
            if word == CORRECTED_QUALITY:
                rule, severity = (word, WARNING_SEVERITY)
            else:
                rule, severity = (f"region {word}", INFO_SEVERITY)
            yield RuleViolation(
                rule=f"{OUTLINE_COLUMN}: {rule}", message=message, severity=severity, row_mask=quality_mask
            )
    empty_mask = np.asarray(pc.is_null(rows.column(OUTLINE_COLUMN)))
    if empty_mask.any():
        yield from _find_missing_regions(
            np.flatnonzero(empty_mask), query_contours(np.flatnonzero(empty_mask)), rows.num_rows
        )
    if (
        COVERAGE_COLUMN in mapping.contour_columns
        and (covered_positions := np.flatnonzero(np.asarray(pc.is_valid(rows.column(COVERAGE_COLUMN))))).size
    ):
        area = np.asarray(
            combine_chunks(query_contours(covered_positions).column("area")).to_numpy(zero_copy_only=False), np.float64
        )
        text_areas = Moc.compute_text_areas(rows.column(COVERAGE_COLUMN).take(pa.array(covered_positions)))
        added_shares = text_areas * sphere.SKY_AREA_SQUARE_DEGREES / area - 1.0
        yield from _report_excess_cells(covered_positions, added_shares, rows.num_rows)
        if (worse := covered_positions[added_shares > MOST_ADDED]).size:
            mapped.rows = _replace_values(rows, COVERAGE_COLUMN, worse, pa.nulls(len(worse), pa.string()))
            mapped.constant_columns -= {COVERAGE_COLUMN}


def _report_excess_cells(
    places: npt.NDArray[np.int64], added: npt.NDArray[np.float64], count: int
) -> Iterator[RuleViolation]:
    """Tell which rows have cells that cover more than the region, and which have none, as they would cover far more."""
    for word, severity, is_selected, message in (
        (
            "more",
            INFO_SEVERITY,
            (added > MAX_ADDED_SHARE) & (added <= MOST_ADDED),
            f"{COVERAGE_COLUMN} has over 1 % more than the region: 10,000 cells along an outline so long are no finer",
        ),
        (
            "left out",
            WARNING_SEVERITY,
            added > MOST_ADDED,
            (
                f"{COVERAGE_COLUMN} is left empty: most of what 10,000 cells along an outline so long and narrow "
                f"cover is outside the region"
            ),
        ),
    ):
        if is_selected.any():
            percentages = [f"{fraction:.1%}" for fraction in added[is_selected]]
            at = places[is_selected]
            row_mask = _build_mask(at, count)
            text_array = _build_text_array(at, percentages, count)
            yield RuleViolation(
                rule=f"{COVERAGE_COLUMN}: {word}",
                message=message,
                severity=severity,
                row_mask=row_mask,
                column="added",
                values=text_array,
            )


def replace_crossing_polygons(
    mapped: MappedRows, name: str, crossing_mask: pa.Array, *, column_type: Type, is_on_body: bool
) -> Iterator[RuleViolation]:
    """Put what they wind round in the place of polygons that cross themselves, and tell of it.

    One without area is left empty.

    Texts say all its parts. Of several parts a polygon is the outline of the largest; all stand in `COVERAGE_COLUMN`,
    where the table has that.
    """
    rows = mapped.rows
    row_positions = np.flatnonzero(np.asarray(crossing_mask))
    crossing_values = rows.column(name).take(pa.array(row_positions))
    is_text = pa.types.is_string(crossing_values.type)
    if is_text:
        region_texts = region_files.parse_region_texts(crossing_values.to_pylist(), make_valid=True)
        corrected_regions = region_texts.regions
    else:
        ends = np.append(0, np.cumsum(np.asarray(crossing_values.value_lengths())))
        corrected_regions = Regions.from_polygons(ends, np.asarray(crossing_values.flatten(), np.float64)).make_valid()
    ring_counts = corrected_regions.ring_counts
    if not is_text or column_type.xtype == "shape":
        has_several_parts = ring_counts > 1
    else:
        has_several_parts = np.zeros(len(row_positions), np.bool_)
    shown_regions = corrected_regions.replace_rows(
        np.flatnonzero(has_several_parts),
        corrected_regions.take(np.flatnonzero(has_several_parts)).take_largest_outlines(),
    )
    if is_text:
        corrected_values = _format_regions(shown_regions, crossing_values, is_on_body=is_on_body)
    else:
        corrected_values = _to_coordinate_lists(shown_regions if is_on_body else shown_regions.reverse_rings())
    rows = _replace_values(rows, name, row_positions, corrected_values)
    mapped.constant_columns -= {name}
    for column, affected_mask in ((QUALITY_COLUMN, ring_counts > 0), (COVERAGE_COLUMN, has_several_parts)):
        if name != OUTLINE_COLUMN or column not in rows.schema.names or not affected_mask.any():
            continue
        if not pa.types.is_string(rows.schema.field(column).type):  # in a table of no standard
            continue
        free_mask = (
            affected_mask & np.asarray(pc.is_null(rows.column(column)))[row_positions]
        )  # what the source says stays
        is_coverage = column == COVERAGE_COLUMN
        new_values = pa.repeat(CORRECTED_QUALITY, int(free_mask.sum()))
        added = np.zeros(int(free_mask.sum()))
        if is_coverage:
            mocs, added = corrected_regions.take(np.flatnonzero(free_mask)).to_mocs()
            new_values = pc.if_else(pa.array(added > MOST_ADDED), None, Moc.to_texts(mocs))
        rows = _replace_values(rows, column, row_positions[free_mask], new_values)
        yield from _report_excess_cells(row_positions[free_mask], added, rows.num_rows)
        mapped.constant_columns -= {column}
    mapped.rows = rows
    for word, affected_mask, message in (
        (
            "wound round",
            (ring_counts > 0) & ~has_several_parts,
            "what a polygon winds round that crosses itself is published instead of it",
        ),
        (
            "several parts",
            has_several_parts,
            (
                f"a polygon that crosses itself winds round several parts, or a hole: {name} is the outline of the "
                f"largest, and {COVERAGE_COLUMN} has all where the table has that column"
            ),
        ),
        ("no area", ring_counts == 0, f"a polygon has no area: {name} is left empty"),
    ):
        if affected_mask.any():
            row_mask = _build_mask(row_positions[affected_mask], mapped.rows.num_rows)
            yield RuleViolation(
                rule=f"{name}: {word}",
                message=message,
                severity=INFO_SEVERITY,
                row_mask=row_mask,
            )


def _to_coordinate_lists(regions: Regions) -> pa.Array:
    """Write regions of one ring each as DALI's numbers."""
    corners = pa.array(np.stack([regions.lon, regions.lat], axis=1).ravel())
    ends = 2 * np.append(0, np.cumsum(np.bincount(regions.vertex_rows, minlength=len(regions))))
    empty_mask = pa.array(np.append(np.diff(ends) == 0, False))
    return pa.ListArray.from_arrays(pc.if_else(empty_mask, None, pa.array(ends.astype(np.int32))), corners)


def _format_regions(regions: Regions, original_texts: pa.Array, *, is_on_body: bool) -> pa.Array:
    """Write regions in the words of the texts that they come from.

    DALI's or STC-S, with the frame, which is ICRS of all on the sky now.
    """
    formatted_texts = pa.nulls(len(original_texts), pa.string())
    forms = np.array(
        [
            ("multishape", "") if _DALI_SHAPE_PATTERN.match(text) else ("stcs", _find_frame_word(text))
            for text in original_texts.to_pylist()
        ]
    )
    for kind, frame in np.unique(forms, axis=0).tolist():
        form_mask = (forms == (kind, frame)).all(axis=1)
        texts = region_files.write_region_texts(
            regions.take(np.flatnonzero(form_mask)), kind, frame=frame, from_outside=is_on_body
        )
        formatted_texts = pc.replace_with_mask(formatted_texts, pa.array(form_mask), texts)
    return formatted_texts


def _find_frame_word(text: str) -> str:
    frame_match = _OTHER_FRAME_PATTERN.search(text)
    if frame_match:
        return frame_match[0]
    if _SKY_FRAME_PATTERN.search(text):
        return "ICRS"
    return ""


def _replace_values(
    rows: pa.RecordBatch, name: str, row_positions: npt.NDArray[np.int64], values: pa.Array
) -> pa.RecordBatch:
    number = rows.schema.get_field_index(name)
    order = np.arange(rows.num_rows)
    order[row_positions] = rows.num_rows + np.arange(len(row_positions))
    kind = rows.schema.field(number)
    return rows.set_column(
        number, kind, pa.concat_arrays([rows.column(number), values.cast(kind.type)]).take(pa.array(order))
    )


def _find_missing_regions(
    row_positions: npt.NDArray[np.int64], answers: pa.Table, count: int
) -> Iterator[RuleViolation]:
    """Tell which rows have no region, fault by fault."""
    names, fault_texts = (
        combine_chunks(answers.column(name)).to_numpy(zero_copy_only=False) for name in ("name", "said")
    )
    has_area = np.asarray(pc.fill_null(pc.greater(combine_chunks(answers.column("area")), 0.0), False))
    for name in dict.fromkeys(names.tolist()):
        fault_mask = names == name
        rows = _build_mask(row_positions[fault_mask], count)
        if name is None:
            covers_sphere = _build_mask(row_positions[fault_mask & has_area], count)
            for row_mask, message in (
                (pc.and_not(rows, covers_sphere), f"without a contour: {OUTLINE_COLUMN} left empty"),
                (
                    covers_sphere,
                    f"without an outline, for the region is all of the sphere: {OUTLINE_COLUMN} left empty",
                ),
            ):
                if pc.any(row_mask).as_py():
                    rule = f"{OUTLINE_COLUMN}: {message.partition(',')[0].partition(':')[0]}"
                    yield RuleViolation(rule=rule, message=message, severity=INFO_SEVERITY, row_mask=row_mask)
            continue
        fault_text = contours.FAULT_MESSAGES[name]
        generalized_text = re.sub(r"\{[^}]*\}", "..", fault_text)
        column = "contour" if generalized_text != fault_text else None
        text_array = _build_text_array(row_positions[fault_mask], fault_texts[fault_mask], count)
        yield RuleViolation(
            rule=f"{OUTLINE_COLUMN}: contour {name}",
            message=f"no region can be made of the contour: {generalized_text}; {contours.FAULT_REMEDIES[name]}",
            severity=WARNING_SEVERITY,
            row_mask=rows,
            column=column,
            values=text_array,
        )


def _build_mask(row_positions: npt.NDArray[np.int64], row_count: int) -> pa.Array:
    mask = np.zeros(row_count, np.bool_)
    mask[row_positions] = True
    return pa.array(mask)


def _build_text_array(row_positions: npt.NDArray[np.int64], texts: Sequence[str], row_count: int) -> pa.Array:
    texts_by_row = np.full(row_count, None, object)
    texts_by_row[row_positions] = texts
    return pa.array(texts_by_row, pa.string())
