"""What a table has of keys that plug-in packages add to descriptors, as far as the core heeds it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model._links import Template


INPUT_DOCUMENT_KEY = "input_document"  # metadata of the source's document, in provenance and in `Table.extensions`


class TableExtension:
    """Base class of a value of `Table.extensions` that the core heeds; other values concern only their package."""

    __slots__ = ()

    @property
    def has_row_links(self) -> bool:
        """Whether services link each row that has an identifier (`ServiceFace.build_links`)."""
        return False

    @property
    def row_file_templates(self) -> tuple[Template, ...]:
        """Templates of the paths of files of the rows, which DataLink lists."""
        return ()
