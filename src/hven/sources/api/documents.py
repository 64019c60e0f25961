"""Forms of documents, of which `enrich:` reads values for the rows of any source."""

from __future__ import annotations

from hven.sources._documents.document_values import DocumentForm, InvalidDocumentError, is_web_page

__all__ = ["DocumentForm", "InvalidDocumentError", "is_web_page"]
