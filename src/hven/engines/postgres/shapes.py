"""Geometry in PostgreSQL's dialect: shapes are arrays of numbers, told by their length: 2 a point, 3 a circle, 6 and more a polygon."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING

from hven.adql import kinds
from hven.adql.kinds import meta
from hven.adql.tree import ColumnRef, walk
from hven.engines._dialect import EngineDialect

if TYPE_CHECKING:
    from hven.adql.sql import Writer
    from hven.adql.tree import Expr, Function
    from hven.engines.postgres.places import Places

_TEXTS = {"region", "moc"}


class Shapes(EngineDialect):
    """What the dialect says about geometry."""

    places: Places
    settings: bool

    @abstractmethod
    def elsewhere(self, writer: Writer, node: Expr) -> str:
        """Refuse what the embedded engine must compute."""

    @abstractmethod
    def argument(self, number: int) -> str:
        """Write a parameter without a type."""

    def listing(self, numbers: str) -> str:
        """Write a list of doubles."""
        return f"ARRAY[{numbers}]::double precision[]"

    def numbers(self, writer: Writer, node: Expr) -> str:
        """Write a shape as double precision[]."""
        if kinds.kind_of(meta(node).type) in _TEXTS | {"range"}:
            self.elsewhere(writer, node)
        return self.made(writer, node) or f"CAST({writer.expr(node)} AS double precision[])"

    def ring(self, writer: Writer, node: Expr) -> str:
        """Write a polygon with what the tests need, made once for the whole query if it is constant."""
        made = f"hven_ring({self.numbers(writer, node)})"
        return f"(SELECT {made})" if meta(node).constant else made

    def area(self, writer: Writer, node: Function) -> str:
        """AREA in square degrees."""
        return f"hven_area({self.numbers(writer, node.args[0])})"

    def centroid(self, writer: Writer, node: Function) -> str:
        """CENTROID, a point."""
        kind = kinds.kind_of(meta(node.args[0]).type)
        if kind in {"point", "circle"}:
            return f"({self.numbers(writer, node.args[0])})[1:2]"
        return self.elsewhere(writer, node)

    def moc(self, writer: Writer, node: Function) -> str:
        """MOC of text, which it is already; that of a shape is made elsewhere."""
        return writer.expr(node.args[0]) if len(node.args) == 1 else self.elsewhere(writer, node)

    def predicate(self, writer: Writer, node: Function) -> str:
        """CONTAINS and INTERSECTS as a condition."""
        one, two = node.args
        first, second = kinds.kind_of(meta(one).type), kinds.kind_of(meta(two).type)
        if {first, second} & (_TEXTS | {"range"}):
            self.elsewhere(writer, node)
        if node.name == "INTERSECTS" and second == "point" and first != "point":
            one, two, first, second = two, one, second, first
        if first == "point" and second == "circle":
            lon, lat = self.coordinates(writer, one)
            circle = self.circle(writer, two)
            beside = self.places.beside(self, writer, node, one, circle, two)
            test = within(lon, lat, *circle)
            return f"({beside} AND {test})" if beside else test
        if first == "point" and second == "polygon":
            lon, lat = self.coordinates(writer, one)
            if meta(two).constant:
                return f"hven_in_ring({lon}, {lat}, {self.ring(writer, two)})"
            cells = self.places.celled(node, two)
            ring = self.numbers(writer, two)
            near = f"NOT hven_aside({lon}, {lat}, 0, {ring}) AND hven_holds({lon}, {lat}, {ring})"
            return f"({near})" if cells is None else f"({writer.expr(cells)} && hven_cells_at({lon}, {lat}) AND {near})"
        here, there = self.numbers(writer, one), self.numbers(writer, two)
        test = f"hven_{node.name.lower()}({here}, {there})"
        if {first, second} == {"circle", "polygon"}:  # a first look costs a twentieth
            round_one, ring = (one, there) if first == "circle" else (two, here)
            test = f"NOT hven_aside({', '.join(self.circle(writer, round_one))}, {ring}) AND {test}"
        elif {first, second} & {"polygon"}:
            test = f"NOT hven_apart({here}, {there}) AND {test}"
        for side, other, numbers in ((two, one, here), (one, two, there)):
            if not isinstance(side, ColumnRef) or side.source in {
                read.source for read in walk(other) if isinstance(read, ColumnRef)
            }:
                continue
            cells = self.places.celled(node, side)
            if cells is not None:
                return f"({writer.expr(cells)} && hven_cells_around({numbers}) AND {test})"
        return f"({test})"


def within(lon: str, lat: str, lon0: str, lat0: str, radius: str) -> str:
    """Write whether a position lies in a circle; first a test that costs little: the latitudes. It must not make FALSE of what is NULL."""
    return f"((abs({lat} - {lat0}) <= {radius} + 1e-9 OR {lon} + {lon0} IS NULL) AND hven_in_circle({lon}, {lat}, {lon0}, {lat0}, {radius}))"
