"""SSA 1.1: spectra of ivoa.obscore, by position, wavelength and time, with the utypes of the standard."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import write_adql, write_adql_literal
from hven.adql.syntax_tree import build_column_ref, build_text_condition
from hven.formats import InfoElement
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import FLOAT64, INT32, ColumnType
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import ServiceFace, ServiceQuery, UsageExample
from hven.services.observation_conditions import (
    OBSCORE_TABLE,
    build_input_constants,
    create_observation_service_test,
    write_interval_condition,
    write_region_condition,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import PublishedTable

DEFAULT_DIAMETER_DEGREES = 0.1  # diameter of the circle around POS where SIZE is missing
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_TIME_PATTERN = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?)?)?)?Z?")
# band -> wavelengths in metres; SSA 1.1, section 4.1.3, lets the service define them: these are VODataService's
BAND_WAVELENGTHS_METRES = {
    "radio": (0.01, math.inf),
    "millimeter": (1e-4, 0.01),
    "infrared": (1e-6, 1e-4),
    "optical": (3e-7, 1e-6),
    "uv": (1e-8, 3e-7),
    "euv": (1e-8, 1e-7),
    "x-ray": (1.2e-11, 1e-8),
    "gamma-ray": (0.0, 1.2e-11),
}
# FORMAT -> parts of media types; other values are media types themselves
FORMAT_MEDIA_TYPES: dict[str, tuple[str, ...]] = {
    "all": (),
    "native": (),
    "compliant": ("votable", "fits"),
    "votable": ("votable",),
    "fits": ("fits",),
    "graphic": ("image/",),
    "xml": ("xml",),
}
SSA_PARAMS = (
    Param(name="REQUEST", description="queryData"),
    Param(name="VERSION", description="version of the protocol: 1.1"),
    Param(name="POS", unit="deg", ucd="pos.eq", description="right ascension and declination, ICRS: 83.63,22.01"),
    Param(
        name="SIZE", type=FLOAT64, unit="deg", minimum=0, maximum=360, description="diameter of the circle around POS"
    ),
    Param(
        name="BAND",
        unit="m",
        ucd="em.wl",
        description="wavelengths: 4e-7/7e-7, /1e-6, several separated by commas, or radio, optical, uv ..",
    ),
    Param(name="TIME", description="times (UTC): 2001/2003-05, a year, a day, or several separated by commas"),
    Param(
        name="FORMAT",
        default="all",
        description="all, compliant, fits, votable, graphic, media types, or metadata for only the columns",
    ),
    Param(name="TARGETNAME", ucd="meta.id;src", description="names of the observed objects, separated by commas"),
    Param(name="COLLECTION", description="names of collections, separated by commas"),
    Param(name="PUBDID", ucd="meta.ref.ivoid", description="identifier of a dataset: ivo://.."),
    Param(name="SPECRP", type=FLOAT64, minimum=0, ucd="spect.resolution", description="smallest resolving power"),
    Param(
        name="SPATRES",
        type=FLOAT64,
        minimum=0,
        unit="deg",
        ucd="pos.angResolution",
        description="largest angular resolution",
    ),
    Param(name="TOP", type=INT32, minimum=0, description="maximum number of rows"),
)
# utype, expression over ObsCore, UCD, unit, type where it is not that of the expression
SSA_COLUMNS: tuple[tuple[str, str, str, str | None], ...] = (
    ("Access.Reference", "hven_url", "meta.ref.url", None),
    ("Access.Format", "hven_format", "meta.code.mime", None),
    ("Access.Size", "access_estsize", "phys.size;meta.file", "kbyte"),
    ("Dataset.DataModel", "'Spectrum-1.0'", "", None),
    ("Dataset.Type", "dataproduct_type", "", None),
    ("Dataset.Length", "em_xel", "meta.number", None),
    ("DataID.Title", "COALESCE({title}obs_id, '')", "meta.title;meta.dataset", None),
    ("DataID.Collection", "obs_collection", "", None),
    ("DataID.Instrument", "instrument_name", "meta.id;instr", None),
    ("Curation.Publisher", "REGEXP_REPLACE(obs_publisher_did, '^ivo://([^/?]+).*$', '\\1')", "meta.curation", None),
    ("Curation.PublisherDID", "obs_publisher_did", "meta.ref.url;meta.curation", None),
    ("Target.Name", "target_name", "meta.id;src", None),
    ("Char.SpatialAxis.Coverage.Location.Value", "POINT(s_ra, s_dec)", "pos.eq", "deg"),
    ("Char.SpatialAxis.Coverage.Bounds.Extent", "s_fov", "phys.angSize;instr.fov", "deg"),
    ("Char.SpatialAxis.Coverage.Support.Area", "s_region", "pos.outline;instr.fov", None),
    ("Char.SpatialAxis.Resolution", "s_resolution / 3600", "pos.angResolution", "deg"),
    ("Char.SpectralAxis.Coverage.Location.Value", "(em_min + em_max) / 2", "em.wl;instr.bandpass", "m"),
    ("Char.SpectralAxis.Coverage.Bounds.Extent", "em_max - em_min", "em.wl;instr.bandwidth", "m"),
    ("Char.SpectralAxis.Coverage.Bounds.Start", "em_min", "em.wl;stat.min", "m"),
    ("Char.SpectralAxis.Coverage.Bounds.Stop", "em_max", "em.wl;stat.max", "m"),
    ("Char.SpectralAxis.ResPower", "em_res_power", "spect.resolution", None),
    ("Char.TimeAxis.Coverage.Location.Value", "(t_min + t_max) / 2", "time.epoch", "d"),
    ("Char.TimeAxis.Coverage.Bounds.Extent", "t_max - t_min", "time.duration", "d"),
    ("Char.TimeAxis.Coverage.Bounds.Start", "t_min", "time.start;obs.exposure", "d"),
    ("Char.TimeAxis.Coverage.Bounds.Stop", "t_max", "time.end;obs.exposure", "d"),
    ("Char.FluxAxis.Ucd", "o_ucd", "meta.ucd", None),
)


def _split_list(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _parse_wavelength_range(text: str, name: str) -> tuple[float, float]:
    """Parse a wavelength, two separated by a slash, or the name of a band."""
    range_text = text.partition(";")[0].strip()  # without ;source or ;observer: ObsCore has one kind
    if range_text.lower() in BAND_WAVELENGTHS_METRES:
        return BAND_WAVELENGTHS_METRES[range_text.lower()]
    low_text, slash, high_text = range_text.partition("/")
    if not slash:
        high_text = low_text
    try:
        if low_text:
            low = float(low_text)
        else:
            low = -math.inf
        if high_text or not slash:
            high = float(high_text)
        else:
            high = math.inf
    except ValueError:
        remedy = f"write a range in metres, such as 4e-7/7e-7, or one of {', '.join(BAND_WAVELENGTHS_METRES)}"
        raise ParamError(f"{name}={text!r:.60} is not a range of wavelengths", name=name, remedy=remedy) from None
    if not low <= high:
        raise ParamError(f"{name}={text!r:.60} is an empty interval, because its end is before its start", name=name)
    return low, high


def _parse_time_range(text: str) -> tuple[float, float]:
    """Parse a time, or two separated by a slash, as modified Julian dates; a year or day alone is all of it."""
    low_text, slash, high_text = (part.strip() for part in text.partition("/"))
    if not slash:
        high_text = low_text
    begin = -math.inf
    end = math.inf
    if low_text:
        begin, _ = _parse_time_span(low_text, text)
    if high_text:
        _, end = _parse_time_span(high_text, text)
    if not begin <= end:
        raise ParamError(f"TIME={text!r:.60} is an empty interval, because its end is before its start", name="TIME")
    return begin, end


def _parse_time_span(time_text: str, range_text: str) -> tuple[float, float]:
    """Return begin and end of a time: a year lasts a year, a second no time."""
    time_match = _TIME_PATTERN.fullmatch(time_text)
    remedy = "write times (UTC) as 2003, 2003-05-21 or 2003-05-21T10:30:00, and ranges with a slash"
    time_error = ParamError(f"TIME={range_text!r:.60} is not a time", name="TIME", remedy=remedy)
    if time_match is None:
        raise time_error
    year, month, day, hour, minute = (int(part) if part else None for part in time_match.groups()[:5])
    seconds = float(time_match[6] or 0.0)
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, int(seconds), tzinfo=UTC)
        next_month = datetime((year or 0) + (month in {None, 12}), (month or 12) % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        raise time_error from None
    begin = (start - MJD_EPOCH).total_seconds() / 86400 + seconds % 1 / 86400
    if day is None:
        return begin, (next_month - MJD_EPOCH).total_seconds() / 86400
    if hour is None:
        duration = 1.0
    elif minute is None:
        duration = 1 / 24
    elif not time_match[6]:
        duration = 1 / 1440
    else:
        duration = 0.0
    return begin, begin + duration


def _write_ssa_conditions(values: Mapping[str, Any]) -> Iterator[str]:
    yield "dataproduct_type IN ('spectrum', 'sed')"
    if values["POS"]:
        yield _write_position_condition(values["POS"], values["SIZE"])
    for name, columns, parse_range in (
        ("BAND", ("em_min", "em_max"), partial(_parse_wavelength_range, name="BAND")),
        ("TIME", ("t_min", "t_max"), _parse_time_range),
    ):
        range_texts = _split_list(values[name])
        if range_texts:
            conditions = [write_interval_condition(*columns, parse_range(text)) for text in range_texts]
            yield f"({' OR '.join(conditions)})"
    for name, column in {
        "TARGETNAME": "target_name",
        "COLLECTION": "obs_collection",
        "PUBDID": "obs_publisher_did",
    }.items():
        names = _split_list(values[name])
        if names:
            yield f"{column} IN ({', '.join(map(write_adql_literal, names))})"
    if values["SPECRP"] is not None:
        yield f"em_res_power >= {values['SPECRP']!r}"
    if values["SPATRES"] is not None:
        yield f"s_resolution <= {values['SPATRES'] * 3600!r}"
    formats = _split_list(values["FORMAT"].lower())
    media_types: list[str] = []
    for format_name in formats:
        media_types += FORMAT_MEDIA_TYPES.get(format_name, (format_name,))
    if media_types and "all" not in formats:
        format_column = build_column_ref("hven_format")
        conditions = [write_adql(build_text_condition(format_column, ("", part, ""))) for part in media_types]
        yield f"({' OR '.join(conditions)})"


def _write_position_condition(pos: str, size: float | None) -> str:
    """Write the condition that spectra touch the circle of POS and SIZE."""
    position, _, frame = pos.partition(";")
    coordinates = position.replace(",", " ").split()
    remedy = "write right ascension and declination in degrees (ICRS), such as 83.63,22.01"
    if len(coordinates) != 2 or frame.strip().upper() not in {"", "ICRS"}:
        raise ParamError(f"POS={pos!r:.60} is not a position", name="POS", remedy=remedy)
    lon, lat = coordinates
    diameter = DEFAULT_DIAMETER_DEGREES if size is None else size
    try:
        return write_region_condition(f"CIRCLE {lon} {lat} {min(diameter / 2, 180.0)!r}")
    except ParamError as error:  # its remedy is a circle, which SSA does not accept
        raise ParamError(error.message, name="POS", remedy=remedy) from error


def _adapt_columns_to_ssa(columns: Sequence[Column]) -> tuple[Column, ...]:
    adapted_columns = []
    for column, (utype, _, ucd, unit) in zip(columns, SSA_COLUMNS, strict=True):
        column_type = column.type
        if column_type.xtype == "point":
            column_type = ColumnType("double", "2")
        adapted_columns.append(
            column.copy_with(utype=f"ssa:{utype}", ucd=ucd or None, unit=unit, type=column_type, frame=None)
        )
    return tuple(adapted_columns)


def _build_ssa_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    if (values["REQUEST"] or "queryData").lower() != "querydata":
        raise ParamError(
            f"REQUEST={values['REQUEST']!r:.40} is not valid", name="REQUEST", remedy="write REQUEST=queryData"
        )
    column_names = {column.name for column in table.columns}
    title_expression = "obs_title, " if "obs_title" in column_names else ""
    items = []
    for utype, expression, *_ in SSA_COLUMNS:
        item_expression = expression
        if "{" in expression:
            item_expression = expression.format(title=title_expression)
        items.append(f'{item_expression} AS "{utype.replace(".", "_")}"')
    is_metadata_request = values["FORMAT"].strip().lower() == "metadata"
    conditions = ["1 = 0"]
    params: tuple[tuple[Column, object], ...] = ()
    if is_metadata_request:
        params = build_input_constants(SSA_PARAMS)
    else:
        conditions = [*_write_ssa_conditions(values)]
    top = ""
    if values["TOP"] is not None:
        top = f"TOP {values['TOP']} "
    return ServiceQuery(
        query=f"SELECT {top}{', '.join(items)} FROM {OBSCORE_TABLE} WHERE {' AND '.join(conditions)}",
        only_table=table.qualified_name,
        columns_only=values["TOP"] == 0,
        adapt_columns=_adapt_columns_to_ssa,
        infos=(InfoElement(name="SERVICE_PROTOCOL", value="1.1", content="SSAP"),),
        params=params,
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how spectra of a position are requested."""
    url = FACE.build_url(published.table, base_url)
    python = (
        f"import pyvo\nfrom astropy.coordinates import SkyCoord\n\nspectra = "
        f'pyvo.dal.SSAService("{url}")\nprint(spectra.search(pos=SkyCoord("83.63 22.01", unit="deg"), '
        f"diameter=0.1).to_table())"
    )
    return [UsageExample(title="Spectra in Python", url=url, language="python", example=python)]


FACE = ServiceFace(
    name="ssa",
    title="Spectra (SSA)",
    is_selectable=True,
    description="Spectra of all collections, by position, wavelength and time.",
    standard_ids=("ivo://ivoa.net/std/SSA",),
    params=SSA_PARAMS,
    applies=create_observation_service_test("ssa"),
    missing_requirement="observations (ivoa.obscore, or a table with `obscore` and ssa in `services`)",
    build_query=_build_ssa_query,
    path="/ssa/{table}",
    error_responder=ErrorResponder(
        write_document=write_votable_error, media_type="application/x-votable+xml", answers_with_200=True
    ),
    capability_type=(
        "ssap:SimpleSpectralAccess",
        "http://www.ivoa.net/xml/SSA/v1.1",
        (
            "<complianceLevel>query</complianceLevel><dataSource>pointed</dataSource>"
            "<creationType>archival</creationType><supportedFrame>ICRS</supportedFrame>"
            "<maxSearchRadius>180</maxSearchRadius><maxRecords>{most}</maxRecords>"
        ),
    ),
    example="REQUEST=queryData&POS=83.63,22.01&SIZE=1&RESPONSEFORMAT=csv",
    test_query=(
        "REQUEST=queryData&POS={lon},{lat}&SIZE={size}",
        "<testQuery><pos><long>{lon}</long><lat>{lat}</lat></pos><size>{size}</size></testQuery>",
    ),
    list_usage_examples=_list_usage_examples,
)
