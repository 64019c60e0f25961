"""Check rules with ``check`` on whole columns, with Arrow's functions.

Such a rule states what a standard requires of words, pairs, ranges, addresses or regions.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._casting import find_values_out_of_bounds
from hven.ingest._unique_checks import SeenRowHashes
from hven.model import shape_columns, units
from hven.model.literal import hash_rows
from hven.model.sky import Moc, Regions, footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.descriptor import mapping as mappings
    from hven.model.literal import Flags
    from hven.model.resource import ValidationRule

    Failed = tuple[tuple[str, ...], pa.Array, str]  # columns, rows that break the rule, why

MAX_CACHED_VALUES = 100_000  # distinct values of a rule whose result is cached
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
    """Check the rules with ``check`` of one table.

    Attributes
    ----------
    mapping
        The mapping of the table, with its rules.
    seen_hashes
        Seen hashes by name of a rule ``unique``: the values of earlier batches; all sources of a table share them.
    """

    mapping: mappings.CompiledMapping
    seen_hashes: dict[str, SeenRowHashes] = field(default_factory=dict)
    _results_by_value: dict[str, dict[str, bool]] = field(default_factory=dict)
    # by column, of the present batch
    _simple_shapes: dict[str, shape_columns.SimpleShapes] = field(default_factory=dict)
    _polygons: dict[str, shape_columns.PolygonColumn] = field(default_factory=dict)

    def iterate_broken_rules(
        self, rows: pa.RecordBatch, constant_columns: frozenset[str] = frozenset()
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], pa.Array]]:
        """Yield each rule without ``unique`` that is broken, its columns, and the mask of the rows that break it.

        If the columns are `constant_columns`, one row stands for all.
        """
        self._simple_shapes.clear()
        self._polygons.clear()
        for rule, columns, values in self._iterate_rules(rows, select_unique=False):
            for names, failing_mask, reason in self._find_rule_failures(rule, columns, values, constant_columns):
                if not pc.any(failing_mask).as_py():
                    continue
                rule_with_reason = rule
                if reason:
                    message = f"{reason}; {rule.message}" if rule.message else reason
                    rule_with_reason = replace(rule, message=message)
                stands_for_all = len(failing_mask) < rows.num_rows
                if stands_for_all:
                    row_mask = pa.repeat(True, rows.num_rows)
                else:
                    row_mask = pc.fill_null(failing_mask, False)
                yield rule_with_reason, names, row_mask

    def find_repeated_rows(
        self, rows: pa.RecordBatch, rejected_mask: Flags | None
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], pa.Array]]:
        """Yield each broken rule with ``unique``, its columns, and the mask of the rows that repeat earlier rows.

        Rows of `rejected_mask` do not count. The caller updates the mask with the rows that a rule rejects before it
        asks for the next rule.
        """
        for rule, columns, values in self._iterate_rules(rows, select_unique=True):
            counted_mask, row_hashes = hash_rows([values[name] for name in columns])
            if rejected_mask is not None:
                counted_mask = counted_mask & ~rejected_mask
            seen_rows = self.seen_hashes.setdefault(rule.name, SeenRowHashes())
            repeated_mask = seen_rows.add_rows_and_find_repeated(row_hashes, counted_mask)
            if repeated_mask.any():
                yield rule, columns, pa.array(repeated_mask)

    def _iterate_rules(
        self, rows: pa.RecordBatch, *, select_unique: bool
    ) -> Iterator[tuple[ValidationRule, tuple[str, ...], dict[str, pa.Array]]]:
        """Yield the rules about columns of a batch, with these columns and their values."""
        available_names = set(rows.schema.names)
        values: dict[str, pa.Array] = {}
        for rule in self.mapping.column_rules:
            is_unique_rule = rule.check == "unique"
            columns = tuple(name for name in rule.columns if name in available_names)
            if is_unique_rule is not select_unique or not columns:
                continue
            for name in columns:
                if name not in values:
                    values[name] = rows.column(name)
            yield rule, columns, values

    def _find_rule_failures(
        self,
        rule: ValidationRule,
        columns: tuple[str, ...],
        rows: Mapping[str, pa.Array],
        constant_columns: frozenset[str],
    ) -> Iterator[Failed]:
        """Yield the columns and the failing rows of a rule; the mask of constant columns has one row."""
        if rule.check in {"pair", "order"}:
            for low_column, high_column in zip(columns[::2], columns[1::2], strict=False):
                low = rows[low_column]
                high = rows[high_column]
                if low_column in constant_columns and high_column in constant_columns:
                    low = low.slice(0, 1)
                    high = high.slice(0, 1)
                failing_mask = _PAIR_CHECKS[rule.check](low, high)
                if failing_mask is not None:
                    yield (low_column, high_column), failing_mask, ""
            return
        for name in columns:
            if name in constant_columns:
                values = rows[name].slice(0, 1)
            else:
                values = rows[name]
            if rule.check == "region" and pa.types.is_string(values.type):
                shapes = self._parse_simple_shapes_once(values, name)
                for reason, failing_mask in self._find_invalid_regions(rule, values, shapes):
                    yield (name,), failing_mask, f"{name}: {reason}"
            elif values.null_count < len(values):
                failing_mask = self._find_failing_values(rule, values, name)
                if failing_mask is not None:
                    yield (name,), failing_mask, ""

    def _find_failing_values(self, rule: ValidationRule, values: pa.Array, column_name: str) -> pa.Array | None:
        """Return the mask of the values that break a rule; None: none does, or the rule does not fit the column."""
        if rule.check == "empty":
            return pc.is_valid(values)
        if rule.check == "between":
            return find_values_out_of_bounds(values, rule.low, rule.high)
        is_shape_rule = rule.check in {"simple", "moc"} or (rule.check, rule.of) == ("orientation", "body")
        if is_shape_rule and column_name in self.mapping.contour_columns:
            return None  # Hven itself makes these shapes from contours
        if pa.types.is_string(values.type):
            return self._find_failing_texts(rule, values, column_name)
        if rule.check in {"region", "orientation", "simple"}:
            return _find_invalid_numeric_shapes(rule, values)
        return None

    # each check has its own return
    def _find_failing_texts(  # noqa: PLR0911
        self, rule: ValidationRule, values: pa.Array, column_name: str
    ) -> pa.Array:
        check = rule.check or ""
        if check == "simple":
            return pa.array(self._parse_polygons_once(values, column_name).find_self_crossing_rows())
        if check == "orientation":
            polygons = self._parse_polygons_once(values, column_name)
            return pa.array(polygons.find_misoriented_rows(seen_from_outside=rule.of == "body"))
        if check == "schema":
            return pc.not_equal(values, self.mapping.table.schema)
        if check == "words":
            return self._find_unknown_words(rule, values)
        if check == "pattern":
            anchored_pattern = _build_anchored_pattern(rule.of or "", rule.items)
            return pc.invert(pc.match_substring_regex(values, anchored_pattern))
        if check in _PATTERN_CHECKS:
            return _find_pattern_mismatches(check, values)
        is_valid = _VALUE_CHECKS[check]
        if rule.items:
            return self._find_invalid_distinct_values(rule, values, lambda text: all(map(is_valid, text.split("#"))))
        return self._find_invalid_distinct_values(rule, values, is_valid)

    def _parse_polygons_once(self, values: pa.Array, column_name: str) -> shape_columns.PolygonColumn:
        """Parse the polygons of a column, once for all rules about them."""
        if column_name not in self._polygons:
            shapes = self._parse_simple_shapes_once(values, column_name)
            self._polygons[column_name] = shape_columns.parse_polygons(values, shapes)
        return self._polygons[column_name]

    def _parse_simple_shapes_once(self, values: pa.Array, column_name: str) -> shape_columns.SimpleShapes:
        if column_name not in self._simple_shapes:
            self._simple_shapes[column_name] = shape_columns.parse_simple_shapes(values)
        return self._simple_shapes[column_name]

    def _find_unknown_words(self, rule: ValidationRule, values: pa.Array) -> pa.Array:
        words = self.mapping.vocabularies[rule.of or ""]
        if rule.items:
            any_word = "|".join(map(re.escape, words))
            anchored_pattern = _build_anchored_pattern(any_word, True)
            return pc.invert(pc.match_substring_regex(values, anchored_pattern))
        is_known = pc.is_in(values, value_set=pa.array(words, pa.string()))
        return pc.and_(pc.invert(is_known), pc.is_valid(values))

    def _find_invalid_regions(
        self, rule: ValidationRule, values: pa.Array, shapes: shape_columns.SimpleShapes
    ) -> Iterator[tuple[str, pa.Array]]:
        """Yield each reason why texts are no regions, with the mask of its rows; results of texts are cached."""

        def find_reasons(texts: pa.Array) -> list[str]:
            self._find_invalid_distinct_values(
                rule, texts, lambda text: not shape_columns.explain_invalid_region_text(text)
            )
            results = self._results_by_value[rule.name]
            invalid_texts = [text for text, is_invalid in results.items() if is_invalid]
            reasons_by_text = {text: shape_columns.explain_invalid_region_text(text) for text in invalid_texts}
            if reasons_by_text:
                return [reasons_by_text.get(text, "") for text in texts.to_pylist()]
            return [""] * len(texts)

        for reason, failing_mask in shape_columns.find_invalid_region_texts(values, find_reasons, shapes):
            yield reason, pa.array(failing_mask)

    def _find_invalid_distinct_values(
        self, rule: ValidationRule, values: pa.Array, is_valid: Callable[[str], bool]
    ) -> pa.Array:
        """Call `is_valid` once for each distinct value, and return the mask of the invalid values."""
        results_by_value = self._results_by_value.setdefault(rule.name, {})
        if len(results_by_value) > MAX_CACHED_VALUES:
            results_by_value.clear()
        encoded = values.dictionary_encode()
        invalid_flags = []
        for value in encoded.dictionary.to_pylist():
            if value not in results_by_value:
                results_by_value[value] = not is_valid(value)
            invalid_flags.append(results_by_value[value])
        return pa.array(invalid_flags, pa.bool_()).take(encoded.indices)


def _build_anchored_pattern(pattern: str, is_list: bool) -> str:
    if is_list:
        return rf"^(?:{pattern})(?:#(?:{pattern}))*$"
    return rf"^(?:{pattern})$"


def _find_unpaired_nulls(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if low.null_count == high.null_count and low.null_count in {0, len(low)}:
        return None
    return pc.xor(pc.is_valid(low), pc.is_valid(high))


def _find_inverted_bounds(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if len(low) in {low.null_count, high.null_count}:
        return None
    return pc.greater(low, high)


def _find_pattern_mismatches(check_name: str, values: pa.Array) -> pa.Array:
    """Return the mask of the texts without the form of a check; a MOC must also be readable."""
    pattern, match_is_bad = _PATTERN_CHECKS[check_name]
    failing_mask = pc.match_substring_regex(values, pattern)
    if not match_is_bad:
        failing_mask = pc.invert(failing_mask)
    if check_name != "moc":
        return failing_mask
    has_form = pc.fill_null(pc.invert(failing_mask), False)
    candidate_positions = np.flatnonzero(np.asarray(has_form))
    text_areas = Moc.compute_text_sky_fractions(values.take(pa.array(candidate_positions)))
    invalid_mask = np.zeros(len(values), np.bool_)
    invalid_mask[candidate_positions] = np.isnan(text_areas)
    return pc.or_(failing_mask, pa.array(invalid_mask))


def _find_invalid_numeric_shapes(rule: ValidationRule, values: pa.Array) -> pa.Array:
    """Return the mask of the shapes that are invalid, cross themselves or turn the wrong way.

    A shape is invalid if a position is off the sphere, or if it is a polygon of two corners.
    """
    are_polygons = pa.types.is_list(values.type)
    sizes = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    if rule.check == "orientation":
        if not are_polygons or (sizes % 2).any():
            return pa.array(np.zeros(len(values), bool))
        starts = np.concatenate([[0], np.cumsum(sizes)])
        coordinates = values.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False)
        numbers = np.asarray(coordinates, np.float64)
        return pa.array(footprints.is_clockwise(starts, numbers, from_outside=rule.of == "body"))
    invalid_mask = shape_columns.find_invalid_numeric_shapes(values)
    if rule.check != "simple":
        return pa.array(invalid_mask)
    crossing_mask = np.zeros(len(values), bool)
    if are_polygons:
        valid_rows = np.flatnonzero(np.asarray(pc.is_valid(values)) & ~invalid_mask)
        if len(valid_rows):
            ends = np.append(0, np.cumsum(sizes[valid_rows]))
            coordinates = np.asarray(values.take(pa.array(valid_rows)).flatten(), np.float64)
            crossing_mask[valid_rows] = Regions.from_polygons(ends, coordinates).is_self_crossing()
    return pa.array(crossing_mask)


def _is_valid_ucd(text: str) -> bool:
    return bool(text) and not units.list_ucd_problems(text)


def _is_normalized_unit(text: str) -> bool:
    try:
        return units.canonicalize_unit(text) == text
    except ValueError:
        return False


_PAIR_CHECKS: dict[str, Callable[[pa.Array, pa.Array], pa.Array | None]] = {
    "pair": _find_unpaired_nulls,
    "order": _find_inverted_bounds,
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
