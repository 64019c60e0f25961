"""Report the regions that are made from contours: how well they match, and which rows have none, and why."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.mapping import SOURCE_RELATION
from hven.ingest._rules import INFO_SEVERITY, WARNING_SEVERITY, RuleViolation
from hven.model.literal import combine_chunks
from hven.model.sky import Moc, Regions, contour_faults, region_files, sphere
from hven.sources import ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import numpy.typing as npt

    from hven.descriptor.mapping import CompiledMapping
    from hven.engines import QueryEvaluator
    from hven.ingest._transform import MappedRows
    from hven.model.types import ColumnType

OUTLINE_COLUMN, COVERAGE_COLUMN, QUALITY_COLUMN = "s_region", "coverage", "region_quality"
MAX_ADDED_SHARE = 0.0101  # a MOC that exceeds its region by more than this share of the region is reported ..
MAX_PUBLISHED_ADDED_SHARE = 1.0  # .. and beyond this share it is not published: most of it is outside the region
CORRECTED_QUALITY = "mended"
QUALITY_MESSAGES = {
    "exact": "with an exact region",
    "clipped_at_limb": "whose region is cut off at the limb (clipped_at_limb)",
    "multi_part": "whose region has several parts or holes (multi_part): s_region is the outline of the largest",
    CORRECTED_QUALITY: "polygons cross or touch themselves or each other: "
    "the region is everything that they enclose (mended)",
    "hull": "whose region has several parts or holes: s_region is their hull (hull)",
    "degenerate": "whose contour is a line or a point: the region is a small polygon (degenerate)",
}
_DALI_SHAPE_PATTERN = re.compile(r"\s*(?:circle|polygon|range|point)\s+[-+.\d]")
_OTHER_FRAME_PATTERN = re.compile(r"(?i)\b(?:unknownframe|geo_[cd])\b")
_SKY_FRAME_PATTERN = re.compile(r"(?i)\b(?:icrs|fk[45]|j2000|b1950|(?:super_)?galactic(?:_ii?)?|ecliptic)\b")


def report_contour_quality_and_clear_coverage(
    evaluator: QueryEvaluator, mapping: CompiledMapping, mapped_rows: MappedRows, batch: pa.RecordBatch
) -> Iterator[RuleViolation]:
    """Report how well the regions of mapped rows match their contours, and why contours have no region.

    A coverage that exceeds its region too much is replaced by null.
    """
    if mapped_rows.contour_query is None:
        return
    bound = mapped_rows.contour_query
    rows = mapped_rows.rows

    def query_contours(row_positions: npt.NDArray[np.int64]) -> pa.Table:
        """Query the contours of some mapped rows again, each source row once."""
        source_positions = row_positions
        if mapped_rows.source_positions is not None:
            source_positions = mapped_rows.source_positions[row_positions]
        unique_positions, inverse = np.unique(source_positions, return_inverse=True)
        source_rows = batch.take(pa.array(unique_positions))
        answers = evaluator.evaluate_query(bound, {SOURCE_RELATION: source_rows, **mapping.lookups})
        answer_order = np.argsort(np.asarray(combine_chunks(answers.column(ROW_NUMBER_COLUMN))))
        return answers.take(pa.array(answer_order[inverse]))

    if QUALITY_COLUMN in mapping.contour_columns:
        yield from _report_region_qualities(mapping, rows.column(QUALITY_COLUMN), QUALITY_MESSAGES)
    elif any(column.name == QUALITY_COLUMN for column in bound.columns):
        quality_words = query_contours(np.arange(rows.num_rows)).column(QUALITY_COLUMN)
        corrected_message = {CORRECTED_QUALITY: QUALITY_MESSAGES[CORRECTED_QUALITY]}
        yield from _report_region_qualities(mapping, quality_words, corrected_message)
    missing_positions = np.flatnonzero(np.asarray(pc.is_null(rows.column(OUTLINE_COLUMN))))
    if missing_positions.size:
        answers = query_contours(missing_positions)
        yield from _report_missing_regions(missing_positions, answers, rows.num_rows)
    if COVERAGE_COLUMN not in mapping.contour_columns:
        return
    coverages = rows.column(COVERAGE_COLUMN)
    covered_positions = np.flatnonzero(np.asarray(pc.is_valid(coverages)))
    if covered_positions.size:
        area_column = combine_chunks(query_contours(covered_positions).column("area"))
        areas = np.asarray(area_column.to_numpy(zero_copy_only=False), np.float64)
        text_areas = Moc.compute_text_sky_fractions(coverages.take(pa.array(covered_positions)))
        added_shares = text_areas * sphere.SKY_AREA_SQUARE_DEGREES / areas - 1.0
        yield from _report_excess_coverage(covered_positions, added_shares, rows.num_rows)
        excessive_positions = covered_positions[added_shares > MAX_PUBLISHED_ADDED_SHARE]
        if excessive_positions.size:
            nulls = pa.nulls(len(excessive_positions), pa.string())
            mapped_rows.rows = _replace_column_values(rows, COVERAGE_COLUMN, excessive_positions, nulls)
            mapped_rows.constant_columns -= {COVERAGE_COLUMN}


def _report_region_qualities(
    mapping: CompiledMapping, quality_words: pa.Array | pa.ChunkedArray, messages: Mapping[str, str]
) -> Iterator[RuleViolation]:
    """Report how many rows have each quality of their region."""
    has_all_parts = mapping.table.find_column(OUTLINE_COLUMN).type.xtype == "multishape"
    words = combine_chunks(quality_words)
    for word, message in messages.items():
        quality_mask = pc.fill_null(pc.equal(words, word), False)
        if not pc.any(quality_mask).as_py():
            continue
        rule, severity = f"region {word}", INFO_SEVERITY
        if word == CORRECTED_QUALITY:
            rule, severity = word, WARNING_SEVERITY
        shown_message = message
        if has_all_parts:
            shown_message = message.replace("is the outline of the largest", "has all parts")
        yield RuleViolation(
            rule=f"{OUTLINE_COLUMN}: {rule}", message=shown_message, severity=severity, row_mask=quality_mask
        )


def _report_excess_coverage(
    row_positions: npt.NDArray[np.int64], added_shares: npt.NDArray[np.float64], row_count: int
) -> Iterator[RuleViolation]:
    """Report the rows whose coverage exceeds the region, and those whose coverage is left out for this reason."""
    is_excessive = added_shares > MAX_PUBLISHED_ADDED_SHARE
    is_larger = (added_shares > MAX_ADDED_SHARE) & ~is_excessive
    larger_message = (
        f"{COVERAGE_COLUMN} is over 1 % larger than the region: the region's outline is so long that it would need "
        "more than 10,000 finer cells"
    )
    excessive_message = (
        f"{COVERAGE_COLUMN} is left empty: the region is so long and narrow that 10,000 cells would mostly cover its "
        "surroundings"
    )
    for word, severity, is_selected, message in (
        ("more", INFO_SEVERITY, is_larger, larger_message),
        ("left out", WARNING_SEVERITY, is_excessive, excessive_message),
    ):
        if is_selected.any():
            percentages = [f"{share:.1%}" for share in added_shares[is_selected]]
            selected_positions = row_positions[is_selected]
            yield RuleViolation(
                rule=f"{COVERAGE_COLUMN}: {word}",
                message=message,
                severity=severity,
                row_mask=_build_row_mask(selected_positions, row_count),
                column="added",
                values=_build_text_array(selected_positions, percentages, row_count),
            )


def replace_crossing_polygons(
    mapped_rows: MappedRows, column_name: str, crossing_mask: pa.Array, *, column_type: ColumnType, is_on_body: bool
) -> Iterator[RuleViolation]:
    """Replace polygons that cross themselves by the regions that they enclose, and report it.

    A polygon without area becomes null. A text has all parts of its region. A polygon of numbers is the outline of the
    largest part; `COVERAGE_COLUMN` has all parts, if the table has this column.
    """
    rows = mapped_rows.rows
    row_positions = np.flatnonzero(np.asarray(crossing_mask))
    crossing_values = rows.column(column_name).take(pa.array(row_positions))
    is_text = pa.types.is_string(crossing_values.type)
    if is_text:
        corrected_regions = region_files.parse_region_texts(crossing_values.to_pylist(), make_valid=True).regions
    else:
        ends = np.append(0, np.cumsum(np.asarray(crossing_values.value_lengths())))
        coordinates = np.asarray(crossing_values.flatten(), np.float64)
        corrected_regions = Regions.from_polygons(ends, coordinates).make_valid()
    ring_counts = corrected_regions.ring_counts
    has_several_parts = np.zeros(len(row_positions), np.bool_)
    if not is_text or column_type.xtype == "shape":
        has_several_parts = ring_counts > 1
    divided_rows = np.flatnonzero(has_several_parts)
    largest_outlines = corrected_regions.take(divided_rows).take_largest_outlines()
    shown_regions = corrected_regions.replace_rows(divided_rows, largest_outlines)
    if is_text:
        corrected_values = _format_regions(shown_regions, crossing_values, is_on_body=is_on_body)
    else:
        corrected_values = _to_coordinate_lists(shown_regions if is_on_body else shown_regions.reverse_rings())
    rows = _replace_column_values(rows, column_name, row_positions, corrected_values)
    mapped_rows.constant_columns -= {column_name}
    for column, affected_mask in ((QUALITY_COLUMN, ring_counts > 0), (COVERAGE_COLUMN, has_several_parts)):
        if column_name != OUTLINE_COLUMN or column not in rows.schema.names or not affected_mask.any():
            continue
        if not pa.types.is_string(rows.schema.field(column).type):  # a column of another meaning
            continue
        is_empty = np.asarray(pc.is_null(rows.column(column)))[row_positions]
        filled_mask = affected_mask & is_empty  # values of the source stay
        filled_count = int(filled_mask.sum())
        new_values = pa.repeat(CORRECTED_QUALITY, filled_count)
        added_shares = np.zeros(filled_count)
        if column == COVERAGE_COLUMN:
            mocs, added_shares = corrected_regions.take(np.flatnonzero(filled_mask)).to_mocs()
            is_excessive = pa.array(added_shares > MAX_PUBLISHED_ADDED_SHARE)
            new_values = pc.if_else(is_excessive, None, Moc.to_texts(mocs))
        rows = _replace_column_values(rows, column, row_positions[filled_mask], new_values)
        yield from _report_excess_coverage(row_positions[filled_mask], added_shares, rows.num_rows)
        mapped_rows.constant_columns -= {column}
    mapped_rows.rows = rows
    several_parts_message = (
        f"a polygon that crosses itself encloses several parts or a hole: {column_name} is the outline of the "
        f"largest part, and {COVERAGE_COLUMN}, if the table has it, contains all parts"
    )
    for word, affected_mask, message in (
        (
            "wound round",
            (ring_counts > 0) & ~has_several_parts,
            "a polygon crosses itself: Hven publishes the region that the polygon encloses",
        ),
        ("several parts", has_several_parts, several_parts_message),
        ("no area", ring_counts == 0, f"a polygon has no area: {column_name} is left empty"),
    ):
        if affected_mask.any():
            row_mask = _build_row_mask(row_positions[affected_mask], rows.num_rows)
            yield RuleViolation(
                rule=f"{column_name}: {word}", message=message, severity=INFO_SEVERITY, row_mask=row_mask
            )


def _to_coordinate_lists(regions: Regions) -> pa.Array:
    """Return regions of one ring each as lists of coordinates, the form of DALI; empty regions are null."""
    coordinates = pa.array(np.stack([regions.lon, regions.lat], axis=1).ravel())
    vertex_counts = np.bincount(regions.vertex_rows, minlength=len(regions))
    ends = 2 * np.append(0, np.cumsum(vertex_counts))
    empty_mask = pa.array(np.append(np.diff(ends) == 0, False))
    offsets = pc.if_else(empty_mask, None, pa.array(ends.astype(np.int32)))
    return pa.ListArray.from_arrays(offsets, coordinates)


def _format_regions(regions: Regions, original_texts: pa.Array, *, is_on_body: bool) -> pa.Array:
    """Format regions like the texts that they come from: DALI, or STC-S with its frame.

    Regions on the sky are in ICRS by now, so their frame becomes ICRS.
    """
    formatted_texts = pa.nulls(len(original_texts), pa.string())
    form_list = []
    for text in original_texts.to_pylist():
        is_dali = _DALI_SHAPE_PATTERN.match(text) is not None
        form_list.append(("multishape", "") if is_dali else ("stcs", _find_frame_word(text)))
    forms = np.array(form_list)
    for kind, frame in np.unique(forms, axis=0).tolist():
        form_mask = (forms == (kind, frame)).all(axis=1)
        form_regions = regions.take(np.flatnonzero(form_mask))
        texts = region_files.write_region_texts(form_regions, kind, frame=frame, from_outside=is_on_body)
        formatted_texts = pc.replace_with_mask(formatted_texts, pa.array(form_mask), texts)
    return formatted_texts


def _find_frame_word(text: str) -> str:
    frame_match = _OTHER_FRAME_PATTERN.search(text)
    if frame_match:
        return frame_match[0]
    if _SKY_FRAME_PATTERN.search(text):
        return "ICRS"
    return ""


def _replace_column_values(
    rows: pa.RecordBatch, column_name: str, row_positions: npt.NDArray[np.int64], values: pa.Array
) -> pa.RecordBatch:
    """Return a batch in which some rows of a column have other values."""
    column_number = rows.schema.get_field_index(column_name)
    schema_field = rows.schema.field(column_number)
    all_values = pa.concat_arrays([rows.column(column_number), values.cast(schema_field.type)])
    value_positions = np.arange(rows.num_rows)
    value_positions[row_positions] = rows.num_rows + np.arange(len(row_positions))
    return rows.set_column(column_number, schema_field, all_values.take(pa.array(value_positions)))


def _report_missing_regions(
    row_positions: npt.NDArray[np.int64], answers: pa.Table, row_count: int
) -> Iterator[RuleViolation]:
    """Report the rows without a region, one violation for each reason."""
    names = combine_chunks(answers.column("name")).to_numpy(zero_copy_only=False)
    fault_texts = combine_chunks(answers.column("said")).to_numpy(zero_copy_only=False)
    area_is_positive = pc.greater(combine_chunks(answers.column("area")), 0.0)
    has_area = np.asarray(pc.fill_null(area_is_positive, False))
    for name in dict.fromkeys(names.tolist()):
        fault_mask = names == name
        row_mask = _build_row_mask(row_positions[fault_mask], row_count)
        if name is None:
            covers_sphere = _build_row_mask(row_positions[fault_mask & has_area], row_count)
            has_no_contour = pc.and_not(row_mask, covers_sphere)
            contour_message = f"without a contour: {OUTLINE_COLUMN} left empty"
            sphere_message = f"without an outline, because the region is the whole sphere: {OUTLINE_COLUMN} left empty"
            for reason_mask, message in ((has_no_contour, contour_message), (covers_sphere, sphere_message)):
                if pc.any(reason_mask).as_py():
                    reason = message.partition(",")[0].partition(":")[0]
                    yield RuleViolation(
                        rule=f"{OUTLINE_COLUMN}: {reason}",
                        message=message,
                        severity=INFO_SEVERITY,
                        row_mask=reason_mask,
                    )
            continue
        fault_text = contour_faults.FAULT_MESSAGES[name]
        generalized_text = re.sub(r"\{[^}]*\}", "..", fault_text)
        yield RuleViolation(
            rule=f"{OUTLINE_COLUMN}: contour {name}",
            message=f"the contour does not define a region: {generalized_text}; {contour_faults.FAULT_REMEDIES[name]}",
            severity=WARNING_SEVERITY,
            row_mask=row_mask,
            column="contour" if generalized_text != fault_text else None,
            values=_build_text_array(row_positions[fault_mask], fault_texts[fault_mask], row_count),
        )


def _build_row_mask(row_positions: npt.NDArray[np.int64], row_count: int) -> pa.Array:
    mask = np.zeros(row_count, np.bool_)
    mask[row_positions] = True
    return pa.array(mask)


def _build_text_array(row_positions: npt.NDArray[np.int64], texts: Sequence[str], row_count: int) -> pa.Array:
    texts_by_row = np.full(row_count, None, object)
    texts_by_row[row_positions] = texts
    return pa.array(texts_by_row, pa.string())
