"""The rows of an EPN-TAP table: required values, vocabularies, intervals, times, positions and products.

These checks are part of the group epn.
"""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from hven.adql.vocabularies import load_vocabularies
from hven.model import units
from hven.plugins.lint import row_rules
from hven.plugins.lint.facts import load_standard_columns
from hven.plugins.lint.findings import parse_lint_checks

if TYPE_CHECKING:
    from hven.plugins.lint.findings import FindingCollector
    from hven.plugins.lint.row_rules import Record, RowRule
    from hven.plugins.lint.tap_service import DeclaredTable, ExaminedTapService

EPNCORE_ROW_CHECKS = parse_lint_checks("""
epn.condition | error | TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2 | E_QERR E_QERX
    a plain ADQL condition on a column fails
    read the service's own message, and check the column's type
epn.null | error | EPN-TAP 2.0 sec. 2 | E_PNUL
    a column that must have a value in each row is null
    write a value
epn.half-interval | error | EPN-TAP 2.0 sec. 2 | E_PNMM
    one end of an interval is null
    write the known value into both ends
epn.interval-order | error | EPN-TAP 2.0 sec. 2 | E_PNMM
    an interval's minimum is above its maximum
    swap them
epn.product-type | error | EPN-TAP 2.0 sec. 2.1.4 | E_PNDP
    a dataproduct_type is not in the list
    use two-letter codes, joined by #
epn.target-class | error | EPN-TAP 2.0 sec. 2.2 | E_PNTG
    a target_class is not in the list
    use the standard's classes, joined by #
epn.frame | error | EPN-TAP 2.0 sec. 2.4 | E_PNFT
    a spatial_frame_type is not in the list
    use celestial, body, cartesian, spherical, cylindrical or none
epn.processing-level | error | EPN-TAP 2.0 sec. 2.1.6 | E_PNPL
    a processing_level is outside 1..6
    use 1 (telemetry), 2 (raw), 3 (calibrated), 5 (derived) or 6 (ancillary)
epn.level-four | warning | EPN-TAP 2.0 sec. 2.1.6
    a row has processing_level 4, which EPN-TAP does not use
    use level 5 for resampled data
epn.service-title | error | EPN-TAP 2.0 sec. 3 | E_PNST
    service_title is not the name of the schema
    write the schema's name in each row
epn.timestamp | error | EPN-TAP 2.0 sec. 3; DALI 1.1 sec. 3.3.3 | E_PN86
    a date is not an ISO time
    write YYYY-MM-DD[Thh:mm:ss[.s][Z]]
epn.local-time | error | EPN-TAP 2.0 sec. 2 | E_PNLT
    a local time is outside 0..24 h
    write hours since local midnight
epn.messenger | error | EPN-TAP 2.0 sec. 2; vocabulary messenger | E_PNMG
    a messenger is not in the vocabulary
    use its terms, in the same case
epn.time-scale | warning | EPN-TAP 2.0 sec. 2.3; vocabulary timescale | W_PNTS
    a time_scale is not in the vocabulary
    use its terms, in the same case
epn.geometry-type | error | EPN-TAP 2.0 sec. 5 | E_PNGT
    a geometry_type is not in the list
    use the standard's terms
epn.particle-type | error | EPN-TAP 2.0 sec. 5 | E_PPST
    a particle_spectral_type is not in the list
    use energy, mass or mass/charge
epn.inchikey | error | EPN-TAP 2.0 sec. 5 | E_PNIK
    a species_inchikey is not valid
    write 27 characters of A-Z and -, and join several keys with #
epn.julian-date | warning | EPN-TAP 2.0 sec. 2.3 | W_PNJD
    a time is not a plausible Julian Date
    write Julian Dates, not MJD: add 2400000.5
epn.duplicate | error | EPN-TAP 2.0 sec. 2
    a granule_uid occurs twice
    make it unique
epn.uid-form | error | EPN-TAP 2.0 sec. 2
    a granule_uid contains a # or is not ASCII
    use ASCII without #, because # separates the items of lists that refer to granules
epn.text | warning | EPN-TAP 2.0 sec. 3
    a string begins or ends with a space
    remove the space
epn.quotes | warning | EPN-TAP 2.0 sec. 3
    a value contains quotes
    replace them with _
epn.list | warning | EPN-TAP 2.0 sec. 3
    a list has an empty item, or spaces around #
    join items by # without spaces
epn.lower-case | warning | EPN-TAP 2.0 sec. 3
    a value is not in lower case
    write it in lower case
epn.longitude | error | EPN-TAP 2.0 sec. 2.4
    a longitude is outside 0..360
    write east longitudes in 0..360, with the westernmost longitude in c1min
epn.latitude | error | EPN-TAP 2.0 sec. 2.4
    a latitude is outside -90..90
    check whether c1 and c2 are swapped
epn.radius | error | EPN-TAP 2.0 sec. 2.4
    a radius or colatitude is impossible
    write a radius >= 0, and a colatitude in 0..180
epn.no-frame | error | EPN-TAP 2.0 sec. 2.4
    a row has coordinates but no frame
    set the frame, or set c1..c3 to NULL
epn.angle | warning | EPN-TAP 2.0 sec. 2.5
    an angle is impossible
    write incidence and emergence in 0..180, and phase in -180..180
epn.negative | error | EPN-TAP 2.0 sec. 2
    a quantity is negative
    write steps, exposures, resolutions, distances and sizes >= 0
epn.access | error | EPN-TAP 2.0 sec. 3
    a row has an access_url but no access_format or access_estsize
    add the file's format and estimated size
epn.media-type | error | EPN-TAP 2.0 sec. 3
    an access_format is not a media type in lower case
    write application/fits, image/png, ...
epn.url | error | EPN-TAP 2.0 sec. 3
    an address is not a URL
    write the complete URL, with https://
epn.measurement | warning | EPN-TAP 2.0 sec. 2.1.5; UCDList 1.6
    a measurement_type is not a UCD
    use the quantities' UCDs (UCD1+), joined by #
epn.date-order | warning | EPN-TAP 2.0 sec. 3
    a granule was modified before it was created
    correct one of the dates
epn.md5 | warning | EPN-TAP 2.0 sec. 3
    an access_md5 is not valid
    write 32 hexadecimal digits
epn.file-name | warning | EPN-TAP 2.0 sec. 3
    a file_name contains a path
    write only the name with its extension
epn.reference | warning | EPN-TAP 2.0 sec. 3
    an internal_reference names a granule that does not exist
    use values of granule_uid in this table
epn.target-time | warning | EPN-TAP 2.0 sec. 2.3
    the light arrived before it left the target
    set target_time to the time at which the light left the target: the observation time minus (distance / c)
""")
PRODUCT_TYPES = ["im", "ma", "sp", "ds", "sc", "pr", "pf", "vo", "mo", "cu", "ts", "ca", "ci", "sv", "ev"]
TARGET_CLASSES = [
    "asteroid",
    "dwarf_planet",
    "planet",
    "satellite",
    "comet",
    "exoplanet",
    "interplanetary_medium",
    "sample",
    "sky",
    "spacecraft",
    "spacejunk",
    "star",
    "calibration",
]
FRAME_TYPES = ["celestial", "body", "cartesian", "spherical", "cylindrical", "none", "healpix"]
GEOMETRY_TYPES = (
    "direct",
    "specular",
    "bidirectional",
    "directional-conical",
    "conical-directional",
    "biconical",
    "directional-hemispherical",
    "conical-hemispherical",
    "hemispherical-directional",
    "hemispherical-conical",
    "bihemispherical",
    "directional",
    "conical",
    "hemispherical",
    "other geometry",
    "unknown",
)
WRAPPING_COLUMNS = {
    "c1",
    "c2",
    "c3",
    "subobserver_longitude",
    "subsolar_longitude",
    "solar_longitude",
    "azimuth",
    "local_time",
}
TIMESTAMP_PATTERN = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d+)?)?Z?)?"
POSITIVE_COLUMN_PATTERN = re.compile(
    r"time_sampling_step|time_exp|spectral_range|spectral_sampling_step|spectral_resolution|_resol_|_distance_"
    r"|access_estsize|radius|diameter|pixelscale|map_(height|width)|grain_size|pressure|mass$"
)
LIST_PATTERN = r"[^\s#]([^#]*[^\s#])?(#[^\s#]([^#]*[^\s#])?)*|\s.*|.*\s"
FREE_TEXT_ENDINGS = ("_desc", "_title", "description", "bib_reference", "map_projection")
LONGITUDE_COLUMNS = (
    "subobserver_longitude_min",
    "subobserver_longitude_max",
    "subsolar_longitude_min",
    "subsolar_longitude_max",
    "solar_longitude_min",
    "solar_longitude_max",
    "ra",
)
LATITUDE_COLUMNS = (
    "subobserver_latitude_min",
    "subobserver_latitude_max",
    "subsolar_latitude_min",
    "subsolar_latitude_max",
    "dec",
)
LOWER_CASE_COLUMNS = ("dataproduct_type", "target_class", "spatial_frame_type", "access_format")
URL_COLUMNS = ("access_url", "thumbnail_url", "datalink_url", "external_link")
KEY_COLUMNS = ("granule_uid", "obs_id")
MJD_EPOCH_JD = 2400000.5


def check_epn_rows(service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable) -> None:
    """Check the rows of one table."""
    schema = table.comparison_name.rpartition(".")[0].rpartition(".")[2]
    rules = [
        *row_rules.build_not_null_rules("epn.null", "epncore"),
        *_build_interval_rules(),
        *_build_vocabulary_rules(schema),
        *_build_time_rules(),
        *_build_position_rules(),
        *_build_file_access_rules(),
        *_build_text_form_rules(),
    ]
    row_rules.check_row_rules(service, collector, table, rules, KEY_COLUMNS)
    row_rules.check_unique_values(service, collector, table, "epn.duplicate", "granule_uid")
    _check_internal_references(service, collector, table)


def _build_interval_rules() -> list[RowRule]:
    interval_rules = []
    for fact in load_standard_columns("epncore").values():
        if fact.paired_column and fact.name.endswith("min"):
            interval_rules.append(
                row_rules.build_both_or_neither_rule("epn.half-interval", fact.name, fact.paired_column)
            )
            if fact.name.removesuffix("min").rstrip("_") not in WRAPPING_COLUMNS:
                interval_rules.append(row_rules.build_order_rule("epn.interval-order", fact.name, fact.paired_column))
    return interval_rules


def _build_vocabulary_rules(schema_name: str) -> list[RowRule]:
    words = load_vocabularies()
    return [
        row_rules.build_list_items_rule("epn.product-type", "dataproduct_type", PRODUCT_TYPES),
        row_rules.build_list_items_rule("epn.target-class", "target_class", TARGET_CLASSES),
        row_rules.build_allowed_values_rule("epn.frame", "spatial_frame_type", FRAME_TYPES),
        row_rules.build_range_rule("epn.processing-level", "processing_level", 1, 6),
        row_rules.build_value_check_rule("epn.level-four", "processing_level", lambda said: said == 4, distinct=True),
        row_rules.build_value_check_rule(
            "epn.service-title", "service_title", lambda said: str(said).lower() != schema_name, distinct=True
        ),
        row_rules.build_allowed_values_rule("epn.messenger", "messenger", words["messenger"]),
        row_rules.build_allowed_values_rule("epn.time-scale", "time_scale", words["timescale"]),
        row_rules.build_list_items_rule("epn.geometry-type", "geometry_type", GEOMETRY_TYPES),
        row_rules.build_allowed_values_rule(
            "epn.particle-type", "particle_spectral_type", ("energy", "mass", "mass/charge")
        ),
        row_rules.build_pattern_rule("epn.inchikey", "species_inchikey", r"[-A-Z]{27}(#[-A-Z]{27})*"),
        row_rules.build_value_check_rule("epn.measurement", "measurement_type", _has_invalid_ucd, distinct=True),
    ]


def _has_invalid_ucd(list_text: Any) -> bool:
    return any(not ucd.strip() or units.list_ucd_problems(ucd.strip()) for ucd in str(list_text).split("#"))


def _build_time_rules() -> list[RowRule]:
    columns = load_standard_columns("epncore").values()
    timestamp_names = [fact.name for fact in columns if fact.type == "timestamp"]
    rules = [row_rules.build_pattern_rule("epn.timestamp", name, TIMESTAMP_PATTERN) for name in timestamp_names]
    for end in ("min", "max"):
        rules.append(row_rules.build_range_rule("epn.julian-date", f"time_{end}", 2086000, 2817000))
        rules.append(row_rules.build_range_rule("epn.local-time", f"local_time_{end}", 0, 24))
    date_columns = ("modification_date", "creation_date")
    time_columns = ("target_time_min", "time_min")
    rules.append(row_rules.RowRule(code="epn.date-order", columns=date_columns, is_broken=_is_modified_before_created))
    rules.append(row_rules.RowRule(code="epn.target-time", columns=time_columns, is_broken=_is_target_time_late))
    return rules


def _is_modified_before_created(row: Record) -> bool:
    creation_date = str(row["creation_date"] or "")[:10]
    modification_date = str(row["modification_date"] or "")[:10]
    dates = (creation_date, modification_date)
    if not all(re.fullmatch(TIMESTAMP_PATTERN, date) for date in dates):
        return False
    return modification_date < creation_date


def _is_target_time_late(row: Record) -> bool:
    """Return whether the time at the target is more than a minute after the time at the observer (UTC or not)."""
    target_time = row["target_time_min"]
    observer_time = row["time_min"]
    if target_time is None or not isinstance(observer_time, int | float):
        return False
    if not 2086000 < observer_time < 2817000:
        return False
    if not re.fullmatch(TIMESTAMP_PATTERN, str(target_time)):
        return False
    try:
        parsed_time = dt.datetime.fromisoformat(str(target_time).rstrip("Z")).replace(tzinfo=dt.UTC)
    except ValueError:
        return False
    modified_julian_date = (parsed_time - dt.datetime(1858, 11, 17, tzinfo=dt.UTC)) / dt.timedelta(days=1)
    minute_in_days = 60 / 86400
    return bool(modified_julian_date + MJD_EPOCH_JD > observer_time + 2 * minute_in_days)


def _build_position_rules() -> list[RowRule]:
    rules = []
    sky_frames = {"celestial", "body"}
    for end in ("min", "max"):
        rules += [
            _build_frame_range_rule("epn.longitude", sky_frames, f"c1{end}", 0, 360),
            _build_frame_range_rule("epn.latitude", sky_frames, f"c2{end}", -90, 90),
            _build_frame_range_rule("epn.radius", {"spherical", "cylindrical"}, f"c1{end}", 0, float("inf")),
            _build_frame_range_rule("epn.radius", {"spherical"}, f"c2{end}", 0, 180),
            row_rules.build_range_rule("epn.angle", f"incidence_{end}", 0, 180),
            row_rules.build_range_rule("epn.angle", f"emergence_{end}", 0, 180),
            row_rules.build_range_rule("epn.angle", f"phase_{end}", -180, 180),
        ]
    rules += [_build_frame_required_rule(name) for name in ("c1min", "c2min", "c3min")]
    rules += [row_rules.build_range_rule("epn.longitude", name, 0, 360) for name in LONGITUDE_COLUMNS]
    rules += [row_rules.build_range_rule("epn.latitude", name, -90, 90) for name in LATITUDE_COLUMNS]
    for fact in load_standard_columns("epncore").values():
        is_number = fact.type in {"double", "integer"}
        if is_number and POSITIVE_COLUMN_PATTERN.search(fact.name):
            rules.append(row_rules.build_range_rule("epn.negative", fact.name, 0, 1e300))
    return rules


def _build_frame_range_rule(code: str, frames: set[str], column_name: str, low: float, high: float) -> RowRule:
    frame_list = ", ".join(f"'{frame_type}'" for frame_type in sorted(frames))
    outside_condition = f"{column_name} < {low:g}"
    if high < 1e300:
        outside_condition += f" OR {column_name} > {high:g}"

    def is_out_of_range(row: Record) -> bool:
        value = row[column_name]
        if row["spatial_frame_type"] not in frames or not isinstance(value, int | float):
            return False
        return not low <= value <= high

    return row_rules.RowRule(
        code=code,
        columns=(column_name, "spatial_frame_type"),
        is_broken=is_out_of_range,
        broken_condition=f"spatial_frame_type IN ({frame_list}) AND ({outside_condition})",
    )


def _build_frame_required_rule(column_name: str) -> RowRule:
    return row_rules.RowRule(
        code="epn.no-frame",
        columns=(column_name, "spatial_frame_type"),
        is_broken=lambda row: row["spatial_frame_type"] == "none" and row[column_name] is not None,
        broken_condition=f"spatial_frame_type = 'none' AND {column_name} IS NOT NULL",
    )


def _build_file_access_rules() -> list[RowRule]:
    return [
        row_rules.build_companion_rule("epn.access", "access_url", "access_format"),
        row_rules.build_companion_rule("epn.access", "access_url", "access_estsize"),
        row_rules.build_pattern_rule(
            "epn.media-type", "access_format", r"[a-z0-9.+-]+/[a-z0-9.+-]+(\s*;.*)?", distinct=True
        ),
        *(row_rules.build_pattern_rule("epn.url", name, r"(https?|ftp)://[^\s/]+\S*") for name in URL_COLUMNS),
        row_rules.build_pattern_rule("epn.md5", "access_md5", r"[0-9a-fA-F]{32}"),
        row_rules.build_pattern_rule("epn.file-name", "file_name", r"[^/\\]+"),
        row_rules.build_value_check_rule(
            "epn.uid-form", "granule_uid", lambda said: "#" in str(said) or not str(said).isascii()
        ),
    ]


def _build_text_form_rules() -> list[RowRule]:
    rules = []
    for fact in load_standard_columns("epncore").values():
        name = fact.name
        if fact.type != "text":
            continue
        if name not in URL_COLUMNS:
            rules.append(row_rules.build_value_check_rule("epn.text", name, _has_outer_blanks))
            if not name.endswith(FREE_TEXT_ENDINGS):
                rules.append(row_rules.build_value_check_rule("epn.quotes", name, lambda text: '"' in str(text)))
        if fact.is_list:
            rules.append(row_rules.build_pattern_rule("epn.list", name, LIST_PATTERN))
    rules += [
        row_rules.build_value_check_rule("epn.lower-case", name, _has_capitals, distinct=True)
        for name in LOWER_CASE_COLUMNS
    ]
    return rules


def _has_outer_blanks(text: Any) -> bool:
    return str(text) != str(text).strip()


def _has_capitals(text: Any) -> bool:
    return str(text) != str(text).lower()


def _check_internal_references(service: ExaminedTapService, collector: FindingCollector, table: DeclaredTable) -> None:
    """Check whether internal references lead to rows of the table, if all rows are known."""
    row_sample = row_rules.fetch_row_sample(service, table)
    if not row_sample.is_complete:
        return
    granule_ids = {str(record.get("granule_uid")) for record in row_sample.records}
    for record in row_sample.records:
        reference_text = record.get("internal_reference")
        if reference_text is None:
            continue
        references = [reference for reference in str(reference_text).split("#") if reference]
        missing_references = [reference for reference in references if reference not in granule_ids]
        if missing_references:
            key = f"granule_uid = {record.get('granule_uid')}"
            collector.add_finding(
                "epn.reference",
                table=table.name,
                column="internal_reference",
                key=key,
                value=missing_references[0],
                row_count=row_sample.total_rows,
            )
