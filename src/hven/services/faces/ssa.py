"""SSA 1.1: spectra of ivoa.obscore, by position, wavelength and time, with the utypes that clients of spectra look for."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import write_literal
from hven.formats import InfoElement
from hven.model.errors import ParamError
from hven.model.params import Param, wrap_angle
from hven.model.types import FLOAT64, INT32, Type
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import Face, ServiceQuery, UsageExample
from hven.services.observation_conditions import (
    OBSCORE_TABLE,
    create_applies_test,
    describe_input_params,
    write_interval_condition,
    write_region_condition,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import PublishedTable

DEFAULT_DIAMETER_DEGREES = 0.1  # degrees, of the circle around a position where no diameter is said
MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_TIME_PATTERN = re.compile(r"(\d{4})(?:-(\d\d)(?:-(\d\d)(?:[T ](\d\d)(?::(\d\d)(?::(\d\d(?:\.\d+)?))?)?)?)?)?Z?")
# name of a band -> wavelengths in metres (SSA 1.1 section 4.1.3 leaves it to the service: those of VODataService's
# wavebands)
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
# FORMAT -> what media types contain; others are media types themselves
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
    Param(name="VERSION", description="of the protocol: 1.1"),
    Param(name="POS", unit="deg", ucd="pos.eq", description="right ascension and declination, ICRS: 83.63,22.01"),
    Param(
        name="SIZE", type=FLOAT64, unit="deg", minimum=0, maximum=360, description="diameter of the circle around POS"
    ),
    Param(
        name="BAND",
        unit="m",
        ucd="em.wl",
        description="wavelengths: 4e-7/7e-7, /1e-6, several with commas, or radio, optical, uv ..",
    ),
    Param(name="TIME", description="times (UTC): 2001/2003-05, a year or a day alone, several with commas"),
    Param(
        name="FORMAT",
        default="all",
        description="all, compliant, fits, votable, graphic, media types, or metadata: the columns alone",
    ),
    Param(name="TARGETNAME", ucd="meta.id;src", description="names of what was observed, with commas between"),
    Param(name="COLLECTION", description="names of collections, with commas between"),
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
    Param(name="TOP", type=INT32, minimum=0, description="how many rows at most"),
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
    """Read a wavelength, two with a slash between, or a band's name."""
    word = text.partition(";")[0].strip()  # ;source or ;observer: ObsCore knows one
    if word.lower() in BAND_WAVELENGTHS_METRES:
        return BAND_WAVELENGTHS_METRES[word.lower()]
    low, slash, high = word.partition("/")
    try:
        numbers = (float(low) if low else -math.inf, (float(high) if high else math.inf) if slash else float(low))
    except ValueError:
        remedy = f"write metres, such as 4e-7/7e-7, or one of {', '.join(BAND_WAVELENGTHS_METRES)}"
        raise ParamError(f"{name}={text!r:.60} is no range of wavelengths", name=name, remedy=remedy) from None
    if not numbers[0] <= numbers[1]:
        raise ParamError(f"{name}={text!r:.60} is empty: its end is before its beginning", name=name)
    return numbers


def _parse_time_range(text: str) -> tuple[float, float]:
    """Read a time, of which a year or a day alone is all of it, or two with a slash between, as modified Julian dates."""
    low, slash, high = text.partition("/")
    if low.strip():
        begin = _parse_time(low.strip(), text)[0]
    else:
        begin = -math.inf
    if (high if slash else low).strip():
        time = _parse_time((high if slash else low).strip(), text)
        end = time[1]
    else:
        end = math.inf
    if not begin <= end:
        raise ParamError(f"TIME={text!r:.60} is empty: its end is before its beginning", name="TIME")
    return begin, end


def _parse_time(time_text: str, range_text: str) -> tuple[float, float]:
    """Return when a time begins and ends: a year lasts a year, a second no time."""
    time_match = _TIME_PATTERN.fullmatch(time_text)
    remedy = "write UTC as 2003, 2003-05-21 or 2003-05-21T10:30:00, ranges with a slash"
    fault = ParamError(f"TIME={range_text!r:.60} is no time", name="TIME", remedy=remedy)
    if time_match is None:
        raise fault
    year, month, day, hour, minute = (int(part) if part else None for part in time_match.groups()[:5])
    seconds = float(time_match[6] or 0.0)
    try:
        start = datetime(year or 0, month or 1, day or 1, hour or 0, minute or 0, int(seconds), tzinfo=UTC)
        after = datetime((year or 0) + (month in {None, 12}), (month or 12) % 12 + 1, 1, tzinfo=UTC)
    except ValueError:
        raise fault from None
    begin = (start - MJD_EPOCH).total_seconds() / 86400 + seconds % 1 / 86400
    if day is None:
        return begin, (after - MJD_EPOCH).total_seconds() / 86400
    return begin, begin + (0 if time_match[6] else 1 if hour is None else 1 / 24 if minute is None else 1 / 1440)


def _write_conditions(values: Mapping[str, Any]) -> Iterator[str]:
    yield "dataproduct_type IN ('spectrum', 'sed')"
    if values["POS"]:
        position, _, frame = values["POS"].partition(";")
        words = position.replace(",", " ").split()
        if len(words) != 2 or frame.strip().upper() not in {"", "ICRS"}:
            remedy = "write right ascension and declination in degrees, ICRS: 83.63,22.01"
            raise ParamError(f"POS={values['POS']!r:.60} is no position", name="POS", remedy=remedy)
        if values["SIZE"] is None:
            size = DEFAULT_DIAMETER_DEGREES
        else:
            size = values["SIZE"]
        try:
            lon = repr(wrap_angle(float(words[0]), 0, 360))
        except ValueError:
            lon = words[0]  # the reader of regions says what is wrong with it
        yield write_region_condition(f"CIRCLE {lon} {words[1]} {min(size / 2, 180.0)!r}")
    for name, columns, read in (
        ("BAND", ("em_min", "em_max"), partial(_parse_wavelength_range, name="BAND")),
        ("TIME", ("t_min", "t_max"), _parse_time_range),
    ):
        words = _split_list(values[name])
        if words:
            yield f"({' OR '.join(write_interval_condition(*columns, read(word)) for word in words)})"
    for name, column in {
        "TARGETNAME": "target_name",
        "COLLECTION": "obs_collection",
        "PUBDID": "obs_publisher_did",
    }.items():
        words = _split_list(values[name])
        if words:
            yield f"{column} IN ({', '.join(map(write_literal, words))})"
    if values["SPECRP"] is not None:
        yield f"em_res_power >= {values['SPECRP']!r}"
    if values["SPATRES"] is not None:
        yield f"s_resolution <= {values['SPATRES'] * 3600!r}"
    kinds = [part for word in _split_list(values["FORMAT"].lower()) for part in FORMAT_MEDIA_TYPES.get(word, (word,))]
    if kinds and "all" not in _split_list(values["FORMAT"].lower()):
        alike = (f"LOWER(hven_format) LIKE {write_literal('%' + kind + '%')}" for kind in kinds)
        yield f"({' OR '.join(alike)})"


def _adapt_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    adapted_columns = []
    for column, (utype, _, ucd, unit) in zip(columns, SSA_COLUMNS, strict=True):
        if column.type.xtype == "point":
            kind = Type("double", "2")
        else:
            kind = column.type
        adapted_columns.append(
            column.copy_with(utype=f"ssa:{utype}", ucd=ucd or None, unit=unit, type=kind, frame=None)
        )
    return tuple(adapted_columns)


def _build_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    if (values["REQUEST"] or "queryData").lower() != "querydata":
        raise ParamError(f"REQUEST={values['REQUEST']!r:.40} is not known", name="REQUEST", remedy="write queryData")
    names = {column.name for column in table.columns}
    words = {"title": "obs_title, " if "obs_title" in names else ""}
    items = [
        f'{text.format(**words) if "{" in text else text} AS "{utype.replace(".", "_")}"'
        for utype, text, *_ in SSA_COLUMNS
    ]
    metadata = values["FORMAT"].strip().lower() == "metadata"
    where = ["1 = 0"] if metadata else _write_conditions(values)
    if values["TOP"] is None:
        top = ""
    else:
        top = f"TOP {values['TOP']} "
    return ServiceQuery(
        query=f"SELECT {top}{', '.join(items)} FROM {OBSCORE_TABLE} WHERE {' AND '.join(where)}",
        only_table=table.qualified_name,
        columns_only=values["TOP"] == 0,
        adapt_columns=_adapt_columns,
        infos=(InfoElement(name="SERVICE_PROTOCOL", value="1.1", content="SSAP"),),
        params=describe_input_params(SSA_PARAMS) if metadata else (),
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how spectra of a place are asked for."""
    url = FACE.build_url(published.table, base_url)
    python = (
        f"import pyvo\nfrom astropy.coordinates import SkyCoord\n\nspectra = "
        f'pyvo.dal.SSAService("{url}")\nprint(spectra.search(pos=SkyCoord("83.63 22.01", unit="deg"), '
        f"diameter=0.1).to_table())"
    )
    return [UsageExample(title="Spectra in Python", url=url, language="python", example=python)]


FACE = Face(
    name="ssa",
    title="Spectra (SSA)",
    description="Spectra of all collections, by position, wavelength and time.",
    standard_ids=("ivo://ivoa.net/std/SSA",),
    params=SSA_PARAMS,
    applies=create_applies_test("ssa"),
    missing_requirement="observations (ivoa.obscore has, and tables with `obscore` whose `services` name ssa)",
    build_query=_build_query,
    path="/ssa/{table}",
    error_responder=ErrorResponder(
        write_document=write_votable_error, media_type="application/x-votable+xml", answers_with_200=True
    ),
    capability_type=(
        "ssap:SimpleSpectralAccess",
        "http://www.ivoa.net/xml/SSA/v1.1",
        (
            "<complianceLevel>query</complianceLevel><dataSource>pointed</dataSource><creationType>archival</creationType><supportedFrame>ICRS</supportedFrame>"
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
