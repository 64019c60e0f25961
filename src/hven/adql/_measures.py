"""Arguments that are measured in a unit, and the functions of spectra and bodies that become something else when bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol

from hven.adql.kinds import derived, is_null, kind, meta
from hven.adql.tree import Binary, Expr, Function, Literal, Meta
from hven.model import units
from hven.model.errors import nearest, say
from hven.model.sky import bodies, contours, footprints
from hven.model.types import FLOAT64

if TYPE_CHECKING:
    from hven.adql.signatures import Signature

_EXACT = Meta(FLOAT64, constant=True, nullable=False)


class Calling(Protocol):
    """The binder, as far as these functions need it."""

    def fail(self, message: str, at: int, remedy: str = "") -> NoReturn:
        """Raise a fault of the query."""

    def said(self, node: Expr, *, bare: bool = False) -> str:
        """Describe an expression."""

    def spectral(self, node: Function, args: list[Expr]) -> Expr:
        """Convert a wavelength, frequency, energy or wave number."""


def measured(calling: Calling, node: Function, signature: Signature, args: list[Expr]) -> list[Expr]:
    """Convert the arguments of a call to the units that its signature says (``{km}``).

    A literal for an argument called `unit` says the unit of those that have none of their own, and overrules none.
    """
    if not any(arg.unit for arg in signature.args):
        return args
    said: str | None = None
    for wants, value in zip(signature.args, args, strict=False):
        if wants.name == "unit" and isinstance(value, Literal):
            try:
                said = units.check(str(value.value))
            except ValueError as error:
                calling.fail(say("{name}: {message}", node.name, error), value.at)
    return [
        _measured(calling, node, signature.word(index).unit, value, said) if signature.word(index).unit else value
        for index, value in enumerate(args)
    ]


def _measured(calling: Calling, node: Function, wanted: str, value: Expr, said: str | None) -> Expr:
    lenient = wanted.endswith("?")
    wanted = wanted.removesuffix("?")
    have = meta(value).unit
    if is_null(value) or kind(value) != "number":
        return value
    if have is None and not lenient:
        have = said
    if have is None:
        if lenient:
            return value
        word = node.name.lower()
        remedy = (
            say("say it: {word}(.., 'au')", word)
            if word in {"light_time", "target_time"}
            else say("say it with in_unit, or write {wanted}", wanted)
        )
        calling.fail(say("{name}: {value} has no unit", word, calling.said(value, bare=True)), value.at, remedy)
    if said is not None and not lenient and not units.same(have, said):
        calling.fail(
            say(
                "{name}: {value} is in {have}, and the call says {said}",
                node.name.lower(),
                calling.said(value, bare=True),
                have,
                said,
            ),
            value.at,
            "leave the unit out of the call",
        )
    try:
        factor = units.factor(have, wanted)
    except ValueError as error:
        calling.fail(
            say("{name}: {message}", node.name.lower(), error),
            value.at,
            say("it takes a value in {wanted} or what can be converted to it", wanted),
        )
    if factor == 1.0:
        return value
    return _times(value, factor, wanted)


def _times(value: Expr, factor: float, unit: str | None) -> Expr:
    got = derived((meta(value),), FLOAT64, unit, meta(value).ucd)
    return Binary("*", value, Literal(factor, meta=_EXACT), at=value.at, meta=got)


def spectral_range(calling: Calling, node: Function, args: list[Expr]) -> Expr:
    """``SPECTRAL_MIN(a, b, ['from',] 'to')``: both bounds converted, the smaller one taken, whichever it was before."""
    calling_name = Function("GAVO_SPECCONV", at=node.at)
    both = tuple(calling.spectral(calling_name, [bound, *args[2:]]) for bound in args[:2])
    name = "LEAST" if node.name.upper() == "SPECTRAL_MIN" else "GREATEST"
    first = meta(both[0])
    return Function(name, both, at=node.at, meta=derived(tuple(meta(item) for item in both), FLOAT64, first.unit, None))


def spectral_step(calling: Calling, node: Function, args: list[Expr]) -> Expr:
    """``SPECTRAL_STEP(x, width, ['from',] 'to')``: the width times the slope of the conversion at x."""
    x, width = args[0], args[1]
    if len(args) == 3 and meta(x).unit and meta(width).unit:
        width = _alike(calling, node, x, width)
    converted = calling.spectral(Function("GAVO_SPECCONV", at=node.at), [x, *args[2:]])
    unit = meta(converted).unit
    got = derived((meta(x), meta(width)), FLOAT64, unit, None)
    if isinstance(converted, Binary) and converted.op == "/":  # c / x: its slope is c / x^2
        share = Binary(
            "/", _times(width, 1.0, None), x, at=node.at, meta=derived((meta(x), meta(width)), FLOAT64, None, None)
        )
        return Function("ABS", (Binary("*", converted, share, at=node.at, meta=got),), at=node.at, meta=got)
    factor = converted.right if isinstance(converted, Binary) else Literal(1.0, meta=_EXACT)
    return Function("ABS", (Binary("*", width, factor, at=node.at, meta=got),), at=node.at, meta=got)


def resolving_power(calling: Calling, node: Function, args: list[Expr]) -> Expr:
    """``RESOLVING_POWER(x, width)``: x / width in one unit."""
    x, width = args
    width = _alike(calling, node, x, width)
    got = derived((meta(x), meta(width)), FLOAT64, None, "spect.resolution")
    return Function("ABS", (Binary("/", _times(x, 1.0, None), width, at=node.at, meta=got),), at=node.at, meta=got)


def _alike(calling: Calling, node: Function, x: Expr, width: Expr) -> Expr:
    one, two = meta(x).unit, meta(width).unit
    if one is None or two is None or units.same(one, two):
        return width
    try:
        return _times(width, units.factor(two, one), one)
    except ValueError as error:
        calling.fail(
            say("{name}: {message}", node.name.lower(), error),
            width.at,
            "give the width in a unit of the value's own kind",
        )


_PARTS = ("largest", "hull")
_WORDS = {
    "CHAIN_CONTOUR": ("helio", "freeman"), "CHAIN_AREA": ("helio", "freeman"), "CHAIN_LINE": ("helio", "freeman"), "TFCAT_BOUND": ("start", "stop", "low", "high"), "LIST_CONTOUR": ("pixel", "arcsec"), "GEOJSON_CONTOUR": ("east", "west"), "CONTOUR_POLYGON": _PARTS, "CONTOUR_QUALITY": _PARTS,
    "CONTOUR_MOC": ("rest",), "CONTOUR_FAULT": ("name",), "CONTOUR_BOUND": ("west", "east", "south", "north"),
}  # fmt: skip


def of_words(calling: Calling, node: Function, args: list[Expr]) -> None:
    """``ORIENTED(p, 'sky')``: the last argument, if it is a text, is one of few words."""
    word, known = args[-1], _WORDS.get(node.name, footprints.VIEWS)
    if len(args) > 1 and isinstance(word, Literal) and isinstance(word.value, str) and word.value not in known:
        if node.name[:5] == "CHAIN" and contours.directions(word.value) is not None:
            return
        calling.fail(
            say("{name}: there is no {value!r}", node.name.lower(), word.value),
            word.at,
            nearest(word.value, known) or say("known: {names}", ", ".join(known)),
        )


def of_body(calling: Calling, node: Function, args: list[Expr]) -> None:
    """``PLANETOCENTRIC(lat, 'Mars')``: a body that is written in place is known."""
    body = args[1]
    if isinstance(body, Literal) and isinstance(body.value, str) and bodies.polar_ratio(body.value) is None:
        known = [one.name for one in bodies.bodies() if one.radii is not None]
        calling.fail(
            say("{name}: the radii of {value!r} are not known here", node.name.lower(), body.value),
            body.at,
            nearest(body.value, known) or say("known: {names}", ", ".join(known)),
        )
