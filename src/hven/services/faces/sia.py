"""SIA 1.0 for programs of before ObsCore: images of ivoa.obscore, or of one collection, by position, size and format, in the words VOX:*.

``/sia/<schema.table>`` lists images as they were taken (Pointed), ``/sia/<schema.table>/cutouts`` those that `hven.services.faces.soda` would cut
of them for that position and size (Cutout).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import anyio.to_thread
import pyarrow as pa

from hven import formats, query
from hven import services as dali
from hven.adql.text import literal
from hven.formats import End, Head, Info
from hven.formats.media import Selection
from hven.jobs.tap import MAXREC
from hven.model.errors import HvenError, NotFound, ParamError
from hven.model.params import Param, wrap
from hven.model.sky import shape_text
from hven.model.table import Column
from hven.model.types import INT32, Type
from hven.services import cutouts, elsewhere, filed
from hven.services.errors import Faults, votable_error
from hven.services.face import DALI, Asked, Face, Surroundings, Way, asking
from hven.services.observed import OBSERVED, inputs, inside, observed
from hven.services.params import value, values
from hven.site.auth import alone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.model.table import Table
    from hven.site import Published
    from hven.site.auth import Reader

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
RECORD = ("sia:SimpleImageAccess", "http://www.ivoa.net/xml/SIA/v1.1")
MOST = 200  # images whose files are looked into for one answer
WCS = (
    Column(name="projection", type=Type("char", "3"), ucd="VOX:WCS_CoordProjection"),
    Column(name="crpix", type=DOUBLES, unit="pix", ucd="VOX:WCS_CoordRefPixel"),
    Column(name="crval", type=DOUBLES, unit="deg", ucd="VOX:WCS_CoordRefValue"),
    Column(name="cd", type=DOUBLES, unit="deg/pix", ucd="VOX:WCS_CDMatrix"),
)
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


def _asked(given: Mapping[str, Any]) -> tuple[float, float, str | None]:
    """Read POS and SIZE: a place, and the box around it, whose width is a true angle at its centre; None: the place alone."""
    lon, *rest = _numbers(given, "POS", 2, -360, 720)
    lon = wrap(lon, 0, 360)
    size = _numbers(given, "SIZE", 2, 0, 360)
    if len(rest) != 1 or not -90 <= rest[0] <= 90 or lon < 0:
        remedy = "write right ascension and declination in degrees, ICRS: 83.63,22.01"
        raise ParamError(f"POS={given['POS']!r:.60} is no position", name="POS", remedy=remedy)
    lat, width, height = rest[0], size[0] / 2, size[-1] / 2
    if not (width and height):
        return lon, lat, None
    south, north = max(-90.0, lat - height), min(90.0, lat + height)
    wide = width / math.cos(math.radians(lat)) if south > -90 and north < 90 else 180.0
    west, east = (0.0, 360.0) if wide >= 180 else ((lon - wide) % 360, (lon + wide) % 360)
    return lon, lat, f"RANGE {west!r} {east!r} {south!r} {north!r}"


def _place(given: Mapping[str, Any]) -> Iterator[str]:
    """Write how images go with a box."""
    lon, lat, box = _asked(given)
    if given["INTERSECT"] == "CENTER" or box is None:
        yield f"1 = CONTAINS(POINT({lon!r}, {lat!r}), s_region)"
        return
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


def routes(around: Surroundings) -> Sequence[BaseRoute]:
    """Route ``/sia/<schema.table>/cutouts`` and what is below."""
    few = anyio.CapacityLimiter(2)

    def made(request: Request, params: dali.Params) -> Response:
        who, holdings, base = around.reader(request), around.site.current(), dali.base(request, around.site.settings)
        table = dali.table_named(request.path_params["table"], holdings.catalogue(who, around.policies))
        if not CUTOUTS.applies(table):
            raise NotFound(f"{table.qualified} has no {CUTOUTS.lacking}", remedy="ask it by TAP")
        given = values(params, PARAMS)
        said = str(given["FORMAT"]).strip().lower()
        box = None if said == "metadata" else _asked(given)[2]
        cuts = said in {"", "all"} or "fits" in said  # which are FITS
        asked = _ask(table, {**given, "INTERSECT": "OVERLAPS", "FORMAT": "ALL" if cuts else "METADATA"})
        inputs = asked.params if said == "metadata" else ()
        most = min(MOST if (most := value(params, MAXREC)) is None else most, MOST)
        with query.run(
            str(asked.query), who, site=around.site, maxrec=most, holdings=holdings, policies=alone(around.policies, asked.alone)
        ) as result:  # fmt: skip
            rows = [row for batch in result.batches() for row in batch.to_pylist()]
            columns = (*_presented(result.columns), *(WCS if given["VERB"] else ()))
        found = list(_cuts(around, who, table, rows, box, base))
        body = pa.Table.from_pylist(found, pa.schema([one.arrow for one in columns]))
        fmt, options = formats.select(params.one("RESPONSEFORMAT") or KIND)
        head = Head(
            columns=columns, name=table.name, params=inputs,
            infos=(*asked.infos, *dali.unused(params, CUTOUTS.params)),
            enums={f"INPUT:{one.name}": dict.fromkeys(one.allowed, "") for one in PARAMS} if inputs else {},
        )  # fmt: skip
        end = End(overflow=result.overflow, rows=len(found))
        text = b"".join(fmt.write(head, iter(body.to_batches()), lambda: end, options))
        public = holdings.reach(who, around.policies) == "public"
        kind = options.get(formats.MEDIA_TYPE) or fmt.media_types[0]
        return dali.tagged(request, dali.caching(dali.etag(text), public=public), kind, text)

    async def answered(request: Request, params: dali.Params) -> Response:
        return await anyio.to_thread.run_sync(made, request, params, limiter=few)

    return [asking(CUTOUTS.path, answered, FACE.faults), *CUTOUTS.addresses(around)]


def _cuts(
    around: Surroundings, who: Reader, table: Table, rows: Sequence[dict[str, Any]], box: str | None, base: str
) -> Iterator[dict[str, Any]]:
    """Make of rows of images those that would be cut of them: what the reader may not take, or has nothing there, is left out."""
    by = {row["obs_publisher_did"]: row for row in rows if row["obs_publisher_did"]}
    files: dict[str, list[tuple[str, str]]] = {}
    for link in cutouts.led(around, who, table, list(by)) if by else ():
        if link["file"] is not None and link["link_authorized"] is not False:
            files.setdefault(link["file"][0], []).append((link["ID"], link["file"][1]))
    shape = None if box is None else shape_text.parse("pos", box)
    for collection, some in files.items():
        paths = [path for _, path in some]
        looked = partial(_looked, around, who, filed.asked(around, who, collection, paths), Selection(shape=shape))
        for (ident, _), told in zip(some, elsewhere.together(looked, paths), strict=True):
            if told is not None:
                pos = "" if box is None else f"&POS={quote(box)}"
                url = f"{base}/soda/sync?TABLE={quote(table.qualified)}&ID={quote(ident, safe='')}{pos}"
                yield {**by[ident], **told, "format": "image/fits", "url": url}


def _looked(
    around: Surroundings, who: Reader, known: filed.Found, wanted: Selection, path: str
) -> dict[str, Any] | None:
    try:
        file = filed.original(around, who, known, path)
        return cutouts.described(file.path, file.name, wanted)
    except HvenError as error:  # closed, gone, or nothing that is cut by places on the sky
        if elsewhere.away(error):
            raise
        return None


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
    kind=(*RECORD, "<imageServiceType>Pointed</imageServiceType><maxRecords>{most}</maxRecords>"),
    example="POS=83.63,22.01&SIZE=1&RESPONSEFORMAT=csv",
    trial=(
        "POS={lon},{lat}&SIZE={size}",
        "<testQuery><pos><long>{lon}</long><lat>{lat}</lat></pos><size><long>{size}</long><lat>{size}</lat></size></testQuery>",
    ),
    ways=_ways,
    routes=routes,
)
CUTOUTS = replace(
    FACE,
    name="sia-cutouts",
    title="Images (SIA 1), cut out",
    applies=lambda table: FACE.applies(table) and table.filed and table.offers("soda"),
    lacking="files that could be cut",
    params=(*PARAMS, *DALI),
    ask=None,
    path="/sia/{table}/cutouts",
    kind=(*RECORD, f"<imageServiceType>Cutout</imageServiceType><maxRecords>{MOST}</maxRecords>"),
    routes=lambda _: (),
)
FACE = replace(FACE, further=(CUTOUTS,))
