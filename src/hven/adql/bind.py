"""Names to columns: a parsed query -> a `Bound` one, every expression typed, every star spelt out, joins as plain conditions."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from hven.adql._bounds import COLUMNS, LONGEST, SELECTS
from hven.adql._joins import Joins
from hven.adql._output import Outputs
from hven.adql._parser import parse
from hven.adql.functions import MAPPING, QUERY, Functions
from hven.adql.grouping import check_groups, has_local_aggregate, has_window, key, literals
from hven.adql.kinds import kind, meta
from hven.adql.scope import Names, Scope, Source, View, dotted_name, names_of, nearest_name, same, suggested
from hven.adql.tree import (
    Bound,
    ColumnRef,
    CommonTable,
    Derived,
    Expr,
    FromItem,
    Ident,
    Join,
    Literal,
    OrderItem,
    Query,
    Select,
    SelectItem,
    SetOperation,
    Star,
    TableRef,
    chain,
)  # fmt: skip
from hven.model.errors import BindError, meant, say
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.scope import Catalogue
    from hven.model.table import Column

NOWHERE = Scope(View())
# literals: a longer list does not come again with other values, and engines take parameters slower than text
MANY = 128


def bind(
    query: Query,
    catalogue: Catalogue,
    *,
    functions: Functions = QUERY,
    locate: Callable[[str], tuple[float, float]] | None = None,
    steady: bool = False,
) -> Bound:
    """Resolve every name of a query.

    Parameters
    ----------
    query
        What `hven.adql.parse` gave, or a tree that a program built.
    catalogue
        The tables that the reader may know of.
    functions
        The functions that may be called; `hven.adql.functions.MAPPING` in descriptors.
    locate
        A function that resolves names of objects to longitude and latitude (degrees, ICRS), for IVO_SIMBADPOINT; None: it cannot be called.
    steady
        True: sums and means of floats do not depend on the order of rows.

    Returns
    -------
    bound
        With the types of its outputs, the tables that it reads, and which literals may vary.

    Raises
    ------
    BindError
        A name, a type or a unit does not fit: with line, column and the nearest name.
    """
    binder = Binder(query.text, catalogue, functions)
    binder.locate, binder.steady = locate, steady
    try:
        bound, outputs = binder.query(query, None)
    except RecursionError:
        raise BindError("the query is nested too deeply", text=query.text, remedy="write it flatter") from None
    slots = binder.slots
    free = frozenset(binder.free - binder.fixed)
    if len(free) > MANY:
        free = frozenset()
    return Bound(
        bound,
        outputs.columns,
        tuple(binder.tables.values()),
        tuple([slots.get(index) for index in range(max(slots) + 1)]) if slots else (),
        free,
        binder.volatile,
        tuple(binder.bounds),
        binder.building,
        tuple(binder.times),
        outputs.renamed,
    )


def bind_expression(
    expr: Expr, columns: Sequence[Column] | Names, *, functions: Functions = MAPPING, text: str = ""
) -> Expr:
    """Bind a value expression over plain columns: a mapping's source columns, or those of one table (as `Names` for who binds many).

    Its literals are written into the SQL text, never made parameters.

    Parameters
    ----------
    expr
        As `hven.adql.parse_expression` returned it.
    columns
        What names may stand for.
    functions
        Those that may be called.
    text
        The text of the expression, for line and column of errors.

    Returns
    -------
    expr
        Typed.

    Raises
    ------
    BindError
        As `bind`; `text` is for line and column.
    """
    return _alone(expr, columns, functions, text, condition=False)


def bind_condition(
    expr: Expr, columns: Sequence[Column] | Names, *, functions: Functions = MAPPING, text: str = ""
) -> Expr:
    """Bind a search condition over plain columns, as `bind_expression` does.

    Parameters
    ----------
    expr
        As `hven.adql.parse_condition` returned it.
    columns, functions, text
        As for `bind_expression`.

    Returns
    -------
    expr
        A condition, typed.
    """
    return _alone(expr, columns, functions, text, condition=True)


def _alone(expr: Expr, columns: Sequence[Column] | Names, functions: Functions, text: str, *, condition: bool) -> Expr:
    binder = Binder(text, NO_TABLES, functions)
    binder.inline = 1
    binder.clause = say("an expression over single rows")
    scope = Scope(View([Source(0, columns if isinstance(columns, Names) else Names(columns), None, ())]))
    try:
        return binder.condition(expr, scope) if condition else binder.expression(expr, scope)
    except RecursionError:
        raise BindError("the expression is nested too deeply", text=text, remedy="write it flatter") from None


UPLOADS = "TAP_UPLOAD"
BESIDE = 5  # tables of a schema that are named where one is not there
ROUNDS = 5  # in which the types of a recursive table must settle


class _NoTables:
    """A catalogue without tables."""

    def find(self, parts: Sequence[Ident]) -> list[Table]:  # noqa: ARG002  (the contract's signature)
        """Find nothing."""
        return []

    def names(self) -> list[str]:
        """List none."""
        return []


NO_TABLES = _NoTables()


class Binder(Joins):
    """Binds one query with its subqueries, CTEs and views.

    Common
    ------
    node, query, items
        What is to be bound: parsed, and never changed.
    select
        A SELECT, bound.
    outer
        The scope of the query around it, whose columns it may use; None: there is none.
    scope
        What the FROM of its SELECT brings.
    outputs
        The select list of its SELECT.
    returns : Query | Select | SetOperation | CommonTable | FromItem | OrderItem | Expr | Literal | Outputs | View
        The node bound: a new one with types, columns and numbers of sources; then, if it is a tuple, the `Outputs` of its select
        list, or the `View` of the columns that it brings into FROM.
    """

    def __init__(self, text: str, catalogue: Catalogue, functions: Functions) -> None:
        super().__init__(text, functions)
        self.catalogue = catalogue
        self.count = 0
        self.ctes: list[tuple[Ident, Table, Names, int]] = []  # the last is how many tables it reads
        self.views: list[str] = []

    # --- queries

    def subquery(self, query: Query, scope: Scope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery that sees the columns around it.

        Parameters
        ----------
        scope
            Of the query around it.

        Returns
        -------
        query
            Bound.
        columns
            Of its output.
        """
        clause, self.clause = self.clause, "SELECT"
        bound, outputs = self.query(query, scope)
        self.clause = clause
        return bound, outputs.columns

    def query(self, node: Query, outer: Scope | None) -> tuple[Query, Outputs]:
        """Bind ``[WITH ..] body [ORDER BY ..] [OFFSET n]``."""
        before = len(self.ctes)
        ctes = tuple([self.common_table(cte, outer) for cte in node.ctes])
        offset = None if node.offset is None else self.number(node.offset)
        body: Select | SetOperation | Query
        if isinstance(node.body, Select):
            body, outputs, scope = self.select(node.body, outer)
            order = self.order_of_select(node.order_by, body, outputs, scope) if node.order_by else ()
        else:
            body, outputs = self.operand(node.body, outer)
            order = self.order_of_set(node.order_by, outputs)
        if isinstance(body, Select) and body.distinct:
            for item in order:
                if not isinstance(item.expr, Literal):
                    self.fail(
                        "ORDER BY after SELECT DISTINCT sorts by selected columns only",
                        item.at,
                        "select the expression too",
                    )
        del self.ctes[before:]
        return Query(body, order, offset, ctes, at=node.at, text=node.text), outputs

    def operand(
        self, node: Select | SetOperation | Query, outer: Scope | None
    ) -> tuple[Select | SetOperation | Query, Outputs]:
        """Bind one side of a set operation."""
        if isinstance(node, Select):
            select, outputs, _ = self.select(node, outer)
            return select, outputs
        if isinstance(node, Query):
            return self.query(node, outer)
        first, links = chain(node, SetOperation)
        bound, outputs = self.operand(first, outer)
        for link in links:
            bound, outputs = self.united(link, bound, outputs, outer)
        return bound, outputs

    def united(
        self, node: SetOperation, left: Select | SetOperation | Query, one: Outputs, outer: Scope | None
    ) -> tuple[SetOperation, Outputs]:
        """Bind the right side of a set operation and join it to the left one.

        Parameters
        ----------
        left
            Its left side, bound.
        one
            The select list of the left side.

        Returns
        -------
        operation
            Bound.
        outputs
            With types that hold both sides.
        """
        right, two = self.operand(node.right, outer)
        if len(one.columns) != len(two.columns):
            self.fail(
                say(
                    "{op} joins rows of {one} columns with rows of {other}", node.op, len(one.columns), len(two.columns)
                ),
                node.right.at,
                "select the same number of columns on both sides",
            )
        return SetOperation(node.op, left, right, node.all, at=node.at), one.united(two, self, node)

    def common_table(self, node: CommonTable, outer: Scope | None) -> CommonTable:
        """Bind ``name AS (SELECT ..)``; those after it, and the main query, may read it."""
        for name, *_ in self.ctes:
            if name.name.lower() == node.name.name.lower():
                self.fail(say("WITH names {name!r} twice", node.name.name), node.at)
        before = self.reads
        body = node.query.body
        if node.recursive and isinstance(body, SetOperation) and body.op == "UNION":
            query, outputs = self.recursive_table(node, body, outer)
        else:
            query, outputs = self.query(node.query, outer)
        table = Table(schema="", name=node.name.name, columns=outputs.columns)
        self.ctes.append((node.name, table, outputs.names(), self.reads - before))
        self.reads = before
        return CommonTable(node.name, query, node.recursive, at=node.at)

    def recursive_table(self, node: CommonTable, body: SetOperation, outer: Scope | None) -> tuple[Query, Outputs]:
        """Bind ``start UNION [ALL] step``: the step reads the rows that the step before it made, until there are none.

        Parameters
        ----------
        body
            Its query, a UNION.

        Returns
        -------
        query
            Bound.
        outputs
            Of types that settle.
        """
        if node.query.order_by or node.query.offset is not None:
            self.fail(
                "a recursive table has no order", node.query.at, "put ORDER BY and OFFSET at the end of the whole query"
            )
        start, first = self.operand(body.left, outer)
        seen = first
        for _ in range(ROUNDS):  # what n + 1 makes of a short is a long: then n was one from the beginning
            self.ctes.append((node.name, Table(schema="", name=node.name.name, columns=seen.columns), seen.names(), 1))
            bound, outputs = self.united(body, start, first, outer)
            self.ctes.pop()
            if all(one.type == both.type for one, both in zip(seen.columns, outputs.columns, strict=True)):
                break
            seen = outputs
        else:
            self.fail(
                say("the types of the recursive table {name} do not settle", node.name.name),
                body.right.at,
                "CAST its columns in both parts",
            )
        return Query(bound, at=node.query.at, text=node.query.text), outputs

    def number(self, node: Literal) -> Literal:
        """Bind the number of TOP or OFFSET: a whole number that may vary.

        Parameters
        ----------
        node
            Its literal.
        """
        bound = self.literal(node, NOWHERE)
        if not isinstance(node.value, int) or node.value < 0:
            self.fail(say("{value!r} rows", node.value), node.at, "TOP and OFFSET take a whole number, 0 or more")
        return bound  # type: ignore[return-value]

    def select(self, node: Select, outer: Scope | None) -> tuple[Select, Outputs, Scope]:
        """Bind one SELECT.

        Returns
        -------
        select
            Bound.
        outputs
            Its select list.
        scope
            Of its FROM, for ORDER BY.
        """
        self.selects += not self.inline
        self.at_most(self.selects, SELECTS, "SELECTs", node.at, "ask several queries, or upload a table and join it")
        clause = self.clause
        source, view = (None, View()) if node.source is None else self.from_item(node.source, outer)
        scope = Scope(view, outer, windows=node.windows)
        where = None
        if node.where is not None:
            self.clause = "WHERE"
            scope.later = [item.alias for item in node.items if isinstance(item, SelectItem) and item.alias is not None]
            where = self.condition(node.where, scope)
        self.clause = "SELECT"
        outputs = Outputs()
        for item in node.items:
            if isinstance(item, Star):
                self.star(item, scope, outputs)
            else:
                outputs.add(self.expression(item.expr, scope), item.alias, item.at)
            if len(outputs.items) > COLUMNS:
                width = sum(len(one.names.columns) for one in view.sources)
                self.at_most(len(outputs.items), max(COLUMNS, width), "columns", item.at, "select fewer columns")
        if len(self.text) > LONGEST:
            self.narrow(outputs)
        self.fixed.update(literal.slot for literal in outputs.told)  # another value, another name
        scope.aliases = outputs.aliases
        self.clause = "GROUP BY"
        self.keys(node.group_by, "GROUP BY")
        group_by = tuple([self.group(item, scope, outputs) for item in node.group_by])
        having = None
        if node.having is not None:
            self.clause = "HAVING"
            having = self.condition(node.having, scope)
        self.unused_windows(node.windows, scope)
        self.clause = clause
        top = None if node.top is None else self.number(node.top)
        bound = Select(tuple(outputs.items), source, where, group_by, having, node.distinct, top, at=node.at)
        if group_by or having is not None or has_local_aggregate(outputs.items):
            check_groups(bound, (), view, self.text)
            self.freeze(bound, ())
        return bound, outputs, scope

    def narrow(self, outputs: Outputs) -> None:
        """Refuse long literals as values of each row: the engine makes one of them for every row."""
        size = 0
        for item in outputs.items:
            if isinstance(item, SelectItem) and kind(item.expr) == "text":
                for one in literals(item.expr):
                    size += len(one.value) if isinstance(one.value, str) else 0
                    if size > LONGEST:
                        self.fail(
                            say("literals of more than {most:,} characters would stand in each row", LONGEST),
                            one.at,
                            "upload long texts as a table",
                        )

    def freeze(self, select: Select, order: Sequence[Expr]) -> None:
        """Fix the literals inside GROUP BY's expressions as part of the plan's shape: the same expression stands elsewhere too.

        Parameters
        ----------
        order
            Expressions of its ORDER BY, bound.
        """
        if all(isinstance(item, ColumnRef) for item in select.group_by):
            return
        parts = [*select.group_by, *(item.expr for item in select.items if isinstance(item, SelectItem)), *order]
        if select.having is not None:
            parts.append(select.having)
        self.fixed.update(literal.slot for part in parts for literal in literals(part))

    def group(self, node: Expr, scope: Scope, outputs: Outputs) -> Expr:
        """Bind one expression of GROUP BY; a name of FROM comes before an alias, a whole number is a position."""
        if isinstance(node, Literal) and isinstance(node.value, int):
            self.shape(node)
            return self.grouped_alias(outputs.at(node.value, self, node), node)
        if isinstance(node, ColumnRef) and not node.qualifier and not scope.view.find(node.name):
            found = scope.alias(node.name)
            if len(found) == 1:
                return self.grouped_alias(found[0], node)
        return self.expression(node, scope)

    def grouped_alias(self, expr: Expr, node: Expr) -> Expr:
        """Check that an output column can be grouped by.

        Parameters
        ----------
        expr
            The column's expression, bound.
        node
            Where GROUP BY names it.

        Returns
        -------
        expr
            The same.
        """
        if meta(expr).aggregate:
            self.fail("GROUP BY cannot use the result of an aggregate function", node.at)
        if has_window(expr):
            self.fail(
                "GROUP BY cannot use the result of a window function",
                node.at,
                "put its query into FROM, and group by its column there",
            )
        return expr

    def star(self, node: Star, scope: Scope, outputs: Outputs) -> None:
        """Expand ``*`` or ``t.*`` in a select list.

        Parameters
        ----------
        outputs
            The select list, which grows.
        """
        before = len(outputs.items)
        self.starred(node, scope, outputs)
        if len(outputs.items) == before and any(
            column.hidden for source in scope.view.sources for column in source.names.columns
        ):
            self.fail("* stands for no column: all of them are hidden", node.at, "name the columns that are wanted")

    def starred(self, node: Star, scope: Scope, outputs: Outputs) -> None:
        """Add the columns that a star stands for.

        Parameters
        ----------
        outputs
            The select list, which grows.
        """
        if node.qualifier:
            sources = scope.qualified(node.qualifier)
            if len(sources) != 1:
                name = ".".join(part.name for part in node.qualifier)
                if sources:
                    self.fail(
                        say("table {name!r} is ambiguous: FROM has it {count} times", name, len(sources)),
                        node.at,
                        "give an alias to each",
                    )
                raise scope.missing_table(node.qualifier, node.at, self.text)
            for index, column in enumerate(sources[0].names.columns):
                if not column.hidden:
                    outputs.add(sources[0].ref(index, node.at), None, node.at)
            return
        if not scope.view.sources:
            self.fail("* needs a FROM", node.at)
        for item in scope.view.star():
            outputs.add(item.read(node.at), Ident(item.name, quoted=True) if item.expr is not None else None, node.at)

    # --- ORDER BY

    def order_of_select(
        self, items: Sequence[OrderItem], select: Select, outputs: Outputs, scope: Scope
    ) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a SELECT: positions, names of the output, then expressions over FROM.

        Returns
        -------
        items
            Bound; constants are left out.
        """
        clause, self.clause = self.clause, "ORDER BY"
        self.keys(items, "ORDER BY")
        keys: dict[object, int] | None = None
        bound: list[OrderItem] = []
        for item in items:
            position = self.position(item.expr, outputs)
            if position is None:
                expr = self.expression(item.expr, scope)
                if keys is None:
                    keys = {}
                    for index, output in enumerate(outputs.items, 1):
                        keys.setdefault(key(output.expr), index)
                found = keys.get(key(expr))
                if found is not None:
                    self.fixed.update(literal.slot for literal in literals(expr))
                    self.fixed.update(literal.slot for literal in literals(outputs.items[found - 1].expr))
                    position = found
                elif meta(expr).constant:
                    continue  # sorts nothing, and engines refuse it
                else:
                    bound.append(OrderItem(expr, item.descending, at=item.at))
                    continue
            bound.append(OrderItem(outputs.position(position, item.expr.at), item.descending, at=item.at))
        self.clause = clause
        rest = [item.expr for item in bound if not isinstance(item.expr, Literal)]
        if rest and (
            select.group_by or has_local_aggregate(outputs.items) or any(meta(expr).aggregate for expr in rest)
        ):
            check_groups(select, rest, scope.view, self.text)
            check_groups(select, (), scope.view, self.text)
            self.freeze(select, rest)
        return tuple(bound)

    def order_of_set(self, items: Sequence[OrderItem], outputs: Outputs) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a set operation: positions and names of the output only.

        Parameters
        ----------
        outputs
            Of the operation.
        """
        self.keys(items, "ORDER BY")
        bound = []
        for item in items:
            position = self.position(item.expr, outputs)
            if position is None:
                near = (
                    nearest_name(item.expr.name.name, [column.name for column in outputs.columns])
                    if isinstance(item.expr, ColumnRef)
                    else ""
                )
                self.fail(
                    "ORDER BY of a set operation takes names or positions of its output columns",
                    item.at if item.at >= 0 else item.expr.at,
                    near,
                )
            bound.append(OrderItem(outputs.position(position, item.expr.at), item.descending, at=item.at))
        return tuple(bound)

    def position(self, node: Expr, outputs: Outputs) -> int | None:
        """Find the output column that ORDER BY names or counts.

        Parameters
        ----------
        node
            An item of ORDER BY.
        outputs
            The select list.

        Returns
        -------
        position
            From 1; None if it is another expression.
        """
        if isinstance(node, Literal) and isinstance(node.value, int):
            self.shape(node)
            outputs.at(node.value, self, node)
            return node.value
        if isinstance(node, ColumnRef) and not node.qualifier:
            found = outputs.find(node.name)
            if len({key(outputs.items[index].expr) for index in found}) > 1:
                self.fail(
                    say(
                        "ORDER BY {name} is ambiguous: {count} output columns are called so", node.name.name, len(found)
                    ),
                    node.at,
                    "give them aliases, or sort by position",
                )
            return found[0] + 1 if found else None
        return None

    # --- FROM

    def from_item(self, node: FromItem, outer: Scope | None) -> tuple[FromItem, View]:
        """Bind one item of FROM."""
        if isinstance(node, TableRef):
            return self.table(node)
        if isinstance(node, Derived):
            query, outputs = self.nested(node.query, outer)
            number = self.next()
            names = outputs.names()
            bound = Derived(query, node.alias, at=node.at, number=number, columns=outputs.columns)
            return bound, View([Source(number, names, node.alias, ())])
        if isinstance(node, Join):
            return self.join(node, outer)
        raise self.fault(say("{name} cannot stand in FROM", type(node).__name__), node.at)

    def nested(self, query: Query, outer: Scope | None) -> tuple[Query, Outputs]:
        """Bind a derived table: it sees the queries around, but not its neighbours in FROM."""
        clause, self.clause = self.clause, "SELECT"
        done = self.query(query, outer)
        self.clause = clause
        return done

    def next(self) -> int:
        """Count up the items of FROM.

        Returns
        -------
        number
            Of the next one.
        """
        self.count += 1
        return self.count

    def table(self, node: TableRef) -> tuple[FromItem, View]:
        """Bind a table, a view, or a name of WITH."""
        if len(node.parts) == 1:
            for name, table, names, reads in self.ctes:
                if _cte_is(node.parts[0], name):
                    self.read(reads, node.at)
                    number = self.next()
                    ref = TableRef((name,), node.alias, at=node.at, number=number, table=table, cte=True)
                    return ref, View([Source(number, names, node.alias, (node.parts[0],))])
        found = self.catalogue.find(node.parts)
        written = ".".join(part.name for part in node.parts)
        if not found:
            near = nearest_name(written, [*self.catalogue.names(), *(name.name for name, *_ in self.ctes)], dotted=True)
            if not near and len(node.parts) == 1:
                bare = {name.rpartition(".")[2]: name for name in self.catalogue.names()}
                close = meant(written, bare)
                near = suggested(bare[close], dotted=True) if close is not None else ""
            near = near or self.beside(node)
            if len(node.parts) > 1 and node.parts[-2].name.upper() == UPLOADS:
                self.no_upload(node, near)
            self.fail(say("no table {written!r}", written), node.at, near)
        if len(found) > 1:
            self.fail(
                say("table {written!r} is ambiguous: {names}", written, ", ".join(table.qualified for table in found)),
                node.at,
                "write the schema too",
            )
        table = found[0]
        self.read(1, node.at)
        if table.view is not None:
            return self.view(node, table)
        number = self.next()
        self.tables[table.qualified] = table
        bound = TableRef(node.parts, node.alias, at=node.at, number=number, table=table, where=node.where)
        path = (Ident(table.schema), Ident(table.name)) if table.schema else (Ident(table.name),)
        return bound, View([Source(number, names_of(table), node.alias, path)])

    def beside(self, node: TableRef) -> str:
        """List what the schema has of a table that is not there.

        Returns
        -------
        remedy
            A sentence, or nothing.
        """
        if len(node.parts) != 2:
            return ""
        schema = node.parts[0].name.lower()
        there = [other for other in self.catalogue.names() if other.partition(".")[0].lower() == schema]
        shown = ", ".join(map(dotted_name, there[:BESIDE]))
        if len(there) < 2:
            return say("there is {name}", shown) if there else ""
        return say("there are {names} .." if len(there) > BESIDE else "there are {names}", shown)

    def no_upload(self, node: TableRef, near: str) -> NoReturn:
        """Fail because a table was not uploaded; the error says which ones were, and how it is done.

        Parameters
        ----------
        near
            A remedy that is better, if there is one.
        """
        name = node.parts[-1].name
        known = [other for other in self.catalogue.names() if other.upper().startswith(f"{UPLOADS}.")]
        how = say(
            "send the table with UPLOAD={name},param:{name} and the file as the part {name!r}, or UPLOAD={name},https://...",
            name,
        )
        given, them = f"{UPLOADS}.{name}", ", ".join(known)
        came = (
            say("no table {name!r}: this request uploads {names}", given, them)
            if known
            else say("no table {name!r}: this request uploads none", given)
        )
        self.fail(came, node.at, near if known and near else how)

    def view(self, node: TableRef, table: Table) -> tuple[FromItem, View]:
        """Bind a view as the derived table that it stands for; the table's own words describe its columns.

        Parameters
        ----------
        table
            The view.

        Raises
        ------
        BindError
            The view's text is at fault; the place is that of the reference.
        """
        if table.qualified in self.views:
            self.fail(say("the view {table} reads itself", table.qualified), node.at)
        self.views.append(table.qualified)
        text, ctes, clause = self.text, self.ctes, self.clause
        self.text, self.ctes, self.clause = table.view or "", [], "SELECT"
        self.inline += 1
        try:
            query, outputs = self.query(parse(self.text), None)
        except BindError as error:
            raise BindError(
                say("in the view {table}: {message}", table.qualified, error.message),
                text=text,
                offset=node.at,
                remedy=error.remedy,
            ) from error
        finally:
            self.inline -= 1
            self.text, self.ctes, self.clause = text, ctes, clause
            self.views.pop()
        number = self.next()
        names = outputs.names(table.columns)
        alias = node.alias or Ident(table.name, quoted=True)
        bound = Derived(query, alias, at=node.at, number=number, columns=names.columns, view=table)
        return bound, View([Source(number, names, node.alias, (Ident(table.schema), Ident(table.name)))])


def _cte_is(ident: Ident, name: Ident) -> bool:
    return same(ident, name.name if name.quoted else name.name.lower())
