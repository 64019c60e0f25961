"""``hven resolve``: look up the name of an object."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from hven.app.api import open_site, print_json
from hven.plugins.resolvers.sesame import query_sesame_and_store
from hven.plugins.resolvers.settings import get_resolver_settings
from hven.plugins.resolvers.simbad_snapshot import get_simbad_snapshot
from hven.query import resolver
from hven.site.auth import DEFAULT_POLICIES

if TYPE_CHECKING:
    from hven.site import Site


def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of an object, such as 'M 31'.")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
    refresh: Annotated[
        int,
        typer.Option(
            min=0,
            max=100_000,
            metavar="NUMBER",
            help="Ask SIMBAD again for this number of objects, starting with the oldest answers.",
        ),
    ] = 0,
) -> None:
    """Look up an object by name: position, other names, and source."""
    if refresh or not name:
        with open_site(context) as site:
            facts = _refresh_outdated_objects(site, refresh)
        if as_json:
            print_json(facts)
        else:
            for title, value in facts.items():
                print(f"{title.replace('_', ' '):14} {value}")
        return
    with open_site(context) as site:
        resolved_name = resolver.resolve_object_name(name, site=site)
    if as_json:
        facts = asdict(resolved_name)
        del facts["radius_degrees"]  # for pages
        print_json(facts)
        return
    position_text = motion_text = None
    if resolved_name.position is not None:
        lon, lat = resolved_name.position
        position_text = f"{lon:.8f} {lat:+.8f}"
    if resolved_name.proper_motion is not None:
        lon_motion, lat_motion = resolved_name.proper_motion
        motion_text = f"{lon_motion:g} {lat_motion:+g} mas/yr"
    rows = {
        "name": resolved_name.name,
        "kind": resolved_name.kind,
        "position": position_text,
        "frame": resolved_name.frame if position_text else None,
        "epoch": resolved_name.epoch,
        "proper motion": motion_text,
        "other names": ", ".join(resolved_name.ids[:12]) or None,
        "confidence": resolved_name.confidence,
        "source": resolved_name.source,
        "licence": resolved_name.licence or None,
        "age": _format_age(resolved_name.age),
        "note": resolved_name.note or None,
    }
    for title, text in rows.items():
        if text is not None:
            print(f"{title:14} {text}")


def _refresh_outdated_objects(site: Site, count: int) -> dict[str, object]:
    """Ask SIMBAD again for objects that are older than `resolver.keep_days`; return what is stored then."""
    snapshot = get_simbad_snapshot(site)
    settings = get_resolver_settings(site.settings)
    refreshed = 0
    if settings.remote and count:
        for name in snapshot.list_old_names(settings.keep_days, count):
            name_key = resolver.normalize_object_name(name)
            request = resolver.NameRequest(name=name, name_key=name_key, site=site, policies=DEFAULT_POLICIES)
            refreshed += bool(query_sesame_and_store(request))
    return {"refreshed": refreshed, **snapshot.summarize()}


def _format_age(age_seconds: float) -> str | None:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if age_seconds >= 2 * size:
            return f"{age_seconds / size:.0f} {unit}"
    if age_seconds >= 1:
        return f"{age_seconds:.0f} seconds"
    return None
