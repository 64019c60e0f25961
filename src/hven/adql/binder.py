"""Bind a parsed query: resolve names to columns, type all expressions, expand stars, and write joins as conditions.

The result is a `BoundQuery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from hven.adql._join_binder import JoinBinder
from hven.adql._parser import parse_query
from hven.adql._query_limits import MAX_QUERY_SELECTS, MAX_SELECT_COLUMNS, MAX_TEXT_BYTES
from hven.adql._select_list import SelectList
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS, FunctionSet
from hven.adql.grouping import build_expression_key, check_grouping, has_local_aggregate, has_window, iterate_literals
from hven.adql.scope import (
    ColumnLookup,
    FromSource,
    NameScope,
    VisibleColumns,
    build_column_lookup,
    format_suggestion,
    is_same_name,
    quote_dotted_name,
    suggest_nearest_name,
)
from hven.adql.syntax_tree import (
    BoundQuery,
    ColumnRef,
    CommonTable,
    DerivedTable,
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
    split_chain,
)
from hven.adql.value_kinds import classify_value, require_meta
from hven.model.errors import BindError, find_close_match, format_message
from hven.model.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.scope import TableCatalogue
    from hven.model.table import Column

EMPTY_SCOPE = NameScope(VisibleColumns())
# literals: a longer list does not come again with other values, and engines take parameters slower than text
MAX_PARAMETERS = 128


def bind_query(
    query: Query,
    catalogue: TableCatalogue,
    *,
    functions: FunctionSet = QUERY_FUNCTIONS,
    resolve_position: Callable[[str], tuple[float, float]] | None = None,
    order_independent: bool = False,
) -> BoundQuery:
    """Resolve every name of a query.

    Parameters
    ----------
    query
        What `hven.adql.parse_query` gave, or a tree that a program built.
    catalogue
        The tables that the reader may know of.
    functions
        The functions that may be called; `hven.adql.functions.MAPPING_FUNCTIONS` in descriptors.
    resolve_position
        A function that resolves names of objects to longitude and latitude (degrees, ICRS), for IVO_SIMBADPOINT; None:
        it cannot be called.
    order_independent
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
    binder.resolve_position = resolve_position
    binder.order_independent = order_independent
    try:
        bound, outputs = binder.bind_query(query, None)
    except RecursionError:
        raise BindError("the query is nested too deeply", text=query.text, remedy="write it flatter") from None
    slots = binder.literal_values
    free = frozenset(binder.free_slots - binder.fixed_slots)
    if len(free) > MAX_PARAMETERS:
        free = frozenset()
    return BoundQuery(
        bound,
        outputs.columns,
        tuple(binder.tables.values()),
        tuple([slots.get(index) for index in range(max(slots) + 1)]) if slots else (),
        free,
        binder.volatile,
        tuple(binder.slot_bounds),
        binder.text_operation_count,
        tuple(binder.time_slots),
        outputs.renamed_columns,
    )


def bind_expression(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, *, functions: FunctionSet = MAPPING_FUNCTIONS, text: str = ""
) -> Expr:
    """Bind a value expression over plain columns.

    A mapping's source columns, or those of one table (as `ColumnLookup` for who binds many).

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
        As `bind_query`; `text` is for line and column.
    """
    return _bind_standalone(expr, columns, functions, text, is_condition=False)


def bind_condition(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, *, functions: FunctionSet = MAPPING_FUNCTIONS, text: str = ""
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
    return _bind_standalone(expr, columns, functions, text, is_condition=True)


def _bind_standalone(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, functions: FunctionSet, text: str, *, is_condition: bool
) -> Expr:
    binder = Binder(text, EMPTY_CATALOGUE, functions)
    binder.inline_depth = 1
    binder.clause = format_message("an expression over single rows")
    scope = NameScope(
        VisibleColumns(
            [FromSource(0, columns if isinstance(columns, ColumnLookup) else ColumnLookup(columns), None, ())]
        )
    )
    try:
        if is_condition:
            return binder.bind_condition(expr, scope)
        return binder.bind_expression(expr, scope)
    except RecursionError:
        raise BindError("the expression is nested too deeply", text=text, remedy="write it flatter") from None


UPLOAD_SCHEMA = "TAP_UPLOAD"
MAX_SUGGESTED_TABLES = 5  # tables of a schema that are named where one is not there
MAX_RECURSION_ROUNDS = 5  # in which the types of a recursive table must settle


class _EmptyCatalogue:
    """A catalogue without tables."""

    def find(self, parts: Sequence[Ident]) -> list[Table]:  # noqa: ARG002  (the contract's signature)
        """Find nothing."""
        return []

    def list_names(self) -> list[str]:
        """List none."""
        return []


EMPTY_CATALOGUE = _EmptyCatalogue()


class Binder(JoinBinder):
    """Binds one query with its subqueries, CTEs and views.

    Common
    ------
    node, query, items
        What is to be bound: parsed, and never changed.
    select
        A SELECT, bound.
    outer_scope
        The scope of the query around it, whose columns it may use; None: there is none.
    scope
        What the FROM of its SELECT brings.
    outputs
        The select list of its SELECT.
    returns : Query, Select, SetOperation, CommonTable, FromItem, OrderItem, Expr, Literal, SelectList, VisibleColumns
        The node bound: a new one with types, columns and numbers of sources; then, if it is a tuple, the `SelectList`
        of its select list, or the `VisibleColumns` of the columns that it brings into FROM.
    """

    def __init__(self, text: str, catalogue: TableCatalogue, functions: FunctionSet) -> None:
        super().__init__(text, functions)
        self.catalogue = catalogue
        self.source_count = 0
        self.ctes: list[tuple[Ident, Table, ColumnLookup, int]] = []  # the last is how many tables it reads
        self.open_views: list[str] = []

    # --- queries

    def bind_subquery(self, query: Query, scope: NameScope) -> tuple[Query, tuple[Column, ...]]:
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
        clause = self.clause
        self.clause = "SELECT"
        bound, outputs = self.bind_query(query, scope)
        self.clause = clause
        return bound, outputs.columns

    def bind_query(self, node: Query, outer_scope: NameScope | None) -> tuple[Query, SelectList]:
        """Bind ``[WITH ..] body [ORDER BY ..] [OFFSET n]``."""
        before = len(self.ctes)
        ctes = tuple([self.bind_common_table(cte, outer_scope) for cte in node.ctes])
        if node.offset is None:
            offset = None
        else:
            offset = self.bind_row_count(node.offset)
        body: Select | SetOperation | Query
        if isinstance(node.body, Select):
            body, outputs, scope = self.bind_select(node.body, outer_scope)
            if node.order_by:
                order = self.bind_select_order(node.order_by, body, outputs, scope)
            else:
                order = ()
        else:
            body, outputs = self.bind_set_operand(node.body, outer_scope)
            order = self.bind_set_order(node.order_by, outputs)
        if isinstance(body, Select) and body.distinct:
            for item in order:
                if not isinstance(item.expr, Literal):
                    self.raise_bind_error(
                        "ORDER BY after SELECT DISTINCT sorts by selected columns only",
                        item.text_offset,
                        "select the expression too",
                    )
        del self.ctes[before:]
        return Query(body, order, offset, ctes, text_offset=node.text_offset, text=node.text), outputs

    def bind_set_operand(
        self, node: Select | SetOperation | Query, outer_scope: NameScope | None
    ) -> tuple[Select | SetOperation | Query, SelectList]:
        """Bind one side of a set operation."""
        if isinstance(node, Select):
            select, outputs, _ = self.bind_select(node, outer_scope)
            return select, outputs
        if isinstance(node, Query):
            return self.bind_query(node, outer_scope)
        first, links = split_chain(node, SetOperation)
        bound, outputs = self.bind_set_operand(first, outer_scope)
        for link in links:
            bound, outputs = self.bind_set_operation(link, bound, outputs, outer_scope)
        return bound, outputs

    def bind_set_operation(
        self,
        node: SetOperation,
        left_body: Select | SetOperation | Query,
        left_list: SelectList,
        outer_scope: NameScope | None,
    ) -> tuple[SetOperation, SelectList]:
        """Bind the right side of a set operation and join it to the left one.

        Parameters
        ----------
        left_body
            Its left side, bound.
        left_list
            The select list of the left side.

        Returns
        -------
        operation
            Bound.
        outputs
            With types that hold both sides.
        """
        right, right_list = self.bind_set_operand(node.right, outer_scope)
        if len(left_list.columns) != len(right_list.columns):
            self.raise_bind_error(
                format_message(
                    "{op} joins rows of {one} columns with rows of {other}",
                    node.op,
                    len(left_list.columns),
                    len(right_list.columns),
                ),
                node.right.text_offset,
                "select the same number of columns on both sides",
            )
        return SetOperation(
            node.op, left_body, right, node.all, text_offset=node.text_offset
        ), left_list.merge_set_operation(right_list, self, node)

    def bind_common_table(self, node: CommonTable, outer_scope: NameScope | None) -> CommonTable:
        """Bind ``name AS (SELECT ..)``; those after it, and the main query, may read it."""
        for name, *_ in self.ctes:
            if name.name.lower() == node.name.name.lower():
                self.raise_bind_error(format_message("WITH names {name!r} twice", node.name.name), node.text_offset)
        before = self.table_read_count
        body = node.query.body
        if node.recursive and isinstance(body, SetOperation) and body.op == "UNION":
            query, outputs = self.bind_recursive_table(node, body, outer_scope)
        else:
            query, outputs = self.bind_query(node.query, outer_scope)
        table = Table(schema="", name=node.name.name, columns=outputs.columns)
        self.ctes.append((node.name, table, outputs.build_lookup(), self.table_read_count - before))
        self.table_read_count = before
        return CommonTable(node.name, query, node.recursive, text_offset=node.text_offset)

    def bind_recursive_table(
        self, node: CommonTable, body: SetOperation, outer_scope: NameScope | None
    ) -> tuple[Query, SelectList]:
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
            self.raise_bind_error(
                "a recursive table has no order",
                node.query.text_offset,
                "put ORDER BY and OFFSET at the end of the whole query",
            )
        start, start_list = self.bind_set_operand(body.left, outer_scope)
        previous_list = start_list
        for _ in range(
            MAX_RECURSION_ROUNDS
        ):  # what n + 1 makes of a short is a long: then n was one from the beginning
            self.ctes.append(
                (
                    node.name,
                    Table(schema="", name=node.name.name, columns=previous_list.columns),
                    previous_list.build_lookup(),
                    1,
                )
            )
            bound, outputs = self.bind_set_operation(body, start, start_list, outer_scope)
            self.ctes.pop()
            if all(
                previous_column.type == merged_column.type
                for previous_column, merged_column in zip(previous_list.columns, outputs.columns, strict=True)
            ):
                break
            previous_list = outputs
        else:
            self.raise_bind_error(
                format_message("the types of the recursive table {name} do not settle", node.name.name),
                body.right.text_offset,
                "CAST its columns in both parts",
            )
        return Query(bound, text_offset=node.query.text_offset, text=node.query.text), outputs

    def bind_row_count(self, node: Literal) -> Literal:
        """Bind the number of TOP or OFFSET: a whole number that may vary.

        Parameters
        ----------
        node
            Its literal.
        """
        bound = self.bind_literal(node, EMPTY_SCOPE)
        if not isinstance(node.value, int) or node.value < 0:
            self.raise_bind_error(
                format_message("{value!r} rows", node.value),
                node.text_offset,
                "TOP and OFFSET take a whole number, 0 or more",
            )
        return bound  # type: ignore[return-value]

    def bind_select(self, node: Select, outer_scope: NameScope | None) -> tuple[Select, SelectList, NameScope]:
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
        self.select_count += not self.inline_depth
        self.check_count(
            self.select_count,
            MAX_QUERY_SELECTS,
            "SELECTs",
            node.text_offset,
            "ask several queries, or upload a table and join it",
        )
        clause = self.clause
        if node.source is None:
            source, view = (None, VisibleColumns())
        else:
            source, view = self.bind_from_item(node.source, outer_scope)
        scope = NameScope(view, outer_scope, windows=node.windows)
        where = None
        if node.where is not None:
            self.clause = "WHERE"
            scope.pending_aliases = [
                item.alias for item in node.items if isinstance(item, SelectItem) and item.alias is not None
            ]
            where = self.bind_condition(node.where, scope)
        self.clause = "SELECT"
        outputs = SelectList()
        for item in node.items:
            if isinstance(item, Star):
                self.expand_star(item, scope, outputs)
            else:
                outputs.add_item(self.bind_expression(item.expr, scope), item.alias, item.text_offset)
            if len(outputs.items) > MAX_SELECT_COLUMNS:
                width = sum(len(source_item.column_lookup.columns) for source_item in view.sources)
                self.check_count(
                    len(outputs.items),
                    max(MAX_SELECT_COLUMNS, width),
                    "columns",
                    item.text_offset,
                    "select fewer columns",
                )
        if len(self.text) > MAX_TEXT_BYTES:
            self.check_literal_size(outputs)
        self.fixed_slots.update(literal.slot for literal in outputs.named_literals)  # another value, another name
        scope.aliases = outputs.aliases
        self.clause = "GROUP BY"
        self.check_key_count(node.group_by, "GROUP BY")
        group_by = tuple([self.bind_group_item(item, scope, outputs) for item in node.group_by])
        having = None
        if node.having is not None:
            self.clause = "HAVING"
            having = self.bind_condition(node.having, scope)
        self.check_named_windows(node.windows, scope)
        self.clause = clause
        if node.top is None:
            top = None
        else:
            top = self.bind_row_count(node.top)
        bound = Select(
            tuple(outputs.items), source, where, group_by, having, node.distinct, top, text_offset=node.text_offset
        )
        if group_by or having is not None or has_local_aggregate(outputs.items):
            check_grouping(bound, (), view, self.text)
            self.mark_group_literals_fixed(bound, ())
        return bound, outputs, scope

    def check_literal_size(self, outputs: SelectList) -> None:
        """Refuse long literals as values of each row: the engine makes one of them for every row."""
        size = 0
        for item in outputs.items:
            if isinstance(item, SelectItem) and classify_value(item.expr) == "text":
                for literal in iterate_literals(item.expr):
                    size += len(literal.value) if isinstance(literal.value, str) else 0
                    if size > MAX_TEXT_BYTES:
                        self.raise_bind_error(
                            format_message(
                                "literals of more than {most:,} characters would stand in each row", MAX_TEXT_BYTES
                            ),
                            literal.text_offset,
                            "upload long texts as a table",
                        )

    def mark_group_literals_fixed(self, select: Select, order_expressions: Sequence[Expr]) -> None:
        """Fix the literals inside GROUP BY's expressions as part of the plan's shape.

        The same expression stands elsewhere too.

        Parameters
        ----------
        order_expressions
            Expressions of its ORDER BY, bound.
        """
        if all(isinstance(item, ColumnRef) for item in select.group_by):
            return
        parts = [
            *select.group_by,
            *(item.expr for item in select.items if isinstance(item, SelectItem)),
            *order_expressions,
        ]
        if select.having is not None:
            parts.append(select.having)
        self.fixed_slots.update(literal.slot for part in parts for literal in iterate_literals(part))

    def bind_group_item(self, node: Expr, scope: NameScope, outputs: SelectList) -> Expr:
        """Bind one expression of GROUP BY; a name of FROM comes before an alias, a whole number is a position."""
        if isinstance(node, Literal) and isinstance(node.value, int):
            self.mark_literal_fixed(node)
            expression = outputs.find_expression(node.value, self, node)
            return self.check_group_alias(expression, node)
        if isinstance(node, ColumnRef) and not node.qualifier and not scope.visible_columns.find_columns(node.name):
            alias_expressions = scope.find_aliased_expressions(node.name)
            if len(alias_expressions) == 1:
                return self.check_group_alias(alias_expressions[0], node)
        return self.bind_expression(node, scope)

    def check_group_alias(self, expr: Expr, node: Expr) -> Expr:
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
        if require_meta(expr).aggregate:
            self.raise_bind_error("GROUP BY cannot use the result of an aggregate function", node.text_offset)
        if has_window(expr):
            self.raise_bind_error(
                "GROUP BY cannot use the result of a window function",
                node.text_offset,
                "put its query into FROM, and group by its column there",
            )
        return expr

    def expand_star(self, node: Star, scope: NameScope, outputs: SelectList) -> None:
        """Expand ``*`` or ``t.*`` in a select list.

        Parameters
        ----------
        outputs
            The select list, which grows.
        """
        before = len(outputs.items)
        self.add_star_columns(node, scope, outputs)
        if len(outputs.items) == before and any(
            column.hidden for source in scope.visible_columns.sources for column in source.column_lookup.columns
        ):
            self.raise_bind_error(
                "* stands for no column: all of them are hidden", node.text_offset, "name the columns that are wanted"
            )

    def add_star_columns(self, node: Star, scope: NameScope, outputs: SelectList) -> None:
        """Add the columns that a star stands for.

        Parameters
        ----------
        outputs
            The select list, which grows.
        """
        if node.qualifier:
            sources = scope.find_sources(node.qualifier)
            if len(sources) != 1:
                name = ".".join(part.name for part in node.qualifier)
                if sources:
                    self.raise_bind_error(
                        format_message("table {name!r} is ambiguous: FROM has it {count} times", name, len(sources)),
                        node.text_offset,
                        "give an alias to each",
                    )
                raise scope.build_missing_table_error(node.qualifier, node.text_offset, self.text)
            for index, column in enumerate(sources[0].column_lookup.columns):
                if not column.hidden:
                    column_ref = sources[0].build_column_ref(index, node.text_offset)
                    outputs.add_item(column_ref, None, node.text_offset)
            return
        if not scope.visible_columns.sources:
            self.raise_bind_error("* needs a FROM", node.text_offset)
        for item in scope.visible_columns.list_star_columns():
            expression = item.build_expression(node.text_offset)
            outputs.add_item(
                expression,
                Ident(item.name, quoted=True) if item.expr is not None else None,
                node.text_offset,
            )

    # --- ORDER BY

    def bind_select_order(
        self, items: Sequence[OrderItem], select: Select, outputs: SelectList, scope: NameScope
    ) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a SELECT: positions, names of the output, then expressions over FROM.

        Returns
        -------
        items
            Bound; constants are left out.
        """
        clause = self.clause
        self.clause = "ORDER BY"
        self.check_key_count(items, "ORDER BY")
        keys: dict[object, int] | None = None
        bound: list[OrderItem] = []
        for item in items:
            position = self.find_order_position(item.expr, outputs)
            if position is None:
                expr = self.bind_expression(item.expr, scope)
                if keys is None:
                    keys = {}
                    for index, output in enumerate(outputs.items, 1):
                        keys.setdefault(build_expression_key(output.expr), index)
                output_position = keys.get(build_expression_key(expr))
                if output_position is not None:
                    self.fixed_slots.update(literal.slot for literal in iterate_literals(expr))
                    self.fixed_slots.update(
                        literal.slot for literal in iterate_literals(outputs.items[output_position - 1].expr)
                    )
                    position = output_position
                elif require_meta(expr).constant:
                    continue  # sorts nothing, and engines refuse it
                else:
                    bound.append(OrderItem(expr, item.descending, text_offset=item.text_offset))
                    continue
            position_literal = outputs.build_position_literal(position, item.expr.text_offset)
            bound.append(
                OrderItem(
                    position_literal,
                    item.descending,
                    text_offset=item.text_offset,
                )
            )
        self.clause = clause
        sort_expressions = [item.expr for item in bound if not isinstance(item.expr, Literal)]
        if sort_expressions and (
            select.group_by
            or has_local_aggregate(outputs.items)
            or any(require_meta(expr).aggregate for expr in sort_expressions)
        ):
            check_grouping(select, sort_expressions, scope.visible_columns, self.text)
            check_grouping(select, (), scope.visible_columns, self.text)
            self.mark_group_literals_fixed(select, sort_expressions)
        return tuple(bound)

    def bind_set_order(self, items: Sequence[OrderItem], outputs: SelectList) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a set operation: positions and names of the output only.

        Parameters
        ----------
        outputs
            Of the operation.
        """
        self.check_key_count(items, "ORDER BY")
        bound = []
        for item in items:
            position = self.find_order_position(item.expr, outputs)
            if position is None:
                if isinstance(item.expr, ColumnRef):
                    near = suggest_nearest_name(item.expr.name.name, [column.name for column in outputs.columns])
                else:
                    near = ""
                self.raise_bind_error(
                    "ORDER BY of a set operation takes names or positions of its output columns",
                    item.text_offset if item.text_offset >= 0 else item.expr.text_offset,
                    near,
                )
            position_literal = outputs.build_position_literal(position, item.expr.text_offset)
            bound.append(
                OrderItem(
                    position_literal,
                    item.descending,
                    text_offset=item.text_offset,
                )
            )
        return tuple(bound)

    def find_order_position(self, node: Expr, outputs: SelectList) -> int | None:
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
            self.mark_literal_fixed(node)
            outputs.find_expression(node.value, self, node)
            return node.value
        if isinstance(node, ColumnRef) and not node.qualifier:
            column_indexes = outputs.find_columns(node.name)
            if len({build_expression_key(outputs.items[index].expr) for index in column_indexes}) > 1:
                self.raise_bind_error(
                    format_message(
                        "ORDER BY {name} is ambiguous: {count} output columns are called so",
                        node.name.name,
                        len(column_indexes),
                    ),
                    node.text_offset,
                    "give them aliases, or sort by position",
                )
            return column_indexes[0] + 1 if column_indexes else None
        return None

    # --- FROM

    def bind_from_item(self, node: FromItem, outer_scope: NameScope | None) -> tuple[FromItem, VisibleColumns]:
        """Bind one item of FROM."""
        if isinstance(node, TableRef):
            return self.bind_table(node)
        if isinstance(node, DerivedTable):
            query, outputs = self.bind_derived_query(node.query, outer_scope)
            number = self.assign_source_number()
            names = outputs.build_lookup()
            bound = DerivedTable(
                query, node.alias, text_offset=node.text_offset, number=number, columns=outputs.columns
            )
            return bound, VisibleColumns([FromSource(number, names, node.alias, ())])
        if isinstance(node, Join):
            return self.bind_join(node, outer_scope)
        raise self.build_bind_error(
            format_message("{name} cannot stand in FROM", type(node).__name__), node.text_offset
        )

    def bind_derived_query(self, query: Query, outer_scope: NameScope | None) -> tuple[Query, SelectList]:
        """Bind a derived table: it sees the queries around, but not its neighbours in FROM."""
        clause = self.clause
        self.clause = "SELECT"
        bound_and_list = self.bind_query(query, outer_scope)
        self.clause = clause
        return bound_and_list

    def assign_source_number(self) -> int:
        """Count up the items of FROM.

        Returns
        -------
        number
            Of the next one.
        """
        self.source_count += 1
        return self.source_count

    def bind_table(self, node: TableRef) -> tuple[FromItem, VisibleColumns]:
        """Bind a table, a view, or a name of WITH."""
        if len(node.parts) == 1:
            for name, table, names, reads in self.ctes:
                if _is_cte_name(node.parts[0], name):
                    self.count_table_reads(reads, node.text_offset)
                    number = self.assign_source_number()
                    ref = TableRef(
                        (name,), node.alias, text_offset=node.text_offset, number=number, table=table, cte=True
                    )
                    return ref, VisibleColumns([FromSource(number, names, node.alias, (node.parts[0],))])
        candidates = self.catalogue.find(node.parts)
        written_name = ".".join(part.name for part in node.parts)
        if not candidates:
            near = suggest_nearest_name(
                written_name, [*self.catalogue.list_names(), *(name.name for name, *_ in self.ctes)], is_dotted=True
            )
            if not near and len(node.parts) == 1:
                bare = {name.rpartition(".")[2]: name for name in self.catalogue.list_names()}
                closest_name = find_close_match(written_name, bare)
                if closest_name is not None:
                    near = format_suggestion(bare[closest_name], is_dotted=True)
                else:
                    near = ""
            near = near or self.suggest_schema_tables(node)
            if len(node.parts) > 1 and node.parts[-2].name.upper() == UPLOAD_SCHEMA:
                self.raise_missing_upload(node, near)
            self.raise_bind_error(format_message("no table {written!r}", written_name), node.text_offset, near)
        if len(candidates) > 1:
            self.raise_bind_error(
                format_message(
                    "table {written!r} is ambiguous: {names}",
                    written_name,
                    ", ".join(table.qualified_name for table in candidates),
                ),
                node.text_offset,
                "write the schema too",
            )
        table = candidates[0]
        self.count_table_reads(1, node.text_offset)
        if table.view is not None:
            return self.bind_view(node, table)
        number = self.assign_source_number()
        self.tables[table.qualified_name] = table
        bound = TableRef(
            node.parts, node.alias, text_offset=node.text_offset, number=number, table=table, where=node.where
        )
        path = (Ident(table.schema), Ident(table.name)) if table.schema else (Ident(table.name),)
        return bound, VisibleColumns([FromSource(number, build_column_lookup(table), node.alias, path)])

    def suggest_schema_tables(self, node: TableRef) -> str:
        """List what the schema has of a table that is not there.

        Returns
        -------
        remedy
            A sentence, or nothing.
        """
        if len(node.parts) != 2:
            return ""
        schema = node.parts[0].name.lower()
        schema_tables = [
            table_name for table_name in self.catalogue.list_names() if table_name.partition(".")[0].lower() == schema
        ]
        table_names = ", ".join(map(quote_dotted_name, schema_tables[:MAX_SUGGESTED_TABLES]))
        if len(schema_tables) < 2:
            return format_message("there is {name}", table_names) if schema_tables else ""
        return format_message(
            "there are {names} .." if len(schema_tables) > MAX_SUGGESTED_TABLES else "there are {names}", table_names
        )

    def raise_missing_upload(self, node: TableRef, nearest_remedy: str) -> NoReturn:
        """Fail because a table was not uploaded; the error says which ones were, and how it is done.

        Parameters
        ----------
        nearest_remedy
            A remedy that is better, if there is one.
        """
        name = node.parts[-1].name
        uploaded_names = [
            table_name
            for table_name in self.catalogue.list_names()
            if table_name.upper().startswith(f"{UPLOAD_SCHEMA}.")
        ]
        upload_remedy = format_message(
            "send the table with UPLOAD={name},param:{name} and the file as the part {name!r}, or "
            "UPLOAD={name},https://...",
            name,
        )
        missing_name = f"{UPLOAD_SCHEMA}.{name}"
        name_list = ", ".join(uploaded_names)
        if uploaded_names:
            message = format_message("no table {name!r}: this request uploads {names}", missing_name, name_list)
        else:
            message = format_message("no table {name!r}: this request uploads none", missing_name)
        self.raise_bind_error(
            message, node.text_offset, nearest_remedy if uploaded_names and nearest_remedy else upload_remedy
        )

    def bind_view(self, node: TableRef, table: Table) -> tuple[FromItem, VisibleColumns]:
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
        if table.qualified_name in self.open_views:
            self.raise_bind_error(
                format_message("the view {table} reads itself", table.qualified_name), node.text_offset
            )
        self.open_views.append(table.qualified_name)
        text = self.text
        ctes = self.ctes
        clause = self.clause
        self.text = table.view or ""
        self.ctes = []
        self.clause = "SELECT"
        self.inline_depth += 1
        try:
            query, outputs = self.bind_query(parse_query(self.text), None)
        except BindError as error:
            raise BindError(
                format_message("in the view {table}: {message}", table.qualified_name, error.message),
                text=text,
                offset=node.text_offset,
                remedy=error.remedy,
            ) from error
        finally:
            self.inline_depth -= 1
            self.text = text
            self.ctes = ctes
            self.clause = clause
            self.open_views.pop()
        number = self.assign_source_number()
        names = outputs.build_lookup(table.columns)
        alias = node.alias or Ident(table.name, quoted=True)
        bound = DerivedTable(
            query, alias, text_offset=node.text_offset, number=number, columns=names.columns, view=table
        )
        return bound, VisibleColumns([FromSource(number, names, node.alias, (Ident(table.schema), Ident(table.name)))])


def _is_cte_name(ident: Ident, cte_name: Ident) -> bool:
    return is_same_name(ident, cte_name.name if cte_name.quoted else cte_name.name.lower())
