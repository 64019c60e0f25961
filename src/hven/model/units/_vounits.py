"""The reader of unit strings: VOUnits 1.1, and what FITS, CDS tables and curators write instead. See `units`."""

from __future__ import annotations

import difflib
import math
import re
from dataclasses import dataclass
from fractions import Fraction

from hven.model import cached
from hven.model.errors import say

# VOUnits 1.1 section 3.2: symbols that take SI prefixes, those that take binary ones too, and those that take none
PREFIXED = frozenset(
    "A a adu arcmin arcsec barn beam bin C cd chan count ct d D deg erg eV F g G H h Hz J Jy K lm lx lyr m mag min mol N Ohm Pa pc "  # noqa: SIM905  (a list of facts)
    "ph photon pix pixel R rad Ry s S solLum solMass solRad sr T u V voxel W Wb yr bit byte B".split()
)
BINARY = frozenset({"bit", "byte", "B"})
PLAIN = frozenset({"%", "Angstrom", "angstrom", "AU", "au", "Ba", "dB", "mas", "ta"})
SYMBOLS = PREFIXED | PLAIN
PREFIXES = {
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
PREFIXES |= {"E": 18, "a": -18, "Z": 21, "z": -21, "Y": 24, "y": -24, "R": 27, "r": -27, "Q": 30, "q": -30}
KIBI = {"Ki": 10, "Mi": 20, "Gi": 30, "Ti": 40, "Pi": 50, "Ei": 60, "Zi": 70, "Yi": 80}

_NONE = frozenset(
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
_UNKNOWN = frozenset({"unknown", "UNKNOWN"})

# what curators write -> VOUnits; compared in lower case
_WORDS: dict[str, str] = {
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
REFUSED = (
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


_DEPTH = 32  # parentheses in one unit
_POWER = 64  # of a symbol


@dataclass(frozen=True, slots=True)
class Unit:
    """A parsed unit.

    Attributes
    ----------
    scale
        The number in front.
    factors
        Symbols and their powers, in the order written; a function (``log(m)``) or a quoted name counts as a symbol.
    strict
        True if the text was VOUnits already.
    text
        As VOUnits writes it; unchanged if it was VOUnits already. ``''`` for no unit.
    """

    scale: float
    factors: tuple[tuple[str, Fraction], ...]
    strict: bool
    text: str

    def __str__(self) -> str:
        return self.text


class _Reader:
    """Reads one text, leniently, and remembers whether leniency was needed."""

    _token = re.compile(
        r"""(?P<number>(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?)|(?P<quoted>'[^']*')|(?P<name>e-|%|[^\W\d_](?:[^\W\d]|[☉°])*|[°\u2032\u2033"☉'])|(?P<op>\*\*|\^|[-+*/.()·\u00d7])|(?P<space>\s+)|(?P<other>.)"""
    )

    def __init__(self, text: str) -> None:
        self.text = text
        self.strict = True
        self.tokens = [(match.lastgroup or "", match.group(), match.start()) for match in self._token.finditer(text)]
        while self.tokens and self.tokens[-1][0] == "space":
            self.tokens.pop()
            self.strict = False
        self.at = 0

    def peek(self) -> tuple[str, str]:
        return self.tokens[self.at][:2] if self.at < len(self.tokens) else ("end", "")

    def take(self) -> str:
        self.at += 1
        return self.tokens[self.at - 1][1]

    def fail(self, why: str) -> ValueError:
        offset = self.tokens[self.at][2] if self.at < len(self.tokens) else len(self.text)
        return ValueError(say("{text!r} is no unit: {why} (character {number})", self.text, say(why), offset + 1))

    def lax(self) -> None:
        self.strict = False

    def spaces(self) -> bool:
        found = False
        while self.peek()[0] == "space":
            self.take()
            found = True
            self.lax()
        return found

    def whole(self) -> tuple[float, list[tuple[str, Fraction]]]:
        self.spaces()
        scale = self.scale()
        factors = self.product(1)
        self.spaces()
        if self.peek()[0] != "end":
            raise self.fail(say("unexpected {text!r}", self.peek()[1]))
        return scale, factors

    def scale(self) -> float:
        kind, text = self.peek()
        if kind != "number":
            return 1.0
        self.take()
        value = float(text)
        mark = self.peek()[1]
        if value == 10.0 and mark in {"**", "^", "-", "+"}:
            if mark in {"**", "^"}:
                if mark == "^":
                    self.lax()
                self.take()
                power = self.exponent()
            else:  # CDS: 10-3
                self.lax()
                power = Fraction(int(self.sign() + self.digits()))
            value = 10.0 ** float(power)
            if power.denominator == 1:
                value = float(f"1e{int(power)}")
        elif mark in {"\u00d7", "*"}:
            self.take()
            self.lax()
            return value * self.scale()
        if self.peek()[0] == "name" and self.peek()[1] == "x":  # CDS: 1.5x10+11
            self.take()
            self.lax()
            value *= self.scale()
        if self.spaces():
            self.lax()
        elif self.peek()[1] in {".", "*"}:
            self.take()
            self.lax()
        return value

    def product(self, sign: int) -> list[tuple[str, Fraction]]:
        factors: list[tuple[str, Fraction]] = []
        if self.peek()[1] == "/":
            self.lax()
            return self.quotient(factors, sign)
        if self.peek()[0] == "end" or self.peek()[1] == ")":
            return factors
        factors += self.factor(sign)
        while True:
            space = self.spaces()
            kind, text = self.peek()
            if text in {".", "*", "·", "\u00d7"}:
                if text != ".":
                    self.lax()
                self.take()
                self.spaces()
                factors += self.factor(sign)
            elif text == "/":
                return self.quotient(factors, sign)
            elif space and kind in {"name", "quoted"}:
                factors += self.factor(sign)
            else:
                return factors

    def quotient(self, factors: list[tuple[str, Fraction]], sign: int) -> list[tuple[str, Fraction]]:
        count = 0
        while self.peek()[1] == "/":
            self.take()
            count += 1
            self.spaces()
            factors += self.factor(-sign)
            space = self.spaces()
            # m/s kg and m/s.kg: the standard has one group after the slash; everybody reads a product as numerator
            while self.peek()[1] in {".", "*"} or (space and self.peek()[0] in {"name", "quoted"}):
                if self.peek()[1] in {".", "*"}:
                    self.take()
                    self.spaces()
                self.lax()
                factors += self.factor(sign)
                space = self.spaces()
        if count > 1:
            self.lax()
        return factors

    def factor(self, sign: int) -> list[tuple[str, Fraction]]:
        kind, text = self.peek()
        if text == "(":
            self.take()
            inner = self.product(1)
            self.spaces()
            if self.peek()[1] != ")":
                raise self.fail("a closing parenthesis is missing")
            self.take()
            if sign == 1:
                self.lax()
            power = self.power()
            return [(symbol, each * power * sign) for symbol, each in inner]
        if kind == "number" and text == "1":
            self.take()
            self.lax()
            return []
        if kind == "quoted" or (kind == "name" and text == "'"):
            self.take()
            if len(text) > 2:
                return [(text, self.power() * sign)]
            return [("arcmin" if text == "'" else "arcsec", self.power() * sign)]
        if kind != "name":
            raise self.fail("a unit is missing" if kind == "end" else say("unexpected {text!r}", text))
        start = self.at
        self.take()
        if self.peek()[1] == "(" and text.lower() in {"log", "ln", "exp", "sqrt", "log10"}:
            return self.function(text.lower(), sign)
        try:
            symbols = _resolve(text)
        except ValueError as problem:
            self.at = start
            raise self.fail(str(problem)) from None
        if symbols != ((text, Fraction(1)),):
            self.lax()
        power = self.power()
        return [(symbol, each * power * sign) for symbol, each in symbols]

    def function(self, name: str, sign: int) -> list[tuple[str, Fraction]]:
        self.take()
        inner_scale = self.scale()
        inner = self.product(1)
        self.spaces()
        if self.peek()[1] != ")":
            raise self.fail("a closing parenthesis is missing")
        self.take()
        if name == "sqrt":
            if inner_scale != 1.0:
                raise self.fail("a number inside sqrt()")
            power = self.power()
            return [(symbol, each / 2 * power * sign) for symbol, each in inner]
        if name == "log10":
            self.lax()
            name = "log"
        body = f"{name}({write(inner_scale, collect(inner))})"
        return [(body, self.power() * sign)]

    def power(self) -> Fraction:
        found = self.raised()
        if abs(found) > _POWER:  # BJD-2454900
            raise self.fail(say("a power of {found}", found))
        return found

    def raised(self) -> Fraction:
        mark = self.peek()[1]
        if mark in {"**", "^"}:
            if mark == "^":
                self.lax()
            self.take()
            return self.exponent()
        # FITS, OGIP: m(2)
        if mark == "(" and re.match(r"\(\s*[-+]?\d+(\s*[/.]\s*\d+)?\s*\)", self.text[self.tokens[self.at][2] :]):
            self.lax()
            return self.exponent()
        follows = self.tokens[self.at + 1][0] if self.at + 1 < len(self.tokens) else "end"
        if self.peek()[0] == "number" or (mark in {"-", "+"} and follows == "number"):  # CDS: cm-2
            self.lax()
            return Fraction(self.sign() + self.digits())
        return Fraction(1)

    def exponent(self) -> Fraction:
        if self.peek()[1] != "(":
            return Fraction(self.sign() + self.digits())
        self.take()
        self.spaces()
        found = Fraction(self.sign() + self.digits())
        self.spaces()
        if self.peek()[1] == "/":
            self.take()
            self.spaces()
            below = Fraction(self.digits())
            if below == 0:
                raise self.fail("a power divided by zero")
            found /= below
        self.spaces()
        if self.peek()[1] != ")":
            raise self.fail("a closing parenthesis is missing")
        self.take()
        return found

    def sign(self) -> str:
        return self.take() if self.peek()[1] in {"-", "+"} else ""

    def digits(self) -> str:
        kind, text = self.peek()
        if kind != "number" or "e" in text.lower() or len(text) > 8:
            raise self.fail("a power is missing")
        self.take()
        return text


def _is_symbol(word: str) -> bool:
    if word in SYMBOLS:
        return True
    for size in (2, 1):
        prefix, symbol = word[:size], word[size:]
        if symbol in PREFIXED and prefix in PREFIXES:
            return True
        if symbol in BINARY and prefix in KIBI:
            return True
    return False


@cached(4096)
def _resolve(word: str) -> tuple[tuple[str, Fraction], ...]:
    """Resolve a word to the VOUnits symbols that it stands for."""
    if _is_symbol(word):
        return ((word, Fraction(1)),)
    plain = word.replace("µ", "u").replace("μ", "u").rstrip("_")
    if _is_symbol(plain):
        return ((plain, Fraction(1)),)
    known = _WORDS.get(plain.lower())
    if known is None and plain.casefold() in _FOLDED:
        known = _FOLDED[plain.casefold()]
    if known is None and len(plain) > 4:
        for prefix, short in _LONG_PREFIXES.items():
            rest = plain[len(prefix) :]
            rest = _WORDS.get(rest.lower(), _FOLDED.get(rest.casefold(), rest))
            if plain.lower().startswith(prefix) and rest in PREFIXED:
                known = short + rest
    if known is None:
        near = nearest(word)
        message = (
            say("unknown unit {word!r}, did you mean {name!r}?", word, near)
            if near
            else say("unknown unit {word!r}; write '{word}' in single quotes for a unit of your own", word)
        )
        raise ValueError(message)
    return ((known, Fraction(1)),)


_LONG_PREFIXES = {
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
_FOLDED: dict[str, str] = {}
for _symbol in sorted(
    SYMBOLS | {"km", "kpc", "Mpc", "mJy", "uJy", "GHz", "MHz", "kHz", "nm", "um", "keV", "MeV", "GeV", "kg"},
    reverse=True,
):
    if len(_symbol) > 1:
        _FOLDED.setdefault(_symbol.casefold(), _symbol)


def nearest(word: str) -> str | None:
    """Find the known unit that looks most like `word`, as VOUnits writes it."""
    pool = [*(symbol for symbol in SYMBOLS if len(symbol) > 1), *_WORDS]
    found = difflib.get_close_matches(word.lower(), pool, n=1, cutoff=0.6)
    return _WORDS.get(found[0], found[0]) if found else None


def collect(factors: list[tuple[str, Fraction]]) -> tuple[tuple[str, Fraction], ...]:
    """Add up the powers of equal symbols, in the order of their first mention."""
    total: dict[str, Fraction] = {}
    for symbol, power in factors:
        total[symbol] = total.get(symbol, Fraction(0)) + power
    return tuple((symbol, power) for symbol, power in total.items() if power)


def write(scale: float, factors: tuple[tuple[str, Fraction], ...]) -> str:
    """Write a product as VOUnits does: one divisor after a slash, several as negative powers."""
    above = [(symbol, power) for symbol, power in factors if power > 0]
    below = [(symbol, power) for symbol, power in factors if power < 0]
    text = ""
    if above and len(below) == 1:
        text = ".".join(_raised(*one) for one in above) + "/" + _raised(below[0][0], -below[0][1])
    elif factors:
        text = ".".join(_raised(*one) for one in [*above, *below])
    return _scale_text(scale) + text


def _raised(symbol: str, power: Fraction) -> str:
    if power == 1:
        return symbol
    if power.denominator == 1:
        return f"{symbol}**{power.numerator}"
    return f"{symbol}**({power.numerator}/{power.denominator})"


def _scale_text(scale: float) -> str:
    if scale == 1.0:
        return ""
    exponent = round(math.log10(scale))
    if math.isclose(scale, float(f"1e{exponent}"), rel_tol=1e-15) and abs(exponent) > 1:
        return f"10**{exponent}"
    return f"{scale:.15g}".replace("e+", "E+").replace("e-", "E-")


@cached(4096)
def parse(text: str | None) -> Unit:
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
    if bare.lower() in _NONE or bare in _UNKNOWN:
        return Unit(1.0, (), text in {"", None} or bare in _UNKNOWN or bare == "1", "")
    whole = _WORDS.get(bare.lower())
    if whole is not None and not _is_symbol(bare):
        return Unit(1.0, parse(whole).factors, False, whole)
    for pattern, why in REFUSED:
        if pattern.match(bare) and not _is_symbol(bare):
            message = say("{text!r} is no unit: {why}", text, say(why))
            raise ValueError(message)
    if bare.startswith("[") and bare.endswith("]"):  # CDS: the logarithm of what is inside
        inner = parse(bare[1:-1])
        body = f"log({inner.text})" if inner.text else "'dex'"
        return Unit(1.0, ((body, Fraction(1)),), False, body)
    if len(bare) > 500:
        message = say("{text!r}... is no unit: {count} characters", bare[:40], len(bare))
        raise ValueError(message)
    if bare.count("(") > _DEPTH:
        message = say("{text!r} is no unit: more than {most} parentheses", bare[:40], _DEPTH)
        raise ValueError(message)
    reader = _Reader(str(text))
    try:
        scale, found = reader.whole()
    except OverflowError:
        message = say("{text!r} is no unit: a number too large", bare[:40])
        raise ValueError(message) from None
    factors = collect(found)
    if not (scale > 0.0 and math.isfinite(scale)):
        message = say("{text!r} is no unit: its scale is {scale:g}", text, scale)
        raise ValueError(message)
    return Unit(scale, factors, reader.strict, str(text) if reader.strict else write(scale, factors))
