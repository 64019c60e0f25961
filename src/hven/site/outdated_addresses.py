"""Addresses of the site itself that stand in rows.

Written when a table was ingested, and wrong when the site has moved since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import Fault, HvenError, Place
from hven.site.store import StateStore

if TYPE_CHECKING:
    from hven.model.settings import Settings


def find_outdated_addresses(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[Fault]:
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
    if not settings.var_directory.is_dir():
        return []
    try:
        store = StateStore(settings.var_directory, settings.store)
    except HvenError:  # whoever needs the store says what is wrong with it
        return []
    try:
        records = store.read_published_records()[1]
    except HvenError:
        return []
    finally:
        store.close()
    current_url = replace(settings, host=host or settings.host, port=port or settings.port).site_url
    tables_by_collection: dict[str, tuple[str, list[str]]] = {}
    for name, record in sorted(records.items()):
        ingest_url = record.provenance.get("site_url")
        if ingest_url is not None and ingest_url != current_url:
            tables_by_collection.setdefault(record.collection, (ingest_url, []))[1].append(name)
    if port not in {None, settings.port} and settings.public_url is None:
        port_prefix = f"HVEN_PORT={port} "
    else:
        port_prefix = ""
    public_url_hint = (
        "" if settings.public_url else "; public_url in hven.toml says once and for all where readers find the site"
    )
    return [
        Fault(
            message=f"addresses in the rows of {' and '.join(names)} begin with {ingest_url}, where the site was at "
            f"their ingest; now it is {current_url}",
            place=Place(file=str(settings.collections_directory / collection / f"{collection}.yaml")),
            remedy=f"write them anew with: {port_prefix}hven ingest {collection}{public_url_hint}",
            severity="warning",
        )
        for collection, (ingest_url, names) in tables_by_collection.items()
    ]


__all__ = ["find_outdated_addresses"]
