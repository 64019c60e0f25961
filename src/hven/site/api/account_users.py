"""Build the users of accounts for work without a request."""

from __future__ import annotations

from hven.site.auth.local import TOKEN_SCOPE_GROUPS, build_principal

__all__ = ["TOKEN_SCOPE_GROUPS", "build_principal"]
