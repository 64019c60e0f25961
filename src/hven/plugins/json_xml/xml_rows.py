"""Read rows of XML: each element of a name is a record.

Its attributes and children become columns with dotted names, or the columns are XPaths.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
import orjson
import pyarrow as pa
from lxml import etree
from pydantic import Field

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS, find_local_name
from hven.model.errors import SourceError, TextPlace
from hven.plugins.json_xml.json_records import JsonRecordChunk
from hven.plugins.json_xml.json_rows import JsonFileSource, JsonOptions
from hven.plugins.json_xml.json_schema import JsonNodeSummary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.sources.api.rows import DataFile

RECORDS_PER_PART = 4096
MAX_SAMPLED_ELEMENTS = 20_000  # this many elements are sampled to find out which ones are the records
TEXT_KEY = "#text"  # the text of an element that has attributes or children, too
_NUMBER_PATTERN = re.compile(r"[+-]?(?:0|[1-9]\d*)(?:\.\d*)?(?:[eE][+-]?\d+)?|[+-]?\.\d+(?:[eE][+-]?\d+)?")


class XmlFieldOptions(JsonOptions):
    """What a descriptor may state about the records in XML."""

    each: str | None = Field(
        None,
        description=(
            "An XPath in the record. Each node that the XPath finds becomes a row, instead of the record itself. The "
            "paths in `fields` begin at this node, and `ancestor::` leads back to the record. `$found` is the node's "
            "text, and `$path` is the path from the record to the node."
        ),
        examples=["position/band"],
    )
    fields: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "The columns, by name, each with an XPath that begins at the record. If a path finds several values, they "
            "become an array. Default: all attributes (`@id`), and all children, by their dotted names."
        ),
        examples=[{"id": "@id", "ra": "position/ra"}],
    )
    joined: dict[str, str] = Field(
        default_factory=dict,
        description="Columns whose values Hven joins into one string, and the separator for each column.",
        examples=[{"bands": "#"}],
    )
    namespaces: dict[str, str] = Field(
        default_factory=dict,
        description="The namespace of each prefix in the paths. Default: names match in any namespace.",
        examples=[{"vo": "http://www.ivoa.net/xml/VOResource/v1.0"}],
    )


@dataclass(frozen=True, slots=True, eq=False)
class XmlRecordChunk(JsonRecordChunk):
    """Records, each with its line."""

    line_numbers: Sequence[int] = ()

    def find_record_line(self, record_index: int) -> int:
        """Return the line in which a record stands."""
        return self.line_numbers[record_index]


class XmlSource(JsonFileSource):
    """The records of one or more XML files.

    A subclass says which elements they are (`_record_path`), and calls `_compile_options`.

    Attributes
    ----------
    options
        Options of the source, from the descriptor.
    """

    options: XmlFieldOptions
    _record_path: str | None = None

    def _compile_options(self, options: XmlFieldOptions) -> None:
        self.options = options
        self._reported = set()
        self._paths = {name: self._compile_xpath(f"fields.{name}", path) for name, path in options.fields.items()}
        self._each: etree.XPath | None = None
        if options.each:
            self._each = self._compile_xpath("each", options.each, smart_strings=True)
        names_with_variables = [name for name, path in options.fields.items() if "$" in path]
        self._has_variables = bool(names_with_variables)
        if names_with_variables and self._each is None:
            message = f"fields.{min(names_with_variables)}: $found and $path need `each`"
            raise SourceError(message, remedy="add `each`")

    def _compile_xpath(self, option_name: str, path: str, *, smart_strings: bool = False) -> etree.XPath:
        try:
            namespaces = self.options.namespaces or None
            return etree.XPath(path, namespaces=namespaces, smart_strings=smart_strings)
        except etree.XPathError as error:
            raise SourceError(
                f"{option_name}: {path!r} is not an XPath: {error}",
                remedy="write a path relative to the record, such as position/ra or @id",
            ) from error

    # --- elements ------------------------------------------------------------------------------------------------

    @cached_property
    def _record_steps(self) -> tuple[str, ...]:
        """Names of the record's element and of the elements that must be above it, from the top."""
        record_path = self._record_path
        if record_path:
            return tuple(record_path.strip("/").split("/"))
        return self._find_repeated_path(self.files[0])

    def _find_repeated_path(self, file: DataFile) -> tuple[str, ...]:
        """Find the first elements that stand beside others of their name, nearest to the root."""
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
        several = [path for path, count in path_counts.items() if count > 1]
        if not several:
            several = [path for path in path_counts if len(path) == 2]
        if not several:
            raise SourceError(
                "there are no records from which Hven can determine the columns",
                place=TextPlace(file=file.name),
                remedy="set `record` to the name of the element that contains a record",
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
            place = TextPlace(file=file.name, line=line, column=column)
            remedy = "correct the file, or add it to `ignore`"
            raise SourceError(f"not XML: {error.msg}", place=place, remedy=remedy) from error
        finally:
            stream.close()

    def _iterate_records(self, file: DataFile) -> Iterator[Any]:
        """Yield the element of one record after the other; elements that were read are released.

        Names are without their namespaces, unless the options declare namespaces.
        """
        *ancestor_names, name = self._record_steps
        local_name = name.rpartition(":")[2]
        for _, element in self._parse_events(file, ("end",), (f"{{*}}{local_name}", "{*}INFO")):
            _check_no_votable_overflow(element, file)
            if _find_element_name(element) == local_name and self._is_on_record_path(element, ancestor_names):
                if not self.options.namespaces:
                    _remove_namespaces(element)
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
        """Extract the records of an element, each with its line: texts, lists and objects of texts."""
        nodes: Sequence[Any] = [element]
        if self._each is not None:
            nodes = self._find_nodes(self._each, element)
        for node in nodes:
            parent: Any = node
            if not isinstance(node, etree._Element):  # noqa: SLF001  (lxml has no other name for the class)
                parent = node.getparent()
            yield parent.sourceline, self._extract_record(parent, node, element)

    def _find_nodes(self, path: etree.XPath, element: Any) -> Sequence[Any]:
        nodes = path(element)
        if not isinstance(nodes, list):
            raise SourceError(
                f"each: {self.options.each!r} returns the value {nodes!r} instead of nodes",
                remedy="write a path relative to the record, such as position/band",
            )
        return nodes

    def _extract_record(self, parent: Any, node: Any, record: Any) -> Any:
        if not self._paths:
            content = _element_to_object(parent)
            if isinstance(content, dict):
                return content
            return {TEXT_KEY: content}
        variables: dict[str, Any] = {}
        if self._has_variables:
            variables = {"found": _find_node_text(node), "path": _write_node_path(parent, node, record)}
        values = {}
        for name, path in self._paths.items():
            path_value = _path_value_to_text(path(parent, **variables))
            if isinstance(path_value, list) and name in self.options.joined:
                path_value = self.options.joined[name].join(filter(None, path_value))
            if path_value is not None:
                values[name] = path_value
        return values

    # --- rows ----------------------------------------------------------------------------------------------------

    def _read_records(self, row_limit: int | None) -> Iterator[tuple[DataFile, JsonRecordChunk]]:
        part_limit = min(RECORDS_PER_PART, row_limit or RECORDS_PER_PART)
        for file in self.files:
            first = 1
            texts: list[bytes] = []
            lines: list[int] = []
            for line, value in chain.from_iterable(map(self._extract_records, self._iterate_records(file))):
                lines.append(line)
                texts.append(orjson.dumps(value))
                if len(texts) >= part_limit:
                    yield file, _build_xml_records(texts, lines, first)
                    first += len(texts)
                    texts = []
                    lines = []
            if texts or first == 1:
                yield file, _build_xml_records(texts, lines, first)

    def _build_root_node(self) -> JsonNodeSummary:
        # in the order in which the descriptor states them
        keys = {name: JsonNodeSummary() for name in self._paths}
        return JsonNodeSummary(keys=keys)

    def _sample_file(self, file: DataFile, node: JsonNodeSummary) -> Iterator[int]:
        for element in self._iterate_records(file):
            for _, value in self._extract_records(element):
                node.add_value(_convert_texts_to_values(value))
                yield len(orjson.dumps(value))


def _build_xml_records(texts: Sequence[bytes], lines: Sequence[int], first_number: int) -> XmlRecordChunk:
    lengths = np.array([len(text) for text in texts], np.int64)
    return XmlRecordChunk(
        texts=pa.array(texts, pa.binary()).cast(pa.string()),
        first_number=first_number,
        data=b"".join(texts),
        starts=np.cumsum(lengths) - lengths,
        line=1,
        line_numbers=lines,
    )


def _check_no_votable_overflow(element: Any, file: DataFile) -> None:
    """Refuse a VOTable that its service cut off (DALI 1.1, section 4.4.1)."""
    name = (element.get("name") or "").upper()
    value = (element.get("value") or "").upper()
    if name != "QUERY_STATUS" or value != "OVERFLOW" or _find_element_name(element) != "INFO":
        return
    root = element.getroottree().getroot()
    if _find_element_name(root) == "VOTABLE":
        raise SourceError(
            "the VOTable was truncated (QUERY_STATUS=OVERFLOW), so rows are missing",
            place=TextPlace(file=file.name, line=element.sourceline),
            remedy="request more rows from the service (MAXREC), or request a smaller part of the table",
        )


def _remove_namespaces(element: Any) -> None:
    """Remove the namespaces from the names of an element, its descendants and its ancestors."""
    for tree_element in (*element.iter(etree.Element), *element.iterancestors()):
        tree_element.tag = _find_element_name(tree_element)


def _find_element_name(element: Any) -> str:
    return find_local_name(str(element.tag))


def _element_to_object(element: Any) -> Any:
    """Convert an element to its text, or to an object of its attributes, its children by name, and its text."""
    text = (element.text or "").strip()
    if not len(element) and not element.attrib:
        return text or None
    members: dict[str, Any] = {}
    for attribute_name, attribute_value in element.attrib.items():
        members[f"@{find_local_name(attribute_name)}"] = attribute_value
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
    if isinstance(node, str):
        text = node
    else:
        text = "".join(node.itertext())
    return str(text).strip()


def _write_node_path(parent: Any, node: Any, record: Any) -> str:
    """Write the path of a node from its record: ``/position/band/@name``."""
    names: list[str] = []
    if node is not parent and node.is_attribute:
        names.append(f"@{find_local_name(node.attrname)}")
    for ancestor in (parent, *parent.iterancestors()):
        if ancestor is record or record not in ancestor.iterancestors():
            continue
        names.append(_find_element_name(ancestor))
    return "/" + "/".join(reversed(names))


def _path_value_to_text(path_value: Any) -> Any:
    """Convert the value of a path to text, or to a list of texts; None: it has no value."""
    if isinstance(path_value, bool):
        return str(path_value).lower()
    if isinstance(path_value, float):
        if math.isnan(path_value):  # there is no such number
            return None
        return repr(path_value)
    nodes = path_value
    if not isinstance(path_value, list):
        nodes = [path_value]
    texts = [_find_node_text(node) for node in nodes]
    if len(texts) > 1:
        return texts
    return next(iter(texts), None)


def _convert_texts_to_values(value: Any) -> Any:
    """Convert texts to what they look like, as XML has only texts; ``00042`` is a name."""
    if isinstance(value, dict):
        return {name: _convert_texts_to_values(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_convert_texts_to_values(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in {"true", "false"}:
        return value == "true"
    if not _NUMBER_PATTERN.fullmatch(value):
        return value or None
    return _parse_number(value)


def _parse_number(text: str) -> int | float:
    if any(sign in text for sign in ".eE"):
        return float(text)
    return int(text)
