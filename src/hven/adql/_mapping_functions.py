"""The functions with which curators map observations in descriptors.

A unit in braces belongs to a parameter. With ``{km}`` the argument must have a unit, and is converted. With ``{deg?}``
an argument without a unit is allowed, and is not converted.
"""

from __future__ import annotations

from functools import partial

from hven.adql.signatures import FunctionDefinition, define_function

_define_mapping_function = partial(define_function, "mapping")
_DISTANCE_PARAMETERS = "distance NUMERIC{km} [, unit TEXT LITERAL]"
_SPECTRAL_RANGE_FORMS = (
    "(a NUMERIC, b NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE",
    "(a NUMERIC, b NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
)
_SPECTRAL_WIDTH_FORMS = tuple(
    text.replace("(a NUMERIC, b NUMERIC", "(x NUMERIC, width NUMERIC") for text in _SPECTRAL_RANGE_FORMS
)
_WEST_LONGITUDE_PARAMETERS = "west_min NUMERIC{deg?}, west_max NUMERIC{deg?}"
_WCS_CARD_PARAMETERS = (
    "ctype1 TEXT, ctype2 TEXT, crval1 NUMERIC, crval2 NUMERIC, crpix1 NUMERIC, crpix2 NUMERIC, cd1_1 NUMERIC, "
    "cd1_2 NUMERIC, cd2_1 NUMERIC, cd2_2 NUMERIC, naxis1 NUMERIC, naxis2 NUMERIC"
)

MAPPING_FUNCTION_ENTRIES: tuple[FunctionDefinition, ...] = (
    # --- time
    _define_mapping_function(
        "LIGHT_TIME",
        f"({_DISTANCE_PARAMETERS}) -> DOUBLE",
        doc="How long light takes for a distance, in seconds.",
        example="LIGHT_TIME(1, 'au') is ~499.00478384",
        unit="s",
        ucd="time.duration",
    ),
    _define_mapping_function(
        "TARGET_TIME",
        f"(jd NUMERIC{{d?}}, {_DISTANCE_PARAMETERS}) -> TIMESTAMP",
        f"(t TIMESTAMP, {_DISTANCE_PARAMETERS}) -> TIMESTAMP",
        doc="When the light left the target: a time (a timestamp, or a Julian date) less the light time, over leap "
        "seconds, too (from 1972 on).",
        example="CAST(TARGET_TIME('2004-01-01T12:00:00', 299792.458, 'km') AS VARCHAR) is '2004-01-01T11:59:59'",
    ),
    _define_mapping_function(
        "FROM_JD",
        "(jd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",
        doc="Timestamp of a Julian date; in two parts, day and fraction, it is right to the microsecond (one "
        "double resolves 40).",
        example="CAST(FROM_JD(2453005, 0.500000000012) AS VARCHAR) is '2004-01-01T00:00:00.000001'",
    ),
    _define_mapping_function(
        "FROM_MJD",
        "(mjd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",
        doc="Timestamp of a modified Julian date, in one part or two.",
        example="CAST(FROM_MJD(53005, 0.25) AS VARCHAR) is '2004-01-01T06:00:00'",
    ),
    _define_mapping_function(
        "FROM_DAY",
        "(year INTEGER, day NUMERIC{d?}) -> TIMESTAMP",
        doc="Timestamp of a day of a year, with its fraction; 1 is the first of January.",
        example="CAST(FROM_DAY(2004, 60.5) AS VARCHAR) is '2004-02-29T12:00:00'",
    ),
    _define_mapping_function(
        "FROM_UNIX",
        "(seconds NUMERIC{s?}) -> TIMESTAMP",
        doc="Timestamp (UTC) of seconds since 1970, leap seconds not counted, as POSIX has it.",
        example="CAST(FROM_UNIX(1072915200) AS VARCHAR) is '2004-01-01T00:00:00'",
    ),
    _define_mapping_function(
        "FROM_CCSDS",
        "(seconds NUMERIC{s?} [, fraction NUMERIC]) -> TIMESTAMP",
        doc="Timestamp (UTC) of a CCSDS unsegmented time: TAI seconds since 1958, and a fraction of a second. NULL "
        "before 1972.",
        example="CAST(FROM_CCSDS(1451606432, 0.5) AS VARCHAR) is '2004-01-01T00:00:00.5'",
    ),
    _define_mapping_function(
        "FROM_TT2000",
        "(ns BIGINT) -> TIMESTAMP",
        doc="Timestamp (UTC) of a CDF_TIME_TT2000: nanoseconds of TT since J2000, cut to microseconds. NULL before "
        "1972.",
        example="CAST(FROM_TT2000(0) AS VARCHAR) is '2000-01-01T11:58:55.816'",
    ),
    _define_mapping_function(
        "TAI_TO_UTC",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc="UTC of TAI; a time within a leap second is the second after it. NULL before 1972. The last leap "
        "second known here is that of 2017-01-01.",
        example="CAST(TAI_TO_UTC('2004-01-01T00:00:32') AS VARCHAR) is '2004-01-01T00:00:00'",
        ucd="same",
    ),
    _define_mapping_function(
        "UTC_TO_TAI",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc="TAI of UTC. NULL before 1972.",
        example="CAST(UTC_TO_TAI('2004-01-01T00:00:00') AS VARCHAR) is '2004-01-01T00:00:32'",
        ucd="same",
    ),
    _define_mapping_function(
        "TT_TO_UTC",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc="UTC of Terrestrial Time (TDB is it, to 2 ms). NULL before 1972.",
        example="CAST(TT_TO_UTC('2004-01-01T00:01:04.184') AS VARCHAR) is '2004-01-01T00:00:00'",
        ucd="same",
    ),
    _define_mapping_function(
        "MARS_LS",
        "(jd NUMERIC{d?}) -> DOUBLE",
        "(t TIMESTAMP) -> DOUBLE",
        doc="Solar longitude Ls of Mars in degrees, of UTC (Allison & McEwen 2000); good to 0.02 degrees.",
        example="MARS_LS('2000-01-06T00:00:00') is ~277.1875894",
        unit="deg",
        ucd="pos.heliocentric",
    ),
    # --- longitudes and latitudes
    _define_mapping_function(
        "LON_360",
        "(lon NUMERIC{deg?}) -> DOUBLE",
        doc="A longitude in 0 to 360; 360 itself stays.",
        example="LON_360(-90) is 270.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "LON_180",
        "(lon NUMERIC{deg?}) -> DOUBLE",
        doc="A longitude in -180 to 180; 180 itself stays.",
        example="LON_180(270) is -90.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_LON",
        "(west NUMERIC{deg?}) -> DOUBLE",
        doc="East longitude, 0 up to 360, of a west longitude.",
        example="EAST_LON(90) is 270.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_MIN",
        f"({_WEST_LONGITUDE_PARAMETERS}) -> DOUBLE",
        doc="Westernmost east longitude of a range of west longitudes: its maximum, turned; 0 if the range goes "
        "all round.",
        example="EAST_MIN(10, 30) is 330.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_MAX",
        f"({_WEST_LONGITUDE_PARAMETERS}) -> DOUBLE",
        doc="Easternmost east longitude of a range of west longitudes: its minimum, turned; 360 if the range goes "
        "all round.",
        example="EAST_MAX(10, 30) is 350.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "PLANETOCENTRIC",
        "(lat NUMERIC{deg?}, body TEXT) -> DOUBLE",
        doc="Planetocentric of planetographic latitude, by the radii of the body (IAU 2015); NULL for a body whose "
        "radii are not known here.",
        example="PLANETOCENTRIC(45, 'Mars') is ~44.66176805",
        unit="deg",
        ucd="pos.bodyrc.lat",
    ),
    # --- spectra
    _define_mapping_function(
        "SPECTRAL_MIN",
        *_SPECTRAL_RANGE_FORMS,
        doc="The smaller of two wavelengths, frequencies, energies or wave numbers, in another unit of any of "
        "these: the frequency of the longer wavelength. If one is NULL, the other.",
        example="SPECTRAL_MIN(400, 800, 'nm', 'THz') is ~374.7405725",
    ),
    _define_mapping_function(
        "SPECTRAL_MAX",
        *_SPECTRAL_RANGE_FORMS,
        doc="The larger of the two.",
        example="SPECTRAL_MAX(400, 800, 'nm', 'THz') is ~749.481145",
    ),
    _define_mapping_function(
        "SPECTRAL_STEP",
        *_SPECTRAL_WIDTH_FORMS,
        doc="A small width at x in another unit: a step in wavelength as a step in frequency, c dx / x^2.",
        example="SPECTRAL_STEP(500, 0.1, 'nm', 'GHz') is ~119.9169832",
    ),
    _define_mapping_function(
        "RESOLVING_POWER",
        "(x NUMERIC, width NUMERIC) -> DOUBLE",
        doc="x / width, positive; the width is converted to the unit of x.",
        example="RESOLVING_POWER(500, 0.1) is ~5000.0",
        ucd="spect.resolution",
    ),
    # --- targets
    _define_mapping_function(
        "TARGET_CLASS",
        "(name TEXT) -> TEXT",
        doc="target_class of EPN-TAP of a body of the Solar System, or by the form of a comet's or asteroid's "
        "designation; NULL: not known here.",
        example="TARGET_CLASS('Io') is 'satellite'",
        ucd="meta.code.class;src",
    ),
    _define_mapping_function(
        "TARGET_NAME",
        "(name TEXT) -> TEXT",
        doc="The name of a body of the Solar System as the IAU writes it; NULL: not known here.",
        example="TARGET_NAME('MARS') is 'Mars'",
        ucd="same",
    ),
    # --- text, lists, addresses, products
    _define_mapping_function(
        "HASHLIST",
        "(item ORDERED ...) -> TEXT",
        "(items LIST) -> TEXT",
        doc="Values, or the elements of an array, as a list a#b#c: those that are NULL or empty are left out, "
        "equal ones stand once, lists among them are taken apart; NULL if nothing is left.",
        example="HASHLIST('im', NULL, 'sp#im') is 'im#sp'",
        ucd="same",
    ),
    _define_mapping_function(
        "CLEAN",
        "(s TEXT) -> TEXT",
        doc="Text as a value of EPN-TAP may be: accents off, quotes, # and other signs replaced by _, blanks once "
        "and none at the ends.",
        example="CLEAN(' 1P/Halley  \"#1\" ') is '1P/Halley __1_'",
        ucd="same",
    ),
    _define_mapping_function(
        "EPN_TEXT",
        "(s TEXT) -> TEXT",
        doc="As clean, in lower case.",
        example="EPN_TEXT('Mars-Express') is 'mars-express'",
        ucd="same",
    ),
    _define_mapping_function(
        "URL_ENCODE",
        "(s TEXT) -> TEXT",
        doc="Text as a part of an address: everything but letters, digits and -_.~ as %XX.",
        example="URL_ENCODE('a b/c#1') is 'a%20b%2Fc%231'",
    ),
    _define_mapping_function(
        "URL_PATH",
        "(s TEXT) -> TEXT",
        doc="As url_encode, but slashes stay.",
        example="URL_PATH('a b/c#1') is 'a%20b/c%231'",
    ),
    _define_mapping_function(
        "FIRST_NOT_IN",
        "(list TEXT, excluded TEXT) -> TEXT",
        "(list ARRAY, excluded ARRAY) -> ELEMENT",
        doc="The first item of a list (a#b#c, or an array) that is not in the other one; NULL if all are.",
        example="FIRST_NOT_IN('432#408#327', '432#150') is '408'",
        ucd="same",
    ),
    _define_mapping_function(
        "HIGHEST_NOT_IN",
        "(list TEXT, excluded TEXT) -> DOUBLE",
        "(list ARRAY, excluded ARRAY) -> ELEMENT",
        doc="The largest number of a list that is not in the other one; NULL if all are.",
        example="HIGHEST_NOT_IN('327.0#432.0#408.0', '432') is 408.0",
        ucd="same",
    ),
    _define_mapping_function(
        "PRODUCT_SIZE",
        "(path TEXT [, directory TEXT LITERAL]) -> BIGINT",
        doc="Bytes of a file; a relative path starts at the descriptor. An ingest asks the server of an http "
        "address for it (HEAD). NULL if there is none.",
        example="PRODUCT_SIZE('no/such.file') is NULL",
        unit="byte",
        ucd="phys.size;meta.file",
    ),
    _define_mapping_function(
        "PRODUCT_MD5",
        "(path TEXT [, directory TEXT LITERAL]) -> TEXT",
        doc="MD5 of a file's content, which is read for it. NULL if there is none.",
        example="PRODUCT_MD5('no/such.file') is NULL",
        ucd="meta.checksum;meta.file",
    ),
    # --- regions
    _define_mapping_function(
        "ORIENTED",
        "(p POLYGON, view TEXT LITERAL) -> POLYGON",
        "(r REGION, view TEXT LITERAL) -> REGION",
        doc="The polygon, or the region with each of its polygons, with the corners counter-clockwise: 'sky', seen "
        "from inside; 'body', from outside.",
        example="ORIENTED(POLYGON(0, 0, 10, 0, 10, 10), 'sky') is [10.0, 10.0, 10.0, 0.0, 0.0, 0.0]",
    ),
    _define_mapping_function(
        "POLYGON_OF",
        "(text TEXT [, frame TEXT LITERAL]) -> POLYGON",
        "(region REGION [, frame TEXT LITERAL]) -> POLYGON",
        doc="The corners of a region that is one polygon, as DALI or STC-S write it, in this frame if it names "
        "one; NULL if it is anything else.",
        example="POLYGON_OF('Polygon ICRS 10 10 11 10 11 11', 'ICRS') is [10.0, 10.0, 11.0, 10.0, 11.0, 11.0]",
    ),
    _define_mapping_function(
        "LONLAT_BOX",
        "(lon_min NUMERIC{deg?}, lon_max NUMERIC{deg?}, lat_min NUMERIC{deg?}, lat_max NUMERIC{deg?}, view "
        "TEXT LITERAL) -> POLYGON",
        doc="The polygon between two longitudes (min > max: across 0) and two latitudes, turned for 'sky' or "
        "'body'; its edges are great circles. NULL if it is 180 degrees wide or more.",
        example="LONLAT_BOX(350, 10, -5, 5, 'body') is [350.0, -5.0, 10.0, -5.0, 10.0, 5.0, 350.0, 5.0]",
    ),
    _define_mapping_function(
        "WCS_FOOTPRINT",
        f"({_WCS_CARD_PARAMETERS}) -> POLYGON",
        doc="Corners of an image by its WCS cards (RA and Dec; TAN, SIN, ARC, STG, ZEA; distortions left out), as "
        "on the sky. In a descriptor wcs_footprint() finds the cards itself: CDi_j, PCi_j, or CDELTi with "
        "CROTA2; with FITS headers any projection and distortion, the Sun and planets.",
        example="AREA(WCS_FOOTPRINT('RA---TAN', 'DEC--TAN', 10, 20, 50.5, 50.5, -0.01, 0, 0, 0.01, 100, 100)) is "
        "~0.9999238524",
    ),
    # --- contours
    _define_mapping_function(
        "SUN_L0",
        "(t TIMESTAMP [, rotation NUMERIC]) -> DOUBLE",
        doc="Carrington longitude of the centre of the Sun's disc from the Earth, at a time (UTC); good to 0.01 "
        "degrees. With the rotation number of a catalogue: contours of an image whose number is not that of "
        "its date are refused.",
        example="SUN_L0('2004-01-01T00:00:00') is ~164.58736323",
        unit="deg",
        ucd="pos.heliocentric",
    ),
    _define_mapping_function(
        "SUN_B0",
        "(t TIMESTAMP) -> DOUBLE",
        doc="Heliographic latitude of the centre of the Sun's disc from the Earth, at a time (UTC).",
        example="SUN_B0('2004-01-01T00:00:00') is ~-2.9515919520",
        unit="deg",
        ucd="pos.heliocentric",
    ),
    _define_mapping_function(
        "DISC",
        "(x NUMERIC, y NUMERIC, scale_x NUMERIC{arcsec?}, scale_y NUMERIC{arcsec?}, radius NUMERIC{arcsec?}, "
        "lon NUMERIC{deg?}, lat NUMERIC{deg?} [, roll NUMERIC{deg?}]) -> DOUBLE[]",
        doc="An image of a body's disc, for contours in it: pixel of its centre (the first one is 0), arcseconds "
        "per pixel, radius in arcseconds in this very observation, longitude and latitude below the observer, "
        "and by how much it is turned.",
        example="DISC(512, 512, 2.63, 2.63, 985.9, 120, -7) is [512.0, 512.0, 2.63, 2.63, 985.9, 120.0, -7.0, 0.0]",
    ),
    _define_mapping_function(
        "CHART",
        "(x NUMERIC, y NUMERIC, step_x NUMERIC{deg?}, step_y NUMERIC, lon NUMERIC{deg?}, lat NUMERIC{deg?} [, "
        "equal INTEGER]) -> DOUBLE[]",
        doc="A map of a body, for contours in it: the pixel at a longitude and latitude (the first one is 0), "
        "degrees per pixel; with 1 at the end pixels are of equal area, and step_y is of the sine of the "
        "latitude.",
        example="CHART(0, 90, 1, 1, 0, 0) is [0.0, 90.0, 1.0, 1.0, 0.0, 0.0, 0.0]",
    ),
    _define_mapping_function(
        "CHAIN_CONTOUR",
        "(code TEXT, x NUMERIC, y NUMERIC, image ARRAY [, origin INTEGER, directions TEXT LITERAL]) -> CONTOUR",
        doc="The region of a chain code: the squares of its pixels and of those that it winds round, cut at the "
        "limb. First pixel, an image made by DISC or CHART, number of an image's first pixel (0 or 1), and "
        "directions: 'helio' (0 is left, then anticlockwise, y up), 'freeman' (0 is right), or the steps of 0 "
        "to 7 themselves, y up: '1,0 1,-1 0,-1 -1,-1 -1,0 -1,1 0,1 1,1'.",
        example="CONTOUR_PIXELS(CHAIN_CONTOUR('2460', 500, 500, DISC(512, 512, 2.63, 2.63, 985.9, 0, 0))) is 4",
    ),
    _define_mapping_function(
        "CHAIN_AREA",
        "(code TEXT, time NUMERIC, spectral NUMERIC, time_step NUMERIC, spectral_step NUMERIC [, directions "
        "TEXT LITERAL]) -> TEXT",
        doc="The area of a chain code in a dynamic spectrum as TFCat has it (JSON: Polygon, MultiPolygon): the "
        "squares of its pixels and of those that it winds round. Centre of the first pixel in time and "
        "frequency, steps from pixel to pixel, and directions as in chain_contour. NULL if the code has "
        "another character, or does not close.",
        example="CHAIN_AREA('460', 100, 10, 1, 2) is "
        '\'{"type":"Polygon","coordinates":[[[99.5,9],[101.5,9],[101.5,13],[99.5,13],[99.5,9]]]}\'',
    ),
    _define_mapping_function(
        "CHAIN_LINE",
        "(code TEXT, time NUMERIC, spectral NUMERIC, time_step NUMERIC, spectral_step NUMERIC [, directions "
        "TEXT LITERAL]) -> TEXT",
        doc="The line of a chain code, such as a skeleton, in a dynamic spectrum as TFCat has it (JSON: "
        "LineString, of a single pixel Point), as chain_area.",
        example="CHAIN_LINE('4465', 100, 10, 1, 2) is "
        '\'{"type":"LineString","coordinates":[[100,10],[102,10],[102,12],[103,14]]}\'',
    ),
    _define_mapping_function(
        "TFCAT_BOUND",
        "(geometry TEXT, side TEXT LITERAL) -> DOUBLE",
        doc="How far a geometry of TFCat reaches, in units of its reference system: 'start' and 'stop' in time, "
        "'low' and 'high' in frequency.",
        example="TFCAT_BOUND(CHAIN_LINE('4465', 100, 10, 1, 2), 'stop') is 103.0",
    ),
    _define_mapping_function(
        "BOX_CONTOUR",
        "(x0 NUMERIC, y0 NUMERIC, x1 NUMERIC, y1 NUMERIC, image ARRAY [, origin INTEGER]) -> CONTOUR",
        doc="The region of a box of pixels, from its first to its last one in each direction, in an image made by "
        "DISC or CHART.",
        example="CONTOUR_PIXELS(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 50",
    ),
    _define_mapping_function(
        "LIST_CONTOUR",
        "(points TEXT, image ARRAY [, origin INTEGER, unit TEXT LITERAL]) -> CONTOUR",
        "(points ARRAY, image ARRAY [, origin INTEGER, unit TEXT LITERAL]) -> CONTOUR",
        doc="The region of a contour that is a list x1 y1 x2 y2 .., text or an array, in an image made by DISC or "
        "CHART: of pixels, straight from one to the next, as chain_contour; with 'arcsec' of angles from the "
        "centre of the disc, where what the line winds round is inside.",
        example="CONTOUR_PIXELS(LIST_CONTOUR('10 10, 13 10, 13 12, 10 12', CHART(0, 0, 0.1, 0.1, 30, 0))) is 12",
    ),
    _define_mapping_function(
        "GEOJSON_CONTOUR",
        "(geometry TEXT [, longitudes TEXT LITERAL]) -> CONTOUR",
        doc="The region of a geometry of GeoJSON (Polygon, MultiPolygon) on a body; rings may run either way, and "
        "what one winds round that crosses itself is inside. 'west': longitudes grow to the west there. Of a "
        "source of kind json, types: {geometry: string} leaves the text as it is.",
        example='CONTOUR_AREA(GEOJSON_CONTOUR(\'{"type": "Polygon", "coordinates": [[[10, 0], [11, 0], [11, 1], [10, '
        "1], [10, 0]]]}')) is ~0.9999555752",
    ),
    _define_mapping_function(
        "MASK_CONTOUR",
        "(path TEXT, label NUMERIC [, image ARRAY, directory TEXT LITERAL]) -> CONTOUR",
        "(path TEXT, label NUMERIC, directory TEXT LITERAL) -> CONTOUR",
        doc="The region of the pixels that have a label in the first image of a FITS file, which is read once for "
        "all its rows (512 MiB at most, unpacked). A relative path starts at the descriptor. Without an image "
        "made by DISC or CHART, the file's own cards tell where the Sun's disc is.",
        example="CONTOUR_FAULT(MASK_CONTOUR('no/such.fits', 1), 'name') is 'no_file'",
    ),
    _define_mapping_function(
        "CONTOUR_POLYGON",
        "(c CONTOUR [, part TEXT LITERAL]) -> POLYGON",
        doc="The corners of a contour's region that is one polygon, counter-clockwise from outside; NULL if it has "
        "several parts, or holes. Of such, 'largest' gives the outline of the largest part, 'hull' the hull of "
        "all.",
        example="AREA(CONTOUR_POLYGON(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0)))) is ~1.0000126910",
    ),
    _define_mapping_function(
        "CONTOUR_SHAPE",
        "(c CONTOUR) -> REGION",
        doc="All parts of a contour's region as DALI 1.2 writes several shapes, without their holes: for a column "
        "of the type multishape.",
        example="CONTOUR_SHAPE(BOX_CONTOUR(0, 0, 0, 0, DISC(0, 0, 1, 1, 0, 0, 0))) is NULL",
    ),
    _define_mapping_function(
        "CONTOUR_MOC",
        "(c CONTOUR [, part TEXT LITERAL]) -> MOC",
        doc="The HEALPix cells that a contour's region touches, of an order at which they are at most 1 % larger "
        "than it, or about 10,000 along its outline. With 'rest' of those alone that no polygon can say: of "
        "several parts, or with holes.",
        example="AREA(CONTOUR_MOC(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0)))) is ~0.5043465044",
    ),
    _define_mapping_function(
        "CONTOUR_BOUND",
        "(c CONTOUR, side TEXT LITERAL) -> DOUBLE",
        doc="How far a contour's region reaches: 'west' and 'east' (longitudes from 0 to 360, west > east: across "
        "0), 'south', 'north'.",
        example="CONTOUR_BOUND(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0)), 'west') is ~29.5",
        unit="deg",
        ucd="pos",
    ),
    _define_mapping_function(
        "CONTOUR_AREA",
        "(c CONTOUR) -> DOUBLE",
        doc="Square degrees of a contour's region on the sphere.",
        example="CONTOUR_AREA(BOX_CONTOUR(0, 0, 0, 0, CHART(0, 0, 1, 1, 30, 0))) is ~1.0000126910",
        unit="deg**2",
        ucd="phys.angArea",
    ),
    _define_mapping_function(
        "CONTOUR_PIXELS",
        "(c CONTOUR) -> BIGINT",
        doc="Of how many pixels a contour's region is made, with those that are beyond the limb.",
        example="CONTOUR_PIXELS(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 50",
        ucd="meta.number;instr.pixel",
    ),
    _define_mapping_function(
        "CONTOUR_QUALITY",
        "(c CONTOUR [, part TEXT LITERAL]) -> TEXT",
        doc="How a region stands for its contour: 'exact', 'multi_part' (several parts, or holes), "
        "'clipped_at_limb', 'mended' (of polygons that cross or touch themselves), or 'degenerate' (of a line "
        "or a point); NULL if there is none. With 'hull', as contour_polygon takes it, 'hull' where that is "
        "published.",
        example="CONTOUR_QUALITY(BOX_CONTOUR(0, 0, 9, 4, CHART(0, 0, 0.1, 0.1, 30, 0))) is 'exact'",
        ucd="meta.code.qual",
    ),
    _define_mapping_function(
        "CONTOUR_FAULT",
        "(c CONTOUR [, form TEXT LITERAL]) -> TEXT",
        doc="Why a contour has no region; NULL if it has one. With 'name' one word for it: letter, open, no_radius ..",
        example="CONTOUR_FAULT(BOX_CONTOUR(0, 0, 9, 4, DISC(0, 0, 1, 1, 0, 0, 0))) is 'the radius of the disc is "
        "missing, or not above 0'",
        ucd="meta.note",
    ),
)
