"""Addresses of the site itself that stand in rows: written when a table was ingested, and wrong when the site has moved since."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import Fault, HvenError, Place
from hven.site.store import Store

if TYPE_CHECKING:
    from hven.model.settings import Settings


def outdated(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[Fault]:
    """Find collections whose rows lead to another address than the one that the site has.

    Parameters
    ----------
    settings
        Of the site.
    host, port
        Where it will be served, if that is not what the settings say.

    Returns
    -------
    faults
        A warning for each.
    """
    if not settings.var.is_dir():
        return []
    try:
        store = Store(settings.var, settings.store)
    except HvenError:  # whoever needs the store says what is wrong with it
        return []
    try:
        records = store.current()[1]
    except HvenError:
        return []
    finally:
        store.close()
    now = replace(settings, host=host or settings.host, port=port or settings.port).url
    found: dict[str, tuple[str, list[str]]] = {}
    for name, record in sorted(records.items()):
        said = record.provenance.get("site_url")
        if said is not None and said != now:
            found.setdefault(record.collection, (said, []))[1].append(name)
    moved = f"HVEN_PORT={port} " if port not in {None, settings.port} and settings.public_url is None else ""
    always = (
        "" if settings.public_url else "; public_url in hven.toml says once and for all where readers find the site"
    )
    return [
        Fault(
            message=f"addresses in the rows of {' and '.join(names)} begin with {said}, where the site was at their ingest; now it is {now}",
            place=Place(file=str(settings.collections / collection / f"{collection}.yaml")),
            remedy=f"write them anew with: {moved}hven ingest {collection}{always}",
            severity="warning",
        )
        for collection, (said, names) in found.items()
    ]


__all__ = ["outdated"]
