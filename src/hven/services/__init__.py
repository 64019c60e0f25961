"""What the faces share: HTTP -> Params, RESPONSEFORMAT, MAXREC, error documents, VOSI."""

from __future__ import annotations

from hven.model.params import Params
from hven.query import unused
from hven.services._answer import answer, caching, etag, left, tagged, unchanged, whole
from hven.services._documents import Documents
from hven.services._proving import network, proven
from hven.services.address import base, table_named
from hven.services.bodies import chunks
from hven.services.bodies import whole_body as body
from hven.services.errors import headers_of, json_error, message_of, request_id, status_of
from hven.services.params import read

__all__ = [
    "Documents",
    "Params",
    "answer",
    "base",
    "body",
    "caching",
    "chunks",
    "etag",
    "headers_of",
    "json_error",
    "left",
    "message_of",
    "network",
    "proven",
    "read",
    "request_id",
    "status_of",
    "table_named",
    "tagged",
    "unchanged",
    "unused",
    "whole",
]
