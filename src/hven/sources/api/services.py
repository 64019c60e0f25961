"""Requests to services: budgets, secrets, log-in, and answers that break off."""

from __future__ import annotations

from hven.sources._reading.service_client import (
    BrokenAnswerError,
    RequestOptions,
    RunBudget,
    Secret,
    ServiceClient,
    ServiceOptions,
    extract_error_text,
    resolve_authorization,
)

__all__ = [
    "BrokenAnswerError",
    "RequestOptions",
    "RunBudget",
    "Secret",
    "ServiceClient",
    "ServiceOptions",
    "extract_error_text",
    "resolve_authorization",
]
