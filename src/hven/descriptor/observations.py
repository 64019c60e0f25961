"""A table's rows as observations.

``obscore:`` -> a description of its own over the table's columns, and the SELECT that ivoa.obscore is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import quote_identifier_if_needed, write_adql
from hven.adql.functions import MAPPING_FUNCTIONS
from hven.adql.syntax_tree import ColumnRef, FunctionCall, Ident, Select, SelectItem, walk_tree
from hven.adql.value_kinds import is_null_in_every_row
from hven.descriptor._expression_trees import CAST_TYPES
from hven.descriptor._keys import ObscoreSection
from hven.descriptor._mapping_compiler import MappingCompiler
from hven.descriptor._merging import merge_yaml_maps
from hven.descriptor._name_resolution import with_place
from hven.descriptor._simulated_rows import build_data_source_column
from hven.descriptor.written_yaml import LocatedYamlMap, LocatedYamlScalar
from hven.model.errors import DescriptorError, Fault, suggest_spelling
from hven.model.resource import ColumnMapping
from hven.model.sky import frames
from hven.sources import FILE_FACT_COLUMNS, ROW_NUMBER_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.syntax_tree import Expr
    from hven.descriptor import compiled_mapping
    from hven.descriptor.value_schema import FaultCollector
    from hven.model.errors import TextPlace
    from hven.model.resource import CollectionSpec, TableSpec
    from hven.model.table import Column, Table

OBSCORE_VIEW, OBSCORE_RADIO_VIEW = "obscore", "obscore_radio"  # in the schema ivoa
STANDARDS_BY_VIEW = {OBSCORE_VIEW: "obscore-1.1", OBSCORE_RADIO_VIEW: "obscore-radio-1.0"}
# variants of the standard: what follows from the columns of another one
EPN_TAP_VARIANTS = ("epn-tap-2.0 celestial", "epn-tap-2.0")
_KEY_PATHS_BY_VIEW = {OBSCORE_VIEW: "obscore", OBSCORE_RADIO_VIEW: "obscore.radio"}
_KEYS_BY_VIEW = {
    OBSCORE_VIEW: tuple(ObscoreSection.record.key_types),
    OBSCORE_RADIO_VIEW: ("set", "text", "map", "converted"),
}
_VALID_KEYS_REMEDY = (
    "use one of {}; values of ObsCore's columns stand under 'set' (constants), 'text' (templates) or "
    "'map' (expressions)"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ObscoreViewMember:
    """What one table gives to ivoa.obscore (or to ivoa.obscore_radio).

    Attributes
    ----------
    column_expressions
        Column -> ADQL over the table's columns.
    source
        ADQL from FROM on.
    columns
        Those of the standard that it has, and its own; some may always be null.
    mapping
        The same, to be run over rows that come in.
    """

    table: str
    column_expressions: Mapping[str, str]
    source: str
    columns: tuple[Column, ...]
    mapping: compiled_mapping.CompiledMapping

    def write_query(self, columns: Sequence[Column]) -> str:
        """Generate the query for some columns of the standard; those that the table does not have are null.

        Parameters
        ----------
        columns
            Columns of the standard.

        Returns
        -------
        query
            ADQL.
        """
        select_items = ", ".join(
            (
                f"{self.column_expressions.get(column.name) or _write_typed_null(column)} AS "
                f"{quote_identifier_if_needed(Ident(column.name, quoted=True))}"
            )
            for column in columns
        )
        return f"SELECT {select_items} {self.source}"


def rewrite_obscore_as_table(
    value: Any, table: LocatedYamlMap, view_name: str, faults: FaultCollector
) -> LocatedYamlMap | None:
    """Rewrite ``obscore:`` (or its ``radio:``) as a table of the standard, to be read as any other.

    Parameters
    ----------
    value
        What stands there.
    table
        The map that it stands in.
    view_name
        ``obscore`` or ``radio``.
    faults
        Collects the faults.

    Returns
    -------
    table
        None after a fault.
    """
    if isinstance(value, LocatedYamlScalar) and value.is_null:
        value = LocatedYamlMap({}, table.place)
    if not isinstance(value, LocatedYamlMap):
        faults.add_error(
            f"{view_name} must be a map (keys: set, text, map ...)",
            value.place,
            "write `obscore: {}` if Hven can derive all values from the columns",
        )
        return None
    valid_keys = _KEYS_BY_VIEW[view_name]
    table_entries: dict[LocatedYamlScalar, Any] = {}
    for key, item in value.items():
        if key not in valid_keys:
            # no key has an underscore, but most columns of the standard have one
            remedy = "" if "_" in key else suggest_spelling(key, valid_keys)
            faults.add_error(
                f"{str(key)!r} is not a valid key of {_KEY_PATHS_BY_VIEW[view_name]}",
                key.place,
                remedy or _VALID_KEYS_REMEDY.format(", ".join(valid_keys)),
            )
        elif key != "radio":
            table_entries[key] = item
    table_entries[with_place("standard", table.place)] = with_place(STANDARDS_BY_VIEW[view_name], value.place)
    if view_name == OBSCORE_VIEW and "simulated" in table:
        own_columns = table_entries.get("columns")  # type: ignore[call-overload]
        table_entries[with_place("columns", table.place)] = (
            merge_yaml_maps(build_data_source_column(value.place), own_columns)
            if isinstance(own_columns, LocatedYamlMap)
            else build_data_source_column(value.place)
        )
    variant = _find_epn_tap_variant(table)
    if variant is not None and view_name == OBSCORE_VIEW:
        table_entries[with_place("frame", table.place)] = with_place(variant, value.place)
    return LocatedYamlMap(table_entries, value.place)


def _find_epn_tap_variant(table: LocatedYamlMap) -> str | None:
    standard, frame = table.get("standard"), table.get("frame")  # type: ignore[call-overload]
    words = f"{standard} {frame}"
    return next((name for name in EPN_TAP_VARIANTS if words == name or words.startswith(f"{name} ")), None)


def compile_obscore_view_member(
    spec: TableSpec, table: Table, resource: CollectionSpec, view_name: str = OBSCORE_VIEW
) -> ObscoreViewMember | None:
    """Compile what a table gives to ivoa.obscore.

    Parameters
    ----------
    spec
        As its descriptor has it.
    table
        With all its columns, as it is published.
    resource
        Its collection.
    view_name
        ``obscore`` or ``radio``.

    Returns
    -------
    member
        None if it gives nothing.

    Raises
    ------
    DescriptorError
        An expression does not fit the table's columns.
    """
    if view_name == OBSCORE_VIEW:
        view_spec = spec.obscore
    else:
        view_spec = spec.obscore_radio
    if view_spec is None:
        return None
    defaults = {**_build_view_defaults(table, view_spec, resource), **view_spec.defaults}
    view_spec = replace(view_spec, defaults=defaults)
    # without units there is nothing to convert from
    columns = (
        [column.copy_with(unit=None) for column in table.columns] if view_spec.uses_standard_units else table.columns
    )
    mapping, faults = MappingCompiler(view_spec, columns, resource).compile_mapping()
    errors = [fault for fault in faults if fault.severity == "error"]
    if mapping is None:
        raise DescriptorError(errors)
    file_fact_names = [
        item.name.name
        for item in walk_tree(mapping.queries[0])
        if isinstance(item, ColumnRef) and item.name.name in FILE_FACT_COLUMNS
    ]
    if file_fact_names:
        raise DescriptorError(
            [
                Fault(
                    message=(
                        f"{view_name}: {str(file_fact_names[0])!r} is a property of the source file, so its value is "
                        "known only during the ingest"
                    ),
                    place=view_spec.place,
                    remedy="store the value in a column of the table, and use that column here",
                )
            ]
        )
    body = mapping.queries[0].query.body
    if isinstance(body, Select):
        items = body.items
    else:
        items = ()
    trees = {item.alias.name: item.expr for item in items if isinstance(item, SelectItem) and item.alias is not None}
    trees.pop(ROW_NUMBER_COLUMN)
    required_expressions = [trees[column.name] for column in mapping.table.columns if column.required]
    not_null_conditions = [
        f"{write_adql(tree)} IS NOT NULL"
        for tree in required_expressions
        if tree.meta is None or (tree.meta.nullable and not tree.meta.constant)
    ]
    _check_sky_positions(view_spec, trees, table, view_name)
    _refuse_ingest_only_functions(
        view_spec,
        {
            column: tree
            for column, tree in trees.items()
            if column in {mapped_column.name for mapped_column in mapping.table.columns}
        },
        view_name,
    )
    table_name = ".".join(quote_identifier_if_needed(Ident(part, quoted=True)) for part in (table.schema, table.name))
    column_expressions = {
        column.name: _write_typed_expression(trees[column.name], column)
        for column in mapping.table.columns
        if column.name in trees
    }
    source = f"FROM {table_name}" + (f" WHERE {' AND '.join(not_null_conditions)}" if not_null_conditions else "")
    return ObscoreViewMember(
        table=table.qualified_name,
        column_expressions=column_expressions,
        source=source,
        columns=tuple(column.copy_with(origins=()) for column in mapping.table.columns),
        mapping=mapping,
    )


def _check_sky_positions(view_spec: TableSpec, trees: Mapping[str, Expr], table: Table, view_name: str) -> None:
    """Refuse longitudes, latitudes and outlines on a body: the view's are on the sky."""
    bodies = {frame.id for frame in table.frames if frame.system == frames.BODY_FRAME_NAME}
    body_columns = {column.name for column in table.columns if column.frame in bodies}
    faults = []
    for column in view_spec.table.columns:
        misplaced_columns = sorted(
            {node.name.name for node in walk_tree(trees.get(column.name)) if isinstance(node, ColumnRef)} & body_columns
            if column.frame == "sky"
            else ()
        )
        if misplaced_columns:
            faults.append(
                Fault(
                    message=(
                        f"{view_name}.{column.name}: {str(misplaced_columns[0])!r} contains places on a body, but "
                        f"{view_name} contains positions on the sky (ICRS)"
                    ),
                    place=_locate_setting(view_spec, column.name),
                    remedy=(
                        f"remove {str(column.name)!r}; readers can search {table.qualified_name} for places on bodies"
                    ),
                )
            )
    if faults:
        raise DescriptorError(faults)


def _refuse_ingest_only_functions(view_spec: TableSpec, trees: Mapping[str, Expr], view_name: str) -> None:
    """Refuse functions that only an ingest can compute: a view is computed when it is queried."""
    faults = []
    for column, tree in trees.items():
        ingest_only_functions = sorted(
            {
                node.name
                for node in walk_tree(tree)
                if isinstance(node, FunctionCall)
                and (entry := MAPPING_FUNCTIONS.find_function(node.name))
                and entry.mapping
            }
        )
        ingest_only_functions += sorted(
            {
                node.name.lower()
                for node in walk_tree(tree)
                if isinstance(node, FunctionCall) and MAPPING_FUNCTIONS.find_function(node.name) is None
            }
        )
        if ingest_only_functions:
            faults.append(
                Fault(
                    message=(
                        f"{view_name}.{column}: the function {ingest_only_functions[0].lower()!r} works only at "
                        f"ingest, but {view_name} is computed for each query"
                    ),
                    place=_locate_setting(view_spec, column),
                    remedy=(
                        f"compute the value in a column of the table, and refer to that column: `{column}: my_column`"
                    ),
                )
            )
    if faults:
        raise DescriptorError(faults)


def _locate_setting(view_spec: TableSpec, column: str) -> TextPlace:
    return next((item.place for item in view_spec.settings if item.column == column), view_spec.place)


def _write_typed_expression(tree: Expr, column: Column) -> str:
    """Write an expression so that it has the column's own type: a union takes the widest of its members otherwise."""
    if is_null_in_every_row(tree):
        return _write_typed_null(column)
    text = write_adql(tree)
    if tree.meta is None or not (column.type.is_numeric and tree.meta.type.is_numeric) or tree.meta.type == column.type:
        return text
    return f"CAST({text} AS {CAST_TYPES[column.type.datatype]})"


def _write_typed_null(column: Column) -> str:
    """Write NULL with the column's type: without one, a condition on it compares text with a number."""
    if column.type.is_numeric:
        return f"CAST(NULL AS {CAST_TYPES[column.type.datatype]})"
    if column.type.is_string:
        target = "VARCHAR"
    elif column.type.is_timestamp:
        target = "TIMESTAMP"
    else:
        target = ""
    if target:
        return f"CAST(NULL AS {target})"
    return "NULL"


def _build_view_defaults(table: Table, view_spec: TableSpec, resource: CollectionSpec) -> dict[str, ColumnMapping]:
    """Derive what follows from any table: an identifier by its key, the position by the one it is indexed by."""
    default_expressions: dict[str, str] = {}
    if len(table.primary) == 1:
        key = table.primary[0]
    else:
        key = "obs_id"
    is_string_key = any(column.name == key and column.type.is_string for column in table.columns)
    if is_string_key:
        ident = f'"{key}"'
    else:
        ident = f'CAST("{key}" AS VARCHAR)'
    default_expressions["obs_publisher_did"] = f"'ivo://{resource.site['authority']}/{resource.name}?' || {ident}"
    default_expressions["obs_collection"] = "collection.name"
    if len(table.primary) == 1:
        default_expressions["obs_id"] = ident
    if table.position is not None and (table.find_column(table.position[0]).ucd or "").startswith("pos.eq.ra"):
        default_expressions |= {"s_ra": f'"{table.position[0]}"', "s_dec": f'"{table.position[1]}"'}
    names = {column.name for column in view_spec.table.columns}
    return {
        column: ColumnMapping(column=column, how="map", value=with_place(text, view_spec.place), place=view_spec.place)
        for column, text in default_expressions.items()
        if column in names
    }
