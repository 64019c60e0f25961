"""Functions of ADQL, each said once: its signatures, what it gives, an example, and for those from outside also its SQL and its words."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError, joined, nearest, say
from hven.model.types import (
    BOOLEAN,
    CIRCLE,
    CONTOUR,
    FLOAT64,
    INT32,
    INT64,
    MOC,
    POINT,
    POLYGON,
    REGION,
    STRING,
    TIMESTAMP,
    Type,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# What a signature's argument words accept, as kinds of `hven.adql.kinds`
ACCEPTS: dict[str, frozenset[str]] = {
    "NUMERIC": frozenset({"number"}),
    "REAL": frozenset({"number"}),
    "INTEGER": frozenset({"integer"}),
    "BIGINT": frozenset({"integer"}),
    "TEXT": frozenset({"text"}),
    "TIMESTAMP": frozenset({"time", "text"}),  # ISO text is read as a timestamp
    "BOOLEAN": frozenset({"boolean"}),
    "POINT": frozenset({"point"}),
    "CIRCLE": frozenset({"circle"}),
    "POLYGON": frozenset({"polygon"}),
    "REGION": frozenset({"region"}),
    "MOC": frozenset({"moc"}),
    "CONTOUR": frozenset({"contour"}),
    "GEOMETRY": frozenset({"point", "circle", "polygon", "range", "region", "moc"}),
    "ORDERED": frozenset({"number", "text", "time", "boolean"}),
    "ARRAY": frozenset({"numbers"}),
    "LIST": frozenset({"array"}),
    "ANY": frozenset({"any"}),
}
NUMBERS = frozenset({"array", "interval"})  # kinds that are an array of numbers, if their elements are
RESULTS: dict[str, Type] = {
    "DOUBLE": FLOAT64, "INTEGER": INT32, "BIGINT": INT64, "TEXT": STRING, "TIMESTAMP": TIMESTAMP, "BOOLEAN": BOOLEAN,
    "POINT": POINT, "CIRCLE": CIRCLE, "POLYGON": POLYGON, "REGION": REGION, "MOC": MOC,
    "CONTOUR": CONTOUR, "INTEGER[]": Type("int", "*"), "DOUBLE[]": Type("double", "*"),
}  # fmt: skip
OF_THE_CALL = ("SAME", "COMMON", "SUM", "ELEMENT", "TOTAL")
GROUPS = ("math", "trigonometry", "aggregate", "geometry", "string", "conditional", "unit", "window", "udf", "mapping")


@dataclass(frozen=True, slots=True)
class Arg:
    """One argument of a signature.

    Attributes
    ----------
    name
        For the documentation.
    word
        A key of `ACCEPTS`.
    optional
        It may be left out, and all after it.
    literal
        True if the value must be written in the query: it is part of the query's shape.
    repeated
        True for the last argument of a list of any length.
    unit
        The unit that the value is converted to, ``{km}`` in a signature; with ? behind it one without a unit is taken as it is.
    """

    name: str
    word: str
    optional: bool = False
    literal: bool = False
    repeated: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a function.

    `result` is a key of `RESULTS`, SAME (type of the first argument), COMMON (of all), SUM, or of an array's elements ELEMENT and TOTAL (of their sum).

    Attributes
    ----------
    args
        In their order.
    text
        As it is shown: ``POWER(x NUMERIC, y NUMERIC) -> DOUBLE``.
    """

    args: tuple[Arg, ...]
    result: str
    text: str
    type: Type | None = None

    @property
    def minimum(self) -> int:
        """The smallest number of arguments."""
        return sum(not arg.optional for arg in self.args)

    @property
    def maximum(self) -> int | None:
        """The largest number of arguments, None = any."""
        return None if self.args and self.args[-1].repeated else len(self.args)

    def word(self, index: int) -> Arg:
        """Return the argument at a position, the last one again and again if it is repeated.

        Parameters
        ----------
        index
            From 0.
        """
        return self.args[min(index, len(self.args) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One function.

    Attributes
    ----------
    name
        In upper case.
    signatures
        The ways to call it.
    doc
        What it returns, in a sentence.
    group
        One of `GROUPS`; ``mapping``: only mapping expressions of a descriptor may call it.
    unit
        A unit, "" (none), or ``same`` (that of the first argument).
    ucd
        A UCD, "", ``same``, or ``+word``: the argument's UCD with that word after it.
    volatile
        True if equal calls may answer differently.
    example
        A call and what it gives: ``LENGTH('été') is 3``, as SQL writes it; ``~`` before it: to nine digits; nothing: it is another one each time.
    sql
        Name of an engine -> template, as in `hven.adql.sql.Dialect.functions`; an engine's own dialect comes first.
    texts
        Language -> English -> what pages say in it.
    """

    name: str
    signatures: tuple[Signature, ...]
    doc: str
    group: str
    unit: str = ""
    ucd: str = ""
    volatile: bool = False
    example: str = ""
    sql: Mapping[str, str] = field(default_factory=dict)
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def aggregate(self) -> bool:
        """True if it turns the rows of a group into one value."""
        return self.group == "aggregate"

    @property
    def mapping(self) -> bool:
        """True if only mapping expressions may call it."""
        return self.group == "mapping"

    @property
    def declared(self) -> tuple[str, ...]:
        """The forms that TAPRegExt's features-udf wants, one per signature without optional arguments."""
        return tuple(form for signature in self.signatures for form in _forms(self.name, signature))


_ARG = re.compile(r"(\w+)\s+(\w+)(?:\{([^}]+)\})?(\s+LITERAL)?(\s*\.\.\.)?")


def signature(name: str, text: str) -> Signature:
    """Parse ``(x NUMERIC [, n INTEGER]) -> DOUBLE``.

    Parameters
    ----------
    name
        Of the function.
    text
        Arguments in the words of `ACCEPTS`, the result in those of `RESULTS`.

    Returns
    -------
    signature
        One way to call it.

    Raises
    ------
    UserError
        A word is no type.
    """
    inside, _, result = text.rpartition("->")
    inside = inside.strip()[1:-1]
    required, _, optional = inside.partition("[")
    args = [
        Arg(m[1], m[2], optional=part is optional, literal=bool(m[4]), repeated=bool(m[5]), unit=m[3] or "")
        for part in (required, optional)
        for m in _ARG.finditer(part)
    ]
    result = result.strip()
    for word, known in [*((arg.word, ACCEPTS) for arg in args), (result, (*RESULTS, *OF_THE_CALL))]:
        if word not in known:
            raise UserError(
                say("{name}{form}: {word!r} is no type", name, text, word),
                remedy=joined(
                    "{one} {other}", filter(None, (nearest(word, known), say("known: {names}", ", ".join(known))))
                ),
            )
    return Signature(tuple(args), result, f"{name}{text}", RESULTS.get(result))


_UDF_WORDS = {"NUMERIC": "DOUBLE PRECISION", "TEXT": "VARCHAR", "DOUBLE": "DOUBLE PRECISION", "GEOMETRY": "REGION", "SAME": "DOUBLE PRECISION",
              "ORDERED": "DOUBLE PRECISION", "COMMON": "DOUBLE PRECISION", "ANY": "VARCHAR", "ARRAY": "DOUBLE PRECISION[]", "ELEMENT": "DOUBLE PRECISION", "TOTAL": "DOUBLE PRECISION"}  # fmt: skip


def _forms(name: str, form: Signature) -> Iterator[str]:
    for count in range(form.minimum, len(form.args) + 1):
        args = ", ".join(f"{arg.name} {_UDF_WORDS.get(arg.word, arg.word)}" for arg in form.args[:count])
        yield f"{name.lower()}({args}) -> {_UDF_WORDS.get(form.result, form.result)}"


def function(group: str, name: str, *signatures: str, **facts: Any) -> Entry:
    """Make the entry of a function, for the table or for a plug-in.

    Parameters
    ----------
    group
        A key of `GROUPS`: ``udf``, ``aggregate``, ``mapping`` ...
    name
        In upper case.
    signatures
        Each is one way to call it, ``(x NUMERIC [, n INTEGER LITERAL]) -> DOUBLE``, in the words of `ACCEPTS` and `Signature`.
    facts
        Further attributes of `Entry`: ``doc``, ``example``, ``sql``, ``unit``, ``ucd`` ...

    Returns
    -------
    entry
        For `FUNCTION` of a plug-in's module.

    Raises
    ------
    UserError
        A word is not known.
    """
    if group not in GROUPS:
        raise UserError(
            say("{name}: there is no group {group!r} of functions", name, group),
            remedy=say("known: {names}", ", ".join(GROUPS)),
        )
    return Entry(name=name, signatures=tuple(signature(name, text) for text in signatures), group=group, **facts)
