"""Read XML files. Each element with a given name is a record, and its parts become columns."""

from __future__ import annotations

from lxml import etree
from pydantic import Field

from hven.model.errors import SourceError
from hven.sources import FileKindSignature, Source, SourceContext
from hven.sources._reading.data_files import FileOptions
from hven.sources._reading.xml_rows import SAFE_PARSER_OPTIONS, XmlFieldOptions, XmlSource, find_local_name

FILES = FileKindSignature(
    extensions=("xml",),
    leading_pattern=rb"(?s)(?:\xef\xbb\xbf)?\s*<\?xml(?!.*?<(?:[\w.-]+:)?(?:VOTABLE|html|HTML|Product_\w+)\b)",
)


class Options(XmlFieldOptions, FileOptions):
    """What a descriptor may state about XML."""

    record: str | None = Field(
        None,
        pattern=r"^/{0,2}[^/\s\[\]]+(/[^/\s\[\]]+)*$",
        description=(
            "Name or path of the elements that are records. Default: the first elements that occur several times next "
            "to each other."
        ),
        examples=["results/observation"],
    )


def open(options: Options, context: SourceContext) -> Source:  # noqa: A001  (the contract's word)
    """Open XML files.

    Raises
    ------
    SourceError
        No such file; a path that is none.
    """
    return XmlFileSource(options, context)


class XmlFileSource(XmlSource):
    """The records of one or more XML files."""

    def __init__(self, options: Options, context: SourceContext) -> None:
        super().__init__(options, context)
        self._compile_options(options)
        self._record_path = options.record


def parse_flat_xml_records(data: bytes) -> list[dict[str, str | None]]:
    """Parse a document whose records hold only values: the root, or the elements below it.

    An attribute or element each, an empty one is no value.

    Raises
    ------
    SourceError
        No XML, or other than that.
    """
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE_PARSER_OPTIONS))
    except etree.XMLSyntaxError as error:
        raise SourceError(f"not XML: {error.msg}") from error
    child_elements = list(root.iterchildren(etree.Element))
    has_records = any(len(record) or record.attrib for record in child_elements)
    rows: list[dict[str, str | None]] = []
    for record in child_elements if has_records else [root]:
        values = list(record.iterchildren(etree.Element))
        if any(len(value) for value in values):
            raise SourceError(
                "an element of a record contains other elements", remedy="write only text in the elements of a record"
            )
        named_values = [*record.attrib.items(), *((value.tag, value.text) for value in values)]
        row = {find_local_name(name): (text or "").strip() or None for name, text in named_values}
        if len(row) < len(named_values):
            raise SourceError("a record contains an element twice", remedy="write each element once")
        rows.append(row)
    return rows
