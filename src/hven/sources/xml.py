"""XML: a record for each element of a name; its attributes and children as dotted names, or what XPath says."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from lxml import etree
from pydantic import Field

from hven.model.errors import Place, SourceError
from hven.sources import Context, FileKind, Source
from hven.sources._reading.files import FileOptions
from hven.sources._reading.jsonrows import JsonFiles, JsonOptions
from hven.sources._reading.jsonshape import Node
from hven.sources._reading.jsontext import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources._reading.files import DataFile

FILES = FileKind(
    endings=("xml",),
    begins=rb"(?s)(?:\xef\xbb\xbf)?\s*<\?xml(?!.*?<(?:[\w.-]+:)?(?:VOTABLE|html|HTML|Product_\w+)\b)",
)
PART = 4096  # records that are read together
LOOKED = 20_000  # elements that are looked at to see which ones are the records
TEXT = "#text"  # of an element that has attributes or children, too
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+(?:[eE][+-]?\d+)?")
_SAFE: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False, "remove_comments": True, "remove_pis": True}  # fmt: skip


class Options(JsonOptions, FileOptions):
    """What a descriptor may say of XML."""

    record: str | None = Field(None, pattern=r"^/{0,2}[^/\s\[\]]+(/[^/\s\[\]]+)*$", description="The elements that are records: `observation`, or with those above it: `results/observation`. Default: the first ones of which there are several.")  # fmt: skip
    fields: dict[str, str] = Field(default_factory=dict, description="Columns by their names, each by an XPath from its record: `{id: '@id', ra: position/ra}`. Default: all attributes and children.")  # fmt: skip
    namespaces: dict[str, str] = Field(default_factory=dict, description="Prefixes of the paths, and their namespaces. Default: names count, whatever their namespaces.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open XML files.

    Raises
    ------
    SourceError
        No such file; a path that is none.
    """
    return XmlRows(options, context)


@dataclass(frozen=True, slots=True, eq=False)
class Elements(Records):
    """Records, each with its line."""

    lines: Sequence[int] = ()

    def place(self, at: int) -> int:
        """Give the line in which a record stands."""
        return self.lines[at]


class XmlRows(JsonFiles):
    """The records of one or more XML files."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self.options: Options = options
        self._told: set[str] = set()
        self._paths = {name: self._compiled(name, path) for name, path in options.fields.items()}

    def _compiled(self, name: str, path: str) -> etree.XPath:
        try:
            return etree.XPath(path, namespaces=self.options.namespaces or None, smart_strings=False)
        except etree.XPathError as error:
            raise SourceError(f"fields.{name}: {path!r} is no XPath: {error}", remedy="a path from the record: position/ra, @id") from error  # fmt: skip

    # --- elements ------------------------------------------------------------------------------------------------

    @cached_property
    def _steps(self) -> tuple[str, ...]:
        """Names of the record's element and of those above it that must be, from the top."""
        said = self.options.record
        return tuple(said.strip("/").split("/")) if said else self._several(self.files[0])

    def _several(self, file: DataFile) -> tuple[str, ...]:
        """Find the first elements of which there are several beside each other, nearest to the root."""
        stack: list[str] = []
        seen: Counter[tuple[str, ...]] = Counter()
        for looked, (event, element) in enumerate(self._events(file, ("start", "end"), None)):
            if event == "start":
                stack.append(_name(element))
                if len(stack) > 1:
                    seen[tuple(stack)] += 1
            else:
                stack.pop()
                element.clear()
            if looked > LOOKED:
                break
        several = [path for path, count in seen.items() if count > 1] or [path for path in seen if len(path) == 2]
        if not several:
            raise SourceError("no records to see the columns from", place=Place(file=file.name), remedy="`record:` names their element")  # fmt: skip
        return min(several, key=lambda path: (len(path), -seen[path]))

    def _events(self, file: DataFile, events: Sequence[str], tag: str | None) -> Iterator[tuple[str, Any]]:
        stream = file.open()
        try:
            yield from etree.iterparse(stream, events=events, tag=tag, **_SAFE)
            file.finish()
        except etree.XMLSyntaxError as error:
            line, column = error.position
            raise SourceError(f"no XML: {error.msg}", place=Place(file=file.name, line=line, column=column), remedy="mend the file, or `ignore:` it") from error  # fmt: skip
        finally:
            stream.close()

    def _elements(self, file: DataFile) -> Iterator[Any]:
        """Give one record after the other; what was read before is let go."""
        *above, name = self._steps
        for _, element in self._events(file, ("end",), f"{{*}}{name.rpartition(':')[2]}"):
            if self._meant(element, above):
                yield element
                element.clear(keep_tail=False)
                while element.getprevious() is not None:
                    del element.getparent()[0]

    def _meant(self, element: Any, above: Sequence[str]) -> bool:
        prefix, _, _ = self._steps[-1].rpartition(":")
        if prefix and etree.QName(element).namespace != self.options.namespaces.get(prefix):
            return False
        for name in reversed(above):
            element = element.getparent()
            if element is None or _name(element) != name.rpartition(":")[2]:
                return False
        return True

    def _value(self, element: Any) -> Any:
        """Make a record of an element: texts, lists and objects of texts."""
        if not self.options.namespaces:
            for one in (*element.iter(etree.Element), *element.iterancestors()):
                one.tag = _name(one)
        if not self._paths:
            found = _nested(element)
            return found if isinstance(found, dict) else {TEXT: found}
        return {name: said for name, path in self._paths.items() if (said := _said(path(element))) is not None}

    # --- rows ----------------------------------------------------------------------------------------------------

    def _records(self, limit: int | None) -> Iterator[tuple[DataFile, Records]]:
        most = PART if limit is None else min(PART, limit)
        for file in self.files:
            first, texts, lines = 1, [], []
            for element in self._elements(file):
                lines.append(element.sourceline)
                texts.append(orjson.dumps(self._value(element)))
                if len(texts) >= most:
                    yield file, _part(texts, lines, first)
                    first, texts, lines = first + len(texts), [], []
            if texts or first == 1:
                yield file, _part(texts, lines, first)

    def _first_node(self) -> Node:
        return Node(keys={name: Node() for name in self._paths})  # in the order in which they are said

    def _look(self, file: DataFile, node: Node) -> Iterator[int]:
        for element in self._elements(file):
            value = self._value(element)
            node.see(_typed(value))
            yield len(orjson.dumps(value))


def flat(data: bytes) -> list[dict[str, str | None]]:
    """Read a document of records without anything in them but values: the root, or those below it; an attribute or element each, an empty one is no value.

    Raises
    ------
    SourceError
        No XML, or other than that.
    """
    try:
        root = etree.fromstring(data, etree.XMLParser(**_SAFE))
    except etree.XMLSyntaxError as error:
        raise SourceError(f"no XML: {error.msg}") from error
    below = list(root.iterchildren(etree.Element))
    several = any(len(one) or one.attrib for one in below)
    rows: list[dict[str, str | None]] = []
    for one in below if several else [root]:
        values = list(one.iterchildren(etree.Element))
        if any(len(value) for value in values):
            raise SourceError("an element of a record has others in it", remedy="write records one below the other")
        named = [*one.attrib.items(), *((value.tag, value.text) for value in values)]
        row = {etree.QName(name).localname: (text or "").strip() or None for name, text in named}
        if len(row) < len(named):
            raise SourceError("a record has an element twice", remedy="write each once")
        rows.append(row)
    return rows


def _part(texts: Sequence[bytes], lines: Sequence[int], first: int) -> Elements:
    data = b"".join(texts)
    starts = np.cumsum([0, *map(len, texts)])[:-1].astype(np.int64)
    return Elements(texts=pa.array(texts, pa.binary()).cast(pa.string()), first=first, data=data, starts=starts, line=1, lines=lines)  # fmt: skip


def _name(element: Any) -> str:
    return str(etree.QName(element).localname)


def _nested(element: Any) -> Any:
    """Give an element's text; or an object of its attributes, its children by their names, and its text."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text or None
    found: dict[str, Any] = {f"@{etree.QName(name).localname}": value for name, value in element.attrib.items()}
    for child in element.iterchildren(etree.Element):
        name, value = _name(child), _nested(child)
        if name not in found:
            found[name] = value
        elif isinstance(found[name], list):
            found[name].append(value)
        else:
            found[name] = [found[name], value]
    if text:
        found[TEXT] = text
    return found


def _said(found: Any) -> Any:
    """Give what a path found as text, or as a list of texts."""
    if isinstance(found, bool):
        return "true" if found else "false"
    if isinstance(found, float):
        return None if found != found else repr(found)  # noqa: PLR0124  (NaN: there is no such number)
    texts = [one if isinstance(one, str) else "".join(one.itertext()) for one in (found if isinstance(found, list) else [found])]  # fmt: skip
    stripped = [text.strip() for text in texts]
    return None if not stripped else stripped[0] if len(stripped) == 1 else stripped


def _typed(value: Any) -> Any:
    """Read texts as what they look like: XML has texts alone. ``00042`` is a name."""
    if isinstance(value, dict):
        return {name: _typed(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_typed(one) for one in value]
    if not isinstance(value, str):
        return value
    if value in {"true", "false"}:
        return value == "true"
    if not _NUMBER.fullmatch(value):
        return value or None
    return float(value) if any(sign in value for sign in ".eE") else int(value)
