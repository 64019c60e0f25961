"""SIA 1.0: images of ivoa.obscore by position, size and format, for clients older than ObsCore.

``/sia/<schema.table>`` lists images as they were taken (Pointed); ``/sia/<schema.table>/cutouts`` lists the cut-outs
that another service makes for that position and size (Cutout, `ServiceFace.list_image_cutouts`).
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pyarrow as pa

from hven import formats, query, services
from hven.adql.adql_writer import write_adql_literal
from hven.formats import InfoElement, ResultStatus, TableMetadata
from hven.jobs.tap import MAXREC_PARAM
from hven.model import plugins
from hven.model.errors import NotFoundError, ParamError
from hven.model.params import Param, wrap_angle
from hven.model.table import Column
from hven.model.types import INT32, ColumnType
from hven.services.errors import ErrorResponder, write_votable_error
from hven.services.face import (
    DALI_PARAMS,
    ServiceContext,
    ServiceFace,
    ServiceQuery,
    UsageExample,
    create_query_route,
    load_service_faces,
)
from hven.services.observation_conditions import (
    OBSCORE_TABLE,
    build_input_constants,
    create_observation_service_test,
    write_region_condition,
)
from hven.services.params import parse_value, parse_values
from hven.site.auth import with_single_table_policy

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
# one format with several names: clients ask for image/fits, and descriptors usually say application/fits
FITS_MEDIA_TYPES = ("image/fits", "application/fits", "image/x-fits")
INTEGER_ARRAY_TYPE = ColumnType("int", "*")
DOUBLE_ARRAY_TYPE = ColumnType("double", "*")
GRID_DESCRIPTION = "of images made on demand; this service has only existing images"
SIA_PARAMS = (
    Param(name="POS", unit="deg", ucd="pos.eq", description="right ascension and declination, ICRS: 83.63,22.01"),
    Param(
        name="SIZE",
        unit="deg",
        description="width and height of the box around POS, or one number for both; 0: images that contain POS",
    ),
    Param(
        name="INTERSECT",
        default="OVERLAPS",
        allowed=("OVERLAPS", "COVERS", "ENCLOSED", "CENTER"),
        description="relation of images to the box: overlap it, cover all of it, lie within it, contain its centre",
    ),
    Param(
        name="FORMAT",
        default="ALL",
        description=(
            "ALL, GRAPHIC, GRAPHIC-ALL, GRAPHIC-png,jpeg,gif, media types separated by commas, or METADATA for only "
            "the columns"
        ),
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
        description="which columns: 0 the required ones, 1 also the recommended ones, 2 and 3 all",
    ),
)
CAPABILITY_TYPE = ("sia:SimpleImageAccess", "http://www.ivoa.net/xml/SIA/v1.1")
MAX_CUTOUT_ROWS = 200  # images whose files are read for one response
WCS_COLUMNS = (
    Column(name="projection", type=ColumnType("char", "3"), ucd="VOX:WCS_CoordProjection"),
    Column(name="crpix", type=DOUBLE_ARRAY_TYPE, unit="pix", ucd="VOX:WCS_CoordRefPixel"),
    Column(name="crval", type=DOUBLE_ARRAY_TYPE, unit="deg", ucd="VOX:WCS_CoordRefValue"),
    Column(name="cd", type=DOUBLE_ARRAY_TYPE, unit="deg/pix", ucd="VOX:WCS_CDMatrix"),
)
_SCALE_EXPRESSION = (
    "COALESCE({pixel}s_fov / SQRT(CAST(s_xel1 AS DOUBLE PRECISION) * s_xel1 + CAST(s_xel2 AS DOUBLE PRECISION) * "
    "s_xel2))"
)
# name, UCD, expression over ObsCore, unit, type where it is not that of the expression, smallest VERB
SIA_COLUMNS: tuple[tuple[str, str, str, str | None, ColumnType | None, int], ...] = (
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
    """Parse numbers separated by commas."""
    text = values[name] or ""
    try:
        parsed_numbers = [float(part) for part in text.replace(",", " ").split()]
    except ValueError:
        parsed_numbers = []
    if not 0 < len(parsed_numbers) <= max_count or not all(low <= number <= high for number in parsed_numbers):
        remedy = {
            "POS": "write right ascension and declination in degrees (ICRS), such as 83.63,22.01",
            "SIZE": "write one or two sizes in degrees, such as 0.5 or 0.5,0.25",
        }[name]
        raise ParamError(
            f"{name}={text!r:.60} is not valid" if text else f"{name} is missing", name=name, remedy=remedy
        )
    return parsed_numbers


def _parse_position_and_size(values: Mapping[str, Any]) -> tuple[float, float, str | None]:
    """Parse POS and SIZE: a position, and the box around it, which is None for the position alone.

    The width of the box is a true angle at its centre.
    """
    lon, *latitudes = _parse_numbers(values, "POS", max_count=2, low=-360, high=720)
    lon = wrap_angle(lon, 0, 360)
    sizes = _parse_numbers(values, "SIZE", max_count=2, low=0, high=360)
    if len(latitudes) != 1 or not -90 <= latitudes[0] <= 90 or lon < 0:
        remedy = "write right ascension and declination in degrees (ICRS), such as 83.63,22.01"
        raise ParamError(f"POS={values['POS']!r:.60} is not a position", name="POS", remedy=remedy)
    lat = latitudes[0]
    half_width = sizes[0] / 2
    half_height = sizes[-1] / 2
    if not (half_width and half_height):
        return lon, lat, None
    south = max(-90.0, lat - half_height)
    north = min(90.0, lat + half_height)
    lon_half_width = 180.0
    if south > -90 and north < 90:
        lon_half_width = half_width / math.cos(math.radians(lat))
    west, east = (0.0, 360.0)
    if lon_half_width < 180:
        west, east = ((lon - lon_half_width) % 360, (lon + lon_half_width) % 360)
    return lon, lat, f"RANGE {west!r} {east!r} {south!r} {north!r}"


def _write_region_conditions(values: Mapping[str, Any]) -> Iterator[str]:
    """Write the conditions of POS, SIZE and INTERSECT."""
    lon, lat, box = _parse_position_and_size(values)
    if values["INTERSECT"] == "CENTER" or box is None:
        yield f"1 = CONTAINS(POINT({lon!r}, {lat!r}), s_region)"
        return
    region = f"REGION({write_adql_literal(box)})"
    if values["INTERSECT"] == "OVERLAPS":
        yield write_region_condition(box)
    elif values["INTERSECT"] == "COVERS":
        yield f"1 = CONTAINS({region}, s_region)"
    else:
        yield f"(1 = CONTAINS(s_region, {region}) OR (s_region IS NULL AND 1 = CONTAINS(POINT(s_ra, s_dec), {region})))"


def _write_format_conditions(text: str) -> Iterator[str]:
    format_text = text.strip().lower()
    media_types = [part.strip() for part in format_text.split(",") if part.strip()]
    prefix, _, graphic_text = format_text.partition("-")
    if prefix == "graphic":
        names = [part.strip() for part in graphic_text.split(",") if part.strip() not in {"", "all"}]
        media_types = [GRAPHIC_MEDIA_TYPES.get(name, f"image/{name}") for name in names or GRAPHIC_MEDIA_TYPES]
    if not set(media_types).isdisjoint(FITS_MEDIA_TYPES):
        media_types += FITS_MEDIA_TYPES
    if media_types and "all" not in media_types:
        yield f"LOWER(hven_format) IN ({', '.join(map(write_adql_literal, dict.fromkeys(media_types)))})"


def _adapt_columns_to_sia(columns: Sequence[Column]) -> tuple[Column, ...]:
    facts_by_name = {name: (ucd, unit, column_type) for name, ucd, _, unit, column_type, _ in SIA_COLUMNS}
    adapted_columns = []
    for column in columns:
        ucd, unit, column_type = facts_by_name[column.name]
        adapted_column = column.copy_with(
            ucd=ucd or column.ucd, utype=None, unit=unit, type=column_type or column.type, frame=None
        )
        adapted_columns.append(adapted_column)
    return tuple(adapted_columns)


def _build_sia_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    column_names: set[str] = set()
    if table.qualified_name == OBSCORE_TABLE:
        column_names = {column.name for column in table.columns}
    expressions = {
        "title": "obs_title, " if "obs_title" in column_names else "",
        "pixel": "s_pixel_scale / 3600, " if "s_pixel_scale" in column_names else "",
    }
    for name, column in (("xel1", "s_xel1"), ("xel2", "s_xel2"), ("em", "em_xel")):
        expressions[name] = f"CASE WHEN {column} > 0 THEN CAST({column} AS VARCHAR) END"
    items = [
        f'{template.format(**expressions)} AS "{name}"'
        for name, _, template, _, _, min_verbosity in SIA_COLUMNS
        if min_verbosity <= values["VERB"]
    ]
    conditions = ["1 = 0"]
    params: tuple[tuple[Column, object], ...] = ()
    if (values["FORMAT"] or "").strip().lower() == "metadata":
        params = build_input_constants(SIA_PARAMS)
    else:
        conditions = [
            "dataproduct_type IN ('image', 'cube')",
            *_write_region_conditions(values),
            *_write_format_conditions(values["FORMAT"]),
        ]
    return ServiceQuery(
        query=f"SELECT {', '.join(items)} FROM {OBSCORE_TABLE} WHERE {' AND '.join(conditions)}",
        only_table=table.qualified_name,
        adapt_columns=_adapt_columns_to_sia,
        infos=(InfoElement(name="SERVICE_PROTOCOL", value="1.0", content="SIAP"),),
        params=params,
    )


def build_sia_cutout_routes(context: ServiceContext) -> Sequence[BaseRoute]:
    """Build the routes of ``/sia/<schema.table>/cutouts`` and of the addresses below."""
    cutout_limiter = anyio.CapacityLimiter(2)

    async def answer_request(request: Request, params: services.RequestParams) -> Response:
        return await anyio.to_thread.run_sync(_answer_cutouts, context, request, params, limiter=cutout_limiter)

    query_route = create_query_route(CUTOUTS_FACE.path, answer_request, FACE.error_responder)
    return [query_route, *CUTOUTS_FACE.build_routes_and_register_standard_ids(context)]


def _answer_cutouts(context: ServiceContext, request: Request, params: services.RequestParams) -> Response:
    principal = context.identify_principal(request)
    published_state = context.site.get_published_state()
    base_url = services.get_base_url(request, context.site.settings)
    catalogue = published_state.get_catalogue(principal, context.policies)
    table = services.find_table(request.path_params["table"], catalogue)
    if not CUTOUTS_FACE.applies(table):
        message = f"{table.qualified_name} has no {CUTOUTS_FACE.missing_requirement}"
        raise NotFoundError(message, remedy="query the table with TAP")
    parsed_values = parse_values(params, SIA_PARAMS)
    format_text = str(parsed_values["FORMAT"]).strip().lower()
    is_metadata_request = format_text == "metadata"
    box = None
    if not is_metadata_request:
        _, _, box = _parse_position_and_size(parsed_values)
    accepts_cutouts = format_text in {"", "all"} or "fits" in format_text  # cut-outs are FITS
    service_query = _build_sia_query(
        table, {**parsed_values, "INTERSECT": "OVERLAPS", "FORMAT": "ALL" if accepts_cutouts else "METADATA"}
    )
    row_limit = parse_value(params, MAXREC_PARAM)
    if row_limit is None or row_limit > MAX_CUTOUT_ROWS:
        row_limit = MAX_CUTOUT_ROWS
    with query.run_query(
        str(service_query.query),
        principal,
        site=context.site,
        maxrec=row_limit,
        published_state=published_state,
        policies=with_single_table_policy(context.policies, service_query.only_table),
    ) as result:
        rows: list[dict[str, Any]] = []
        for batch in result.iterate_batches():
            rows.extend(batch.to_pylist())
        columns = _adapt_columns_to_sia(result.columns)
    if parsed_values["VERB"]:
        columns = (*columns, *WCS_COLUMNS)
    cutout_rows = list(_list_cutouts(context, principal, table, rows, box=box, base_url=base_url))
    cutout_table = pa.Table.from_pylist(cutout_rows, pa.schema([column.arrow_field for column in columns]))
    input_params: tuple[tuple[Column, object], ...] = ()
    enums: dict[str, dict[str, str]] = {}
    if is_metadata_request:
        input_params = service_query.params
        enums = {f"INPUT:{param.name}": dict.fromkeys(param.allowed, "") for param in SIA_PARAMS}
    metadata = TableMetadata(
        columns=columns,
        name=table.name,
        params=input_params,
        infos=(*service_query.infos, *services.build_unused_parameter_warnings(params, CUTOUTS_FACE.params)),
        enums=enums,
    )
    status = ResultStatus(overflow=result.overflow, row_count=len(cutout_rows))
    output_format, options = formats.select_format(params.read_one("RESPONSEFORMAT") or MEDIA_TYPE)
    body = b"".join(output_format.write(metadata, iter(cutout_table.to_batches()), lambda: status, options))
    is_public = published_state.find_access_key(principal, context.policies) == "public"
    media_type = options.get(formats.MEDIA_TYPE_OPTION) or output_format.media_types[0]
    cache_headers = services.build_cache_headers(services.compute_etag(body), is_public=is_public)
    return services.answer_with_etag(request, cache_headers, media_type, body)


def _list_cutouts(
    context: ServiceContext,
    principal: Principal,
    table: Table,
    image_rows: Sequence[dict[str, Any]],
    *,
    box: str | None,
    base_url: str,
) -> Iterator[dict[str, Any]]:
    """List the cut-outs of images.

    Images that the reader may not access, or that have nothing in the box, are left out.
    """
    row_by_did = {row["obs_publisher_did"]: row for row in image_rows if row["obs_publisher_did"]}
    if not row_by_did:
        return
    for face in _list_cutout_faces():
        if face.list_image_cutouts is not None and table.is_served_by(face.name):
            for did, facts in face.list_image_cutouts(context, principal, table, list(row_by_did), box):
                url = f"{base_url}{facts['url']}"
                yield {**row_by_did[did], **facts, "format": "image/fits", "url": url}


@plugins.cache_until_selection
def _list_cutout_faces() -> Sequence[ServiceFace]:
    """List the services that make cut-outs of images."""
    return [face for face in load_service_faces().values() if face.list_image_cutouts is not None]


def _has_cutouts(table: Table) -> bool:
    """Return whether a service makes cut-outs of the images of a table."""
    if not FACE.applies(table) or not table.has_row_files:
        return False
    return any(table.is_served_by(face.name) for face in _list_cutout_faces())


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how images of a position are requested."""
    url = FACE.build_url(published.table, base_url)
    python = (
        f'import pyvo\n\nimages = pyvo.dal.SIAService("{url}")\nprint(images.search(pos=(83.63, 22.01), '
        f"size=0.5).to_table())"
    )
    return [UsageExample(title="Images in Python", url=url, language="python", example=python)]


FACE = ServiceFace(
    name="sia",
    title="Images (SIA 1)",
    is_selectable=True,
    description="Images by position and size, for programs that do not support SIA 2.",
    standard_ids=("ivo://ivoa.net/std/SIA",),
    params=SIA_PARAMS,
    applies=create_observation_service_test("sia"),
    missing_requirement="observations (ivoa.obscore, or a table with `obscore` and sia in `services`)",
    build_query=_build_sia_query,
    path="/sia/{table}",
    error_responder=ErrorResponder(write_document=write_votable_error, media_type=MEDIA_TYPE, answers_with_200=True),
    default_format=MEDIA_TYPE,
    capability_type=(*CAPABILITY_TYPE, "<imageServiceType>Pointed</imageServiceType><maxRecords>{most}</maxRecords>"),
    example="POS=83.63,22.01&SIZE=1&RESPONSEFORMAT=csv",
    test_query=(
        "POS={lon},{lat}&SIZE={size}",
        (
            "<testQuery><pos><long>{lon}</long><lat>{lat}</lat></pos>"
            "<size><long>{size}</long><lat>{size}</lat></size></testQuery>"
        ),
    ),
    list_usage_examples=_list_usage_examples,
    build_routes=build_sia_cutout_routes,
)
CUTOUTS_FACE = replace(
    FACE,
    name="sia-cutouts",
    title="Images (SIA 1), cut out",
    applies=_has_cutouts,
    missing_requirement="files from which parts can be cut out",
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
