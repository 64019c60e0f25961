"""Names of objects -> positions: ``resolve(name, site=...)``, the one contract; providers are files here, or plug-ins.

A provider is a module of this room, or one that the entry-point group ``hven.resolvers`` names; it has `PROVIDER`, a
:class:`Provider`. Providers are asked in their order; the first that knows the name answers. Who needs a name's place -
``ivo_simbadpoint``, a portal's search field, an EPN search - asks here, and nowhere else.
"""

from __future__ import annotations

from hven.query.resolver._contract import Asked, Provider, Resolved, key
from hven.query.resolver._providers import Ambiguous, Unresolved, offered, position, resolve

__all__ = ["Ambiguous", "Asked", "Provider", "Resolved", "Unresolved", "key", "offered", "position", "resolve"]
