"""Group footprint: s_region and coverage of EPN-TAP and ObsCore tables.

They can be parsed, lie on the sphere, have the right orientation, and agree with the other columns of the row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError
from hven.plugins.lint import regions, row_rules
from hven.plugins.lint.check_groups import CheckGroup
from hven.plugins.lint.findings import FindingCollector, parse_lint_checks
from hven.plugins.lint.groups.epncore import find_epn_tables
from hven.plugins.lint.tap_service import format_first_key_value

if TYPE_CHECKING:
    from hven.plugins.lint.regions import RegionShape
    from hven.plugins.lint.row_rules import Record, RowSample
    from hven.plugins.lint.tap_service import DeclaredTable, ExaminedTapService

FOOTPRINT_CHECKS = parse_lint_checks("""
footprint.unreadable | error | DALI 1.1 sec. 3.3.5-3.3.7; STC-S (TAP 1.0 sec. 6)
    a footprint cannot be parsed as a region
    write POLYGON ICRS lon lat ..., CIRCLE ICRS lon lat radius, or DALI's arrays
footprint.off-sphere | error | DALI 1.1 sec. 3.3.5-3.3.7; STC-S (TAP 1.0 sec. 6)
    a footprint is not on the sphere
    write degrees, longitude before latitude
footprint.closed | warning | DALI 1.1 sec. 3.3.7
    a polygon repeats its first vertex at its end
    leave out the last vertex
footprint.orientation | warning | DALI 1.1 sec. 3.3.7; EPN-TAP 2.0 sec. 2.4
    a polygon has the wrong orientation, so it describes the rest of the sphere
    write the vertices counter-clockwise, as seen from inside the sphere for the sky, and from outside for a body
footprint.centre | warning | ObsCore 1.1 appendix B.6
    a row's position is far from its footprint
    check whether frames or units were mixed up
footprint.bounds | warning | EPN-TAP 2.0 sec. 2.4
    a footprint reaches beyond c1min..c2max
    compute both from the same vertices
footprint.frame | error | EPN-TAP 2.0 sec. 2.4
    a footprint is in a frame that cannot have footprints
    write footprints only in the frames celestial and body
footprint.moc | error | MOC 2.0 sec. 4.3.2
    a coverage is not an ASCII MOC
    write order/index index-index ..., with orders from 0 to 29
footprint.disagree | warning | EPN-TAP 2.0 sec. 2.4
    coverage and s_region do not overlap
    compute both from the same data
""")


def _check_footprints(service: ExaminedTapService, collector: FindingCollector) -> None:
    obscore_table = service.declared_tables.get("ivoa.obscore")
    footprint_tables = [(epn_table, True) for epn_table in find_epn_tables(service)]
    if obscore_table is not None:
        footprint_tables.append((obscore_table, False))
    if not footprint_tables:
        collector.add_unchecked_reason("there is no EPN-TAP or ObsCore table")
    for table, is_epn in footprint_tables:
        try:
            sample = row_rules.fetch_row_sample(service, table)
            _check_table_footprints(sample, table, collector, is_epn=is_epn)
        except UserError as error:
            collector.add_unchecked_reason(f"{table.name}: {error.message}")


def _check_table_footprints(
    row_sample: RowSample, table: DeclaredTable, collector: FindingCollector, *, is_epn: bool
) -> None:
    region_fields = [field for field in row_sample.fields if field.name.lower() == "s_region"]
    keys = ("granule_uid",) if is_epn else ("obs_publisher_did", "obs_id")
    for record in row_sample.records:
        finding_facts: dict[str, Any] = {
            "table": table.name,
            "key": format_first_key_value(record, keys),
            "row_count": len(row_sample.records),
            "sampled": not row_sample.is_complete,
        }
        region_facts = {**finding_facts, "column": "s_region"}
        frame = "celestial"
        if is_epn:
            frame = str(record.get("spatial_frame_type"))
        shapes: list[RegionShape] = []
        if region_fields and record.get("s_region") is not None:
            shapes = _parse_and_check_region(record["s_region"], region_fields[0].xtype, frame, collector, region_facts)
        if shapes and is_epn:
            _check_footprint_bounds(record, shapes, frame, collector, region_facts)
        elif shapes:
            _check_footprint_centre(record, shapes, collector, region_facts)
        if is_epn and record.get("coverage") is not None:
            coverage_facts = {**finding_facts, "column": "coverage"}
            _check_moc_coverage(str(record["coverage"]), shapes, collector, coverage_facts)


def _parse_and_check_region(
    region: object, xtype: str, frame: str, collector: FindingCollector, finding_facts: dict[str, Any]
) -> list[RegionShape]:
    if frame not in {"celestial", "body"}:
        collector.add_finding("footprint.frame", f"the frame is {frame}", value=region, **finding_facts)
    try:
        shapes = regions.parse_region_shapes(region, xtype if isinstance(region, list) else "")
    except ValueError as error:
        collector.add_finding("footprint.unreadable", str(error), value=region, **finding_facts)
        return []
    polygon_faults = set()  # a row counts once for each fault, however many polygons have it
    is_on_body = frame == "body"
    for shape in shapes:
        off_sphere_text = regions.describe_off_sphere_coordinate(shape)
        if off_sphere_text:
            collector.add_finding("footprint.off-sphere", off_sphere_text, value=region, **finding_facts)
            return []
        if shape.kind != "polygon":
            continue
        if shape.corners[0] == shape.corners[-1]:
            polygon_faults.add("footprint.closed")
        has_orientation = frame in {"celestial", "body"}
        if has_orientation and regions.has_wrong_orientation(shape, seen_from_outside=is_on_body):
            polygon_faults.add("footprint.orientation")
    for code in sorted(polygon_faults):
        collector.add_finding(code, value=region, **finding_facts)
    return shapes


def _check_footprint_centre(
    record: Record, shapes: list[RegionShape], collector: FindingCollector, finding_facts: dict[str, Any]
) -> None:
    """Check that s_ra and s_dec of ObsCore are near the footprint, if it is a single shape."""
    # a service that declares a column otherwise sends texts
    position = [value for value in (record.get("s_ra"), record.get("s_dec")) if isinstance(value, int | float)]
    if len(position) != 2 or len(shapes) != 1 or not 0 <= position[0] <= 360 or not -90 <= position[1] <= 90:
        return
    lon, lat = position
    shape = shapes[0]
    centre = regions.compute_shape_centre(shape)
    radius = max(regions.compute_angular_separation(centre, corner) for corner in shape.corners)
    if shape.kind == "circle":
        radius += shape.numbers[2]
    distance = regions.compute_angular_separation(centre, (lon, lat))
    if distance > 1.5 * radius + 0.02:
        detail = f"{distance:.4g} degrees from the footprint's middle, but the footprint's radius is {radius:.4g}"
        collector.add_finding("footprint.centre", detail, value=f"{lon} {lat}", **finding_facts)


def _check_footprint_bounds(
    record: Record, shapes: list[RegionShape], frame: str, collector: FindingCollector, finding_facts: dict[str, Any]
) -> None:
    """Check that polygons of EPN-TAP are within c1min..c2max, with a margin; not near the poles."""
    bounds = [record.get(name) for name in ("c1min", "c1max", "c2min", "c2max")]
    if frame not in {"celestial", "body"} or any(shape.kind in {"circle", "box"} for shape in shapes):
        return
    corners = [corner for shape in shapes for corner in shape.corners]
    if not all(isinstance(value, int | float) for value in bounds) or any(abs(lat) > 85 for _, lat in corners):
        return
    west, east, south, north = (float(bound) for bound in bounds if bound is not None)
    if not (0 <= west <= 360 and 0 <= east <= 360 and -90 <= south <= north <= 90):
        return
    width = (east - west) % 360
    lon_margin = 0.02 * width + 0.05
    lat_margin = 0.02 * (north - south) + 0.05
    allowed_width = width + 2 * lon_margin
    is_full_circle = allowed_width >= 360 or (west, east) == (0, 360)
    for lon, lat in corners:
        is_lon_within = is_full_circle or (lon - west + lon_margin) % 360 <= allowed_width
        is_lat_within = south - lat_margin <= lat <= north + lat_margin
        if not is_lon_within or not is_lat_within:
            detail = f"{lon:g} {lat:g} is not in {west:g}..{east:g}, {south:g}..{north:g}"
            collector.add_finding("footprint.bounds", detail, value=record["s_region"], **finding_facts)
            return


def _check_moc_coverage(
    moc_text: str, shapes: list[RegionShape], collector: FindingCollector, finding_facts: dict[str, Any]
) -> None:
    try:
        cells = regions.parse_moc_cell_ranges(moc_text)
    except ValueError as error:
        collector.add_finding("footprint.moc", str(error), value=moc_text, **finding_facts)
        return
    polygons = [shape for shape in shapes if shape.kind in {"polygon", "circle"}]
    if not cells or not polygons:
        return
    directions = []
    for shape in polygons:
        directions += [*shape.corners, regions.compute_shape_centre(shape)]
    if not regions.is_any_direction_in_moc(cells, directions):
        collector.add_finding("footprint.disagree", value=moc_text, **finding_facts)


GROUP = CheckGroup(name="footprint", title="Footprints", checks=FOOTPRINT_CHECKS, run=_check_footprints)
