"""Who asks, what they may see, and how much. `permit` filters a bound query and names the reader's scope."""

from __future__ import annotations

from hven.site.auth.permit import Policy, Reader, Scope, permit, visible

__all__ = ["Policy", "Reader", "Scope", "permit", "visible"]
