"""Manners shared by the faces: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""

from __future__ import annotations

from hven.dali.address import base, table_named
from hven.dali.answer import answer, begin, caching, etag, request_id, unchanged, whole, without_body
from hven.dali.bodies import chunks
from hven.dali.bodies import whole_body as body
from hven.dali.documents import Documents
from hven.dali.errors import cone_error, headers_of, json_error, message_of, status_of, votable_error
from hven.dali.params import read
from hven.dali.proving import network, proven
from hven.model.given import Params
from hven.query import head, unused

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
