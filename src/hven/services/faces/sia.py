"""SIA 1.0 for programs of before ObsCore.

Images of ivoa.obscore, or of one collection, by position, size and format, in the words VOX:*.

``/sia/<schema.table>`` lists images as they were taken (Pointed), ``/sia/<schema.table>/cutouts`` those that
`hven.services.faces.soda` would cut of them for that position and size (Cutout).
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

from hven import formats, query, services
from hven.adql.adql_writer import write_literal
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.formats.media import Selection
from hven.jobs.tap import MAXREC_PARAM
from hven.model.errors import HvenError, NotFoundError, ParamError
from hven.model.params import Param, wrap_angle
from hven.model.sky import shape_text
from hven.model.table import Column
from hven.model.types import INT32, Type
from hven.services import collection_files, cutouts, remote_files
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import DALI_PARAMS, Face, ServiceContext, ServiceQuery, UsageExample, create_query_route
from hven.services.observation_conditions import (
    OBSCORE_TABLE,
    create_applies_test,
    describe_input_params,
    write_region_condition,
)
from hven.services.params import parse_value, parse_values
from hven.site.auth import add_single_table_policy

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from starlette.requests import Request
    from starlette.responses import Response
    from starlette.routing import BaseRoute

    from hven.model.table import Table
    from hven.site import PublishedTable
    from hven.site.auth import Principal

MEDIA_TYPE = "text/xml;content=x-votable"
GRAPHIC_MEDIA_TYPES = {"png": "image/png", "jpeg": "image/jpeg", "gif": "image/gif"}
INTEGER_ARRAY_TYPE, DOUBLE_ARRAY_TYPE = Type("int", "*"), Type("double", "*")
GRID_DESCRIPTION = "of an image made on demand; these here are as they were taken"
SIA_PARAMS = (
    Param(name="POS", unit="deg", ucd="pos.eq", description="right ascension and declination, ICRS: 83.63,22.01"),
    Param(
        name="SIZE",
        unit="deg",
        description="width and height of the box around POS, or one number for both; 0: images that hold POS",
    ),
    Param(
        name="INTERSECT",
        default="OVERLAPS",
        allowed=("OVERLAPS", "COVERS", "ENCLOSED", "CENTER"),
        description="how images go with the box: touch it, hold all of it, lie within it, hold its centre",
    ),
    Param(
        name="FORMAT",
        default="ALL",
        description="ALL, GRAPHIC, GRAPHIC-ALL, GRAPHIC-png,jpeg,gif, media types with commas between, or METADATA: the "
        "columns alone",
    ),
    Param(name="NAXIS", description=f"pixels, {GRID_DESCRIPTION}"),
    Param(name="CFRAME", description=f"frame, {GRID_DESCRIPTION}"),
    Param(name="EQUINOX", description=f"equinox, {GRID_DESCRIPTION}"),
    Param(name="CRPIX", description=f"reference pixel, {GRID_DESCRIPTION}"),
    Param(name="CRVAL", description=f"position of that pixel, {GRID_DESCRIPTION}"),
    Param(name="CDELT", description=f"degrees from pixel to pixel, {GRID_DESCRIPTION}"),
    Param(name="ROTANG", description=f"rotation, {GRID_DESCRIPTION}"),
    Param(name="PROJ", description=f"projection, {GRID_DESCRIPTION}"),
    Param(
        name="VERB",
        type=INT32,
        default="2",
        minimum=0,
        maximum=3,
        description="how many columns: 0 those that must be, 1 those that should be, 2 and 3 all",
    ),
)
CAPABILITY_TYPE = ("sia:SimpleImageAccess", "http://www.ivoa.net/xml/SIA/v1.1")
MAX_CUTOUT_ROWS = 200  # images whose files are looked into for one answer
WCS_COLUMNS = (
    Column(name="projection", type=Type("char", "3"), ucd="VOX:WCS_CoordProjection"),
    Column(name="crpix", type=DOUBLE_ARRAY_TYPE, unit="pix", ucd="VOX:WCS_CoordRefPixel"),
    Column(name="crval", type=DOUBLE_ARRAY_TYPE, unit="deg", ucd="VOX:WCS_CoordRefValue"),
    Column(name="cd", type=DOUBLE_ARRAY_TYPE, unit="deg/pix", ucd="VOX:WCS_CDMatrix"),
)
_SCALE_EXPRESSION = (
    "COALESCE({pixel}s_fov / SQRT(CAST(s_xel1 AS DOUBLE PRECISION) * s_xel1 + CAST(s_xel2 AS DOUBLE PRECISION) * "
    "s_xel2))"
)
# name, UCD, expression over ObsCore, unit, type where it is not that of the expression, smallest VERB
SIA_COLUMNS: tuple[tuple[str, str, str, str | None, Type | None, int], ...] = (
    ("title", "VOX:Image_Title", "COALESCE({title}obs_id, '')", None, None, 0),
    ("obs_publisher_did", "meta.ref.ivoid", "obs_publisher_did", None, None, 0),
    ("ra", "POS_EQ_RA_MAIN", "s_ra", "deg", None, 0),
    ("dec", "POS_EQ_DEC_MAIN", "s_dec", "deg", None, 0),
    ("naxes", "VOX:Image_Naxes", "CASE WHEN dataproduct_type = 'cube' THEN 3 ELSE 2 END", None, INT32, 0),
    (
        "naxis",
        "VOX:Image_Naxis",
        "{xel1} || ' ' || {xel2} || CASE WHEN dataproduct_type = 'cube' THEN ' ' || COALESCE({em}, '1') ELSE '' END",
        "pix",
        INTEGER_ARRAY_TYPE,
        0,
    ),
    (
        "scale",
        "VOX:Image_Scale",
        "CAST(" + _SCALE_EXPRESSION + " AS VARCHAR) || ' ' || CAST(" + _SCALE_EXPRESSION + " AS VARCHAR)",
        "deg/pix",
        DOUBLE_ARRAY_TYPE,
        0,
    ),
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
)


def _parse_numbers(values: Mapping[str, Any], name: str, max_count: int, low: float, high: float) -> list[float]:
    """Read numbers with commas between."""
    text = values[name] or ""
    try:
        parsed_numbers = [float(word) for word in text.replace(",", " ").split()]
    except ValueError:
        parsed_numbers = []
    if not 0 < len(parsed_numbers) <= max_count or not all(low <= number <= high for number in parsed_numbers):
        remedy = {
            "POS": "write right ascension and declination in degrees, ICRS: 83.63,22.01",
            "SIZE": "write degrees: 0.5, or 0.5,0.25",
        }[name]
        raise ParamError(f"{name}={text!r:.60} is none" if text else f"{name} is missing", name=name, remedy=remedy)
    return parsed_numbers


def _parse_region(values: Mapping[str, Any]) -> tuple[float, float, str | None]:
    """Read POS and SIZE: a place, and the box around it, whose width is a true angle at its centre; None.

    The place alone.
    """
    lon, *latitudes = _parse_numbers(values, "POS", 2, -360, 720)
    lon = wrap_angle(lon, 0, 360)
    size = _parse_numbers(values, "SIZE", 2, 0, 360)
    if len(latitudes) != 1 or not -90 <= latitudes[0] <= 90 or lon < 0:
        remedy = "write right ascension and declination in degrees, ICRS: 83.63,22.01"
        raise ParamError(f"POS={values['POS']!r:.60} is no position", name="POS", remedy=remedy)
    lat = latitudes[0]
    width = size[0] / 2
    height = size[-1] / 2
    if not (width and height):
        return lon, lat, None
    south = max(-90.0, lat - height)
    north = min(90.0, lat + height)
    if south > -90 and north < 90:
        wide = width / math.cos(math.radians(lat))
    else:
        wide = 180.0
    if wide >= 180:
        west, east = (0.0, 360.0)
    else:
        west, east = ((lon - wide) % 360, (lon + wide) % 360)
    return lon, lat, f"RANGE {west!r} {east!r} {south!r} {north!r}"


def _write_region_conditions(values: Mapping[str, Any]) -> Iterator[str]:
    """Write how images go with a box."""
    lon, lat, box = _parse_region(values)
    if values["INTERSECT"] == "CENTER" or box is None:
        yield f"1 = CONTAINS(POINT({lon!r}, {lat!r}), s_region)"
        return
    region = f"REGION({write_literal(box)})"
    if values["INTERSECT"] == "OVERLAPS":
        yield write_region_condition(box)
    elif values["INTERSECT"] == "COVERS":
        yield f"1 = CONTAINS({region}, s_region)"
    else:
        yield f"(1 = CONTAINS(s_region, {region}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {region})))"


def _write_format_conditions(text: str) -> Iterator[str]:
    word = text.strip().lower()
    head, _, listed = word.partition("-")
    kinds = [format_name.strip() for format_name in word.split(",") if format_name.strip()]
    if head == "graphic":
        names = [format_name.strip() for format_name in listed.split(",") if format_name.strip() not in {"", "all"}]
        kinds = [
            GRAPHIC_MEDIA_TYPES.get(format_name, f"image/{format_name}") for format_name in names or GRAPHIC_MEDIA_TYPES
        ]
    if "all" not in kinds and kinds:
        yield f"LOWER(hven_format) IN ({', '.join(map(write_literal, dict.fromkeys(kinds)))})"


def _adapt_columns(columns: Sequence[Column]) -> tuple[Column, ...]:
    column_facts = {name: (ucd, unit, kind) for name, ucd, _, unit, kind, _ in SIA_COLUMNS}
    adapted_columns = []
    for column in columns:
        ucd, unit, kind = column_facts[column.name]
        adapted_columns.append(
            column.copy_with(ucd=ucd or column.ucd, utype=None, unit=unit, type=kind or column.type, frame=None)
        )
    return tuple(adapted_columns)


def _build_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    metadata = (values["FORMAT"] or "").strip().lower() == "metadata"
    if table.qualified_name == OBSCORE_TABLE:
        table_columns = {column.name for column in table.columns}
    else:
        table_columns = set()
    words = {
        "title": "obs_title, " if "obs_title" in table_columns else "",
        "pixel": "s_pixel_scale / 3600, " if "s_pixel_scale" in table_columns else "",
        **{
            name: f"CASE WHEN {of} > 0 THEN CAST({of} AS VARCHAR) END"
            for name, of in (("xel1", "s_xel1"), ("xel2", "s_xel2"), ("em", "em_xel"))
        },
    }
    items = [
        f'{text.format(**words)} AS "{name}"'
        for name, _, text, _, _, min_verbosity in SIA_COLUMNS
        if min_verbosity <= values["VERB"]
    ]
    if metadata:
        where = ["1 = 0"]
    else:
        where = [
            "dataproduct_type IN ('image', 'cube')",
            *_write_region_conditions(values),
            *_write_format_conditions(values["FORMAT"]),
        ]
    return ServiceQuery(
        query=f"SELECT {', '.join(items)} FROM {OBSCORE_TABLE} WHERE {' AND '.join(where)}",
        only_table=table.qualified_name,
        adapt_columns=_adapt_columns,
        infos=(InfoElement(name="SERVICE_PROTOCOL", value="1.0", content="SIAP"),),
        params=describe_input_params(SIA_PARAMS) if metadata else (),
    )


def build_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Route ``/sia/<schema.table>/cutouts`` and what is below."""
    cutout_limiter = anyio.CapacityLimiter(2)

    def build_response(request: Request, params: services.RequestParams) -> Response:
        principal, published_state, base = (
            context.identify_principal(request),
            context.site.get_published_state(),
            services.get_base_url(request, context.site.settings),
        )
        catalogue = published_state.get_catalogue(principal, context.policies)
        table = services.find_table(request.path_params["table"], catalogue)
        if not CUTOUTS_FACE.applies(table):
            raise NotFoundError(
                f"{table.qualified_name} has no {CUTOUTS_FACE.missing_requirement}", remedy="ask it by TAP"
            )
        parsed_values = parse_values(params, SIA_PARAMS)
        format_text = str(parsed_values["FORMAT"]).strip().lower()
        if format_text == "metadata":
            box = None
        else:
            box = _parse_region(parsed_values)[2]
        cuts = format_text in {"", "all"} or "fits" in format_text  # which are FITS
        service_query = _build_query(
            table, {**parsed_values, "INTERSECT": "OVERLAPS", "FORMAT": "ALL" if cuts else "METADATA"}
        )
        if format_text == "metadata":
            inputs = service_query.params
        else:
            inputs = ()
        row_limit = min(
            MAX_CUTOUT_ROWS if (row_limit := parse_value(params, MAXREC_PARAM)) is None else row_limit, MAX_CUTOUT_ROWS
        )
        with query.run_query(
            str(service_query.query),
            principal,
            site=context.site,
            maxrec=row_limit,
            published_state=published_state,
            policies=add_single_table_policy(context.policies, service_query.only_table),
        ) as result:
            rows = [row for batch in result.iterate_batches() for row in batch.to_pylist()]
            columns = (*_adapt_columns(result.columns), *(WCS_COLUMNS if parsed_values["VERB"] else ()))
        cutout_rows = list(_list_cutouts(context, principal, table, rows, box, base))
        body = pa.Table.from_pylist(cutout_rows, pa.schema([item.arrow_field for item in columns]))
        one = params.read_one("RESPONSEFORMAT")
        fmt, options = formats.select_format(one or MEDIA_TYPE)
        head = TableMetadata(
            columns=columns,
            name=table.name,
            params=inputs,
            infos=(*service_query.infos, *services.warn_unused_parameters(params, CUTOUTS_FACE.params)),
            enums={f"INPUT:{item.name}": dict.fromkeys(item.allowed, "") for item in SIA_PARAMS} if inputs else {},
        )
        end = ResultStatus(overflow=result.overflow, row_count=len(cutout_rows))
        text = b"".join(fmt.write(head, iter(body.to_batches()), lambda: end, options))
        public = published_state.find_access_key(principal, context.policies) == "public"
        kind = options.get(formats.MEDIA_TYPE_OPTION) or fmt.media_types[0]
        cache_headers = services.build_cache_headers(services.compute_etag(text), is_public=public)
        return services.answer_with_etag(request, cache_headers, kind, text)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        return await anyio.to_thread.run_sync(build_response, request, params, limiter=cutout_limiter)

    query_route = create_query_route(CUTOUTS_FACE.path, answer_request, FACE.error_responder)
    all_routes = CUTOUTS_FACE.build_all_routes(context)
    return [
        query_route,
        *all_routes,
    ]


def _list_cutouts(
    context: ServiceContext,
    principal: Principal,
    table: Table,
    rows: Sequence[dict[str, Any]],
    box: str | None,
    base_url: str,
) -> Iterator[dict[str, Any]]:
    """Make of rows of images those that would be cut of them.

    What the reader may not take, or has nothing there, is left out.
    """
    by = {row["obs_publisher_did"]: row for row in rows if row["obs_publisher_did"]}
    files: dict[str, list[tuple[str, str]]] = {}
    for link in cutouts.list_row_links(context, principal, table, list(by)) if by else ():
        if link["file"] is not None and link["link_authorized"] is not False:
            files.setdefault(link["file"][0], []).append((link["ID"], link["file"][1]))
    if box is None:
        shape = None
    else:
        shape = shape_text.parse_shape("pos", box)
    for collection, row_files in files.items():
        paths = [path for _, path in row_files]
        looked = partial(
            _describe_cutout,
            context,
            principal,
            collection_files.find_files(context, principal, collection, paths),
            Selection(shape=shape),
        )
        for (ident, _), cutout_facts in zip(row_files, remote_files.call_concurrently(looked, paths), strict=True):
            if cutout_facts is not None:
                if box is None:
                    pos = ""
                else:
                    pos = f"&POS={quote(box)}"
                url = f"{base_url}/soda/sync?TABLE={quote(table.qualified_name)}&ID={quote(ident, safe='')}{pos}"
                yield {**by[ident], **cutout_facts, "format": "image/fits", "url": url}


def _describe_cutout(
    context: ServiceContext,
    principal: Principal,
    found_files: collection_files.FoundFiles,
    selection: Selection,
    path: str,
) -> dict[str, Any] | None:
    try:
        file = collection_files.open_original(context, principal, found_files, path)
        return cutouts.describe_image_cutout(file.path, file.name, selection)
    except HvenError as error:  # closed, gone, or nothing that is cut by places on the sky
        if remote_files.is_temporary_failure(error):
            raise
        return None


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """Show how images of a place are asked for."""
    url = FACE.build_url(published.table, base_url)
    python = (
        f'import pyvo\n\nimages = pyvo.dal.SIAService("{url}")\nprint(images.search(pos=(83.63, 22.01), '
        f"size=0.5).to_table())"
    )
    return [UsageExample(title="Images in Python", url=url, language="python", example=python)]


FACE = Face(
    name="sia",
    title="Images (SIA 1)",
    description="Images by position and size, for programs that do not know SIA 2.",
    standard_ids=("ivo://ivoa.net/std/SIA",),
    params=SIA_PARAMS,
    applies=create_applies_test("sia"),
    missing_requirement="observations (ivoa.obscore has, and tables with `obscore` whose `services` name sia)",
    build_query=_build_query,
    path="/sia/{table}",
    error_responder=ErrorResponder(write_document=write_votable_error, media_type=MEDIA_TYPE, answers_with_200=True),
    default_format=MEDIA_TYPE,
    capability_type=(*CAPABILITY_TYPE, "<imageServiceType>Pointed</imageServiceType><maxRecords>{most}</maxRecords>"),
    example="POS=83.63,22.01&SIZE=1&RESPONSEFORMAT=csv",
    test_query=(
        "POS={lon},{lat}&SIZE={size}",
        "<testQuery><pos><long>{lon}</long><lat>{lat}</lat></pos><size><long>{size}</long><lat>{size}</lat></size></testQuery>",
    ),
    list_usage_examples=_list_usage_examples,
    build_routes=build_routes,
)
CUTOUTS_FACE = replace(
    FACE,
    name="sia-cutouts",
    title="Images (SIA 1), cut out",
    applies=lambda table: FACE.applies(table) and table.has_row_files and table.is_served_by("soda"),
    missing_requirement="files that could be cut",
    params=(*SIA_PARAMS, *DALI_PARAMS),
    build_query=None,
    path="/sia/{table}/cutouts",
    capability_type=(
        *CAPABILITY_TYPE,
        f"<imageServiceType>Cutout</imageServiceType><maxRecords>{MAX_CUTOUT_ROWS}</maxRecords>",
    ),
    build_routes=lambda _: (),
)
FACE = replace(FACE, additional_faces=(CUTOUTS_FACE,))
