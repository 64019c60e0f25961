"""What the service protocols share: request parameters, RESPONSEFORMAT, MAXREC, error documents and VOSI."""

from __future__ import annotations

from hven.model.params import RequestParams
from hven.query import build_unused_parameter_warnings
from hven.services._document_cache import DocumentCache
from hven.services._proof_verification import verify_proof_with_attempt_limit
from hven.services._responses import (
    RESULT_VARY,
    answer_with_body,
    answer_with_etag,
    answer_with_result,
    build_cache_headers,
    compute_etag,
    is_unchanged,
    wait_for_disconnect,
)
from hven.services.addresses import find_client_network, find_table, get_base_url
from hven.services.errors import (
    build_retry_after_header,
    find_http_status,
    log_error_and_write_message,
    write_json_error,
)
from hven.services.params import get_request_id, read_params
from hven.services.request_bodies import read_body as read_body
from hven.services.request_bodies import read_chunks

__all__ = [
    "RESULT_VARY",
    "DocumentCache",
    "RequestParams",
    "answer_with_body",
    "answer_with_etag",
    "answer_with_result",
    "build_cache_headers",
    "build_retry_after_header",
    "build_unused_parameter_warnings",
    "compute_etag",
    "find_client_network",
    "find_http_status",
    "find_table",
    "get_base_url",
    "get_request_id",
    "is_unchanged",
    "log_error_and_write_message",
    "read_body",
    "read_chunks",
    "read_params",
    "verify_proof_with_attempt_limit",
    "wait_for_disconnect",
    "write_json_error",
]
