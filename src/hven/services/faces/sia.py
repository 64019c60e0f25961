"""SIA 1.0 for programs of before ObsCore: images of ivoa.obscore, or of one collection, by position, size and format, in the words VOX:*."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from hven.adql.text import literal
from hven.formats import Info
from hven.model.errors import ParamError
from hven.model.params import Param
from hven.model.types import INT32, Type
from hven.services.errors import Faults, votable_error
from hven.services.face import Asked, Face, Way
from hven.services.observed import OBSERVED, inputs, inside, observed

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hven.model.table import Column, Table
    from hven.site import Published

KIND = "text/xml;content=x-votable"
GRAPHIC = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif"}
INTEGERS, DOUBLES = Type("int", "*"), Type("double", "*")
GRID = "of an image made on demand; these here are as they were taken"
PARAMS = (
    Param(name="POS", unit="deg", ucd="pos.eq", description="right ascension and declination, ICRS: 83.63,22.01"),
    Param(name="SIZE", unit="deg", description="width and height of the box around POS, or one number for both; 0: images that hold POS"),
    Param(name="INTERSECT", default="OVERLAPS", allowed=("OVERLAPS", "COVERS", "ENCLOSED", "CENTER"), description="how images go with the box: touch it, hold all of it, lie within it, hold its centre"),
    Param(name="FORMAT", default="ALL", description="ALL, GRAPHIC, GRAPHIC-ALL, GRAPHIC-png,jpeg,gif, media types with commas between, or METADATA: the columns alone"),
    Param(name="NAXIS", description=f"pixels, {GRID}"),
    Param(name="CFRAME", description=f"frame, {GRID}"),
    Param(name="EQUINOX", description=f"equinox, {GRID}"),
    Param(name="CRPIX", description=f"reference pixel, {GRID}"),
    Param(name="CRVAL", description=f"position of that pixel, {GRID}"),
    Param(name="CDELT", description=f"degrees from pixel to pixel, {GRID}"),
    Param(name="ROTANG", description=f"rotation, {GRID}"),
    Param(name="PROJ", description=f"projection, {GRID}"),
    Param(name="VERB", type=INT32, default="2", minimum=0, maximum=3, description="how many columns: 0 those that must be, 1 those that should be, 2 and 3 all"),
)  # fmt: skip
_SCALE = "COALESCE({pixel}s_fov / SQRT(CAST(s_xel1 AS DOUBLE PRECISION) * s_xel1 + CAST(s_xel2 AS DOUBLE PRECISION) * s_xel2))"
# name, UCD, expression over ObsCore, unit, type where it is not that of the expression, smallest VERB
COLUMNS: tuple[tuple[str, str, str, str | None, Type | None, int], ...] = (
    ("title", "VOX:Image_Title", "COALESCE({title}obs_id, '')", None, None, 0),
    ("obs_publisher_did", "meta.ref.ivoid", "obs_publisher_did", None, None, 0),
    ("ra", "POS_EQ_RA_MAIN", "s_ra", "deg", None, 0),
    ("dec", "POS_EQ_DEC_MAIN", "s_dec", "deg", None, 0),
    ("naxes", "VOX:Image_Naxes", "CASE WHEN dataproduct_type = 'cube' THEN 3 ELSE 2 END", None, INT32, 0),
    ("naxis", "VOX:Image_Naxis", "{xel1} || ' ' || {xel2} || CASE WHEN dataproduct_type = 'cube' THEN ' ' || COALESCE({em}, '1') ELSE '' END", "pix", INTEGERS, 0),
    ("scale", "VOX:Image_Scale", "CAST(" + _SCALE + " AS VARCHAR) || ' ' || CAST(" + _SCALE + " AS VARCHAR)", "deg/pix", DOUBLES, 0),
    ("format", "VOX:Image_Format", "hven_format", None, None, 0),
    ("url", "VOX:Image_AccessReference", "hven_url", None, None, 0),
    ("instrument", "INST_ID", "instrument_name", None, None, 1),
    ("mjd", "VOX:Image_MJDateObs", "(t_min + t_max) / 2", "d", None, 1),
    ("frame", "VOX:STC_CoordRefFrame", "'ICRS'", None, None, 1),
    ("band_unit", "VOX:BandPass_Unit", "'meters'", None, None, 1),
    ("band", "VOX:BandPass_RefValue", "(em_min + em_max) / 2", "m", None, 1),
    ("band_high", "VOX:BandPass_HiLimit", "em_max", "m", None, 1),
    ("band_low", "VOX:BandPass_LoLimit", "em_min", "m", None, 1),
    ("flags", "VOX:Image_PixFlags", "'C'", None, None, 1),
    ("bytes", "VOX:Image_FileSize", "access_estsize * 1000", "byte", None, 2),
    ("collection", "", "obs_collection", None, None, 2),
    ("target", "", "target_name", None, None, 2),
)  # fmt: skip


def _numbers(given: Mapping[str, Any], name: str, most: int, low: float, high: float) -> list[float]:
    """Read numbers with commas between."""
    text = given[name] or ""
    try:
        found = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        found = []
    if not 0 < len(found) <= most or not all(low <= one <= high for one in found):
        remedy = {
            "POS": "write right ascension and declination in degrees, ICRS: 83.63,22.01",
            "SIZE": "write degrees: 0.5, or 0.5,0.25",
        }[name]
        raise ParamError(f"{name}={text!r:.60} is none" if text else f"{name} is missing", name=name, remedy=remedy)
    return found


def _place(given: Mapping[str, Any]) -> Iterator[str]:
    """Write how images go with a box, whose width is a true angle at its centre."""
    lon, *rest = _numbers(given, "POS", 2, -90, 360)
    size = _numbers(given, "SIZE", 2, 0, 360)
    if len(rest) != 1 or not -90 <= rest[0] <= 90 or lon < 0:
        remedy = "write right ascension and declination in degrees, ICRS: 83.63,22.01"
        raise ParamError(f"POS={given['POS']!r:.60} is no position", name="POS", remedy=remedy)
    lat, width, height = rest[0], size[0] / 2, size[-1] / 2
    if given["INTERSECT"] == "CENTER" or not (width and height):
        yield f"1 = CONTAINS(POINT({lon!r}, {lat!r}), s_region)"
        return
    south, north = max(-90.0, lat - height), min(90.0, lat + height)
    wide = width / math.cos(math.radians(lat)) if south > -90 and north < 90 else 180.0
    west, east = (0.0, 360.0) if wide >= 180 else ((lon - wide) % 360, (lon + wide) % 360)
    box = f"RANGE {west!r} {east!r} {south!r} {north!r}"
    region = f"REGION({literal(box)})"
    if given["INTERSECT"] == "OVERLAPS":
        yield inside(box)
    elif given["INTERSECT"] == "COVERS":
        yield f"1 = CONTAINS({region}, s_region)"
    else:
        yield f"(1 = CONTAINS(s_region, {region}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {region})))"


def _formats(text: str) -> Iterator[str]:
    word = text.strip().lower()
    head, _, listed = word.partition("-")
    kinds = [one.strip() for one in word.split(",") if one.strip()]
    if head == "graphic":
        names = [one.strip() for one in listed.split(",") if one.strip() not in {"", "all"}]
        kinds = [GRAPHIC.get(one, f"image/{one}") for one in names or GRAPHIC]
    if "all" not in kinds and kinds:
        yield f"LOWER(hven_format) IN ({', '.join(map(literal, dict.fromkeys(kinds)))})"


def _presented(columns: Sequence[Column]) -> tuple[Column, ...]:
    said = {name: (ucd, unit, kind) for name, ucd, _, unit, kind, _ in COLUMNS}
    found = []
    for column in columns:
        ucd, unit, kind = said[column.name]
        found.append(column.having(ucd=ucd or column.ucd, utype=None, unit=unit, type=kind or column.type, frame=None))
    return tuple(found)


def _ask(table: Table, given: Mapping[str, Any]) -> Asked:
    metadata = (given["FORMAT"] or "").strip().lower() == "metadata"
    seen = {column.name for column in table.columns} if table.qualified == OBSERVED else set()
    words = {
        "title": "obs_title, " if "obs_title" in seen else "",
        "pixel": "s_pixel_scale / 3600, " if "s_pixel_scale" in seen else "",
        **{name: f"CASE WHEN {of} > 0 THEN CAST({of} AS VARCHAR) END" for name, of in (("xel1", "s_xel1"), ("xel2", "s_xel2"), ("em", "em_xel"))},
    }  # fmt: skip
    items = [f'{text.format(**words)} AS "{name}"' for name, _, text, _, _, least in COLUMNS if least <= given["VERB"]]
    where = (
        ["1 = 0"] if metadata else ["dataproduct_type IN ('image', 'cube')", *_place(given), *_formats(given["FORMAT"])]
    )
    return Asked(
        query=f"SELECT {', '.join(items)} FROM {OBSERVED} WHERE {' AND '.join(where)}",
        alone=table.qualified,
        present=_presented,
        infos=(Info(name="SERVICE_PROTOCOL", value="1.0", content="SIAP"),),
        params=inputs(PARAMS) if metadata else (),
    )


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how images of a place are asked for."""
    url = FACE.url(published.table, base)
    python = f'import pyvo\n\nimages = pyvo.dal.SIAService("{url}")\nprint(images.search(pos=(83.63, 22.01), size=0.5).to_table())'
    return [Way(title="Images in Python", url=url, language="python", example=python)]


FACE = Face(
    name="sia",
    title="Images (SIA 1)",
    description="Images by position and size, for programs that do not know SIA 2.",
    standard_ids=("ivo://ivoa.net/std/SIA",),
    params=PARAMS,
    applies=observed("sia"),
    lacking="observations (ivoa.obscore has, and tables with `obscore` whose `services` name sia)",
    ask=_ask,
    path="/sia/{table}",
    faults=Faults(write=votable_error, kind=KIND, patient=True),
    form=KIND,
    kind=(
        "sia:SimpleImageAccess",
        "http://www.ivoa.net/xml/SIA/v1.1",
        "<imageServiceType>Pointed</imageServiceType><maxRecords>{most}</maxRecords>",
    ),
    example="POS=83.63,22.01&SIZE=1&RESPONSEFORMAT=csv",
    ways=_ways,
)
