"""XML files: a record for each element of a name; its attributes and children as dotted names, or what XPath says."""

from __future__ import annotations

from lxml import etree
from pydantic import Field

from hven.model.errors import SourceError
from hven.sources import Context, FileKind, Source
from hven.sources._reading.files import FileOptions
from hven.sources._reading.xmlrows import SAFE, FieldOptions, XmlRows, local_name

FILES = FileKind(
    endings=("xml",),
    begins=rb"(?s)(?:\xef\xbb\xbf)?\s*<\?xml(?!.*?<(?:[\w.-]+:)?(?:VOTABLE|html|HTML|Product_\w+)\b)",
)


class Options(FieldOptions, FileOptions):
    """What a descriptor may say of XML."""

    record: str | None = Field(None, pattern=r"^/{0,2}[^/\s\[\]]+(/[^/\s\[\]]+)*$", description="The elements that are records: `observation`, or with those above it: `results/observation`. Default: the first ones of which there are several.")  # fmt: skip


def open(options: Options, context: Context) -> Source:  # noqa: A001  (the contract's word)
    """Open XML files.

    Raises
    ------
    SourceError
        No such file; a path that is none.
    """
    return XmlFileRows(options, context)


class XmlFileRows(XmlRows):
    """The records of one or more XML files."""

    def __init__(self, options: Options, context: Context) -> None:
        super().__init__(options, context)
        self._prepare(options)
        self._record = options.record


def flat(data: bytes) -> list[dict[str, str | None]]:
    """Read a document of records without anything in them but values: the root, or those below it; an attribute or element each, an empty one is no value.

    Raises
    ------
    SourceError
        No XML, or other than that.
    """
    try:
        root = etree.fromstring(data, etree.XMLParser(**SAFE))
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
        row = {local_name(name): (text or "").strip() or None for name, text in named}
        if len(row) < len(named):
            raise SourceError("a record has an element twice", remedy="write each once")
        rows.append(row)
    return rows
