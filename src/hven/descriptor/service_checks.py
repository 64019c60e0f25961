"""Check the words of ``services``: report a service for which the collection has no table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._package_keys import load_package_table_keys
from hven.descriptor.observations import OBSCORE_VIEW
from hven.model import plugins
from hven.model.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.table import Table

EPN_TAP_SERVICE = "epn-tap"
MISSING_REQUIREMENTS = {
    "cone": (
        "positions (columns in deg with the UCDs pos.eq.ra;meta.main and pos.eq.dec;meta.main, or `position`), and "
        "an identifier"
    ),
    "files": "published files (the collection has no `files`)",
    EPN_TAP_SERVICE: "`standard: epn-tap-2.0`",
    OBSCORE_VIEW: "`obscore` or its standard",
    **dict.fromkeys(("sia", "sia2", "ssa"), "`obscore`"),
}


def find_unserved_service_faults(resource: CollectionSpec, tables: Sequence[Table]) -> list[Fault]:
    """Find words of ``services`` that none of the collection's tables, with all of their columns, is for.

    Parameters
    ----------
    resource
        The collection.
    tables
        As they are published.

    Returns
    -------
    faults
        A warning for each word.
    """
    has_observations = any(spec.obscore is not None for spec in resource.tables)

    def is_served(service: str, table: Table) -> bool:
        if service == EPN_TAP_SERVICE:
            return (table.standard or "").startswith(EPN_TAP_SERVICE) or table.name.lower() == "epn_core"
        if service == OBSCORE_VIEW:
            return has_observations or (table.standard or "").startswith(OBSCORE_VIEW)
        return service not in plugins.list_plugins("protocols") or bool(
            plugins.load_plugin("protocols", service).FACE.applies(
                table.copy_with(observed=has_observations, services=resource.services)
            )
        )

    requirements = MISSING_REQUIREMENTS | {key.service: f"`{name}`" for name, key in load_package_table_keys().items()}
    return [
        Fault(
            message=(
                f"services: {service!r} has no data, because no table of {resource.name} has "
                f"{requirements.get(service, 'what it needs')}"
            ),
            place=resource.tables[0].place,
            remedy=f"remove {service!r} from `services`, or add what this service needs to one of the tables",
        )
        for service in (resource.services if tables else ())
        if not any(is_served(service, table) for table in tables)
    ]
