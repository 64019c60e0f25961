"""What JSON records hold: nested objects become dotted names, each with the type that all values of a sample fit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from hven.sources._reading.cells import NULL_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

CELL, LIST, TEXT, PART, REGION = "cell", "list", "text", "part", "region"
MOST = 400  # keys of one object; with more of them they are values (names of stars), not names of columns
DEEPEST = 32
FARTHEST = 1e5  # no longitude and no height above ground in kilometres
GEOMETRIES = frozenset(
    {"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon", "GeometryCollection"}
)
_WHOLE, _LEADING_ZERO = re.compile(r"[+-]?\d+", re.ASCII), re.compile(r"[+-]?0\d{2,}")
_DECIMAL = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?", re.ASCII)
_INT64 = range(-(2**63), 2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One column.

    Attributes
    ----------
    pointer
        RFC 6901: where its value stands in a record.
    how
        ``cell``: one value; ``list``: an array of values; ``text``: whatever there is, as JSON text; ``part``: of each object in an
        array one value, at `inner`; ``region``: a GeoJSON geometry.
    kind
        Arrow type of the value, or of the elements.
    bbox
        Pointer of a bounding box that stands for a geometry that is not there.
    mixed
        Values of several kinds were seen: what they are, for people.
    drawn
        It is a GeoJSON geometry, as a region or as text, or its bounding box: what a document says of its frame holds for it.
    quoted
        Numbers that are written as texts (``"21"``) were seen.
    """

    name: str
    pointer: str
    how: str
    kind: pa.DataType
    inner: str = ""
    bbox: str | None = None
    mixed: str | None = None
    drawn: bool = False
    quoted: bool = False


@dataclass(slots=True)
class Node:
    """All values seen at one place."""

    kinds: set[str] = field(default_factory=set)
    keys: dict[str, Node] = field(default_factory=dict)
    items: Node | None = None
    words: set[str] = field(default_factory=set)  # the first few texts
    text_kinds: set[str] = field(default_factory=set)  # of all texts: numbers ("int", "float"), or others ("string")
    lengths: set[int] = field(default_factory=set)
    farthest: float = 0.0  # from zero, of all numbers here and in arrays below

    def see(self, value: Any, depth: int = 0) -> None:
        """Add a value to what was seen."""
        if value is None:
            return
        if isinstance(value, dict):
            self.kinds.add("object")
            if depth < DEEPEST:
                for key, inner in value.items():
                    self.keys.setdefault(key, Node()).see(inner, depth + 1)
        elif isinstance(value, list):
            self.kinds.add("array")
            if len(self.lengths) < 8:
                self.lengths.add(len(value))
            if self.items is None:
                self.items = Node()
            if depth < DEEPEST:
                for inner in value:
                    self.items.see(inner, depth + 1)
                self.farthest = max(self.farthest, self.items.farthest)
        elif isinstance(value, str):
            self.kinds.add("string")
            if len(self.words) < 8:
                self.words.add(value)
            if "string" not in self.text_kinds and value.strip() not in NULL_WORDS:
                self.text_kinds.add(_kind_of_text(value.strip()))
        else:
            self.kinds.add(_number(value))
            self.farthest = max(self.farthest, abs(value))

    def kind(self) -> pa.DataType:
        """Choose the type that all single values fit."""
        found = self.kinds - {"object", "array"}
        if self.are_texts_numbers:
            found = (found - {"string"}) | self.text_kinds
        if found <= {"int"} and found:
            return pa.int64()
        if found <= {"int", "float"} and found:
            return pa.float64()
        if found == {"bool"}:
            return pa.bool_()
        return pa.string()

    @property
    def are_texts_numbers(self) -> bool:
        """Whether there are texts, and all of them are numbers by the rule for delimited text."""
        return bool(self.text_kinds) and "string" not in self.text_kinds and "bool" not in self.kinds

    @property
    def geometry(self) -> bool:
        """Whether this is a GeoJSON geometry on a sphere (TFCat's are not: seconds and hertz)."""
        if self.kinds != {"object"} or "type" not in self.keys or not self.keys.keys() & {"coordinates", "geometries"}:
            return False
        words = self.keys["type"].words
        return (
            bool(words)
            and words <= GEOMETRIES
            and ("coordinates" not in self.keys or self.keys["coordinates"].farthest <= FARTHEST)
        )


def _number(value: Any) -> str:
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "int" if value in _INT64 else "big"
    return "float"


def _kind_of_text(text: str) -> str:
    """Tell numbers from other texts; leading zeros, and more digits than 64 bits have, make a name."""
    if _WHOLE.fullmatch(text):
        return "string" if _LEADING_ZERO.fullmatch(text) or int(text) not in _INT64 else "int"
    return "float" if _DECIMAL.fullmatch(text) else "string"


def leaves(node: Node, whole: Sequence[str] = (), names: Sequence[str] = ()) -> list[Leaf]:
    """List the columns of records, in the order in which their keys were seen.

    Parameters
    ----------
    whole
        Dotted paths whose objects are left together, as JSON text.
    names
        Of the elements, where records are arrays themselves.
    """
    if "array" in node.kinds:
        count = max(node.lengths, default=0)
        said = [*names, *(f"column_{number}" for number in range(len(names) + 1, count + 1))]
        return [Leaf(name=name, pointer=f"/{at}", how=TEXT, kind=pa.string()) for at, name in enumerate(said)]
    if "object" not in node.kinds:
        return [Leaf(name="value", pointer="", how=CELL, kind=node.kind())]
    taken: set[str] = set()
    found = []
    for leaf in _of(node, "", "", frozenset(whole)):
        name, number = leaf.name, 2
        while name in taken:  # "a.b" and b within a
            name, number = f"{leaf.name}_{number}", number + 1
        taken.add(name)
        found.append(
            leaf if name == leaf.name else Leaf(**{key: getattr(leaf, key) for key in Leaf.__slots__} | {"name": name})
        )
    return found


def _of(node: Node, name: str, pointer: str, whole: frozenset[str]) -> Iterator[Leaf]:
    for key, inner in node.keys.items():
        below = pointer + "/" + key.replace("~", "~0").replace("/", "~1")
        bbox = f"{pointer}/bbox" if key == "geometry" and "bbox" in node.keys else None
        made = _one(inner, f"{name}.{key}" if name else key, below, whole, bbox)
        around = key == "bbox" and "geometry" in node.keys and node.keys["geometry"].geometry
        yield from (replace(leaf, kind=pa.float64(), drawn=True) if around and leaf.how == LIST else leaf for leaf in made)  # fmt: skip


def _one(node: Node, name: str, pointer: str, whole: frozenset[str], bbox: str | None) -> Iterator[Leaf]:
    single = node.kinds - {"object", "array"}
    if name in whole:
        yield Leaf(name=name, pointer=pointer, how=TEXT, kind=pa.string(), drawn=node.geometry)
        return
    if node.geometry:
        yield Leaf(name=name, pointer=pointer, how=REGION, kind=pa.string(), bbox=bbox, drawn=True)
        yield Leaf(name=f"{name}.type", pointer=f"{pointer}/type", how=CELL, kind=pa.string())
        return
    mixed = " and ".join(
        sorted({"object": "objects", "array": "arrays"}.get(kind, "single values") for kind in node.kinds)
    )
    if "array" in node.kinds:
        yield from _array(node, name, pointer, mixed if "object" in node.kinds else None)
    elif single or not node.keys or len(node.keys) > MOST:
        quoted = node.are_texts_numbers and "object" not in node.kinds
        kind = node.kind() if "object" not in node.kinds else pa.string()
        odd = mixed if "object" in node.kinds and single else _odd(single - {"string"} if quoted else single)
        how = TEXT if "object" in node.kinds else CELL
        yield Leaf(name=name, pointer=pointer, how=how, kind=kind, mixed=odd, quoted=quoted)
    if len(node.keys) <= MOST:
        yield from _of(node, name, pointer, whole)


def _odd(single: set[str]) -> str | None:
    """Name the kinds of single values that stand side by side, where only text holds them all."""
    words = {"bool": "booleans", "string": "text", "big": "numbers", "int": "numbers", "float": "numbers"}
    found = {words[kind] for kind in single}
    return " and ".join(sorted(found)) if len(found) > 1 else None


def _array(node: Node, name: str, pointer: str, mixed: str | None) -> Iterator[Leaf]:
    items = node.items or Node()
    if mixed is not None or "array" in items.kinds:
        yield Leaf(name=name, pointer=pointer, how=TEXT, kind=pa.string(), mixed=mixed)
        return
    if "object" not in items.kinds:
        merged = Node(kinds=(items.kinds | node.kinds) - {"array"})
        yield Leaf(name=name, pointer=pointer, how=LIST, kind=merged.kind())
        return
    yield Leaf(name=name, pointer=pointer, how=TEXT, kind=pa.string())
    if len(items.keys) <= MOST:
        for leaf in _of(items, "", "", frozenset()):
            if leaf.how in {CELL, TEXT}:
                yield Leaf(
                    name=f"{name}.{leaf.name}",
                    pointer=pointer,
                    how=PART,
                    kind=pa.string() if leaf.quoted else leaf.kind,
                    inner=leaf.pointer,
                )
