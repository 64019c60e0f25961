"""The functions of descriptors that this package adds, and their SQL.

A contour is made once, with its fault and its quality, and gives what a table needs of it.
"""

from __future__ import annotations

from functools import partial

from hven.adql.signatures import define_function
from hven.plugins.image_regions.call_expansion import add_directory_argument, expand_footprint_call
from hven.plugins.image_regions.chain_steps import parse_chain_step_table
from hven.plugins.image_regions.function_sql import (
    BOUND_SIDES,
    write_chain_or_box_contour,
    write_chain_tfcat,
    write_contour_bound,
    write_contour_fault,
    write_contour_image,
    write_contour_moc,
    write_contour_polygon,
    write_contour_quality,
    write_geojson_contour,
    write_list_contour,
    write_mask_contour,
    write_sun_l0,
    write_wcs_footprint,
)

_define_mapping_function = partial(define_function, "mapping")
_CHAIN_WORDS = ("helio", "freeman")
_POLYGON_CHOICES = ("largest", "hull")
_WCS_CARD_PARAMETERS = (
    "ctype1 TEXT, ctype2 TEXT, crval1 NUMERIC, crval2 NUMERIC, crpix1 NUMERIC, crpix2 NUMERIC, cd1_1 NUMERIC, "
    "cd1_2 NUMERIC, cd2_1 NUMERIC, cd2_2 NUMERIC, naxis1 NUMERIC, naxis2 NUMERIC"
)


def is_step_table(text: str) -> bool:
    """Return whether a text is a table of the steps of chain codes."""
    return parse_chain_step_table(text) is not None


WCS_FOOTPRINT = _define_mapping_function(
    "WCS_FOOTPRINT",
    f"({_WCS_CARD_PARAMETERS}) -> POLYGON",
    doc=(
        "Corners of an image, computed from its WCS cards and oriented for the sky. The axes must be RA and Dec in "
        "the projection TAN, SIN, ARC, STG or ZEA, without distortions. In a descriptor, wcs_footprint() finds the "
        "cards itself: CDi_j, PCi_j, or CDELTi with CROTA2. For FITS headers, it also supports all other "
        "projections, distortions, the Sun and planets."
    ),
    example="AREA(WCS_FOOTPRINT('RA---TAN', 'DEC--TAN', 10, 20, 50.5, 50.5, -0.01, 0, 0, 0.01, 100, 100)) is "
    "~0.9999238524",
    sql={"duckdb": write_wcs_footprint},
    expand_call=expand_footprint_call,
)

SUN_L0 = _define_mapping_function(
    "SUN_L0",
    "(t TIMESTAMP [, rotation NUMERIC]) -> DOUBLE",
    doc=(
        "Carrington longitude of the centre of the solar disc, seen from the Earth at a time in UTC; accurate to "
        "0.01 degrees. If you also give the rotation number from a catalogue, Hven rejects contours of images "
        "whose rotation number does not match the image's date."
    ),
    example="SUN_L0('2004-01-01T00:00:00') is ~164.58736323",
    unit="deg",
    ucd="pos.heliocentric",
    sql={"duckdb": write_sun_l0},
)

SUN_B0 = _define_mapping_function(
    "SUN_B0",
    "(t TIMESTAMP) -> DOUBLE",
    doc="Heliographic latitude of the centre of the solar disc, seen from the Earth at a time in UTC.",
    example="SUN_B0('2004-01-01T00:00:00') is ~-2.9515919520",
    unit="deg",
    ucd="pos.heliocentric",
    sql={"duckdb": "hven_sun_b0(epoch_us({0}))"},
)

DISC = _define_mapping_function(
    "DISC",
    "(x NUMERIC, y NUMERIC, scale_x NUMERIC{arcsec?}, scale_y NUMERIC{arcsec?}, radius NUMERIC{arcsec?}, "
    "lon NUMERIC{deg?}, lat NUMERIC{deg?} [, roll NUMERIC{deg?}]) -> DOUBLE[]",
    doc=(
        "An image of a body's disc, in which you can define contours. The arguments are the x and y of the disc's "
        "centre (the first pixel is 0), the arcseconds per pixel in x and in y, the radius of the disc in arcseconds, "
        "the longitude and latitude of the point below the observer, and optionally the roll angle."
    ),
    example="DISC(512, 512, 2.63, 2.63, 985.9, 120, -7) is [512.0, 512.0, 2.63, 2.63, 985.9, 120.0, -7.0, 0.0]",
    sql={"duckdb": write_contour_image},
)

CHART = _define_mapping_function(
    "CHART",
    "(x NUMERIC, y NUMERIC, step_x NUMERIC{deg?}, step_y NUMERIC, lon NUMERIC{deg?}, lat NUMERIC{deg?} [, "
    "equal INTEGER]) -> DOUBLE[]",
    doc=(
        "A map of a body, in which you can define contours. The arguments are the x and y of a pixel (the first pixel "
        "is 0), the degrees per pixel in x and in y, and the longitude and latitude at this pixel. If all pixels of "
        "the map have the same area, set `equal` to 1; step_y is then a step in the sine of the latitude."
    ),
    example="CHART(0, 90, 1, 1, 0, 0) is [0.0, 90.0, 1.0, 1.0, 0.0, 0.0, 0.0]",
    sql={"duckdb": write_contour_image},
)

CHAIN_CONTOUR = _define_mapping_function(
    "CHAIN_CONTOUR",
    "(code TEXT, x NUMERIC, y NUMERIC, image ARRAY [, origin INTEGER, directions TEXT LITERAL]) -> CONTOUR",
    doc=(
        "The region of a chain code: its pixels and the pixels that it encloses, each as a square, cut off at the "
        "limb. The arguments are the code, the x and y of its first pixel, and an image made by DISC or CHART. With "
        "the optional `origin`, you specify whether pixels are counted from 0 (default) or from 1. `directions` "
        "defines the digits of the code, with y upwards: 'helio' (default; 0 is left, and the next digits follow "
        "counter-clockwise), 'freeman' (0 is right), or the steps for the digits 0 to 7, as in '1,0 1,-1 0,-1 -1,-1 "
        "-1,0 -1,1 0,1 1,1'."
    ),
    example="CONTOUR_PIXELS(CHAIN_CONTOUR('2460', 500, 500, DISC(512, 512, 2.63, 2.63, 985.9, 0, 0))) is 4",
    sql={"duckdb": write_chain_or_box_contour},
    words=_CHAIN_WORDS,
    accepts_word=is_step_table,
)

CHAIN_AREA = _define_mapping_function(
    "CHAIN_AREA",
    "(code TEXT, time NUMERIC, spectral NUMERIC, time_step NUMERIC, spectral_step NUMERIC [, directions "
    "TEXT LITERAL]) -> TEXT",
    doc=(
        "The area that a chain code describes in a dynamic spectrum: its pixels and the pixels that it encloses, each "
        "as a rectangle. The result is a TFCat geometry (JSON: Polygon or MultiPolygon). The arguments are the code, "
        "the time and frequency of the centre of the first pixel, the steps in time and in frequency from pixel to "
        "pixel, and optionally the directions, as in chain_contour. The result is NULL if the code contains characters "
        "that are not directions, or if it is not closed."
    ),
    example="CHAIN_AREA('460', 100, 10, 1, 2) is "
    '\'{"type":"Polygon","coordinates":[[[99.5,9],[101.5,9],[101.5,13],[99.5,13],[99.5,9]]]}\'',
    sql={"duckdb": write_chain_tfcat},
    words=_CHAIN_WORDS,
    accepts_word=is_step_table,
)

CHAIN_LINE = _define_mapping_function(
    "CHAIN_LINE",
    "(code TEXT, time NUMERIC, spectral NUMERIC, time_step NUMERIC, spectral_step NUMERIC [, directions "
    "TEXT LITERAL]) -> TEXT",
    doc=(
        "The line that a chain code (for example, a skeleton) describes in a dynamic spectrum. The result is a TFCat "
        "geometry (JSON: LineString, or Point for a single pixel). The arguments are the same as for chain_area."
    ),
    example="CHAIN_LINE('4465', 100, 10, 1, 2) is "
    '\'{"type":"LineString","coordinates":[[100,10],[102,10],[102,12],[103,14]]}\'',
    sql={"duckdb": write_chain_tfcat},
    words=_CHAIN_WORDS,
    accepts_word=is_step_table,
)

TFCAT_BOUND = _define_mapping_function(
    "TFCAT_BOUND",
    "(geometry TEXT, side TEXT LITERAL) -> DOUBLE",
    doc=(
        "One limit of a TFCat geometry, in the units of its reference system: 'start' or 'stop' for the time, "
        "'low' or 'high' for the frequency."
    ),
    example="TFCAT_BOUND(CHAIN_LINE('4465', 100, 10, 1, 2), 'stop') is 103.0",
    sql={"duckdb": "hven_tfcat_bound({0}, {1})"},
    words=("start", "stop", "low", "high"),
)

BOX_CONTOUR = _define_mapping_function(
    "BOX_CONTOUR",
    "(x0 NUMERIC, y0 NUMERIC, x1 NUMERIC, y1 NUMERIC, image ARRAY [, origin INTEGER]) -> CONTOUR",
    doc=(
        "The region that a box of pixels covers in an image made by DISC or CHART. The arguments are the x and y of "
        "the first pixel, the x and y of the last pixel, and the image. With the optional `origin`, you specify "
        "whether pixels are counted from 0 (default) or from 1."
    ),
    example="CONTOUR_PIXELS(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 50",
    sql={"duckdb": write_chain_or_box_contour},
)

LIST_CONTOUR = _define_mapping_function(
    "LIST_CONTOUR",
    "(points TEXT, image ARRAY [, origin INTEGER, unit TEXT LITERAL]) -> CONTOUR",
    "(points ARRAY, image ARRAY [, origin INTEGER, unit TEXT LITERAL]) -> CONTOUR",
    doc=(
        "The region of a contour in an image made by DISC or CHART. The contour is a list x1 y1 x2 y2 .., as text or "
        "as an array. By default, the numbers are pixels, counted from `origin` (0 or 1; default: 0). Straight lines "
        "join these pixels, and the region is the same as for a chain code with these pixels. With 'arcsec', the "
        "numbers are angles from the centre of the disc, and the region is everything that the line encloses."
    ),
    example="CONTOUR_PIXELS(LIST_CONTOUR('10 10, 13 10, 13 12, 10 12', CHART(0, 0, 0.1, 0.1, 30, 0))) is 12",
    sql={"duckdb": write_list_contour},
    words=("pixel", "arcsec"),
)

GEOJSON_CONTOUR = _define_mapping_function(
    "GEOJSON_CONTOUR",
    "(geometry TEXT [, longitudes TEXT LITERAL]) -> CONTOUR",
    doc=(
        "The region of a GeoJSON geometry (Polygon, MultiPolygon) on a body. Rings can run in either direction, and "
        "everything that a self-crossing ring encloses is inside. With 'west', longitudes increase to the west. To "
        "get the geometry as text from a source of kind json, write `types: {geometry: string}` in the source."
    ),
    example='CONTOUR_AREA(GEOJSON_CONTOUR(\'{"type": "Polygon", "coordinates": [[[10, 0], [11, 0], [11, 1], [10, '
    "1], [10, 0]]]}')) is ~0.9999555752",
    sql={"duckdb": write_geojson_contour},
    words=("east", "west"),
)

MASK_CONTOUR = _define_mapping_function(
    "MASK_CONTOUR",
    "(path TEXT, label NUMERIC [, image ARRAY, directory TEXT LITERAL]) -> CONTOUR",
    "(path TEXT, label NUMERIC, directory TEXT LITERAL) -> CONTOUR",
    doc=(
        "The region of the pixels with a given label in the first image of a FITS file. Hven reads each file "
        "(at most 512 MiB when unpacked) once for all rows that name it. A relative path starts at the "
        "descriptor's directory. Without an image made by DISC or CHART, Hven takes the position of the solar disc "
        "from the file's header."
    ),
    example="CONTOUR_FAULT(MASK_CONTOUR('no/such.fits', 1), 'name') is 'no_file'",
    sql={"duckdb": write_mask_contour},
    expand_call=add_directory_argument,
)

CONTOUR_POLYGON = _define_mapping_function(
    "CONTOUR_POLYGON",
    "(c CONTOUR [, part TEXT LITERAL]) -> POLYGON",
    doc=(
        "The corners of a contour's region, counter-clockwise as seen from outside, if the region is a single "
        "polygon; NULL if the region has several parts or holes. For such a region, 'largest' returns the outline of "
        "the largest part, and 'hull' returns the hull of all parts."
    ),
    example="AREA(CONTOUR_POLYGON(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0)))) is ~1.0000126910",
    sql={"duckdb": write_contour_polygon},
    words=_POLYGON_CHOICES,
)

CONTOUR_SHAPE = _define_mapping_function(
    "CONTOUR_SHAPE",
    "(c CONTOUR) -> REGION",
    doc=(
        "All parts of a contour's region, with their holes filled, as a DALI 1.2 list of shapes for a column of "
        "type multishape."
    ),
    example="CONTOUR_SHAPE(BOX_CONTOUR(0, 0, 0, 0, DISC(0, 0, 1, 1, 0, 0, 0))) is NULL",
    sql={"duckdb": "nullif(hven_contour_shape(({0}).region), '')"},
)

CONTOUR_MOC = _define_mapping_function(
    "CONTOUR_MOC",
    "(c CONTOUR [, part TEXT LITERAL]) -> MOC",
    doc=(
        "The HEALPix cells that a contour's region touches. Hven chooses the size of the cells so that their total "
        "area is at most 1 % larger than the region, or so that about 10,000 cells lie along the outline. With "
        "'rest', the result is NULL if the region is a single polygon without holes."
    ),
    example="AREA(CONTOUR_MOC(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0)))) is ~0.5043465044",
    sql={"duckdb": write_contour_moc},
    words=("rest",),
)

CONTOUR_BOUND = _define_mapping_function(
    "CONTOUR_BOUND",
    "(c CONTOUR, side TEXT LITERAL) -> DOUBLE",
    doc=(
        "One limit of a contour's region: 'west', 'east', 'south' or 'north'. Longitudes are from 0 to 360. If the "
        "western limit is larger than the eastern limit, the region crosses longitude 0."
    ),
    example="CONTOUR_BOUND(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0)), 'west') is ~29.5",
    unit="deg",
    ucd="pos",
    sql={"duckdb": write_contour_bound},
    words=BOUND_SIDES,
)

CONTOUR_AREA = _define_mapping_function(
    "CONTOUR_AREA",
    "(c CONTOUR) -> DOUBLE",
    doc="Area of a contour's region on the sphere, in square degrees.",
    example="CONTOUR_AREA(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0))) is ~1.0000126910",
    unit="deg**2",
    ucd="phys.angArea",
    sql={"duckdb": "nullif(hven_contour_area(({0}).region), 0)"},
)

CONTOUR_PIXELS = _define_mapping_function(
    "CONTOUR_PIXELS",
    "(c CONTOUR) -> BIGINT",
    doc="Number of pixels in a contour's region, including those beyond the limb.",
    example="CONTOUR_PIXELS(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 50",
    ucd="meta.number;instr.pixel",
    sql={"duckdb": "CASE WHEN ({0}).fault = 0 THEN ({0}).pixels END"},
)

CONTOUR_QUALITY = _define_mapping_function(
    "CONTOUR_QUALITY",
    "(c CONTOUR [, part TEXT LITERAL]) -> TEXT",
    doc=(
        "How well a region represents its contour: 'exact', 'multi_part' (several parts or holes), 'clipped_at_limb', "
        "'mended' (polygons that cross or touch themselves), or 'degenerate' (a line or a point); NULL if there is no "
        "region. With 'hull' as the second argument, the result is 'hull' for each contour for which contour_polygon "
        "returns the hull of all parts."
    ),
    example="CONTOUR_QUALITY(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 'exact'",
    ucd="meta.code.qual",
    sql={"duckdb": write_contour_quality},
    words=_POLYGON_CHOICES,
)

CONTOUR_FAULT = _define_mapping_function(
    "CONTOUR_FAULT",
    "(c CONTOUR [, form TEXT LITERAL]) -> TEXT",
    doc=(
        "The reason why a contour has no region; NULL if it has a region. With 'name', the reason is a single word, "
        "for example letter, open or no_radius."
    ),
    example="CONTOUR_FAULT(BOX_CONTOUR(0, 0, 9, 4, DISC(0, 0, 1, 1, 0, 0, 0))) is 'the radius of the disc is "
    "missing, or is not above 0'",
    ucd="meta.note",
    sql={"duckdb": write_contour_fault},
    words=("name",),
)
