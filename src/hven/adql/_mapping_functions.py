"""The functions with which curators map observations in descriptors.

A unit in braces belongs to a parameter. With ``{km}`` the argument must have a unit, and is converted. With ``{deg?}``
an argument without a unit is allowed, and is not converted.
"""

from __future__ import annotations

from functools import partial

from hven.adql.signatures import FunctionDefinition, define_function

_define_mapping_function = partial(define_function, "mapping")
SPHERE_VIEWS = ("sky", "body")  # from inside the sphere, from outside
_DISTANCE_PARAMETERS = "distance NUMERIC{km} [, unit TEXT LITERAL]"
_SPECTRAL_RANGE_FORMS = (
    "(a NUMERIC, b NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE",
    "(a NUMERIC, b NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
)
_SPECTRAL_WIDTH_FORMS = tuple(
    text.replace("(a NUMERIC, b NUMERIC", "(x NUMERIC, width NUMERIC") for text in _SPECTRAL_RANGE_FORMS
)
_WEST_LONGITUDE_PARAMETERS = "west_min NUMERIC{deg?}, west_max NUMERIC{deg?}"

MAPPING_FUNCTION_ENTRIES: tuple[FunctionDefinition, ...] = (
    # --- time
    _define_mapping_function(
        "LIGHT_TIME",
        f"({_DISTANCE_PARAMETERS}) -> DOUBLE",
        doc="The time in seconds that light needs to travel a distance.",
        example="LIGHT_TIME(1, 'au') is ~499.00478384",
        unit="s",
        ucd="time.duration",
    ),
    _define_mapping_function(
        "TARGET_TIME",
        f"(jd NUMERIC{{d?}}, {_DISTANCE_PARAMETERS}) -> TIMESTAMP",
        f"(t TIMESTAMP, {_DISTANCE_PARAMETERS}) -> TIMESTAMP",
        doc=(
            "The time at which the light left the target: the given timestamp or Julian date minus the light time. "
            "From 1972 on, Hven takes leap seconds into account."
        ),
        example="CAST(TARGET_TIME('2004-01-01T12:00:00', 299792.458, 'km') AS VARCHAR) is '2004-01-01T11:59:59'",
    ),
    _define_mapping_function(
        "FROM_JD",
        "(jd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",
        doc=(
            "Timestamp of a Julian date. If you give the day and the fraction separately, the result is exact to the "
            "microsecond, whereas a single double only resolves 40 microseconds."
        ),
        example="CAST(FROM_JD(2453005, 0.500000000012) AS VARCHAR) is '2004-01-01T00:00:00.000001'",
    ),
    _define_mapping_function(
        "FROM_MJD",
        "(mjd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",
        doc="Timestamp of a modified Julian date, given as one number or as day and fraction.",
        example="CAST(FROM_MJD(53005, 0.25) AS VARCHAR) is '2004-01-01T06:00:00'",
    ),
    _define_mapping_function(
        "FROM_DAY",
        "(year INTEGER, day NUMERIC{d?}) -> TIMESTAMP",
        doc="Timestamp for a year and a fractional day of the year, where 1 is the beginning of 1 January.",
        example="CAST(FROM_DAY(2004, 60.5) AS VARCHAR) is '2004-02-29T12:00:00'",
    ),
    _define_mapping_function(
        "FROM_UNIX",
        "(seconds NUMERIC{s?}) -> TIMESTAMP",
        doc="Timestamp (UTC) of POSIX seconds since 1970, which do not count leap seconds.",
        example="CAST(FROM_UNIX(1072915200) AS VARCHAR) is '2004-01-01T00:00:00'",
    ),
    _define_mapping_function(
        "FROM_CCSDS",
        "(seconds NUMERIC{s?} [, fraction NUMERIC]) -> TIMESTAMP",
        doc=(
            "Timestamp (UTC) of a CCSDS unsegmented time, given as TAI seconds since 1958 and a fraction of a second. "
            "NULL before 1972."
        ),
        example="CAST(FROM_CCSDS(1451606432, 0.5) AS VARCHAR) is '2004-01-01T00:00:00.5'",
    ),
    _define_mapping_function(
        "FROM_TT2000",
        "(ns BIGINT) -> TIMESTAMP",
        doc=(
            "Timestamp (UTC) of a CDF_TIME_TT2000, which is a number of nanoseconds in TT since J2000. The result is "
            "truncated to microseconds. NULL before 1972."
        ),
        example="CAST(FROM_TT2000(0) AS VARCHAR) is '2000-01-01T11:58:55.816'",
    ),
    _define_mapping_function(
        "TAI_TO_UTC",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc=(
            "UTC that corresponds to a time in TAI. A time within a leap second becomes the following second. NULL "
            "before 1972. The last leap second that Hven knows is on 2017-01-01."
        ),
        example="CAST(TAI_TO_UTC('2004-01-01T00:00:32') AS VARCHAR) is '2004-01-01T00:00:00'",
        ucd="same",
    ),
    _define_mapping_function(
        "UTC_TO_TAI",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc="TAI that corresponds to a time in UTC. NULL before 1972.",
        example="CAST(UTC_TO_TAI('2004-01-01T00:00:00') AS VARCHAR) is '2004-01-01T00:00:32'",
        ucd="same",
    ),
    _define_mapping_function(
        "TT_TO_UTC",
        "(t TIMESTAMP) -> TIMESTAMP",
        doc=(
            "UTC that corresponds to a time in Terrestrial Time. It also works for TDB, with errors of up to 2 ms. "
            "NULL before 1972."
        ),
        example="CAST(TT_TO_UTC('2004-01-01T00:01:04.184') AS VARCHAR) is '2004-01-01T00:00:00'",
        ucd="same",
    ),
    _define_mapping_function(
        "MARS_LS",
        "(jd NUMERIC{d?}) -> DOUBLE",
        "(t TIMESTAMP) -> DOUBLE",
        doc="Solar longitude Ls of Mars in degrees at a time in UTC (Allison & McEwen 2000), accurate to 0.02 degrees.",
        example="MARS_LS('2000-01-06T00:00:00') is ~277.1875894",
        unit="deg",
        ucd="pos.heliocentric",
    ),
    # --- longitudes and latitudes
    _define_mapping_function(
        "LON_360",
        "(lon NUMERIC{deg?}) -> DOUBLE",
        doc="The longitude in the range from 0 to 360; 360 itself stays unchanged.",
        example="LON_360(-90) is 270.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "LON_180",
        "(lon NUMERIC{deg?}) -> DOUBLE",
        doc="The longitude in the range from -180 to 180; 180 itself stays unchanged.",
        example="LON_180(270) is -90.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_LON",
        "(west NUMERIC{deg?}) -> DOUBLE",
        doc="The east longitude (from 0 to less than 360) that corresponds to a west longitude.",
        example="EAST_LON(90) is 270.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_MIN",
        f"({_WEST_LONGITUDE_PARAMETERS}) -> DOUBLE",
        doc=(
            "Western end of a range of west longitudes, as an east longitude. The function computes it from the "
            "range's maximum. For the full circle, the result is 0."
        ),
        example="EAST_MIN(10, 30) is 330.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "EAST_MAX",
        f"({_WEST_LONGITUDE_PARAMETERS}) -> DOUBLE",
        doc=(
            "Eastern end of a range of west longitudes, as an east longitude. The function computes it from the "
            "range's minimum. For the full circle, the result is 360."
        ),
        example="EAST_MAX(10, 30) is 350.0",
        unit="deg",
        ucd="same",
    ),
    _define_mapping_function(
        "PLANETOCENTRIC",
        "(lat NUMERIC{deg?}, body TEXT) -> DOUBLE",
        doc=(
            "Planetocentric latitude that corresponds to a planetographic latitude, computed from the body's radii "
            "(IAU 2015). NULL if Hven does not know the radii."
        ),
        example="PLANETOCENTRIC(45, 'Mars') is ~44.66176805",
        unit="deg",
        ucd="pos.bodyrc.lat",
    ),
    # --- spectra
    _define_mapping_function(
        "SPECTRAL_MIN",
        *_SPECTRAL_RANGE_FORMS,
        doc=(
            "Converts two wavelengths, frequencies, energies or wave numbers to a unit of any of these quantities, and "
            "returns the smaller result. For two wavelengths in 'Hz', this is the frequency of the longer wavelength. "
            "If one of the values is NULL, the result is the other value."
        ),
        example="SPECTRAL_MIN(400, 800, 'nm', 'THz') is ~374.7405725",
    ),
    _define_mapping_function(
        "SPECTRAL_MAX",
        *_SPECTRAL_RANGE_FORMS,
        doc="The larger of the two values; see spectral_min.",
        example="SPECTRAL_MAX(400, 800, 'nm', 'THz') is ~749.481145",
    ),
    _define_mapping_function(
        "SPECTRAL_STEP",
        *_SPECTRAL_WIDTH_FORMS,
        doc=(
            "A small width at x, converted to another unit, for example from a wavelength step to a frequency step: c "
            "dx / x^2."
        ),
        example="SPECTRAL_STEP(500, 0.1, 'nm', 'GHz') is ~119.9169832",
    ),
    _define_mapping_function(
        "RESOLVING_POWER",
        "(x NUMERIC, width NUMERIC) -> DOUBLE",
        doc="x / width as a positive number. Hven first converts the width to the unit of x.",
        example="RESOLVING_POWER(500, 0.1) is ~5000.0",
        ucd="spect.resolution",
    ),
    # --- targets
    _define_mapping_function(
        "TARGET_CLASS",
        "(name TEXT) -> TEXT",
        doc=(
            "The EPN-TAP target_class of a Solar System body, derived from its name or, for comets and asteroids, from "
            "the form of the designation. NULL if Hven does not know the body."
        ),
        example="TARGET_CLASS('Io') is 'satellite'",
        ucd="meta.code.class;src",
    ),
    _define_mapping_function(
        "TARGET_NAME",
        "(name TEXT) -> TEXT",
        doc="The name of a Solar System body in the IAU's spelling. NULL if Hven does not know the body.",
        example="TARGET_NAME('MARS') is 'Mars'",
        ucd="same",
    ),
    # --- text, lists, addresses, products
    _define_mapping_function(
        "HASHLIST",
        "(item ORDERED ...) -> TEXT",
        "(items LIST) -> TEXT",
        doc=(
            "The values, or the elements of an array, as a list a#b#c. The function splits values that are lists "
            "themselves, and leaves out duplicates and NULL or empty values. NULL if nothing is left."
        ),
        example="HASHLIST('im', NULL, 'sp#im') is 'im#sp'",
        ucd="same",
    ),
    _define_mapping_function(
        "CLEAN",
        "(s TEXT) -> TEXT",
        doc=(
            "The text in a form that EPN-TAP allows: without accents; with _ instead of quotes, # and other special "
            "characters; with single spaces; and without spaces at its beginning and end."
        ),
        example="CLEAN(' 1P/Halley  \"#1\" ') is '1P/Halley __1_'",
        ucd="same",
    ),
    _define_mapping_function(
        "EPN_TEXT",
        "(s TEXT) -> TEXT",
        doc="Like clean, but in lower case.",
        example="EPN_TEXT('Mars-Express') is 'mars-express'",
        ucd="same",
    ),
    _define_mapping_function(
        "URL_ENCODE",
        "(s TEXT) -> TEXT",
        doc="The text encoded as a part of an address: all characters except letters, digits and -_.~ become %XX.",
        example="URL_ENCODE('a b/c#1') is 'a%20b%2Fc%231'",
    ),
    _define_mapping_function(
        "URL_PATH",
        "(s TEXT) -> TEXT",
        doc="Like url_encode, except that slashes stay unchanged.",
        example="URL_PATH('a b/c#1') is 'a%20b/c%231'",
    ),
    _define_mapping_function(
        "FIRST_NOT_IN",
        "(list TEXT, excluded TEXT) -> TEXT",
        "(list ARRAY, excluded ARRAY) -> ELEMENT",
        doc=(
            "The first item of a list (a#b#c, or an array) that is not in the list `excluded`; NULL if there is no "
            "such item."
        ),
        example="FIRST_NOT_IN('432#408#327', '432#150') is '408'",
        ucd="same",
    ),
    _define_mapping_function(
        "HIGHEST_NOT_IN",
        "(list TEXT, excluded TEXT) -> DOUBLE",
        "(list ARRAY, excluded ARRAY) -> ELEMENT",
        doc="The largest number in a list that is not in the list `excluded`; NULL if there is no such number.",
        example="HIGHEST_NOT_IN('327.0#432.0#408.0', '432') is 408.0",
        ucd="same",
    ),
    _define_mapping_function(
        "PRODUCT_SIZE",
        "(path TEXT [, directory TEXT LITERAL]) -> BIGINT",
        doc=(
            "Size of a file in bytes. A relative path starts at the descriptor's directory. For an http address, an "
            "ingest requests the size from the server with HEAD. NULL if the file does not exist."
        ),
        example="PRODUCT_SIZE('no/such.file') is NULL",
        unit="byte",
        ucd="phys.size;meta.file",
    ),
    _define_mapping_function(
        "PRODUCT_MD5",
        "(path TEXT [, directory TEXT LITERAL]) -> TEXT",
        doc="MD5 checksum of a file. To compute it, Hven reads the whole file. NULL if the file does not exist.",
        example="PRODUCT_MD5('no/such.file') is NULL",
        ucd="meta.checksum;meta.file",
    ),
    # --- regions
    _define_mapping_function(
        "ORIENTED",
        "(p POLYGON, view TEXT LITERAL) -> POLYGON",
        "(r REGION, view TEXT LITERAL) -> REGION",
        doc=(
            "The same polygon or region, with the corners of all polygons in counter-clockwise order. For 'sky', this "
            "is the order as seen from inside the sphere; for 'body', as seen from outside."
        ),
        example="ORIENTED(POLYGON(0, 0, 10, 0, 10, 10), 'sky') is [10.0, 10.0, 10.0, 0.0, 0.0, 0.0]",
        words=SPHERE_VIEWS,
    ),
    _define_mapping_function(
        "POLYGON_OF",
        "(text TEXT [, frame TEXT LITERAL]) -> POLYGON",
        "(region REGION [, frame TEXT LITERAL]) -> POLYGON",
        doc=(
            "The corners of a region that is a single polygon, given in DALI or STC-S form. If the region names a "
            "frame, it must be the given frame. NULL for any other region."
        ),
        example="POLYGON_OF('Polygon ICRS 10 10 11 10 11 11', 'ICRS') is [10.0, 10.0, 11.0, 10.0, 11.0, 11.0]",
    ),
    _define_mapping_function(
        "LONLAT_BOX",
        "(lon_min NUMERIC{deg?}, lon_max NUMERIC{deg?}, lat_min NUMERIC{deg?}, lat_max NUMERIC{deg?}, view "
        "TEXT LITERAL) -> POLYGON",
        doc=(
            "The polygon between two longitudes and two latitudes, oriented for 'sky' or 'body'. If the minimum "
            "longitude is larger than the maximum, the polygon crosses longitude 0. Its edges are great circles. NULL "
            "if it is 180 degrees wide or more."
        ),
        example="LONLAT_BOX(350, 10, -5, 5, 'body') is [350.0, -5.0, 10.0, -5.0, 10.0, 5.0, 350.0, 5.0]",
        words=SPHERE_VIEWS,
    ),
)
