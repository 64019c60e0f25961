"""Names of objects -> positions: ``resolve(name, site=...)``, the one contract; providers are files here, or plug-ins.

A provider is a module of this room, or one that the entry-point group ``hven.resolvers`` names; it has `PROVIDER`, a
:class:`NameProvider`. Providers are asked in their order; the first that knows the name answers. Who needs a name's
place - ``ivo_simbadpoint``, a portal's search field, an EPN search - asks here, and nowhere else.
"""

from __future__ import annotations

from hven.query.resolver._contract import NameProvider, NameRequest, ResolvedName, normalize_name
from hven.query.resolver._providers import (
    AmbiguousNameError,
    UnresolvedNameError,
    can_resolve_names,
    resolve_name,
    resolve_position,
)

__all__ = [
    "AmbiguousNameError",
    "NameProvider",
    "NameRequest",
    "ResolvedName",
    "UnresolvedNameError",
    "can_resolve_names",
    "normalize_name",
    "resolve_name",
    "resolve_position",
]
