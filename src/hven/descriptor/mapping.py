"""How the rows of a source become the rows of a table: a `TableSpec` and the source's columns -> one bound query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.descriptor._compiling import Compiler
from hven.descriptor.observations import OBSCORE, RADIO, member
from hven.descriptor.outcome import SOURCE, TARGET, Call, Check, Mapping
from hven.model.errors import DescriptorError, Fault
from hven.sources import Doubts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import Resource, SourceSpec, TableSpec
    from hven.model.table import Column
    from hven.sources import Source


def compile(spec: TableSpec, source_columns: Sequence[Column], resource: Resource) -> Mapping:  # noqa: A001  (what it does)
    """Compile the settings of a table into bound queries over its source.

    Parameters
    ----------
    spec
        The table; one with several sources is compiled for each.
    source_columns
        What `Source.columns` gave.
    resource
        The collection: constants, Python functions, ``{site.url}``.

    Returns
    -------
    mapping
        What ingest executes.

    Raises
    ------
    DescriptorError
        Every fault that shows only when the source's columns are known: unknown names, types, units that cannot be converted.
    """
    mapping, faults = Compiler(spec, source_columns, resource).run()
    if mapping is None:
        raise DescriptorError([fault for fault in faults if fault.severity == "error"])
    observed = [member(spec, mapping.table, resource, kind) for kind in (OBSCORE, RADIO)]
    return replace(mapping, observations=tuple(one.mapping for one in observed if one is not None))


def doubted(mapping: Mapping, source: Source, one: SourceSpec) -> Mapping:
    """Add what the source doubts of columns that are copied as text (`doubts`), as warnings.

    Parameters
    ----------
    mapping
        As it was compiled.
    source
        An open one.
    one
        As its descriptor has it, for the place.

    Returns
    -------
    mapping
        With these warnings.
    """
    doubts = source.doubts() if isinstance(source, Doubts) else {}
    types = {column.name: column.type for column in mapping.table.columns}
    found = tuple(
        Fault(
            message=f"{name} is read as text: {doubts[name][0]}",
            remedy=doubts[name][1],
            place=one.place,
            severity="warning",
        )
        for target, name in mapping.copies.items()
        if name in doubts and types[target].is_string
    )
    return replace(mapping, warnings=(*mapping.warnings, *found))


__all__ = ["SOURCE", "TARGET", "Call", "Check", "Mapping", "compile", "doubted"]
