"""The reader of unit strings: VOUnits 1.1, and what FITS, CDS tables and curators write instead. See `units`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction

from hven.model import cache_results
from hven.model.errors import find_close_match, format_message

# VOUnits 1.1 section 3.2: symbols that take SI prefixes, those that take binary ones too, and those that take none
PREFIXABLE_SYMBOLS = frozenset(
    # a list of facts
    "A a adu arcmin arcsec barn beam bin C cd chan count ct d D deg erg eV F g G H h Hz J Jy K lm lx "  # noqa: SIM905
    "lyr m mag min mol N Ohm Pa pc "
    "ph photon pix pixel R rad Ry s S solLum solMass solRad sr T u V voxel W Wb yr bit byte B".split()
)
BINARY_SYMBOLS = frozenset({"bit", "byte", "B"})
UNPREFIXED_SYMBOLS = frozenset({"%", "Angstrom", "angstrom", "AU", "au", "Ba", "dB", "mas", "ta"})
UNIT_SYMBOLS = PREFIXABLE_SYMBOLS | UNPREFIXED_SYMBOLS
MIN_PREFIXED_SIMILARITY = 0.75  # of a unit with a prefix that is proposed in place of an unknown one, 0 to 1
SI_PREFIX_EXPONENTS = {
    "da": 1,
    "d": -1,
    "h": 2,
    "c": -2,
    "k": 3,
    "m": -3,
    "M": 6,
    "u": -6,
    "G": 9,
    "n": -9,
    "T": 12,
    "p": -12,
    "P": 15,
    "f": -15,
}
SI_PREFIX_EXPONENTS |= {"E": 18, "a": -18, "Z": 21, "z": -21, "Y": 24, "y": -24, "R": 27, "r": -27, "Q": 30, "q": -30}
BINARY_PREFIX_EXPONENTS = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60, "Zi": 70, "Yi": 80}

_NO_UNIT_WORDS = frozenset(
    {
        "",
        "-",
        "--",
        "---",
        "none",
        "n/a",
        "null",
        "unitless",
        "dimensionless",
        "no unit",
        "number",
        "unit",
        "[]",
        "?",
        "1",
    }
)
_UNKNOWN_UNIT_WORDS = frozenset({"unknown", "UNKNOWN"})

# what curators write -> VOUnits; compared in lower case
_SYMBOLS_BY_WORD: dict[str, str] = {
    word: symbol
    for symbol, words in {
        "deg": "degree degrees degs dgr ° deg.",
        "arcmin": "arcmins arcminute arcminutes amin ' \u2032",
        "arcsec": 'arcsecs arcsecond arcseconds asec as " \u2033',
        "mas": "milliarcsec milliarcsecs milliarcsecond milliarcseconds marcsec",
        "uarcsec": "uas muas microarcsec microarcsecond microarcseconds",
        "rad": "radian radians",
        "sr": "steradian steradians ster sterad",
        "'hourangle'": "hourangle",
        "'bar'": "bar bars",
        "s": "sec secs second seconds",
        "ms": "msec millisecond milliseconds",
        "us": "usec microsecond microseconds",
        "min": "mins minute minutes",
        "h": "hr hrs hour hours",
        "d": "day days jd mjd bjd hjd",
        "yr": "year years yrs y",
        "Myr": "myr megayear megayears",
        "Gyr": "gyr gigayear gigayears",
        "Angstrom": "angstroms ang å aa angs a.",
        "nm": "nanometer nanometers nanometre nanometres",
        "um": "micron microns micrometer micrometers micrometre micrometres mum",
        "mm": "millimeter millimeters millimetre millimetres",
        "cm": "centimeter centimeters centimetre centimetres",
        "m": "meter meters metre metres",
        "km": "kms kilometer kilometers kilometre kilometres",
        "au": "ua astronomicalunit",
        "pc": "parsec parsecs",
        "kpc": "kiloparsec kiloparsecs",
        "Mpc": "megaparsec megaparsecs",
        "lyr": "ly lightyear lightyears",
        "mag": "mags magnitude magnitudes vegamag abmag mag_ab mag(ab) mag(vega)",
        "mmag": "millimag millimags",
        "Jy": "jansky janskys janskies",
        "erg": "ergs",
        "J": "joule joules",
        "W": "watt watts",
        "K": "kelvin kelvins degk",
        "Hz": "hertz",
        "kHz": "khz kilohertz",
        "MHz": "mhz megahertz",
        "GHz": "ghz gigahertz",
        "eV": "electronvolt electronvolts ev",
        "keV": "kev",
        "MeV": "mev",
        "GeV": "gev",
        "count": "counts cts cnt cnts",
        "photon": "photons phot",
        "'electron'": "electron electrons e- el",
        "adu": "adus dn dns",
        "pixel": "pixels pix px pixs",
        "%": "percent pct perc",
        "byte": "bytes octet octets",
        "bit": "bits",
        "kg": "kilogram kilograms",
        "g": "gram grams gm",
        "G": "gauss",
        "T": "tesla",
        "V": "volt volts",
        "A": "ampere amperes amp amps",
        "Pa": "pascal pascals",
        "N": "newton newtons",
        "Ohm": "ohms",
        "R": "rayleigh rayleighs",
        "solMass": "msun m_sun msol solarmass solmasses m☉ msolar sunmass",
        "solLum": "lsun l_sun lsol solarluminosity l☉ lsolar",
        "solRad": "rsun r_sun rsol solarradius r☉ rsolar",
        "'jupiterMass'": "mjup mj jupmass m_jup jupitermass mjupiter",
        "'jupiterRad'": "rjup rj jupradius r_jup jupiterrad jupiterradius rjupiter",
        "'earthMass'": "mearth m_earth earthmass geomass mgeo",
        "'earthRad'": "rearth r_earth earthrad earthradius rgeo",
        "'dex'": "dex [sun]",
        "'Sun'": "sun",
        "'electron'.s**-1": "e-/s e/s",
    }.items()
    for word in words.split()
}
# a whole text that is no unit, and what to do about it
REJECTED_PATTERNS = (
    (
        re.compile(r"""^"?(h+[:. ]m+[:. ]s+|hms|hh?mm?ss?)(\.s+)?"?$""", re.IGNORECASE),
        "sexagesimal hours are text, not a unit: convert with sexagesimal() and write 'deg'",
    ),
    (
        re.compile(r"""^"?(d+[:. ]m+[:. ]s+|dms|dd?mm?ss?)(\.s+)?"?$""", re.IGNORECASE),
        "sexagesimal degrees are text, not a unit: convert with sexagesimal() and write 'deg'",
    ),
    (
        re.compile(r"""^"?(y+([-:/]m+([-:/]d+.*)?)?|iso-?8601|date|datetime|timestamp|utc|isot)"?$""", re.IGNORECASE),
        "a calendar date has no unit: use the type timestamp",
    ),
    (
        re.compile(r"^((deg(rees?)?|°)[ _]?)?(c|celsius|f|fahrenheit)$", re.IGNORECASE),
        "VOUnits has no such temperature: convert to K",
    ),
)


_MAX_PARENTHESES = 32  # parentheses in one unit
_MAX_POWER = 64  # of a symbol


@dataclass(frozen=True, slots=True)
class ParsedUnit:
    """A parsed unit.

    Attributes
    ----------
    scale
        The number in front.
    factors
        Symbols and their powers, in the order written; a function (``log(m)``) or a quoted name counts as a symbol.
    is_strict
        True if the text was VOUnits already.
    text
        As VOUnits writes it; unchanged if it was VOUnits already. ``''`` for no unit.
    """

    scale: float
    factors: tuple[tuple[str, Fraction], ...]
    is_strict: bool
    text: str

    def __str__(self) -> str:
        return self.text


class _UnitParser:
    """Reads one text, leniently, and remembers whether leniency was needed."""

    _TOKEN_PATTERN = re.compile(
        r"(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)|(?P<quoted>'[^']*')"
        r"""|(?P<name>e-|%|[^\W\d_](?:[^\W\d]|[☉°])*|[°\u2032\u2033"☉'])"""
        r"|(?P<op>\*\*|\^|[-+*/.()·\u00d7])|(?P<space>\s+)|(?P<other>.)"
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.is_strict = True
        self.tokens = [
            (match.lastgroup or "", match.group(), match.start()) for match in self._TOKEN_PATTERN.finditer(text)
        ]
        while self.tokens and self.tokens[-1][0] == "space":
            self.tokens.pop()
            self.is_strict = False
        self.position = 0

    def peek_token(self) -> tuple[str, str]:
        if self.position < len(self.tokens):
            return self.tokens[self.position][:2]
        return ("end", "")

    def take_token(self) -> str:
        self.position += 1
        return self.tokens[self.position - 1][1]

    def build_error(self, reason: str) -> ValueError:
        if self.position < len(self.tokens):
            offset = self.tokens[self.position][2]
        else:
            offset = len(self.text)
        return ValueError(
            format_message(
                "{text!r} is not a unit (character {number}): {why}", self.text, offset + 1, format_message(reason)
            )
        )

    def mark_as_not_strict(self) -> None:
        self.is_strict = False

    def skip_spaces(self) -> bool:
        skipped = False
        while self.peek_token()[0] == "space":
            self.take_token()
            skipped = True
            self.mark_as_not_strict()
        return skipped

    def parse_unit(self) -> tuple[float, list[tuple[str, Fraction]]]:
        self.skip_spaces()
        scale = self.parse_scale()
        factors = self.parse_product(1)
        self.skip_spaces()
        if self.peek_token()[0] != "end":
            raise self.build_error(format_message("{text!r} is unexpected", self.peek_token()[1]))
        return scale, factors

    def parse_scale(self) -> float:
        kind, text = self.peek_token()
        if kind != "number":
            return 1.0
        self.take_token()
        value = float(text)
        mark = self.peek_token()[1]
        if value == 10.0 and mark in {"**", "^", "-", "+"}:
            if mark in {"**", "^"}:
                if mark == "^":
                    self.mark_as_not_strict()
                self.take_token()
                power = self.parse_exponent()
            else:  # CDS: 10-3
                self.mark_as_not_strict()
                power = Fraction(int(self.read_sign() + self.read_digits()))
            value = 10.0 ** float(power)
            if power.denominator == 1:
                value = float(f"1e{int(power)}")
        elif mark in {"\u00d7", "*"}:
            self.take_token()
            self.mark_as_not_strict()
            return value * self.parse_scale()
        if self.peek_token()[0] == "name" and self.peek_token()[1] == "x":  # CDS: 1.5x10+11
            self.take_token()
            self.mark_as_not_strict()
            value *= self.parse_scale()
        if self.skip_spaces():
            self.mark_as_not_strict()
        elif self.peek_token()[1] in {".", "*"}:
            self.take_token()
            self.mark_as_not_strict()
        return value

    def parse_product(self, sign: int) -> list[tuple[str, Fraction]]:
        factors: list[tuple[str, Fraction]] = []
        if self.peek_token()[1] == "/":
            self.mark_as_not_strict()
            return self.parse_quotient(factors, sign)
        if self.peek_token()[0] == "end" or self.peek_token()[1] == ")":
            return factors
        factors += self.parse_factor(sign)
        while True:
            space = self.skip_spaces()
            kind, text = self.peek_token()
            if text in {".", "*", "·", "\u00d7"}:
                if text != ".":
                    self.mark_as_not_strict()
                self.take_token()
                self.skip_spaces()
                factors += self.parse_factor(sign)
            elif text == "/":
                return self.parse_quotient(factors, sign)
            elif space and kind in {"name", "quoted"}:
                factors += self.parse_factor(sign)
            else:
                return factors

    def parse_quotient(self, factors: list[tuple[str, Fraction]], sign: int) -> list[tuple[str, Fraction]]:
        count = 0
        while self.peek_token()[1] == "/":
            self.take_token()
            count += 1
            self.skip_spaces()
            factors += self.parse_factor(-sign)
            space = self.skip_spaces()
            # m/s kg and m/s.kg: the standard has one group after the slash; everybody reads a product as numerator
            while self.peek_token()[1] in {".", "*"} or (space and self.peek_token()[0] in {"name", "quoted"}):
                if self.peek_token()[1] in {".", "*"}:
                    self.take_token()
                    self.skip_spaces()
                self.mark_as_not_strict()
                factors += self.parse_factor(sign)
                space = self.skip_spaces()
        if count > 1:
            self.mark_as_not_strict()
        return factors

    def parse_factor(self, sign: int) -> list[tuple[str, Fraction]]:
        kind, text = self.peek_token()
        if text == "(":
            self.take_token()
            inner = self.parse_product(1)
            self.skip_spaces()
            if self.peek_token()[1] != ")":
                raise self.build_error("a closing parenthesis is missing")
            self.take_token()
            if sign == 1:
                self.mark_as_not_strict()
            power = self.parse_power()
            return [(symbol, each * power * sign) for symbol, each in inner]
        if kind == "number" and text == "1":
            self.take_token()
            self.mark_as_not_strict()
            return []
        if kind == "quoted" or (kind == "name" and text == "'"):
            self.take_token()
            if len(text) > 2:
                return [(text, self.parse_power() * sign)]
            return [("arcmin" if text == "'" else "arcsec", self.parse_power() * sign)]
        if kind != "name":
            raise self.build_error(
                "a unit is missing" if kind == "end" else format_message("{text!r} is unexpected", text)
            )
        start = self.position
        self.take_token()
        if self.peek_token()[1] == "(" and text.lower() in {"log", "ln", "exp", "sqrt", "log10"}:
            return self.parse_function(text.lower(), sign)
        try:
            symbols = _resolve_unit_word(text)
        except ValueError as problem:
            self.position = start
            raise self.build_error(str(problem)) from None
        if symbols != ((text, Fraction(1)),):
            self.mark_as_not_strict()
        power = self.parse_power()
        return [(symbol, each * power * sign) for symbol, each in symbols]

    def parse_function(self, name: str, sign: int) -> list[tuple[str, Fraction]]:
        self.take_token()
        inner_scale = self.parse_scale()
        inner = self.parse_product(1)
        self.skip_spaces()
        if self.peek_token()[1] != ")":
            raise self.build_error("a closing parenthesis is missing")
        self.take_token()
        if name == "sqrt":
            if inner_scale != 1.0:
                raise self.build_error("a number is not allowed inside sqrt()")
            power = self.parse_power()
            return [(symbol, each / 2 * power * sign) for symbol, each in inner]
        if name == "log10":
            self.mark_as_not_strict()
            name = "log"
        body = f"{name}({write_unit(inner_scale, combine_unit_factors(inner))})"
        return [(body, self.parse_power() * sign)]

    def parse_power(self) -> Fraction:
        power = self.parse_unlimited_power()
        if abs(power) > _MAX_POWER:  # BJD-2454900
            raise self.build_error(format_message("the power {found} is too large", power))
        return power

    def parse_unlimited_power(self) -> Fraction:
        mark = self.peek_token()[1]
        if mark in {"**", "^"}:
            if mark == "^":
                self.mark_as_not_strict()
            self.take_token()
            return self.parse_exponent()
        # FITS, OGIP: m(2)
        if mark == "(" and re.match(r"\(\s*[-+]?\d+(\s*[/.]\s*\d+)?\s*\)", self.text[self.tokens[self.position][2] :]):
            self.mark_as_not_strict()
            return self.parse_exponent()
        if self.position + 1 < len(self.tokens):
            follows = self.tokens[self.position + 1][0]
        else:
            follows = "end"
        if self.peek_token()[0] == "number" or (mark in {"-", "+"} and follows == "number"):  # CDS: cm-2
            self.mark_as_not_strict()
            return Fraction(self.read_sign() + self.read_digits())
        return Fraction(1)

    def parse_exponent(self) -> Fraction:
        if self.peek_token()[1] != "(":
            return Fraction(self.read_sign() + self.read_digits())
        self.take_token()
        self.skip_spaces()
        exponent = Fraction(self.read_sign() + self.read_digits())
        self.skip_spaces()
        if self.peek_token()[1] == "/":
            self.take_token()
            self.skip_spaces()
            below = Fraction(self.read_digits())
            if below == 0:
                raise self.build_error("the denominator of a power is zero")
            exponent /= below
        self.skip_spaces()
        if self.peek_token()[1] != ")":
            raise self.build_error("a closing parenthesis is missing")
        self.take_token()
        return exponent

    def read_sign(self) -> str:
        if self.peek_token()[1] in {"-", "+"}:
            return self.take_token()
        return ""

    def read_digits(self) -> str:
        kind, text = self.peek_token()
        if kind != "number" or "e" in text.lower() or len(text) > 8:
            raise self.build_error("a power is missing")
        self.take_token()
        return text


def _is_unit_symbol(word: str) -> bool:
    if word in UNIT_SYMBOLS:
        return True
    for size in (2, 1):
        prefix = word[:size]
        symbol = word[size:]
        if symbol in PREFIXABLE_SYMBOLS and prefix in SI_PREFIX_EXPONENTS:
            return True
        if symbol in BINARY_SYMBOLS and prefix in BINARY_PREFIX_EXPONENTS:
            return True
    return False


@cache_results(4096)
def _resolve_unit_word(word: str) -> tuple[tuple[str, Fraction], ...]:
    """Resolve a word to the VOUnits symbols that it stands for."""
    if _is_unit_symbol(word):
        return ((word, Fraction(1)),)
    plain = word.replace("µ", "u").replace("μ", "u").rstrip("_")
    if _is_unit_symbol(plain):
        return ((plain, Fraction(1)),)
    symbol = _SYMBOLS_BY_WORD.get(plain.lower())
    if symbol is None and plain.casefold() in _SYMBOLS_BY_FOLDED_NAME:
        symbol = _SYMBOLS_BY_FOLDED_NAME[plain.casefold()]
    if symbol is None and len(plain) > 4:
        for prefix, short in _PREFIXES_BY_NAME.items():
            base_word = plain[len(prefix) :]
            base_word = _SYMBOLS_BY_WORD.get(
                base_word.lower(), _SYMBOLS_BY_FOLDED_NAME.get(base_word.casefold(), base_word)
            )
            if plain.lower().startswith(prefix) and base_word in PREFIXABLE_SYMBOLS:
                symbol = short + base_word
    if symbol is None:
        near = find_nearest_unit(word)
        if near:
            message = format_message("unknown unit {word!r} (did you mean {name!r}?)", word, near)
        else:
            message = format_message(
                "unknown unit {word!r}; for a unit of your own, write '{word}' in single quotes", word
            )
        raise ValueError(message)
    return ((symbol, Fraction(1)),)


_PREFIXES_BY_NAME = {
    "kilo": "k",
    "mega": "M",
    "giga": "G",
    "tera": "T",
    "milli": "m",
    "micro": "u",
    "nano": "n",
    "pico": "p",
    "centi": "c",
    "hecto": "h",
}
# spellings that differ from a symbol by case only, where one symbol answers
_SYMBOLS_BY_FOLDED_NAME: dict[str, str] = {}
for _symbol in sorted(
    UNIT_SYMBOLS | {"km", "kpc", "Mpc", "mJy", "uJy", "GHz", "MHz", "kHz", "nm", "um", "keV", "MeV", "GeV", "kg"},
    reverse=True,
):
    if len(_symbol) > 1:
        _SYMBOLS_BY_FOLDED_NAME.setdefault(_symbol.casefold(), _symbol)


def find_nearest_unit(word: str) -> str | None:
    """Find the known unit that looks most like `word` and begins like it, as VOUnits writes it."""
    prefixed_symbols = (
        prefix + symbol
        for prefix in SI_PREFIX_EXPONENTS
        if word.startswith(prefix)
        for symbol in sorted(PREFIXABLE_SYMBOLS)
    )
    names = [*(symbol for symbol in sorted(UNIT_SYMBOLS) if len(symbol) > 1), *_SYMBOLS_BY_WORD]
    similar_names = [
        find_close_match(word, (name for name in names if name[0].lower() == word[:1].lower())),
        # prefixed symbols are so many that one is a little similar to nearly every word
        find_close_match(word, prefixed_symbols, MIN_PREFIXED_SIMILARITY),
    ]
    name = find_close_match(word, filter(None, similar_names))
    if name is None:
        return None
    return _SYMBOLS_BY_WORD.get(name, name)


def combine_unit_factors(factors: list[tuple[str, Fraction]]) -> tuple[tuple[str, Fraction], ...]:
    """Add up the powers of equal symbols, in the order of their first mention."""
    total: dict[str, Fraction] = {}
    for symbol, power in factors:
        total[symbol] = total.get(symbol, Fraction(0)) + power
    return tuple((symbol, power) for symbol, power in total.items() if power)


def write_unit(scale: float, factors: tuple[tuple[str, Fraction], ...]) -> str:
    """Write a product as VOUnits does: one divisor after a slash, several as negative powers."""
    above = [(symbol, power) for symbol, power in factors if power > 0]
    below = [(symbol, power) for symbol, power in factors if power < 0]
    text = ""
    if above and len(below) == 1:
        text = (
            ".".join(_format_unit_power(*factor) for factor in above)
            + "/"
            + _format_unit_power(below[0][0], -below[0][1])
        )
    elif factors:
        text = ".".join(_format_unit_power(*factor) for factor in [*above, *below])
    return _format_scale(scale) + text


def _format_unit_power(symbol: str, power: Fraction) -> str:
    if power == 1:
        return symbol
    if power.denominator == 1:
        return f"{symbol}**{power.numerator}"
    return f"{symbol}**({power.numerator}/{power.denominator})"


def _format_scale(scale: float) -> str:
    if scale == 1.0:
        return ""
    exponent = round(math.log10(scale))
    if math.isclose(scale, float(f"1e{exponent}"), rel_tol=1e-15) and abs(exponent) > 1:
        return f"10**{exponent}"
    return f"{scale:.15g}".replace("e+", "E+").replace("e-", "E-")


@cache_results(4096)
def parse_unit(text: str | None) -> ParsedUnit:
    """Parse a unit, leniently.

    Parameters
    ----------
    text
        VOUnits, or what curators, FITS files and CDS tables write.

    Returns
    -------
    unit
        Scale, factors and the text in VOUnits; of no unit the scale is 1 and there are no factors.

    Raises
    ------
    ValueError
        Not a unit: the message names the word, and the nearest right one.
    """
    bare = (text or "").strip()
    if bare.lower() in _NO_UNIT_WORDS or bare in _UNKNOWN_UNIT_WORDS:
        return ParsedUnit(1.0, (), text in {"", None} or bare in _UNKNOWN_UNIT_WORDS or bare == "1", "")
    symbol = _SYMBOLS_BY_WORD.get(bare.lower())
    if symbol is not None and not _is_unit_symbol(bare):
        return ParsedUnit(1.0, parse_unit(symbol).factors, False, symbol)
    for pattern, reason in REJECTED_PATTERNS:
        if pattern.match(bare) and not _is_unit_symbol(bare):
            message = format_message("{text!r} is not a unit: {why}", text, format_message(reason))
            raise ValueError(message)
    if bare.startswith("[") and bare.endswith("]"):  # CDS: the logarithm of what is inside
        inner = parse_unit(bare[1:-1])
        if inner.text:
            body = f"log({inner.text})"
        else:
            body = "'dex'"
        return ParsedUnit(1.0, ((body, Fraction(1)),), False, body)
    if len(bare) > 500:
        message = format_message(
            "{text!r}... is not a unit: it has {count} characters, which is too many", bare[:40], len(bare)
        )
        raise ValueError(message)
    if bare.count("(") > _MAX_PARENTHESES:
        message = format_message(
            "{text!r} is not a unit: it has more than {most} parentheses", bare[:40], _MAX_PARENTHESES
        )
        raise ValueError(message)
    parser = _UnitParser(str(text))
    try:
        scale, raw_factors = parser.parse_unit()
    except OverflowError:
        message = format_message("{text!r} is not a unit: it contains a number that is too large", bare[:40])
        raise ValueError(message) from None
    factors = combine_unit_factors(raw_factors)
    if not (scale > 0.0 and math.isfinite(scale)):
        message = format_message("{text!r} is not a unit: its scale is {scale:g}, which is not possible", text, scale)
        raise ValueError(message)
    return ParsedUnit(scale, factors, parser.is_strict, str(text) if parser.is_strict else write_unit(scale, factors))
