"""The rows of an EPN-TAP table: what must be filled, vocabularies, intervals, times, places, products. Part of the group epn."""

from __future__ import annotations

import datetime as dt
import re
from typing import TYPE_CHECKING, Any

from hven.adql.vocabularies import vocabularies
from hven.lint import values
from hven.lint.facts import facts
from hven.lint.findings import table_of_checks
from hven.model import units

if TYPE_CHECKING:
    from hven.lint.findings import Notes
    from hven.lint.service import Service, Table
    from hven.lint.values import Record, Rule

E = "EPN-TAP 2.0"
CHECKS = table_of_checks(
    ("epn.condition", "error", "TAP 1.1 sec. 2.7; ADQL 2.1 sec. 2.2", "a condition of plain ADQL on a column fails", "see the service's own message, and the column's type", "E_QERR E_QERX"),
    ("epn.null", "error", f"{E} sec. 2", "a column that must have a value in each row is empty", "fill it", "E_PNUL"),
    ("epn.half-interval", "error", f"{E} sec. 2", "one end of an interval is empty", "write the known value into both", "E_PNMM"),
    ("epn.interval-order", "error", f"{E} sec. 2", "an interval's minimum is above its maximum", "swap them", "E_PNMM"),
    ("epn.product-type", "error", f"{E} sec. 2.1.4", "a dataproduct_type is not of the list", "two-letter codes, joined by #", "E_PNDP"),
    ("epn.target-class", "error", f"{E} sec. 2.2", "a target_class is not of the list", "use the standard's classes, joined by #", "E_PNTG"),
    ("epn.frame", "error", f"{E} sec. 2.4", "a spatial_frame_type is not of the list", "celestial, body, cartesian, spherical, cylindrical, none", "E_PNFT"),
    ("epn.processing-level", "error", f"{E} sec. 2.1.6", "a processing_level is outside 1..6", "1 telemetry, 2 raw, 3 calibrated, 5 derived, 6 ancillary", "E_PNPL"),
    ("epn.level-four", "warning", f"{E} sec. 2.1.6", "processing_level 4 is not used", "resampled data are level 5", ""),
    ("epn.service-title", "error", f"{E} sec. 3", "service_title is not the name of the schema", "write the schema's name in each row", "E_PNST"),
    ("epn.timestamp", "error", f"{E} sec. 3; DALI 1.1 sec. 3.3.3", "a date is no ISO time", "YYYY-MM-DD[Thh:mm:ss[.s][Z]]", "E_PN86"),
    ("epn.local-time", "error", f"{E} sec. 2", "a local time is outside 0..24 h", "hours since local midnight", "E_PNLT"),
    ("epn.messenger", "error", f"{E} sec. 2; vocabulary messenger", "a messenger is not of the vocabulary", "use its terms, in their case", "E_PNMG"),
    ("epn.time-scale", "warning", f"{E} sec. 2.3; vocabulary timescale", "a time_scale is not of the vocabulary", "use its terms, in their case", "W_PNTS"),
    ("epn.geometry-type", "error", f"{E} sec. 5", "a geometry_type is not of the list", "use the standard's terms", "E_PNGT"),
    ("epn.particle-type", "error", f"{E} sec. 5", "a particle_spectral_type is not of the list", "energy, mass or mass/charge", "E_PPST"),
    ("epn.inchikey", "error", f"{E} sec. 5", "a species_inchikey is none", "27 characters of A-Z and -, joined by #", "E_PNIK"),
    ("epn.julian-date", "warning", f"{E} sec. 2.3", "a time is no plausible Julian Date", "Julian Dates, not MJD: add 2400000.5", "W_PNJD"),
    ("epn.duplicate", "error", f"{E} sec. 2", "a granule_uid occurs twice", "make it unique", ""),
    ("epn.uid-form", "error", f"{E} sec. 2", "a granule_uid has a # or is not ASCII", "# separates items of lists that refer to it", ""),
    ("epn.text", "warning", f"{E} sec. 3", "a text begins or ends with a blank", "strip it", ""),
    ("epn.quotes", "warning", f"{E} sec. 3", "a value holds quotes", "replace them by _", ""),
    ("epn.list", "warning", f"{E} sec. 3", "a list has blanks around # or an empty item", "join items by # alone", ""),
    ("epn.lower-case", "warning", f"{E} sec. 3", "a value is not in lower case", "write it in lower case", ""),
    ("epn.longitude", "error", f"{E} sec. 2.4", "a longitude is outside 0..360", "east longitude in 0..360; c1min is the westernmost", ""),
    ("epn.latitude", "error", f"{E} sec. 2.4", "a latitude is outside -90..90", "see whether c1 and c2 are swapped", ""),
    ("epn.radius", "error", f"{E} sec. 2.4", "a radius or colatitude is impossible", "radius >= 0, colatitude 0..180", ""),
    ("epn.no-frame", "error", f"{E} sec. 2.4", "there are coordinates without a frame", "say the frame, or leave c1..c3 empty", ""),
    ("epn.angle", "warning", f"{E} sec. 2.5", "an angle is impossible", "incidence and emergence 0..180, phase -180..180", ""),
    ("epn.negative", "error", f"{E} sec. 2", "a quantity is negative", "steps, exposures, resolutions, distances and sizes are not", ""),
    ("epn.access", "error", f"{E} sec. 3", "there is an access_url without access_format or access_estsize", "say what it delivers, and how much", ""),
    ("epn.media-type", "error", f"{E} sec. 3", "an access_format is no media type in lower case", "application/fits, image/png, ...", ""),
    ("epn.url", "error", f"{E} sec. 3", "an address is no URL", "write it whole, with https://", ""),
    ("epn.measurement", "warning", f"{E} sec. 2.1.5; UCDList 1.6", "a measurement_type is no UCD", "use UCD1+ of the quantities, joined by #", ""),
    ("epn.date-order", "warning", f"{E} sec. 3", "a granule was changed before it was made", "see the two dates", ""),
    ("epn.md5", "warning", f"{E} sec. 3", "an access_md5 is none", "32 hexadecimal digits", ""),
    ("epn.file-name", "warning", f"{E} sec. 3", "a file_name has a path", "name and ending only", ""),
    ("epn.reference", "warning", f"{E} sec. 3", "an internal_reference names a granule that is not there", "use granule_uids of this table", ""),
    ("epn.target-time", "warning", f"{E} sec. 2.3", "light arrived before it left", "target_time is the earlier: time minus distance over c", ""),
)  # fmt: skip
PRODUCTS = ["im", "ma", "sp", "ds", "sc", "pr", "pf", "vo", "mo", "cu", "ts", "ca", "ci", "sv", "ev"]
CLASSES = [
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
FRAMES = ["celestial", "body", "cartesian", "spherical", "cylindrical", "none", "healpix"]
GEOMETRIES = (
    "direct", "specular", "bidirectional", "directional-conical", "conical-directional", "biconical", "directional-hemispherical",
    "conical-hemispherical", "hemispherical-directional", "hemispherical-conical", "bihemispherical", "directional", "conical",
    "hemispherical", "other geometry", "unknown",
)  # fmt: skip
WRAPS = {"c1", "c2", "c3", "subobserver_longitude", "subsolar_longitude", "solar_longitude", "azimuth", "local_time"}
TIMESTAMP = r"\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(T([01]\d|2[0-3]):[0-5]\d(:([0-5]\d|60)(\.\d+)?)?Z?)?"
POSITIVE = re.compile(
    r"time_sampling_step|time_exp|spectral_range|spectral_sampling_step|spectral_resolution|_resol_|_distance_|access_estsize|radius|diameter|pixelscale|map_(height|width)|grain_size|pressure|mass$"
)
LOWER = ("dataproduct_type", "target_class", "spatial_frame_type", "access_format")
URLS = ("access_url", "thumbnail_url", "datalink_url", "external_link")
KEYS = ("granule_uid", "obs_id")
JD0 = 2400000.5


def run(service: Service, notes: Notes, table: Table) -> None:
    """Judge the rows of one table."""
    schema = table.key.rpartition(".")[0].rpartition(".")[2]
    values.judge(
        service,
        notes,
        table,
        [*_filled(), *_intervals(), *_lists(schema), *_times(), *_places(), *_products(), *_texts()],
        KEYS,
    )
    values.unique(service, notes, table, "epn.duplicate", "granule_uid")
    _references(service, notes, table)


def _filled() -> list[Rule]:
    return [values.filled("epn.null", fact.name) for fact in facts("epncore").values() if fact.filled]


def _intervals() -> list[Rule]:
    found = []
    for fact in facts("epncore").values():
        if fact.pair and fact.name.endswith("min"):
            found.append(values.together("epn.half-interval", fact.name, fact.pair))
            if fact.name.removesuffix("min").rstrip("_") not in WRAPS:
                found.append(values.ordered("epn.interval-order", fact.name, fact.pair))
    return found


def _lists(schema: str) -> list[Rule]:
    words = vocabularies()
    return [
        values.items("epn.product-type", "dataproduct_type", PRODUCTS),
        values.items("epn.target-class", "target_class", CLASSES),
        values.among("epn.frame", "spatial_frame_type", FRAMES),
        values.between("epn.processing-level", "processing_level", 1, 6),
        values.says("epn.level-four", "processing_level", lambda said: said == 4, distinct=True),
        values.says("epn.service-title", "service_title", lambda said: str(said).lower() != schema, distinct=True),
        values.among("epn.messenger", "messenger", words["messenger"]),
        values.among("epn.time-scale", "time_scale", words["timescale"]),
        values.items("epn.geometry-type", "geometry_type", GEOMETRIES),
        values.among("epn.particle-type", "particle_spectral_type", ("energy", "mass", "mass/charge")),
        values.matches("epn.inchikey", "species_inchikey", r"[-A-Z]{27}(#[-A-Z]{27})*"),
        values.says("epn.measurement", "measurement_type", _no_ucd, distinct=True),
    ]


def _no_ucd(said: Any) -> bool:
    return any(not one.strip() or units.check_ucd(one.strip()) for one in str(said).split("#"))


def _times() -> list[Rule]:
    dates = [fact.name for fact in facts("epncore").values() if fact.type == "timestamp"]
    return [
        *(values.matches("epn.timestamp", name, TIMESTAMP) for name in dates),
        *(values.between("epn.julian-date", name, 2086000, 2817000) for name in ("time_min", "time_max")),
        *(values.between("epn.local-time", name, 0, 24) for name in ("local_time_min", "local_time_max")),
        values.Rule(code="epn.date-order", columns=("modification_date", "creation_date"), fails=_changed_before),
        values.Rule(code="epn.target-time", columns=("target_time_min", "time_min"), fails=_late),
    ]


def _changed_before(row: Record) -> bool:
    a, b = str(row["creation_date"] or "")[:10], str(row["modification_date"] or "")[:10]
    return bool(a and b) and re.fullmatch(TIMESTAMP, a) is not None and re.fullmatch(TIMESTAMP, b) is not None and b < a


def _late(row: Record) -> bool:
    """Return whether the time at the target is more than a minute after the time at the observer (UTC or not)."""
    said, seen = row["target_time_min"], row["time_min"]
    if said is None or seen is None or not re.fullmatch(TIMESTAMP, str(said)) or not 2086000 < seen < 2817000:
        return False
    try:
        moment = dt.datetime.fromisoformat(str(said).rstrip("Z")).replace(tzinfo=dt.UTC)
    except ValueError:
        return False
    days = (moment - dt.datetime(1858, 11, 17, tzinfo=dt.UTC)).total_seconds() / 86400
    return bool(days + JD0 > seen + 120 / 86400)


def _places() -> list[Rule]:
    found = [
        *(_framed("epn.longitude", {"celestial", "body"}, name, 0, 360) for name in ("c1min", "c1max")),
        *(_framed("epn.latitude", {"celestial", "body"}, name, -90, 90) for name in ("c2min", "c2max")),
        *(_framed("epn.radius", {"spherical", "cylindrical"}, name, 0, float("inf")) for name in ("c1min", "c1max")),
        *(_framed("epn.radius", {"spherical"}, name, 0, 180) for name in ("c2min", "c2max")),
        *(_unframed(name) for name in ("c1min", "c2min", "c3min")),
        *(values.between("epn.longitude", name, 0, 360) for name in (
            "subobserver_longitude_min", "subobserver_longitude_max", "subsolar_longitude_min", "subsolar_longitude_max",
            "solar_longitude_min", "solar_longitude_max", "ra",
        )),
        *(values.between("epn.latitude", name, -90, 90) for name in (
            "subobserver_latitude_min", "subobserver_latitude_max", "subsolar_latitude_min", "subsolar_latitude_max", "dec",
        )),
        *(values.between("epn.angle", f"{kind}_{end}", 0, 180) for kind in ("incidence", "emergence") for end in ("min", "max")),
        *(values.between("epn.angle", f"phase_{end}", -180, 180) for end in ("min", "max")),
    ]  # fmt: skip
    amounts = [
        fact.name
        for fact in facts("epncore").values()
        if POSITIVE.search(fact.name) and fact.type in {"double", "integer"}
    ]
    return found + [values.between("epn.negative", name, 0, 1e300) for name in amounts]


def _framed(code: str, frames: set[str], name: str, low: float, high: float) -> Rule:
    listed = ", ".join(f"'{one}'" for one in sorted(frames))
    beyond = f"{name} < {low:g}" + (f" OR {name} > {high:g}" if high < 1e300 else "")

    def fails(row: Record) -> bool:
        value = row[name]
        return row["spatial_frame_type"] in frames and isinstance(value, int | float) and not low <= value <= high

    return values.Rule(
        code=code,
        columns=(name, "spatial_frame_type"),
        fails=fails,
        where=f"spatial_frame_type IN ({listed}) AND ({beyond})",
    )


def _unframed(name: str) -> Rule:
    return values.Rule(
        code="epn.no-frame", columns=(name, "spatial_frame_type"), fails=lambda row: row["spatial_frame_type"] == "none" and row[name] is not None,
        where=f"spatial_frame_type = 'none' AND {name} IS NOT NULL",
    )  # fmt: skip


def _products() -> list[Rule]:
    return [
        values.needs("epn.access", "access_url", "access_format"),
        values.needs("epn.access", "access_url", "access_estsize"),
        values.matches("epn.media-type", "access_format", r"[a-z0-9.+-]+/[a-z0-9.+-]+(\s*;.*)?", distinct=True),
        *(values.matches("epn.url", name, r"(https?|ftp)://[^\s/]+\S*") for name in URLS),
        values.matches("epn.md5", "access_md5", r"[0-9a-fA-F]{32}"),
        values.matches("epn.file-name", "file_name", r"[^/\\]+"),
        values.says("epn.uid-form", "granule_uid", lambda said: "#" in str(said) or not str(said).isascii()),
    ]


def _texts() -> list[Rule]:
    found = []
    for fact in facts("epncore").values():
        if fact.type != "text":
            continue
        if fact.name not in URLS:
            found.append(values.says("epn.text", fact.name, lambda said: str(said) != str(said).strip()))
        if fact.name not in URLS and not fact.name.endswith(
            ("_desc", "_title", "description", "bib_reference", "map_projection")
        ):
            found.append(values.says("epn.quotes", fact.name, lambda said: '"' in str(said)))
        if fact.many:
            found.append(
                values.matches("epn.list", fact.name, r"[^\s#]([^#]*[^\s#])?(#[^\s#]([^#]*[^\s#])?)*|\s.*|.*\s")
            )
    found += [
        values.says("epn.lower-case", name, lambda said: str(said) != str(said).lower(), distinct=True)
        for name in LOWER
    ]
    return found


def _references(service: Service, notes: Notes, table: Table) -> None:
    """Check whether internal references lead somewhere, where all rows are known."""
    rows = values.sample(service, table)
    if not rows.whole:
        return
    known = {str(record.get("granule_uid")) for record in rows.records}
    for record in rows.records:
        said = record.get("internal_reference")
        lost = [one for one in str(said).split("#") if one and one not in known] if said is not None else []
        if lost:
            key = f"granule_uid = {record.get('granule_uid')}"
            notes.tell(
                "epn.reference", table=table.name, column="internal_reference", key=key, value=lost[0], of=rows.total
            )
