"""Authentication and access control: who a user is, what they may see, and how much.

`apply_access_control` filters a bound query and names the user's scope.
"""

from __future__ import annotations

from hven.site.auth import _impersonation as impersonation
from hven.site.auth import _recorded_rights as recorded_rights
from hven.site.auth import _referee_invitations as invitations
from hven.site.auth import _signed_addresses as signed_addresses
from hven.site.auth._access_control import (
    ANONYMOUS_PRINCIPAL,
    DEFAULT_POLICIES,
    OWNER_PRINCIPAL,
    PROJECT_ROLES,
    AccessPolicy,
    AccessScope,
    People,
    Principal,
    apply_access_control,
    build_access_scope,
    can_see_whole_collection,
    collect_column_masks,
    collect_row_filters,
    has_same_access_as_public,
    is_table_visible,
    with_known_groups_and_names,
    with_service_and_portal_policies,
    with_single_table_policy,
)
from hven.site.auth._external_accounts import ExternalAccounts, list_login_links
from hven.site.auth._passwords import change_password_and_end_sessions

__all__ = [
    "ANONYMOUS_PRINCIPAL",
    "DEFAULT_POLICIES",
    "OWNER_PRINCIPAL",
    "PROJECT_ROLES",
    "AccessPolicy",
    "AccessScope",
    "ExternalAccounts",
    "People",
    "Principal",
    "apply_access_control",
    "build_access_scope",
    "can_see_whole_collection",
    "change_password_and_end_sessions",
    "collect_column_masks",
    "collect_row_filters",
    "has_same_access_as_public",
    "impersonation",
    "invitations",
    "is_table_visible",
    "list_login_links",
    "recorded_rights",
    "signed_addresses",
    "with_known_groups_and_names",
    "with_service_and_portal_policies",
    "with_single_table_policy",
]
