"""Group footprint: s_region and coverage of EPN-TAP and ObsCore tables.

They can be read, lie on the sphere, turn the right way, and lie where the other columns of the row say.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import regions, row_rules
from hven.lint.check_groups import CheckGroup
from hven.lint.findings import FindingCollector, build_checks
from hven.lint.groups.epncore import find_epn_tables
from hven.lint.tap_service import format_example_key
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.regions import LintShape
    from hven.lint.row_rules import Record, RowSample
    from hven.lint.tap_service import DeclaredTable, ExaminedTapService

REGION_SOURCE = "DALI 1.1 sec. 3.3.5-3.3.7; STC-S (TAP 1.0 sec. 6)"
FOOTPRINT_CHECKS = build_checks(
    (
        "footprint.unreadable",
        "error",
        REGION_SOURCE,
        "a footprint is no region",
        "write POLYGON ICRS lon lat ..., CIRCLE ICRS lon lat radius, or DALI's arrays",
        "",
    ),
    (
        "footprint.off-sphere",
        "error",
        REGION_SOURCE,
        "a footprint is not on the sphere",
        "degrees, longitude before latitude",
        "",
    ),
    (
        "footprint.closed",
        "warning",
        "DALI 1.1 sec. 3.3.7",
        "a polygon repeats its first corner at its end",
        "leave the last one out",
        "",
    ),
    (
        "footprint.orientation",
        "warning",
        "DALI 1.1 sec. 3.3.7; EPN-TAP 2.0 sec. 2.4",
        "a polygon turns the wrong way: it stands for the rest of the sphere",
        "counter-clockwise, on the sky seen from inside, on bodies from outside",
        "",
    ),
    (
        "footprint.centre",
        "warning",
        "ObsCore 1.1 appendix B.6",
        "the position is far from the footprint",
        "see whether frames or units were mixed",
        "",
    ),
    (
        "footprint.bounds",
        "warning",
        "EPN-TAP 2.0 sec. 2.4",
        "a footprint reaches beyond c1min..c2max",
        "compute both from the same corners",
        "",
    ),
    (
        "footprint.frame",
        "error",
        "EPN-TAP 2.0 sec. 2.4",
        "there is a footprint in a frame that has none",
        "footprints are for the frames celestial and body",
        "",
    ),
    (
        "footprint.moc",
        "error",
        "MOC 2.0 sec. 4.3.2",
        "a coverage is no ASCII MOC",
        "order/index index-index ..., orders 0..29",
        "",
    ),
    (
        "footprint.disagree",
        "warning",
        "EPN-TAP 2.0 sec. 2.4",
        "coverage and s_region have nothing in common",
        "compute both from the same data",
        "",
    ),
)


def _check_footprints(service: ExaminedTapService, collector: FindingCollector) -> None:
    obscore_table = service.declared_tables.get("ivoa.obscore")
    footprint_tables = [(epn_table, True) for epn_table in find_epn_tables(service)]
    if obscore_table is not None:
        footprint_tables.append((obscore_table, False))
    if not footprint_tables:
        collector.add_unjudged("there is no table with footprints that lint knows")
    for table, is_epn in footprint_tables:
        try:
            sample = row_rules.fetch_sample(service, table)
            _check_table(sample, table, collector, is_epn=is_epn)
        except UserError as error:
            collector.add_unjudged(f"{table.name}: {error.message}")


def _check_table(row_sample: RowSample, table: DeclaredTable, collector: FindingCollector, *, is_epn: bool) -> None:
    field = next((field for field in row_sample.fields if field.name.lower() == "s_region"), None)
    keys = ("granule_uid",) if is_epn else ("obs_publisher_did", "obs_id")
    for record in row_sample.records:
        finding_facts: dict[str, Any] = {
            "table": table.name,
            "key": format_example_key(record, keys),
            "row_count": len(row_sample.records),
            "sampled": not row_sample.is_complete,
        }
        if is_epn:
            frame = str(record.get("spatial_frame_type"))
        else:
            frame = "celestial"
        shapes: list[LintShape] = []
        if field is not None and record.get("s_region") is not None:
            shapes = _check_region(
                record["s_region"], field.xtype, frame, collector, {**finding_facts, "column": "s_region"}
            )
        if shapes:
            _check_position(record, shapes, frame, collector, {**finding_facts, "column": "s_region"}, is_epn=is_epn)
        if is_epn and record.get("coverage") is not None:
            _check_coverage(str(record["coverage"]), shapes, collector, {**finding_facts, "column": "coverage"})


def _check_region(
    region: object, xtype: str, frame: str, collector: FindingCollector, finding_facts: dict[str, Any]
) -> list[LintShape]:
    if frame not in {"celestial", "body"}:
        collector.add_finding("footprint.frame", f"the frame is {frame}", value=region, **finding_facts)
    try:
        shapes = regions.parse_shapes(region, xtype if isinstance(region, list) else "")
    except ValueError as error:
        collector.add_finding("footprint.unreadable", str(error), value=region, **finding_facts)
        return []
    is_misoriented = is_closed = False
    for shape in shapes:
        off_sphere_text = regions.describe_off_sphere(shape)
        if off_sphere_text:
            collector.add_finding("footprint.off-sphere", off_sphere_text, value=region, **finding_facts)
            return []
        if shape.kind != "polygon":
            continue
        if shape.corners[0] == shape.corners[-1]:
            is_closed = True
        if frame in {"celestial", "body"} and regions.has_wrong_orientation(shape, seen_from_outside=frame == "body"):
            is_misoriented = True
    # a row counts once, however many parts it has
    for code in ["footprint.closed"] * is_closed + ["footprint.orientation"] * is_misoriented:
        collector.add_finding(code, value=region, **finding_facts)
    return shapes


def _check_position(
    record: Record,
    shapes: list[LintShape],
    frame: str,
    collector: FindingCollector,
    finding_facts: dict[str, Any],
    *,
    is_epn: bool,
) -> None:
    corners = [corner for shape in shapes for corner in shape.corners]
    if not is_epn:
        lon = record.get("s_ra")
        lat = record.get("s_dec")
        if lon is None or lat is None or not 0 <= lon <= 360 or not -90 <= lat <= 90 or len(shapes) != 1:
            return
        centre = regions.compute_centre(shapes[0])
        radius = max(regions.compute_separation(centre, value) for value in corners) + (
            shapes[0].numbers[2] if shapes[0].kind == "circle" else 0.0
        )
        distance = regions.compute_separation(centre, (lon, lat))
        if distance > 1.5 * radius + 0.02:
            collector.add_finding(
                "footprint.centre",
                f"{distance:.4g} degrees from its middle, its radius is {radius:.4g}",
                value=f"{lon} {lat}",
                **finding_facts,
            )
        return
    bounds = [record.get(name) for name in ("c1min", "c1max", "c2min", "c2max")]
    if frame not in {"celestial", "body"} or any(shape.kind in {"circle", "box"} for shape in shapes):
        return
    if any(value is None for value in bounds) or any(abs(lat) > 85 for _, lat in corners):
        return
    west, east, south, north = (float(value) for value in bounds if value is not None)
    if not (0 <= west <= 360 and 0 <= east <= 360 and -90 <= south <= north <= 90):
        return
    width = (east - west) % 360
    lon_margin = 0.02 * width + 0.05
    lat_margin = 0.02 * (north - south) + 0.05
    for lon, lat in corners:
        is_within = (
            (lon - west + lon_margin) % 360 <= width + 2 * lon_margin
            or width + 2 * lon_margin >= 360
            or (west, east) == (0, 360)
        )
        if not is_within or not south - lat_margin <= lat <= north + lat_margin:
            collector.add_finding(
                "footprint.bounds",
                f"{lon:g} {lat:g} is not in {west:g}..{east:g}, {south:g}..{north:g}",
                value=record["s_region"],
                **finding_facts,
            )
            return


def _check_coverage(
    moc_text: str, shapes: list[LintShape], collector: FindingCollector, finding_facts: dict[str, Any]
) -> None:
    try:
        cells = regions.parse_moc_cells(moc_text)
    except ValueError as error:
        collector.add_finding("footprint.moc", str(error), value=moc_text, **finding_facts)
        return
    polygons = [shape for shape in shapes if shape.kind in {"polygon", "circle"}]
    if cells and polygons:
        directions = [direction for shape in polygons for direction in (*shape.corners, regions.compute_centre(shape))]
        if not regions.is_any_in_moc(cells, directions):
            collector.add_finding("footprint.disagree", value=moc_text, **finding_facts)


GROUP = CheckGroup(name="footprint", title="Footprints", checks=FOOTPRINT_CHECKS, run=_check_footprints)
