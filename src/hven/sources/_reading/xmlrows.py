"""Rows of XML, wherever it comes from: a record for each element of a name; its attributes and children as dotted names, or what XPath says."""

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
from hven.sources._reading.jsonrows import JsonFiles, JsonOptions
from hven.sources._reading.jsonshape import Node
from hven.sources._reading.jsontext import Records

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources._reading.files import DataFile

PART = 4096  # records that are read together
LOOKED = 20_000  # elements that are looked at to see which ones are the records
TEXT = "#text"  # of an element that has attributes or children, too
SAFE: dict[str, Any] = {"resolve_entities": False, "no_network": True, "load_dtd": False, "huge_tree": False, "remove_comments": True, "remove_pis": True}  # fmt: skip
_NUMBER = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+(?:[eE][+-]?\d+)?")


class FieldOptions(JsonOptions):
    """What a descriptor may say of the records in XML."""

    each: str | None = Field(None, description="A row for each node that this XPath finds in a record, instead of one for the record: `position/band`. Paths of `fields` begin there, `ancestor::` leads back; `$found` is its text, `$path` its path from the record.")  # fmt: skip
    fields: dict[str, str] = Field(default_factory=dict, description="Columns by their names, each by an XPath from its record: `{id: '@id', ra: position/ra}`. Default: all attributes and children.")  # fmt: skip
    joined: dict[str, str] = Field(default_factory=dict, description="Columns whose several values become one text, and what stands between them: `{bands: '#'}`.")  # fmt: skip
    namespaces: dict[str, str] = Field(default_factory=dict, description="Prefixes of the paths, and their namespaces. Default: names count, whatever their namespaces.")  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Elements(Records):
    """Records, each with its line."""

    lines: Sequence[int] = ()

    def place(self, at: int) -> int:
        """Give the line in which a record stands."""
        return self.lines[at]


class XmlRows(JsonFiles):
    """The records of one or more XML files; a kind says which elements they are (`_record`), and calls `_prepare`."""

    options: FieldOptions
    _record: str | None = None

    def _prepare(self, options: FieldOptions) -> None:
        self.options = options
        self._told = set()
        self._paths = {name: self._compiled(f"fields.{name}", path) for name, path in options.fields.items()}
        self._asking = {name for name, path in options.fields.items() if "$" in path}
        self._each = self._compiled("each", options.each, smart=True) if options.each else None
        if self._asking and self._each is None:
            raise SourceError(f"fields.{min(self._asking)}: $found and $path are of what `each` finds", remedy="say `each`, too")  # fmt: skip

    def _compiled(self, where: str, path: str, *, smart: bool = False) -> etree.XPath:
        try:
            return etree.XPath(path, namespaces=self.options.namespaces or None, smart_strings=smart)
        except etree.XPathError as error:
            raise SourceError(f"{where}: {path!r} is no XPath: {error}", remedy="a path from the record: position/ra, @id") from error  # fmt: skip

    # --- elements ------------------------------------------------------------------------------------------------

    @cached_property
    def _steps(self) -> tuple[str, ...]:
        """Names of the record's element and of those above it that must be, from the top."""
        said = self._record
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

    def _events(self, file: DataFile, events: Sequence[str], tag: Sequence[str] | None) -> Iterator[tuple[str, Any]]:
        stream = file.open()
        try:
            yield from etree.iterparse(stream, events=events, tag=tag, **SAFE)
            file.finish()
        except etree.XMLSyntaxError as error:
            line, column = error.position
            raise SourceError(f"no XML: {error.msg}", place=Place(file=file.name, line=line, column=column), remedy="mend the file, or `ignore:` it") from error  # fmt: skip
        finally:
            stream.close()

    def _elements(self, file: DataFile) -> Iterator[Any]:
        """Give one record after the other; what was read before is let go."""
        *above, name = self._steps
        for _, element in self._events(file, ("end",), (f"{{*}}{name.rpartition(':')[2]}", "{*}INFO")):
            _check_whole(element, file)
            if _name(element) == name.rpartition(":")[2] and self._meant(element, above):
                yield element
                element.clear(keep_tail=False)
                while element.getprevious() is not None:
                    del element.getparent()[0]

    def _meant(self, element: Any, above: Sequence[str]) -> bool:
        prefix, _, _ = self._steps[-1].rpartition(":")
        namespace = element.tag[1:].rpartition("}")[0] or None
        if prefix and namespace != self.options.namespaces.get(prefix):
            return False
        for name in reversed(above):
            element = element.getparent()
            if element is None or _name(element) != name.rpartition(":")[2]:
                return False
        return True

    def _values(self, element: Any) -> Iterator[tuple[int, Any]]:
        """Make records of an element, each with its line: texts, lists and objects of texts."""
        if not self.options.namespaces:
            for one in (*element.iter(etree.Element), *element.iterancestors()):
                one.tag = _name(one)
        for node in [element] if self._each is None else self._nodes(element):
            where: Any = node if isinstance(node, etree._Element) else node.getparent()  # noqa: SLF001  (the one name of the class)
            yield where.sourceline, self._value(where, node, element)

    def _nodes(self, element: Any) -> Sequence[Any]:
        found = self._each(element) if self._each is not None else ()
        if not isinstance(found, list):
            raise SourceError(f"each: {self.options.each!r} finds no nodes, but {found!r}", remedy="a path from the record: position/band")  # fmt: skip
        return found

    def _value(self, where: Any, node: Any, record: Any) -> Any:
        if not self._paths:
            found = _nested(where)
            return found if isinstance(found, dict) else {TEXT: found}
        more: dict[str, Any] = {}
        if self._asking:
            more = {"found": _text(node), "path": _path(where, node, record)}
        values = {}
        for name, path in self._paths.items():
            said = _said(path(where, **more) if name in self._asking else path(where))
            if said is not None:
                joins = isinstance(said, list) and name in self.options.joined
                values[name] = self.options.joined[name].join(filter(None, said)) if joins else said
        return values

    # --- rows ----------------------------------------------------------------------------------------------------

    def _records(self, limit: int | None) -> Iterator[tuple[DataFile, Records]]:
        most = PART if limit is None else min(PART, limit)
        for file in self.files:
            first, texts, lines = 1, [], []
            for line, value in (one for element in self._elements(file) for one in self._values(element)):
                lines.append(line)
                texts.append(orjson.dumps(value))
                if len(texts) >= most:
                    yield file, _part(texts, lines, first)
                    first, texts, lines = first + len(texts), [], []
            if texts or first == 1:
                yield file, _part(texts, lines, first)

    def _first_node(self) -> Node:
        return Node(keys={name: Node() for name in self._paths})  # in the order in which they are said

    def _look(self, file: DataFile, node: Node) -> Iterator[int]:
        for element in self._elements(file):
            for _, value in self._values(element):
                node.see(_typed(value))
                yield len(orjson.dumps(value))


def _part(texts: Sequence[bytes], lines: Sequence[int], first: int) -> Elements:
    data = b"".join(texts)
    starts = np.cumsum([0, *map(len, texts)])[:-1].astype(np.int64)
    return Elements(texts=pa.array(texts, pa.binary()).cast(pa.string()), first=first, data=data, starts=starts, line=1, lines=lines)  # fmt: skip


def local_name(tag: str) -> str:
    """Return the name of an element or attribute without its namespace, or without a prefix that the document never declares.

    lxml keeps an undeclared prefix in the tag, and its ``QName`` refuses such a tag.

    Parameters
    ----------
    tag
        As lxml has it: ``{namespace}name``, ``name``, or ``prefix:name``.
    """
    return tag.rpartition("}")[2].rpartition(":")[2]


def _check_whole(element: Any, file: DataFile) -> None:
    """Refuse a VOTable that its service cut off (DALI 1.1, section 4.4.1)."""
    if (element.get("name") or "").upper() != "QUERY_STATUS" or (element.get("value") or "").upper() != "OVERFLOW":
        return
    if _name(element) == "INFO" and _name(element.getroottree().getroot()) == "VOTABLE":
        raise SourceError(
            "the VOTable was cut off (QUERY_STATUS=OVERFLOW): there are more rows",
            place=Place(file=file.name, line=element.sourceline),
            remedy="ask its service for more rows (MAXREC), or for less at once",
        )


def _name(element: Any) -> str:
    return local_name(str(element.tag))


def _nested(element: Any) -> Any:
    """Give an element's text; or an object of its attributes, its children by their names, and its text."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text or None
    found: dict[str, Any] = {f"@{local_name(name)}": value for name, value in element.attrib.items()}
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


def _text(node: Any) -> str:
    return (node if isinstance(node, str) else "".join(node.itertext())).strip()


def _path(where: Any, node: Any, record: Any) -> str:
    """Write where a node stands, from its record: ``/position/band/@name``."""
    names = [
        _name(one) for one in (where, *where.iterancestors()) if one is not record and record in one.iterancestors()
    ]
    leaf = [f"@{local_name(node.attrname)}"] if node is not where and node.is_attribute else []
    return "/" + "/".join([*reversed(names), *leaf])


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
