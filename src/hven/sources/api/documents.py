"""Forms of documents, of which `enrich:` reads values for the rows of any source."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

_HTML_PATTERN = re.compile(rb"\s*(?:<\?xml[^>]*>\s*)?<(?:!doctype\s+html|html|head|body|pre)\b", re.IGNORECASE)


class InvalidDocumentError(Exception):
    """The document does not have the expected form; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFormat:
    """A form of documents, of which `enrich:` reads values: ``DOCUMENT`` of a module of the group `hven.documents`.

    Attributes
    ----------
    create_lookup
        Parse a document of which keys are wanted, and return a function that looks up one of them; it returns None for
        a key that the document lacks. It raises `InvalidDocumentError` if the document does not have this form.
    """

    create_lookup: Callable[[bytes, Collection[str]], Callable[[str], object]]


def is_web_page(body: bytes) -> bool:
    """Return whether a document is a page of HTML, which servers send in the place of what they do not have.

    Parameters
    ----------
    body
        The document.
    """
    return _HTML_PATTERN.match(body) is not None
