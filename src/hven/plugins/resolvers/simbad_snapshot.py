"""The provider ``snapshot``: what SIMBAD has told this site before.

The provider `sesame` stores the answers of SIMBAD, and reads them until they are too old. This one answers with those
that are older, if SIMBAD cannot be reached.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model import plugins
from hven.model.errors import format_message
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.query.resolver import NameProvider, NameRequest, ResolvedName

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.plugins.resolvers.simbad_store import SimbadSnapshot
    from hven.site import Site

STORE_MODULE = "hven.plugins.resolvers.simbad_store"  # it needs SQLAlchemy, and a descriptor is checked without


def get_simbad_snapshot(site: Site) -> SimbadSnapshot:
    """Return the snapshot of a site.

    Parameters
    ----------
    site
        The site.
    """
    module = plugins.import_hven_module(STORE_MODULE, "answers of SIMBAD")
    snapshot: SimbadSnapshot = site.store.get_or_create(module.SimbadSnapshot)
    return snapshot


def find_stored_simbad_object(request: NameRequest) -> Sequence[ResolvedName]:
    """Look up a name among the stored objects, whatever their age."""
    snapshot = get_simbad_snapshot(request.site)
    resolved = snapshot.find_object(request.name_key)
    if resolved is None:
        return ()
    outage = snapshot.find_outage()
    if outage is not None:
        note = format_message("SIMBAD has not answered since {time}; this is an earlier answer", outage.since)
        resolved = replace(resolved, note=note)
    return (resolved,)


PROVIDER = NameProvider(
    name="snapshot",
    order=60,
    offered=lambda settings: get_resolver_settings(settings).remote,
    place=lambda _: format_message("earlier answers of SIMBAD"),
    remedy="",
    find=find_stored_simbad_object,
)
