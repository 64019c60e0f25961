"""What `hven new` guesses of a source: column names, units, key, position, words for null."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor._sexagesimal_texts import SexagesimalCount
from hven.model import units
from hven.model.literal import ISO_TIME_PATTERN, detect_date_format
from hven.model.types import FLOAT64, INT32, INT64

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from hven.model.table import Column

SIGN_NAMES = {
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
GREEK_LETTER_NAMES = {
    "α": "alpha",
    "β": "beta",
    "γ": "gamma",
    "δ": "delta",
    "ε": "epsilon",
    "θ": "theta",
    "κ": "kappa",
    "λ": "lambda",
    "μ": "mu",
    "µ": "mu",
    "ν": "nu",  # noqa: RUF001  (Greek is meant)
    "π": "pi",
    "ρ": "rho",
    "σ": "sigma",
    "τ": "tau",
    "φ": "phi",
    "χ": "chi",
    "ψ": "psi",
    "ω": "omega",
    "Δ": "delta",
    "Σ": "sigma",
    "Ω": "omega",  # noqa: RUF001  (Greek is meant)
}
_BRACKETED_UNIT_PATTERN = re.compile(r"\s*[\[(]([^\[\]()]{1,30})[\])]\s*$")
_FOOTNOTE_PATTERN = re.compile(r"(?![°%'\"\u2032\u2033]$)[\d\W]*|[abc]")  # (2), (a): no unit
_QUANTITY_PATTERN = re.compile(
    r"(?!10(?:\*\*|\^|[+-]\d))\d+(?:\.\d*)?\s*[^\W\d_]"
)  # vis2(8mu): at 8 micrometres, which is no unit
_UNIT_SUFFIX_PATTERN = re.compile(
    r"_(deg|mas|arcsec|arcmin|mag|km|kpc|Mpc|pc|Jy|mJy|Hz|kHz|MHz|GHz|nm|um|km_s|mas_yr)$", re.IGNORECASE
)
_UNITLESS_PREFIX_PATTERN = re.compile(
    r"(?:n|nb|num|nr|f|q|l|r|flag|note)_", re.IGNORECASE
)  # n_mag: a note or a count, which has no unit
_NULL_WORD_PATTERN = re.compile(
    r"[^\w\s]{1,12}|(?i:nd|no ?data|missing|unknown|undef(?:ined)?|not ?available|blank|void|indef|masked|x{1,5})"
)
_SENTINEL_VALUES = (
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


ELASTICSEARCH_PREFIX = "_source."  # what Elasticsearch puts around each field


# reserved words that name something, where `noun` would not fit: the field's own word follows them
_RESERVED_OBJECT_WORDS = frozenset(
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
_RESERVED_WORD_REPLACEMENTS = {"VALUE": "data_value", "VALUES": "data_values", "NAMES": "all_names", "KEY": "key_name"}


def to_identifier(name: str, noun: str = "value") -> str:
    """Convert any text to a regular ADQL identifier: lower case, plain letters, no reserved word.

    ``'e_Vmag'`` -> ``'e_vmag'``; ``'Diameter (km)'`` -> ``'diameter_km'``; ``'err-'`` -> ``'err_minus'``; ``'2MASS'``
    -> ``'c_2mass'``; ``'Year'`` -> ``'year_value'``.

    Parameters
    ----------
    name
        As the source writes it.
    noun
        What is named: it follows a reserved word. ``year_value`` can be typed, read and completed; ``year_`` looks like
        an error, and ``"year"`` needs quotes in each query.
    """
    text = _normalize_name(name)
    if is_reserved(text):
        return _name_reserved_word(text, noun)
    return text


def _normalize_name(name: str) -> str:
    """Convert any text to lower case, plain letters, digits and ``_``."""
    text = "".join(GREEK_LETTER_NAMES.get(sign, SIGN_NAMES.get(sign, sign)) for sign in name.strip().lstrip("#"))
    text = re.sub(r"-$", " minus", text)
    text = text.replace("#", " number ")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower() or "unnamed"
    if not text[0].isalpha():
        text = f"c_{text}"
    return text[:64]


def is_reserved(name: str) -> bool:
    """Check whether a name is a word that ADQL reserves."""
    return name.upper() in RESERVED_WORDS


def _name_reserved_word(word: str, noun: str) -> str:
    if noun == "value":
        if word.upper() in _RESERVED_WORD_REPLACEMENTS:
            return _RESERVED_WORD_REPLACEMENTS[word.upper()]
        if word.upper() in _RESERVED_OBJECT_WORDS:
            noun = "name"
    return f"{word}_{noun}"


def split_unit(name: str) -> tuple[str, str | None]:
    """Split a unit off the end of a heading: ``'Diameter (km)'`` -> ``('Diameter', 'km')``."""
    match = _BRACKETED_UNIT_PATTERN.search(name)
    plural = match is not None and match.group() == "(s)"  # file(s)
    if (
        match
        and not plural
        and not _FOOTNOTE_PATTERN.fullmatch(match.group(1))
        and not _QUANTITY_PATTERN.match(match.group(1))
        and (unit := units.normalize_unit(match.group(1)))
        and name[: match.start()].strip()
    ):
        return name[: match.start()].strip(), unit
    match = _UNIT_SUFFIX_PATTERN.search(name)
    if match and not _UNITLESS_PREFIX_PATTERN.match(name):
        return name, units.normalize_unit(match.group(1).replace("_s", "/s").replace("_yr", "/yr"))
    return name, None


@dataclass(slots=True)
class ColumnSample:
    """What was seen of one column's values.

    Attributes
    ----------
    bounds_without_sentinels
        Least and greatest value that is no usual code for "no value".
    text_counts
        For text: what does not read as a number, with its count; empty if most does not.
    """

    rows: int = 0
    nulls: int = 0
    minimum: Any = None
    maximum: Any = None
    bounds_without_sentinels: tuple[Any, Any] = (None, None)
    number_count: int = 0
    text_counts: dict[str, int] = field(default_factory=dict)
    sexagesimal_count: SexagesimalCount = field(default_factory=SexagesimalCount)
    is_integer: bool = True

    def add_values(self, values: pa.Array) -> None:
        """Add a batch to what was seen."""
        self.rows += len(values)
        self.nulls += values.null_count
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            bounds = pc.min_max(values)
            for name, choose_bound in (("minimum", min), ("maximum", max)):
                value = bounds[name[:3]].as_py()
                current_bound = getattr(self, name)
                if value is not None:
                    setattr(self, name, value if current_bound is None else choose_bound(current_bound, value))
            if self.sentinels or any(value in _SENTINEL_VALUES for value in bounds.as_py().values()):
                sentinel_codes = pa.array(
                    [
                        code
                        for code in _SENTINEL_VALUES
                        if not pa.types.is_integer(values.type) or (code.is_integer() and abs(code) <= 2**63)
                    ]
                ).cast(values.type, safe=False)
                bounds = pc.min_max(values.filter(pc.invert(pc.is_in(values, value_set=sentinel_codes))))
            low = bounds["min"].as_py()
            high = bounds["max"].as_py()
            if low is not None:
                self.bounds_without_sentinels = (
                    low if self.bounds_without_sentinels[0] is None else min(low, self.bounds_without_sentinels[0]),
                    high if self.bounds_without_sentinels[1] is None else max(high, self.bounds_without_sentinels[1]),
                )
        elif pa.types.is_string(values.type) and self.rows <= 200_000:
            number = pc.match_substring_regex(values, r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$")
            self.number_count += pc.sum(number).as_py() or 0
            self.is_integer &= not pc.any(pc.match_substring_regex(values, r"[.eE]")).as_py()
            self.sexagesimal_count.count_texts(values)
            if len(self.text_counts) <= 8:
                for item in pc.value_counts(values.filter(pc.invert(number)).drop_null()).to_pylist()[:9]:
                    self.text_counts[item["values"]] = self.text_counts.get(item["values"], 0) + item["counts"]

    @property
    def null_words(self) -> list[str]:
        """Few words among many numbers stand for no number, if they are signs or words such as ``missing``."""
        filled = self.rows - self.nulls
        if not self.text_counts or len(self.text_counts) > 3 or self.number_count < 0.7 * filled or filled < 20:
            return []
        if all(_NULL_WORD_PATTERN.fullmatch(word.strip()) for word in self.text_counts):
            return sorted(self.text_counts)
        return []

    @property
    def is_sexagesimal(self) -> bool:
        """Nearly all values are like 12 34 56.7, -12:34:56 or 19h19m43.4s."""
        return self.sexagesimal_count.is_mostly_sexagesimal(self.rows - self.nulls)

    @property
    def has_minus_one_sentinel(self) -> bool:
        """Whether nothing is negative but -1."""
        return bool(
            self.minimum == -1
            and self.bounds_without_sentinels[0] is not None
            and self.bounds_without_sentinels[0] >= 0
        )

    @property
    def sentinels(self) -> list[float]:
        """Extremes that look like a code for no value."""
        low, high = self.bounds_without_sentinels
        codes = {value for value in (self.minimum, self.maximum) if value in _SENTINEL_VALUES and value != -1}
        # a code stands apart from the values proper
        return sorted(code for code in codes if low is None or max(low - code, code - high) > 0.5 * (high - low))


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnGuess:
    """One column of the descriptor to be.

    Attributes
    ----------
    source
        The name in the source.
    expression
        ADQL over the source, if it is not the source's column of this name as it is.
    remark
        A comment for the curator.
    guessed_attributes
        Attributes of the column that nobody says: they come from its name, its description or its values.
    """

    source: str
    column: Column
    expression: str | None = None
    remark: str | None = None
    is_key: bool = False
    guessed_attributes: tuple[str, ...] = ()


def describe_guesses(guess: ColumnGuess) -> str:
    """Write the comment of a column: what of it is guessed, and what is doubtful."""
    if guess.guessed_attributes:
        parts = [f"guessed: {', '.join(dict.fromkeys(guess.guessed_attributes))}"]
    else:
        parts = []
    if guess.remark:
        parts.append(guess.remark)
    return "; ".join(parts)


def quote_source_name(name: str, *, always: bool = False) -> str:
    """Write a source column's name in an expression."""
    if not always and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", name) and name.upper() not in RESERVED_WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def guess_columns(
    columns: Sequence[Column], samples_by_name: dict[str, ColumnSample], *, is_complete: bool, may_narrow: bool
) -> list[ColumnGuess]:
    """Guess names, types, units and UCDs of all columns.

    Parameters
    ----------
    is_complete
        All rows were seen.
    may_narrow
        Types were guessed from text: whole numbers may get smaller words.
    """
    used_names: set[str] = set()
    guesses: list[ColumnGuess] = []
    lower_case_counts = Counter(column.name.lower() for column in columns)
    own_names = {column.name.removeprefix(ELASTICSEARCH_PREFIX).lower() for column in columns}
    for column in columns:
        heading, unit = split_unit(column.name.removeprefix(ELASTICSEARCH_PREFIX))
        # size_km: a guess; size (km): said
        has_unit_in_name = (
            column.unit is None and unit is not None and heading == column.name.removeprefix(ELASTICSEARCH_PREFIX)
        )
        doubt = None
        if column.unit:
            unit = units.normalize_unit(column.unit)
            if unit:
                doubt = None
            else:
                doubt = f"the source says unit {column.unit!r}, which is none"
        elif unit is None and column.description:
            unit = split_unit(column.description)[1]
        if re.fullmatch(r"column_\d+", column.name) and column.description:  # no header, but somebody said what it is
            heading = re.split(r"[\[(,;:]", split_unit(column.description)[0])[0].strip()[:40]
        name = to_identifier(heading)
        reserved = is_reserved(_normalize_name(heading))
        unavailable_names = (
            used_names | own_names if reserved else used_names
        )  # the name that a reserved word gets may be another column's own
        number = 2
        while name in unavailable_names:
            if number == 2 and to_identifier(column.name) not in unavailable_names:
                candidate_name = to_identifier(column.name)
            else:
                candidate_name = f"{to_identifier(heading)}_{number}"
            name = candidate_name
            number = number + 1
        used_names.add(name)
        if column.ucd:
            ucd = units.modernize_ucd(column.ucd)
        else:
            ucd = None
        if column.ucd and ucd is None and doubt is None:
            doubt = f"the source says UCD {column.ucd!r}, which is none"
        column_type = column.type
        sample = samples_by_name.get(column.name, ColumnSample())
        if (
            may_narrow
            and is_complete
            and column_type == INT64
            and sample.maximum is not None
            and max(abs(sample.maximum), abs(sample.minimum)) < 2**31 - 1
        ):
            column_type = INT32
        elif may_narrow and sample.null_words:
            if sample.is_integer:
                if is_complete and sample.rows:
                    column_type = INT32
                else:
                    column_type = INT64
            else:
                column_type = FLOAT64
        label = heading if reserved else column.label
        target = column.copy_with(
            name=name,
            type=column_type,
            unit=unit,
            label=label,
            null=None,
            minimum=None,
            maximum=None,
            ucd=ucd,
        )
        has_case_twin = lower_case_counts[column.name.lower()] > 1  # only quotes tell R from r
        if has_case_twin and doubt is None:
            doubt = "the source has names that differ in case alone"
        is_plain_name = (
            not has_case_twin
            and to_identifier(column.name) == name
            and re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", column.name)
        )
        guesses.append(
            ColumnGuess(
                source=column.name,
                column=target,
                expression=None
                if is_plain_name and column.name.lower() == name
                else quote_source_name(column.name, always=has_case_twin),
                remark=doubt,
                guessed_attributes=("unit",) if has_unit_in_name else (),
            )
        )
    return _add_ucds(guesses, samples_by_name)


def _find_reserved_name(item: ColumnGuess) -> str:
    """Return the reserved word that a column is called by in its source; empty: it is none."""
    if item.column.label and is_reserved(_normalize_name(item.column.label)):
        return item.column.label
    return ""


def _add_ucds(guesses: list[ColumnGuess], samples_by_name: dict[str, ColumnSample]) -> list[ColumnGuess]:
    suggested_ucds = units.suggest_ucds(
        [
            (
                _find_reserved_name(item) or (item.column.name if item.expression else item.source),
                item.column.unit,
                item.column.description,
            )
            for item in guesses
        ]
    )
    source_ucds = {item.column.ucd for item in guesses}
    result = []
    for item, guess in zip(guesses, suggested_ucds, strict=True):
        if (
            item.column.ucd is None
            and guess is not None
            and not (guess.endswith(";meta.main") and guess in source_ucds)
        ):
            ucd = _replace_unsuitable_ucd(guess, item, samples_by_name.get(item.source, ColumnSample()))
            if ucd is not None:
                item = replace(  # noqa: PLW2901
                    item, column=item.column.copy_with(ucd=ucd), guessed_attributes=(*item.guessed_attributes, "ucd")
                )
        result.append(_convert_position(item, samples_by_name.get(item.source, ColumnSample())))
    return result


def _replace_unsuitable_ucd(ucd: str, guess: ColumnGuess, sample: ColumnSample) -> str | None:
    """Replace a quantity's UCD on what is no quantity: truth values, flags, counters, words."""
    column = guess.column
    name = guess.source.lower()
    description = (guess.column.description or "").strip().lower()
    if (
        column.type.datatype in {"boolean", "bit"}
        or re.search(r"flag|^(is|has)_", name)
        or description.startswith("flag")
    ):
        return ucd if ucd.startswith("meta.") else "meta.code"
    if column.type.is_integer and (
        re.search(r"^(n|nb|num|nr)_|_(count|nb|num)$", name) or description.startswith("number of ")
    ):
        if ucd.startswith(("meta.", "phot.count")):
            return ucd
        return "meta.number"
    if ucd.startswith("time.") and column.type.is_string and sample.text_counts and not _are_dates(sample.text_counts):
        return None  # 16/05/10: which of them is the year, nobody can say
    is_word_column = (
        column.type.is_string
        and sample.rows > sample.nulls
        and not sample.number_count
        and not sample.sexagesimal_count.text_count
    )
    if is_word_column and ucd.startswith(("phys.", "phot.", "em.", "stat.")):
        return None
    return ucd


def _are_dates(words: Iterable[str]) -> bool:
    """Check whether texts are dates in one known form, with years of four digits."""
    texts = [word.strip() for word in words]
    if all(re.fullmatch(ISO_TIME_PATTERN, text) for text in texts):
        return True
    return detect_date_format(texts) is not None and all(re.search(r"(?<!\d)\d{4}|\d{8}", text) for text in texts)


def _convert_position(guess: ColumnGuess, sample: ColumnSample) -> ColumnGuess:
    """Convert positions to degrees: sexagesimal text is read, and right numbers without a unit are degrees."""
    ucd = guess.column.ucd or ""
    if not ucd.startswith(("pos.eq.ra", "pos.eq.dec", "pos.galactic", "pos.ecliptic", "pos.bodyrc")):
        return guess
    if guess.column.type.is_string and sample.is_sexagesimal:
        return convert_sexagesimal(guess, is_hours=ucd.startswith("pos.eq.ra"))
    if (
        guess.column.unit is None
        and guess.column.type.is_numeric
        and sample.minimum is not None
        and sample.minimum >= -180
        and sample.maximum <= 360
    ):
        may_be_hours = ucd.startswith("pos.eq.ra") and sample.maximum <= 24 and sample.rows > 100
        doubt = (
            "no value is above 24: are these hours? then write `map: {"
            + guess.column.name
            + ": 15 * "
            + quote_source_name(guess.source)
            + "}`"
            if may_be_hours
            else guess.remark
        )
        column = guess.column.copy_with(unit="deg")
        return replace(
            guess,
            column=column,
            remark=doubt,
            guessed_attributes=("unit", *guess.guessed_attributes),
        )
    return guess


def convert_sexagesimal(guess: ColumnGuess, *, is_hours: bool, ucd: str | None = None) -> ColumnGuess:
    """Convert a column of sexagesimal text to degrees.

    Parameters
    ----------
    guess
        The column.
    is_hours
        Whether its values are hours of right ascension.
    ucd
        Guessed by the values; None: the column has one.
    """
    if is_hours:
        function_call = f"sexagesimal({quote_source_name(guess.source)}, 'hour')"
    else:
        function_call = f"sexagesimal({quote_source_name(guess.source)})"
    # h:m:s is its notation
    if (guess.remark or "").startswith("the source says unit"):
        doubt = None
    else:
        doubt = guess.remark
    guessed = [
        *guess.guessed_attributes,
        *(["ucd"] if ucd else []),
        "degrees of sexagesimal " + ("hours" if is_hours else "text"),
    ]
    column = guess.column.copy_with(type=FLOAT64, unit="deg", ucd=ucd or guess.column.ucd)
    return replace(guess, column=column, expression=function_call, remark=doubt, guessed_attributes=tuple(guessed))


def list_key_candidates(guesses: Sequence[ColumnGuess], samples_by_name: dict[str, ColumnSample]) -> list[ColumnGuess]:
    """List columns that may name a row: integers or text, no nulls, called or described so; the likeliest first."""

    def rank_candidate(guess: ColumnGuess) -> int:
        name = (_find_reserved_name(guess) or guess.column.name).lower()
        word = guess.column.ucd or ""
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

    possible_keys = [
        item
        for item in guesses
        if (item.column.type.is_integer or item.column.type.is_string)
        and samples_by_name.get(item.source, ColumnSample(nulls=1)).nulls == 0
    ]
    return sorted((item for item in possible_keys if rank_candidate(item) < 9), key=rank_candidate)[:4]
