"""Read XML files. Each element with a given name is a record, and its parts become columns."""

from __future__ import annotations

from pydantic import Field

from hven.plugins.json_xml.xml_rows import XmlFieldOptions, XmlSource
from hven.sources import FileKindSignature, Source, SourceContext
from hven.sources.api.file_rows import FileOptions

FILES = FileKindSignature(
    extensions=("xml",),
    leading_pattern=(
        rb"(?s)(?:\xef\xbb\xbf)?\s*(?=<\?xml|<[A-Za-z_][^<>]*>\s*<.*?</)"  # a header of text can begin with <Vmag> <B>
        rb"(?!.*?<(?:[\w.-]+:)?(?:VOTABLE|html|HTML|Product_\w+)\b)"
    ),
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
