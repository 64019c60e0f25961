"""A table's rows as observations: ``obscore:`` -> a description of its own over the table's columns, and the SELECT that ivoa.obscore is made of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from hven.adql.functions import MAPPING
from hven.adql.kinds import is_null
from hven.adql.text import name, write
from hven.adql.tree import ColumnRef, Function, Ident, Select, SelectItem, walk
from hven.descriptor._compiling import Compiler
from hven.descriptor._expression_names import written
from hven.descriptor._keys import Obscore
from hven.descriptor._merging import merge
from hven.descriptor._simulated import column as mark
from hven.descriptor._value_trees import CASTS
from hven.descriptor.written import Entries, Written
from hven.model.errors import DescriptorError, Fault, nearest
from hven.model.resource import Setting
from hven.model.sky import frames
from hven.sources import FILE_FACTS, ROW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.adql.tree import Expr
    from hven.descriptor import outcome as mappings
    from hven.descriptor.value_schema import Faults
    from hven.model.errors import Place
    from hven.model.resource import Resource, TableSpec
    from hven.model.table import Column, Table

OBSCORE, RADIO = "obscore", "obscore_radio"  # in the schema ivoa
STANDARDS = {OBSCORE: "obscore-1.1", RADIO: "obscore-radio-1.0"}
# variants of the standard: what follows from the columns of another one
KNOWN = ("epn-tap-2.0 celestial", "epn-tap-2.0")
_KEYS = {OBSCORE: tuple(Obscore.record.keys), RADIO: ("set", "text", "map", "converted")}


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What one table gives to ivoa.obscore (or to ivoa.obscore_radio).

    Attributes
    ----------
    items
        Column -> ADQL over the table's columns.
    source
        ADQL from FROM on.
    columns
        Those of the standard that it has, and its own; some may always be null.
    mapping
        The same, to be run over rows that come in.
    """

    table: str
    items: Mapping[str, str]
    source: str
    columns: tuple[Column, ...]
    mapping: mappings.Mapping

    def select(self, columns: Sequence[Column]) -> str:
        """Generate the query for some columns of the standard; those that the table does not have are null.

        Parameters
        ----------
        columns
            Of the standard.

        Returns
        -------
        query
            ADQL.
        """
        items = ", ".join(
            f"{self.items.get(column.name) or _nothing(column)} AS {name(Ident(column.name, quoted=True))}"
            for column in columns
        )
        return f"SELECT {items} {self.source}"


def described(value: Any, table: Entries, kind: str, faults: Faults) -> Entries | None:
    """Rewrite ``obscore:`` (or its ``radio:``) as a table of the standard, to be read as any other.

    Parameters
    ----------
    value
        What stands there.
    table
        The map that it stands in.
    kind
        ``obscore`` or ``radio``.
    faults
        Where faults go.

    Returns
    -------
    table
        None after a fault.
    """
    if isinstance(value, Written) and value.is_null:
        value = Entries({}, table.place)
    if not isinstance(value, Entries):
        faults.error(
            f"{kind} must be a map (set, text, map ...)",
            value.place,
            "write obscore: {} if everything follows from the columns",
        )
        return None
    for key in value:
        if key not in _KEYS[kind]:
            faults.error(
                f"{kind} has no key {str(key)!r}",
                key.place,
                nearest(key, _KEYS[kind]) or f"known: {', '.join(_KEYS[kind])}",
            )
    made: dict[Written, Any] = {key: item for key, item in value.items() if key != "radio"}
    made[written("standard", table.place)] = written(STANDARDS[kind], value.place)
    if kind == OBSCORE and "simulated" in table:
        own = made.get("columns")  # type: ignore[call-overload]
        made[written("columns", table.place)] = (
            merge(mark(value.place), own) if isinstance(own, Entries) else mark(value.place)
        )
    variant = _variant(table)
    if variant is not None and kind == OBSCORE:
        made[written("frame", table.place)] = written(variant, value.place)
    return Entries(made, value.place)


def _variant(table: Entries) -> str | None:
    standard, frame = table.get("standard"), table.get("frame")  # type: ignore[call-overload]
    words = f"{standard} {frame}"
    return next((name for name in KNOWN if words == name or words.startswith(f"{name} ")), None)


def member(spec: TableSpec, table: Table, resource: Resource, kind: str = OBSCORE) -> Member | None:
    """Compile what a table gives to ivoa.obscore.

    Parameters
    ----------
    spec
        As its descriptor has it.
    table
        With all its columns, as it is published.
    resource
        Its collection.
    kind
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
    said = spec.obscore if kind == OBSCORE else spec.radio
    if said is None:
        return None
    said = replace(said, defaults={**_defaults(table, said, resource), **said.defaults})
    # without units there is nothing to convert from
    columns = [column.having(unit=None) for column in table.columns] if said.converted else table.columns
    mapping, faults = Compiler(said, columns, resource).run()
    errors = [fault for fault in faults if fault.severity == "error"]
    if mapping is None:
        raise DescriptorError(errors)
    facts = [
        item.name.name
        for item in walk(mapping.queries[0])
        if isinstance(item, ColumnRef) and item.name.name in FILE_FACTS
    ]
    if facts:
        raise DescriptorError(
            [
                Fault(
                    message=f"{kind}: {facts[0]} is not known here",
                    place=said.place,
                    remedy="keep it in a column of the table",
                )
            ]
        )
    body = mapping.queries[0].query.body
    items = body.items if isinstance(body, Select) else ()
    trees = {item.alias.name: item.expr for item in items if isinstance(item, SelectItem) and item.alias is not None}
    trees.pop(ROW)
    needed = [trees[column.name] for column in mapping.table.columns if column.required]
    present = [
        f"{write(tree)} IS NOT NULL"
        for tree in needed
        if tree.meta is None or (tree.meta.nullable and not tree.meta.constant)
    ]
    _on_the_sky(said, trees, table, kind)
    _asked(
        said,
        {column: tree for column, tree in trees.items() if column in {one.name for one in mapping.table.columns}},
        kind,
    )
    own = ".".join(name(Ident(part, quoted=True)) for part in (table.schema, table.name))
    return Member(
        table=table.qualified,
        items={
            column.name: _of_type(trees[column.name], column)
            for column in mapping.table.columns
            if column.name in trees
        },
        source=f"FROM {own}" + (f" WHERE {' AND '.join(present)}" if present else ""),
        columns=tuple(column.having(origins=()) for column in mapping.table.columns),
        mapping=mapping,
    )


def _on_the_sky(said: TableSpec, trees: Mapping[str, Expr], table: Table, kind: str) -> None:
    """Refuse longitudes, latitudes and outlines on a body: the view's are on the sky."""
    bodies = {frame.id for frame in table.frames if frame.system == frames.BODY}
    placed = {column.name for column in table.columns if column.frame in bodies}
    faults = []
    for column in said.table.columns:
        found = sorted(
            {node.name.name for node in walk(trees.get(column.name)) if isinstance(node, ColumnRef)} & placed
            if column.frame == "sky"
            else ()
        )
        if found:
            faults.append(
                Fault(
                    message=f"{kind}.{column.name}: {found[0]} is on a body, and {kind} has places on the sky (ICRS)",
                    place=_set_at(said, column.name),
                    remedy=f"leave {column.name} out; who looks for places on bodies asks {table.qualified}",
                )
            )
    if faults:
        raise DescriptorError(faults)


def _asked(said: TableSpec, trees: Mapping[str, Expr], kind: str) -> None:
    """Refuse what is computed at ingest alone: the view is computed when it is asked."""
    faults = []
    for column, tree in trees.items():
        wrong = sorted(
            {
                node.name
                for node in walk(tree)
                if isinstance(node, Function) and (entry := MAPPING.get(node.name)) and entry.mapping
            }
        )
        wrong += sorted(
            {node.name.lower() for node in walk(tree) if isinstance(node, Function) and MAPPING.get(node.name) is None}
        )
        if wrong:
            faults.append(
                Fault(
                    message=f"{kind}.{column}: {wrong[0].lower()} works at ingest alone, and {kind} is computed when it is asked",
                    place=_set_at(said, column),
                    remedy=f"compute it in a column of the table, and name that column here: {column}: my_column",
                )
            )
    if faults:
        raise DescriptorError(faults)


def _set_at(said: TableSpec, column: str) -> Place:
    return next((item.place for item in said.settings if item.column == column), said.place)


def _of_type(tree: Expr, column: Column) -> str:
    """Write an expression so that it has the column's own type: a union takes the widest of its members otherwise."""
    if is_null(tree):
        return _nothing(column)
    text = write(tree)
    if tree.meta is None or not (column.type.is_numeric and tree.meta.type.is_numeric) or tree.meta.type == column.type:
        return text
    return f"CAST({text} AS {CASTS[column.type.datatype]})"


def _nothing(column: Column) -> str:
    """Write NULL with the column's type: without one, a condition on it compares text with a number."""
    if column.type.is_numeric:
        return f"CAST(NULL AS {CASTS[column.type.datatype]})"
    target = "VARCHAR" if column.type.is_string else "TIMESTAMP" if column.type.is_timestamp else ""
    return f"CAST(NULL AS {target})" if target else "NULL"


def _defaults(table: Table, said: TableSpec, resource: Resource) -> dict[str, Setting]:
    """Derive what follows from any table: an identifier by its key, the position by the one it is indexed by."""
    made: dict[str, str] = {}
    key = table.primary[0] if len(table.primary) == 1 else "obs_id"
    plain = any(column.name == key and column.type.is_string for column in table.columns)
    ident = f'"{key}"' if plain else f'CAST("{key}" AS VARCHAR)'
    made["obs_publisher_did"] = f"'ivo://{resource.site['authority']}/{resource.name}?' || {ident}"
    made["obs_collection"] = "collection.name"
    if len(table.primary) == 1:
        made["obs_id"] = ident
    if table.position is not None and (table.column(table.position[0]).ucd or "").startswith("pos.eq.ra"):
        made |= {"s_ra": f'"{table.position[0]}"', "s_dec": f'"{table.position[1]}"'}
    names = {column.name for column in said.table.columns}
    return {
        column: Setting(column=column, how="map", value=written(text, said.place), place=said.place)
        for column, text in made.items()
        if column in names
    }


__all__ = ["OBSCORE", "RADIO", "Member", "described", "member"]
