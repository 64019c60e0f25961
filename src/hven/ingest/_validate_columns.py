"""Rules with ``check``: what a standard demands of whole columns - words, pairs, ranges, addresses, regions - as Arrow kernels."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.ingest._casting import outside
from hven.ingest._validate_unique import Seen
from hven.model import shape_columns, units
from hven.model.literal import hashes
from hven.model.sky import Moc, Regions, footprints

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from hven.descriptor import mapping as mappings
    from hven.model.literal import Flags
    from hven.model.resource import Rule

    Failed = tuple[tuple[str, ...], pa.Array, str]  # columns, rows that break the rule, why

REMEMBERED = 100_000  # distinct values of which it is known whether they are right
URL = r'^(?:https?|ftps?)://[^\s/?#"<>]+(?:[/?#][^\s"<>]*)?$'
MEDIA = r"^(?:application|audio|chemical|font|image|message|model|multipart|text|video)/[a-z0-9][a-z0-9!#$&^_.+-]*(?:\s*;.*)?$"
TEXT = r"""^\s|\s$|["'#]"""
ITEMS = r"""^\s|\s$|["']|\s#|#\s|##|^#|#$"""
NO_FRAME = r"(?i)\bunknownframe\b"
MOC = r"^\s*(?:[st]?\s*\d+/(?:\s*(?:\d+(?:-\d+)?)?\s*[,\s]?)*\s*)+$"


@dataclass(slots=True)
class ColumnRules:
    """The rules with ``check`` of one table.

    Attributes
    ----------
    seen
        By name of a rule ``unique``: what earlier batches had; shared by all sources of a table.
    """

    mapping: mappings.Mapping
    seen: dict[str, Seen] = field(default_factory=dict)
    _known: dict[str, dict[str, bool]] = field(default_factory=dict)
    _polygons: dict[str, shape_columns.Polygons] = field(
        default_factory=dict
    )  # by column, of the batch that is looked at

    def failed(
        self, rows: pa.RecordBatch, constant: frozenset[str] = frozenset()
    ) -> Iterator[tuple[Rule, tuple[str, ...], pa.Array]]:
        """Yield each rule but those with ``unique``, the columns concerned, and the rows that break it (booleans without nulls).

        Of columns that are `constant` one row is looked at.
        """
        self._polygons.clear()
        for rule, columns, values in self._with_columns(rows, unique=False):
            for names, bad, why in self._failed(rule, columns, values, constant):
                if pc.any(bad).as_py():
                    all_alike = len(bad) < rows.num_rows
                    said = replace(rule, message=f"{why}; {rule.message}" if rule.message else why) if why else rule
                    yield said, names, pa.repeat(True, rows.num_rows) if all_alike else pc.fill_null(bad, False)

    def repeated(self, rows: pa.RecordBatch, thrown: Flags | None) -> Iterator[tuple[Rule, tuple[str, ...], pa.Array]]:
        """Yield each rule with ``unique``, its columns, and the rows that were there before; those that are `thrown` away count for nothing.

        Ask for the next rule when `thrown` has the rows that this one throws away.
        """
        for rule, columns, values in self._with_columns(rows, unique=True):
            given, code = hashes([values[name] for name in columns])
            known = self.seen.setdefault(rule.name, Seen())
            again = known.again(code, given if thrown is None else given & ~thrown)
            if again.any():
                yield rule, columns, pa.array(again)

    def _with_columns(
        self, rows: pa.RecordBatch, *, unique: bool
    ) -> Iterator[tuple[Rule, tuple[str, ...], dict[str, pa.Array]]]:
        there = set(rows.schema.names)
        values: dict[str, pa.Array] = {}
        for rule in self.mapping.rules:
            columns = tuple(name for name in rule.columns if name in there)
            if (rule.check == "unique") is unique and columns:
                values.update((name, rows.column(name)) for name in columns if name not in values)
                yield rule, columns, values

    def _failed(
        self, rule: Rule, columns: tuple[str, ...], rows: Mapping[str, pa.Array], constant: frozenset[str]
    ) -> Iterator[Failed]:
        if rule.check in {"pair", "order"}:
            for one, two in zip(columns[::2], columns[1::2], strict=False):
                low, high = rows[one], rows[two]
                if one in constant and two in constant:
                    low, high = low.slice(0, 1), high.slice(0, 1)
                bad = _PAIRS[rule.check](low, high)
                if bad is not None:
                    yield (one, two), bad, ""
        else:
            for name in columns:
                values = rows[name].slice(0, 1) if name in constant else rows[name]
                if rule.check == "region" and pa.types.is_string(values.type):
                    yield from (((name,), bad, f"{name}: {why}") for why, bad in self._no_regions(rule, values))
                elif values.null_count < len(values):
                    bad = self._of_one(rule, values, name)
                    if bad is not None:
                        yield (name,), bad, ""

    def _of_one(self, rule: Rule, values: pa.Array, name: str) -> pa.Array | None:
        if rule.check == "empty":
            return pc.is_valid(values)
        if name in self.mapping.filled and (
            rule.check in {"simple", "moc"} or (rule.check, rule.of) == ("orientation", "body")
        ):  # made here, of contours
            return None
        if rule.check == "between":
            return outside(values, rule.low, rule.high)
        if rule.check in {"region", "orientation", "simple"} and not pa.types.is_string(values.type):
            return _of_numbers(rule, values)
        if not pa.types.is_string(values.type):
            return None
        if rule.check == "simple":
            return pa.array(self._read_polygons(values, name).crossing())
        if rule.check == "schema":
            return pc.not_equal(values, self.mapping.table.schema)
        if rule.check == "words":
            return self._not_words(rule, values)
        if rule.check == "pattern":
            return pc.invert(pc.match_substring_regex(values, _whole(rule.of or "", rule.items)))
        if rule.check in _REGULAR:
            pattern, found = _REGULAR[rule.check]
            match = pc.match_substring_regex(values, pattern)
            bad = match if found else pc.invert(match)
            if rule.check == "moc":
                there = np.flatnonzero(np.asarray(pc.fill_null(pc.invert(bad), False)))
                none = np.zeros(len(values), np.bool_)
                none[there] = np.isnan(Moc.areas(values.take(pa.array(there))))
                bad = pc.or_(bad, pa.array(none))
            return bad
        if rule.check == "orientation":
            return pa.array(self._read_polygons(values, name).astray(outside=rule.of == "body"))
        right = _RIGHT[rule.check or ""]
        return self._by_value(
            rule, values, (lambda text: all(right(item) for item in text.split("#"))) if rule.items else right
        )

    def _read_polygons(self, values: pa.Array, name: str) -> shape_columns.Polygons:
        """Read the polygons of a column once for all rules about them."""
        if name not in self._polygons:
            self._polygons[name] = shape_columns.read_polygons(values)
        return self._polygons[name]

    def _not_words(self, rule: Rule, values: pa.Array) -> pa.Array:
        words = self.mapping.vocabularies[rule.of or ""]
        if rule.items:
            return pc.invert(pc.match_substring_regex(values, _whole("|".join(map(re.escape, words)), True)))
        return pc.and_(pc.invert(pc.is_in(values, value_set=pa.array(words, pa.string()))), pc.is_valid(values))

    def _no_regions(self, rule: Rule, values: pa.Array) -> Iterator[tuple[str, pa.Array]]:
        """Yield why rows are no regions, with those rows; texts that were seen before are known."""

        def reasons(texts: pa.Array) -> list[str]:
            self._by_value(rule, texts, lambda text: not shape_columns.fault_of_text(text))
            wrong = {text: shape_columns.fault_of_text(text) for text, bad in self._known[rule.name].items() if bad}
            return [wrong.get(text, "") for text in texts.to_pylist()] if wrong else [""] * len(texts)

        for why, bad in shape_columns.find_faulty_texts(values, reasons):
            yield why, pa.array(bad)

    def _by_value(self, rule: Rule, values: pa.Array, right: Callable[[str], bool]) -> pa.Array:
        """Ask `right` of each distinct value."""
        known = self._known.setdefault(rule.name, {})
        if len(known) > REMEMBERED:
            known.clear()
        encoded = values.dictionary_encode()
        answers = []
        for value in encoded.dictionary.to_pylist():
            if value not in known:
                known[value] = not right(value)
            answers.append(known[value])
        return pa.array(answers, pa.bool_()).take(encoded.indices)


def _whole(pattern: str, items: bool) -> str:
    return rf"^(?:{pattern})(?:#(?:{pattern}))*$" if items else rf"^(?:{pattern})$"


def _unpaired(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if low.null_count == high.null_count and low.null_count in {0, len(low)}:
        return None
    return pc.xor(pc.is_valid(low), pc.is_valid(high))


def _unordered(low: pa.Array, high: pa.Array) -> pa.Array | None:
    if len(low) in {low.null_count, high.null_count}:
        return None
    return pc.greater(low, high)


def _of_numbers(rule: Rule, values: pa.Array) -> pa.Array:
    """Return which shapes of numbers are none - positions off the sphere, polygons of two corners -, or turn the wrong way."""
    sizes = np.asarray(pc.fill_null(pc.list_value_length(values), 0)).astype(np.int64)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    numbers = np.asarray(values.flatten().cast(pa.float64()).to_numpy(zero_copy_only=False), np.float64)
    known, polygons = np.asarray(pc.is_valid(values)), pa.types.is_list(values.type)
    whole = polygons and not (sizes % 2).any()
    if rule.check == "orientation":
        return pa.array(
            footprints.wrong_way(starts, numbers, outside=rule.of == "body") if whole else np.zeros(len(values), bool)
        )
    bad = shape_columns.find_faulty_numbers(values)
    if rule.check == "simple":
        rows = np.flatnonzero(known & ~bad if polygons else np.zeros(0, bool))
        crossing = np.zeros(len(values), bool)
        if len(rows):
            held = values.take(pa.array(rows))
            crossing[rows] = Regions.polygons(
                np.append(0, np.cumsum(sizes[rows])), np.asarray(held.flatten(), np.float64)
            ).crossing()
        return pa.array(crossing)
    return pa.array(bad)


def _is_ucd(text: str) -> bool:
    return bool(text) and not units.check_ucd(text)


def _is_unit(text: str) -> bool:
    try:
        return units.check(text) == text
    except ValueError:
        return False


_PAIRS: dict[str, Callable[[pa.Array, pa.Array], pa.Array | None]] = {"pair": _unpaired, "order": _unordered}
_RIGHT: dict[str, Callable[[str], bool]] = {"ucd": _is_ucd, "unit": _is_unit}
_REGULAR = {
    "url": (URL, False),
    "media": (MEDIA, False),
    "text": (TEXT, True),
    "items": (ITEMS, True),
    "moc": (MOC, False),
    "frame": (NO_FRAME, True),
}
