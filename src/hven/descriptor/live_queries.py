"""Tables that are read in place: a `TableSpec` and what the database says of its table -> bound queries that the database can run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql import parse_expression
from hven.adql.tree import ColumnRef, Expr, Function, Select, SelectItem, TableRef, walk
from hven.descriptor.mapping import compile as compile_mapping
from hven.descriptor.written import Written
from hven.engines import live
from hven.model import plugins
from hven.model.errors import DescriptorError, Fault, HvenError, Unavailable
from hven.model.settings import secret
from hven.sources import FILE_FACTS, ROW, Context

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from hven.adql.tree import Bound
    from hven.descriptor.outcome import Mapping as Compiled
    from hven.model.errors import Place
    from hven.model.resource import Resource, TableSpec
    from hven.model.settings import Settings
    from hven.model.table import Table

KIND = "live"


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A table that is read in place.

    Attributes
    ----------
    queries
        SELECTs over the pseudo table ``source``, one for each granule.
    copies
        Published column -> column of the database's table that it is, unchanged.
    position
        What finds positions there: ``q3c``, ``pgsphere``, or empty.
    hints
        Indexes that the database lacks.
    warnings
        Of the descriptor.
    """

    table: Table
    queries: tuple[Bound, ...]
    copies: Mapping[str, str]
    position: str = ""
    hints: tuple[Any, ...] = ()
    warnings: tuple[Fault, ...] = ()


def is_live(spec: TableSpec) -> bool:
    """Return whether a table is read in place.

    Parameters
    ----------
    spec
        As its descriptor has it.
    """
    return any(source.kind == KIND for source in spec.sources)


def faults_of(spec: TableSpec) -> list[Fault]:
    """Check what a descriptor says of a table that is read in place; needs no database.

    Parameters
    ----------
    spec
        As its descriptor has it.

    Returns
    -------
    faults
        Errors and warnings.
    """
    if not is_live(spec):
        return []
    what = f"tables.{spec.table.name}"
    found = []
    if len(spec.sources) > 1:
        remedy = "give each its own table, and join them by a view"
        found.append(
            Fault(
                message=f"{what}.source: a table that is read in place has one source",
                place=spec.sources[1].place,
                remedy=remedy,
            )
        )
    if spec.sync:
        message = f"{what}.sync: a table that is read in place is always as its database has it"
        found.append(Fault(message=message, place=spec.place, remedy="remove it", severity="warning"))
    if spec.flags is not None and not spec.flags.given:
        message = f"{what}.flags: the rows of a table that is read in place are not checked, so nothing sets flags"
        found.append(
            Fault(message=message, place=spec.flags.place, remedy="kind: sql copies the rows, and checks them")
        )
    if spec.max_rejects is not None:
        found.append(
            Fault(
                message=f"{what}.max_rejects: no row is checked where none is read in",
                place=spec.place,
                severity="warning",
            )
        )
    return found


def against_database(spec: TableSpec, resource: Resource, settings: Settings) -> list[Fault]:
    """Check a table against its database.

    Parameters
    ----------
    spec
        As its descriptor has it.
    resource
        Its collection.
    settings
        Of the site.

    Returns
    -------
    faults
        Errors and warnings; also which indexes are missing there.
    """
    what = f"tables.{spec.table.name}"
    source = spec.sources[0]
    module = plugins.load("sources", KIND)
    try:
        look = module.open(
            module.Options.model_validate(dict(source.options)), Context(secret=partial(secret, settings.directory))
        ).look()
    except HvenError as error:
        away = isinstance(error, Unavailable) or "secret" in error.message
        return [
            Fault(
                message=f"{what}.source: {error.message}",
                place=source.place,
                remedy=error.remedy,
                severity="warning" if away else "error",
            )
        ]
    try:
        one = made(spec, resource, look)
    except DescriptorError as error:
        return list(error.faults)
    hints = [
        Fault(message=f"{what}: {hint.message}", place=source.place, remedy=hint.remedy, severity="warning")
        for hint in one.hints
    ]
    return [*one.warnings, *hints]


def made(spec: TableSpec, resource: Resource, look: Any) -> Made:
    """Compile the mapping of a table over what the database says of it.

    Parameters
    ----------
    spec
        As its descriptor has it.
    resource
        Its collection.
    look
        `hven.sources.live.Look`.

    Returns
    -------
    made
        The table, and the queries that the database runs.

    Raises
    ------
    DescriptorError
        Every fault: names, types, units, and what cannot be said in SQL.
    """
    what = f"tables.{spec.table.name}"
    compiled = compile_mapping(spec, look.described(), resource)
    faults = [*_beyond(spec, compiled, what)]
    if faults:
        raise DescriptorError(faults)
    room = plugins.load("sources", KIND)
    same = {there.name: there.shown.type for there in look.served()}
    wanted = {column.name: column.type for column in compiled.table.columns}
    copies = {target: own for target, own in compiled.copies.items() if same.get(own) == wanted[target]}
    table, position, columns = compiled.table, "", None
    if table.position is not None and set(table.position) <= copies.keys():
        columns = (copies[table.position[0]], copies[table.position[1]])
        position = room.position_index(look, *columns)
    primary = (
        table.primary
        or tuple(target for own in look.primary for target, one in copies.items() if one == own)[: len(look.primary)]
    )
    table = table.having(
        primary=primary, columns=tuple(column.having(required=column.required) for column in table.columns)
    )
    keys = {copies[name]: "the key" for name in primary[:1] if name in copies}
    keys |= {
        copies[column.name]: "the indexed column"
        for column in table.columns
        if column.indexed and column.name in copies
    }
    hints = list(room.hints(look, columns, keys))
    if table.position is not None and columns is None:
        message = f"positions are computed from other columns ({', '.join(table.position)}), so no index serves cones"
        hints.append(
            room.Hint(message=message, remedy="keep longitude and latitude in degrees in columns of the source")
        )
    warnings = [
        *compiled.warnings,
        *(Fault(message=f"{what}.source: {text.split('; ', 1)[0]}", place=spec.sources[0].place, remedy=text.split("; ", 1)[1], severity="warning")
          for text in look.left_out()),
    ]  # fmt: skip
    if spec.rules:
        # not one of its standard
        own = next((rule.place for rule in spec.rules if rule.place.file == spec.place.file), spec.place)
        message = f"{what}.rules: the rows of a table that is read in place are not checked"
        warnings.append(
            Fault(
                message=message,
                place=own,
                remedy="let the database check them, or leave such rows out by 'where'; hven lint looks at what is served",
                severity="warning",
            )
        )
    if look.encoding == "SQL_ASCII":
        message = f"{what}.source: the database says nothing of its encoding (SQL_ASCII), so text that is not UTF-8 breaks an answer off"
        warnings.append(
            Fault(
                message=message,
                place=spec.sources[0].place,
                remedy="move it to a database with ENCODING 'UTF8'",
                severity="warning",
            )
        )
    return Made(
        table=table,
        queries=tuple(_query(bound, table) for bound in compiled.queries),
        copies=copies,
        position=position if position in {"q3c", "pgsphere"} else "",
        hints=tuple(hints),
        warnings=tuple(warnings),
    )


def _query(bound: Bound, table: Table) -> Bound:
    """Drop the row's number from the query, and set each column's declared type."""
    body = bound.query.body
    if not isinstance(body, Select):
        raise TypeError(type(body).__name__)
    items = [
        replace(item, column=item.column.having(type=table.column(item.column.name).type))
        for item in body.items
        if isinstance(item, SelectItem) and item.column is not None and item.column.name != ROW
    ]
    return replace(bound, query=replace(bound.query, body=replace(body, items=tuple(items))))


def _beyond(spec: TableSpec, compiled: Compiled, what: str) -> Iterator[Fault]:
    """Find what cannot be said in SQL, with its place."""
    remedy = "copy the table (kind: sql), or let a view of the database compute it"
    for call in compiled.calls:
        kind = "is a Python function" if call.path is not None else "is for ingests"
        yield Fault(
            message=f"{what}: {call.name} {kind}, which a table that is read in place cannot call",
            place=call.place,
            remedy=remedy,
        )
    places = {
        setting.column: setting
        for setting in (*spec.settings, *(one for granule in spec.granules for one in granule.settings))
    }
    for name in compiled.lookups:
        setting = next((one for one in places.values() if one.how == "lookup"), None)
        message = (
            f"{what}.lookup: a lookup with more than 64 keys cannot be said in SQL"
            if setting is None
            else f"{what}.lookup.{setting.column}: more than 64 keys cannot be said in SQL"
        )
        yield Fault(
            message=message,
            place=spec.place if setting is None else setting.place,
            remedy=f"put {name.replace('_', ' ')} into a table of the database and join it in a view",
        )
    told: set[str] = set()  # each granule has a query, and what is common to them is told once
    for bound in compiled.queries:
        body = bound.query.body
        if not isinstance(body, Select) or not isinstance(body.source, TableRef):
            continue
        for item in [*body.items, *([body.where] if body.where is not None else [])]:
            column = item.column.name if isinstance(item, SelectItem) and item.column is not None else None
            if column == ROW:
                continue
            tree = item.expr if isinstance(item, SelectItem) else item
            if not isinstance(tree, Expr):
                continue
            facts = sorted({node.name.name for node in walk(tree) if isinstance(node, ColumnRef)} & {ROW, *FILE_FACTS})
            refused = f"{facts[0]} is a fact of files" if facts else live().beyond(tree)
            if refused:
                place = _place(spec, column, refused.split(" ", 1)[0])
                where = (
                    f"{what}.{places[column].how}.{column}"
                    if column in places
                    else f"{what}.{'where' if column is None else f'columns.{column}'}"
                )
                said = f"{where}: {refused}" + ("" if facts else " cannot be said in the SQL of the database")
                if said in told:
                    continue
                told.add(said)
                yield Fault(message=said, place=place, remedy=remedy)


def _place(spec: TableSpec, column: str | None, word: str) -> Place:
    """Find where a function stands: in what sets the column, in a `let`, in `where`; else where the column is set."""
    texts: list[Any] = [setting.value for setting in spec.settings if setting.column == column and setting.how == "map"]
    texts += [spec.where[0]] if column is None and spec.where is not None else []
    texts += [text for text, _ in spec.let.values()]
    for text in texts:
        if not isinstance(text, Written):
            continue
        try:
            tree = parse_expression(str(text))
        except HvenError:
            continue
        node = next(
            (node for node in walk(tree) if isinstance(node, Function) and node.name.upper() == word.upper()), None
        )
        if node is not None:
            return text.at(node.at)
    setting = next((setting for setting in spec.settings if setting.column == column), None)
    if setting is not None:
        return setting.place
    return spec.where[1] if column is None and spec.where is not None else spec.place


__all__ = ["KIND", "Made", "faults_of", "is_live", "made"]
