"""Check rules with ``check`` on whole columns by Arrow kernels.

Such a rule says what a standard demands of words, pairs, ranges, addresses or regions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._casting import find_out_of_bounds
from hven.ingest._unique_checks import SeenHashes
from hven.model import shape_columns, units
from hven.model.literal import hash_rows
from hven.model.sky import Moc, Regions, footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.descriptor import mapping as mappings
    from hven.model.literal import Flags
    from hven.model.resource import ValidationRule

    Failed = tuple[tuple[str, ...], pa.Array, str]  # columns, rows that break the rule, why

MAX_CACHED_VALUES = 100_000  # distinct values of which it is known whether they are right
URL_PATTERN = r'^(?:https?|ftps?)://[^\s/?#"<>]+(?:[/?#][^\s"<>]*)?$'
MEDIA_TYPE_PATTERN = (
    r"^(?:application|audio|chemical|font|image|message|model|multipart|text|video)"
    r"/[a-z0-9][a-z0-9!#$&^_.+-]*(?:\s*;.*)?$"
)
BAD_TEXT_PATTERN = r"""^\s|\s$|["'#]"""
BAD_LIST_PATTERN = r"""^\s|\s$|["']|\s#|#\s|##|^#|#$"""
UNKNOWN_FRAME_PATTERN = r"(?i)\bunknownframe\b"
MOC_PATTERN = r"^\s*(?:[st]?\s*\d+/(?:\s*(?:\d+(?:-\d+)?)?\s*[,\s]?)*\s*)+$"


@dataclass(slots=True)
class ColumnRuleChecker:
    """The rules with ``check`` of one table.

    Attributes
    ----------
    seen_hashes
        By name of a rule ``unique``: what earlier batches had; shared by all sources of a table.
    """

    mapping: mappings.CompiledMapping
    seen_hashes: dict[str, SeenHashes] = field(default_factory=dict)
    _results_by_value: dict[str, dict[str, bool]] = field(default_factory=dict)
    _polygons: dict[str, shape_columns.Polygons] = field(
        default_factory=dict
    )  # by column, of the batch that is looked at

    def find_failures(
        self, rows: pa.RecordBatch, constant: frozenset[str] = frozenset()
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], pa.Array]]:
        """Yield each rule without ``unique``, its columns, and which rows break it (booleans without nulls).

        One row stands for all where the columns are `constant`.
        """
        self._polygons.clear()
        for rule, columns, values in self._iterate_rules(rows, select_unique=False):
            for names, failing_mask, reason in self._check_rule(rule, columns, values, constant):
                if pc.any(failing_mask).as_py():
                    all_alike = len(failing_mask) < rows.num_rows
                    if reason:
                        message = f"{reason}; {rule.message}" if rule.message else reason
                        rule_with_reason = replace(rule, message=message)
                    else:
                        rule_with_reason = rule
                    yield (
                        rule_with_reason,
                        names,
                        pa.repeat(True, rows.num_rows) if all_alike else pc.fill_null(failing_mask, False),
                    )

    def find_repeated_rows(
        self, rows: pa.RecordBatch, rejected_mask: Flags | None
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], pa.Array]]:
        """Yield each rule with ``unique``, its columns, and the rows that were there before.

        Those that are `rejected_mask` away count for nothing.

        Ask for the next rule when `rejected_mask` has the rows that this one throws away.
        """
        for rule, columns, values in self._iterate_rules(rows, select_unique=True):
            valid_mask, row_hashes = hash_rows([values[name] for name in columns])
            seen_rows = self.seen_hashes.setdefault(rule.name, SeenHashes())
            repeated_mask = seen_rows.find_repeated(
                row_hashes, valid_mask if rejected_mask is None else valid_mask & ~rejected_mask
            )
            if repeated_mask.any():
                yield rule, columns, pa.array(repeated_mask)

    def _iterate_rules(
        self, rows: pa.RecordBatch, *, select_unique: bool
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], dict[str, pa.Array]]]:
        available_names = set(rows.schema.names)
        values: dict[str, pa.Array] = {}
        for rule in self.mapping.column_rules:
            columns = tuple(name for name in rule.columns if name in available_names)
            if (rule.check == "unique") is select_unique and columns:
                values.update((name, rows.column(name)) for name in columns if name not in values)
                yield rule, columns, values

    def _check_rule(
        self, rule: ValidationRule, columns: tuple[str, ...], rows: Mapping[str, pa.Array], constant: frozenset[str]
    ) -> Iterator[Failed]:
        if rule.check in {"pair", "order"}:
            for low_column, high_column in zip(columns[::2], columns[1::2], strict=False):
                low = rows[low_column]
                high = rows[high_column]
                if low_column in constant and high_column in constant:
                    low = low.slice(0, 1)
                    high = high.slice(0, 1)
                failing_mask = _PAIR_CHECKS[rule.check](low, high)
                if failing_mask is not None:
                    yield (low_column, high_column), failing_mask, ""
        else:
            for name in columns:
                if name in constant:
                    values = rows[name].slice(0, 1)
                else:
                    values = rows[name]
                if rule.check == "region" and pa.types.is_string(values.type):
                    yield from (
                        ((name,), failing_mask, f"{name}: {reason}")
                        for reason, failing_mask in self._find_invalid_regions(rule, values)
                    )
                elif values.null_count < len(values):
                    failing_mask = self._check_rule_column(rule, values, name)
                    if failing_mask is not None:
                        yield (name,), failing_mask, ""

    def _check_rule_column(self, rule: ValidationRule, values: pa.Array, name: str) -> pa.Array | None:
        """Return which values of a column break a rule; None: none does, or the rule is not about such a column."""
        if rule.check == "empty":
            return pc.is_valid(values)
        if rule.check == "between":
            return find_out_of_bounds(values, rule.low, rule.high)
        is_shape_rule = rule.check in {"simple", "moc"} or (rule.check, rule.of) == ("orientation", "body")
        if is_shape_rule and name in self.mapping.contour_columns:
            return None  # such shapes are made here, of contours
        if pa.types.is_string(values.type):
            return self._check_texts(rule, values, name)
        if rule.check in {"region", "orientation", "simple"}:
            return _check_numeric_shapes(rule, values)
        return None

    # each check has its return
    def _check_texts(self, rule: ValidationRule, values: pa.Array, name: str) -> pa.Array:  # noqa: PLR0911
        check = rule.check or ""
        if check == "simple":
            return pa.array(self._read_polygons(values, name).find_self_crossing_rows())
        if check == "orientation":
            polygons = self._read_polygons(values, name)
            return pa.array(polygons.find_misoriented_rows(seen_from_outside=rule.of == "body"))
        if check == "schema":
            return pc.not_equal(values, self.mapping.table.schema)
        if check == "words":
            return self._find_unknown_words(rule, values)
        if check == "pattern":
            anchored_pattern = _build_anchored_pattern(rule.of or "", rule.items)
            return pc.invert(pc.match_substring_regex(values, anchored_pattern))
        if check in _PATTERN_CHECKS:
            return _check_pattern(check, values)
        is_valid = _VALUE_CHECKS[check]
        if rule.items:
            return self._check_distinct_values(rule, values, lambda text: all(map(is_valid, text.split("#"))))
        return self._check_distinct_values(rule, values, is_valid)

    def _read_polygons(self, values: pa.Array, name: str) -> shape_columns.Polygons:
        """Read the polygons of a column once for all rules about them."""
        if name not in self._polygons:
            self._polygons[name] = shape_columns.parse_polygons(values)
        return self._polygons[name]

    def _find_unknown_words(self, rule: ValidationRule, values: pa.Array) -> pa.Array:
        words = self.mapping.vocabularies[rule.of or ""]
        if rule.items:
            anchored_pattern = _build_anchored_pattern("|".join(map(re.escape, words)), True)
            return pc.invert(pc.match_substring_regex(values, anchored_pattern))
        value_set = pa.array(words, pa.string())
        return pc.and_(pc.invert(pc.is_in(values, value_set=value_set)), pc.is_valid(values))

    def _find_invalid_regions(self, rule: ValidationRule, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
        """Yield why rows are no regions, with those rows; texts that were seen before are known."""

        def find_reasons(texts: pa.Array) -> list[str]:
            self._check_distinct_values(rule, texts, lambda text: not shape_columns.explain_invalid_text(text))
            reasons_by_text = {
                text: shape_columns.explain_invalid_text(text)
                for text, bad in self._results_by_value[rule.name].items()
                if bad
            }
            if reasons_by_text:
                return [reasons_by_text.get(text, "") for text in texts.to_pylist()]
            return [""] * len(texts)

        for reason, failing_mask in shape_columns.find_invalid_texts(values, find_reasons):
            yield reason, pa.array(failing_mask)

    def _check_distinct_values(
        self, rule: ValidationRule, values: pa.Array, is_valid: Callable[[str], bool]
    ) -> pa.Array:
        """Ask `is_valid` of each distinct value."""
        results_by_value = self._results_by_value.setdefault(rule.name, {})
        if len(results_by_value) > MAX_CACHED_VALUES:
            results_by_value.clear()
        encoded = values.dictionary_encode()
        answers = []
        for value in encoded.dictionary.to_pylist():
            if value not in results_by_value:
                results_by_value[value] = not is_valid(value)
            answers.append(results_by_value[value])
        return pa.array(answers, pa.bool_()).take(encoded.indices)


def _build_anchored_pattern(pattern: str, is_list: bool) -> str:
    if is_list:
        return rf"^(?:{pattern})(?:#(?:{pattern}))*$"
    return rf"^(?:{pattern})$"


def _find_unpaired(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if low.null_count == high.null_count and low.null_count in {0, len(low)}:
        return None
    return pc.xor(pc.is_valid(low), pc.is_valid(high))


def _find_unordered(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if len(low) in {low.null_count, high.null_count}:
        return None
    return pc.greater(low, high)


def _check_pattern(check: str, values: pa.Array) -> pa.Array:
    """Return which texts do not have the form of a check; a MOC must be readable, too."""
    pattern, match_is_bad = _PATTERN_CHECKS[check]
    failing_mask = pc.match_substring_regex(values, pattern)
    if not match_is_bad:
        failing_mask = pc.invert(failing_mask)
    if check != "moc":
        return failing_mask
    candidate_positions = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(failing_mask), False)))
    text_areas = Moc.compute_text_areas(values.take(pa.array(candidate_positions)))
    invalid_mask = np.zeros(len(values), np.bool_)
    invalid_mask[candidate_positions] = np.isnan(text_areas)
    return pc.or_(failing_mask, pa.array(invalid_mask))


def _check_numeric_shapes(rule: ValidationRule, values: pa.Array) -> pa.Array:
    """Return which shapes are invalid or turn the wrong way.

    A position off the sphere and a polygon of two corners are invalid.
    """
    sizes = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.asarray(values.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    valid_mask = np.asarray(pc.is_valid(values))
    are_polygons = pa.types.is_list(values.type)
    has_whole_pairs = are_polygons and not (sizes % 2).any()
    if rule.check == "orientation":
        return pa.array(
            footprints.is_clockwise(starts, numbers, from_outside=rule.of == "body")
            if has_whole_pairs
            else np.zeros(len(values), bool)
        )
    invalid_mask = shape_columns.find_invalid_numbers(values)
    if rule.check == "simple":
        rows = np.flatnonzero(valid_mask & ~invalid_mask if are_polygons else np.zeros(0, bool))
        crossing = np.zeros(len(values), bool)
        if len(rows):
            checked_values = values.take(pa.array(rows))
            crossing[rows] = Regions.from_polygons(
                np.append(0, np.cumsum(sizes[rows])), np.asarray(checked_values.flatten(), np.float64)
            ).is_self_crossing()
        return pa.array(crossing)
    return pa.array(invalid_mask)


def _is_valid_ucd(text: str) -> bool:
    return bool(text) and not units.check_ucd(text)


def _is_normalized_unit(text: str) -> bool:
    try:
        return units.validate_unit(text) == text
    except ValueError:
        return False


_PAIR_CHECKS: dict[str, Callable[[pa.Array, pa.Array], pa.Array | None]] = {
    "pair": _find_unpaired,
    "order": _find_unordered,
}
_VALUE_CHECKS: dict[str, Callable[[str], bool]] = {"ucd": _is_valid_ucd, "unit": _is_normalized_unit}
_PATTERN_CHECKS = {
    "url": (URL_PATTERN, False),
    "media": (MEDIA_TYPE_PATTERN, False),
    "text": (BAD_TEXT_PATTERN, True),
    "items": (BAD_LIST_PATTERN, True),
    "moc": (MOC_PATTERN, False),
    "frame": (UNKNOWN_FRAME_PATTERN, True),
}
