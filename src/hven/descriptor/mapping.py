"""How the rows of a source become the rows of a table: a `TableSpec` and the source's columns -> one bound query."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from hven.descriptor._mapping_compiler import MappingCompiler
from hven.descriptor.compiled_mapping import (
    SOURCE_RELATION,
    TARGET_RELATION,
    CompiledMapping,
    PythonFunctionCall,
    RowCheck,
)
from hven.descriptor.observations import OBSCORE_RADIO_VIEW, OBSCORE_VIEW, compile_obscore_view_member
from hven.model.errors import DescriptorError, Fault
from hven.sources import DoubtfulTypesSource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.table import Column
    from hven.sources import Source


def compile_mapping(spec: TableSpec, source_columns: Sequence[Column], resource: CollectionSpec) -> CompiledMapping:
    """Compile the settings of a table into bound queries over its source.

    Parameters
    ----------
    spec
        The table; one with several sources is compiled for each.
    source_columns
        What `Source.list_read_columns` gave.
    resource
        The collection: constants, Python functions, ``{site.url}``.

    Returns
    -------
    mapping
        What ingest executes.

    Raises
    ------
    DescriptorError
        Every fault that shows only when the source's columns are known: unknown names, types, units that cannot be
        converted.
    """
    mapping, faults = MappingCompiler(spec, source_columns, resource).compile_mapping()
    if mapping is None:
        raise DescriptorError([fault for fault in faults if fault.severity == "error"])
    view_members = [
        compile_obscore_view_member(spec, mapping.table, resource, kind) for kind in (OBSCORE_VIEW, OBSCORE_RADIO_VIEW)
    ]
    observations = tuple(view_member.mapping for view_member in view_members if view_member is not None)
    return replace(mapping, observations=observations)


@runtime_checkable
class _GuessedTypesSource(Protocol):
    """A source that guesses types from texts."""

    def list_changed_texts(self) -> dict[str, tuple[str, str]]:
        """List the columns whose values have another text than the cells: message and remedy by name."""


def with_type_doubt_warnings(mapping: CompiledMapping, source: Source, source_spec: SourceSpec) -> CompiledMapping:
    """Add what the source doubts of columns that are copied as text, as warnings.

    Parameters
    ----------
    mapping
        As it was compiled.
    source
        An open one.
    source_spec
        As its descriptor has it, for the place.

    Returns
    -------
    mapping
        With these warnings.
    """
    warnings_by_name: dict[str, tuple[str, str]] = {}
    if isinstance(source, _GuessedTypesSource):
        changes = source.list_changed_texts()
        warnings_by_name = {name: changes[name] for name in changes if name not in mapping.read_types}
    if isinstance(source, DoubtfulTypesSource):
        for name, (doubt, remedy) in source.list_type_doubts().items():
            warnings_by_name[name] = (f"is read as text: {doubt}", remedy)
    types = {column.name: column.type for column in mapping.table.columns}
    warnings = tuple(
        Fault(
            message=f"column {str(name)!r} {warnings_by_name[name][0]}",
            remedy=warnings_by_name[name][1],
            place=source_spec.place,
            severity="warning",
        )
        for target, name in mapping.copies.items()
        if name in warnings_by_name and types[target].is_string
    )
    return replace(mapping, warnings=(*mapping.warnings, *warnings))


__all__ = [
    "SOURCE_RELATION",
    "TARGET_RELATION",
    "CompiledMapping",
    "PythonFunctionCall",
    "RowCheck",
    "compile_mapping",
    "with_type_doubt_warnings",
]
