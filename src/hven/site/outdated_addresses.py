"""Find addresses of the site itself in rows that are outdated.

They were written when a table was ingested, and are wrong if the site has moved since.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.model.errors import Fault, HvenError, TextPlace
from hven.site.store import StateStore

if TYPE_CHECKING:
    from hven.model.settings import Settings


def find_outdated_addresses(settings: Settings, *, host: str | None = None, port: int | None = None) -> list[Fault]:
    """Find collections whose rows contain another address of the site than its present one.

    Parameters
    ----------
    settings
        Settings of the site.
    host, port
        Where the site will be served, if that differs from the settings.

    Returns
    -------
    faults
        A warning for each collection.
    """
    if not settings.var_directory.is_dir():
        return []
    try:
        store = StateStore(settings.var_directory, settings.store)
    except HvenError:  # commands that need the store report what is wrong with it
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
            _, table_names = tables_by_collection.setdefault(record.collection, (ingest_url, []))
            table_names.append(name)
    port_prefix = ""
    if port not in {None, settings.port} and settings.public_url is None:
        port_prefix = f"HVEN_PORT={port} "
    public_url_hint = ""
    if not settings.public_url:
        public_url_hint = "; to give the site a permanent address, set public_url in hven.toml"
    faults = []
    for collection, (ingest_url, table_names) in tables_by_collection.items():
        descriptor_path = settings.collections_directory / collection / f"{collection}.yaml"
        fault = Fault(
            message=f"addresses in the rows of {' and '.join(table_names)} begin with {ingest_url}, which was the "
            f"address of the site when the rows were ingested; the address is now {current_url}",
            place=TextPlace(file=str(descriptor_path)),
            remedy=f"update them with: {port_prefix}hven ingest {collection}{public_url_hint}",
            severity="warning",
        )
        faults.append(fault)
    return faults


__all__ = ["find_outdated_addresses"]
