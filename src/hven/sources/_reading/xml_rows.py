"""Rows of XML, wherever it comes from: a record for each element of a name.

Its attributes and children as dotted names, or what XPath says.
"""

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
from hven.sources._reading.json_records import JsonRecords
from hven.sources._reading.json_rows import JsonFileSource, JsonOptions
from hven.sources._reading.json_schema import JsonNode

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources._reading.data_files import DataFile

RECORDS_PER_PART = 4096  # records that are read together
MAX_SAMPLED_ELEMENTS = 20_000  # elements that are looked at to see which ones are the records
TEXT_KEY = "#text"  # of an element that has attributes or children, too
SAFE_PARSER_OPTIONS: dict[str, Any] = {
    "resolve_entities": False,
    "no_network": True,
    "load_dtd": False,
    "huge_tree": False,
    "remove_comments": True,
    "remove_pis": True,
}
_NUMBER_PATTERN = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+(?:[eE][+-]?\d+)?")


class XmlFieldOptions(JsonOptions):
    """What a descriptor may say of the records in XML."""

    each: str | None = Field(
        None,
        description="A row for each node that this XPath finds in a record, instead of one for the record: "
        "`position/band`. Paths of `fields` begin there, `ancestor::` leads back; `$found` is its text, "
        "`$path` its path from the record.",
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description="Columns by their names, each by an XPath from its record: `{id: '@id', ra: position/ra}`. Default: "
        "all attributes and children.",
    )
    joined: dict[str, str] = Field(
        default_factory=dict,
        description="Columns whose several values become one text, and what stands between them: `{bands: '#'}`.",
    )
    namespaces: dict[str, str] = Field(
        default_factory=dict,
        description="Prefixes of the paths, and their namespaces. Default: names count, whatever their namespaces.",
    )


@dataclass(frozen=True, slots=True, eq=False)
class XmlRecords(JsonRecords):
    """Records, each with its line."""

    line_numbers: Sequence[int] = ()

    def find_line(self, record_index: int) -> int:
        """Give the line in which a record stands."""
        return self.line_numbers[record_index]


class XmlSource(JsonFileSource):
    """The records of one or more XML files.

    A kind says which elements they are (`_record_path`), and calls `_compile_options`.
    """

    options: XmlFieldOptions
    _record_path: str | None = None

    def _compile_options(self, options: XmlFieldOptions) -> None:
        self.options = options
        self._reported = set()
        self._paths = {name: self._compile_xpath(f"fields.{name}", path) for name, path in options.fields.items()}
        self._paths_with_variables = {name for name, path in options.fields.items() if "$" in path}
        self._each = self._compile_xpath("each", options.each, smart_strings=True) if options.each else None
        if self._paths_with_variables and self._each is None:
            raise SourceError(
                f"fields.{min(self._paths_with_variables)}: $found and $path are of what `each` finds",
                remedy="say `each`, too",
            )

    def _compile_xpath(self, option_name: str, path: str, *, smart_strings: bool = False) -> etree.XPath:
        try:
            namespaces = self.options.namespaces or None
            return etree.XPath(path, namespaces=namespaces, smart_strings=smart_strings)
        except etree.XPathError as error:
            raise SourceError(
                f"{option_name}: {path!r} is no XPath: {error}", remedy="a path from the record: position/ra, @id"
            ) from error

    # --- elements ------------------------------------------------------------------------------------------------

    @cached_property
    def _record_steps(self) -> tuple[str, ...]:
        """Names of the record's element and of those above it that must be, from the top."""
        record_path = self._record_path
        if record_path:
            return tuple(record_path.strip("/").split("/"))
        return self._find_repeated_path(self.files[0])

    def _find_repeated_path(self, file: DataFile) -> tuple[str, ...]:
        """Find the first elements of which there are several beside each other, nearest to the root."""
        stack: list[str] = []
        path_counts: Counter[tuple[str, ...]] = Counter()
        for looked, (event, element) in enumerate(self._parse_events(file, ("start", "end"), None)):
            if event == "start":
                stack.append(_find_element_name(element))
                if len(stack) > 1:
                    path_counts[tuple(stack)] += 1
            else:
                stack.pop()
                element.clear()
            if looked > MAX_SAMPLED_ELEMENTS:
                break
        several = [path for path, count in path_counts.items() if count > 1] or [
            path for path in path_counts if len(path) == 2
        ]
        if not several:
            raise SourceError(
                "no records to see the columns from",
                place=Place(file=file.name),
                remedy="`record:` names their element",
            )
        return min(several, key=lambda path: (len(path), -path_counts[path]))

    def _parse_events(
        self, file: DataFile, events: Sequence[str], tag: Sequence[str] | None
    ) -> Iterator[tuple[str, Any]]:
        stream = file.open_stream()
        try:
            yield from etree.iterparse(stream, events=events, tag=tag, **SAFE_PARSER_OPTIONS)
            file.read_to_end()
        except etree.XMLSyntaxError as error:
            line, column = error.position
            raise SourceError(
                f"no XML: {error.msg}",
                place=Place(file=file.name, line=line, column=column),
                remedy="mend the file, or `ignore:` it",
            ) from error
        finally:
            stream.close()

    def _iterate_records(self, file: DataFile) -> Iterator[Any]:
        """Give one record after the other; what was read before is let go."""
        *above, name = self._record_steps
        for _, element in self._parse_events(file, ("end",), (f"{{*}}{name.rpartition(':')[2]}", "{*}INFO")):
            _check_not_truncated(element, file)
            if _find_element_name(element) == name.rpartition(":")[2] and self._is_on_record_path(element, above):
                yield element
                element.clear(keep_tail=False)
                while element.getprevious() is not None:
                    del element.getparent()[0]

    def _is_on_record_path(self, element: Any, ancestor_names: Sequence[str]) -> bool:
        prefix, _, _ = self._record_steps[-1].rpartition(":")
        namespace = element.tag[1:].rpartition("}")[0] or None
        if prefix and namespace != self.options.namespaces.get(prefix):
            return False
        for name in reversed(ancestor_names):
            element = element.getparent()
            if element is None or _find_element_name(element) != name.rpartition(":")[2]:
                return False
        return True

    def _extract_records(self, element: Any) -> Iterator[tuple[int, Any]]:
        """Make records of an element, each with its line: texts, lists and objects of texts."""
        if not self.options.namespaces:
            for tree_element in (*element.iter(etree.Element), *element.iterancestors()):
                tree_element.tag = _find_element_name(tree_element)
        for node in [element] if self._each is None else self._find_nodes(element):
            # the one name of the class
            element_of_node: Any = node if isinstance(node, etree._Element) else node.getparent()  # noqa: SLF001
            yield element_of_node.sourceline, self._extract_record(element_of_node, node, element)

    def _find_nodes(self, element: Any) -> Sequence[Any]:
        nodes = self._each(element) if self._each is not None else ()
        if not isinstance(nodes, list):
            raise SourceError(
                f"each: {self.options.each!r} finds no nodes, but {nodes!r}",
                remedy="a path from the record: position/band",
            )
        return nodes

    def _extract_record(self, parent: Any, node: Any, record: Any) -> Any:
        if not self._paths:
            content = _element_to_object(parent)
            if isinstance(content, dict):
                return content
            return {TEXT_KEY: content}
        variables: dict[str, Any] = {}
        if self._paths_with_variables:
            variables = {"found": _find_node_text(node), "path": _write_node_path(parent, node, record)}
        values = {}
        for name, path in self._paths.items():
            path_value = _path_value_to_text(
                path(parent, **variables) if name in self._paths_with_variables else path(parent)
            )
            if path_value is not None:
                joins = isinstance(path_value, list) and name in self.options.joined
                if joins:
                    values[name] = self.options.joined[name].join(filter(None, path_value))
                else:
                    values[name] = path_value
        return values

    # --- rows ----------------------------------------------------------------------------------------------------

    def _read_records(self, row_limit: int | None) -> Iterator[tuple[DataFile, JsonRecords]]:
        if row_limit is None:
            part_limit = RECORDS_PER_PART
        else:
            part_limit = min(RECORDS_PER_PART, row_limit)
        for file in self.files:
            first = 1
            texts = []
            lines = []
            for line, value in (
                record for element in self._iterate_records(file) for record in self._extract_records(element)
            ):
                lines.append(line)
                texts.append(orjson.dumps(value))
                if len(texts) >= part_limit:
                    yield file, _build_xml_records(texts, lines, first)
                    first = first + len(texts)
                    texts = []
                    lines = []
            if texts or first == 1:
                yield file, _build_xml_records(texts, lines, first)

    def _build_root_node(self) -> JsonNode:
        # in the order in which they are said
        keys = {name: JsonNode() for name in self._paths}
        return JsonNode(keys=keys)

    def _sample_file(self, file: DataFile, node: JsonNode) -> Iterator[int]:
        for element in self._iterate_records(file):
            for _, value in self._extract_records(element):
                node.add_value(_convert_typed(value))
                yield len(orjson.dumps(value))


def _build_xml_records(texts: Sequence[bytes], lines: Sequence[int], first_number: int) -> XmlRecords:
    data = b"".join(texts)
    starts = np.cumsum([0, *map(len, texts)])[:-1].astype(np.int64)
    return XmlRecords(
        texts=pa.array(texts, pa.binary()).cast(pa.string()),
        first_number=first_number,
        data=data,
        starts=starts,
        line=1,
        line_numbers=lines,
    )


def find_local_name(tag: str) -> str:
    """Return the name of an element or attribute without its namespace, or without a prefix that the document never declares.

    lxml keeps an undeclared prefix in the tag, and its ``QName`` refuses such a tag.

    Parameters
    ----------
    tag
        As lxml has it: ``{namespace}name``, ``name``, or ``prefix:name``.
    """
    return tag.rpartition("}")[2].rpartition(":")[2]


def _check_not_truncated(element: Any, file: DataFile) -> None:
    """Refuse a VOTable that its service cut off (DALI 1.1, section 4.4.1)."""
    if (element.get("name") or "").upper() != "QUERY_STATUS" or (element.get("value") or "").upper() != "OVERFLOW":
        return
    if _find_element_name(element) == "INFO" and _find_element_name(element.getroottree().getroot()) == "VOTABLE":
        raise SourceError(
            "the VOTable was cut off (QUERY_STATUS=OVERFLOW): there are more rows",
            place=Place(file=file.name, line=element.sourceline),
            remedy="ask its service for more rows (MAXREC), or for less at once",
        )


def _find_element_name(element: Any) -> str:
    return find_local_name(str(element.tag))


def _element_to_object(element: Any) -> Any:
    """Give an element's text; or an object of its attributes, its children by their names, and its text."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text or None
    members: dict[str, Any] = {f"@{find_local_name(name)}": value for name, value in element.attrib.items()}
    for child in element.iterchildren(etree.Element):
        name = _find_element_name(child)
        value = _element_to_object(child)
        if name not in members:
            members[name] = value
        elif isinstance(members[name], list):
            members[name].append(value)
        else:
            members[name] = [members[name], value]
    if text:
        members[TEXT_KEY] = text
    return members


def _find_node_text(node: Any) -> str:
    return (node if isinstance(node, str) else "".join(node.itertext())).strip()


def _write_node_path(parent: Any, node: Any, record: Any) -> str:
    """Write where a node stands, from its record: ``/position/band/@name``."""
    names = [
        _find_element_name(ancestor)
        for ancestor in (parent, *parent.iterancestors())
        if ancestor is not record and record in ancestor.iterancestors()
    ]
    if node is not parent and node.is_attribute:
        leaf = [f"@{find_local_name(node.attrname)}"]
    else:
        leaf = []
    return "/" + "/".join([*reversed(names), *leaf])


def _path_value_to_text(path_value: Any) -> Any:
    """Give what a path found as text, or as a list of texts."""
    if isinstance(path_value, bool):
        return "true" if path_value else "false"
    if isinstance(path_value, float):
        return None if path_value != path_value else repr(path_value)  # noqa: PLR0124  (NaN: there is no such number)
    texts = [
        node if isinstance(node, str) else "".join(node.itertext())
        for node in (path_value if isinstance(path_value, list) else [path_value])
    ]
    stripped = [text.strip() for text in texts]
    if not stripped:
        return None
    if len(stripped) == 1:
        return stripped[0]
    return stripped


def _convert_typed(value: Any) -> Any:
    """Read texts as what they look like: XML has texts alone. ``00042`` is a name."""
    if isinstance(value, dict):
        return {name: _convert_typed(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_convert_typed(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in {"true", "false"}:
        return value == "true"
    if not _NUMBER_PATTERN.fullmatch(value):
        return value or None
    if any(sign in value for sign in ".eE"):
        return float(value)
    return int(value)
