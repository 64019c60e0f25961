"""Guess names, units, types, UCDs and keys of a source's columns for `hven new`."""

from __future__ import annotations

import itertools
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor.api.key_proposals import ColumnGuess, quote_source_name
from hven.model import units
from hven.model.literal import ISO_TIME_PATTERN, detect_date_format
from hven.model.types import FLOAT64, INT32, INT64
from hven.plugins.drafts.sexagesimal_texts import SexagesimalCount

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hven.model.table import Column
    from hven.model.types import ColumnType

# ruff: noqa: RUF001 - Greek letters and signs are meant
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
    "ν": "nu",
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
    "Ω": "omega",
}
_BRACKETED_UNIT_PATTERN = re.compile(r"\s*[\[(]([^\[\]()]{1,30})[\])]\s*$")
_FOOTNOTE_PATTERN = re.compile(r"(?![°%'\"\u2032\u2033]$)[\d\W]*|[abc]")  # (2), (a): no unit
# vis2(8mu): at 8 micrometres, which is no unit
_QUANTITY_PATTERN = re.compile(r"(?!10(?:\*\*|\^|[+-]\d))\d+(?:\.\d*)?\s*[^\W\d_]")
_UNIT_SUFFIX_PATTERN = re.compile(
    r"_(deg|mas|arcsec|arcmin|mag|km|kpc|Mpc|pc|Jy|mJy|Hz|kHz|MHz|GHz|nm|um|km_s|mas_yr)$", re.IGNORECASE
)
# n_mag: a note or a count, which has no unit
_UNITLESS_PREFIX_PATTERN = re.compile(r"(?:n|nb|num|nr|f|q|l|r|flag|note)_", re.IGNORECASE)
_NULL_WORD_PATTERN = re.compile(
    r"[^\w\s]{1,12}|(?i:nd|no ?data|missing|unknown|undef(?:ined)?|not ?available|blank|void|indef|masked|x{1,5})"
)
_NUMBER_TEXT_PATTERN = r"^\s*[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?\s*$"
_PLAIN_NAME_PATTERN = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
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


MAX_SAMPLED_TEXT_ROWS = 200_000  # rows of text that are looked at
MAX_DISTINCT_TEXTS = 8  # texts that are no numbers, above which no more are collected
MAX_NULL_WORDS = 3
MIN_NUMBER_SHARE = 0.7  # share of numbers among texts that make a column of numbers
MIN_ROWS_FOR_NULL_WORDS = 20
MAX_KEY_CANDIDATES = 4
MAX_HEADING_CHARACTERS = 40
MAX_INT32 = 2**31 - 1
ELASTICSEARCH_PREFIX = "_source."  # prefix of each field of Elasticsearch

# reserved words of things, after which `value` would not fit: `name` follows them
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


def to_adql_identifier(name: str, noun: str = "value") -> str:
    """Convert any text to a regular ADQL identifier: lower case, plain letters, no reserved word.

    ``'e_Vmag'`` -> ``'e_vmag'``; ``'Diameter (km)'`` -> ``'diameter_km'``; ``'err-'`` -> ``'err_minus'``; ``'2MASS'``
    -> ``'c_2mass'``; ``'Year'`` -> ``'year_value'``.

    Parameters
    ----------
    name
        Name in the source.
    noun
        Word that follows a reserved word. ``year_value`` can be typed, read and completed; ``year_`` looks like an
        error, and ``"year"`` needs quotes in each query.
    """
    text = _normalize_name(name)
    if is_reserved_adql_word(text):
        return _rename_reserved_word(text, noun)
    return text


def _normalize_name(name: str) -> str:
    """Convert any text to lower case, plain letters, digits and ``_``."""
    letters = [GREEK_LETTER_NAMES.get(sign, SIGN_NAMES.get(sign, sign)) for sign in name.strip().lstrip("#")]
    text = re.sub(r"-$", " minus", "".join(letters)).replace("#", " number ")
    text = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    text = re.sub(r"[^A-Za-z0-9]+", "_", text).strip("_").lower() or "unnamed"
    if not text[0].isalpha():
        text = f"c_{text}"
    return text[:64]


def is_reserved_adql_word(name: str) -> bool:
    """Return whether a name is a word that ADQL reserves."""
    return name.upper() in RESERVED_WORDS


def _rename_reserved_word(word: str, noun: str) -> str:
    if noun == "value":
        if word.upper() in _RESERVED_WORD_REPLACEMENTS:
            return _RESERVED_WORD_REPLACEMENTS[word.upper()]
        if word.upper() in _RESERVED_OBJECT_WORDS:
            noun = "name"
    return f"{word}_{noun}"


def split_heading_unit(name: str) -> tuple[str, str | None]:
    """Split a unit off the end of a heading: ``'Diameter (km)'`` -> ``('Diameter', 'km')``."""
    match = _BRACKETED_UNIT_PATTERN.search(name)
    if match is not None and match.group() != "(s)":  # file(s)
        heading, unit_text = name[: match.start()].strip(), match[1]
        is_no_unit = _FOOTNOTE_PATTERN.fullmatch(unit_text) or _QUANTITY_PATTERN.match(unit_text)
        unit = None
        if heading and not is_no_unit:
            unit = units.normalize_unit(unit_text)
        if unit:
            return heading, unit
    match = _UNIT_SUFFIX_PATTERN.search(name)
    if match and not _UNITLESS_PREFIX_PATTERN.match(name):
        unit_text = match[1].replace("_s", "/s").replace("_yr", "/yr")
        return name, units.normalize_unit(unit_text)
    return name, None


@dataclass(slots=True)
class ColumnSampleStatistics:
    """Facts on the values of one column that were read.

    Attributes
    ----------
    rows, nulls
        Number of values, and of missing ones among them.
    minimum, maximum
        Least and greatest value; None if there is none.
    bounds_without_sentinels
        Least and greatest value that is no usual code for "no value".
    number_count
        Number of texts that are numbers.
    text_counts
        Counts of the texts that are no numbers.
    sexagesimal_count
        Count of texts in sexagesimal notation.
    is_integer
        Whether all numbers are whole.
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
        """Add the values of a batch.

        Parameters
        ----------
        values
            Values of the column, shape (rows,).
        """
        self.rows += len(values)
        self.nulls += values.null_count
        if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
            self._add_numbers(values)
        elif pa.types.is_string(values.type) and self.rows <= MAX_SAMPLED_TEXT_ROWS:
            self._add_texts(values)

    def _add_numbers(self, values: pa.Array) -> None:
        bounds = pc.min_max(values).as_py()
        self.minimum, self.maximum = _widen_bounds((self.minimum, self.maximum), bounds)
        if self.sentinels or any(value in _SENTINEL_VALUES for value in bounds.values()):
            codes: list[float] = list(_SENTINEL_VALUES)
            if pa.types.is_integer(values.type):
                codes = [code for code in codes if code.is_integer() and abs(code) <= 2**63]
            sentinel_codes = pa.array(codes).cast(values.type, safe=False)
            is_sentinel = pc.is_in(values, value_set=sentinel_codes)
            bounds = pc.min_max(values.filter(pc.invert(is_sentinel))).as_py()
        self.bounds_without_sentinels = _widen_bounds(self.bounds_without_sentinels, bounds)

    def _add_texts(self, values: pa.Array) -> None:
        is_number = pc.match_substring_regex(values, _NUMBER_TEXT_PATTERN)
        self.number_count += pc.sum(is_number).as_py() or 0
        self.is_integer &= not pc.any(pc.match_substring_regex(values, r"[.eE]")).as_py()
        self.sexagesimal_count.count_texts(values)
        if len(self.text_counts) <= MAX_DISTINCT_TEXTS:
            other_texts = values.filter(pc.invert(is_number)).drop_null()
            for entry in pc.value_counts(other_texts).to_pylist()[: MAX_DISTINCT_TEXTS + 1]:
                text = entry["values"]
                self.text_counts[text] = self.text_counts.get(text, 0) + entry["counts"]

    @property
    def null_words(self) -> list[str]:
        """Few words among many numbers that stand for no number: signs, or words such as ``missing``."""
        filled = self.rows - self.nulls
        if not self.text_counts or len(self.text_counts) > MAX_NULL_WORDS:
            return []
        if self.number_count < MIN_NUMBER_SHARE * filled or filled < MIN_ROWS_FOR_NULL_WORDS:
            return []
        if all(_NULL_WORD_PATTERN.fullmatch(word.strip()) for word in self.text_counts):
            return sorted(self.text_counts)
        return []

    @property
    def is_sexagesimal(self) -> bool:
        """Whether nearly all values are like 12 34 56.7, -12:34:56 or 19h19m43.4s."""
        return self.sexagesimal_count.is_mostly_sexagesimal(self.rows - self.nulls)

    @property
    def has_minus_one_sentinel(self) -> bool:
        """Whether no value is negative but -1."""
        low, _ = self.bounds_without_sentinels
        return bool(self.minimum == -1 and low is not None and low >= 0)

    @property
    def sentinels(self) -> list[float]:
        """Extremes that look like a code for no value."""
        low, high = self.bounds_without_sentinels
        codes = {value for value in (self.minimum, self.maximum) if value in _SENTINEL_VALUES and value != -1}
        # a code stands apart from the values proper
        return sorted(code for code in codes if low is None or max(low - code, code - high) > 0.5 * (high - low))


def write_guess_comment(guess: ColumnGuess) -> str:
    """Write the comment of a column: which attributes are guessed, and what is doubtful."""
    parts = []
    if guess.guessed_attributes:
        parts.append(f"guessed: {', '.join(dict.fromkeys(guess.guessed_attributes))}")
    if guess.remark:
        parts.append(guess.remark)
    return "; ".join(parts)


def guess_columns(
    columns: Sequence[Column],
    samples_by_name: dict[str, ColumnSampleStatistics],
    *,
    is_complete: bool,
    narrowable_names: Collection[str],
) -> list[ColumnGuess]:
    """Guess names, types, units and UCDs of all columns.

    Parameters
    ----------
    is_complete
        Whether the samples are of all rows.
    narrowable_names
        Columns whose types were guessed from text, so that whole numbers may get a smaller type.
    """
    used_names: set[str] = set()
    guesses: list[ColumnGuess] = []
    lower_case_counts = Counter(column.name.lower() for column in columns)
    own_names = {column.name.removeprefix(ELASTICSEARCH_PREFIX).lower() for column in columns}
    for column in columns:
        heading, unit, doubt = _guess_heading_and_unit(column)
        reserved = is_reserved_adql_word(_normalize_name(heading))
        has_lost_letters = any(sign.isalpha() and _normalize_name(sign) == "unnamed" for sign in heading)
        # the name that a reserved word gets may be another column's own
        unavailable_names = used_names | own_names if reserved else used_names
        name = _choose_name(column, heading, unavailable_names)
        used_names.add(name)
        ucd = None
        if column.ucd:
            ucd = units.modernize_ucd(column.ucd)
            if ucd is None and doubt is None:
                doubt = f"the source gives the UCD {column.ucd!r}, which is not valid"
        column_type = column.type
        if column.name in narrowable_names:
            sample = samples_by_name.get(column.name, ColumnSampleStatistics())
            column_type = _choose_narrow_type(column_type, sample, is_complete=is_complete)
        target = column.copy_with(
            name=name,
            type=column_type,
            unit=unit,
            label=heading if reserved or has_lost_letters else column.label,
            null=None,
            minimum=None,
            maximum=None,
            ucd=ucd,
        )
        has_case_twin = lower_case_counts[column.name.lower()] > 1  # only quotes tell R from r
        if has_case_twin and doubt is None:
            doubt = "the source has names that differ only in case"
        has_plain_name = _PLAIN_NAME_PATTERN.fullmatch(column.name) and to_adql_identifier(column.name) == name
        expression = None
        if has_case_twin or not has_plain_name or column.name.lower() != name:
            expression = quote_source_name(column.name, is_always_quoted=has_case_twin)
        guessed_attributes: tuple[str, ...] = ()
        if column.unit is None and _has_unit_suffix(column):
            guessed_attributes = ("unit",)
        guesses.append(
            ColumnGuess(
                source=column.name,
                column=target,
                expression=expression,
                remark=doubt,
                guessed_attributes=guessed_attributes,
            )
        )
    return _with_guessed_ucds_and_positions(guesses, samples_by_name)


def _guess_heading_and_unit(column: Column) -> tuple[str, str | None, str | None]:
    """Return heading, unit and a doubt about the unit, by the name of a column, else by its description."""
    heading, unit = split_heading_unit(column.name.removeprefix(ELASTICSEARCH_PREFIX))
    doubt = None
    if column.unit:
        unit = units.normalize_unit(column.unit)
        if not unit:
            doubt = f"the source gives the unit {column.unit!r}, which is not valid"
    elif unit is None and column.description:
        _, unit = split_heading_unit(column.description)
    if re.fullmatch(r"column_\d+", column.name) and column.description:  # no header, but a description
        described_heading, _ = split_heading_unit(column.description)
        heading = re.split(r"[\[(,;:]", described_heading)[0].strip()[:MAX_HEADING_CHARACTERS]
    return heading, unit, doubt


def _has_unit_suffix(column: Column) -> bool:
    """Return whether a unit ends the name, which is a guess (size_km), and does not stand in brackets (size (km))."""
    own_name = column.name.removeprefix(ELASTICSEARCH_PREFIX)
    heading, unit = split_heading_unit(own_name)
    return unit is not None and heading == own_name


def _choose_name(column: Column, heading: str, unavailable_names: set[str]) -> str:
    """Choose a name by the heading, else by the whole name, else with a number."""
    heading_name = to_adql_identifier(heading)
    whole_name = to_adql_identifier(column.name)
    for name in (heading_name, whole_name):
        if name not in unavailable_names:
            return name
    numbered_names = (f"{heading_name}_{number}" for number in itertools.count(2))
    return next(name for name in numbered_names if name not in unavailable_names)


def _choose_narrow_type(column_type: ColumnType, sample: ColumnSampleStatistics, *, is_complete: bool) -> ColumnType:
    """Return the smaller type of whole numbers, or the type of numbers that stand among words for null."""
    if is_complete and column_type == INT64 and sample.maximum is not None:
        largest_value = max(abs(sample.maximum), abs(sample.minimum))
        if largest_value < MAX_INT32:
            return INT32
    if not sample.null_words:
        return column_type
    if not sample.is_integer:
        return FLOAT64
    if is_complete and sample.rows:
        return INT32
    return INT64


def _widen_bounds(bounds: tuple[Any, Any], new_bounds: Mapping[str, Any]) -> tuple[Any, Any]:
    """Return the least and the greatest of the bounds so far and the bounds of a batch; None: no value yet."""
    lows = [low for low in (bounds[0], new_bounds["min"]) if low is not None]
    highs = [high for high in (bounds[1], new_bounds["max"]) if high is not None]
    return min(lows, default=None), max(highs, default=None)


def _find_reserved_name(guess: ColumnGuess) -> str:
    """Return the reserved word that is a column's name in its source; empty: it is none."""
    if guess.column.label and is_reserved_adql_word(_normalize_name(guess.column.label)):
        return guess.column.label
    return ""


def _with_guessed_ucds_and_positions(
    guesses: list[ColumnGuess], samples_by_name: dict[str, ColumnSampleStatistics]
) -> list[ColumnGuess]:
    """Add the UCDs that names, units and descriptions suggest, and convert positions."""
    named_quantities = []
    for guess in guesses:
        if guess.expression:
            name = guess.column.name
        else:
            name = guess.source
        named_quantities.append((_find_reserved_name(guess) or name, guess.column.unit, guess.column.description))
    suggested_ucds = units.suggest_ucds(named_quantities)
    source_ucds = {guess.column.ucd for guess in guesses}
    guesses_with_ucds = []
    for guess, suggested_ucd in zip(guesses, suggested_ucds, strict=True):
        sample = samples_by_name.get(guess.source, ColumnSampleStatistics())
        ucd = None
        if guess.column.ucd is None and suggested_ucd is not None:
            has_main_column = suggested_ucd.endswith(";meta.main") and suggested_ucd in source_ucds
            if not has_main_column:
                ucd = _replace_unsuitable_ucd(suggested_ucd, guess, sample)
        if ucd is not None:
            column = guess.column.copy_with(ucd=ucd)
            guessed_attributes = (*guess.guessed_attributes, "ucd")
            guess = replace(guess, column=column, guessed_attributes=guessed_attributes)  # noqa: PLW2901
        guesses_with_ucds.append(_convert_position_guess(guess, sample))
    return guesses_with_ucds


def _replace_unsuitable_ucd(ucd: str, guess: ColumnGuess, sample: ColumnSampleStatistics) -> str | None:
    """Replace the UCD of a quantity on a column that is none: truth values, flags, counters, words."""
    column = guess.column
    name = guess.source.lower()
    description = (column.description or "").strip().lower()
    is_truth_value = column.type.datatype in {"boolean", "bit"}
    if is_truth_value or re.search(r"flag|^(is|has)_", name) or description.startswith("flag"):
        return ucd if ucd.startswith("meta.") else "meta.code"
    is_counter = re.search(r"^(n|nb|num|nr)_|_(count|nb|num)$", name) or description.startswith("number of ")
    if column.type.is_integer and is_counter:
        return ucd if ucd.startswith(("meta.", "phot.count")) else "meta.number"
    if not column.type.is_string:
        return ucd
    if ucd.startswith("time.") and sample.text_counts and not _are_dates(sample.text_counts):
        return None  # 16/05/10: which of them is the year, nobody can say
    has_numbers = sample.number_count or sample.sexagesimal_count.text_count
    if sample.rows > sample.nulls and not has_numbers and ucd.startswith(("phys.", "phot.", "em.", "stat.")):
        return None
    return ucd


def _are_dates(words: Iterable[str]) -> bool:
    """Return whether texts are dates in one known form, with years of four digits."""
    texts = [word.strip() for word in words]
    if all(re.fullmatch(ISO_TIME_PATTERN, text) for text in texts):
        return True
    return detect_date_format(texts) is not None and all(re.search(r"(?<!\d)\d{4}|\d{8}", text) for text in texts)


def _convert_position_guess(guess: ColumnGuess, sample: ColumnSampleStatistics) -> ColumnGuess:
    """Convert positions to degrees: read sexagesimal text, and take fitting numbers without a unit for degrees."""
    ucd = guess.column.ucd or ""
    if not ucd.startswith(("pos.eq.ra", "pos.eq.dec", "pos.galactic", "pos.ecliptic", "pos.bodyrc")):
        return guess
    if guess.column.type.is_string and sample.is_sexagesimal:
        return convert_sexagesimal_guess(guess, is_hours=ucd.startswith("pos.eq.ra"))
    if guess.column.unit is not None or not guess.column.type.is_numeric or sample.minimum is None:
        return guess
    if sample.minimum < -180 or sample.maximum > 360:
        return guess
    remark = guess.remark
    if ucd.startswith("pos.eq.ra") and sample.maximum <= 24 and sample.rows > 100:
        conversion = f"{guess.column.name}: 15 * {quote_source_name(guess.source)}"
        remark = f"no value is above 24; if these are hours, write `map: {{{conversion}}}`"
    column = guess.column.copy_with(unit="deg")
    guessed_attributes = ("unit", *guess.guessed_attributes)
    return replace(guess, column=column, remark=remark, guessed_attributes=guessed_attributes)


def convert_sexagesimal_guess(guess: ColumnGuess, *, is_hours: bool, ucd: str | None = None) -> ColumnGuess:
    """Convert a column of sexagesimal text to degrees.

    Parameters
    ----------
    guess
        The column.
    is_hours
        Whether its values are hours of right ascension.
    ucd
        UCD that was guessed by the values; None: the column has one.
    """
    source_name = quote_source_name(guess.source)
    expression = f"sexagesimal({source_name})"
    conversion = "degrees of sexagesimal text"
    if is_hours:
        expression = f"sexagesimal({source_name}, 'hour')"
        conversion = "degrees of sexagesimal hours"
    remark = guess.remark
    if remark is not None and remark.startswith("the source gives the unit"):  # h:m:s is the notation, no unit
        remark = None
    guessed_attributes = [*guess.guessed_attributes, conversion]
    if ucd:
        guessed_attributes.insert(-1, "ucd")
    column = guess.column.copy_with(type=FLOAT64, unit="deg", ucd=ucd or guess.column.ucd)
    return replace(
        guess, column=column, expression=expression, remark=remark, guessed_attributes=tuple(guessed_attributes)
    )


def list_key_candidates(
    guesses: Sequence[ColumnGuess], samples_by_name: dict[str, ColumnSampleStatistics]
) -> list[ColumnGuess]:
    """List columns that may name a row: integers or text without nulls, by name or UCD; the likeliest first."""
    ranked_guesses = []
    for guess in guesses:
        has_key_type = guess.column.type.is_integer or guess.column.type.is_string
        sample = samples_by_name.get(guess.source, ColumnSampleStatistics(nulls=1))
        rank = _rank_key_candidate(guess)
        if has_key_type and sample.nulls == 0 and rank is not None:
            ranked_guesses.append((rank, guess))
    ranked_guesses.sort(key=lambda ranked_guess: ranked_guess[0])
    return [guess for _, guess in ranked_guesses[:MAX_KEY_CANDIDATES]]


def _rank_key_candidate(guess: ColumnGuess) -> int | None:
    """Return how likely a column names a row, 0 is the likeliest; None: nothing speaks for it."""
    name = (_find_reserved_name(guess) or guess.column.name).lower()
    ucd = guess.column.ucd or ""
    if ucd.startswith("meta.id;meta.main"):
        return 0
    if name in _KEY_NAMES or name.startswith("id_"):
        return 1
    if ucd.startswith(("meta.id", "meta.record")):
        return 2
    if re.search(r"(^|_)(id|uid|number|name|designation|identifier)$", name):
        return 3
    return None


_KEY_NAMES = {"id", "source_id", "granule_uid", "obs_publisher_did", "objid", "obj_id", "uid"}
