"""What `hven new` guesses of a source: column names, units, key, position, words for null."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved import RESERVED
from hven.descriptor._sexagesimal_texts import SexagesimalCount
from hven.model import units
from hven.model.literal import ISO, form_of
from hven.model.types import FLOAT64, INT32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column

SIGNS = {
    "%": " percent ",
    "+": " plus ",
    "&": " and ",
    "@": " at ",
    "*": " star ",
    "<": " lt ",
    ">": " gt ",
    "=": " eq ",
    "°": " deg ",
    "²": "2",
    "³": "3",
}
GREEK = {
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "θ": "theta", "κ": "kappa", "λ": "lambda", "μ": "mu", "µ": "mu", "ν": "nu",  # noqa: RUF001  (Greek is meant)
    "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau", "φ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Δ": "delta", "Σ": "sigma", "Ω": "omega",  # noqa: RUF001  (Greek is meant)
}  # fmt: skip
_BRACKETS = re.compile(r"\s*[\[(]([^\[\]()]{1,30})[\])]\s*$")
_FOOTNOTE = re.compile(r"(?![°%'\"\u2032\u2033]$)[\d\W]*|[abc]")  # (2), (a): no unit
_QUANTITY = re.compile(
    r"(?!10(?:\*\*|\^|[+-]\d))\d+(?:\.\d*)?\s*[^\W\d_]"
)  # vis2(8mu): at 8 micrometres, which is no unit
_SUFFIX = re.compile(
    r"_(deg|mas|arcsec|arcmin|mag|km|kpc|Mpc|pc|Jy|mJy|Hz|kHz|MHz|GHz|nm|um|km_s|mas_yr)$", re.IGNORECASE
)
_NO_UNIT = re.compile(
    r"(?:n|nb|num|nr|f|q|l|r|flag|note)_", re.IGNORECASE
)  # n_mag: a note or a count, which has no unit
_NOTHING = re.compile(
    r"[^\w\s]{1,12}|(?i:nd|no ?data|missing|unknown|undef(?:ined)?|not ?available|blank|void|indef|masked|x{1,5})"
)
_SENTINELS = (
    -1.0,
    -9999.0,
    -999.0,
    -99.0,
    -9.0,
    99.99,
    99.999,
    99.0,
    999.0,
    9999.0,
    999.9,
    9.99e9,
    -999.9,
    -99.9,
    -9999.9,
    -1.0e30,
    -32768.0,
    -2147483648.0,
    -(2.0**63),
)


WRAPPED = "_source."  # what Elasticsearch puts around each field


# reserved words that name something, where `noun` would not fit: the field's own word follows them
_NAMED_WORDS = frozenset(
    [
        "CATALOG",
        "COLUMN",
        "CONNECTION",
        "CURSOR",
        "DOMAIN",
        "LANGUAGE",
        "MODULE",
        "OPTION",
        "SCHEMA",
        "SESSION",
        "TABLE",
        "USER",
        "VIEW",
    ]
)
_READABLE = {"VALUE": "data_value", "VALUES": "data_values", "NAMES": "all_names", "KEY": "key_name"}


def identifier(name: str, noun: str = "value") -> str:
    """Convert any text to a regular ADQL identifier: lower case, plain letters, no reserved word.

    ``'e_Vmag'`` -> ``'e_vmag'``; ``'Diameter (km)'`` -> ``'diameter_km'``; ``'err-'`` -> ``'err_minus'``; ``'2MASS'`` -> ``'c_2mass'``;
    ``'Year'`` -> ``'year_value'``.

    Parameters
    ----------
    name
        As the source writes it.
    noun
        What is named: it follows a reserved word. ``year_value`` can be typed, read and completed; ``year_`` looks like an error, and
        ``"year"`` needs quotes in each query.
    """
    text = _fold(name)
    return _name_reserved_word(text, noun) if is_reserved(text) else text


def _fold(name: str) -> str:
    """Convert any text to lower case, plain letters, digits and ``_``."""
    text = "".join(GREEK.get(sign, SIGNS.get(sign, sign)) for sign in name.strip().lstrip("#"))
    text = re.sub(r"-$", " minus", text)
    text = text.replace("#", " number ")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower() or "unnamed"
    if not text[0].isalpha():
        text = f"c_{text}"
    return text[:64]


def is_reserved(name: str) -> bool:
    """Check whether a name is a word that ADQL reserves."""
    return name.upper() in RESERVED


def _name_reserved_word(word: str, noun: str) -> str:
    if noun == "value":
        if word.upper() in _READABLE:
            return _READABLE[word.upper()]
        noun = "name" if word.upper() in _NAMED_WORDS else noun
    return f"{word}_{noun}"


def split_unit(name: str) -> tuple[str, str | None]:
    """Split a unit off the end of a heading: ``'Diameter (km)'`` -> ``('Diameter', 'km')``."""
    match = _BRACKETS.search(name)
    plural = match is not None and match.group() == "(s)"  # file(s)
    if (
        match
        and not plural
        and not _FOOTNOTE.fullmatch(match.group(1))
        and not _QUANTITY.match(match.group(1))
        and (unit := units.meant(match.group(1)))
        and name[: match.start()].strip()
    ):
        return name[: match.start()].strip(), unit
    match = _SUFFIX.search(name)
    if match and not _NO_UNIT.match(name):
        return name, units.meant(match.group(1).replace("_s", "/s").replace("_yr", "/yr"))
    return name, None


@dataclass(slots=True)
class Seen:
    """What was seen of one column's values.

    Attributes
    ----------
    inner
        Least and greatest value that is no usual code for "no value".
    words
        For text: what does not read as a number, with its count; empty if most does not.
    """

    rows: int = 0
    nulls: int = 0
    minimum: Any = None
    maximum: Any = None
    inner: tuple[Any, Any] = (None, None)
    numbers: int = 0
    words: dict[str, int] = field(default_factory=dict)
    sexagesimal: SexagesimalCount = field(default_factory=SexagesimalCount)
    whole: bool = True

    def add(self, values: pa.Array) -> None:
        """Add a batch to what was seen."""
        self.rows += len(values)
        self.nulls += values.null_count
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            bounds = pc.min_max(values)
            for name, better in (("minimum", min), ("maximum", max)):
                value = bounds[name[:3]].as_py()
                known = getattr(self, name)
                if value is not None:
                    setattr(self, name, value if known is None else better(known, value))
            if self.sentinels or any(value in _SENTINELS for value in bounds.as_py().values()):
                codes = pa.array(
                    [
                        code
                        for code in _SENTINELS
                        if not pa.types.is_integer(values.type) or (code.is_integer() and abs(code) <= 2**63)
                    ]
                ).cast(values.type, safe=False)
                bounds = pc.min_max(values.filter(pc.invert(pc.is_in(values, value_set=codes))))
            low, high = bounds["min"].as_py(), bounds["max"].as_py()
            if low is not None:
                self.inner = (
                    low if self.inner[0] is None else min(low, self.inner[0]),
                    high if self.inner[1] is None else max(high, self.inner[1]),
                )
        elif pa.types.is_string(values.type) and self.rows <= 200_000:
            number = pc.match_substring_regex(values, r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$")
            self.numbers += pc.sum(number).as_py() or 0
            self.whole &= not pc.any(pc.match_substring_regex(values, r"[.eE]")).as_py()
            self.sexagesimal.add(values)
            if len(self.words) <= 8:
                for item in pc.value_counts(values.filter(pc.invert(number)).drop_null()).to_pylist()[:9]:
                    self.words[item["values"]] = self.words.get(item["values"], 0) + item["counts"]

    @property
    def null_words(self) -> list[str]:
        """Few words among many numbers stand for no number, if they are signs or words such as ``missing``."""
        filled = self.rows - self.nulls
        if not self.words or len(self.words) > 3 or self.numbers < 0.7 * filled or filled < 20:
            return []
        return sorted(self.words) if all(_NOTHING.fullmatch(word.strip()) for word in self.words) else []

    @property
    def is_sexagesimal(self) -> bool:
        """Nearly all values are like 12 34 56.7, -12:34:56 or 19h19m43.4s."""
        return self.sexagesimal.covers(self.rows - self.nulls)

    @property
    def minus_one(self) -> bool:
        """Whether nothing is negative but -1."""
        return bool(self.minimum == -1 and self.inner[0] is not None and self.inner[0] >= 0)

    @property
    def sentinels(self) -> list[float]:
        """Extremes that look like a code for no value."""
        low, high = self.inner
        codes = {value for value in (self.minimum, self.maximum) if value in _SENTINELS and value != -1}
        # a code stands apart from the values proper
        return sorted(code for code in codes if low is None or max(low - code, code - high) > 0.5 * (high - low))


@dataclass(frozen=True, slots=True, kw_only=True)
class Guess:
    """One column of the descriptor to be.

    Attributes
    ----------
    source
        The name in the source.
    expression
        ADQL over the source, if it is not the source's column of this name as it is.
    doubt
        A comment for the curator.
    guessed
        Attributes of the column that nobody says: they come from its name, its description or its values.
    """

    source: str
    column: Column
    expression: str | None = None
    doubt: str | None = None
    key: bool = False
    guessed: tuple[str, ...] = ()


def describe_guesses(item: Guess) -> str:
    """Write the comment of a column: what of it is guessed, and what is doubtful."""
    parts = [f"guessed: {', '.join(dict.fromkeys(item.guessed))}"] if item.guessed else []
    if item.doubt:
        parts.append(item.doubt)
    return "; ".join(parts)


def quoted(name: str, *, always: bool = False) -> str:
    """Write a source column's name in an expression."""
    if not always and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name.upper() not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def guess_columns(columns: Sequence[Column], seen: dict[str, Seen], *, complete: bool, narrow: bool) -> list[Guess]:
    """Guess names, types, units and UCDs of all columns.

    Parameters
    ----------
    complete
        All rows were seen.
    narrow
        Types were guessed from text: whole numbers may get smaller words.
    """
    taken: set[str] = set()
    guesses: list[Guess] = []
    folded = Counter(column.name.lower() for column in columns)
    own_names = {column.name.removeprefix(WRAPPED).lower() for column in columns}
    for column in columns:
        heading, unit = split_unit(column.name.removeprefix(WRAPPED))
        # size_km: a guess; size (km): said
        in_name = column.unit is None and unit is not None and heading == column.name.removeprefix(WRAPPED)
        doubt = None
        if column.unit:
            unit = units.meant(column.unit)
            doubt = None if unit else f"the source says unit {column.unit!r}, which is none"
        elif unit is None and column.description:
            unit = split_unit(column.description)[1]
        if re.fullmatch(r"column_\d+", column.name) and column.description:  # no header, but somebody said what it is
            heading = re.split(r"[\[(,;:]", split_unit(column.description)[0])[0].strip()[:40]
        name = identifier(heading)
        reserved = is_reserved(_fold(heading))
        used = (
            taken | own_names if reserved else taken
        )  # the name that a reserved word gets may be another column's own
        number = 2
        while name in used:
            stem = (
                identifier(column.name)
                if number == 2 and identifier(column.name) not in used
                else f"{identifier(heading)}_{number}"
            )
            name, number = stem, number + 1
        taken.add(name)
        word = units.modern_ucd(column.ucd) if column.ucd else None
        if column.ucd and word is None and doubt is None:
            doubt = f"the source says UCD {column.ucd!r}, which is none"
        kind = column.type
        facts = seen.get(column.name, Seen())
        if (
            narrow
            and complete
            and kind == INT64
            and facts.maximum is not None
            and max(abs(facts.maximum), abs(facts.minimum)) < 2**31 - 1
        ):
            kind = INT32
        elif narrow and facts.null_words:
            kind = (INT32 if complete and facts.rows else INT64) if facts.whole else FLOAT64
        target = column.having(
            name=name,
            type=kind,
            unit=unit,
            label=heading if reserved else column.label,
            null=None,
            minimum=None,
            maximum=None,
            ucd=word,
        )
        twin = folded[column.name.lower()] > 1  # only quotes tell R from r
        if twin and doubt is None:
            doubt = "the source has names that differ in case alone"
        plain = not twin and identifier(column.name) == name and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column.name)
        guesses.append(
            Guess(
                source=column.name,
                column=target,
                expression=None if plain and column.name.lower() == name else quoted(column.name, always=twin),
                doubt=doubt,
                guessed=("unit",) if in_name else (),
            )
        )
    return _with_ucds(guesses, seen)


def _own_name(item: Guess) -> str:
    """Return the reserved word that a column is called by in its source; empty: it is none."""
    return item.column.label if item.column.label and is_reserved(_fold(item.column.label)) else ""


def _with_ucds(guesses: list[Guess], seen: dict[str, Seen]) -> list[Guess]:
    found = units.suggest_ucds(
        [
            (
                _own_name(item) or (item.column.name if item.expression else item.source),
                item.column.unit,
                item.column.description,
            )
            for item in guesses
        ]
    )
    said = {item.column.ucd for item in guesses}
    result = []
    for item, guess in zip(guesses, found, strict=True):
        if item.column.ucd is None and guess is not None and not (guess.endswith(";meta.main") and guess in said):
            word = _fitting(guess, item, seen.get(item.source, Seen()))
            if word is not None:
                item = replace(item, column=item.column.having(ucd=word), guessed=(*item.guessed, "ucd"))  # noqa: PLW2901
        result.append(_position(item, seen.get(item.source, Seen())))
    return result


def _fitting(word: str, item: Guess, facts: Seen) -> str | None:
    """Replace a quantity's UCD on what is no quantity: truth values, flags, counters, words."""
    column, name, about = item.column, item.source.lower(), (item.column.description or "").strip().lower()
    if column.type.datatype in {"boolean", "bit"} or re.search(r"flag|^(is|has)_", name) or about.startswith("flag"):
        return word if word.startswith("meta.") else "meta.code"
    if column.type.is_integer and (
        re.search(r"^(n|nb|num|nr)_|_(count|nb|num)$", name) or about.startswith("number of ")
    ):
        return word if word.startswith(("meta.", "phot.count")) else "meta.number"
    if word.startswith("time.") and column.type.is_string and facts.words and not _are_dates(facts.words):
        return None  # 16/05/10: which of them is the year, nobody can say
    words = column.type.is_string and facts.rows > facts.nulls and not facts.numbers and not facts.sexagesimal.texts
    return None if words and word.startswith(("phys.", "phot.", "em.", "stat.")) else word


def _are_dates(words: Iterable[str]) -> bool:
    """Check whether texts are dates in one known form, with years of four digits."""
    texts = [word.strip() for word in words]
    if all(re.fullmatch(ISO, text) for text in texts):
        return True
    return form_of(texts) is not None and all(re.search(r"(?<!\d)\d{4}|\d{8}", text) for text in texts)


def _position(item: Guess, facts: Seen) -> Guess:
    """Convert positions to degrees: sexagesimal text is read, and right numbers without a unit are degrees."""
    word = item.column.ucd or ""
    if not word.startswith(("pos.eq.ra", "pos.eq.dec", "pos.galactic", "pos.ecliptic", "pos.bodyrc")):
        return item
    if item.column.type.is_string and facts.is_sexagesimal:
        return convert_sexagesimal(item, hours=word.startswith("pos.eq.ra"))
    if (
        item.column.unit is None
        and item.column.type.is_numeric
        and facts.minimum is not None
        and facts.minimum >= -180
        and facts.maximum <= 360
    ):
        hours = word.startswith("pos.eq.ra") and facts.maximum <= 24 and facts.rows > 100
        doubt = (
            "no value is above 24: are these hours? then write `map: {"
            + item.column.name
            + ": 15 * "
            + quoted(item.source)
            + "}`"
            if hours
            else item.doubt
        )
        return replace(item, column=item.column.having(unit="deg"), doubt=doubt, guessed=("unit", *item.guessed))
    return item


def convert_sexagesimal(item: Guess, *, hours: bool, ucd: str | None = None) -> Guess:
    """Convert a column of sexagesimal text to degrees.

    Parameters
    ----------
    item
        The column.
    hours
        Whether its values are hours of right ascension.
    ucd
        Guessed by the values; None: the column has one.
    """
    call = f"sexagesimal({quoted(item.source)}, 'hour')" if hours else f"sexagesimal({quoted(item.source)})"
    doubt = None if (item.doubt or "").startswith("the source says unit") else item.doubt  # h:m:s is its notation
    guessed = [*item.guessed, *(["ucd"] if ucd else []), "degrees of sexagesimal " + ("hours" if hours else "text")]
    column = item.column.having(type=FLOAT64, unit="deg", ucd=ucd or item.column.ucd)
    return replace(item, column=column, expression=call, doubt=doubt, guessed=tuple(guessed))


def key_candidates(guesses: Sequence[Guess], seen: dict[str, Seen]) -> list[Guess]:
    """List columns that may name a row: integers or text, no nulls, called or described so; the likeliest first."""

    def likely(item: Guess) -> int:
        name, word = (_own_name(item) or item.column.name).lower(), item.column.ucd or ""
        if word.startswith("meta.id;meta.main"):
            return 0
        if name in {"id", "source_id", "granule_uid", "obs_publisher_did", "objid", "obj_id", "uid"} or name.startswith(
            "id_"
        ):
            return 1
        if word.startswith(("meta.id", "meta.record")):
            return 2
        if re.search(r"(^|_)(id|uid|number|name|designation|identifier)$", name):
            return 3
        return 9

    able = [
        item
        for item in guesses
        if (item.column.type.is_integer or item.column.type.is_string)
        and seen.get(item.source, Seen(nulls=1)).nulls == 0
    ]
    return sorted((item for item in able if likely(item) < 9), key=likely)[:4]
