"""What a collection computes of its public columns - observations, views, flags, examples - as it is told to mirrors, and as it is taken from elsewhere.

Both sides ask the same: can it be computed from the public columns alone? So nothing hidden is told, and nothing that is taken reads what is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from hven.adql import bind, bind_expression, parse, parse_expression
from hven.adql.functions import QUERY
from hven.adql.scope import Tables
from hven.adql.tree import CommonTable, TableRef, walk
from hven.descriptor._flags import HIGHEST
from hven.descriptor._merging import standard_columns
from hven.descriptor.observations import OBSCORE, RADIO, STANDARDS
from hven.model.errors import HvenError
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping

    from hven.descriptor.observations import Member
    from hven.model.resource import Example, TableSpec
    from hven.model.table import Column

OURS = ("ivoa", "tap_schema")  # schemas that every site has
MOST = 50  # examples
LONGEST = 100_000  # characters of one text
REQUIRED = ("calib_level", "obs_collection", "obs_id", "obs_publisher_did")  # rows without one are in no view


@dataclass(frozen=True, slots=True, kw_only=True)
class Computed:
    """What is told beside the tables.

    Attributes
    ----------
    members
        ``obscore``, ``obscore_radio`` -> qualified name of a table -> what it gives to that view.
    specs
        Name of a table -> what the descriptor says of it.
    examples
        Those that everybody can run.
    """

    members: Mapping[str, Mapping[str, Member]] = field(default_factory=dict)
    specs: Mapping[str, TableSpec] = field(default_factory=dict)
    examples: Collection[Example] = ()


def expression(text: str, columns: Iterable[Column]) -> str:
    """Check whether an expression can be computed from some columns alone.

    Parameters
    ----------
    text
        ADQL.
    columns
        That it may read.

    Returns
    -------
    fault
        Why not; empty if it can.
    """
    try:
        bind_expression(parse_expression(text), tuple(columns), functions=QUERY, text=text)
    except HvenError as error:
        return error.message
    return ""


def query(text: str, tables: Iterable[Table], schemas: Collection[str]) -> str:
    """Check whether a query can be answered from some tables alone.

    Parameters
    ----------
    text
        ADQL.
    tables
        That it may read.
    schemas
        Names in lower case, which it must write.

    Returns
    -------
    fault
        Why not; empty if it can.
    """
    try:
        tree = parse(text)
        called = {node.name.name.lower() for node in walk(tree) if isinstance(node, CommonTable)}
        for node in walk(tree):
            own = isinstance(node, TableRef) and len(node.parts) == 1 and node.parts[0].name.lower() in called
            if (
                isinstance(node, TableRef)
                and not own
                and (len(node.parts) != 2 or node.parts[0].name.lower() not in schemas)
            ):
                return f"it reads {'.'.join(part.name for part in node.parts)}"
        bind(tree, Tables(tables))
    except HvenError as error:
        return error.message
    return ""


# --- told ----------------------------------------------------------------------------------------------------------


def told(table: Table, computed: Computed, described: Callable[[Column], dict[str, Any]]) -> dict[str, Any]:
    """Describe what a descriptor says of a table beside its columns.

    Parameters
    ----------
    table
        Its public columns only.
    computed
        What is computed of them.
    described
        Describes a column as plain values.

    Returns
    -------
    description
        Keys of a descriptor.
    """
    made: dict[str, Any] = {}
    spec = computed.specs.get(table.name)
    if spec is not None:
        made |= _flags(table, spec)
    found = computed.members.get(OBSCORE, {}).get(table.qualified)
    observations = None if found is None else _observations(table, found, OBSCORE, described)
    if observations is not None:
        radio = computed.members.get(RADIO, {}).get(table.qualified)
        more = None if radio is None else _observations(table, radio, RADIO, described)
        made[OBSCORE] = {**observations, **({"radio": more} if more is not None else {})}
    return made


def _flags(table: Table, spec: TableSpec) -> dict[str, Any]:
    flags = spec.flags
    if flags is None or flags.column not in {column.name for column in table.columns}:
        return {}
    messages = {rule.name: rule.message for rule in spec.rules}
    by = {name: str(text) for name, (text, _) in flags.by.items() if not expression(str(text), table.columns)}
    return {
        "flags": {"column": flags.column, "given": True, **({"by": by} if by else {})},
        "rules": {
            name: {"flag": bit, **({"message": said} if (said := messages.get(name)) else {})}
            for name, bit in flags.bits.items()
        },
    }


def _observations(
    table: Table, member: Member, kind: str, described: Callable[[Column], dict[str, Any]]
) -> dict[str, Any] | None:
    """Write the expressions of a view's member; None if one that every row must have reads what is not public."""
    standard, items = _standard(kind), {}
    # what gives a value where nothing is said
    otherwise = {column.name.lower() for column in table.columns} | {"s_ra", "s_dec"}
    for column in member.columns:
        text = member.items.get(column.name, "NULL")
        if text.startswith("CAST(NULL AS "):
            text = "NULL"
        if text != "NULL" and expression(text, table.columns):
            if column.required:
                return None
            text = "NULL"
        if text != "NULL" or column.name not in standard or column.name in otherwise:
            items[column.name] = text
    own = {column.name: described(column) for column in member.columns if column.name not in standard}
    chosen = [column.name for column in member.columns if standard.get(column.name)]
    made: dict[str, Any] = {"converted": True, "map": items}
    return made | {key: value for key, value in (("optional", chosen), ("columns", own)) if value}


@lru_cache(maxsize=2)
def _standard(kind: str) -> dict[str, bool]:
    """List the columns of a standard; true for those that a table asks for."""
    return standard_columns(STANDARDS[kind])


def views(
    shown: Iterable[Table], stored: Iterable[Table], described: Callable[[Column], dict[str, Any]]
) -> Iterator[tuple[str, dict[str, Any]]]:
    """List the views that read public columns of this collection alone.

    Parameters
    ----------
    shown
        All tables and views that everybody may know of.
    stored
        The tables among them.
    described
        Describes a column as plain values.

    Yields
    ------
    name, description
        In an order in which each can be made.
    """
    known, waiting = list(stored), [table for table in shown if table.view is not None]
    while waiting:
        ready = [table for table in waiting if not query(table.view or "", known, {table.schema.lower()})]
        if not ready:
            return
        for table in ready:
            waiting.remove(table)
            without = {
                column.name: _words(described(column))
                for column in bind(parse(table.view or ""), Tables(known)).columns
            }
            known.append(table)
            given = {column.name: _words(described(column)) for column in table.columns}
            words = {name: more for name, said in given.items() if (more := _beyond(said, without.get(name, {})))}
            yield table.name, {"view": table.view, **({"columns": words} if words else {})}


def _beyond(said: Mapping[str, Any], without: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in said.items() if without.get(key) != value}


def _words(said: Mapping[str, Any]) -> dict[str, Any]:
    return {key: said[key] for key in ("description", "unit", "ucd", "utype", "label") if key in said}


def examples(given: Iterable[Example], tables: Iterable[Table], schema: str) -> list[dict[str, str]]:
    """Select the examples that read nothing but this collection, and what every site has.

    Parameters
    ----------
    given
        Of the collection.
    tables
        That everybody may know of.
    schema
        Of the collection.

    Returns
    -------
    examples
        As a descriptor has them.
    """
    found = tuple(table.having(view=None) for table in tables)  # what a view computes is not the question here
    kept = [one for one in given if not query(one.query, found, {schema.lower(), *OURS})][:MOST]
    return [
        {"title": one.name, "query": one.query, **({"description": one.description} if one.description else {})}
        for one in kept
    ]


# --- taken ---------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Taken:
    """What another site says of one collection, as far as it can be computed here; `left` tells of the rest.

    Attributes
    ----------
    schema
        What the collection is called here.
    said
        Copies what is said of a column: with known keys alone.
    """

    schema: str
    said: Callable[[Any], dict[str, Any]]
    left: list[str] = field(default_factory=list)

    def beside(self, table: Table, given: Mapping[Any, Any]) -> dict[str, Any]:
        """Read what is said of a table beside its columns.

        Parameters
        ----------
        table
            As it will be.
        given
            What the other site's descriptor says.

        Returns
        -------
        description
            What of it holds here.
        """
        made: dict[str, Any] = self._flags(table, given)
        found = given.get(OBSCORE)
        if isinstance(found, dict):
            observations = self._observations(table, found, OBSCORE)
            if observations is not None:
                radio = found.get("radio")
                more = self._observations(table, radio, RADIO) if isinstance(radio, dict) else None
                made[OBSCORE] = {**observations, **({"radio": more} if more is not None else {})}
        return made

    def _flags(self, table: Table, given: Mapping[Any, Any]) -> dict[str, Any]:
        flags, rules = given.get("flags"), given.get("rules")
        column = flags.get("column") if isinstance(flags, dict) else None
        if not isinstance(rules, dict) or column not in {one.name for one in table.columns}:
            return {}
        bits: dict[int, str] = {}
        words: dict[str, str] = {}
        for name, rule in rules.items():
            bit = rule.get("flag") if isinstance(rule, dict) else None
            if isinstance(bit, int) and not isinstance(bit, bool) and 0 <= bit <= HIGHEST and bit not in bits:
                bits[bit] = str(name)
                words[str(name)] = str(rule.get("message") or "")[:LONGEST]
        by = flags.get("by") if isinstance(flags, dict) else None
        kept = {}
        for name, text in by.items() if isinstance(by, dict) else ():
            wrong = expression(str(text), table.columns)
            if wrong:
                self.left.append(f"{table.qualified}: flagged rows are not counted by {name}: {wrong}")
            else:
                kept[str(name)] = str(text)
        if not bits:
            return {}
        return {
            "flags": {"column": column, "given": True, **({"by": kept} if kept else {})},
            "rules": {
                name: {"flag": bit, **({"message": words[name]} if words[name] else {})} for bit, name in bits.items()
            },
        }

    def _observations(self, table: Table, given: Mapping[Any, Any], kind: str) -> dict[str, Any] | None:
        standard, view = _standard(kind), f"ivoa.{kind}"
        columns = given.get("columns")
        own = {str(name): self.said(said) for name, said in columns.items()} if isinstance(columns, dict) else {}
        items: dict[str, str] = {}
        said = given.get("map")
        for key, value in said.items() if isinstance(said, dict) else ():
            name, text = str(key), str(value)
            wrong = "" if value is None or text == "NULL" else expression(text, table.columns)
            if name not in standard and name not in own:
                self.left.append(
                    f"{view} has no column {name} of {table.qualified}: the standard, as we know it, has none"
                )
            elif wrong and name in REQUIRED:
                self.left.append(f"{table.qualified} is not in {view}: {name}: {wrong}")
                return None
            else:
                items[name] = "NULL" if wrong or value is None else text
                if wrong:
                    self.left.append(f"{view} has nothing under {name} of {table.qualified}: {wrong}")
        wanted = given.get("optional")
        optional = [name for name in map(str, wanted) if standard.get(name)] if isinstance(wanted, list) else []
        own = {name: one for name, one in own.items() if name in items and name not in standard}
        made: dict[str, Any] = {"converted": True, "map": items}
        return made | {key: found for key, found in (("optional", optional), ("columns", own)) if found}

    def view(self, name: str, given: Mapping[Any, Any], tables: list[Table]) -> dict[str, Any] | None:
        """Read a view of the tables of its own collection; it is one of them then.

        Parameters
        ----------
        name
            Of the view.
        given
            What the other site's descriptor says.
        tables
            Of the collection, which grow.

        Returns
        -------
        description
            None: it reads something else.
        """
        text = str(given.get("view"))
        wrong = query(text, tables, {self.schema.lower()})
        if wrong:
            self.left.append(f"the view {self.schema}.{name} is left out: {wrong}")
            return None
        tables.append(Table(schema=self.schema, name=name, columns=bind(parse(text), Tables(tables)).columns))
        columns = given.get("columns")
        words = (
            {str(key): _words(self.said(said)) for key, said in columns.items()} if isinstance(columns, dict) else {}
        )
        return {"view": text, **({"columns": words} if words else {})}

    def examples(self, given: object) -> list[dict[str, str]]:
        """Read examples: they are shown, and run when a reader asks.

        Parameters
        ----------
        given
            What the other site's descriptor says.

        Returns
        -------
        examples
            As a descriptor has them.
        """
        found = (
            [one for one in given if isinstance(one, dict) and one.get("title") and one.get("query")]
            if isinstance(given, list)
            else []
        )
        keys = ("title", "query", "description")
        return [{key: str(one[key])[:LONGEST] for key in keys if one.get(key) is not None} for one in found[:MOST]]


__all__ = ["Computed", "Taken", "examples", "expression", "query", "told", "views"]
