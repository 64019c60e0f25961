"""Manners shared by the faces: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""

from __future__ import annotations

from hven.dali.address import base, table_named
from hven.dali.answer import answer, begin, caching, etag, request_id, unchanged, whole, without_body
from hven.dali.documents import Documents
from hven.dali.errors import cone_error, headers_of, json_error, message_of, status_of, votable_error
from hven.dali.params import read
from hven.model.given import Params, Upload
from hven.query.head import SOFTWARE, head

__all__ = [
    "SOFTWARE",
    "Documents",
    "Params",
    "Upload",
    "answer",
    "base",
    "begin",
    "caching",
    "cone_error",
    "etag",
    "head",
    "headers_of",
    "json_error",
    "message_of",
    "read",
    "request_id",
    "status_of",
    "table_named",
    "unchanged",
    "votable_error",
    "whole",
    "without_body",
]
