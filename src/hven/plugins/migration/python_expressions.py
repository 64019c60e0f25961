"""Translate Python expressions of rowmakers into expressions of descriptors, without running them."""

from __future__ import annotations

import ast
import re
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hven.adql.reserved_words import RESERVED_WORDS
from hven.plugins.migration.python_macros import (
    PLACEHOLDER_END,
    PLACEHOLDER_START,
    PROPERTY_PREFIX,
    VARIABLE_PREFIX,
    prepare_python,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

MAX_EXPRESSION_CHARACTERS = 20_000
MAX_VISITED_NODES = 20_000  # of one expression; some are translated twice at each level
MAX_REPEATED_CHARACTERS = 200  # of an operand that is written several times
_OPERATORS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.Mod: "%"}
_COMPARISONS = {
    ast.Eq: "=",
    ast.NotEq: "<>",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
}
_OPPOSITE_SIGNS = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
_MATH_FUNCTIONS = {
    **{name: name.upper() for name in ("sqrt", "sin", "cos", "tan", "exp", "log10", "floor", "degrees", "radians")},
    **{name: name.upper() for name in ("asin", "acos", "atan", "atan2")},
    "log": "LOG",
    "ceil": "CEILING",
    "fabs": "ABS",
    "pow": "POWER",
}
_TEXT_METHODS = {"upper": "UPPER", "lower": "LOWER", "strip": "trim"}
_TIME_PARSERS = {"parseISODT", "parseDate", "parseTimestamp", "parseDefaultDatetime", "parseDefaultDate"}
_NUMBER_PARSERS = {"float", "parseFloat"}
_TIME_CONVERSIONS = {
    "dateTimeToJdn": ("jd", "number"),
    "dateTimeToMJD": ("mjd", "number"),
    "jdnToDateTime": ("from_jd", "time"),
    "jdToDateTime": ("from_jd", "time"),
    "mjdToDateTime": ("from_mjd", "time"),
}


class UnsupportedExpressionError(Exception):
    """The expression has no equivalent in descriptors; the text says which part."""


@dataclass(frozen=True, slots=True)
class TranslatedExpression:
    """An expression of a descriptor.

    Attributes
    ----------
    adql
        The expression.
    kind
        ``string``, ``number``, ``time``, ``region``, ``boolean``, ``null`` or ``any``.
    constant
        The value, if it is a plain constant.
    parts
        If the expression joins texts: its parts, each with whether it is a literal.
    """

    adql: str
    kind: str
    constant: Any = None
    parts: tuple[tuple[bool, str], ...] = ()

    @property
    def is_constant(self) -> bool:
        """Whether the expression is a constant."""
        return self.constant is not None

    def write_template(self) -> str | None:
        """Write a text of several parts as a template; None: it needs an expression."""
        pieces = []
        for is_literal, text in self.parts:
            if is_literal:
                pieces.append(text.replace("{", "{{").replace("}", "}}"))
            elif any(sign in text for sign in '{}:!"'):
                return None
            else:
                pieces.append("{" + text + "}")
        return "".join(pieces) if self.parts else None


def parse_python_expression(code: str) -> ast.expr:
    """Parse an expression, after `@name` and macros were replaced.

    Raises
    ------
    UnsupportedExpressionError
        It is not an expression of Python 3.
    """
    if len(code) > MAX_EXPRESSION_CHARACTERS:
        raise UnsupportedExpressionError("it is longer than 20,000 characters")
    text = prepare_python(code.strip()).replace("\n", " ")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of escapes such as \d in texts
            return ast.parse(text.replace("\\ ", " "), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnsupportedExpressionError("it is not an expression of Python 3") from error


def quote_name(name: str) -> str:
    """Write the name of a column in an expression."""
    if re.fullmatch(r"[A-Za-z]\w*", name, re.ASCII) and name.upper() not in RESERVED_WORDS:
        return name
    return '"' + name.replace('"', '""') + '"'


def quote_text(text: str) -> str:
    """Write a text as a literal."""
    return "'" + text.replace("'", "''") + "'"


class ExpressionTranslator:
    """Translates expressions of one rowmaker.

    Parameters
    ----------
    resolve_variable
        Gives the expression that a variable stands for.
    path_parts
        Parts of the path that DaCHS has for the file of a row, each with whether it is a literal.
    """

    def __init__(
        self,
        resolve_variable: Callable[[str], TranslatedExpression],
        path_parts: tuple[tuple[bool, str], ...] = ((False, "file.path"),),
    ) -> None:
        self._resolve_variable = resolve_variable
        self._path_parts = path_parts
        self._visit_count = 0
        self.text_names: set[str] = set()  # names of source columns that are used as texts

    def translate(self, code: str) -> TranslatedExpression:
        """Translate an expression.

        Raises
        ------
        UnsupportedExpressionError
            It has no equivalent.
        """
        self._visit_count = 0
        return self.translate_node(parse_python_expression(code))

    def translate_node(self, node: ast.expr) -> TranslatedExpression:
        """Translate a node of the syntax tree."""
        self._visit_count += 1
        if self._visit_count > MAX_VISITED_NODES:
            raise UnsupportedExpressionError("it has too many levels")
        translate: Callable[[Any], TranslatedExpression] | None = getattr(
            self, f"_translate_{type(node).__name__.lower()}", None
        )
        if translate is None:
            raise UnsupportedExpressionError(_describe_node(node))
        return translate(node)

    def _translate_text(self, node: ast.expr) -> TranslatedExpression:
        """Translate what is used as a text; a column of the source is then read as one."""
        value = self.translate_node(node)
        if value.kind == "any":
            self.text_names.add(value.adql.strip('"'))
            return TranslatedExpression(value.adql, "string")
        if value.kind == "number":
            return TranslatedExpression(f"CAST({value.adql} AS VARCHAR)", "string")
        return value

    def _translate_constant(self, node: ast.Constant) -> TranslatedExpression:
        value = node.value
        if value is None:
            return TranslatedExpression("NULL", "null")
        if isinstance(value, bool):
            return TranslatedExpression(str(value).upper(), "boolean", value)
        if isinstance(value, int | float):
            text = repr(value).replace("e", "E")
            return TranslatedExpression(text, "number", value)
        if isinstance(value, str):
            return build_text_expression(split_placeholders(value))
        raise UnsupportedExpressionError("it has a constant of an unknown type")

    def _translate_name(self, node: ast.Name) -> TranslatedExpression:
        if node.id.startswith(VARIABLE_PREFIX):
            return self._resolve_variable(node.id.removeprefix(VARIABLE_PREFIX))
        if node.id == f"{PROPERTY_PREFIX}publisher_did":
            return build_text_expression(
                ((True, "ivo://"), (False, "site.authority"), (True, "/~?"), *self._path_parts)
            )
        if node.id.startswith(PROPERTY_PREFIX):
            name = node.id.removeprefix(PROPERTY_PREFIX).replace("__", ".")
            return TranslatedExpression(name, "number" if name in {"file.size", "source.row"} else "string")
        raise UnsupportedExpressionError(f"the name {node.id} belongs to DaCHS or to code in the descriptor")

    def _translate_unaryop(self, node: ast.UnaryOp) -> TranslatedExpression:
        value = self.translate_node(node.operand)
        if isinstance(node.op, ast.Not):
            is_condition = isinstance(node.operand, ast.Compare | ast.BoolOp | ast.UnaryOp)
            adql = self._translate_condition(node) if is_condition else f"NOT ({value.adql})"
            return TranslatedExpression(adql, "boolean")
        if isinstance(node.op, ast.USub):
            constant = -value.constant if isinstance(value.constant, int | float) else None
            return TranslatedExpression(f"-{self._translate_operand(node.operand)}", "number", constant)
        return value

    def _translate_binop(self, node: ast.BinOp) -> TranslatedExpression:
        if isinstance(node.op, ast.Add):
            operands = _list_operands(node)
            values = [self.translate_node(operand) for operand in operands]
            if any(value.kind == "string" for value in values):
                return join_texts(values)
        if isinstance(node.op, ast.Mod) and isinstance(node.left, ast.Constant) and isinstance(node.left.value, str):
            return self._translate_percent_format(node)
        if isinstance(node.op, ast.Pow):
            base, exponent = self.translate_node(node.left), self.translate_node(node.right)
            return TranslatedExpression(f"POWER({base.adql}, {exponent.adql})", "number")
        if isinstance(node.op, ast.FloorDiv):
            return TranslatedExpression(
                f"FLOOR(1.0 * {self._translate_operand(node.left)} / {self._translate_operand(node.right)})", "number"
            )
        sign = _OPERATORS.get(type(node.op))
        if sign is None:
            raise UnsupportedExpressionError(f"the operator {type(node.op).__name__} has no equivalent")
        left, right = self._translate_operand(node.left), self._translate_operand(node.right)
        if sign == "%":  # the result has the sign of the divisor in Python, and that of the dividend in ADQL
            _check_repetition(right)
            return TranslatedExpression(f"({left} % {right} + {right}) % {right}", "number")
        if sign == "/":  # a division of integers keeps its fraction in Python 3, unlike in ADQL
            if re.fullmatch(r"-?\d+", right):
                right += ".0"
            elif "." not in left:
                left = f"1.0 * {left}"
        return TranslatedExpression(f"{left} {sign} {right}", "number")

    def _translate_operand(self, node: ast.expr) -> str:
        value = self.translate_node(node)
        if value.kind in {"string", "region", "boolean", "time"}:
            raise UnsupportedExpressionError(f"it computes with a {value.kind}")
        if isinstance(node, ast.BinOp | ast.IfExp | ast.UnaryOp):
            return f"({value.adql})"
        return value.adql

    def _translate_percent_format(self, node: ast.BinOp) -> TranslatedExpression:
        arguments = list(node.right.elts) if isinstance(node.right, ast.Tuple) else [node.right]
        pieces = re.split(r"(%[-+ 0#]*\d*(?:\.\d+)?[a-zA-Z%])", str(ast.literal_eval(node.left)))
        parts: list[tuple[bool, str]] = []
        for index, piece in enumerate(pieces):
            if index % 2 == 0:
                parts += split_placeholders(piece)
            elif piece == "%%":
                parts.append((True, "%"))
            elif piece in {"%s", "%d", "%i"} and arguments:
                parts += _list_parts(self.translate_node(arguments.pop(0)))
            else:
                raise UnsupportedExpressionError(f"the format {piece} has no equivalent")
        return build_text_expression(tuple(parts))

    def _translate_joinedstr(self, node: ast.JoinedStr) -> TranslatedExpression:
        parts: list[tuple[bool, str]] = []
        for piece in node.values:
            if isinstance(piece, ast.Constant):
                parts += split_placeholders(str(piece.value))
            elif isinstance(piece, ast.FormattedValue) and piece.format_spec is None:
                parts += _list_parts(self.translate_node(piece.value))
            else:
                raise UnsupportedExpressionError("a format of an f-string has no equivalent")
        return build_text_expression(tuple(parts))

    def _translate_ifexp(self, node: ast.IfExp) -> TranslatedExpression:
        condition = self._translate_condition(node.test)
        first, second = self.translate_node(node.body), self.translate_node(node.orelse)
        kind = second.kind if first.kind in {"null", "any"} else first.kind
        adql = f"CASE WHEN {condition} THEN {write_value(first)} ELSE {write_value(second)} END"
        return TranslatedExpression(adql, kind)

    def _translate_condition(self, node: ast.expr, *, is_negated: bool = False) -> str:
        """Translate a condition, or its opposite: ``NOT`` of an unknown value is unknown, and true in Python."""
        if isinstance(node, ast.BoolOp):
            word = " AND " if isinstance(node.op, ast.And) != is_negated else " OR "
            return word.join(f"({self._translate_condition(value, is_negated=is_negated)})" for value in node.values)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
            return self._translate_condition(node.operand, is_negated=not is_negated)
        if isinstance(node, ast.Compare) and len(node.ops) == 1:
            return self._translate_comparison(node, is_negated=is_negated)
        value = self.translate_node(node)
        if value.kind == "boolean":
            return f"NOT ({value.adql})" if is_negated else value.adql
        if value.kind in {"any", "string"}:
            return f"{value.adql} IS {'' if is_negated else 'NOT '}NULL"
        if value.kind == "number":  # zero and None are false in Python
            _check_repetition(value.adql)
            return f"({value.adql} = 0 OR {value.adql} IS NULL)" if is_negated else f"({value.adql} <> 0)"
        raise UnsupportedExpressionError("a condition has no equivalent")

    def _translate_comparison(self, node: ast.Compare, *, is_negated: bool) -> str:
        operator, right = node.ops[0], node.comparators[0]
        if isinstance(operator, ast.Is | ast.IsNot):
            if not (isinstance(right, ast.Constant) and right.value is None):
                raise UnsupportedExpressionError("a comparison with `is` has no equivalent")
            negation = "NOT " if isinstance(operator, ast.IsNot) != is_negated else ""
            return f"{self.translate_node(node.left).adql} IS {negation}NULL"
        if isinstance(operator, ast.In | ast.NotIn):
            negation = "NOT " if isinstance(operator, ast.NotIn) != is_negated else ""
            return self._translate_membership(node.left, right, negation)
        sign = _COMPARISONS.get(type(operator))
        if sign is None:
            raise UnsupportedExpressionError("a comparison has no equivalent")
        sign = _OPPOSITE_SIGNS[sign] if is_negated else sign
        sides = [node.left, right]
        values = [
            self._translate_text(side) if _has_text_literal(sides) else self.translate_node(side) for side in sides
        ]
        if "null" in {value.kind for value in values}:
            raise UnsupportedExpressionError("it compares with None")
        condition = f"{values[0].adql} {sign} {values[1].adql}"
        return _add_missing_values(condition, values) if sign == "<>" else condition

    def _translate_membership(self, left: ast.expr, right: ast.expr, negation: str) -> str:
        if isinstance(right, ast.List | ast.Tuple | ast.Set):
            value = self._translate_text(left) if _has_text_literal(right.elts) else self.translate_node(left)
            members = ", ".join(self.translate_node(member).adql for member in right.elts)
            condition = f"{value.adql} {negation}IN ({members})"
            return _add_missing_values(condition, [value]) if negation else condition
        if isinstance(left, ast.Constant) and isinstance(left.value, str):
            text = self._translate_text(right).adql
            return f"replace({text}, {quote_text(left.value)}, '') {'=' if negation else '<>'} {text}"
        raise UnsupportedExpressionError("a comparison with `in` has no equivalent")

    def _translate_compare(self, node: ast.Compare) -> TranslatedExpression:
        return TranslatedExpression(self._translate_condition(node), "boolean")

    def _translate_boolop(self, node: ast.BoolOp) -> TranslatedExpression:
        values = [self.translate_node(value) for value in node.values]
        if isinstance(node.op, ast.Or) and all(value.kind != "boolean" for value in values):
            return TranslatedExpression(f"COALESCE({', '.join(value.adql for value in values)})", values[-1].kind)
        if isinstance(node.op, ast.And) and values[-1].kind != "boolean":  # `@x and f(@x)`: a missing x stays missing
            if any(value.kind not in {"any", "string", "time"} for value in values[:-1]):
                raise UnsupportedExpressionError("the value of `and` has no equivalent")
            condition = " AND ".join(self._translate_condition(value) for value in node.values[:-1])
            return TranslatedExpression(f"CASE WHEN {condition} THEN {values[-1].adql} END", values[-1].kind)
        return TranslatedExpression(self._translate_condition(node), "boolean")

    def _translate_subscript(self, node: ast.Subscript) -> TranslatedExpression:
        index = node.slice
        if isinstance(index, ast.Slice):
            return self._translate_slice(node.value, index)
        if isinstance(node.value, ast.Call) and isinstance(node.value.func, ast.Attribute):
            call, method = node.value, node.value.func
            if method.attr == "split" and isinstance(index, ast.Constant | ast.UnaryOp):
                return self._translate_split(method.value, call.args, ast.literal_eval(index))
            if method.attr == "splitext" and ast.literal_eval(index) == 0:
                text = self._translate_text(call.args[0]).adql
                return TranslatedExpression(f"regexp_replace({text}, '[.][^./]*$', '')", "string")
        raise UnsupportedExpressionError("an element of a list has no equivalent")

    def _translate_split(self, value: ast.expr, arguments: Sequence[ast.expr], index: int) -> TranslatedExpression:
        text = self._translate_text(value).adql
        if len(arguments) != 1 or not isinstance(arguments[0], ast.Constant):
            raise UnsupportedExpressionError("split() has no equivalent here")
        separator = str(arguments[0].value)
        if index >= 0:
            return TranslatedExpression(f"split_part({text}, {quote_text(separator)}, {index + 1})", "string")
        if len(separator) != 1:
            raise UnsupportedExpressionError("split() from the end has no equivalent here")
        signs = re.escape(separator) if separator in "\\]^-" else separator
        pattern = f"([^{signs}]*)" + f"[{signs}][^{signs}]*" * (-index - 1) + "$"
        return TranslatedExpression(f"regexp_extract({text}, {quote_text(pattern)}, 1)", "string")

    def _translate_slice(self, value: ast.expr, index: ast.Slice) -> TranslatedExpression:
        text = self._translate_text(value)
        if text.kind != "string" or index.step is not None:
            raise UnsupportedExpressionError("a part of a list has no equivalent")
        try:
            start = 0 if index.lower is None else ast.literal_eval(index.lower)
            stop = None if index.upper is None else ast.literal_eval(index.upper)
        except ValueError as error:
            raise UnsupportedExpressionError("a part with computed limits has no equivalent") from error
        if start < 0:
            begin = f"length({text.adql}) - {-start - 1}"
        else:
            begin = str(start + 1)
        if stop is None:
            return TranslatedExpression(f"substring({text.adql}, {begin})", "string")
        if stop < 0 <= start:
            return TranslatedExpression(
                f"substring({text.adql}, {begin}, length({text.adql}) - {start - stop})", "string"
            )
        if start < 0 and stop >= 0:
            raise UnsupportedExpressionError("a part from the end to the beginning has no equivalent")
        return TranslatedExpression(f"substring({text.adql}, {begin}, {stop - start})", "string")

    def _translate_call(self, node: ast.Call) -> TranslatedExpression:
        name = ast.unparse(node.func)
        if isinstance(node.func, ast.Attribute):
            method = self._translate_method(node, node.func)
            if method is not None:
                return method
        if name == "parseWithNull":
            return self._translate_null_parser(node)
        translators = (
            self._translate_number_call,
            self._translate_conversion_call,
            self._translate_time_call,
            self._translate_region,
            self._translate_file_call,
        )
        for translate in translators:
            value = translate(name, node.args)
            if value is not None:
                return value
        raise UnsupportedExpressionError(f"the function {name} has no equivalent")

    def _translate_number_call(self, name: str, arguments: Sequence[ast.expr]) -> TranslatedExpression | None:
        short_name = name.rpartition(".")[2]
        adql = None
        if name == "abs":
            adql = f"ABS({self._join_arguments(arguments)})"
        elif name == "round":
            adql = f"ROUND({self._join_arguments(arguments)})"
        elif name == "len":
            adql = f"length({self._translate_text(arguments[0]).adql})"
        elif name in {"min", "max"} and len(arguments) > 1:
            function = "least" if name == "min" else "greatest"
            adql = f"{function}({self._join_arguments(arguments)})"
        elif name.startswith("math.") and short_name in _MATH_FUNCTIONS:
            adql = f"{_MATH_FUNCTIONS[short_name]}({self._join_arguments(arguments)})"
        elif name in {"hmsToDeg", "dmsToDeg"}:
            suffix = ", 'hour'" if name == "hmsToDeg" else ""
            adql = f"sexagesimal({self._translate_text(arguments[0]).adql}{suffix})"
        return None if adql is None else TranslatedExpression(adql, "number")

    def _translate_conversion_call(self, name: str, arguments: Sequence[ast.expr]) -> TranslatedExpression | None:
        if name not in {*_NUMBER_PARSERS, "int", "parseInt", "str", "unicode"}:
            return None
        value = self.translate_node(arguments[0])
        if name in {"str", "unicode"}:
            adql = value.adql if value.kind == "string" else f"CAST({value.adql} AS VARCHAR)"
            return TranslatedExpression(adql, "string")
        if name in _NUMBER_PARSERS:
            adql = value.adql if value.kind == "number" else f"CAST({value.adql} AS DOUBLE PRECISION)"
        elif value.kind == "number":  # int() cuts off, and a cast to an integer rounds
            adql = f"CAST(TRUNCATE({value.adql}) AS BIGINT)"
        else:
            adql = f"CAST({value.adql} AS BIGINT)"
        return TranslatedExpression(adql, "number")

    def _translate_time_call(self, name: str, arguments: Sequence[ast.expr]) -> TranslatedExpression | None:
        short_name = name.rpartition(".")[2]
        if short_name in _TIME_PARSERS:
            text = self._translate_text(arguments[0]).adql
            form = "".join(f", {self.translate_node(argument).adql}" for argument in arguments[1:2])
            return TranslatedExpression(f"parse_time({text}{form})", "time")
        if short_name not in _TIME_CONVERSIONS:
            return None
        function, kind = _TIME_CONVERSIONS[short_name]
        value = self.translate_node(arguments[0])
        if kind == "number" and value.kind == "any":
            value = TranslatedExpression(f"parse_time({value.adql})", "time")
        return TranslatedExpression(f"{function}({value.adql})", kind)

    def _translate_file_call(self, name: str, arguments: Sequence[ast.expr]) -> TranslatedExpression | None:
        if name in {"os.path.basename", "basename"}:
            value = self._translate_text(arguments[0])
            if value.adql == "file.path":
                return TranslatedExpression("file.name", "string")
            return TranslatedExpression(f"regexp_extract({value.adql}, '[^/]*$')", "string")
        if name == "os.path.getsize":
            return self._translate_file_property(arguments[0], "file.size", "number")
        if name.endswith("fromtimestamp") and ast.unparse(arguments[0]).startswith("os.path.getmtime"):
            call = arguments[0]
            if isinstance(call, ast.Call):
                return self._translate_file_property(call.args[0], "file.mtime", "time")
        if name.rpartition(".")[2] in {"quote", "quote_plus"} and "url" in name:
            return TranslatedExpression(f"url_encode({self._translate_text(arguments[0]).adql})", "string")
        return None

    def _join_arguments(self, arguments: Sequence[ast.expr]) -> str:
        return ", ".join(self.translate_node(argument).adql for argument in arguments)

    def _translate_file_property(self, node: ast.expr, name: str, kind: str) -> TranslatedExpression:
        if self.translate_node(node).adql != "file.path":
            raise UnsupportedExpressionError("it asks for facts of another file than that of the row")
        return TranslatedExpression(name, kind)

    def _translate_region(self, name: str, arguments: Sequence[ast.expr]) -> TranslatedExpression | None:
        short_name = name.replace("pgsphere.", "")
        if short_name == "SPoint.fromDegrees":
            return TranslatedExpression(f"POINT({self._join_arguments(arguments)})", "region")
        if short_name == "SCircle" and len(arguments) == 2:
            centre = self.translate_node(arguments[0]).adql
            match = re.fullmatch(r"POINT\((.*)\)", centre)
            radius = arguments[1]
            if match and isinstance(radius, ast.Call) and ast.unparse(radius.func).endswith("radians"):
                return TranslatedExpression(f"CIRCLE({match[1]}, {self._join_arguments(radius.args)})", "region")
        if short_name == "SPoly.fromDALI" and len(arguments) == 1 and isinstance(arguments[0], ast.List):
            return TranslatedExpression(f"POLYGON({self._join_arguments(arguments[0].elts)})", "region")
        return None

    def _translate_null_parser(self, node: ast.Call) -> TranslatedExpression:
        keywords = {keyword.arg: keyword.value for keyword in node.keywords}
        arguments = [*node.args, *(keywords[name] for name in ("literalParser", "nullLiteral") if name in keywords)]
        if len(arguments) < 3 or not isinstance(arguments[2], ast.Constant):
            raise UnsupportedExpressionError("parseWithNull has other arguments than usual")
        parser = ast.unparse(arguments[1])
        text = self._translate_text(arguments[0]).adql
        value = f"nullif(trim({text}), {quote_text(str(arguments[2].value))})"
        if parser in {"str", "unicode"}:
            return TranslatedExpression(value, "string")
        if parser in {"float", "int"}:
            target = "DOUBLE PRECISION" if parser == "float" else "BIGINT"
            return TranslatedExpression(f"CAST({value} AS {target})", "number")
        raise UnsupportedExpressionError(f"parseWithNull calls {parser}")

    def _translate_method(self, node: ast.Call, function: ast.Attribute) -> TranslatedExpression | None:
        name, arguments = function.attr, node.args
        if isinstance(function.value, ast.Constant) and not node.keywords:
            if name == "format":
                return self._translate_brace_format(str(function.value.value), arguments)
            if name == "join" and len(arguments) == 1:
                return self._translate_join(function.value, arguments[0])
        adql = None
        kind = "string"
        if name in _TEXT_METHODS and not arguments:
            adql = f"{_TEXT_METHODS[name]}({self._translate_text(function.value).adql})"
        elif name == "replace" and len(arguments) == 2:
            adql = f"replace({self._translate_text(function.value).adql}, {self._join_arguments(arguments)})"
        elif name == "capitalize" and not arguments:
            text = self._translate_text(function.value).adql
            adql = f"UPPER(substring({text}, 1, 1)) || LOWER(substring({text}, 2))"
        elif name in {"startswith", "endswith"} and len(arguments) == 1 and isinstance(arguments[0], ast.Constant):
            value, text = str(arguments[0].value), self._translate_text(function.value).adql
            begin = f"1, {len(value)}" if name == "startswith" else f"length({text}) - {len(value) - 1}"
            adql, kind = f"substring({text}, {begin}) = {quote_text(value)}", "boolean"
        return None if adql is None else TranslatedExpression(adql, kind)

    def _translate_join(self, separator: ast.Constant, members: ast.expr) -> TranslatedExpression:
        if not isinstance(members, ast.List | ast.Tuple):
            raise UnsupportedExpressionError("join() of a computed list has no equivalent")
        values: list[TranslatedExpression] = []
        for member in members.elts:
            if values and separator.value:
                values.append(self.translate_node(separator))
            values.append(self.translate_node(member))
        return join_texts(values)

    def _translate_brace_format(self, template: str, arguments: Sequence[ast.expr]) -> TranslatedExpression:
        pieces = re.split(r"\{(\d*)\}", template)
        if any("{" in piece or "}" in piece for piece in pieces[::2]):
            raise UnsupportedExpressionError("a format has no equivalent")
        parts: list[tuple[bool, str]] = []
        for index, piece in enumerate(pieces):
            if index % 2 == 0:
                parts += split_placeholders(piece)
                continue
            number = int(piece) if piece else index // 2
            if number >= len(arguments):
                raise UnsupportedExpressionError("a format has too few arguments")
            parts += _list_parts(self.translate_node(arguments[number]))
        return build_text_expression(tuple(parts))


def write_value(expression: TranslatedExpression) -> str:
    """Write an expression where a value must be, which a condition is not: it is false for a missing value."""
    if expression.kind != "boolean" or expression.is_constant or expression.adql.startswith("CASE "):
        return expression.adql
    return f"CASE WHEN {expression.adql} THEN TRUE ELSE FALSE END"


def split_placeholders(text: str) -> tuple[tuple[bool, str], ...]:
    """Divide a text at the names that macros left in it."""
    pieces = re.split(f"{PLACEHOLDER_START}([^{PLACEHOLDER_END}]*){PLACEHOLDER_END}", text)
    return tuple((index % 2 == 0, piece) for index, piece in enumerate(pieces) if piece)


def build_text_expression(parts: tuple[tuple[bool, str], ...]) -> TranslatedExpression:
    """Build the expression of a text from its parts."""
    if all(is_literal for is_literal, _ in parts):
        constant = "".join(text for _, text in parts)
        return TranslatedExpression(quote_text(constant), "string", constant)
    adql = ", ".join(quote_text(text) if is_literal else text for is_literal, text in parts)
    return TranslatedExpression(f"concat({adql})", "string", parts=parts)


def join_texts(values: Sequence[TranslatedExpression]) -> TranslatedExpression:
    """Join the parts of a text."""
    return build_text_expression(tuple(part for value in values for part in _list_parts(value)))


def _list_parts(value: TranslatedExpression) -> list[tuple[bool, str]]:
    if value.parts:
        return list(value.parts)
    if value.is_constant:
        return [(True, str(value.constant))]
    return [(False, value.adql)]


def _list_operands(node: ast.expr) -> list[ast.expr]:
    """List the operands of a chain of additions, without recursion."""
    operands: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        operands.append(node.right)
        node = node.left
    return [node, *reversed(operands)]


def _check_repetition(adql: str) -> None:
    """Refuse to write a long operand several times: inside each other, such operands grow without end."""
    if len(adql) > MAX_REPEATED_CHARACTERS:
        raise UnsupportedExpressionError("an operand is too long")


def _add_missing_values(condition: str, values: Sequence[TranslatedExpression]) -> str:
    """Let a condition of inequality be true for a missing value, too, as None differs from all others in Python."""
    operands = [value.adql for value in values if not value.is_constant]
    if len(operands) > 1:
        raise UnsupportedExpressionError("two values that may be missing are compared")
    for operand in operands:
        _check_repetition(operand)
        condition = f"({condition} OR {operand} IS NULL)"
    return condition


def _has_text_literal(nodes: Sequence[ast.expr]) -> bool:
    return any(isinstance(node, ast.Constant) and isinstance(node.value, str) for node in nodes)


def _describe_node(node: ast.expr) -> str:
    words = {"ListComp": "a list comprehension", "Lambda": "a lambda", "Dict": "a dictionary", "List": "a list"}
    return f"{words.get(type(node).__name__, ast.unparse(node)[:40])} has no equivalent"
