"""Resolve names of objects to positions: ``resolve_name(name, site=...)``.

A provider is a module that a plug-in package adds to the group ``resolvers``, or that the entry-point group
``hven.resolvers`` names. It has `PROVIDER`, a :class:`NameProvider`. Providers are asked in their order, and the first
that knows the name answers. All callers use this package: ``ivo_simbadpoint``, the search field of a portal, and the
EPN search.
"""

from __future__ import annotations

from hven.query.resolver._contract import (
    NameProvider,
    NameRequest,
    ResolvedName,
    normalize_object_name,
    normalize_object_names,
)
from hven.query.resolver._providers import (
    AmbiguousObjectNameError,
    UnresolvedNameError,
    can_resolve_names,
    complete_object_name,
    get_fixed_position,
    list_object_name_tables,
    resolve_object_name,
    resolve_object_position,
)

__all__ = [
    "AmbiguousObjectNameError",
    "NameProvider",
    "NameRequest",
    "ResolvedName",
    "UnresolvedNameError",
    "can_resolve_names",
    "complete_object_name",
    "get_fixed_position",
    "list_object_name_tables",
    "normalize_object_name",
    "normalize_object_names",
    "resolve_object_name",
    "resolve_object_position",
]
