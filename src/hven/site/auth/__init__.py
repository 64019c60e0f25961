"""Who asks, what they may see, and how much. `permit` filters a bound query and names the reader's scope."""

from __future__ import annotations

from hven.site.auth._permit import (
    ANONYMOUS,
    DEFAULT,
    OWNER,
    Access,
    Policy,
    Reader,
    Scope,
    offered,
    permit,
    recognised,
    row_filters,
    scope_of,
    visible,
)

__all__ = [
    "ANONYMOUS",
    "DEFAULT",
    "OWNER",
    "Access",
    "Policy",
    "Reader",
    "Scope",
    "offered",
    "permit",
    "recognised",
    "row_filters",
    "scope_of",
    "visible",
]
