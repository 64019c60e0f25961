"""Read XML documents, such as resource descriptors, with limits, into elements that can be copied and changed."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from lxml import etree

from hven.formats.api.xml_input import SAFE_PARSER_OPTIONS, find_local_name
from hven.model.errors import SourceError, TextPlace

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

MAX_DESCRIPTOR_BYTES = 8 << 20  # bytes of one resource descriptor; the largest public ones have 200 KiB
MAX_ELEMENT_DEPTH = 200


@dataclass(slots=True, eq=False)
class Element:
    """An element of a resource descriptor, with its line in the file.

    In these documents, ``<column name="x"/>`` and ``<column><name>x</name></column>`` mean the same: `get_value` looks
    for both.
    """

    tag: str
    attributes: dict[str, str]
    line: int
    file: str = ""
    children: list[Element | str] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The text between the tags, without that of other elements."""
        return get_raw_text(self).strip()

    @property
    def elements(self) -> list[Element]:
        """The elements directly inside."""
        return [child for child in self.children if isinstance(child, Element)]

    def list_children(self, *tags: str) -> list[Element]:
        """List the elements directly inside that have one of these tags."""
        return [child for child in self.elements if child.tag in tags]

    def find_child(self, *tags: str) -> Element | None:
        """Find the first element directly inside that has one of these tags."""
        return next(iter(self.list_children(*tags)), None)

    def get_value(self, *names: str) -> str:
        """Return the value of the first of these attributes that is there, or the text of the element so called."""
        for name in names:
            value = self.attributes.get(name)
            if value is None:
                child = self.find_child(name)
                value = None if child is None else child.text
            if value is not None:
                return value.strip()
        return ""

    def is_true(self, name: str) -> bool:
        """Return whether an attribute is set to one of the words for true."""
        return self.get_value(name).lower() in {"true", "yes", "t", "on", "enabled", "1"}

    def iterate_descendants(self) -> Iterator[Element]:
        """Yield this element, and those inside it at any depth, in the order of the document."""
        stack = [self]
        while stack:
            element = stack.pop()
            yield element
            stack.extend(reversed(element.elements))


def read_resource_xml(path: Path, name: str) -> Element:
    """Read a resource descriptor.

    Parameters
    ----------
    path
        Path of the file.
    name
        Name of the file in messages.

    Returns
    -------
    resource
        The element ``resource``.

    Raises
    ------
    SourceError
        The file cannot be read, is too large, is not well-formed XML, declares entities, or is no resource descriptor.
    """
    return read_xml(path, name, ("resource",))


def read_xml(path: Path, name: str, root_tags: Collection[str]) -> Element:
    """Read a document whose outermost element has one of some tags; prefixes of namespaces are left out.

    Raises
    ------
    SourceError
        The file cannot be read, is too large, is not well-formed XML, declares entities, or is another document.
    """
    data = read_document(path, name)
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE_PARSER_OPTIONS))
    except etree.XMLSyntaxError as error:
        place = TextPlace(file=name, line=error.lineno, column=error.offset)
        raise SourceError(
            f"not well-formed XML: {' '.join(str(error.msg).partition(', line ')[0].split())}",
            place=place,
            remedy="correct this place in a copy of the file",
        ) from error
    if root.getroottree().docinfo.internalDTD is not None:
        raise SourceError(
            f"{name} has a document type, which can hide entities and other files",
            place=TextPlace(file=name, line=1),
            remedy="remove the lines of <!DOCTYPE from a copy of the file",
        )
    if find_local_name(root.tag) not in root_tags:
        raise SourceError(
            f"{name} begins with <{find_local_name(root.tag)}>, not <{'> or <'.join(root_tags)}>",
            remedy="check the file",
        )
    return _convert_element(root, name)


def read_document(path: Path, name: str) -> bytes:
    """Read the bytes of a document.

    Raises
    ------
    SourceError
        The file cannot be read, or is larger than `MAX_DESCRIPTOR_BYTES`.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_DESCRIPTOR_BYTES + 1)
    except OSError as error:
        raise SourceError(f"{name} cannot be read: {error.strerror}", remedy="check its permissions") from error
    if len(data) > MAX_DESCRIPTOR_BYTES:
        raise SourceError(f"{name} is larger than {MAX_DESCRIPTOR_BYTES >> 20} MiB", remedy="check the file")
    return data


def _convert_element(node: Any, file: str, depth: int = 0) -> Element:
    if depth > MAX_ELEMENT_DEPTH:
        place = TextPlace(file=file, line=node.sourceline)
        raise SourceError(
            f"elements are nested more than {MAX_ELEMENT_DEPTH} levels deep", place=place, remedy="check the file"
        )
    attributes = {str(key): str(value) for key, value in node.attrib.items()}
    element = Element(find_local_name(node.tag), attributes, node.sourceline or 0, file)
    if node.text:
        element.children.append(node.text)
    for child in node:
        if isinstance(child.tag, str):
            element.children.append(_convert_element(child, file, depth + 1))
        if child.tail:
            element.children.append(child.tail)
    return element


def copy_element(element: Element, attributes: Mapping[str, str], children: list[Element | str]) -> Element:
    """Copy an element with other attributes and content."""
    return Element(element.tag, dict(attributes), element.line, element.file, children)


def get_raw_text(element: Element) -> str:
    """Return the text between the tags of an element with its indentation, as code needs it."""
    return "".join(child for child in element.children if isinstance(child, str)).strip("\n")
