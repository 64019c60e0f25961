"""SQL text for tables that are read in place, in databases that have none of our functions.

Three things differ from our own tables. Functions of ours are written out, or, where that cannot be, left to the embedded
engine. Text keeps the collation of its column where that changes nothing (``=``), so that the source's indexes serve it, and is
ordered by code points as everywhere. And a plain comparison reads the source's own column, so that its index serves it, even
where a query sees the value in another form (no NaN, times in UTC).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.sql import Writer
from hven.adql.tree import (
    And,
    Between,
    ColumnRef,
    Compare,
    Expr,
    Function,
    Ident,
    Literal,
    Or,
    OrderItem,
    Query,
    Select,
    SelectItem,
    TableRef,
    walk,
)
from hven.engines._bound.constants import constant
from hven.engines.postgres.dialect import Elsewhere, Postgres
from hven.engines.postgres.functions import FUNCTIONS
from hven.engines.postgres.install import quote
from hven.engines.postgres.live_arithmetic import SPELLED, from_days, from_unix
from hven.engines.postgres.places import PGSPHERE, Q3C, WIDE, InShape, Places, Positions
from hven.model.sky import Polygon, sphere

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from hven.adql.tree import FromItem
    from hven.engines import Live
    from hven.engines._bound.constants import Constant
    from hven.engines.postgres.places import Words

    Values = Sequence[float | str | None]

RAW = "hven:raw:"  # begins the name of the source's own column, beside the value made of it
LONGEST = 200_000  # characters; what grows beyond that when it is written out is computed elsewhere
BAND = "band"  # positions found by latitude alone
_ORDERED = frozenset({"<", "<=", ">", ">="})


@dataclass(frozen=True, slots=True)
class Raws:
    """Which columns of a table have their source's own beside them.

    Attributes
    ----------
    guards
        Column -> condition that must stand beside a comparison, ``{0}`` being the raw column; empty if none.
    position
        ``q3c``, ``pgsphere``, or empty: what finds positions.
    """

    guards: Mapping[str, str]
    position: str = ""


# --- our functions, written out --------------------------------------------------------------------------------

_DEFINITION = re.compile(
    r"FUNCTION (hven_\w+)\((.*?)\) RETURNS .*? LANGUAGE sql.*?AS \$\$\s*SELECT (.*?)\s*\$\$", re.DOTALL
)
_CALL = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\bhven_\w+(?=\()""")
_PIECE = re.compile(r"""'(?:[^']|'')*'|"(?:[^"]|"")*"|\w+|[^\w'"]+""")


@lru_cache(maxsize=1)
def _bodies() -> dict[str, tuple[tuple[tuple[str, str], ...], str]]:
    found = {}
    for text in (*FUNCTIONS, *SPELLED):
        match = _DEFINITION.search(text)
        if match is not None and " FROM " not in match[3]:
            arguments = tuple(tuple(part.strip().split(" ", 1)) for part in match[2].split(","))
            found[match[1]] = (arguments, " ".join(match[3].split()))
    return found


def written_out(sql: str) -> str:
    """Replace calls of our functions by what they compute.

    Raises
    ------
    Elsewhere
        One is no expression of SQL, or the text becomes too long.
    """
    parts: list[str] = []
    done = 0
    for match in _CALL.finditer(sql):
        if match.start() < done or not match[0].startswith("hven_"):
            continue
        body = _bodies().get(match[0])
        arguments, end = _arguments(sql, match.end())
        if body is None or len(arguments) != len(body[0]) or any("random()" in one for one in arguments):
            raise Elsewhere(match[0].removeprefix("hven_").upper())
        values = {
            name: f"({one})" if match[0] == "hven_number" else f"CAST({one} AS {kind})"
            for (name, kind), one in zip(body[0], arguments, strict=True)
        }
        text = "".join(values.get(piece, piece) for piece in _PIECE.findall(body[1]))
        parts += [sql[done : match.start()], "(", written_out(text), ")"]
        done = end
        if sum(map(len, parts)) > LONGEST:
            raise Elsewhere(match[0].removeprefix("hven_").upper())
    return "".join([*parts, sql[done:]]) if parts else sql


def _arguments(sql: str, start: int) -> tuple[list[str], int]:
    """Cut the arguments of a call, whose parenthesis opens at `start`; return also where it is over."""
    depth, begin, found, at = 0, start + 1, [], start
    while at < len(sql):
        sign = sql[at]
        if sign in "'\"":
            at = sql.index(sign, at + 1)
        elif sign in "([":
            depth += 1
        elif sign in ")]":
            depth -= 1
            if not depth:
                found.append(sql[begin:at].strip())
                return found, at + 1
        elif sign == "," and depth == 1:
            found.append(sql[begin:at].strip())
            begin = at + 1
        at += 1
    raise Elsewhere("a call")


# --- where rows are --------------------------------------------------------------------------------------------


def address(live: Live, needed: AbstractSet[str] | None = None) -> str:
    """Write the rows of a table that is read in place: its mapping over its columns.

    Parameters
    ----------
    needed
        The columns that are read: a query asks for nothing else, so that it can be answered even if another column is gone. None: all.
    """
    values = []
    own_columns = None if needed is None else _behind(live, needed)
    for column in live.columns:
        if own_columns is not None and column.name not in own_columns:
            continue
        own = f"s.{quote(column.name)}"
        values.append(f"{column.value.replace('{0}', own)} AS {quote(column.name)}")
        if column.raw:
            values.append(f"{own} AS {quote(RAW + column.name)}")
    source = f"(SELECT {', '.join(values)} FROM {live.table} AS s)"
    if not live.mapping:
        return source
    raw = {column.name for column in live.columns if column.raw}
    texts = []
    for bound in live.mapping:
        body = bound.query.body
        if not isinstance(body, Select) or not isinstance(body.source, TableRef):
            raise Elsewhere("a lookup in a file")
        writer = LiveWriter(_in_mappings(), {"source": source}, bound.free)
        text = written_out(writer.query(replace(bound.query, body=replace(body, items=_chosen(body, needed)))))
        plain = [
            f"t{body.source.number}.{quote(RAW + own)} AS {quote(RAW + target)}"
            for target, own in sorted(live.copies.items())
            if own in raw and (needed is None or target in needed)
        ]
        texts.append(text.replace("SELECT ", f"SELECT {''.join(f'{one}, ' for one in plain)}", 1))
    return f"({' UNION ALL '.join(texts)})"


def _in_mappings() -> LivePostgres:
    dialect = LivePostgres(LivePlaces(Positions(), {}, {}, ""))
    dialect.most = 0
    return dialect


def _chosen(body: Select, needed: AbstractSet[str] | None) -> tuple[SelectItem, ...]:
    """Return the items of a mapping that are read."""
    items = [item for item in body.items if isinstance(item, SelectItem) and item.column is not None]
    return tuple(item for item in items if needed is None or item.column is None or item.column.name in needed)


def _behind(live: Live, needed: AbstractSet[str]) -> set[str]:
    """Return the columns of the source that stand behind published ones, or behind the condition on its rows."""
    if not live.mapping:
        return set(needed)
    found = {live.copies[name] for name in needed if name in live.copies}
    for bound in live.mapping:
        body = bound.query.body
        if isinstance(body, Select):
            trees = [item.expr for item in _chosen(body, needed)] + ([] if body.where is None else [body.where])
            found |= {
                node.column.name
                for tree in trees
                for node in walk(tree)
                if isinstance(node, ColumnRef) and node.column is not None
            }
    return found


def beyond(tree: Expr) -> str:
    """Name the function of a mapping's expression that cannot be said in the SQL of a database that is not ours; empty if there is none."""
    reason = _refused(tree)
    if not reason:
        return ""
    # by the name that the curator wrote, and of nested ones the inner one
    inner = [node for node in walk(tree) if isinstance(node, Function) and _refused(node)]
    return inner[-1].name if inner else reason


def _refused(tree: Expr) -> str:
    writer = LiveWriter(_in_mappings(), {}, frozenset())
    try:
        written_out(writer.expr(tree))
    except Elsewhere as reason:
        return str(reason)
    return ""


def raws(live: Live) -> Raws:
    """Return which published columns have their source's own beside them."""
    guards = {column.name: column.guard for column in live.columns if column.raw}
    copies = live.copies if live.mapping else {name: name for name in guards}
    return Raws({target: guards[own] for target, own in copies.items() if own in guards}, live.position)


# --- text ------------------------------------------------------------------------------------------------------


class LivePositions(Positions):
    """What a query asks of positions, and which of its comparisons may be FALSE where they are NULL."""

    def _agree(self, condition: Expr) -> None:
        super()._agree(condition)
        if isinstance(condition, And | Or):
            return
        if isinstance(condition, Between) and not condition.negated:
            self.positive.add(id(condition))


class Around(InShape):
    """The circle around a polygon in which a position must lie."""

    def ranges(self, values: Values) -> tuple[str, ...] | None:
        """Return longitude, latitude and radius; None if it is no polygon, or too wide for an index."""
        shape = None if self.one is not None and self.one(values) != 1 else self.shape.make(values)
        if not isinstance(shape, Polygon) or float(shape.ring.reach[0]) > WIDE:
            return None
        lon, lat = (float(one[0]) for one in sphere.angles(shape.ring.mean[:1]))
        return repr(lon), repr(lat), repr(float(shape.ring.reach[0]) + 1e-9)


class LivePlaces(Places):
    """Writes conditions that the indexes of the source serve.

    Parameters
    ----------
    tables
        Qualified table name -> its raw columns.
    mode
        Empty: no index is asked for. Otherwise each table has its own way.
    """

    def __init__(
        self,
        positions: Positions,
        names: Mapping[str, str],
        tables: Mapping[str, Raws],
        mode: str,
        reached: Collection[str] = (),
        *,
        fenced: bool = False,
    ) -> None:
        super().__init__(positions, names, tables, mode, reached, fenced=fenced)
        self._tables = tables

    def table(self, dialect: Words, writer: Writer, node: TableRef, text: str) -> str:  # noqa: ARG002  (one signature for all)
        """Write a table reference: the source has no HEALPix cells."""
        return text

    def raw(self, node: Expr) -> tuple[str, str] | None:
        """Write the source's own column in place of a published one, and the condition beside it; None if there is none."""
        if not self._mode or not isinstance(node, ColumnRef) or node.column is None:
            return None
        leaf = self._positions.leaves.get(node.source)
        if leaf is None or leaf.table is None or leaf.cte:
            return None
        raws = self._tables.get(leaf.table.qualified)
        if raws is None or node.column.name not in raws.guards:
            return None
        text = f"t{node.source}.{quote(RAW + node.column.name)}"
        return text, raws.guards[node.column.name].replace("{0}", text)

    def is_positive(self, node: Expr) -> bool:
        """Return whether FALSE may stand for NULL here."""
        return id(node) in self._positions.positive

    def _looked_up(
        self,
        writer: Writer,
        here: tuple[Expr, Expr],
        circle: tuple[str, str, str],
        radius: Constant | None,
        centre: tuple[Expr, ...],
    ) -> str:
        if not self._mode or not self._is_position(here) or not isinstance(here[0], ColumnRef):
            return ""
        pair = [self.raw(item) for item in here]
        lon, lat = (writer.expr(item) if raw is None else raw[0] for item, raw in zip(here, pair, strict=True))
        leaf = self._positions.leaves[here[0].source]
        way = self._tables[leaf.table.qualified].position if leaf.table is not None else ""
        self.used = True
        return self._near((lon, lat), circle, way, radius, centre)

    def around(self, dialect: Words, writer: Writer, leaf: TableRef) -> Iterator[str]:
        """Write that a table's position lies in circles around polygons, as far as an index can tell."""
        if (
            not self._mode
            or leaf.table is None
            or leaf.table.position is None
            or leaf.table.qualified not in self._tables
        ):
            return
        nodes = [
            ColumnRef(Ident(name), source=leaf.number, column=leaf.table.column(name)) for name in leaf.table.position
        ]
        pair = [self.raw(node) for node in nodes]
        lon, lat = (writer.expr(node) if raw is None else raw[0] for node, raw in zip(nodes, pair, strict=True))
        fixed = Literal(0.0)
        for inside in self._positions.shapes.get(leaf.number, ()):
            if inside.shape.kind not in {"CIRCLE", "BOX", "MOC"}:
                circle = Around(inside.shape, inside.one)
                lon0, lat0, size = (
                    f"{self._extra(dialect, writer, circle, side)}::double precision" for side in range(3)
                )
                yield self._near(
                    (lon, lat),
                    (lon0, lat0, size),
                    self._tables[leaf.table.qualified].position,
                    lambda _: 0.0,
                    (fixed, fixed),
                )

    def _near(
        self,
        here: tuple[str, str],
        circle: tuple[str, str, str],
        way: str,
        radius: Constant | None,
        centre: tuple[Expr, ...],
    ) -> str:
        (lon, lat), (lon0, lat0, size) = here, circle
        known = constant(centre[1], self._positions.free) if centre else None
        if radius is None or not centre or way not in {Q3C, PGSPHERE}:
            band = f"{lat} BETWEEN {lat0} - {size} - 1e-9 AND {lat0} + {size} + 1e-9"
            if radius is None or known is None:
                return band
            # how far a circle reaches in longitude, worked out once; as ranges, so that an index of both coordinates leaves few rows to be read
            reach = f"degrees(asin(sin(radians({size} + 1e-100)) / cos(radians({lat0} + 1e-100)))) * 1.000001 + 1e-6"
            reach = f"CASE WHEN {size} BETWEEN 0 AND 89 AND abs({lat0}) + {size} < 89 THEN {reach} ELSE 181 END"
            turned = f"({lon0} - 360 * floor(({lon0} + 1e-100) / 360))"
            spans = [
                f"{lon} BETWEEN (SELECT {turned} + {turn} - {reach}) AND (SELECT {turned} + {turn} + {reach})"
                for turn in (0, -360, 360)
            ]
            return f"{band} AND ({' OR '.join([*spans, f'{lon} < -180', f'{lon} > 540'])})"
        self.radii.append(radius)
        if way == Q3C:
            call = (
                "q3c_radial_query({2}, {3}, {0}, {1}, {4} + 2e-6)"
                if known is not None
                else "q3c_join({0}, {1}, {2}, {3}, {4} + 2e-6)"
            )
            return call.format(lon0, lat0, lon, lat, size)
        valid = lat0 if known is not None else f"CASE WHEN {lat0} BETWEEN -90 AND 90 THEN {lat0} END"
        # radians of the least numbers would be an underflow
        there = f"spoint(radians({lon0} + 1e-100), radians({valid} + 1e-100))"
        return f"spoint(radians({lon}), radians({lat})) <@ scircle({there}, radians({size} + 1e-9))"


class LivePostgres(Postgres):
    """The dialect for a database that is not ours."""

    places: LivePlaces

    def finished(self, text: str) -> str:
        """Write our functions out."""
        return written_out(text)

    def placeholder(self, number: int, value: object) -> str:
        """Write a parameter; text takes the collation of what it is compared with."""
        return f"({self.argument(number)}::text)" if isinstance(value, str) else super().placeholder(number, value)

    def string(self, value: str) -> str:
        """Write a string."""
        return super().string(value).replace('::text COLLATE "C")', "::text)")

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Compare: by the source's own column where that is the same, text by code points where order counts."""
        text = all(kinds.kind_of(meta(side).type) == "text" for side in (node.left, node.right))
        if text and node.op in _ORDERED:
            return f'({writer.expr(node.left)} COLLATE "C" {node.op} {writer.expr(node.right)})'
        if not text and node.op != "<>" and self.places.is_positive(node):
            sides = [(self.places.raw(side), side) for side in (node.left, node.right)]
            if any(raw is not None for raw, _ in sides) and not any(isinstance(side, Function) for _, side in sides):
                texts = [writer.expr(side) if raw is None else raw[0] for raw, side in sides]
                guards = [raw[1] for raw, _ in sides if raw is not None and raw[1]]
                return f"({' AND '.join([f'{texts[0]} {node.op} {texts[1]}', *guards])})"
        return super().comparison(writer, node)

    def between(self, writer: Writer, node: Between) -> str:
        """Write BETWEEN in the same way."""
        if kinds.kind_of(meta(node.operand).type) == "text":
            word = "NOT BETWEEN" if node.negated else "BETWEEN"
            return (
                f'({writer.expr(node.operand)} COLLATE "C" {word} {writer.expr(node.low)} AND {writer.expr(node.high)})'
            )
        raw = self.places.raw(node.operand) if self.places.is_positive(node) else None
        if raw is None:
            return super().between(writer, node)
        made = f"{raw[0]} BETWEEN {writer.expr(node.low)} AND {writer.expr(node.high)}"
        return f"({made} AND {raw[1]})" if raw[1] else f"({made})"

    def from_unix(self, writer: Writer, node: Function) -> str:
        """FROM_UNIX."""
        return from_unix(writer.expr(node.args[0]))

    def from_days(self, writer: Writer, node: Function) -> str:
        """FROM_JD and FROM_MJD of one number; of two the embedded engine knows more digits."""
        if len(node.args) > 1:
            raise Elsewhere(node.name)
        return from_days(writer.expr(node.args[0]), 2440587.5 if node.name == "FROM_JD" else 40587.0)

    def counted(self, args: str, joined: str) -> str:  # noqa: ARG002  (there is no aggregate of ours)
        """Join texts of rows, to PostgreSQL's own limit."""
        return joined

    def extreme(self, writer: Writer, node: Function, window: str = "") -> str:
        """MIN and MAX; of text by code points."""
        if kinds.kind_of(meta(node.args[0]).type) == "text":
            return f'{node.name.lower()}({writer.expr(node.args[0])} COLLATE "C") {window}'.rstrip()
        return super().extreme(writer, node, window)


class LiveWriter(Writer):
    """Writes queries whose text is ordered by code points, whatever the collation of the database."""

    dialect: LivePostgres

    def source(self, node: FromItem) -> str:
        """Write an item of FROM; of a table whose rows may be too many, those around the polygons in which they must lie."""
        text = super().source(node)
        if not self.dialect.partly or not isinstance(node, TableRef):
            return text
        circles = " AND ".join(self.dialect.places.around(self.dialect, self, node))
        return f"(SELECT t{node.number}.* FROM {text} WHERE {circles}) AS t{node.number}" if circles else text

    def query(self, node: Query, types: object = None) -> str:
        """Write a query."""
        if node.order_by and isinstance(node.body, Select):
            node = replace(node, order_by=tuple(_by_code_points(item, node.body) for item in node.order_by))
        return super().query(node, types)  # type: ignore[arg-type]


def _by_code_points(item: OrderItem, select: Select) -> OrderItem:
    expr: Expr = item.expr
    if isinstance(expr, Literal):
        if select.distinct or not isinstance(expr.value, int):
            return item
        chosen = select.items[expr.value - 1]
        if not isinstance(chosen, SelectItem):
            return item
        expr = chosen.expr
    if kinds.kind_of(meta(expr).type) != "text" or meta(expr).constant:
        return item
    return replace(item, expr=Function("hven code points", (expr,), meta=expr.meta))


# of mappings: queries do not have them
_TIMES = {"FROM_UNIX": ".from_unix", "FROM_JD": ".from_days", "FROM_MJD": ".from_days"}
LivePostgres.functions = {**Postgres.functions, **_TIMES, "hven code points": '({0} COLLATE "C")'}


__all__ = [
    "BAND",
    "LivePlaces",
    "LivePositions",
    "LivePostgres",
    "LiveWriter",
    "Raws",
    "address",
    "beyond",
    "raws",
    "written_out",
]
