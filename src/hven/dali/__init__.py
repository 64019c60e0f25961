"""Manners shared by the faces: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.dali.address import base, table_named
from hven.dali.answer import answer, caching, etag, unchanged, whole
from hven.dali.errors import cone_error, headers_of, json_error, message_of, status_of, votable_error
from hven.dali.head import SOFTWARE, head
from hven.dali.params import Params, Upload, read

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection


def request_id(request: HTTPConnection) -> str:
    """Give the id under which the log knows this request; it stands in error documents too."""
    return str(request.scope.get("hven.request_id", ""))


__all__ = [
    "SOFTWARE",
    "Params",
    "Upload",
    "answer",
    "base",
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
]
