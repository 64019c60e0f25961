"""Who asks, what they may see, and how much. `apply_access_control` filters a bound query and names the reader's scope."""

from __future__ import annotations

from hven.site.auth import _impersonation as looks
from hven.site.auth import _recorded_rights as kept_rights
from hven.site.auth import _referee_invitations as invitations
from hven.site.auth import _signed_addresses as signed
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    DEFAULT_POLICIES,
    OWNER_PRINCIPAL,
    PROJECT_ROLES,
    AccessPolicy,
    AccessScope,
    DescriptorAccessPolicy,
    People,
    Principal,
    add_known_groups,
    add_service_policies,
    add_single_table_policy,
    apply_access_control,
    build_access_scope,
    collect_column_masks,
    collect_row_filters,
    has_public_access,
    is_table_visible,
    sees_whole_collection,
)
from hven.site.auth._openid_connect import OpenIdProvider
from hven.site.auth._passwords import change_password

__all__ = [
    "ANONYMOUS_PRINCIPAL",
    "DEFAULT_POLICIES",
    "OWNER_PRINCIPAL",
    "PROJECT_ROLES",
    "AccessPolicy",
    "AccessScope",
    "DescriptorAccessPolicy",
    "OpenIdProvider",
    "People",
    "Principal",
    "add_known_groups",
    "add_service_policies",
    "add_single_table_policy",
    "apply_access_control",
    "build_access_scope",
    "change_password",
    "collect_column_masks",
    "collect_row_filters",
    "has_public_access",
    "invitations",
    "is_table_visible",
    "kept_rights",
    "looks",
    "sees_whole_collection",
    "signed",
]
