"""Definitions of functions: signatures, result, documentation and example, for plug-ins also SQL and translations."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

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
    ColumnType,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from hven.adql.syntax_tree import Expr, FunctionCall

# type word of a parameter -> the kinds of values that it accepts, as `hven.adql.value_kinds` names them
ACCEPTED_KINDS: dict[str, frozenset[str]] = {
    "NUMERIC": frozenset({"number"}),
    "REAL": frozenset({"number"}),
    "INTEGER": frozenset({"integer"}),
    "BIGINT": frozenset({"integer"}),
    "TEXT": frozenset({"text"}),
    "TIMESTAMP": frozenset({"time", "text"}),  # a string in ISO 8601 is read as a timestamp
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
NUMBER_ARRAY_KINDS = frozenset({"array", "interval"})  # kinds of arrays whose elements can be numbers
RESULT_TYPES: dict[str, ColumnType] = {
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
    "INTEGER[]": ColumnType("int", "*"),
    "DOUBLE[]": ColumnType("double", "*"),
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
    """One parameter of a signature.

    Attributes
    ----------
    name
        The name for the documentation.
    type_word
        A key of `ACCEPTED_KINDS`.
    is_optional
        True if a call may leave out the argument and all after it.
    must_be_literal
        True if the argument must be a literal, which is part of the query's shape.
    is_repeated
        True for the last parameter of a function with any number of arguments.
    unit
        The unit to which the argument is converted, ``{km}`` in a signature. With ``?`` after it, an argument without a
        unit is allowed and not converted.
    """

    name: str
    type_word: str
    is_optional: bool = False
    must_be_literal: bool = False
    is_repeated: bool = False
    unit: str = ""


@dataclass(frozen=True, slots=True)
class FunctionSignature:
    """One way to call a function.

    Attributes
    ----------
    parameters
        The parameters in order.
    result
        A key of `RESULT_TYPES`, or a word for a type that depends on the arguments: SAME (the type of the first),
        COMMON (the type that holds all), SUM (the type of a sum), ELEMENT (the type of an array's elements) or TOTAL
        (the type of their sum).
    text
        The signature for users: ``POWER(x NUMERIC, y NUMERIC) -> DOUBLE``.
    type
        The type of the result; None if it depends on the arguments.
    """

    parameters: tuple[FunctionParameter, ...]
    result: str
    text: str
    type: ColumnType | None = None

    @property
    def min_argument_count(self) -> int:
        """The minimum number of arguments."""
        return sum(not parameter.is_optional for parameter in self.parameters)

    @property
    def max_argument_count(self) -> int | None:
        """The maximum number of arguments; None if there is no maximum."""
        if self.parameters and self.parameters[-1].is_repeated:
            return None
        return len(self.parameters)

    def get_argument_parameter(self, argument_index: int) -> FunctionParameter:
        """Return the parameter of an argument; the last parameter can take several arguments.

        Parameters
        ----------
        argument_index
            The position of the argument, from 0.
        """
        last_index = len(self.parameters) - 1
        return self.parameters[min(argument_index, last_index)]


class DescriptorCallContext(Protocol):
    """A call in an expression of a descriptor, and the table of the expression."""

    @property
    def call(self) -> FunctionCall:
        """The call as the descriptor has it."""

    @property
    def directory(self) -> str:
        """The directory from which relative paths start."""

    @property
    def has_header_columns(self) -> bool:
        """True if all sources of the table read headers of files, whose columns packages compute."""

    @property
    def has_selected_cards(self) -> bool:
        """True if a source names the cards that it reads (``cards``)."""

    @property
    def is_table_on_body(self) -> bool:
        """True if the positions of the table are on a body."""

    def find_source_column(self, name: str) -> Expr | None:
        """Find a column of the sources, for expressions.

        Parameters
        ----------
        name
            Its name; an exact match goes before one in another case.

        Returns
        -------
        column
            A reference to the column; None if there is none.
        """

    def expand_arguments(self) -> tuple[Expr, ...]:
        """Replace the names in the arguments of the call by what they stand for.

        Returns
        -------
        arguments
            The arguments.
        """

    def raise_call_error(self, message: str, remedy: str) -> NoReturn:
        """Report that the call is wrong, and end the expression.

        Parameters
        ----------
        message, remedy
            What is wrong, and how to correct it.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionDefinition:
    """The definition of one function.

    Attributes
    ----------
    name
        The name in upper case.
    signatures
        The ways to call it.
    doc
        A sentence that says what the function returns.
    group
        One of `FUNCTION_GROUPS`. Only mapping expressions of a descriptor may call a function of ``mapping``.
    unit
        The unit of the result; empty: none; ``same``: the unit of the first argument.
    ucd
        The UCD of the result; empty: none; ``same``: the UCD of the first argument; ``+word``: that UCD with the word
        appended.
    volatile
        True if equal calls may return different values.
    example
        A call and its result in SQL: ``LENGTH('été') is 3``. With ``~`` before it, the result is rounded to nine
        digits. Without a result, each call returns another one.
    sql
        Name of an engine -> template, as in `hven.adql.sql_writer.SqlDialect.functions`, or a function ``write(writer,
        call)`` that returns the SQL of a bound call; the writer is a `hven.adql.sql_writer.SqlWriter`. What the dialect
        has takes precedence.
    words
        The words that the last argument may be, if it is a literal text and not the only argument; empty: any.
    accepts_word
        Tells of another word whether the last argument may be it; None: it may not.
    expand_call
        Replaces a call as a descriptor has it before it is bound: ``expand(context)`` with a `DescriptorCallContext`;
        None as its result leaves the call as it is.
    texts
        Language -> English text -> translation, for pages.
    """

    name: str
    signatures: tuple[FunctionSignature, ...]
    doc: str
    group: str
    unit: str = ""
    ucd: str = ""
    volatile: bool = False
    example: str = ""
    sql: Mapping[str, str | Callable[[Any, FunctionCall], str]] = field(default_factory=dict)
    words: tuple[str, ...] = ()
    accepts_word: Callable[[str], bool] | None = None
    expand_call: Callable[[DescriptorCallContext], Expr | None] | None = None
    texts: Mapping[str, Mapping[str, str]] = field(default_factory=dict)

    @property
    def aggregate(self) -> bool:
        """True if the function computes one value from the rows of a group."""
        return self.group == "aggregate"

    @property
    def mapping(self) -> bool:
        """True if only mapping expressions may call the function."""
        return self.group == "mapping"

    @property
    def declared_forms(self) -> tuple[str, ...]:
        """The forms of a user defined function in TAPRegExt: one for each number of arguments of each signature."""
        forms: list[str] = []
        for signature in self.signatures:
            forms.extend(_iterate_declared_forms(self.name, signature))
        return tuple(forms)


_PARAMETER_REGEX = re.compile(r"(\w+)\s+(\w+)(?:\{([^}]+)\})?(\s+LITERAL)?(\s*\.\.\.)?")


def parse_function_signature(function_name: str, text: str) -> FunctionSignature:
    """Parse ``(x NUMERIC [, n INTEGER]) -> DOUBLE``.

    Parameters
    ----------
    function_name
        The name of the function.
    text
        The parameters with type words of `ACCEPTED_KINDS`, and the result as in `FunctionSignature.result`.

    Returns
    -------
    signature
        The signature.

    Raises
    ------
    UserError
        A type word is unknown.
    """
    parameters_text, _, result_text = text.rpartition("->")
    required_text, _, optional_text = parameters_text.strip()[1:-1].partition("[")
    parameters = [
        *_parse_parameters(required_text, is_optional=False),
        *_parse_parameters(optional_text, is_optional=True),
    ]
    result = result_text.strip()
    checked_words: list[tuple[str, Collection[str]]] = [
        *((parameter.type_word, ACCEPTED_KINDS) for parameter in parameters),
        (result, (*RESULT_TYPES, *CALL_DEPENDENT_RESULTS)),
    ]
    for word, allowed_words in checked_words:
        if word not in allowed_words:
            message = format_message("{name}{form}: {word!r} is not a type", function_name, text, word)
            suggestion = suggest_spelling(word, allowed_words)
            known_words = format_message("use one of {names}", ", ".join(allowed_words))
            remedy = join_messages("{one} {other}", filter(None, (suggestion, known_words)))
            raise UserError(message, remedy=remedy)
    return FunctionSignature(tuple(parameters), result, f"{function_name}{text}", RESULT_TYPES.get(result))


def _parse_parameters(text: str, *, is_optional: bool) -> Iterator[FunctionParameter]:
    """Yield the parameters in a part of a signature."""
    for match in _PARAMETER_REGEX.finditer(text):
        name, type_word, unit, literal_word, repeat_mark = match.groups()
        yield FunctionParameter(
            name,
            type_word,
            is_optional=is_optional,
            must_be_literal=bool(literal_word),
            is_repeated=bool(repeat_mark),
            unit=unit or "",
        )


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


def _iterate_declared_forms(name: str, signature: FunctionSignature) -> Iterator[str]:
    """Yield the forms of a signature without optional parameters, in the types of ADQL."""
    result_type = _UDF_TYPE_NAMES.get(signature.result, signature.result)
    parameter_texts: list[str] = []
    for parameter in signature.parameters:
        parameter_type = _UDF_TYPE_NAMES.get(parameter.type_word, parameter.type_word)
        parameter_texts.append(f"{parameter.name} {parameter_type}")
    for count in range(signature.min_argument_count, len(parameter_texts) + 1):
        yield f"{name.lower()}({', '.join(parameter_texts[:count])}) -> {result_type}"


def define_function(group: str, name: str, *signatures: str, **facts: Any) -> FunctionDefinition:
    """Define a function, for the tables here or for a plug-in.

    Parameters
    ----------
    group
        One of `FUNCTION_GROUPS`: ``udf``, ``aggregate``, ``mapping`` ...
    name
        The name in upper case.
    signatures
        The ways to call it, each of the form ``(x NUMERIC [, n INTEGER LITERAL]) -> DOUBLE``, with the type words of
        `ACCEPTED_KINDS` and a result as in `FunctionSignature`.
    facts
        Further attributes of `FunctionDefinition`: ``doc``, ``example``, ``sql``, ``unit``, ``ucd`` ...

    Returns
    -------
    entry
        The definition, for instance for `FUNCTION` in the module of a plug-in.

    Raises
    ------
    UserError
        The group or a type word is unknown.
    """
    if group not in FUNCTION_GROUPS:
        message = format_message("{name}: {group!r} is not a group of functions", name, group)
        remedy = format_message("use one of {names}", ", ".join(FUNCTION_GROUPS))
        raise UserError(message, remedy=remedy)
    parsed_signatures = tuple(parse_function_signature(name, text) for text in signatures)
    return FunctionDefinition(name=name, signatures=parsed_signatures, group=group, **facts)
