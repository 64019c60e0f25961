"""The functions with which curators map observations: as rows of the one table of functions, each with an example that the tests run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Row:
    """One function: its signatures, what it gives, its unit, and a call with its result (as `function_examples` has them).

    An argument's unit stands in braces: ``{km}``, the value must have a unit, and is converted; ``{deg?}``, one without a unit is taken as it is.
    """

    name: str
    signatures: tuple[str, ...]
    doc: str
    example: tuple[str, str]
    unit: str = ""
    ucd: str = ""


_LENGTH = "distance NUMERIC{km} [, unit TEXT LITERAL]"
_RANGE = (
    "(a NUMERIC, b NUMERIC, dest_unit TEXT LITERAL) -> DOUBLE",
    "(a NUMERIC, b NUMERIC, expr_unit TEXT LITERAL, dest_unit TEXT LITERAL) -> DOUBLE",
)
_WIDTH = tuple(text.replace("(a NUMERIC, b NUMERIC", "(x NUMERIC, width NUMERIC") for text in _RANGE)
_WEST = "west_min NUMERIC{deg?}, west_max NUMERIC{deg?}"
_CARDS = ", ".join(
    ["ctype1 TEXT", "ctype2 TEXT"]
    + [f"{name} NUMERIC" for name in ("crval1", "crval2", "crpix1", "crpix2", "cd1_1", "cd1_2", "cd2_1", "cd2_2", "naxis1", "naxis2")]
)

ROWS: tuple[Row, ...] = (
    # --- time
    Row("LIGHT_TIME", (f"({_LENGTH}) -> DOUBLE",), "How long light takes for a distance, in seconds.", ("LIGHT_TIME(1, 'au')", "~499.00478384"), "s", "time.duration"),
    Row("TARGET_TIME", (f"(jd NUMERIC{{d?}}, {_LENGTH}) -> TIMESTAMP", f"(t TIMESTAMP, {_LENGTH}) -> TIMESTAMP"),
        "When the light left the target: a time (a timestamp, or a Julian date) less the light time, over leap seconds, too (from 1972 on).", ("CAST(TARGET_TIME('2004-01-01T12:00:00', 299792.458, 'km') AS VARCHAR)", "'2004-01-01T11:59:59'")),
    Row("FROM_JD", ("(jd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",), "Timestamp of a Julian date; in two parts, day and fraction, it is right to the microsecond (one double resolves 40).",
        ("CAST(FROM_JD(2453005, 0.500000000012) AS VARCHAR)", "'2004-01-01T00:00:00.000001'")),
    Row("FROM_MJD", ("(mjd NUMERIC{d?} [, fraction NUMERIC{d?}]) -> TIMESTAMP",), "Timestamp of a modified Julian date, in one part or two.", ("CAST(FROM_MJD(53005, 0.25) AS VARCHAR)", "'2004-01-01T06:00:00'")),
    Row("FROM_DAY", ("(year INTEGER, day NUMERIC{d?}) -> TIMESTAMP",), "Timestamp of a day of a year, with its fraction; 1 is the first of January.", ("CAST(FROM_DAY(2004, 60.5) AS VARCHAR)", "'2004-02-29T12:00:00'")),
    Row("FROM_UNIX", ("(seconds NUMERIC{s?}) -> TIMESTAMP",), "Timestamp (UTC) of seconds since 1970, leap seconds not counted, as POSIX has it.", ("CAST(FROM_UNIX(1072915200) AS VARCHAR)", "'2004-01-01T00:00:00'")),
    Row("FROM_CCSDS", ("(seconds NUMERIC{s?} [, fraction NUMERIC]) -> TIMESTAMP",), "Timestamp (UTC) of a CCSDS unsegmented time: TAI seconds since 1958, and a fraction of a second. NULL before 1972.",
        ("CAST(FROM_CCSDS(1451606432, 0.5) AS VARCHAR)", "'2004-01-01T00:00:00.5'")),
    Row("FROM_TT2000", ("(ns BIGINT) -> TIMESTAMP",), "Timestamp (UTC) of a CDF_TIME_TT2000: nanoseconds of TT since J2000, cut to microseconds. NULL before 1972.", ("CAST(FROM_TT2000(0) AS VARCHAR)", "'2000-01-01T11:58:55.816'")),
    Row("TAI_TO_UTC", ("(t TIMESTAMP) -> TIMESTAMP",), "UTC of TAI; a time within a leap second is the second after it. NULL before 1972. The last leap second known here is that of 2017-01-01.",
        ("CAST(TAI_TO_UTC('2004-01-01T00:00:32') AS VARCHAR)", "'2004-01-01T00:00:00'"), ucd="same"),
    Row("UTC_TO_TAI", ("(t TIMESTAMP) -> TIMESTAMP",), "TAI of UTC. NULL before 1972.", ("CAST(UTC_TO_TAI('2004-01-01T00:00:00') AS VARCHAR)", "'2004-01-01T00:00:32'"), ucd="same"),
    Row("TT_TO_UTC", ("(t TIMESTAMP) -> TIMESTAMP",), "UTC of Terrestrial Time (TDB is it, to 2 ms). NULL before 1972.", ("CAST(TT_TO_UTC('2004-01-01T00:01:04.184') AS VARCHAR)", "'2004-01-01T00:00:00'"), ucd="same"),
    Row("MARS_LS", ("(jd NUMERIC{d?}) -> DOUBLE", "(t TIMESTAMP) -> DOUBLE"), "Solar longitude Ls of Mars in degrees, of UTC (Allison & McEwen 2000); good to 0.02 degrees.", ("MARS_LS('2000-01-06T00:00:00')", "~277.1875894"), "deg", "pos.heliocentric"),
    # --- longitudes and latitudes
    Row("LON_360", ("(lon NUMERIC{deg?}) -> DOUBLE",), "A longitude in 0 to 360; 360 itself stays.", ("LON_360(-90)", "270.0"), "deg", "same"),
    Row("LON_180", ("(lon NUMERIC{deg?}) -> DOUBLE",), "A longitude in -180 to 180; 180 itself stays.", ("LON_180(270)", "-90.0"), "deg", "same"),
    Row("EAST_LON", ("(west NUMERIC{deg?}) -> DOUBLE",), "East longitude, 0 up to 360, of a west longitude.", ("EAST_LON(90)", "270.0"), "deg", "same"),
    Row("EAST_MIN", (f"({_WEST}) -> DOUBLE",), "Westernmost east longitude of a range of west longitudes: its maximum, turned; 0 if the range goes all round.", ("EAST_MIN(10, 30)", "330.0"), "deg", "same"),
    Row("EAST_MAX", (f"({_WEST}) -> DOUBLE",), "Easternmost east longitude of a range of west longitudes: its minimum, turned; 360 if the range goes all round.", ("EAST_MAX(10, 30)", "350.0"), "deg", "same"),
    Row("PLANETOCENTRIC", ("(lat NUMERIC{deg?}, body TEXT) -> DOUBLE",), "Planetocentric of planetographic latitude, by the radii of the body (IAU 2015); NULL for a body whose radii are not known here.",
        ("PLANETOCENTRIC(45, 'Mars')", "~44.66176805"), "deg", "pos.bodyrc.lat"),
    # --- spectra
    Row("SPECTRAL_MIN", _RANGE, "The smaller of two wavelengths, frequencies, energies or wave numbers, in another unit of any of these: the frequency of the longer wavelength. If one is NULL, the other.", ("SPECTRAL_MIN(400, 800, 'nm', 'THz')", "~374.7405725")),
    Row("SPECTRAL_MAX", _RANGE, "The larger of the two.", ("SPECTRAL_MAX(400, 800, 'nm', 'THz')", "~749.481145")),
    Row("SPECTRAL_STEP", _WIDTH, "A small width at x in another unit: a step in wavelength as a step in frequency, c dx / x^2.", ("SPECTRAL_STEP(500, 0.1, 'nm', 'GHz')", "~119.9169832")),
    Row("RESOLVING_POWER", ("(x NUMERIC, width NUMERIC) -> DOUBLE",), "x / width, positive; the width is converted to the unit of x.", ("RESOLVING_POWER(500, 0.1)", "~5000.0"), "", "spect.resolution"),
    # --- targets
    Row("TARGET_CLASS", ("(name TEXT) -> TEXT",), "target_class of EPN-TAP of a body of the Solar System, or by the form of a comet's or asteroid's designation; NULL: not known here.", ("TARGET_CLASS('Io')", "'satellite'"), ucd="meta.code.class;src"),
    Row("TARGET_NAME", ("(name TEXT) -> TEXT",), "The name of a body of the Solar System as the IAU writes it; NULL: not known here.", ("TARGET_NAME('MARS')", "'Mars'"), ucd="same"),
    # --- text, lists, addresses, products
    Row("HASHLIST", ("(item ORDERED ...) -> TEXT", "(items LIST) -> TEXT"), "Values, or the elements of an array, as a list a#b#c: those that are NULL or empty are left out, equal ones stand once, lists among them are taken apart; NULL if nothing is left.", ("HASHLIST('im', NULL, 'sp#im')", "'im#sp'"), ucd="same"),
    Row("CLEAN", ("(s TEXT) -> TEXT",), "Text as a value of EPN-TAP may be: accents off, quotes, # and other signs replaced by _, blanks once and none at the ends.", ("CLEAN(' 1P/Halley  \"#1\" ')", "'1P/Halley __1_'"), ucd="same"),
    Row("EPN_TEXT", ("(s TEXT) -> TEXT",), "As clean, in lower case.", ("EPN_TEXT('Mars-Express')", "'mars-express'"), ucd="same"),
    Row("URL_ENCODE", ("(s TEXT) -> TEXT",), "Text as a part of an address: everything but letters, digits and -_.~ as %XX.", ("URL_ENCODE('a b/c#1')", "'a%20b%2Fc%231'")),
    Row("URL_PATH", ("(s TEXT) -> TEXT",), "As url_encode, but slashes stay.", ("URL_PATH('a b/c#1')", "'a%20b/c%231'")),
    Row("FIRST_NOT_IN", ("(list TEXT, excluded TEXT) -> TEXT", "(list ARRAY, excluded ARRAY) -> ELEMENT"), "The first item of a list (a#b#c, or an array) that is not in the other one; NULL if all are.", ("FIRST_NOT_IN('432#408#327', '432#150')", "'408'"), ucd="same"),
    Row("HIGHEST_NOT_IN", ("(list TEXT, excluded TEXT) -> DOUBLE", "(list ARRAY, excluded ARRAY) -> ELEMENT"), "The largest number of a list that is not in the other one; NULL if all are.", ("HIGHEST_NOT_IN('327.0#432.0#408.0', '432')", "408.0"), ucd="same"),
    Row("PRODUCT_SIZE", ("(path TEXT [, directory TEXT LITERAL]) -> BIGINT",), "Bytes of a file; a relative path starts at the descriptor. An ingest asks the server of an http address for it (HEAD). NULL if there is none.", ("PRODUCT_SIZE('no/such.file')", "NULL"), "byte", "phys.size;meta.file"),
    Row("PRODUCT_MD5", ("(path TEXT [, directory TEXT LITERAL]) -> TEXT",), "MD5 of a file's content, which is read for it. NULL if there is none.", ("PRODUCT_MD5('no/such.file')", "NULL"), "", "meta.checksum;meta.file"),
    # --- regions
    Row("ORIENTED", ("(p POLYGON, view TEXT LITERAL) -> POLYGON", "(r REGION, view TEXT LITERAL) -> REGION"), "The polygon, or the region with each of its polygons, with the corners counter-clockwise: 'sky', seen from inside; 'body', from outside.", ("ORIENTED(POLYGON(0, 0, 10, 0, 10, 10), 'sky')", "[10.0, 10.0, 10.0, 0.0, 0.0, 0.0]")),
    Row("POLYGON_OF", ("(text TEXT [, frame TEXT LITERAL]) -> POLYGON", "(region REGION [, frame TEXT LITERAL]) -> POLYGON"), "The corners of a region that is one polygon, as DALI or STC-S write it, in this frame if it names one; NULL if it is anything else.",
        ("POLYGON_OF('Polygon ICRS 10 10 11 10 11 11', 'ICRS')", "[10.0, 10.0, 11.0, 10.0, 11.0, 11.0]")),
    Row("LONLAT_BOX", ("(lon_min NUMERIC{deg?}, lon_max NUMERIC{deg?}, lat_min NUMERIC{deg?}, lat_max NUMERIC{deg?}, view TEXT LITERAL) -> POLYGON",),
        "The polygon between two longitudes (min > max: across 0) and two latitudes, turned for 'sky' or 'body'; its edges are great circles. NULL if it is 180 degrees wide or more.", ("LONLAT_BOX(350, 10, -5, 5, 'body')", "[350.0, -5.0, 10.0, -5.0, 10.0, 5.0, 350.0, 5.0]")),
    Row("WCS_FOOTPRINT", (f"({_CARDS}) -> POLYGON",), "Corners of an image by its WCS cards (RA and Dec; TAN, SIN, ARC, STG, ZEA; distortions left out), as on the sky. In a descriptor wcs_footprint() finds the cards itself: CDi_j, PCi_j, or CDELTi with CROTA2.",
        ("AREA(WCS_FOOTPRINT('RA---TAN', 'DEC--TAN', 10, 20, 50.5, 50.5, -0.01, 0, 0, 0.01, 100, 100))", "~0.9999238524")),
)  # fmt: skip
