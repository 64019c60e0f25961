"""Who asks, what they may see, and how much. `permit` filters a bound query and names the reader's scope."""

from __future__ import annotations

from hven.site.auth import _invitations as invitations
from hven.site.auth import _kept_rights as kept_rights
from hven.site.auth import _looks as looks
from hven.site.auth import _signed as signed
from hven.site.auth._openid import OpenID
from hven.site.auth._passwords import change_password
from hven.site.auth._permit import (
    ANONYMOUS,
    DEFAULT,
    OWNER,
    ROLES,
    Access,
    People,
    Policy,
    Reader,
    Scope,
    alike,
    alone,
    masks,
    offered,
    permit,
    recognised,
    row_filters,
    scope_of,
    visible,
    whole,
)

__all__ = [
    "ANONYMOUS",
    "DEFAULT",
    "OWNER",
    "ROLES",
    "Access",
    "OpenID",
    "People",
    "Policy",
    "Reader",
    "Scope",
    "alike",
    "alone",
    "change_password",
    "invitations",
    "kept_rights",
    "looks",
    "masks",
    "offered",
    "permit",
    "recognised",
    "row_filters",
    "scope_of",
    "signed",
    "visible",
    "whole",
]
