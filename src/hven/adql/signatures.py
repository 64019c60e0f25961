"""Functions of ADQL, each said once.

Its signatures, what it gives, an example, and for those from outside also its SQL and its words.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from hven.model.errors import UserError, format_message, join_messages, suggest_spelling
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

# What a signature's argument words accept, as kinds of `hven.adql.value_kinds`
ACCEPTED_KINDS: dict[str, frozenset[str]] = {
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
NUMBER_ARRAY_KINDS = frozenset({"array", "interval"})  # kinds that are an array of numbers, if their elements are
RESULT_TYPES: dict[str, Type] = {
    "DOUBLE": FLOAT64,
    "INTEGER": INT32,
    "BIGINT": INT64,
    "TEXT": STRING,
    "TIMESTAMP": TIMESTAMP,
    "BOOLEAN": BOOLEAN,
    "POINT": POINT,
    "CIRCLE": CIRCLE,
    "POLYGON": POLYGON,
    "REGION": REGION,
    "MOC": MOC,
    "CONTOUR": CONTOUR,
    "INTEGER[]": Type("int", "*"),
    "DOUBLE[]": Type("double", "*"),
}
CALL_DEPENDENT_RESULTS = ("SAME", "COMMON", "SUM", "ELEMENT", "TOTAL")
FUNCTION_GROUPS = (
    "math",
    "trigonometry",
    "aggregate",
    "geometry",
    "string",
    "conditional",
    "unit",
    "window",
    "udf",
    "mapping",
)


@dataclass(frozen=True, slots=True)
class FunctionParameter:
    """One argument of a signature.

    Attributes
    ----------
    name
        For the documentation.
    type_word
        A key of `ACCEPTED_KINDS`.
    is_optional
        It may be left out, and all after it.
    must_be_literal
        True if the value must be written in the query: it is part of the query's shape.
    is_repeated
        True for the last argument of a list of any length.
    unit
        The unit that the value is converted to, ``{km}`` in a signature; with ? behind it one without a unit is taken
        as it is.
    """

    name: str
    type_word: str
    is_optional: bool = False
    must_be_literal: bool = False
    is_repeated: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Signature:
    """One way to call a function.

    `result` is a key of `RESULT_TYPES`, SAME (type of the first argument), COMMON (of all), SUM, or of an array's
    elements ELEMENT and TOTAL (of their sum).

    Attributes
    ----------
    parameters
        In their order.
    text
        As it is shown: ``POWER(x NUMERIC, y NUMERIC) -> DOUBLE``.
    """

    parameters: tuple[FunctionParameter, ...]
    result: str
    text: str
    type: Type | None = None

    @property
    def min_argument_count(self) -> int:
        """The smallest number of arguments."""
        return sum(not arg.is_optional for arg in self.parameters)

    @property
    def max_argument_count(self) -> int | None:
        """The largest number of arguments, None = any."""
        if self.parameters and self.parameters[-1].is_repeated:
            return None
        return len(self.parameters)

    def find_parameter(self, index: int) -> FunctionParameter:
        """Return the argument at a position, the last one again and again if it is repeated.

        Parameters
        ----------
        index
            From 0.
        """
        return self.parameters[min(index, len(self.parameters) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition:
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
        One of `FUNCTION_GROUPS`; ``mapping``: only mapping expressions of a descriptor may call it.
    unit
        A unit, "" (none), or ``same`` (that of the first argument).
    ucd
        A UCD, "", ``same``, or ``+word``: the argument's UCD with that word after it.
    volatile
        True if equal calls may answer differently.
    example
        A call and what it gives: ``LENGTH('été') is 3``, as SQL writes it; ``~`` before it: to nine digits; nothing: it
        is another one each time.
    sql
        Name of an engine -> template, as in `hven.adql.sql_writer.SqlDialect.functions`; an engine's own dialect comes
        first.
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
    def declared_forms(self) -> tuple[str, ...]:
        """The forms that TAPRegExt's features-udf wants, one per signature without optional arguments."""
        return tuple(form for signature in self.signatures for form in _iterate_declared_forms(self.name, signature))


_PARAMETER_REGEX = re.compile(r"(\w+)\s+(\w+)(?:\{([^}]+)\})?(\s+LITERAL)?(\s*\.\.\.)?")


def parse_signature(name: str, text: str) -> Signature:
    """Parse ``(x NUMERIC [, n INTEGER]) -> DOUBLE``.

    Parameters
    ----------
    name
        Of the function.
    text
        Arguments in the words of `ACCEPTED_KINDS`, the result in those of `RESULT_TYPES`.

    Returns
    -------
    signature
        One way to call it.

    Raises
    ------
    UserError
        A word is no type.
    """
    parameter_text, _, result = text.rpartition("->")
    parameter_text = parameter_text.strip()[1:-1]
    required, _, optional = parameter_text.partition("[")
    args = [
        FunctionParameter(
            m[1],
            m[2],
            is_optional=part is optional,
            must_be_literal=bool(m[4]),
            is_repeated=bool(m[5]),
            unit=m[3] or "",
        )
        for part in (required, optional)
        for m in _PARAMETER_REGEX.finditer(part)
    ]
    result = result.strip()
    for word, allowed_words in [
        *((arg.type_word, ACCEPTED_KINDS) for arg in args),
        (result, (*RESULT_TYPES, *CALL_DEPENDENT_RESULTS)),
    ]:
        if word not in allowed_words:
            raise UserError(
                format_message("{name}{form}: {word!r} is no type", name, text, word),
                remedy=join_messages(
                    "{one} {other}",
                    filter(
                        None,
                        (
                            suggest_spelling(word, allowed_words),
                            format_message("known: {names}", ", ".join(allowed_words)),
                        ),
                    ),
                ),
            )
    return Signature(tuple(args), result, f"{name}{text}", RESULT_TYPES.get(result))


_UDF_TYPE_NAMES = {
    "NUMERIC": "DOUBLE PRECISION",
    "TEXT": "VARCHAR",
    "DOUBLE": "DOUBLE PRECISION",
    "GEOMETRY": "REGION",
    "SAME": "DOUBLE PRECISION",
    "ORDERED": "DOUBLE PRECISION",
    "COMMON": "DOUBLE PRECISION",
    "ANY": "VARCHAR",
    "ARRAY": "DOUBLE PRECISION[]",
    "ELEMENT": "DOUBLE PRECISION",
    "TOTAL": "DOUBLE PRECISION",
}


def _iterate_declared_forms(name: str, signature: Signature) -> Iterator[str]:
    for count in range(signature.min_argument_count, len(signature.parameters) + 1):
        args = ", ".join(
            f"{arg.name} {_UDF_TYPE_NAMES.get(arg.type_word, arg.type_word)}" for arg in signature.parameters[:count]
        )
        yield f"{name.lower()}({args}) -> {_UDF_TYPE_NAMES.get(signature.result, signature.result)}"


def define_function(group: str, name: str, *signatures: str, **facts: Any) -> FunctionDefinition:
    """Make the entry of a function, for the table or for a plug-in.

    Parameters
    ----------
    group
        A key of `FUNCTION_GROUPS`: ``udf``, ``aggregate``, ``mapping`` ...
    name
        In upper case.
    signatures
        Each is one way to call it, ``(x NUMERIC [, n INTEGER LITERAL]) -> DOUBLE``, in the words of `ACCEPTED_KINDS`
        and `Signature`.
    facts
        Further attributes of `FunctionDefinition`: ``doc``, ``example``, ``sql``, ``unit``, ``ucd`` ...

    Returns
    -------
    entry
        For `FUNCTION` of a plug-in's module.

    Raises
    ------
    UserError
        A word is not known.
    """
    if group not in FUNCTION_GROUPS:
        raise UserError(
            format_message("{name}: there is no group {group!r} of functions", name, group),
            remedy=format_message("known: {names}", ", ".join(FUNCTION_GROUPS)),
        )
    return FunctionDefinition(
        name=name, signatures=tuple(parse_signature(name, text) for text in signatures), group=group, **facts
    )
