"""Words of ``services``: a face that no table of the collection is for would answer nobody, and nobody would be told."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor.observations import OBSCORE
from hven.model import plugins
from hven.model.errors import Fault

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource
    from hven.model.table import Table

EPN = "epn-tap"
LACKING = {
    "cone": "positions (columns in deg with the UCDs pos.eq.ra;meta.main and pos.eq.dec;meta.main, or `position`), and an identifier",
    "files": "files that are published: the collection has no `files`",
    "endpoints": "`endpoints`",
    EPN: "`standard: epn-tap-2.0`",
    OBSCORE: "`obscore`, and none its standard",
    **dict.fromkeys(("sia", "sia2", "ssa"), "`obscore`"),
}


def unserved(resource: Resource, tables: Sequence[Table]) -> list[Fault]:
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
    observed = any(spec.obscore is not None for spec in resource.tables)

    def serves(service: str, table: Table) -> bool:
        if service == EPN:
            return (table.standard or "").startswith(EPN) or table.name.lower() == "epn_core"
        if service == OBSCORE:
            return observed or (table.standard or "").startswith(OBSCORE)
        return service not in plugins.names("protocols") or bool(
            plugins.load("protocols", service).FACE.applies(table.having(observed=observed, services=resource.services))
        )

    return [
        Fault(
            message=f"services: {service} has nothing to answer with: no table of {resource.name} has {LACKING.get(service, 'what it needs')}",
            place=resource.tables[0].place,
            remedy=f"take {service} out of services, or give a table what it needs",
        )
        for service in (resource.services if tables else ())
        if not any(serves(service, table) for table in tables)
    ]
