"""Where in a query a value could not be computed: engines say what failed, not where, so the expressions that may fail so are looked for."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hven.adql._parser import parse
from hven.adql.tree import Binary, Cast, Derived, Function, In, Literal, Query, Subquery, walk
from hven.model.errors import EvaluationError, HvenError, joined, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

_INTO: Final = re.compile(
    r"(?:cannot be read as|is out of the range of) (SMALLINT|INTEGER|BIGINT|REAL|DOUBLE PRECISION|BYTE|BOOLEAN|TIMESTAMP)"
)
_SUM: Final = re.compile(r"(\S+) ([-+*/%]) (\S+) is out of the range")
_CALLS: Final = (
    (re.compile(r"abs\(", re.IGNORECASE), ("ABS",)),
    (re.compile(r"square root"), ("SQRT",)),
    (re.compile(r"logarithm"), ("LOG", "LOG10", "LN")),
    (re.compile(r"regular expression|missing [)\]]|invalid escape|no argument for repetition", re.IGNORECASE), ()),
)
ANY: Final = say("expressions")  # where nothing tells which kind of them
_PLACES: Final = 4  # that are named at most


def placed(error: EvaluationError, text: str, bound: Query | None = None) -> EvaluationError:
    """Locate the expression of a query that an evaluation failed in; if several may have, the first one, and all of them are named.

    Parameters
    ----------
    error
        As the engine raised it.
    text
        The query as it was sent.
    bound
        The same, bound: with the views that it reads. What may have failed in one of them is told by where the view is read.

    Returns
    -------
    error
        With its place in the text; the same object where nothing is found.
    """
    if error.text or not text:
        return error
    try:
        tree = parse(text)
    except HvenError:
        return error
    what, ats = _suspects(error.message, tree)
    in_views = [(view.at, *_suspects(error.message, view.query)) for view in ([] if bound is None else _views(bound))]
    exact = bool(ats) and what != ANY
    at_fault = [(at, kind) for at, kind, places in in_views if places and (kind != ANY or not exact)]
    if at_fault and exact:  # the view or the text: neither is blamed alone
        shown = _shown(text, ats)
        message = say(
            "{message} (in one of the {what} at {shown}, or in the view that is read at {place})",
            error.message,
            what,
            shown,
            _where(text, at_fault[0][0]),
        )
        return EvaluationError(message, remedy=error.remedy)
    if at_fault:
        message = say("{message} (in the view that is read here)", error.message)
        return EvaluationError(message, text=text, offset=at_fault[0][0], remedy=error.remedy)
    if not ats:
        return error
    message = say(error.message)
    if len(ats) > 1:
        shown = _shown(text, ats)
        message = say("{message} (in one of {count} {what}: {shown})", message, len(ats), what, shown)
    return EvaluationError(message, text=text, offset=ats[0], remedy=error.remedy)


def _views(bound: Query) -> list[Derived]:
    """Return the views that a query reads itself: each is a derived table with a text of its own."""
    found: list[Derived] = []
    inside: set[int] = set()
    for node in walk(bound):
        if isinstance(node, Derived) and node.query.text and id(node) not in inside:
            found.append(node)
            inside |= {id(inner) for inner in walk(node.query)}
    return found


def _suspects(message: str, tree: Query) -> tuple[str, list[int]]:
    """Return what may have failed, in the plural, and where it stands."""
    nodes = list(walk(tree))
    into, between = _INTO.search(message), _SUM.search(message)
    if "several rows" in message:
        choices = {id(node.choices) for node in nodes if isinstance(node, In)}
        return say("subqueries"), _ats(nodes, lambda node: isinstance(node, Subquery) and id(node) not in choices)
    if between is not None:
        left, op, right = between.groups()
        return say("operations {op}", op), _ats(
            nodes,
            lambda node: (
                isinstance(node, Binary) and node.op == op and _may_be(node.left, left) and _may_be(node.right, right)
            ),
        )
    for pattern, names in _CALLS:
        if pattern.search(message):
            return say("calls"), _ats(
                nodes,
                lambda node, names=names: isinstance(node, Function) and _called(node.name, names),  # type: ignore[misc]
            )
    wanted = into[1] if into is not None else "TIMESTAMP" if "timestamp" in message else ""
    casts = _ats(nodes, lambda node: isinstance(node, Cast) and node.target == wanted)
    if casts and wanted:
        return say("CASTs"), casts
    calls = _ats(
        nodes,
        lambda node: (
            isinstance(node, Function)
            and node.name in {"SUM", "ROUND", "TRUNCATE", "FLOOR", "CEILING", "POWER", "EXP", "TIMESTAMP"}
        ),
    )
    if calls and into is not None:
        return say("calls"), calls
    casts = _ats(nodes, lambda node: isinstance(node, Cast))
    if casts and (wanted or "cast" in message.lower() or "convert" in message.lower()):
        return say("CASTs"), casts
    return ANY, _ats(nodes, lambda node: isinstance(node, Cast | Function | Binary))


def _may_be(node: Any, value: str) -> bool:
    """Return whether an operand may have had the value that the engine names."""
    return not isinstance(node, Literal) or str(node.value) == value


def _called(name: str, names: tuple[str, ...]) -> bool:
    return name in names if names else name.startswith("REGEXP")


def _ats(nodes: Iterable[Any], suspect: Callable[[Any], bool]) -> list[int]:
    return sorted({node.at for node in nodes if node.at >= 0 and suspect(node)})


def _shown(text: str, ats: Sequence[int]) -> str:
    return joined(
        "{one}; {other}", [*(_where(text, at) for at in ats[:_PLACES]), *([".."] if len(ats) > _PLACES else [])]
    )


def _where(text: str, at: int) -> str:
    before = text[:at]
    return say("line {line}, column {column}", before.count(chr(10)) + 1, at - before.rfind(chr(10)))
