"""What JSON records hold: nested objects become dotted names, each with the type that all values of a sample fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.sources._reading.cells import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

LEAF_CELL, LEAF_LIST, LEAF_TEXT, LEAF_PART, LEAF_REGION = "cell", "list", "text", "part", "region"
MAX_OBJECT_KEYS = 400  # keys of one object; with more of them they are values (names of stars), not names of columns
MAX_DEPTH = 32
MAX_COORDINATE = 1e5  # no longitude and no height above ground in kilometres
GEOMETRY_TYPES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
_INTEGER_PATTERN, _LEADING_ZERO_PATTERN = re.compile(r"[+-]?\d+", re.ASCII), re.compile(r"[+-]?0\d{2,}")
_DECIMAL_PATTERN = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
_INT64_RANGE = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class JsonLeaf:
    """One column.

    Attributes
    ----------
    pointer
        RFC 6901: where its value stands in a record.
    leaf_kind
        ``cell``: one value; ``list``: an array of values; ``text``: whatever there is, as JSON text; ``part``: of each
        object in an array one value, at `inner_pointer`; ``region``: a GeoJSON geometry.
    arrow_type
        Arrow type of the value, or of the elements.
    bbox_pointer
        Pointer of a bounding box that stands for a geometry that is not there.
    mixed_kinds
        Values of several kinds were seen: what they are, for people.
    is_drawable
        It is a GeoJSON geometry, as a region or as text, or its bounding box: what a document says of its frame holds
        for it.
    is_quoted_number
        Numbers that are written as texts (``"21"``) were seen.
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
class JsonNode:
    """All values seen at one place."""

    value_kinds: set[str] = field(default_factory=set)
    keys: dict[str, JsonNode] = field(default_factory=dict)
    items: JsonNode | None = None
    words: set[str] = field(default_factory=set)  # the first few texts
    text_kinds: set[str] = field(default_factory=set)  # of all texts: numbers ("int", "float"), or others ("string")
    lengths: set[int] = field(default_factory=set)
    largest_magnitude: float = 0.0  # from zero, of all numbers here and in arrays below

    def add_value(self, value: Any, depth: int = 0) -> None:
        """Add a value to what was seen."""
        if value is None:
            return
        if isinstance(value, dict):
            self.value_kinds.add("object")
            if depth < MAX_DEPTH:
                for key, inner in value.items():
                    self.keys.setdefault(key, JsonNode()).add_value(inner, depth + 1)
        elif isinstance(value, list):
            self.value_kinds.add("array")
            if len(self.lengths) < 8:
                self.lengths.add(len(value))
            if self.items is None:
                self.items = JsonNode()
            if depth < MAX_DEPTH:
                for inner in value:
                    self.items.add_value(inner, depth + 1)
                self.largest_magnitude = max(self.largest_magnitude, self.items.largest_magnitude)
        elif isinstance(value, str):
            self.value_kinds.add("string")
            if len(self.words) < 8:
                self.words.add(value)
            if "string" not in self.text_kinds and value.strip() not in NULL_WORDS:
                self.text_kinds.add(_classify_text(value.strip()))
        else:
            self.value_kinds.add(_classify_number(value))
            self.largest_magnitude = max(self.largest_magnitude, abs(value))

    def choose_type(self) -> pa.DataType:
        """Choose the type that all single values fit."""
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
        if (
            self.value_kinds != {"object"}
            or "type" not in self.keys
            or not self.keys.keys() & {"coordinates", "geometries"}
        ):
            return False
        words = self.keys["type"].words
        return (
            bool(words)
            and words <= GEOMETRY_TYPES
            and ("coordinates" not in self.keys or self.keys["coordinates"].largest_magnitude <= MAX_COORDINATE)
        )


def _classify_number(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in _INT64_RANGE else "big"
    return "float"


def _classify_text(text: str) -> str:
    """Tell numbers from other texts; leading zeros, and more digits than 64 bits have, make a name."""
    if _INTEGER_PATTERN.fullmatch(text):
        if _LEADING_ZERO_PATTERN.fullmatch(text) or int(text) not in _INT64_RANGE:
            return "string"
        return "int"
    return "float" if _DECIMAL_PATTERN.fullmatch(text) else "string"


def list_leaves(node: JsonNode, whole_paths: Sequence[str] = (), names: Sequence[str] = ()) -> list[JsonLeaf]:
    """List the columns of records, in the order in which their keys were seen.

    Parameters
    ----------
    whole_paths
        Dotted paths whose objects are left together, as JSON text.
    names
        Of the elements, where records are arrays themselves.
    """
    if "array" in node.value_kinds:
        count = max(node.lengths, default=0)
        element_names = [*names, *(f"column_{number}" for number in range(len(names) + 1, count + 1))]
        return [
            JsonLeaf(name=name, pointer=f"/{element_number}", leaf_kind=LEAF_TEXT, arrow_type=pa.string())
            for element_number, name in enumerate(element_names)
        ]
    if "object" not in node.value_kinds:
        return [JsonLeaf(name="value", pointer="", leaf_kind=LEAF_CELL, arrow_type=node.choose_type())]
    taken_names: set[str] = set()
    listed_leaves = []
    for leaf in _list_key_leaves(node, "", "", frozenset(whole_paths)):
        name = leaf.name
        number = 2
        while name in taken_names:  # "a.b" and b within a
            name = f"{leaf.name}_{number}"
            number = number + 1
        taken_names.add(name)
        listed_leaves.append(
            leaf
            if name == leaf.name
            else JsonLeaf(**{key: getattr(leaf, key) for key in JsonLeaf.__slots__} | {"name": name})
        )
    return listed_leaves


def _list_key_leaves(node: JsonNode, name: str, pointer: str, whole_paths: frozenset[str]) -> Iterator[JsonLeaf]:
    for key, inner in node.keys.items():
        inner_pointer = pointer + "/" + key.replace("~", "~0").replace("/", "~1")
        if key == "geometry" and "bbox" in node.keys:
            bbox = f"{pointer}/bbox"
        else:
            bbox = None
        inner_leaves = _list_node_leaves(inner, f"{name}.{key}" if name else key, inner_pointer, whole_paths, bbox)
        is_bbox = key == "bbox" and "geometry" in node.keys and node.keys["geometry"].is_geometry
        yield from (
            replace(leaf, arrow_type=pa.float64(), is_drawable=True)
            if is_bbox and leaf.leaf_kind == LEAF_LIST
            else leaf
            for leaf in inner_leaves
        )


def _list_node_leaves(
    node: JsonNode, name: str, pointer: str, whole_paths: frozenset[str], bbox: str | None
) -> Iterator[JsonLeaf]:
    single = node.value_kinds - {"object", "array"}
    if name in whole_paths:
        yield JsonLeaf(
            name=name, pointer=pointer, leaf_kind=LEAF_TEXT, arrow_type=pa.string(), is_drawable=node.is_geometry
        )
        return
    if node.is_geometry:
        yield JsonLeaf(
            name=name,
            pointer=pointer,
            leaf_kind=LEAF_REGION,
            arrow_type=pa.string(),
            bbox_pointer=bbox,
            is_drawable=True,
        )
        yield JsonLeaf(name=f"{name}.type", pointer=f"{pointer}/type", leaf_kind=LEAF_CELL, arrow_type=pa.string())
        return
    mixed = " and ".join(
        sorted({"object": "objects", "array": "arrays"}.get(kind, "single values") for kind in node.value_kinds)
    )
    if "array" in node.value_kinds:
        yield from _list_array_leaves(node, name, pointer, mixed if "object" in node.value_kinds else None)
    elif single or not node.keys or len(node.keys) > MAX_OBJECT_KEYS:
        quoted = node.has_only_numeric_texts and "object" not in node.value_kinds
        if "object" not in node.value_kinds:
            kind = node.choose_type()
        else:
            kind = pa.string()
        odd = (
            mixed
            if "object" in node.value_kinds and single
            else _describe_mixed_kinds(single - {"string"} if quoted else single)
        )
        how = LEAF_TEXT if "object" in node.value_kinds else LEAF_CELL
        yield JsonLeaf(
            name=name, pointer=pointer, leaf_kind=how, arrow_type=kind, mixed_kinds=odd, is_quoted_number=quoted
        )
    if len(node.keys) <= MAX_OBJECT_KEYS:
        yield from _list_key_leaves(node, name, pointer, whole_paths)


def _describe_mixed_kinds(single: set[str]) -> str | None:
    """Name the kinds of single values that stand side by side, where only text holds them all."""
    words = {"bool": "booleans", "string": "text", "big": "numbers", "int": "numbers", "float": "numbers"}
    kind_words = {words[kind] for kind in single}
    if len(kind_words) > 1:
        return " and ".join(sorted(kind_words))
    return None


def _list_array_leaves(node: JsonNode, name: str, pointer: str, mixed: str | None) -> Iterator[JsonLeaf]:
    items = node.items or JsonNode()
    if mixed is not None or "array" in items.value_kinds:
        yield JsonLeaf(name=name, pointer=pointer, leaf_kind=LEAF_TEXT, arrow_type=pa.string(), mixed_kinds=mixed)
        return
    if "object" not in items.value_kinds:
        value_kinds = (items.value_kinds | node.value_kinds) - {"array"}
        merged = JsonNode(value_kinds=value_kinds)
        yield JsonLeaf(name=name, pointer=pointer, leaf_kind=LEAF_LIST, arrow_type=merged.choose_type())
        return
    yield JsonLeaf(name=name, pointer=pointer, leaf_kind=LEAF_TEXT, arrow_type=pa.string())
    if len(items.keys) <= MAX_OBJECT_KEYS:
        for leaf in _list_key_leaves(items, "", "", frozenset()):
            if leaf.leaf_kind in {LEAF_CELL, LEAF_TEXT}:
                yield JsonLeaf(
                    name=f"{name}.{leaf.name}",
                    pointer=pointer,
                    leaf_kind=LEAF_PART,
                    arrow_type=pa.string() if leaf.is_quoted_number else leaf.arrow_type,
                    inner_pointer=leaf.pointer,
                )
