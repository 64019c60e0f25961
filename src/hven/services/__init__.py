"""Manners shared by the faces: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""

from __future__ import annotations

from hven.model.params import Params
from hven.query import head, unused
from hven.services._answer import answer, begin, caching, etag, request_id, unchanged, whole, without_body
from hven.services._documents import Documents
from hven.services._proving import network, proven
from hven.services.address import base, table_named
from hven.services.bodies import chunks
from hven.services.bodies import whole_body as body
from hven.services.errors import cone_error, headers_of, json_error, message_of, status_of, votable_error
from hven.services.params import read

__all__ = [
    "Documents",
    "Params",
    "answer",
    "base",
    "begin",
    "body",
    "caching",
    "chunks",
    "cone_error",
    "etag",
    "head",
    "headers_of",
    "json_error",
    "message_of",
    "network",
    "proven",
    "read",
    "request_id",
    "status_of",
    "table_named",
    "unchanged",
    "unused",
    "votable_error",
    "whole",
    "without_body",
]
