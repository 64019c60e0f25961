"""Read the keywords of a label that stands by itself, as the document of a row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from hven.model.errors import SourceError, format_message
from hven.plugins.planetary_media.pvl_labels import MAX_LABEL_BYTES, parse_pvl_label
from hven.sources.api.documents import DocumentFormat, InvalidDocumentError, is_web_page

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from hven.formats.media import HeaderCard


def parse_label_cards(body: bytes) -> list[HeaderCard]:
    """Read a PDS3 or ISIS label that stands by itself.

    Parameters
    ----------
    body
        The label in PVL or ODL, up to its END.

    Returns
    -------
    cards
        Keywords of the label; those in groups have the names of the groups before them.

    Raises
    ------
    SourceError
        The body is no label, the label has no end, or it is too large.
    """
    if len(body) > MAX_LABEL_BYTES:
        text = "the label {name} has {size:,} bytes; the limit is {limit:,}"
        raise SourceError(format_message(text, "in the document", len(body), MAX_LABEL_BYTES))
    end_match = re.search(rb"^[ \t]*END[ \t]*\r?$", body, re.MULTILINE | re.IGNORECASE)
    if end_match is None:
        raise SourceError(format_message("the label of {name} is incomplete: its end is missing", "the document"))
    label_text = body[: end_match.start()].decode("latin-1")
    label = parse_pvl_label(label_text, "the document")
    return list(label.list_cards())


# all of it is parsed
def _create_label_lookup(body: bytes, keywords: Collection[str]) -> Callable[[str], object]:  # noqa: ARG001
    if is_web_page(body):
        raise InvalidDocumentError("it is a web page, not a label")
    try:
        return {card.keyword: card.value for card in parse_label_cards(body)}.get
    except SourceError as error:
        raise InvalidDocumentError(error.message) from None


DOCUMENT = DocumentFormat(create_lookup=_create_label_lookup)
