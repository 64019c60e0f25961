"""Bind a parsed query: resolve names to columns, type all expressions, expand stars, and rewrite joins as conditions.

The result is a `BoundQuery`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from hven.adql._join_binder import JoinBinder
from hven.adql._parser import parse_query
from hven.adql._query_limits import MAX_QUERY_SELECTS, MAX_SELECT_COLUMNS, MAX_TEXT_BYTES
from hven.adql._select_list import SelectList
from hven.adql.functions import MAPPING_FUNCTIONS, QUERY_FUNCTIONS, FunctionSet
from hven.adql.grouping import (
    build_expression_key,
    check_grouped_columns,
    has_aggregate_item,
    has_window_function,
    iterate_literals,
)
from hven.adql.scope import (
    ColumnLookup,
    FromSource,
    NameScope,
    VisibleColumns,
    format_suggestion,
    get_column_lookup,
    is_same_name,
    quote_dotted_name,
    suggest_nearest_name,
)
from hven.adql.syntax_tree import (
    BoundQuery,
    ColumnRef,
    CommonTableExpression,
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
    SelectStar,
    SetOperation,
    TableRef,
    ValueMetadata,
    split_left_deep_chain,
)
from hven.adql.value_kinds import classify_value, require_meta
from hven.model.errors import BindError, find_close_match, format_message
from hven.model.table import Table
from hven.model.types import INT32

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hven.adql.scope import TableCatalogue
    from hven.model.table import Column

# a table of WITH: its name, its description, its columns, and the number of stored tables that it reads
CteEntry = tuple[Ident, Table, ColumnLookup, int]

EMPTY_SCOPE = NameScope(VisibleColumns())
# a query with more literals is unlikely to come again with other values, and engines read parameters slower than text
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
        The result of `hven.adql.parse_query`, or a tree that a program built.
    catalogue
        The tables that the reader may see.
    functions
        The functions that the query may call; `hven.adql.functions.MAPPING_FUNCTIONS` in descriptors.
    resolve_position
        A function that resolves the name of an object to longitude and latitude (ICRS, degrees), for IVO_SIMBADPOINT.
        None: queries cannot call it.
    order_independent
        Whether sums and means of floats must not depend on the order of rows.

    Returns
    -------
    bound
        The bound query with its output columns, the tables that it reads, and the slots whose literals may vary.

    Raises
    ------
    BindError
        A name, a type or a unit does not fit. The error has line, column and the nearest name.
    """
    binder = QueryBinder(query.text, catalogue, functions)
    binder.resolve_position = resolve_position
    binder.order_independent = order_independent
    try:
        bound, outputs = binder.bind_query(query, None)
    except RecursionError:
        raise BindError("the query is nested too deeply", text=query.text, remedy="reduce the nesting") from None
    free_slots = frozenset(binder.free_slots - binder.fixed_slots)
    if len(free_slots) > MAX_PARAMETERS:
        free_slots = frozenset()
    values_by_slot = binder.literal_values
    slot_count = max(values_by_slot, default=-1) + 1
    literal_values = tuple(map(values_by_slot.get, range(slot_count)))
    return BoundQuery(
        bound,
        outputs.columns,
        tuple(binder.tables.values()),
        literal_values,
        free_slots,
        binder.volatile,
        tuple(binder.slot_bounds),
        binder.text_operation_count,
        tuple(binder.time_slots),
        outputs.renamed_columns,
    )


def bind_expression(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, *, functions: FunctionSet = MAPPING_FUNCTIONS, text: str = ""
) -> Expr:
    """Bind a value expression that reads plain columns: the source columns of a mapping, or the columns of a table.

    The literals of the expression become a part of the SQL text, never parameters.

    Parameters
    ----------
    expr
        The result of `hven.adql.parse_expression`.
    columns
        The columns that the expression may read. A `ColumnLookup` saves time if a caller binds many expressions.
    functions
        The functions that the expression may call.
    text
        The text of the expression, for line and column of errors.

    Returns
    -------
    expr
        The bound expression.

    Raises
    ------
    BindError
        A name, a type or a unit does not fit. The error has line, column and the nearest name.
    """
    return _bind_standalone_expression(expr, columns, functions, text, is_condition=False)


def bind_condition(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, *, functions: FunctionSet = MAPPING_FUNCTIONS, text: str = ""
) -> Expr:
    """Bind a search condition that reads plain columns, as `bind_expression` does.

    Parameters
    ----------
    expr
        The result of `hven.adql.parse_condition`.
    columns, functions, text
        As for `bind_expression`.

    Returns
    -------
    expr
        The bound condition.
    """
    return _bind_standalone_expression(expr, columns, functions, text, is_condition=True)


def _bind_standalone_expression(
    expr: Expr, columns: Sequence[Column] | ColumnLookup, functions: FunctionSet, text: str, *, is_condition: bool
) -> Expr:
    binder = QueryBinder(text, EMPTY_CATALOGUE, functions)
    binder.inline_depth = 1
    binder.clause = format_message("an expression that reads one row at a time")
    if isinstance(columns, ColumnLookup):
        column_lookup = columns
    else:
        column_lookup = ColumnLookup(columns)
    scope = NameScope(VisibleColumns([FromSource(0, column_lookup, None, ())]))
    try:
        if is_condition:
            return binder.bind_condition(expr, scope)
        return binder.bind_expression(expr, scope)
    except RecursionError:
        raise BindError("the expression is nested too deeply", text=text, remedy="reduce the nesting") from None


UPLOAD_SCHEMA = "TAP_UPLOAD"
MAX_SUGGESTED_TABLES = 5  # tables of a schema that an error about a missing table names
MAX_RECURSION_ROUNDS = 5  # rounds after which the types of a recursive table must be stable


class _EmptyTableCatalogue:
    """A catalogue without tables."""

    def find_tables_by_identifiers(self, parts: Sequence[Ident]) -> list[Table]:  # noqa: ARG002
        """Return no table."""
        return []

    def list_table_names(self) -> list[str]:
        """Return no name."""
        return []


EMPTY_CATALOGUE = _EmptyTableCatalogue()


class QueryBinder(JoinBinder):
    """Binds one query with its subqueries, tables of WITH and views.

    Common
    ------
    node, query, items
        The parsed nodes to bind; the binder never changes them.
    select
        A bound SELECT.
    outer_scope
        The scope of the query around the node, whose columns it may read; None if there is none.
    scope
        The columns that the FROM of the SELECT makes visible.
    outputs
        The select list of the SELECT.
    returns : Query, Select, SetOperation, CommonTableExpression, FromItem, OrderItem, Expr, SelectList, VisibleColumns
        The bound node: a new one with types, columns and source numbers. A tuple also has the `SelectList` of the
        select list, or the `VisibleColumns` that the node adds to FROM.
    """

    def __init__(self, text: str, catalogue: TableCatalogue, functions: FunctionSet) -> None:
        super().__init__(text, functions)
        self.catalogue = catalogue
        self.source_count = 0
        self.ctes: list[CteEntry] = []
        self.open_views: list[str] = []

    # --- queries

    def bind_subquery(self, query: Query, scope: NameScope) -> tuple[Query, tuple[Column, ...]]:
        """Bind a subquery that can read the columns of the queries around it.

        Parameters
        ----------
        scope
            The scope of the query around the subquery.

        Returns
        -------
        query
            The bound subquery.
        columns
            Its output columns.
        """
        clause = self.clause
        self.clause = "SELECT"
        bound, outputs = self.bind_query(query, scope)
        self.clause = clause
        return bound, outputs.columns

    def bind_query(self, node: Query, outer_scope: NameScope | None) -> tuple[Query, SelectList]:
        """Bind ``[WITH ..] body [ORDER BY ..] [OFFSET n]``."""
        outer_cte_count = len(self.ctes)
        ctes: tuple[CommonTableExpression, ...] = ()
        if node.ctes:
            ctes = tuple([self.bind_common_table(cte, outer_scope) for cte in node.ctes])
        offset = None
        if node.offset is not None:
            offset = self.bind_row_count(node.offset)
        body: Select | SetOperation | Query
        order: tuple[OrderItem, ...] = ()
        if isinstance(node.body, Select):
            body, outputs, scope = self.bind_select(node.body, outer_scope)
            if node.order_by:
                order = self.bind_select_order(node.order_by, body, outputs, scope)
        else:
            body, outputs = self.bind_set_operand(node.body, outer_scope)
            order = self.bind_set_order(node.order_by, outputs)
        if isinstance(body, Select) and body.distinct:
            for order_item in order:
                if not isinstance(order_item.expr, Literal):
                    self.raise_bind_error(
                        "with SELECT DISTINCT, ORDER BY can use only selected columns",
                        order_item.text_offset,
                        "add the expression to the select list",
                    )
        del self.ctes[outer_cte_count:]
        return Query(body, order, offset, ctes, text_offset=node.text_offset, text=node.text), outputs

    def bind_set_operand(
        self, node: Select | SetOperation | Query, outer_scope: NameScope | None
    ) -> tuple[Select | SetOperation | Query, SelectList]:
        """Bind one operand of a set operation."""
        if isinstance(node, Select):
            select, outputs, _ = self.bind_select(node, outer_scope)
            return select, outputs
        if isinstance(node, Query):
            return self.bind_query(node, outer_scope)
        first, links = split_left_deep_chain(node, SetOperation)
        bound, outputs = self.bind_set_operand(first, outer_scope)
        for link in links:
            bound, outputs = self.bind_set_operation(link, bound, outputs, outer_scope)
        return bound, outputs

    def bind_set_operation(
        self,
        node: SetOperation,
        left_body: Select | SetOperation | Query,
        left_select_list: SelectList,
        outer_scope: NameScope | None,
    ) -> tuple[SetOperation, SelectList]:
        """Bind the right operand of a set operation and join it to the left one.

        Parameters
        ----------
        left_body
            The bound left operand.
        left_select_list
            The select list of the left operand.

        Returns
        -------
        operation
            The bound operation.
        outputs
            The select list with types that hold the values of both operands.
        """
        right_body, right_list = self.bind_set_operand(node.right, outer_scope)
        left_width = len(left_select_list.columns)
        right_width = len(right_list.columns)
        if left_width != right_width:
            message = format_message(
                "both sides of {op} must have the same number of columns, but they have {one} and {other}",
                node.op,
                left_width,
                right_width,
            )
            remedy = "select the same number of columns on both sides"
            self.raise_bind_error(message, node.right.text_offset, remedy)
        operation = SetOperation(node.op, left_body, right_body, node.all, text_offset=node.text_offset)
        return operation, left_select_list.merge_set_operands(right_list, self, node)

    def bind_common_table(self, node: CommonTableExpression, outer_scope: NameScope | None) -> CommonTableExpression:
        """Bind ``name AS (SELECT ..)`` and make it visible to the later tables of WITH and to the main query."""
        for name, *_ in self.ctes:
            if name.name.lower() == node.name.name.lower():
                self.raise_bind_error(format_message("WITH defines {name!r} twice", node.name.name), node.text_offset)
        outer_read_count = self.table_read_count
        body = node.query.body
        if node.recursive and isinstance(body, SetOperation) and body.op == "UNION":
            query, outputs = self.bind_recursive_table(node, body, outer_scope)
        else:
            query, outputs = self.bind_query(node.query, outer_scope)
        read_count = self.table_read_count - outer_read_count
        self.table_read_count = outer_read_count  # the reads count where the table is read, perhaps several times
        self.ctes.append(_build_cte_entry(node, outputs, read_count))
        return CommonTableExpression(node.name, query, node.recursive, text_offset=node.text_offset)

    def bind_recursive_table(
        self, node: CommonTableExpression, body: SetOperation, outer_scope: NameScope | None
    ) -> tuple[Query, SelectList]:
        """Bind ``start UNION [ALL] step``, in which each step reads the rows of the step before.

        Parameters
        ----------
        body
            The UNION of the recursive table.

        Returns
        -------
        query
            The bound query.
        outputs
            The select list with the types that the table has after any number of steps.
        """
        if node.query.order_by or node.query.offset is not None:
            self.raise_bind_error(
                "the query of a recursive table cannot have ORDER BY or OFFSET",
                node.query.text_offset,
                "move them to the end of the whole query",
            )
        start, start_list = self.bind_set_operand(body.left, outer_scope)
        previous_list = start_list
        # if n is a short, n + 1 is a long: the next round begins with n as a long
        for _ in range(MAX_RECURSION_ROUNDS):
            self.ctes.append(_build_cte_entry(node, previous_list, 1))
            bound, outputs = self.bind_set_operation(body, start, start_list, outer_scope)
            self.ctes.pop()
            previous_types = [column.type for column in previous_list.columns]
            if previous_types == [column.type for column in outputs.columns]:
                return Query(bound, text_offset=node.query.text_offset, text=node.query.text), outputs
            previous_list = outputs
        message = format_message(
            "the column types of the recursive table {name} change with every step", node.name.name
        )
        return self.raise_bind_error(message, body.right.text_offset, "convert its columns with CAST in both parts")

    def bind_row_count(self, node: Literal) -> Literal:
        """Bind the number of TOP or OFFSET, an integer that may vary when a plan is reused.

        Parameters
        ----------
        node
            The literal after TOP or OFFSET.

        Returns
        -------
        bound_literal
            The literal with its type.
        """
        bound = self.bind_and_record_literal(node, EMPTY_SCOPE)
        if not isinstance(node.value, int) or node.value < 0:
            message = format_message("{value!r} is not a valid number of rows", node.value)
            self.raise_bind_error(message, node.text_offset, "use a whole number, 0 or greater, for TOP and OFFSET")
        return bound  # type: ignore[return-value]

    def bind_select(self, node: Select, outer_scope: NameScope | None) -> tuple[Select, SelectList, NameScope]:
        """Bind one SELECT.

        Returns
        -------
        select
            The bound SELECT.
        outputs
            Its select list.
        scope
            The scope of its FROM, for ORDER BY.
        """
        if not self.inline_depth:
            self.select_count += 1
        if self.select_count > MAX_QUERY_SELECTS:
            remedy = "split the query into several, or upload a table and join it"
            self.check_query_limit(self.select_count, MAX_QUERY_SELECTS, "SELECTs", node.text_offset, remedy)
        clause = self.clause
        source = None
        visible_columns = VisibleColumns()
        if node.source is not None:
            source, visible_columns = self.bind_from_item(node.source, outer_scope)
        scope = NameScope(visible_columns, outer_scope, windows=node.windows)
        where = None
        if node.where is not None:
            self.clause = "WHERE"
            scope.pending_items = node.items
            where = self.bind_condition(node.where, scope)
        self.clause = "SELECT"
        outputs = self.bind_select_items(node, scope)
        # a literal of a generated column name is part of the shape: another value would give another name
        for literal in outputs.named_literals:
            self.fixed_slots.add(literal.slot)
        scope.aliases = outputs.aliases
        group_by: tuple[Expr, ...] = ()
        if node.group_by:
            self.clause = "GROUP BY"
            self.check_clause_key_count(node.group_by, "GROUP BY")
            group_by = tuple([self.bind_group_item(item, scope, outputs) for item in node.group_by])
        having = None
        if node.having is not None:
            self.clause = "HAVING"
            having = self.bind_condition(node.having, scope)
        if node.windows:
            self.check_named_windows(node.windows, scope)
        self.clause = clause
        top = None
        if node.top is not None:
            top = self.bind_row_count(node.top)
        bound = Select(
            tuple(outputs.items), source, where, group_by, having, node.distinct, top, text_offset=node.text_offset
        )
        if group_by or having is not None or has_aggregate_item(outputs.items):
            check_grouped_columns(bound, (), visible_columns, self.text)
            self.mark_group_literals_fixed(bound, ())
        return bound, outputs, scope

    def bind_select_items(self, node: Select, scope: NameScope) -> SelectList:
        """Bind the items of a select list, and check their number and the size of their literals."""
        outputs = SelectList()
        for item in node.items:
            if isinstance(item, SelectStar):
                self.expand_star(item, scope, outputs)
            else:
                expression = self.bind_expression(item.expr, scope)
                outputs.add_item(expression, item.alias, item.text_offset)
            output_count = len(outputs.items)
            if output_count > MAX_SELECT_COLUMNS:
                from_width = sum(len(source.column_lookup.columns) for source in scope.visible_columns.sources)
                max_count = max(MAX_SELECT_COLUMNS, from_width)
                self.check_query_limit(output_count, max_count, "columns", item.text_offset, "select fewer columns")
        if len(self.text) > MAX_TEXT_BYTES:
            self.check_select_literal_size(outputs)
        return outputs

    def check_select_literal_size(self, outputs: SelectList) -> None:
        """Refuse long string literals in the select list, since the engine copies them into every row."""
        character_count = 0
        for item in outputs.items:
            if not isinstance(item, SelectItem) or classify_value(item.expr) != "text":
                continue
            for literal in iterate_literals(item.expr):
                if isinstance(literal.value, str):
                    character_count += len(literal.value)
                if character_count > MAX_TEXT_BYTES:
                    message = format_message(
                        "the literals in the select list have more than {most:,} characters in total", MAX_TEXT_BYTES
                    )
                    self.raise_bind_error(message, literal.text_offset, "upload long strings as a table")

    def mark_group_literals_fixed(self, select: Select, order_expressions: Sequence[Expr]) -> None:
        """Make the literals of a grouped SELECT a part of the query's shape if GROUP BY has an expression.

        A parameter would hide from the engine that an expression of the select list is the same as one of GROUP BY.

        Parameters
        ----------
        order_expressions
            The bound expressions of ORDER BY.
        """
        if all(isinstance(key, ColumnRef) for key in select.group_by):
            return
        expressions = [*select.group_by, *order_expressions]
        expressions += [item.expr for item in select.items if isinstance(item, SelectItem)]
        if select.having is not None:
            expressions.append(select.having)
        for expression in expressions:
            self._mark_literals_fixed(expression)

    def _mark_literals_fixed(self, expression: Expr) -> None:
        """Make the literals of an expression a part of the query's shape."""
        self.fixed_slots.update(literal.slot for literal in iterate_literals(expression))

    def bind_group_item(self, node: Expr, scope: NameScope, outputs: SelectList) -> Expr:
        """Bind one expression of GROUP BY; a name of FROM comes before an alias, an integer is a position."""
        if isinstance(node, Literal) and isinstance(node.value, int):
            self.mark_literal_fixed(node)
            expression = outputs.get_expression_at_position(node.value, self, node)
            return self.require_groupable_expression(expression, node)
        if isinstance(node, ColumnRef) and not node.qualifier and not scope.visible_columns.find_columns(node.name):
            alias_expressions = scope.find_aliased_expressions(node.name)
            if len(alias_expressions) == 1:
                return self.require_groupable_expression(alias_expressions[0], node)
        return self.bind_expression(node, scope)

    def require_groupable_expression(self, expr: Expr, node: Expr) -> Expr:
        """Check that GROUP BY can use an output column.

        Parameters
        ----------
        expr
            The bound expression of the output column.
        node
            The item of GROUP BY that names the column.

        Returns
        -------
        expr
            The same expression.
        """
        if require_meta(expr).aggregate:
            self.raise_bind_error("GROUP BY cannot use the result of an aggregate function", node.text_offset)
        if has_window_function(expr):
            self.raise_bind_error(
                "GROUP BY cannot use the result of a window function",
                node.text_offset,
                "compute it in a subquery in FROM, and group by the column of the subquery",
            )
        return expr

    def expand_star(self, node: SelectStar, scope: NameScope, outputs: SelectList) -> None:
        """Expand ``*`` or ``t.*`` in a select list.

        Parameters
        ----------
        outputs
            The select list, to which the columns are added.
        """
        previous_count = len(outputs.items)
        self.add_star_columns(node, scope, outputs)
        if len(outputs.items) > previous_count:
            return
        for source in scope.visible_columns.sources:
            if any(column.hidden for column in source.column_lookup.columns):
                self.raise_bind_error(
                    "* selects no column, because all columns are hidden",
                    node.text_offset,
                    "list the columns that you want",
                )

    def add_star_columns(self, node: SelectStar, scope: NameScope, outputs: SelectList) -> None:
        """Add the columns that a star stands for.

        Parameters
        ----------
        outputs
            The select list, to which the columns are added.
        """
        if node.qualifier:
            source, indexes = self._find_star_columns(node, scope)
            for index in indexes:
                if not source.column_lookup.columns[index].hidden:
                    column_ref = source.build_column_ref(index, node.text_offset)
                    outputs.add_item(column_ref, None, node.text_offset)
            return
        if not scope.visible_columns.sources:
            self.raise_bind_error("* needs a FROM clause", node.text_offset)
        for column_item in scope.visible_columns.list_star_columns():
            expression = column_item.build_expression(node.text_offset)
            alias = None
            if column_item.expr is not None:  # a merged column, which has no name of its own
                alias = Ident(column_item.name, quoted=True)
            outputs.add_item(expression, alias, node.text_offset)

    def _find_star_columns(self, node: SelectStar, scope: NameScope) -> tuple[FromSource, Sequence[int]]:
        """Return the item of FROM that ``t.*`` means, or that has the group of ``g.*``, and positions of columns.

        A group is an extension of ADQL. Items of FROM have precedence.
        """
        sources = scope.find_qualified_sources(node.qualifier)
        indexes: Sequence[int] = ()
        if sources:
            indexes = range(len(sources[0].column_lookup.columns))
        else:
            *table_name, group = node.qualifier
            if table_name:
                candidates = scope.find_qualified_sources(table_name)
            else:
                candidates = scope.visible_columns.sources
            sources = [source for source in candidates if source.column_lookup.find_group_indexes(group)]
            indexes = ()
            if sources:
                indexes = sources[0].column_lookup.find_group_indexes(group)
        if not sources:
            raise scope.build_missing_table_error(node.qualifier, node.text_offset, self.text)
        if len(sources) > 1:
            name = ".".join(part.name for part in node.qualifier)
            message = format_message("table {name!r} is ambiguous: FROM lists it {count} times", name, len(sources))
            self.raise_bind_error(message, node.text_offset, "give each table an alias")
        return sources[0], indexes

    # --- ORDER BY

    def bind_select_order(
        self, items: Sequence[OrderItem], select: Select, outputs: SelectList, scope: NameScope
    ) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a SELECT: positions, names of the output, then expressions over FROM.

        Returns
        -------
        items
            The bound items without constants, which sort nothing and which engines refuse.
        """
        clause = self.clause
        self.clause = "ORDER BY"
        self.check_clause_key_count(items, "ORDER BY")
        positions_by_key: dict[object, int] | None = None  # computed if an item is an expression
        bound_items: list[OrderItem] = []
        sort_expressions: list[Expr] = []
        for item in items:
            position = self.find_output_position(item.expr, outputs)
            if position is None:
                expression = self.bind_expression(item.expr, scope)
                if positions_by_key is None:
                    positions_by_key = _map_output_positions(outputs)
                position = positions_by_key.get(build_expression_key(expression))
                if position is None:
                    if not require_meta(expression).constant:
                        bound_items.append(OrderItem(expression, item.descending, text_offset=item.text_offset))
                        sort_expressions.append(expression)
                    continue
                self._mark_literals_fixed(expression)
                self._mark_literals_fixed(outputs.items[position - 1].expr)
            bound_items.append(_build_position_order_item(item, position))
        self.clause = clause
        if sort_expressions:
            is_grouped = bool(select.group_by) or has_aggregate_item(outputs.items)
            if is_grouped or any(require_meta(expression).aggregate for expression in sort_expressions):
                check_grouped_columns(select, sort_expressions, scope.visible_columns, self.text)
                check_grouped_columns(select, (), scope.visible_columns, self.text)
                self.mark_group_literals_fixed(select, sort_expressions)
        return tuple(bound_items)

    def bind_set_order(self, items: Sequence[OrderItem], outputs: SelectList) -> tuple[OrderItem, ...]:
        """Bind ORDER BY of a set operation: positions and names of the output only.

        Parameters
        ----------
        outputs
            The select list of the operation.
        """
        self.check_clause_key_count(items, "ORDER BY")
        bound_items: list[OrderItem] = []
        for item in items:
            position = self.find_output_position(item.expr, outputs)
            if position is None:
                remedy = ""
                if isinstance(item.expr, ColumnRef):
                    output_names = [column.name for column in outputs.columns]
                    remedy = suggest_nearest_name(item.expr.name.name, output_names)
                text_offset = item.text_offset
                if text_offset < 0:
                    text_offset = item.expr.text_offset
                message = "ORDER BY after a set operation takes only names or positions of output columns"
                self.raise_bind_error(message, text_offset, remedy)
            bound_items.append(_build_position_order_item(item, position))
        return tuple(bound_items)

    def find_output_position(self, node: Expr, outputs: SelectList) -> int | None:
        """Find the output column that an item of ORDER BY means by its name or position.

        Parameters
        ----------
        node
            The expression of an item of ORDER BY.
        outputs
            The select list.

        Returns
        -------
        position
            The position from 1; None if the item is another expression.
        """
        if isinstance(node, Literal) and isinstance(node.value, int):
            self.mark_literal_fixed(node)
            outputs.get_expression_at_position(node.value, self, node)
            return node.value
        if not isinstance(node, ColumnRef) or node.qualifier:
            return None
        column_indexes = outputs.find_column_indexes(node.name)
        if not column_indexes:
            return None
        if len(column_indexes) > 1 and outputs.has_different_expressions(column_indexes):
            message = format_message(
                "ORDER BY {name} is ambiguous: {count} output columns have this name",
                node.name.name,
                len(column_indexes),
            )
            self.raise_bind_error(message, node.text_offset, "give them aliases, or sort by position")
        return column_indexes[0] + 1

    # --- FROM

    def bind_from_item(self, node: FromItem, outer_scope: NameScope | None) -> tuple[FromItem, VisibleColumns]:
        """Bind one item of FROM."""
        if isinstance(node, TableRef):
            return self.bind_table(node)
        if isinstance(node, DerivedTable):
            query, outputs = self.bind_derived_query(node.query, outer_scope)
            number = self.assign_source_number()
            column_lookup = outputs.build_column_lookup()
            bound = DerivedTable(
                query, node.alias, text_offset=node.text_offset, number=number, columns=outputs.columns
            )
            return bound, VisibleColumns([FromSource(number, column_lookup, node.alias, ())])
        if isinstance(node, Join):
            return self.bind_join(node, outer_scope)
        message = format_message("{name} is not allowed in FROM", type(node).__name__)
        raise self.build_bind_error(message, node.text_offset)

    def bind_derived_query(self, query: Query, outer_scope: NameScope | None) -> tuple[Query, SelectList]:
        """Bind the query of a derived table, which can read the queries around it, but no other item of FROM."""
        clause = self.clause
        self.clause = "SELECT"
        bound, outputs = self.bind_query(query, outer_scope)
        self.clause = clause
        return bound, outputs

    def assign_source_number(self) -> int:
        """Return the number of the next item of FROM.

        Returns
        -------
        number
            A number that is unique in the whole query, from 1.
        """
        self.source_count += 1
        return self.source_count

    def bind_table(self, node: TableRef) -> tuple[FromItem, VisibleColumns]:
        """Bind a table, a view, or a name of WITH."""
        if len(node.parts) == 1:
            for cte_entry in self.ctes:
                if is_same_name(node.parts[0], cte_entry[0].normalized_name):
                    return self._bind_cte_reference(node, cte_entry)
        candidates = self.catalogue.find_tables_by_identifiers(node.parts)
        if not candidates:
            self._raise_missing_table(node)
        if len(candidates) > 1:
            candidate_names = ", ".join(table.qualified_name for table in candidates)
            message = format_message(
                "table {written!r} is ambiguous: {names}", _join_name_parts(node.parts), candidate_names
            )
            self.raise_bind_error(message, node.text_offset, "put the schema before the table name")
        table = candidates[0]
        self.count_and_limit_table_reads(1, node.text_offset)
        if table.view is not None:
            return self.bind_view(node, table)
        number = self.assign_source_number()
        self.tables[table.qualified_name] = table
        bound = TableRef(
            node.parts, node.alias, text_offset=node.text_offset, number=number, table=table, where=node.where
        )
        path = (Ident(table.schema), Ident(table.name)) if table.schema else (Ident(table.name),)
        return bound, VisibleColumns([FromSource(number, get_column_lookup(table), node.alias, path)])

    def _bind_cte_reference(self, node: TableRef, cte_entry: CteEntry) -> tuple[FromItem, VisibleColumns]:
        """Bind a name of WITH."""
        name, table, column_lookup, read_count = cte_entry
        self.count_and_limit_table_reads(read_count, node.text_offset)
        number = self.assign_source_number()
        bound = TableRef((name,), node.alias, text_offset=node.text_offset, number=number, table=table, cte=True)
        return bound, VisibleColumns([FromSource(number, column_lookup, node.alias, (node.parts[0],))])

    def _raise_missing_table(self, node: TableRef) -> NoReturn:
        """Refuse an unknown table, and suggest the nearest name or the tables of its schema."""
        written_name = _join_name_parts(node.parts)
        catalogue_names = list(self.catalogue.list_table_names())
        cte_names = [name.name for name, *_ in self.ctes]
        remedy = suggest_nearest_name(written_name, [*catalogue_names, *cte_names], is_dotted=True)
        if not remedy and len(node.parts) == 1:
            qualified_names = {name.rpartition(".")[2]: name for name in catalogue_names}
            closest_name = find_close_match(written_name, qualified_names)
            if closest_name is not None:
                remedy = format_suggestion(qualified_names[closest_name], is_dotted=True)
        remedy = remedy or self.suggest_schema_tables(node)
        if len(node.parts) > 1 and node.parts[-2].name.upper() == UPLOAD_SCHEMA:
            self.raise_missing_upload(node, remedy)
        self.raise_bind_error(format_message("no table {written!r}", written_name), node.text_offset, remedy)

    def suggest_schema_tables(self, node: TableRef) -> str:
        """List the tables of the schema in which a table is missing.

        Returns
        -------
        remedy
            The remedy; empty if the schema has no table.
        """
        if len(node.parts) != 2:
            return ""
        schema = node.parts[0].name.lower()
        catalogue_names = self.catalogue.list_table_names()
        schema_tables = [name for name in catalogue_names if name.partition(".")[0].lower() == schema]
        if not schema_tables:
            return ""
        table_names = ", ".join(map(quote_dotted_name, schema_tables[:MAX_SUGGESTED_TABLES]))
        if len(schema_tables) == 1:
            return format_message("did you mean {name}?", table_names)
        template = "use one of {names}"
        if len(schema_tables) > MAX_SUGGESTED_TABLES:
            template = "use one of {names} .."
        return format_message(template, table_names)

    def raise_missing_upload(self, node: TableRef, nearest_remedy: str) -> NoReturn:
        """Refuse a table that the request does not upload; name its uploads, and tell how to upload a table.

        Parameters
        ----------
        nearest_remedy
            The remedy that names a similar upload; empty if there is none.
        """
        name = node.parts[-1].name
        upload_prefix = f"{UPLOAD_SCHEMA}."
        catalogue_names = self.catalogue.list_table_names()
        uploaded_names = [table_name for table_name in catalogue_names if table_name.upper().startswith(upload_prefix)]
        remedy: str = format_message(
            "write `UPLOAD={name},param:{name}` and send the table's file as the part {name!r} of a multipart body, "
            "or write `UPLOAD={name},https://...`",
            name,
        )
        missing_name = f"{UPLOAD_SCHEMA}.{name}"
        if uploaded_names:
            name_list = ", ".join(uploaded_names)
            message = format_message(
                "there is no table {name!r}; this request uploads {names}", missing_name, name_list
            )
            remedy = nearest_remedy or remedy
        else:
            message = format_message("there is no table {name!r}, because this request uploads no tables", missing_name)
        self.raise_bind_error(message, node.text_offset, remedy)

    def bind_view(self, node: TableRef, table: Table) -> tuple[FromItem, VisibleColumns]:
        """Bind a view as the derived table that it stands for; the view's descriptor describes its columns.

        Parameters
        ----------
        table
            The view.

        Raises
        ------
        BindError
            The text of the view is wrong; the error has the place of the reference to the view.
        """
        if table.qualified_name in self.open_views:
            message = format_message("the view {table} reads itself", table.qualified_name)
            self.raise_bind_error(message, node.text_offset)
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
            message = format_message("in the view {table}: {message}", table.qualified_name, error.message)
            raise BindError(message, text=text, offset=node.text_offset, remedy=error.remedy) from error
        finally:
            self.inline_depth -= 1
            self.text = text
            self.ctes = ctes
            self.clause = clause
            self.open_views.pop()
        number = self.assign_source_number()
        column_lookup = outputs.build_column_lookup(table.columns)
        alias = node.alias or Ident(table.name, quoted=True)
        bound = DerivedTable(
            query, alias, text_offset=node.text_offset, number=number, columns=column_lookup.columns, view=table
        )
        path = (Ident(table.schema), Ident(table.name))
        return bound, VisibleColumns([FromSource(number, column_lookup, node.alias, path)])


def _join_name_parts(parts: Sequence[Ident]) -> str:
    return ".".join(part.name for part in parts)


def _build_cte_entry(node: CommonTableExpression, outputs: SelectList, read_count: int) -> CteEntry:
    """Build the entry under which later parts of the query find a table of WITH."""
    table = Table(schema="", name=node.name.name, columns=outputs.columns)
    return node.name, table, outputs.build_column_lookup(), read_count


def _map_output_positions(outputs: SelectList) -> dict[object, int]:
    """Return expression key -> position, from 1, of the first output column with this expression."""
    positions: dict[object, int] = {}
    for position, item in enumerate(outputs.items, 1):
        positions.setdefault(build_expression_key(item.expr), position)
    return positions


def _build_position_order_item(item: OrderItem, position: int) -> OrderItem:
    """Build the item of ORDER BY that sorts by an output column."""
    meta = ValueMetadata(INT32, constant=True, nullable=False)
    position_literal = Literal(position, text_offset=item.expr.text_offset, meta=meta)
    return OrderItem(position_literal, item.descending, text_offset=item.text_offset)
