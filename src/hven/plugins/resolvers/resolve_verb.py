"""``hven resolve``: look up the name of an object."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from hven.app.api import open_site, print_json
from hven.query import resolver


def resolve(
    context: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of an object, such as 'M 31'.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Look up an object by name: position, other names, and source."""
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
        "age": _format_age(resolved_name.age),
        "note": resolved_name.note or None,
    }
    for title, text in rows.items():
        if text is not None:
            print(f"{title:14} {text}")


def _format_age(age_seconds: float) -> str | None:
    for unit, size in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if age_seconds >= 2 * size:
            return f"{age_seconds / size:.0f} {unit}"
    if age_seconds >= 1:
        return f"{age_seconds:.0f} seconds"
    return None
