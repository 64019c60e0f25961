"""Units: read leniently, written as VOUnits, converted as astropy converts."""

import csv
import math
import subprocess
import sys
import warnings

import pytest
from astropy import units as u
from hypothesis import assume, given
from hypothesis import strategies as st

from hven.model import units
from hven.model.units import _unit_conversion
from hven.model.units._vounits import BINARY_PREFIX_EXPONENTS, PREFIXABLE_SYMBOLS, SI_PREFIX_EXPONENTS, UNIT_SYMBOLS
from shared import shared


def test_the_symbols_are_those_of_the_standard():
    with shared("standards/vocab/vounits.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {row["symbol"] for row in rows} == UNIT_SYMBOLS
    assert {row["symbol"] for row in rows if row["si_prefixes"] == "yes"} == PREFIXABLE_SYMBOLS


@pytest.mark.parametrize(
    ("written", "right"),
    [
        ("degrees", "deg"), ("Deg", "deg"), ("Angstroms", "Angstrom"), ("Å", "Angstrom"), ("km/sec", "km/s"), ("km s-1", "km/s"), ("km.h-1", "km/h"),
        ("mas/year", "mas/yr"), ("mas/y", "mas/yr"), ("JD", "d"), ("days", "d"), ("---", ""), ("", ""), (None, ""), ("unknown", ""), ("counts", "count"),
        ("[Sun]", "'dex'"), ("dex", "'dex'"), ("Msun", "solMass"), ("[cm/s2]", "log(cm/s**2)"), ("erg/cm**2/s", "erg.cm**-2.s**-1"),
        ("erg/s/cm^2", "erg.s**-1.cm**-2"), ("e-/s", "'electron'.s**-1"), ("10-3Jy", "10**-3Jy"), ("10+3m", "10**3m"), ("1e-17 erg/s/cm2", "10**-17erg.s**-1.cm**-2"),
        ("W/m2/Hz", "W.m**-2.Hz**-1"), ("m(1/2)", "m**(1/2)"), ("µm", "um"), ("uas/yr", "uarcsec/yr"), ("mjy", "mJy"), ("1/s", "s**-1"), ("km/s/Mpc", "km.s**-1.Mpc**-1"),
        ("arcsec2", "arcsec**2"), ("nanoJy", "nJy"), ("kilohertz", "kHz"), ("hourangle", "'hourangle'"), ("Mjup", "'jupiterMass'"), ("percent", "%"), ("m.m", "m.m"), ("deg deg", "deg**2"), ("J/(m s)", "J.m**-1.s**-1"), ("1.5x10+11m", "150000000000m"),
    ],
)  # fmt: skip
def test_what_curators_write(written, right):
    assert units.canonicalize_unit(written) == right
    assert units.canonicalize_unit(right) == right, "the right spelling is a fixed point"


@pytest.mark.parametrize(
    "text",
    [
        "deg",
        "km/s",
        "km.s**-1",
        "erg/(s.cm**2.Angstrom)",
        "mag",
        "log(cm.s**-2)",
        "sqrt(Hz)",
        "10**-3Jy",
        "0.1nm",
        "'dex'",
        "'electron'.s**-1",
        "m**(1/2)",
        "m**(0.5)",
        "KiB",
        "%",
        "1.5E3m",
        "dag",
        "Mibyte",
        "mas.yr**-1",
        "10mas",
        "'Y:M:D'",
    ],
)
def test_vounits_stay_as_they_are(text):
    unit = units.parse_unit(text)
    assert unit.is_strict
    assert unit.text == text == str(unit)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("degre", "did you mean 'deg'"), ("kmm", "did you mean 'km'"), ("mJyy", "did you mean 'mJy'"), ("foo", "'foo' in single quotes"), ("h:m:s", "sexagesimal hours"), ('"d:m:s"', "sexagesimal degrees"), ("Y:M:D", "timestamp"), ("degC", "convert to K"), ("deg C", "convert to K"), ("d-2454900", "power -2454900"), ("Jy/", r"\(character 4\): .*missing"),
        ("m**", "power is missing"), ("(m", "closing parenthesis"), ("m)", "unexpected"), ("10**99999m", "too large|scale"), ("m**(1/0)", "zero"), ("km//s", "unexpected"), ("-5m", "unexpected"), ("m" * 600, "600 characters"), ("(" * 240 + "m" + ")" * 240, "32 parentheses"), ("0m", "scale"),
    ],
)  # fmt: skip
def test_what_is_no_unit_says_why(text, why):
    with pytest.raises(ValueError, match=why):
        units.canonicalize_unit(text)


@given(st.text(max_size=30))
def test_any_text_is_a_unit_or_a_value_error(text):
    try:
        right = units.canonicalize_unit(text)
    except ValueError:
        return
    assert units.canonicalize_unit(right) == right


SYMBOL = st.sampled_from(sorted(UNIT_SYMBOLS - {"%"}))
PREFIX = st.sampled_from(["", *SI_PREFIX_EXPONENTS])
PART = st.tuples(PREFIX, SYMBOL, st.integers(-3, 3).filter(bool)).map(
    lambda t: ((t[0] if t[1] in PREFIXABLE_SYMBOLS else "") + t[1], t[2])
)


@given(st.lists(PART, min_size=1, max_size=4))
def test_products_of_all_symbols_are_vounits_and_come_back(parts):
    text = ".".join(symbol if power == 1 else f"{symbol}**{power}" for symbol, power in parts)
    unit = units.parse_unit(text)
    assert unit.is_strict
    assert units.is_same_unit(text, units.compute_unit_product(text, None))
    double = units.compute_unit_product(text, text)
    assert units.is_same_unit(units.divide_units(double, text) or "", text)
    assert units.is_same_unit(units.raise_unit_to_power(double, 0.5), text)
    assert units.divide_units(text, text) is None


@given(
    st.sampled_from(
        [
            "m",
            "s",
            "kg",
            "deg",
            "arcsec",
            "rad",
            "Jy",
            "erg",
            "J",
            "W",
            "eV",
            "K",
            "Hz",
            "pc",
            "au",
            "lyr",
            "solMass",
            "yr",
            "d",
            "h",
            "min",
            "bit",
            "byte",
            "N",
            "Pa",
            "G",
            "T",
            "Ry",
            "barn",
            "Angstrom",
            "mas",
            "arcmin",
            "V",
            "A",
            "C",
            "F",
            "Ohm",
            "Wb",
            "H",
            "S",
            "lm",
            "lx",
            "cd",
            "mol",
            "D",
            "u",
        ]
    ),
    PREFIX,
    st.integers(-2, 3).filter(bool),
    PREFIX,
)
def test_factors_are_astropys(symbol, prefix, power, other):
    prefix, other = (prefix, other) if symbol in PREFIXABLE_SYMBOLS else ("", "")
    a, b = f"{prefix}{symbol}**{power}", f"{other}{symbol}**{power}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            theirs = (u.Unit(f"{prefix}{symbol}", format="vounit") ** power).to(
                u.Unit(f"{other}{symbol}", format="vounit") ** power
            )
        except ValueError:
            assume(False)
    assert units.compute_unit_factor(a, b) == pytest.approx(theirs, rel=1e-12)


@pytest.mark.parametrize(
    ("a", "b", "value"),
    [
        ("deg", "arcsec", 3600.0), ("km/s", "m/s", 1000.0), ("mas/yr", "deg/d", 1 / 3.6e6 / 365.25), ("deg", "'hourangle'", 1 / 15), ("Jy", "W.m**-2.Hz**-1", 1e-26),
        ("erg/s", "W", 1e-7), ("mmag", "mag", 1e-3), ("Angstrom", "nm", 0.1), ("d", "s", 86400.0), ("%", "", 0.01), ("Kibyte", "bit", 8192.0), ("ct/s", "count/min", 60.0),
        (None, "", 1.0), ("km/s", "km.s**-1", 1.0), ("arcsec**2", "sr", (math.pi / 648000) ** 2), ("degrees", "rad", math.pi / 180), ("'jupiterMass'", "'earthMass'", 317.83),
    ],
)  # fmt: skip
def test_factors(a, b, value):
    assert units.compute_unit_factor(a, b) == pytest.approx(value, rel=1e-4 if "jup" in (a or "") else 1e-14)
    assert units.are_units_convertible(a, b)
    assert units.compute_unit_factor(b, a) == pytest.approx(1 / value, rel=1e-4 if "jup" in (a or "") else 1e-14)


@pytest.mark.parametrize(
    ("a", "b", "why"),
    [
        ("deg", "m", "rad is not m"),
        ("mag", "Jy", "logarithm"),
        ("deg", None, "plain number"),
        ("h", "deg", "s is not rad"),
        ("foo", "m", "foo"),
        ("'foo'", "'bar'", "'foo' is not 'bar'"),
    ],
)
def test_what_cannot_be_converted_says_why(a, b, why):
    with pytest.raises(ValueError, match=why):
        units.compute_unit_factor(a, b)
    assert not units.are_units_convertible(a, b)
    assert not units.is_same_unit(a, b)


def test_units_of_expressions():
    assert units.compute_unit_product("deg", "deg") == "deg**2"
    assert units.compute_unit_product("km/s", "s") == "km"
    assert (
        units.compute_unit_product(None, "m")
        == units.compute_unit_product("m", None)
        == units.compute_unit_product("m", "")
        == "m"
    )
    assert units.compute_unit_product(None, None) is None
    assert units.divide_units("km", "s") == "km/s"
    assert units.divide_units(None, "s") == "s**-1"
    assert units.divide_units("m", "m") is None
    assert units.raise_unit_to_power("m/s**2", 0.5) == "m**(1/2)/s"
    assert units.raise_unit_to_power("m", 0) is None
    assert units.raise_unit_to_power("m", math.nan) is None
    assert units.raise_unit_to_power("m", math.pi) is None
    assert units.compute_unit_product("10**-3m", "10**-3m") == "10**-6m**2"
    assert units.compute_unit_product("no such", "m") is None


def test_common_symbols_are_decomposed_as_astropy_does():
    for symbol, decomposition in _unit_conversion._COMMON_DECOMPOSITIONS.items():
        unit_format = None if symbol == "%" else "vounit"
        assert decomposition == _unit_conversion._decompose_with_astropy(symbol, unit_format), symbol


def test_checking_needs_no_astropy():
    code = "import sys; from hven.model import units; units.canonicalize_unit('erg cm-2 s-1'); units.compute_unit_product('km/s', 's'); units.compute_unit_factor('deg', 'deg'); units.compute_unit_factor('km/s', 'km.s**-1'); units.compute_unit_factor('mJy', 'Jy'); units.are_units_convertible('deg', 'mas/yr'); print('astropy' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )
    assert set(BINARY_PREFIX_EXPONENTS) == {"Ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"}
