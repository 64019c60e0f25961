"""Compare schemas: columns with the same name, UCD, utype, unit or type, and conflicts between them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations, pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

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
from hven.plugins.schema_life.described_columns import TEXTS_SCHEMA, ColumnRows, to_column_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from fractions import Fraction

    from numpy.typing import NDArray

    from hven.plugins.schema_life.described_columns import ComparedSchema

SIMILAR_NAME = "similar-name"
CONFLICT_KINDS = ("unit", "type", "ucd", "utype", "choices", "meaning")
# what columns are grouped by -> what may differ then
KINDS_BY_GROUPING = {
    "name": CONFLICT_KINDS,
    SIMILAR_NAME: CONFLICT_KINDS,
    "ucd": ("unit",),
    "utype": ("unit", "type"),
    "unit": (),
    "type": (),
}
MISSING_KIND = "missing"  # a column that not all models have: no conflict, but a difference
MAX_LISTED_ABSENCES = 200_000  # pairs of a group and a model without such a column; more are only counted
MAX_COMPARED_DESCRIPTIONS = 20  # of one group
MIN_SHARED_WORDS = 0.1  # of the words of two descriptions that may mean the same
MAX_PAIRED_VALUES = 20  # of a conflict; the pairs of more values have no ids of their own
MIN_DESCRIPTION_WORDS = 3  # shorter descriptions say too little to be compared
ID_CHARACTERS = 12
_WORD_BEGINNING_PATTERN = re.compile(r"\b\w{3,5}")
# kinds for which a missing value contradicts nothing
KINDS_WITHOUT_ABSENCE = {"ucd": {""}, "utype": {""}, "choices": {""}, "meaning": {""}}


class ConflictingValue(NamedTuple):
    """One of the values that contradict each other, and the columns that have it."""

    text: str
    columns: ColumnRows


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
    pair_ids
        If there are more than two values: the ids that a conflict of two of them has, by the two texts.
    pair_notes
        Notes on conflicts of two of these values, by the two texts.
    """

    id: str
    kind: str
    values: Sequence[ConflictingValue]
    is_convertible: bool | None = None
    note: str = ""
    pair_ids: Mapping[tuple[str, str], str] = MappingProxyType({})
    pair_notes: Mapping[tuple[str, str], str] = MappingProxyType({})

    def has_id(self, conflict_id: str) -> bool:
        """Return whether this conflict, or the one of two of its values, has an id.

        Parameters
        ----------
        conflict_id
            The id, perhaps of a comparison of fewer models.
        """
        return conflict_id == self.id or conflict_id in self.pair_ids.values()


class ComparisonGroup(NamedTuple):
    """Columns that have the same name, UCD, utype, unit or type.

    Attributes
    ----------
    key
        What they share, normalised; empty: they have none.
    texts, rows
        The texts of all columns, and the places of these columns in them.
    models
        Labels of the models that have such a column.
    all_models
        Labels of all models.
    """

    key: str
    texts: pa.Table
    rows: NDArray[np.int64]
    models: Sequence[str]
    all_models: Sequence[str]
    conflicts: Sequence[ColumnGroupConflict] = ()

    @property
    def columns(self) -> ColumnRows:
        """The columns."""
        return ColumnRows(self.texts, self.rows)

    @property
    def missing_models(self) -> list[str]:
        """Labels of the models without such a column; none without a key, because these columns share nothing."""
        if not self.missing_count:
            return []
        present_labels = set(self.models)
        return [label for label in self.all_models if label not in present_labels]

    @property
    def missing_count(self) -> int:
        """Number of the models without such a column; 0 without a key."""
        if not self.key:
            return 0
        return len(self.all_models) - len(self.models)


@dataclass(frozen=True, kw_only=True)
class SchemaComparison:
    """The result of a comparison.

    Attributes
    ----------
    grouping
        What columns are grouped by, a key of `KINDS_BY_GROUPING`.
    texts
        The texts of the columns of all models.
    groups
        The groups by their keys.
    notes
        Notes by the ids of the conflicts that they accept.
    """

    models: Sequence[ComparedSchema]
    grouping: str
    texts: pa.Table
    groups: Sequence[ComparisonGroup]
    notes: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def _missing_labels(self) -> dict[int, str]:
        """Labels of the models without a column, by the identity of the list of the others."""
        return {}

    @cached_property
    def lists_missing_models(self) -> bool:
        """Whether files list the models without a column; a site with many different collections has too many."""
        return sum(group.missing_count for group in self.groups) <= MAX_LISTED_ABSENCES

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
            if MISSING_KIND in kinds and group.missing_count:
                count += not (self.notes and self.notes.get(self.compute_missing_id(group)))
        return count

    def compute_missing_id(self, group: ComparisonGroup) -> str:
        """Compute the id under which the absence of columns is accepted; empty if too many are absent to be listed.

        Parameters
        ----------
        group
            A group that some models lack.
        """
        if not self.lists_missing_models:
            return ""
        labels = self._missing_labels.get(id(group.models))
        if labels is None:  # most groups share the list of their models
            labels = self._missing_labels[id(group.models)] = "\n".join(sorted(group.missing_models))
        return _compute_conflict_id(self.grouping, group.key, MISSING_KIND, [labels])


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
    selected_texts = [to_column_rows(model.columns).take_texts() for model in models]
    texts = pa.concat_tables([TEXTS_SCHEMA.empty_table(), *selected_texts]).combine_chunks()
    search = _ConflictSearch(texts, grouping, notes or {})
    labels = [model.label for model in models]
    # nobody knows what a model lacks that could not be read
    readable_labels = [model.label for model in models if model.columns or not model.fault]
    model_numbers = np.repeat(np.arange(len(models)), np.array([len(model.columns) for model in models], np.int64))
    model_count = max(len(models), 1)
    pairs = np.unique(search.keys.numbers * model_count + model_numbers)
    ends = np.searchsorted(pairs, np.arange(1, len(search.keys.texts) + 1) * model_count).tolist()
    numbers = (pairs % model_count).tolist()
    # most groups share one of few lists of labels, and the garbage collector visits each
    label_sets: dict[tuple[int, ...], list[str]] = {}
    conflicts = search.find_conflicts()
    groups = []
    for group, key in enumerate(search.keys.texts):
        numbers_of_group = tuple(numbers[ends[group - 1] if group else 0 : ends[group]])
        if numbers_of_group not in label_sets:
            label_sets[numbers_of_group] = [labels[number] for number in numbers_of_group]
        group_labels = label_sets[numbers_of_group]
        groups.append(
            ComparisonGroup(key, texts, search.get_rows(group), group_labels, readable_labels, conflicts.get(group, ()))
        )
    return SchemaComparison(models=models, grouping=grouping, texts=texts, groups=groups, notes=notes or {})


def _compute_conflict_id(grouping: str, key: str, kind: str, values: Sequence[str]) -> str:
    digest = hashlib.sha256("\n".join((grouping, key, kind, *values)).encode())
    return digest.hexdigest()[:ID_CHARACTERS]


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


class _NumberedTexts(NamedTuple):
    """Different texts, and for each column the number of its text."""

    texts: list[str]
    numbers: NDArray[np.int64]


def _encode_texts(texts: pa.Table, name: str) -> _NumberedTexts:
    """Encode the normalised texts of a field as numbers."""
    encoded = texts["name" if name == SIMILAR_NAME else name].combine_chunks().dictionary_encode()
    different_texts = encoded.dictionary.to_pylist()
    numbers: NDArray[np.int64] = encoded.indices.to_numpy().astype(np.int64)
    normalize = NORMALIZERS.get(name)
    if normalize is not None:
        normalized_texts = [normalize(text) for text in different_texts]
        different_texts = sorted(set(normalized_texts))
        numbers_by_text = {text: number for number, text in enumerate(different_texts)}
        numbers = np.array([numbers_by_text[text] for text in normalized_texts], np.int64)[numbers]
    return _NumberedTexts(different_texts, numbers)


class _ConflictSearch:
    """Finds the conflicts in the groups of one comparison.

    Parameters
    ----------
    texts
        The texts of all columns.
    grouping, notes
        As for `compare_models`.

    Attributes
    ----------
    keys
        The keys of the groups.
    """

    def __init__(self, texts: pa.Table, grouping: str, notes: Mapping[str, str]) -> None:
        self._texts = texts
        self._grouping = grouping
        self._notes = notes
        self.keys = _encode_texts(texts, grouping)
        self._order = np.argsort(self.keys.numbers, kind="stable")
        self._ends = np.cumsum(np.bincount(self.keys.numbers, minlength=len(self.keys.texts)))
        self._starts = np.concatenate([[0], self._ends[:-1]])[: len(self._ends)]

    def get_rows(self, group: int) -> NDArray[np.int64]:
        """Return the places of the columns of a group."""
        rows: NDArray[np.int64] = self._order[self._starts[group] : self._ends[group]]
        return rows

    def find_conflicts(self) -> dict[int, list[ColumnGroupConflict]]:
        """Find the conflicts by the numbers of their groups."""
        conflicts: dict[int, list[ColumnGroupConflict]] = {}
        for kind in KINDS_BY_GROUPING[self._grouping]:
            values = _encode_texts(self._texts, "description" if kind == "meaning" else kind)
            for group in self._find_unequal_groups(values, can_be_absent=kind in KINDS_WITHOUT_ABSENCE):
                if not self.keys.texts[group]:
                    continue
                conflict = self._build_conflict(group, kind, values)
                if conflict is not None:
                    conflicts.setdefault(group, []).append(conflict)
        return conflicts

    def _find_unequal_groups(self, values: _NumberedTexts, *, can_be_absent: bool) -> list[int]:
        """Find the groups with several values; columns without one count only if that is a conflict."""
        if not len(self._order):
            return []
        low_numbers = high_numbers = values.numbers[self._order]
        if can_be_absent and "" in values.texts:
            is_absent = low_numbers == values.texts.index("")
            low_numbers = np.where(is_absent, len(values.texts), low_numbers)
            high_numbers = np.where(is_absent, -1, high_numbers)
        is_unequal = np.minimum.reduceat(low_numbers, self._starts) < np.maximum.reduceat(high_numbers, self._starts)
        unequal_groups: list[int] = np.flatnonzero(is_unequal).tolist()
        return unequal_groups

    def _build_conflict(self, group: int, kind: str, values: _NumberedTexts) -> ColumnGroupConflict | None:
        """Build the conflict of a group whose columns have several values; None: they mean the same."""
        rows = self.get_rows(group)
        present_numbers, positions = np.unique(values.numbers[rows], return_inverse=True)
        texts = [values.texts[number] for number in present_numbers.tolist()]
        if kind == "unit":
            texts = _merge_equal_units(texts)
        different_texts = sorted(set(texts) - KINDS_WITHOUT_ABSENCE.get(kind, set()))
        is_contradiction = kind != "meaning" or _has_contradiction(different_texts)
        if len(different_texts) < 2 or not is_contradiction:
            return None
        numbers_by_text = {text: number for number, text in enumerate(different_texts)}
        numbers_of_rows = np.array([numbers_by_text.get(text, -1) for text in texts])[positions]
        order = np.argsort(numbers_of_rows, kind="stable")
        bounds = np.searchsorted(numbers_of_rows[order], np.arange(len(different_texts) + 1)).tolist()
        conflicting_values = [
            ConflictingValue(text, ColumnRows(self._texts, rows[order[begin:end]]))
            for text, (begin, end) in zip(different_texts, pairwise(bounds), strict=True)
        ]
        key = self.keys.texts[group]
        conflict_id = _compute_conflict_id(self._grouping, key, kind, different_texts)
        pair_ids: dict[tuple[str, str], str] = {}
        if 2 < len(different_texts) <= MAX_PAIRED_VALUES:
            pairs = combinations(different_texts, 2)
            pair_ids = {pair: _compute_conflict_id(self._grouping, key, kind, pair) for pair in pairs}
        pair_notes = {pair: self._notes[pair_id] for pair, pair_id in pair_ids.items() if pair_id in self._notes}
        note = self._notes.get(conflict_id, "")
        if pair_ids and not note and len(pair_notes) == len(pair_ids):  # each pair is accepted
            note = "; ".join(dict.fromkeys(pair_notes.values()))
        is_convertible = None
        if kind == "unit":
            is_convertible = all(_are_convertible(*units) for units in pairwise(different_texts))
        return ColumnGroupConflict(
            id=conflict_id,
            kind=kind,
            values=sorted(conflicting_values, key=lambda value: -len(value.columns)),
            is_convertible=is_convertible,
            note=note,
            pair_ids=pair_ids,
            pair_notes=pair_notes,
        )


def _merge_equal_units(units: Sequence[str]) -> list[str]:
    """Replace units that are products of other symbols, but the same as an earlier one: ``Angstrom`` and ``0.1nm``."""
    merged_units: list[str] = []
    for unit in units:
        equal_units = (other_unit for other_unit in merged_units if _are_equal_units(unit, other_unit))
        merged_units.append(next(equal_units, unit))
    return merged_units


@cache_results(20_000)
def _are_equal_units(first: str, second: str) -> bool:
    return bool(first and second) and is_same_unit(first, second)


@cache_results(20_000)
def _are_convertible(first: str, second: str) -> bool:
    return are_units_convertible(first, second)


def _has_contradiction(texts: Sequence[str]) -> bool:
    """Return whether two of the first descriptions share nearly no words."""
    words_of_texts = map(_extract_long_word_prefixes, texts[:MAX_COMPARED_DESCRIPTIONS])
    compared_words = [words for words in words_of_texts if len(words) >= MIN_DESCRIPTION_WORDS]
    return any(
        len(first & second) < MIN_SHARED_WORDS * len(first | second)
        for first, second in combinations(compared_words, 2)
    )


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


def _format_sorted_choices(text: str) -> str:
    """Write values with their labels in one line; their order does not matter."""
    return ", ".join(f"{code}={label}" for code, label in sorted(orjson.loads(text or "[]")))


def _to_unquoted_lower_case(name: str) -> str:
    return name.strip('"').lower()


def _to_letters_and_digits(name: str) -> str:
    """Return a name without case and signs, so that ``RAJ2000`` and ``ra_j2000`` are the same."""
    return re.sub(r"[\W_]", "", name.lower()) or name


NORMALIZERS: Mapping[str, Callable[[str], str]] = {
    "name": _to_unquoted_lower_case,
    SIMILAR_NAME: _to_letters_and_digits,
    "unit": normalize_unit_text,
    "type": str,
    "ucd": normalize_ucd_text,
    "utype": str.lower,
    "choices": _format_sorted_choices,
}
