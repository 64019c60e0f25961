"""Geometry in Spark's dialect: cones, distances and cells in SQL, which Spark compiles; other shapes by functions of ours on the workers (`SIGNATURES`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.tree import ColumnRef, Compare, Function, TableRef, walk
from hven.engines._dialect import TOLERANCE, EngineDialect
from hven.engines._rows import LAST
from hven.engines.hats.matches import CELL, CELLS, MARK, PLACE, SPREAD, Match, found

if TYPE_CHECKING:
    from hven.adql.sql import Writer
    from hven.adql.tree import Bound, Expr

_TEXTS = {"region", "moc"}


class Elsewhere(Exception):
    """Something that Spark does not compute, in words."""


class Spheres(EngineDialect):
    """What the dialect says about geometry.

    Attributes
    ----------
    names
        Qualified table name -> the name that stands for its rows.
    celled
        Those of them whose cells of order 29 are read.
    spreads
        Number of a table reference -> the match for which its rows are spread.
    placed
        Name that stands for rows -> the match for which the cells of another position are computed.
    raising
        Template of what fails with a text.
    """

    raising: ClassVar[str]

    def __init__(self, bound: Bound) -> None:
        super().__init__()
        self.names = {table.qualified: f"r{number}{MARK}" for number, table in enumerate(bound.tables)}
        self.celled: set[str] = set()
        self._leaves = {
            node.number: node for node in walk(bound.query) if isinstance(node, TableRef) and node.table is not None
        }
        self._matches = found(bound)
        self.spreads: dict[int, Match] = {match.spread.number: match for match in self._matches.values()}
        self.placed: dict[str, Match] = {}
        for match in self.spreads.values():
            if match.indexed:
                self._cell(match.probe[0])
            else:
                self.placed[self.names[match.table]] = match

    def scattered(self, name: str) -> str:
        """Name the rows of a table that are spread over cells."""
        return name + SPREAD

    def _cell(self, column: ColumnRef) -> str:
        """Write the cell of order 29 of a row of a table with a position."""
        table = self._leaves[column.source].table
        if table is not None:
            self.celled.add(self.names[table.qualified])
        return f"t{column.source}.{self.quote(CELL)}"

    def _beside(self, node: Expr) -> str:
        """Write the equality of cells that stands beside an exact test; empty if there is none."""
        match = self._matches.get(id(node))
        if match is None:
            return ""
        number, lon = match.spread.number, match.probe[0]
        order = f"CAST(:m{number} AS INT)"
        here = self._cell(lon) if match.indexed else f"t{lon.source}.{self.quote(PLACE)}"
        return f"shiftright({here}, 58 - 2 * {order}) = t{number}.{self.quote(CELLS)} AND "

    def comparison(self, writer: Writer, node: Compare) -> str:
        """Compare; ``DISTANCE(..) < r`` looks at the latitudes first, which costs a tenth."""
        plain = super().comparison(writer, node)
        beside = self._beside(node)
        near, limit = (node.left, node.right) if node.op in {"<", "<="} else (node.right, node.left)
        called = isinstance(near, Function) and near.name == "DISTANCE" and len(near.args) == 4
        if called and node.op in {"<", "<=", ">", ">="} and isinstance(near, Function) and meta(limit).constant:
            lon1, lat1, lon2, lat2 = self.doubles(writer, near.args)
            plain = f"((abs({lat1} - {lat2}) <= {writer.expr(limit)} + 1e-9D OR {lon1} + {lon2} IS NULL) AND {plain})"
        return f"({beside}{plain})" if beside else plain

    # --- pieces

    def coordinate(self, shape: str, place: int) -> str:
        """Write one number of a shape."""
        return f"get({shape}, {place - 1})"

    def listing(self, numbers: str) -> str:
        """Write a list of doubles."""
        return f"array({numbers})"

    def numbers(self, writer: Writer, node: Expr) -> str:
        """Write a shape as the list of doubles that the functions take."""
        return self.made(writer, node) or f"CAST({writer.expr(node)} AS ARRAY<DOUBLE>)"

    def distance(self, writer: Writer, node: Function) -> str:
        """DISTANCE in degrees: sqrt(h) and sqrt(1 - h) are both accurate, so the angle is at every separation."""
        if len(node.args) == 4:
            lon1, lat1, lon2, lat2 = self.doubles(writer, node.args)
        else:
            lon1, lat1, lon2, lat2 = (
                *self.coordinates(writer, node.args[0]),
                *self.coordinates(writer, node.args[1]),
            )
        near, far = _haversine(lon1, lat1, lon2, lat2), _haversine(f"({lon1} + 180)", f"(-({lat1}))", lon2, lat2)
        return f"degrees(2 * atan2(sqrt(abs({near})), sqrt(abs({far}))))"

    def healpix(self, writer: Writer, node: Function) -> str:
        """IVO_HEALPIX_INDEX: of a table's own position it is stored."""
        args = node.args[1:]
        inner = args[0].args if len(args) == 1 and isinstance(args[0], Function) and args[0].name == "POINT" else args
        if len(inner) == 2 and isinstance(inner[0], ColumnRef) and isinstance(inner[1], ColumnRef):
            leaf = self._leaves.get(inner[0].source) if inner[0].source == inner[1].source else None
            names = tuple(item.column.name for item in inner if isinstance(item, ColumnRef) and item.column is not None)
            if leaf is not None and leaf.table is not None and leaf.table.position == names:
                order = f"CAST({writer.expr(node.args[0])} AS INT)"
                return f"CASE WHEN {order} BETWEEN 0 AND 29 THEN shiftright(nullif({self._cell(inner[0])}, {LAST}L), 58 - 2 * {order}) END"
        return super().healpix(writer, node).replace("AS INTEGER", "AS INT")

    def moved(self, writer: Writer, node: Function) -> str:
        """GAVO_APPLY_PM: proper motions in degrees per year."""
        ra, dec, pm_ra, pm_dec, years = self.doubles(writer, node.args)
        return f"hven_moved({ra}, {dec}, {years}, 3.6e6D * {pm_ra}, 3.6e6D * {pm_dec}, 0D, 0D)"

    def propagated(self, writer: Writer, node: Function) -> str:
        """IVO_EPOCH_PROP_POS: what may be NULL stands for 0, what may not is an error."""
        ra, dec, parallax, pm_ra, pm_dec, velocity, start, end = self.doubles(writer, node.args)
        names = ("ra", "dec", "ref_epoch", "out_epoch")
        said = (f"'IVO_EPOCH_PROP_POS: {name} is NULL; leave such rows out'" for name in names)
        given = [
            f"CASE WHEN {text} IS NULL THEN CAST({self.raising.format(why)} AS DOUBLE) ELSE {text} END"
            for why, text in zip(said, (ra, dec, start, end), strict=True)
        ]
        rest = ", ".join(f"coalesce({text}, 0D)" for text in (pm_ra, pm_dec, parallax, velocity))
        return f"hven_moved({given[0]}, {given[1]}, {given[3]} - {given[2]}, {rest})"

    def turned(self, writer: Writer, node: Function) -> str:
        """IVO_GEOM_TRANSFORM: a rotation."""
        source, target, shape = node.args
        return f"hven_turned({writer.expr(source)}, {writer.expr(target)}, {self.numbers(writer, shape)})"

    def moc(self, writer: Writer, node: Function) -> str:
        """MOC of text, which it is already, or of a shape."""
        if len(node.args) == 1:
            return writer.expr(node.args[0])
        return f"hven_moc(CAST({writer.expr(node.args[0])} AS INT), {self.shape_text(writer, node.args[1])})"

    def shape_text(self, writer: Writer, node: Expr) -> str:
        """Write a shape as text."""
        kind = kinds.kind_of(meta(node).type)
        if kind in _TEXTS:
            return writer.expr(node)
        if kind == "point":
            lon, lat = self.coordinates(writer, node)
            return f"('point ' || CAST({lon} AS STRING) || ' ' || CAST({lat} AS STRING))"
        return f"hven_text({self.numbers(writer, node)})"

    def area(self, writer: Writer, node: Function) -> str:
        """AREA in square degrees."""
        if kinds.kind_of(meta(node.args[0]).type) in _TEXTS:
            return f"hven_area_text({writer.expr(node.args[0])})"
        return f"hven_area({self.numbers(writer, node.args[0])})"

    def centroid(self, writer: Writer, node: Function) -> str:
        """CENTROID, a point."""
        if kinds.kind_of(meta(node.args[0]).type) in _TEXTS:
            return f"hven_centroid_text({writer.expr(node.args[0])})"
        return f"hven_centroid({self.numbers(writer, node.args[0])})"

    # --- one shape against the other

    def predicate(self, writer: Writer, node: Function) -> str:
        """CONTAINS and INTERSECTS as a condition."""
        one, two = node.args
        first, second = kinds.kind_of(meta(one).type), kinds.kind_of(meta(two).type)
        if node.name == "CONTAINS" and first == "point" and second in _TEXTS:
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_text({lon}, {lat}, {writer.expr(two)})"
        if {first, second} & _TEXTS:
            return f"hven_{node.name.lower()}_text({self.shape_text(writer, one)}, {self.shape_text(writer, two)})"
        if node.name == "INTERSECTS" and second == "point" and first != "point":
            one, two, first, second = two, one, second, first
        if first == "point" and second == "circle":
            test = _in_circle(*self.coordinates(writer, one), *self.circle(writer, two))
            return f"({self._beside(node)}{test})"
        if first == "point" and second == "polygon":
            lon, lat = self.coordinates(writer, one)
            return f"hven_in_polygon({lon}, {lat}, {self.numbers(writer, two)})"
        return f"hven_{node.name.lower()}({self.numbers(writer, node.args[0])}, {self.numbers(writer, node.args[1])})"


def _haversine(lon1: str, lat1: str, lon2: str, lat2: str) -> str:
    return f"(pow(sin(radians({lat1} - ({lat2})) / 2), 2) + cos(radians({lat1})) * cos(radians({lat2})) * pow(sin(radians({lon1} - ({lon2})) / 2), 2))"


def _in_circle(lon: str, lat: str, lon0: str, lat0: str, radius: str) -> str:
    """Write whether a position lies in a circle; first a test that costs little: the latitudes. It must not make FALSE of what is NULL.

    Beyond a quarter turn the haversine loses digits: the antipode's circle is asked instead.
    """
    near = f"{_haversine(lon, lat, lon0, lat0)} <= pow(sin(radians({radius} + {TOLERANCE}D) / 2), 2)"
    rest = f"CASE WHEN {radius} >= 180 THEN -1D ELSE pow(sin(radians(180 - {radius} - {TOLERANCE}D) / 2), 2) END"
    far = f"{_haversine(lon, lat, f'({lon0} + 180)', f'(-({lat0}))')} >= {rest}"
    return (
        f"((abs({lat} - {lat0}) <= {radius} + 1e-9D OR {lon} + {lon0} IS NULL) AND {radius} >= 0"
        f" AND CASE WHEN {radius} <= 90 THEN {near} ELSE {far} END)"
    )


__all__ = ["Elsewhere", "Spheres"]
