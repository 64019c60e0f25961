"""EngineDialect: what the SQL of our engines says alike.

ADQL means the same in both, and both keep a shape as a list of its numbers.

`hven.adql.sql_writer.SqlDialect` is SQL as standards have it; here is what ADQL wants beside that, and the names of the
functions that both engines are given (``hven_..``). An engine's own dialect says the words in which its database
differs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from hven.adql import value_kinds
from hven.adql.sql_writer import SqlDialect
from hven.adql.syntax_tree import FunctionCall, Literal
from hven.adql.value_kinds import require_meta
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from hven.adql.sql_writer import SqlWriter
    from hven.adql.syntax_tree import BinaryOperation, CastExpression, Expr
    from hven.model.types import ColumnType

TOLERANCE_DEGREES = "2.8e-13"  # as hven.model.sky.sphere.TOLERANCE_DEGREES, so that all tests agree on borders
WHITESPACE_SQL = "' ' || chr(9) || chr(10) || chr(13)"
_NORMAL_RANDOM_TEMPLATE = "({0} + {1} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))"  # Box and Muller
_WINDOW_AGGREGATES = frozenset(
    {"SUM", "AVG", "STDDEV", "VARIANCE", "MIN", "MAX"}
)  # functions whose methods can write a window
# the last bits of these aggregates of floats depend on the order of the rows
_ORDER_DEPENDENT_AGGREGATES = {
    "SUM": "sum",
    "AVG": "avg",
    "STDDEV": "stddev_samp",
    "VARIANCE": "var_samp",
}
MJD_RANGE_SQL = "-678575 AND 2973483"  # the years 1 to 9999
_SHAPE_CONSTRUCTORS = frozenset({"POINT", "CIRCLE", "POLYGON"})

FUNCTION_TEMPLATES: dict[str, str] = {
    "ABS": "abs({0})",
    "CEILING": "ceil({0})",
    "DEGREES": "degrees({0})",
    "FLOOR": "floor({0})",
    "MOD": ".write_mod_function",
    "PI": "pi()",
    "LOG": "CASE WHEN {0} > 0 THEN ln({0}) END",
    "LOG10": "CASE WHEN {0} > 0 THEN log10({0}) END",
    "SQRT": "CASE WHEN {0} >= 0 THEN sqrt({0}) END",
    "RADIANS": "radians({0})",
    "RAND": ".write_random",
    "ROUND": ".write_round_or_truncate",
    "TRUNCATE": ".write_round_or_truncate",
    "SIGN": "CAST(sign({0}) AS INTEGER)",
    "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END",
    "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
    "ATAN": "atan({0})",
    "ATAN2": "atan2({0}, {1})",
    "COS": "cos({0})",
    "COT": "(cos({0}) / nullif(sin({0}), 0))",
    "SIN": "sin({0})",
    "TAN": "tan({0})",
    "COUNT": "count({0})",
    "SUM": ".write_sum",
    "STDDEV": ".write_stddev_or_variance",
    "VARIANCE": ".write_stddev_or_variance",
    "COALESCE": ".write_coalesce",
    "GREATEST": ".write_coalesce",
    "LEAST": ".write_coalesce",
    "NULLIF": "nullif({0}, {1})",
    "POINT": ".write_shape",
    "CIRCLE": ".write_shape",
    "POLYGON": ".write_shape",
    "BOX": ".write_box",
    "REGION": "{0}",
    "AREA": ".write_area",
    "CENTROID": ".write_centroid",
    "MOC": ".write_moc",
    "COORD1": "({0})[1]",
    "COORD2": "({0})[2]",
    "DISTANCE": ".write_distance",
    "IVO_HEALPIX_INDEX": ".write_healpix_index",
    "IVO_STRING_AGG": ".write_string_aggregate",
    "ADD_MONTHS": ".write_add_months",
    "IVO_INTERVAL_OVERLAPS": "CAST(({0} <= {1} AND {2} <= {3} AND {0} <= {3} AND {2} <= {1}) AS INTEGER)",
    "IVO_HMS_TO_DEGREES": "(15 * hven_sexagesimal({0}))",
    "IVO_DMS_TO_DEGREES": "hven_sexagesimal({0})",
    "IVO_HISTOGRAM": ".write_histogram",
    "GAVO_HISTOGRAM": ".write_histogram",
    "IVO_NORMAL_RANDOM": _NORMAL_RANDOM_TEMPLATE,
    "GAVO_NORMAL_RANDOM": _NORMAL_RANDOM_TEMPLATE,
    "SUBSTRING": "substring({*})",
    "TRIM": "trim({0}, " + WHITESPACE_SQL + ")",
    "REPLACE": "replace({*})",
    "LENGTH": "length({0})",
    "CONCAT": ".write_concat",
    "REGEXP_REPLACE": "regexp_replace({0}, {1}, {2}, 'g')",
}


class EngineDialect(SqlDialect):
    """Write ADQL in the SQL of an engine; each engine has a subclass.

    Attributes
    ----------
    text_type
        Name of the type of texts.
    integer_division_operator
        The operator that divides integers and rounds towards zero.
    exclusive_or_template
        Template of ``x ^ y``.

    Common
    ------
    nodes
        Bound nodes to write.
    is_integer
        True if the operands are whole numbers.
    value_kind, type_
        The kind of a value (`value_kinds.classify_type`), and the type that the SQL is to have.
    numbers_sql, array_sql, shape_sql, value_sql
        The SQL of numbers with commas between them, of an array, of a shape, of the values of an aggregate.
    number
        Which number of a shape, from 1.
    over_clause, order_clause
        The window, or ``ORDER BY`` of an aggregate; empty: there is none.
    aggregate_name, distinct
        Name of an aggregate in SQL, and ``DISTINCT`` or an empty text.
    """

    text_type: ClassVar[str] = "VARCHAR"
    integer_division_operator: ClassVar[str] = "/"
    exclusive_or_template: ClassVar[str] = "({0} # {1})"

    # --- operators

    def write_operation(self, operator: str, left_sql: str, right_sql: str) -> str:
        """Write an operation; ``||`` joins text, ``^`` is exclusive or."""
        if operator == "||":  # a bare NULL would have no type, or that of a number
            return f"({left_sql if left_sql != 'NULL' else f'CAST(NULL AS {self.text_type})'} || {right_sql})"
        if operator == "^":
            return self.exclusive_or_template.format(left_sql, right_sql)
        return super().write_operation(operator, left_sql, right_sql)

    # dialects look at it
    def write_modulo(self, left_sql: str, right_sql: str, *, is_integer: bool) -> str:  # noqa: ARG002
        """Write a remainder with the sign of the first; by zero it is NULL."""
        return f"({left_sql} % nullif({right_sql}, 0))"

    def write_arithmetic(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:
        """Write an operation on numbers that is no division."""
        if node.op == "%":
            return self.write_modulo(left_sql, right_sql, is_integer=require_meta(node).type.is_integer)
        return self.write_operation(node.op, left_sql, right_sql)

    def write_mod_function(self, writer: SqlWriter, node: FunctionCall) -> str:
        """Write MOD."""
        left_sql, right_sql = (writer.write_expression(arg) for arg in node.args)
        is_integer = all(require_meta(arg).type.is_integer for arg in node.args)
        return self.write_modulo(left_sql, right_sql, is_integer=is_integer)

    def write_division(self, node: BinaryOperation, left_sql: str, right_sql: str) -> str:
        """Divide: whole numbers are cut towards zero; by zero gives NULL."""
        type_ = require_meta(node).type
        if type_.is_integer:
            return f"({self.write_cast(left_sql, type_)} {self.integer_division_operator} nullif({right_sql}, 0))"
        if type_ == FLOAT64:
            left_sql = self.write_as_double(left_sql, node.left)
        return f"({left_sql} / nullif({right_sql}, 0))"

    # --- conversions

    def write_as_double(self, sql: str, node: Expr) -> str:
        """Write a number as DOUBLE PRECISION."""
        if require_meta(node).type == FLOAT64 and not isinstance(node, Literal):
            return sql
        return f"CAST({sql} AS {self.write_type_name(FLOAT64)})"

    def write_doubles(self, writer: SqlWriter, nodes: tuple[Expr, ...]) -> list[str]:
        """Write numbers as DOUBLE PRECISION.

        Returns
        -------
        texts
            The SQL of each.
        """
        return [self.write_as_double(writer.write_expression(node), node) for node in nodes]

    def write_adql_cast(self, writer: SqlWriter, node: CastExpression) -> str:
        """Write ADQL's CAST: CHAR(n) is filled up, timestamps are ISO text, shapes are read from DALI text."""
        text = writer.write_expression(node.operand)
        type_ = require_meta(node).type
        source_kind = value_kinds.classify_type(require_meta(node.operand).type)
        target_kind = value_kinds.classify_type(type_)
        if target_kind == "text":
            text = self.write_dali_text(writer, text, node.operand)
            if node.length is None:
                return text
            if node.target.upper() == "CHAR":
                return f"rpad({text}, {node.length}, ' ')"
            return f"left({text}, {node.length})"
        if source_kind == "text" and target_kind in {"point", "circle", "polygon"}:
            return self.write_shape_from_texts(
                f"regexp_split_to_array(trim({text}, {WHITESPACE_SQL}), '[\\s,]+')", type_
            )
        return self.write_conversion(text, source_kind, type_)

    def write_conversion(self, sql: str, value_kind: str, type_: ColumnType) -> str:  # noqa: ARG002  (dialects use it)
        """Convert a value of the kind `value_kind` (`value_kinds.classify_type`) to a type that is no text."""
        return self.write_cast(sql, type_)

    @abstractmethod
    def write_shape_from_texts(self, numbers_sql: str, type_: ColumnType) -> str:
        """Make a shape of an array of texts, which are its numbers."""

    # --- text

    def write_as_text(self, sql: str, node: Expr) -> str:
        """Write a value as text."""
        type_ = require_meta(node).type
        kind = value_kinds.classify_type(type_)
        if kind == "time":
            return f"replace(CAST({sql} AS {self.text_type}), ' ', 'T')"
        if kind == "number" and not type_.is_integer:
            return self.write_float_text(sql, type_)
        if kind == "text" and not isinstance(node, Literal):
            return sql
        return f"CAST({sql} AS {self.text_type})"

    def write_float_text(self, sql: str, type_: ColumnType) -> str:  # noqa: ARG002  (dialects use it)
        """Write a floating-point number as text."""
        return f"CAST({sql} AS {self.text_type})"

    def write_dali_text(self, writer: SqlWriter, sql: str, node: Expr) -> str:
        """Write any value as text; shapes and arrays as their numbers (DALI 1.1 section 3.3)."""
        kind = value_kinds.classify_type(require_meta(node).type)
        if kind in {"region", "moc"}:
            return sql
        if kind in value_kinds.GEOMETRY_KINDS:
            return self.write_array_as_text(self.write_shape_numbers(writer, node), require_meta(node).type)
        if kind in {"array", "interval"}:
            return self.write_array_as_text(sql, require_meta(node).type)
        return self.write_as_text(sql, node)

    @abstractmethod
    def write_array_as_text(self, array_sql: str, type_: ColumnType) -> str:
        """Write an array as text, with spaces between its elements; `type_` is that of the whole."""

    def write_concat(self, writer: SqlWriter, node: FunctionCall) -> str:
        """CONCAT: everything as text."""
        return f"concat({', '.join(self.write_as_text(writer.write_expression(arg), arg) for arg in node.args)})"

    # --- functions

    def write_random(self, writer: SqlWriter, node: FunctionCall) -> str:  # noqa: ARG002  (one signature for all)
        """RAND: the seed has no defined meaning."""
        return "random()"

    def write_coalesce(self, writer: SqlWriter, node: FunctionCall) -> str:
        """COALESCE, GREATEST, LEAST."""
        result_type = require_meta(node).type
        branches = [self.write_case_branch(writer, arg, result_type) for arg in node.args]
        return f"{node.name.lower()}({', '.join(branches)})"

    def write_sum(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """SUM: whole numbers in 64 bits, floats in double."""
        text = writer.write_expression(node.args[0])
        distinct = "DISTINCT " if node.distinct else ""
        if require_meta(node).type.is_integer:
            return self.write_cast(f"sum({distinct}{text}) {over_clause}".rstrip(), require_meta(node).type)
        return f"sum({distinct}{self.write_as_double(text, node.args[0])}) {over_clause}".rstrip()

    def write_stddev_or_variance(self, writer: SqlWriter, node: FunctionCall, over_clause: str = "") -> str:
        """STDDEV and VARIANCE of a sample, in double."""
        name = "stddev_samp" if node.name == "STDDEV" else "var_samp"
        distinct = "DISTINCT " if node.distinct else ""
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        return f"{name}({distinct}{value}) {over_clause}".rstrip()

    def write_order_independent_aggregate(self, writer: SqlWriter, node: FunctionCall) -> str | None:
        """Write sums and means of floats, and joined texts, over sorted values, where the order of rows matters."""
        name = _ORDER_DEPENDENT_AGGREGATES.get(node.name)
        distinct = "DISTINCT " if node.distinct else ""
        if node.name == "IVO_STRING_AGG":
            return self.write_string_aggregate(writer, node, " ORDER BY ")
        if name is None or (name == "sum" and require_meta(node).type.is_integer):
            return None
        value = self.write_as_double(writer.write_expression(node.args[0]), node.args[0])
        return self.write_ordered_aggregate(name, distinct, value)

    def write_string_aggregate(self, writer: SqlWriter, node: FunctionCall, order_clause: str = "") -> str:
        """Write IVO_STRING_AGG, over sorted texts if there is an `order_clause`."""
        text, delimiter = (writer.write_expression(arg) for arg in node.args)
        distinct = "DISTINCT " if node.distinct else ""
        order_sql = f"{order_clause}{text}" if order_clause else ""
        return f"string_agg({distinct}{text}, {delimiter}{order_sql})"

    def write_ordered_aggregate(self, aggregate_name: str, distinct: str, value_sql: str) -> str:
        """Write an aggregate over sorted numbers."""
        return f"{aggregate_name}({distinct}{value_sql} ORDER BY {value_sql})"

    def write_window(self, writer: SqlWriter, node: FunctionCall, over_clause: str) -> str:
        """Write a function over a window, with sums and means as without one."""
        template = self.functions.get(node.name) or ""
        if node.name in _WINDOW_AGGREGATES and template.startswith("."):
            window_sql: str = getattr(self, template[1:])(writer, node, over_clause)
            return window_sql
        return super().write_window(writer, node, over_clause)

    # --- shapes

    def write_coordinate(self, shape_sql: str, number: int) -> str:
        """Write one number of a shape."""
        return f"({shape_sql})[{number}]"

    @abstractmethod
    def write_array_of_numbers(self, numbers_sql: str) -> str:
        """Write a list of doubles; `numbers_sql` has commas between them."""

    @abstractmethod
    def write_shape_numbers(self, writer: SqlWriter, node: Expr) -> str:
        """Write a shape as the list of its numbers."""

    def write_point_coordinates(self, writer: SqlWriter, node: Expr) -> tuple[str, str]:
        """Write longitude and latitude of a point."""
        if isinstance(node, FunctionCall) and node.name == "POINT":
            lon, lat = self.write_doubles(writer, node.args)
            return lon, lat
        text = writer.write_expression(node)
        return self.write_coordinate(text, 1), self.write_coordinate(text, 2)

    def write_circle_numbers(self, writer: SqlWriter, node: Expr) -> tuple[str, str, str]:
        """Write longitude, latitude and radius of a circle."""
        if isinstance(node, FunctionCall) and node.name == "CIRCLE":
            if len(node.args) == 3:
                lon, lat, radius = self.write_doubles(writer, node.args)
                return lon, lat, radius
            lon, lat = self.write_point_coordinates(writer, node.args[0])
            return lon, lat, self.write_as_double(writer.write_expression(node.args[1]), node.args[1])
        text = writer.write_expression(node)
        return self.write_coordinate(text, 1), self.write_coordinate(text, 2), self.write_coordinate(text, 3)

    def write_nullable_shape_numbers(self, writer: SqlWriter, node: FunctionCall) -> str:
        """POINT, CIRCLE, POLYGON as a list of numbers, NULL if one of them is."""
        numbers = self._write_shape_arguments(writer, node)
        are_constants: list[bool] = []
        for arg in node.args:
            if isinstance(arg, FunctionCall) and arg.name == "POINT":
                inner = arg.args
            else:
                inner = (arg,)
            if value_kinds.classify_type(require_meta(arg).type) == "point" and len(inner) != 2:
                inner = (arg, arg)
            are_constants.extend(isinstance(item, Literal) and item.value is not None for item in inner)
        list_sql = self.write_array_of_numbers(", ".join(numbers))
        tests = [f"{text} IS NULL" for text, is_constant in zip(numbers, are_constants, strict=True) if not is_constant]
        if tests:
            return f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {list_sql} END"
        return list_sql

    def _write_shape_arguments(self, writer: SqlWriter, node: FunctionCall) -> list[str]:
        """Write the numbers of a shape that is made of numbers and points."""
        numbers: list[str] = []
        for arg in node.args:
            if value_kinds.classify_type(require_meta(arg).type) == "point":
                numbers += self.write_point_coordinates(writer, arg)
            else:
                numbers.append(self.write_as_double(writer.write_expression(arg), arg))
        return numbers

    def write_shape(self, writer: SqlWriter, node: FunctionCall) -> str:
        """POINT, CIRCLE, POLYGON as they are stored."""
        return self.write_nullable_shape_numbers(writer, node)

    def write_box(self, writer: SqlWriter, node: FunctionCall) -> str:
        """BOX: a polygon."""
        return f"hven_box({', '.join(self._write_shape_arguments(writer, node))})"

    def write_constructed_shape(self, writer: SqlWriter, node: Expr) -> str | None:
        """Write a shape that is made in the query as the list of its numbers.

        Returns
        -------
        sql
            None: the query does not make the shape.
        """
        if isinstance(node, FunctionCall) and node.name in _SHAPE_CONSTRUCTORS:
            return self.write_nullable_shape_numbers(writer, node)
        return None

    def write_distance(self, writer: SqlWriter, node: FunctionCall) -> str:
        """DISTANCE in degrees."""
        if len(node.args) == 4:
            return f"hven_distance({', '.join(self.write_doubles(writer, node.args))})"
        numbers = [
            *self.write_point_coordinates(writer, node.args[0]),
            *self.write_point_coordinates(writer, node.args[1]),
        ]
        return f"hven_distance({', '.join(numbers)})"

    def write_add_months(self, writer: SqlWriter, node: FunctionCall) -> str:
        """ADD_MONTHS: the same day of another month, or its last one.

        A modified Julian date is right to tenths of a millisecond, as FROM_MJD.
        """
        time, months = (writer.write_expression(arg) for arg in node.args)
        if require_meta(node.args[0]).type.is_numeric:
            days = self.write_as_double(time, node.args[0])
            tenths = f"CAST(round(({days} - floor({days})) * 864000000) AS INTEGER) * INTERVAL '100 microseconds'"
            time = (
                f"CASE WHEN {days} BETWEEN {MJD_RANGE_SQL} THEN TIMESTAMP '1858-11-17' + CAST(floor({days}) AS "
                f"INTEGER) * INTERVAL '1 day' + {tenths} END"
            )
        return (
            f"CASE WHEN {months} BETWEEN -12000 AND 12000 THEN ({time}) + CAST({months} AS INTEGER) * INTERVAL '1 "
            f"month' END"
        )

    def write_healpix_index(self, writer: SqlWriter, node: FunctionCall) -> str:
        """IVO_HEALPIX_INDEX of two numbers or a point."""
        if len(node.args) == 3:
            lon, lat = self.write_doubles(writer, node.args[1:])
        else:
            lon, lat = self.write_point_coordinates(writer, node.args[1])
        return f"hven_healpix(CAST({writer.write_expression(node.args[0])} AS INTEGER), {lon}, {lat})"
