"""Compare schemas: columns with the same name, UCD, utype, unit or type, and conflicts between them."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from dataclasses import dataclass, field
from itertools import combinations, pairwise
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

from hven.model import cache_results
from hven.model.errors import ParamError
from hven.model.units import (
    are_units_convertible,
    canonicalize_ucd,
    is_same_unit,
    modernize_ucd,
    normalize_unit,
    parse_unit,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from fractions import Fraction

    from hven.plugins.schema_life.described_columns import ComparedSchema, DescribedColumn

# what columns are grouped by -> what may differ then
KINDS_BY_GROUPING = {
    "name": ("unit", "type", "ucd", "utype", "choices", "meaning"),
    "ucd": ("unit",),
    "utype": ("unit", "type"),
    "unit": (),
    "type": (),
}
CONFLICT_KINDS = KINDS_BY_GROUPING["name"]
MISSING_KIND = "missing"  # a column that not all models have: no conflict, but a difference
MAX_COMPARED_DESCRIPTIONS = 20  # of one group
MIN_SHARED_WORDS = 0.1  # of the words of two descriptions that may mean the same
MIN_DESCRIPTION_WORDS = 3  # shorter descriptions say too little to be compared
ID_CHARACTERS = 12
_WORD_BEGINNING_PATTERN = re.compile(r"\b\w{3,5}")
KINDS_WITHOUT_ABSENCE = ("ucd", "utype", "choices")  # kinds for which a missing value contradicts nothing


class ConflictingValue(NamedTuple):
    """One of the values that contradict each other, and the columns that have it."""

    text: str
    columns: Sequence[DescribedColumn]


class ColumnGroupConflict(NamedTuple):
    """A conflict between columns of a group.

    Attributes
    ----------
    id
        Identifier that stays the same as long as group, kind and values do.
    kind
        One of `CONFLICT_KINDS`.
    values
        The values, the most frequent first.
    is_convertible
        For units: whether all can be converted to each other. None for other kinds.
    note
        Why the conflict is accepted; empty: it is not.
    """

    id: str
    kind: str
    values: Sequence[ConflictingValue]
    is_convertible: bool | None = None
    note: str = ""


class ComparisonGroup(NamedTuple):
    """Columns that have the same name, UCD, utype, unit or type.

    Attributes
    ----------
    key
        What they share, normalised; empty: they have none.
    models
        Labels of the models that have such a column.
    all_models
        Labels of all models.
    """

    key: str
    columns: Sequence[DescribedColumn]
    models: Sequence[str]
    all_models: Sequence[str]
    conflicts: Sequence[ColumnGroupConflict] = ()

    @property
    def missing_models(self) -> list[str]:
        """Labels of the models without such a column; none without a key, because these columns share nothing."""
        if not self.key or len(self.models) == len(self.all_models):
            return []
        return [label for label in self.all_models if label not in self.models]


@dataclass(frozen=True, slots=True, kw_only=True)
class SchemaComparison:
    """The result of a comparison.

    Attributes
    ----------
    grouping
        What columns are grouped by, a key of `KINDS_BY_GROUPING`.
    groups
        The groups by their keys.
    """

    models: Sequence[ComparedSchema]
    grouping: str
    groups: Sequence[ComparisonGroup] = field(default_factory=tuple)

    def count_open_differences(self, kinds: Sequence[str]) -> int:
        """Count the conflicts of some kinds that no note accepts.

        Parameters
        ----------
        kinds
            Kinds of conflicts; `MISSING_KIND` counts the groups that not all models have.
        """
        count = 0
        for group in self.groups:
            count += sum(conflict.kind in kinds and not conflict.note for conflict in group.conflicts)
            is_missing = bool(group.key) and len(group.models) < len(group.all_models)
            count += MISSING_KIND in kinds and is_missing
        return count

    def to_json(self) -> dict[str, Any]:
        """Return the comparison for JSON."""
        models = []
        for model in self.models:
            read_at = model.read_at.isoformat(timespec="seconds")
            models.append({"label": model.label, "columns": len(model.columns), "read": read_at, "fault": model.fault})
        groups = [group_to_json(group) for group in self.groups]
        return {"group": self.grouping, "models": models, "groups": groups}


def group_to_json(group: ComparisonGroup) -> dict[str, Any]:
    """Return a group for JSON.

    Parameters
    ----------
    group
        The group.
    """
    conflicts = []
    places = {id(column): column.place for column in group.columns} if group.conflicts else {}
    for conflict in group.conflicts:
        values = [
            {"value": value.text, "columns": [places[id(column)] for column in value.columns]}
            for value in conflict.values
        ]
        conflict_facts: dict[str, Any] = {
            "id": conflict.id,
            "kind": conflict.kind,
            "values": values,
            "note": conflict.note,
        }
        if conflict.is_convertible is not None:
            conflict_facts["convertible"] = conflict.is_convertible
        conflicts.append(conflict_facts)
    return {
        "key": group.key,
        "models": list(group.models),
        "missing": group.missing_models,
        "columns": [
            dict(zip(column._fields, column, strict=True)) | {"choices": dict(column.choices)}
            for column in group.columns
        ],
        "conflicts": conflicts,
    }


def compare_models(
    models: Sequence[ComparedSchema], grouping: str = "name", notes: Mapping[str, str] | None = None
) -> SchemaComparison:
    """Group the columns of models, and find conflicts in each group.

    Parameters
    ----------
    models
        The models, each with a label of its own.
    grouping
        A key of `KINDS_BY_GROUPING`.
    notes
        Notes by ids of the conflicts that they accept.

    Returns
    -------
    comparison
        Groups in the order of their keys.

    Raises
    ------
    ParamError
        There is no such grouping.
    """
    check_grouping(grouping)
    normalized_keys = _NormalizedTexts(NORMALIZERS[grouping])
    read_text = attrgetter(grouping)
    columns_by_key: defaultdict[str, list[DescribedColumn]] = defaultdict(list)
    for model in models:
        for column in model.columns:
            columns_by_key[normalized_keys[read_text(column)]].append(column)
    labels = [model.label for model in models]
    search = _ConflictSearch(grouping, notes or {})
    groups = []
    for key in sorted(columns_by_key):
        columns = columns_by_key[key]
        if len(columns) == 1:
            groups.append(ComparisonGroup(key, columns, (columns[0].model,), labels))
            continue
        conflicts: Sequence[ColumnGroupConflict] = ()
        if key:
            conflicts = search.find_conflicts(key, columns)
        group_labels = tuple(dict.fromkeys(column.model for column in columns))
        groups.append(ComparisonGroup(key, columns, group_labels, labels, conflicts))
    return SchemaComparison(models=models, grouping=grouping, groups=groups)


def check_grouping(grouping: str) -> None:
    """Check a word for what columns are grouped by.

    Parameters
    ----------
    grouping
        The word that the user wrote.

    Raises
    ------
    ParamError
        It is not a key of `KINDS_BY_GROUPING`.
    """
    if grouping not in KINDS_BY_GROUPING:
        remedy = f"use one of {', '.join(KINDS_BY_GROUPING)}"
        raise ParamError(f"columns cannot be grouped by {grouping!r:.80}", name="GROUP", remedy=remedy)


class _NormalizedTexts(dict[Any, str]):
    """Normalised texts of one comparison, by the texts of the schemas."""

    def __init__(self, normalize: Callable[[Any], str]) -> None:
        super().__init__()
        self._normalize = normalize

    def __missing__(self, text: Any) -> str:
        normalized_text = self[text] = self._normalize(text)
        return normalized_text


class _ConflictSearch:
    """Finds the conflicts in the groups of one comparison."""

    def __init__(self, grouping: str, notes: Mapping[str, str]) -> None:
        self._grouping = grouping
        self._notes = notes
        self._normalized_texts = {
            kind: _NormalizedTexts(NORMALIZERS[kind]) for kind in KINDS_BY_GROUPING[grouping] if kind in NORMALIZERS
        }

    def find_conflicts(self, key: str, columns: Sequence[DescribedColumn]) -> list[ColumnGroupConflict]:
        """Find the conflicts in a group."""
        conflicts = []
        for kind, texts in self._normalized_texts.items():
            columns_by_value = _group_by_value(kind, columns, texts)
            if len(columns_by_value) > 1:
                conflicts.append(self._build_conflict(key, kind, columns_by_value))
        if "meaning" in KINDS_BY_GROUPING[self._grouping]:
            columns_by_text = _group_contradicting_descriptions(columns)
            if columns_by_text:
                conflicts.append(self._build_conflict(key, "meaning", columns_by_text))
        return conflicts

    def _build_conflict(
        self, key: str, kind: str, columns_by_value: Mapping[str, Sequence[DescribedColumn]]
    ) -> ColumnGroupConflict:
        value_texts = sorted(columns_by_value)
        digest = hashlib.sha256("\n".join((self._grouping, key, kind, *value_texts)).encode())
        conflict_id = digest.hexdigest()[:ID_CHARACTERS]
        values = [ConflictingValue(text, columns) for text, columns in columns_by_value.items()]
        values.sort(key=lambda value: (-len(value.columns), value.text))
        is_convertible = None
        if kind == "unit":
            is_convertible = all(_are_convertible(*units) for units in pairwise(value_texts))
        return ColumnGroupConflict(conflict_id, kind, values, is_convertible, self._notes.get(conflict_id, ""))


def _group_by_value(
    kind: str, columns: Sequence[DescribedColumn], normalized_texts: _NormalizedTexts
) -> Mapping[str, list[DescribedColumn]]:
    """Group columns by a normalised value if there are several; those without one count only if that is a conflict."""
    # most groups have one value, and this is the fastest way to see it
    values = [*map(normalized_texts.__getitem__, map(_TEXT_READERS[kind], columns))]
    distinct_values = set(values)
    if kind in KINDS_WITHOUT_ABSENCE:
        distinct_values.discard("")
    if len(distinct_values) < 2:
        return {}
    columns_by_value: dict[str, list[DescribedColumn]] = {}
    for value, column in zip(values, columns, strict=True):
        if value in distinct_values:
            columns_by_value.setdefault(value, []).append(column)
    if kind == "unit":
        return _merge_equal_units(columns_by_value)
    return columns_by_value


def _merge_equal_units(columns_by_unit: Mapping[str, list[DescribedColumn]]) -> dict[str, list[DescribedColumn]]:
    """Merge units that are products of other symbols, but the same: ``Angstrom`` and ``0.1nm``."""
    merged_columns: dict[str, list[DescribedColumn]] = {}
    for unit, columns in columns_by_unit.items():
        equal_units = (other_unit for other_unit in merged_columns if _are_equal_units(unit, other_unit))
        merged_columns.setdefault(next(equal_units, unit), []).extend(columns)
    return merged_columns


@cache_results(20_000)
def _are_equal_units(first: str, second: str) -> bool:
    return bool(first and second) and is_same_unit(first, second)


@cache_results(20_000)
def _are_convertible(first: str, second: str) -> bool:
    return are_units_convertible(first, second)


def _group_contradicting_descriptions(columns: Sequence[DescribedColumn]) -> dict[str, list[DescribedColumn]]:
    """Group columns by their descriptions if two of these share nearly no words; otherwise there are no groups."""
    columns_by_text: dict[str, list[DescribedColumn]] = {}
    if len({column.description for column in columns}) == 1:
        return columns_by_text
    for column in columns:
        if column.description:
            columns_by_text.setdefault(column.description, []).append(column)
    words_by_text = {}
    for text in list(columns_by_text)[:MAX_COMPARED_DESCRIPTIONS]:
        words = _extract_long_word_prefixes(text)
        if len(words) >= MIN_DESCRIPTION_WORDS:
            words_by_text[text] = words
    for first_words, second_words in combinations(words_by_text.values(), 2):
        if len(first_words & second_words) < MIN_SHARED_WORDS * len(first_words | second_words):
            return columns_by_text
    return {}


@cache_results(20_000)
def _extract_long_word_prefixes(text: str) -> frozenset[str]:
    """Return the beginnings of the longer words of a text, by which it is compared."""
    return frozenset(_WORD_BEGINNING_PATTERN.findall(text.lower()))


@cache_results(20_000)
def normalize_unit_text(text: str) -> str:
    """Normalise the spelling of a unit; what is not a unit stays.

    Parameters
    ----------
    text
        A unit, as any service writes it; empty: none.
    """
    try:
        unit = parse_unit(text)
    except ValueError:
        known_unit = normalize_unit(text)
        if known_unit is None:
            return text.strip()
        unit = parse_unit(known_unit)
    symbols = [_write_unit_power(symbol, power) for symbol, power in sorted(unit.factors)]
    scale = "" if unit.scale == 1.0 else f"{unit.scale:.15g}"
    return scale + ".".join(symbols)


def _write_unit_power(symbol: str, power: Fraction) -> str:
    if power == 1:
        return symbol
    if power.denominator == 1:
        return f"{symbol}**{power}"
    return f"{symbol}**({power})"


@cache_results(20_000)
def normalize_ucd_text(text: str) -> str:
    """Normalise a UCD: UCD1 becomes UCD1+, and case does not matter.

    Parameters
    ----------
    text
        A UCD; empty: none.
    """
    if not text:
        return ""
    return (modernize_ucd(text) or canonicalize_ucd(text)).lower()


def _format_sorted_choices(choices: Sequence[tuple[str, str]]) -> str:
    """Write values with their labels in one line; their order does not matter."""
    return ", ".join(f"{code}={label}" for code, label in sorted(choices))


def _normalize_name(name: str) -> str:
    return name.strip('"').lower()


def _keep_value(value: str) -> str:
    return value


NORMALIZERS: Mapping[str, Callable[[Any], str]] = {
    "name": _normalize_name,
    "unit": normalize_unit_text,
    "type": _keep_value,
    "ucd": normalize_ucd_text,
    "utype": str.lower,
    "choices": _format_sorted_choices,
}
_TEXT_READERS: Mapping[str, Callable[[DescribedColumn], Any]] = {kind: attrgetter(kind) for kind in NORMALIZERS}
