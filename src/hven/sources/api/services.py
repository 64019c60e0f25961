"""Requests to services: budgets, secrets, log-in, and answers that break off."""

from __future__ import annotations

from hven.sources._rate_limiting import ServiceBusyError
from hven.sources._reading.service_client import (
    AttemptCount,
    BrokenAnswerError,
    Login,
    PageRows,
    RequestOptions,
    RequestRate,
    RunBudget,
    RunBudgetOptions,
    Secret,
    ServiceClient,
    ServiceOptions,
    SilenceSeconds,
    Token,
    extract_error_text,
    resolve_authorization,
    resolve_token_or_login,
)

__all__ = [
    "AttemptCount",
    "BrokenAnswerError",
    "Login",
    "PageRows",
    "RequestOptions",
    "RequestRate",
    "RunBudget",
    "RunBudgetOptions",
    "Secret",
    "ServiceBusyError",
    "ServiceClient",
    "ServiceOptions",
    "SilenceSeconds",
    "Token",
    "extract_error_text",
    "resolve_authorization",
    "resolve_token_or_login",
]
