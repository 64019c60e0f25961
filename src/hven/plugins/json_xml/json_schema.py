"""Find the columns of JSON records: nested objects become dotted names, with the type that a sample's values fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.sources.api.cells import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEAF_CELL, LEAF_LIST, LEAF_TEXT, LEAF_PART, LEAF_REGION = "cell", "list", "text", "part", "region"
MAX_OBJECT_KEYS = 400  # of one object; more keys are values (names of stars), not names of columns
MAX_DEPTH = 32
MAX_COORDINATE = 1e5  # a larger number is no longitude and no height above ground in kilometres
GEOMETRY_TYPES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
_INTEGER_PATTERN = re.compile(r"[+-]?\d+", re.ASCII)
_LEADING_ZERO_PATTERN = re.compile(r"[+-]?0\d{2,}")
_STRUCTURE_WORDS = {"object": "objects", "array": "arrays"}
_KIND_WORDS = {"bool": "booleans", "string": "text", "big": "numbers", "int": "numbers", "float": "numbers"}
_DECIMAL_PATTERN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
_INT64_RANGE = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLeafColumn:
    """One column of the records.

    Attributes
    ----------
    pointer
        Place of its value in a record (RFC 6901).
    leaf_kind
        ``cell``: one value; ``list``: an array of values; ``text``: any value, as JSON text; ``part``: one value of
        each object in an array, at `inner_pointer`; ``region``: a GeoJSON geometry.
    arrow_type
        Arrow type of the value, or of the elements.
    bbox_pointer
        Pointer of the bounding box that replaces a missing geometry.
    mixed_kinds
        Values of several kinds were seen: their names, for people.
    is_drawable
        It is a GeoJSON geometry, as a region or as text, or its bounding box: the frame of the document holds for it.
    is_quoted_number
        Numbers that are written as texts (``"21"``) were seen.
    name
        Name of the column.
    """

    name: str
    pointer: str
    leaf_kind: str
    arrow_type: pa.DataType
    inner_pointer: str = ""
    bbox_pointer: str | None = None
    mixed_kinds: str | None = None
    is_drawable: bool = False
    is_quoted_number: bool = False


@dataclass(slots=True)
class JsonNodeSummary:
    """All values that were seen at one place.

    Attributes
    ----------
    value_kinds
        Kinds of the values: object, array, string, int, float, bool.
    keys
        Summaries of the values of each key.
    items
        Summary of the elements of arrays.
    elements
        Summaries of the elements of records that are arrays, by their numbers.
    words
        The first few texts.
    text_kinds
        Kinds of numbers that texts contain; string for other texts.
    lengths
        Lengths of arrays.
    largest_magnitude
        Largest magnitude of all numbers here and in the arrays below.
    """

    value_kinds: set[str] = field(default_factory=set)
    keys: dict[str, JsonNodeSummary] = field(default_factory=dict)
    items: JsonNodeSummary | None = None
    elements: list[JsonNodeSummary] = field(default_factory=list)
    words: set[str] = field(default_factory=set)  # the first few texts
    text_kinds: set[str] = field(default_factory=set)  # of all texts: numbers ("int", "float"), or others ("string")
    lengths: set[int] = field(default_factory=set)
    largest_magnitude: float = 0.0  # of all numbers here and in the arrays below

    def add_value(self, value: Any, depth: int = 0) -> None:
        """Add a value to those that were seen.

        Parameters
        ----------
        value
            A value of JSON.
        depth
            Number of objects and arrays around it.
        """
        if value is None:
            return
        if isinstance(value, dict):
            self._add_object(value, depth)
        elif isinstance(value, list):
            self._add_array(value, depth)
        elif isinstance(value, str):
            self._add_text(value)
        else:
            self.value_kinds.add(_classify_number(value))
            self.largest_magnitude = max(self.largest_magnitude, abs(value))

    def _add_object(self, members: dict[str, Any], depth: int) -> None:
        self.value_kinds.add("object")
        if depth < MAX_DEPTH:
            for key, value in members.items():
                self.keys.setdefault(key, JsonNodeSummary()).add_value(value, depth + 1)

    def _add_array(self, values: list[Any], depth: int) -> None:
        self.value_kinds.add("array")
        if len(self.lengths) < 8:
            self.lengths.add(len(values))
        if depth == 0:
            self.elements += [JsonNodeSummary() for _ in values[len(self.elements) :]]
            for element, value in zip(self.elements, values, strict=False):
                element.add_value(value, depth + 1)
        if self.items is None:
            self.items = JsonNodeSummary()
        if depth < MAX_DEPTH:
            for value in values:
                self.items.add_value(value, depth + 1)
            self.largest_magnitude = max(self.largest_magnitude, self.items.largest_magnitude)

    def _add_text(self, text: str) -> None:
        self.value_kinds.add("string")
        if len(self.words) < 8:
            self.words.add(text)
        if "string" not in self.text_kinds and text.strip() not in NULL_WORDS:
            self.text_kinds.add(_classify_numeric_text(text.strip()))

    def choose_type(self) -> pa.DataType:
        """Choose the type that all single values fit.

        Returns
        -------
        type
            An Arrow type.
        """
        kinds = self.value_kinds - {"object", "array"}
        if self.has_only_numeric_texts:
            kinds = (kinds - {"string"}) | self.text_kinds
        if kinds <= {"int"} and kinds:
            return pa.int64()
        if kinds <= {"int", "float"} and kinds:
            return pa.float64()
        if kinds == {"bool"}:
            return pa.bool_()
        return pa.string()

    @property
    def has_only_numeric_texts(self) -> bool:
        """Whether there are texts, and all of them are numbers by the rule for delimited text."""
        return bool(self.text_kinds) and "string" not in self.text_kinds and "bool" not in self.value_kinds

    @property
    def is_geometry(self) -> bool:
        """Whether this is a GeoJSON geometry on a sphere (TFCat's are not: seconds and hertz)."""
        has_shape = bool(self.keys.keys() & {"coordinates", "geometries"})
        if self.value_kinds != {"object"} or "type" not in self.keys or not has_shape:
            return False
        words = self.keys["type"].words
        if not words or not words <= GEOMETRY_TYPES:
            return False
        return "coordinates" not in self.keys or self.keys["coordinates"].largest_magnitude <= MAX_COORDINATE


def _classify_number(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, float):
        return "float"
    if value in _INT64_RANGE:
        return "int"
    return "big"


def _classify_numeric_text(text: str) -> str:
    """Distinguish numbers from other texts; leading zeros, and more digits than 64 bits have, make a name."""
    if _INTEGER_PATTERN.fullmatch(text):
        if _LEADING_ZERO_PATTERN.fullmatch(text) or int(text) not in _INT64_RANGE:
            return "string"
        return "int"
    if _DECIMAL_PATTERN.fullmatch(text):
        return "float"
    return "string"


def list_json_columns(
    node: JsonNodeSummary, whole_paths: Sequence[str] = (), names: Sequence[str] = ()
) -> list[JsonLeafColumn]:
    """List the columns of records, in the order in which their keys were seen.

    Parameters
    ----------
    whole_paths
        Dotted paths whose objects stay together, as JSON text.
    names
        Names of the elements, where records are arrays themselves.
    """
    if "array" in node.value_kinds:
        numbers = range(len(names) + 1, len(node.elements) + 1)
        all_names = [*names, *(f"column_{number}" for number in numbers)]
        element_leaves: list[JsonLeafColumn] = []
        for index, name in enumerate(all_names):
            element = node.elements[index] if index < len(node.elements) else JsonNodeSummary()
            element_leaves += _list_node_leaves(element, name, f"/{index}", frozenset(whole_paths), None)
        return element_leaves
    if "object" not in node.value_kinds:
        leaf = JsonLeafColumn(name="value", pointer="", leaf_kind=LEAF_CELL, arrow_type=node.choose_type())
        return [leaf]
    taken_names: set[str] = set()
    listed_leaves = []
    for leaf in _list_key_leaves(node, "", "", frozenset(whole_paths)):
        name = leaf.name
        number = 2
        while name in taken_names:  # "a.b" and b within a
            name = f"{leaf.name}_{number}"
            number = number + 1
        taken_names.add(name)
        listed_leaves.append(replace(leaf, name=name))
    return listed_leaves


def _build_text_leaf(name: str, pointer: str) -> JsonLeafColumn:
    return JsonLeafColumn(name=name, pointer=pointer, leaf_kind=LEAF_TEXT, arrow_type=pa.string())


def _list_key_leaves(
    node: JsonNodeSummary, name: str, pointer: str, whole_paths: frozenset[str]
) -> Iterator[JsonLeafColumn]:
    for key, inner in node.keys.items():
        escaped_key = key.replace("~", "~0").replace("/", "~1")
        inner_name = key
        if name:
            inner_name = f"{name}.{key}"
        bbox = None
        if key == "geometry" and "bbox" in node.keys:
            bbox = f"{pointer}/bbox"
        is_bbox = key == "bbox" and "geometry" in node.keys and node.keys["geometry"].is_geometry
        for leaf in _list_node_leaves(inner, inner_name, f"{pointer}/{escaped_key}", whole_paths, bbox):
            if is_bbox and leaf.leaf_kind == LEAF_LIST:
                yield replace(leaf, arrow_type=pa.float64(), is_drawable=True)
            else:
                yield leaf


def _list_node_leaves(
    node: JsonNodeSummary, name: str, pointer: str, whole_paths: frozenset[str], bbox: str | None
) -> Iterator[JsonLeafColumn]:
    if name in whole_paths:
        yield replace(_build_text_leaf(name, pointer), is_drawable=node.is_geometry)
        return
    if node.is_geometry:
        yield JsonLeafColumn(
            name=name,
            pointer=pointer,
            leaf_kind=LEAF_REGION,
            arrow_type=pa.string(),
            bbox_pointer=bbox,
            is_drawable=True,
        )
        yield replace(_build_text_leaf(f"{name}.type", f"{pointer}/type"), leaf_kind=LEAF_CELL)
        return
    has_single_values = bool(node.value_kinds - {"object", "array"})
    if "array" in node.value_kinds:
        mixed_kinds = None
        if "object" in node.value_kinds:
            mixed_kinds = _describe_structures(node.value_kinds)
        yield from _list_array_leaves(node, name, pointer, mixed_kinds)
    elif has_single_values or not node.keys or len(node.keys) > MAX_OBJECT_KEYS:
        yield _build_value_leaf(node, name, pointer)
    if len(node.keys) <= MAX_OBJECT_KEYS:
        yield from _list_key_leaves(node, name, pointer, whole_paths)


def _build_value_leaf(node: JsonNodeSummary, name: str, pointer: str) -> JsonLeafColumn:
    """Build the column of single values, perhaps with objects among them."""
    single_kinds = node.value_kinds - {"object", "array"}
    if "object" in node.value_kinds:
        leaf = _build_text_leaf(name, pointer)
        if single_kinds:
            leaf = replace(leaf, mixed_kinds=_describe_structures(node.value_kinds))
        return leaf
    is_quoted_number = node.has_only_numeric_texts
    if is_quoted_number:
        single_kinds -= {"string"}
    return JsonLeafColumn(
        name=name,
        pointer=pointer,
        leaf_kind=LEAF_CELL,
        arrow_type=node.choose_type(),
        mixed_kinds=_describe_mixed_kinds(single_kinds),
        is_quoted_number=is_quoted_number,
    )


def _describe_structures(value_kinds: set[str]) -> str:
    """Name the structures that stand side by side: arrays, objects, single values."""
    words = {_STRUCTURE_WORDS.get(kind, "single values") for kind in value_kinds}
    return " and ".join(sorted(words))


def _describe_mixed_kinds(single: set[str]) -> str | None:
    """Name the kinds of single values that stand side by side, where only text holds them all."""
    kind_words = {_KIND_WORDS[kind] for kind in single}
    if len(kind_words) > 1:
        return " and ".join(sorted(kind_words))
    return None


def _list_array_leaves(node: JsonNodeSummary, name: str, pointer: str, mixed: str | None) -> Iterator[JsonLeafColumn]:
    items = node.items or JsonNodeSummary()
    if mixed is not None or "array" in items.value_kinds:
        yield replace(_build_text_leaf(name, pointer), mixed_kinds=mixed)
        return
    if "object" not in items.value_kinds:
        value_kinds = (items.value_kinds | node.value_kinds) - {"array"}
        merged = JsonNodeSummary(value_kinds=value_kinds)
        element_type = merged.choose_type()
        yield JsonLeafColumn(name=name, pointer=pointer, leaf_kind=LEAF_LIST, arrow_type=element_type)
        return
    yield _build_text_leaf(name, pointer)
    if len(items.keys) > MAX_OBJECT_KEYS:
        return
    for leaf in _list_key_leaves(items, "", "", frozenset()):
        if leaf.leaf_kind not in {LEAF_CELL, LEAF_TEXT}:
            continue
        arrow_type = leaf.arrow_type
        if leaf.is_quoted_number:
            arrow_type = pa.string()
        yield JsonLeafColumn(
            name=f"{name}.{leaf.name}",
            pointer=pointer,
            leaf_kind=LEAF_PART,
            arrow_type=arrow_type,
            inner_pointer=leaf.pointer,
        )
