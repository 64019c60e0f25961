"""EngineDialect: what the SQL of our engines says alike. ADQL means the same in both, and both keep a shape as a list of its numbers.

`hven.adql.sql.Dialect` is SQL as standards have it; here is what ADQL wants beside that, and the names of the functions that both
engines are given (``hven_..``). An engine's own dialect says the words in which its database differs.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, ClassVar

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.sql import Dialect
from hven.adql.tree import Function, Literal
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from hven.adql.sql import Writer
    from hven.adql.tree import Binary, Cast, Expr
    from hven.model.types import Type

TOLERANCE = "2.8e-13"  # degrees: hven.model.sky.sphere.TOLERANCE, so that all roads draw the same rim
SPACE = "' ' || chr(9) || chr(10) || chr(13)"
_NORMAL = "({0} + {1} * sqrt(-2 * ln(1 - random())) * cos(2 * pi() * random()))"  # Box and Muller
_OVER = frozenset({"SUM", "AVG", "STDDEV", "VARIANCE", "MIN", "MAX"})  # whose methods can write a window
_ORDERED = {
    "SUM": "sum",
    "AVG": "avg",
    "STDDEV": "stddev_samp",
    "VARIANCE": "var_samp",
}  # of floats: each order of rows has its own last bits
MJD = "-678575 AND 2973483"  # the years 1 to 9999
_SHAPES = frozenset({"POINT", "CIRCLE", "POLYGON"})

FUNCTIONS: dict[str, str] = {
    "ABS": "abs({0})", "CEILING": "ceil({0})", "DEGREES": "degrees({0})", "FLOOR": "floor({0})", "MOD": ".remainder", "PI": "pi()",
    "LOG": "CASE WHEN {0} > 0 THEN ln({0}) END", "LOG10": "CASE WHEN {0} > 0 THEN log10({0}) END", "SQRT": "CASE WHEN {0} >= 0 THEN sqrt({0}) END",
    "RADIANS": "radians({0})", "RAND": ".random", "ROUND": ".rounded", "TRUNCATE": ".rounded", "SIGN": "CAST(sign({0}) AS INTEGER)",
    "ACOS": "CASE WHEN {0} BETWEEN -1 AND 1 THEN acos({0}) END", "ASIN": "CASE WHEN {0} BETWEEN -1 AND 1 THEN asin({0}) END",
    "ATAN": "atan({0})", "ATAN2": "atan2({0}, {1})", "COS": "cos({0})", "COT": "(cos({0}) / nullif(sin({0}), 0))", "SIN": "sin({0})", "TAN": "tan({0})",
    "COUNT": "count({0})", "SUM": ".total", "STDDEV": ".spread", "VARIANCE": ".spread",
    "COALESCE": ".coalesced", "GREATEST": ".coalesced", "LEAST": ".coalesced", "NULLIF": "nullif({0}, {1})",
    "POINT": ".shape", "CIRCLE": ".shape", "POLYGON": ".shape", "BOX": ".box", "REGION": "{0}", "AREA": ".area", "CENTROID": ".centroid", "MOC": ".moc",
    "COORD1": "({0})[1]", "COORD2": "({0})[2]", "DISTANCE": ".distance", "IVO_HEALPIX_INDEX": ".healpix",
    "IVO_STRING_AGG": ".together", "ADD_MONTHS": ".later",
    "IVO_INTERVAL_OVERLAPS": "CAST(({0} <= {1} AND {2} <= {3} AND {0} <= {3} AND {2} <= {1}) AS INTEGER)",
    "IVO_HMS_TO_DEGREES": "(15 * hven_sexagesimal({0}))", "IVO_DMS_TO_DEGREES": "hven_sexagesimal({0})",
    "IVO_HISTOGRAM": ".histogram", "GAVO_HISTOGRAM": ".histogram", "IVO_NORMAL_RANDOM": _NORMAL, "GAVO_NORMAL_RANDOM": _NORMAL,
    "SUBSTRING": "substring({*})", "TRIM": "trim({0}, " + SPACE + ")", "REPLACE": "replace({*})", "LENGTH": "length({0})", "CONCAT": ".concatenated",
    "REGEXP_REPLACE": "regexp_replace({0}, {1}, {2}, 'g')",
}  # fmt: skip


class EngineDialect(Dialect):
    """How our engines write ADQL; each says its own words.

    Attributes
    ----------
    text
        The type of texts.
    whole_division
        The operator that divides whole numbers and cuts towards zero.
    exclusive_or
        Template of ``x ^ y``.
    """

    text: ClassVar[str] = "VARCHAR"
    whole_division: ClassVar[str] = "/"
    exclusive_or: ClassVar[str] = "({0} # {1})"

    # --- operators

    def operation(self, op: str, left: str, right: str) -> str:
        """Write an operation; ``||`` joins text, ``^`` is exclusive or."""
        if op == "||":  # a bare NULL would have no type, or that of a number
            return f"({left if left != 'NULL' else f'CAST(NULL AS {self.text})'} || {right})"
        return self.exclusive_or.format(left, right) if op == "^" else super().operation(op, left, right)

    def modulo(self, left: str, right: str, *, whole: bool) -> str:  # noqa: ARG002  (dialects look at it)
        """Write a remainder with the sign of the first; by zero it is NULL."""
        return f"({left} % nullif({right}, 0))"

    def arithmetic(self, node: Binary, left: str, right: str) -> str:
        """Write an operation on numbers that is no division."""
        if node.op == "%":
            return self.modulo(left, right, whole=meta(node).type.is_integer)
        return self.operation(node.op, left, right)

    def remainder(self, writer: Writer, node: Function) -> str:
        """Write MOD."""
        left, right = (writer.expr(arg) for arg in node.args)
        return self.modulo(left, right, whole=all(meta(arg).type.is_integer for arg in node.args))

    def quotient(self, node: Binary, left: str, right: str) -> str:
        """Divide: whole numbers are cut towards zero; by zero gives NULL."""
        type_ = meta(node).type
        if type_.is_integer:
            return f"({self.cast(left, type_)} {self.whole_division} nullif({right}, 0))"
        if type_ == FLOAT64:
            left = self.double(left, node.left)
        return f"({left} / nullif({right}, 0))"

    # --- conversions

    def double(self, text: str, node: Expr) -> str:
        """Write a number as DOUBLE PRECISION."""
        return (
            text
            if meta(node).type == FLOAT64 and not isinstance(node, Literal)
            else f"CAST({text} AS {self.type_name(FLOAT64)})"
        )

    def doubles(self, writer: Writer, nodes: tuple[Expr, ...]) -> list[str]:
        """Write numbers as DOUBLE PRECISION."""
        return [self.double(writer.expr(node), node) for node in nodes]

    def converted(self, writer: Writer, node: Cast) -> str:
        """Write ADQL's CAST: CHAR(n) is filled up, timestamps are ISO text, shapes are read from DALI text."""
        text = writer.expr(node.operand)
        type_ = meta(node).type
        have, wanted = kinds.kind_of(meta(node.operand).type), kinds.kind_of(type_)
        if wanted == "text":
            text = self.shown(writer, text, node.operand)
            if node.length is None:
                return text
            return (
                f"rpad({text}, {node.length}, ' ')" if node.target.upper() == "CHAR" else f"left({text}, {node.length})"
            )
        if have == "text" and wanted in {"point", "circle", "polygon"}:
            return self.shape_of(f"regexp_split_to_array(trim({text}, {SPACE}), '[\\s,]+')", type_)
        return self.changed(text, have, type_)

    def changed(self, text: str, have: str, type_: Type) -> str:  # noqa: ARG002  (dialects look at it)
        """Convert a value of the kind `have` (`kinds.kind_of`) to a type that is no text."""
        return self.cast(text, type_)

    @abstractmethod
    def shape_of(self, numbers: str, type_: Type) -> str:
        """Make a shape of an array of texts, which are its numbers."""

    # --- text

    def as_text(self, text: str, node: Expr) -> str:
        """Write a value as text."""
        type_ = meta(node).type
        kind = kinds.kind_of(type_)
        if kind == "time":
            return f"replace(CAST({text} AS {self.text}), ' ', 'T')"
        if kind == "number" and not type_.is_integer:
            return self.float_text(text, type_)
        return text if kind == "text" and not isinstance(node, Literal) else f"CAST({text} AS {self.text})"

    def float_text(self, text: str, type_: Type) -> str:  # noqa: ARG002  (dialects look at it)
        """Write a floating-point number as text."""
        return f"CAST({text} AS {self.text})"

    def shown(self, writer: Writer, text: str, node: Expr) -> str:
        """Write any value as text; shapes and arrays as their numbers (DALI 1.1 section 3.3)."""
        kind = kinds.kind_of(meta(node).type)
        if kind in {"region", "moc"}:
            return text
        if kind in kinds.GEOMETRY:
            return self.joined(self.numbers(writer, node), meta(node).type)
        return self.joined(text, meta(node).type) if kind in {"array", "interval"} else self.as_text(text, node)

    @abstractmethod
    def joined(self, numbers: str, type_: Type) -> str:
        """Write an array as text, with spaces between its elements; `type_` is that of the whole."""

    def concatenated(self, writer: Writer, node: Function) -> str:
        """CONCAT: everything as text."""
        return f"concat({', '.join(self.as_text(writer.expr(arg), arg) for arg in node.args)})"

    # --- functions

    def random(self, writer: Writer, node: Function) -> str:  # noqa: ARG002  (one signature for all)
        """RAND: the seed has no defined meaning."""
        return "random()"

    def coalesced(self, writer: Writer, node: Function) -> str:
        """COALESCE, GREATEST, LEAST."""
        return f"{node.name.lower()}({', '.join(self.branch(writer, arg, meta(node).type) for arg in node.args)})"

    def total(self, writer: Writer, node: Function, window: str = "") -> str:
        """SUM: whole numbers in 64 bits, floats in double."""
        text = writer.expr(node.args[0])
        distinct = "DISTINCT " if node.distinct else ""
        if meta(node).type.is_integer:
            return self.cast(f"sum({distinct}{text}) {window}".rstrip(), meta(node).type)
        return f"sum({distinct}{self.double(text, node.args[0])}) {window}".rstrip()

    def spread(self, writer: Writer, node: Function, window: str = "") -> str:
        """STDDEV and VARIANCE of a sample, in double."""
        name = "stddev_samp" if node.name == "STDDEV" else "var_samp"
        return f"{name}({'DISTINCT ' if node.distinct else ''}{self.double(writer.expr(node.args[0]), node.args[0])}) {window}".rstrip()

    def steadied(self, writer: Writer, node: Function) -> str | None:
        """Write sums and means of floats, and joined texts, over values in their order: equal values may stand in any."""
        name = _ORDERED.get(node.name)
        distinct = "DISTINCT " if node.distinct else ""
        if node.name == "IVO_STRING_AGG":
            return self.together(writer, node, " ORDER BY ")
        if name is None or (name == "sum" and meta(node).type.is_integer):
            return None
        return self.in_order(name, distinct, self.double(writer.expr(node.args[0]), node.args[0]))

    def together(self, writer: Writer, node: Function, order: str = "") -> str:
        """IVO_STRING_AGG, the texts in their own order if `order` asks for it."""
        text, delimiter = (writer.expr(arg) for arg in node.args)
        return f"string_agg({'DISTINCT ' if node.distinct else ''}{text}, {delimiter}{order and order + text})"

    def in_order(self, name: str, distinct: str, text: str) -> str:
        """Write an aggregate of numbers over them in order."""
        return f"{name}({distinct}{text} ORDER BY {text})"

    def over(self, writer: Writer, node: Function, window: str) -> str:
        """Write a function over a window: sums and means as without one."""
        template = self.functions.get(node.name) or ""
        if node.name in _OVER and template.startswith("."):
            made: str = getattr(self, template[1:])(writer, node, window)
            return made
        return super().over(writer, node, window)

    # --- shapes

    def coordinate(self, shape: str, place: int) -> str:
        """Write one number of a shape."""
        return f"({shape})[{place}]"

    @abstractmethod
    def listing(self, numbers: str) -> str:
        """Write a list of doubles; `numbers` has commas between them."""

    @abstractmethod
    def numbers(self, writer: Writer, node: Expr) -> str:
        """Write a shape as the list of its numbers."""

    def coordinates(self, writer: Writer, node: Expr) -> tuple[str, str]:
        """Write longitude and latitude of a point."""
        if isinstance(node, Function) and node.name == "POINT":
            lon, lat = self.doubles(writer, node.args)
            return lon, lat
        text = writer.expr(node)
        return self.coordinate(text, 1), self.coordinate(text, 2)

    def circle(self, writer: Writer, node: Expr) -> tuple[str, str, str]:
        """Write longitude, latitude and radius of a circle."""
        if isinstance(node, Function) and node.name == "CIRCLE":
            if len(node.args) == 3:
                lon, lat, radius = self.doubles(writer, node.args)
                return lon, lat, radius
            return *self.coordinates(writer, node.args[0]), self.double(writer.expr(node.args[1]), node.args[1])
        text = writer.expr(node)
        return self.coordinate(text, 1), self.coordinate(text, 2), self.coordinate(text, 3)

    def listed(self, writer: Writer, node: Function) -> str:
        """POINT, CIRCLE, POLYGON as a list of numbers, NULL if one of them is."""
        numbers = self._arguments(writer, node)
        known: list[bool] = []
        for arg in node.args:
            inner = arg.args if isinstance(arg, Function) and arg.name == "POINT" else (arg,)
            if kinds.kind_of(meta(arg).type) == "point" and len(inner) != 2:
                inner = (arg, arg)
            known.extend(isinstance(item, Literal) and item.value is not None for item in inner)
        made = self.listing(", ".join(numbers))
        tests = [f"{text} IS NULL" for text, sure in zip(numbers, known, strict=True) if not sure]
        return f"CASE WHEN {' OR '.join(tests)} THEN NULL ELSE {made} END" if tests else made

    def _arguments(self, writer: Writer, node: Function) -> list[str]:
        """Write the numbers of a shape that is made of numbers and points."""
        numbers: list[str] = []
        for arg in node.args:
            point = kinds.kind_of(meta(arg).type) == "point"
            numbers.extend(self.coordinates(writer, arg) if point else [self.double(writer.expr(arg), arg)])
        return numbers

    def shape(self, writer: Writer, node: Function) -> str:
        """POINT, CIRCLE, POLYGON as they are stored."""
        return self.listed(writer, node)

    def box(self, writer: Writer, node: Function) -> str:
        """BOX: a polygon."""
        return f"hven_box({', '.join(self._arguments(writer, node))})"

    def made(self, writer: Writer, node: Expr) -> str | None:
        """Write a shape that is made in the query as the list of its numbers; None if it is not."""
        return self.listed(writer, node) if isinstance(node, Function) and node.name in _SHAPES else None

    def distance(self, writer: Writer, node: Function) -> str:
        """DISTANCE in degrees."""
        if len(node.args) == 4:
            return f"hven_distance({', '.join(self.doubles(writer, node.args))})"
        numbers = [*self.coordinates(writer, node.args[0]), *self.coordinates(writer, node.args[1])]
        return f"hven_distance({', '.join(numbers)})"

    def later(self, writer: Writer, node: Function) -> str:
        """ADD_MONTHS: the same day of another month, or its last one; a modified Julian date is right to tenths of a millisecond, as FROM_MJD."""
        time, months = (writer.expr(arg) for arg in node.args)
        if meta(node.args[0]).type.is_numeric:
            days = self.double(time, node.args[0])
            tenths = f"CAST(round(({days} - floor({days})) * 864000000) AS INTEGER) * INTERVAL '100 microseconds'"
            time = f"CASE WHEN {days} BETWEEN {MJD} THEN TIMESTAMP '1858-11-17' + CAST(floor({days}) AS INTEGER) * INTERVAL '1 day' + {tenths} END"
        return f"CASE WHEN {months} BETWEEN -12000 AND 12000 THEN ({time}) + CAST({months} AS INTEGER) * INTERVAL '1 month' END"

    def healpix(self, writer: Writer, node: Function) -> str:
        """IVO_HEALPIX_INDEX of two numbers or a point."""
        lon, lat = (
            self.doubles(writer, node.args[1:]) if len(node.args) == 3 else self.coordinates(writer, node.args[1])
        )
        return f"hven_healpix(CAST({writer.expr(node.args[0])} AS INTEGER), {lon}, {lat})"


__all__ = ["FUNCTIONS", "SPACE", "TOLERANCE", "EngineDialect"]
