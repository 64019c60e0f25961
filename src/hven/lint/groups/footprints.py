"""Group footprint: s_region and coverage of EPN-TAP and ObsCore tables - readable, on the sphere, turning the right way, where the row says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.lint import regions, values
from hven.lint.findings import Notes, table_of_checks
from hven.lint.group import Group
from hven.lint.groups.epncore import tables
from hven.lint.service import example_key
from hven.model.errors import UserError

if TYPE_CHECKING:
    from hven.lint.regions import Shape
    from hven.lint.service import Service, Table
    from hven.lint.values import Record, Sample

REGION = "DALI 1.1 sec. 3.3.5-3.3.7; STC-S (TAP 1.0 sec. 6)"
CHECKS = table_of_checks(
    ("footprint.unreadable", "error", REGION, "a footprint is no region", "write POLYGON ICRS lon lat ..., CIRCLE ICRS lon lat radius, or DALI's arrays", ""),
    ("footprint.off-sphere", "error", REGION, "a footprint is not on the sphere", "degrees, longitude before latitude", ""),
    ("footprint.closed", "warning", "DALI 1.1 sec. 3.3.7", "a polygon repeats its first corner at its end", "leave the last one out", ""),
    ("footprint.orientation", "warning", "DALI 1.1 sec. 3.3.7; EPN-TAP 2.0 sec. 2.4",
     "a polygon turns the wrong way: it stands for the rest of the sphere", "counter-clockwise, on the sky seen from inside, on bodies from outside", ""),
    ("footprint.centre", "warning", "ObsCore 1.1 appendix B.6", "the position is far from the footprint", "see whether frames or units were mixed", ""),
    ("footprint.bounds", "warning", "EPN-TAP 2.0 sec. 2.4", "a footprint reaches beyond c1min..c2max", "compute both from the same corners", ""),
    ("footprint.frame", "error", "EPN-TAP 2.0 sec. 2.4", "there is a footprint in a frame that has none", "footprints are for the frames celestial and body", ""),
    ("footprint.moc", "error", "MOC 2.0 sec. 4.3.2", "a coverage is no ASCII MOC", "order/index index-index ..., orders 0..29", ""),
    ("footprint.disagree", "warning", "EPN-TAP 2.0 sec. 2.4", "coverage and s_region have nothing in common", "compute both from the same data", ""),
)  # fmt: skip


def _run(service: Service, notes: Notes) -> None:
    core = service.declared.get("ivoa.obscore")
    found = [(one, True) for one in tables(service)] + ([(core, False)] if core is not None else [])
    if not found:
        notes.skip("there is no table with footprints that lint knows")
    for table, is_epn in found:
        try:
            _table(values.sample(service, table), table, notes, is_epn=is_epn)
        except UserError as error:
            notes.skip(f"{table.name}: {error.message}")


def _table(rows: Sample, table: Table, notes: Notes, *, is_epn: bool) -> None:
    field = next((one for one in rows.fields if one.name.lower() == "s_region"), None)
    keys = ("granule_uid",) if is_epn else ("obs_publisher_did", "obs_id")
    for record in rows.records:
        told: dict[str, Any] = {
            "table": table.name,
            "key": example_key(record, keys),
            "of": len(rows.records),
            "sampled": not rows.whole,
        }
        frame = str(record.get("spatial_frame_type")) if is_epn else "celestial"
        shapes: list[Shape] = []
        if field is not None and record.get("s_region") is not None:
            shapes = _region(record["s_region"], field.xtype, frame, notes, {**told, "column": "s_region"})
        if shapes:
            _place(record, shapes, frame, notes, {**told, "column": "s_region"}, is_epn=is_epn)
        if is_epn and record.get("coverage") is not None:
            _coverage(str(record["coverage"]), shapes, notes, {**told, "column": "coverage"})


def _region(said: object, xtype: str, frame: str, notes: Notes, told: dict[str, Any]) -> list[Shape]:
    if frame not in {"celestial", "body"}:
        notes.tell("footprint.frame", f"the frame is {frame}", value=said, **told)
    try:
        shapes = regions.shapes(said, xtype if isinstance(said, list) else "")
    except ValueError as error:
        notes.tell("footprint.unreadable", str(error), value=said, **told)
        return []
    wrong = closed = False
    for shape in shapes:
        off = regions.off_sphere(shape)
        if off:
            notes.tell("footprint.off-sphere", off, value=said, **told)
            return []
        if shape.kind != "polygon":
            continue
        if shape.corners[0] == shape.corners[-1]:
            closed = True
        if frame in {"celestial", "body"} and regions.turns_wrong(shape, outside=frame == "body"):
            wrong = True
    # a row counts once, however many parts it has
    for code in ["footprint.closed"] * closed + ["footprint.orientation"] * wrong:
        notes.tell(code, value=said, **told)
    return shapes


def _place(
    record: Record, shapes: list[Shape], frame: str, notes: Notes, told: dict[str, Any], *, is_epn: bool
) -> None:
    corners = [corner for shape in shapes for corner in shape.corners]
    if not is_epn:
        lon, lat = record.get("s_ra"), record.get("s_dec")
        if lon is None or lat is None or not 0 <= lon <= 360 or not -90 <= lat <= 90 or len(shapes) != 1:
            return
        centre = regions.middle(shapes[0])
        reach = max(regions.separation(centre, one) for one in corners) + (
            shapes[0].numbers[2] if shapes[0].kind == "circle" else 0.0
        )
        away = regions.separation(centre, (lon, lat))
        if away > 1.5 * reach + 0.02:
            notes.tell(
                "footprint.centre",
                f"{away:.4g} degrees from its middle, its radius is {reach:.4g}",
                value=f"{lon} {lat}",
                **told,
            )
        return
    bounds = [record.get(name) for name in ("c1min", "c1max", "c2min", "c2max")]
    if frame not in {"celestial", "body"} or any(shape.kind in {"circle", "box"} for shape in shapes):
        return
    if any(one is None for one in bounds) or any(abs(lat) > 85 for _, lat in corners):
        return
    west, east, south, north = (float(one) for one in bounds if one is not None)
    if not (0 <= west <= 360 and 0 <= east <= 360 and -90 <= south <= north <= 90):
        return
    width = (east - west) % 360
    beside, above = 0.02 * width + 0.05, 0.02 * (north - south) + 0.05
    for lon, lat in corners:
        within = (
            (lon - west + beside) % 360 <= width + 2 * beside or width + 2 * beside >= 360 or (west, east) == (0, 360)
        )
        if not within or not south - above <= lat <= north + above:
            notes.tell(
                "footprint.bounds",
                f"{lon:g} {lat:g} is not in {west:g}..{east:g}, {south:g}..{north:g}",
                value=record["s_region"],
                **told,
            )
            return


def _coverage(said: str, shapes: list[Shape], notes: Notes, told: dict[str, Any]) -> None:
    try:
        cells = regions.moc_cells(said)
    except ValueError as error:
        notes.tell("footprint.moc", str(error), value=said, **told)
        return
    polygons = [one for one in shapes if one.kind in {"polygon", "circle"}]
    if cells and polygons:
        places = [place for one in polygons for place in (*one.corners, regions.middle(one))]
        if not regions.in_moc(cells, places):
            notes.tell("footprint.disagree", value=said, **told)


GROUP = Group(name="footprint", title="Footprints", checks=CHECKS, run=_run)
