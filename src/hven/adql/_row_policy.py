"""Policies of descriptors: a condition over the row and the reader, made a plain condition of the table for each reader at a moment.

``release_date <= now or reader in (pi, coi) or 'spica' in groups``. Three words are known only there: ``now`` (compared with times), ``reader``
(by any of their names) and ``groups``. What is left of a policy for a reader has none of them: it is the same text from one moment at which
something changes to the next, so that plans, answers and tags that were made under it may be used until then.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import chain, combinations
from typing import TYPE_CHECKING, Final, Protocol

from hven.adql._parser import parse_condition, parse_expression
from hven.adql.bind import bind_condition
from hven.adql.functions import QUERY
from hven.adql.text import write
from hven.adql.tree import And, Between, ColumnRef, Compare, Expr, In, IsNull, Literal, Not, Or, Subquery, walk
from hven.model.errors import BindError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.table import Column

NOW, READER, GROUPS = WORDS = ("now", "reader", "groups")
SEPARATORS: Final = "/;|\n"  # between several people in one text
TURNED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
READERS = 4096  # whose conditions are remembered
AHEAD = 1000  # moments to come that are asked for at once
MOST = 10  # people and groups of a policy that are tried in all their combinations
SOMEBODY: Final = ("somebody",)


class Reader(Protocol):
    """Who asks."""

    @property
    def names(self) -> frozenset[str]:
        """All their names, as `normal` writes them."""

    @property
    def groups(self) -> frozenset[str]:
        """Those they are in."""


def present() -> int:
    """Return the moment that policies call now: microseconds since 1970, as the machine's clock has it."""
    return time.time_ns() // 1000


def names_in(text: str) -> frozenset[str]:
    """Return the people that a text names: split at ``/``, ``;``, ``|`` and ends of lines, without case, blanks evened.

    Parameters
    ----------
    text
        Of a row: a name, an e-mail address, or several.
    """
    for sign in SEPARATORS[1:]:
        text = text.replace(sign, SEPARATORS[0])
    return frozenset(name for part in text.split(SEPARATORS[0]) if (name := normal(part)))


def normal(name: str) -> str:
    """Write a name without case, with single blanks.

    Parameters
    ----------
    name
        Of a person.

    Returns
    -------
    name
        Equal for all spellings.
    """
    return " ".join(name.casefold().split())


class Facts:
    """What policies must know of the rows of a snapshot; asked of it once, or anew when it is no longer so.

    Parameters
    ----------
    people
        Given a column, the distinct texts in it.
    moments
        Given an expression and a moment, the last value of it up to then (None: there is none), and the next ones, in order, `AHEAD` at most.
        Moments are microseconds since 1970.
    """

    def __init__(
        self,
        people: Callable[[ColumnRef], Iterable[str]],
        moments: Callable[[Expr, int], tuple[int | None, Sequence[int]]],
    ) -> None:
        self._ask, self._moments = people, moments
        self._people: dict[str, dict[str, list[str]]] = {}
        self._known: dict[Expr, tuple[int, list[int], float]] = {}

    def written(self, column: ColumnRef, names: Iterable[str]) -> list[str]:
        """List the texts of a column in which one of these names stands.

        Parameters
        ----------
        column
            Of the table.
        names
            As `normal` writes them.

        Returns
        -------
        texts
            As rows have them, in order.
        """
        known = self._people.get(column.name.name)
        if known is None:
            known = {}
            for text in self._ask(column):
                for name in names_in(text):
                    known.setdefault(name, []).append(text)
            self._people[column.name.name] = known
        return sorted(set(chain.from_iterable(known.get(name, ()) for name in names)))

    def around(self, expr: Expr, now: int) -> tuple[int | None, float]:
        """Return the last moment that an expression takes up to now, and when the next one comes.

        Parameters
        ----------
        expr
            Over the table: a time.
        now
            Microseconds since 1970.

        Returns
        -------
        last
            Microseconds since 1970; None: none was yet.
        until
            Likewise; infinite if none will be.
        """
        begun, times, until = self._known.get(expr, (0, [], -math.inf))
        if not begun <= now < until:  # more than is known has passed, or the clock went back
            last, coming = self._moments(expr, now)
            begun, times = now if last is None else last, [*(() if last is None else (last,)), *coming]
            until = times[-1] if len(coming) == AHEAD else math.inf
            self._known[expr] = begun, times, until
        at = bisect_right(times, now)
        return (times[at - 1] if at else None), (times[at] if at < len(times) else math.inf)


class RowPolicy:
    """Who sees which rows of a table.

    Parameters
    ----------
    text
        The policy.
    columns
        Of the table.
    facts
        Of its rows.

    Raises
    ------
    ParseError, BindError
        It does not fit the table.
    """

    def __init__(self, text: str, columns: Sequence[Column], facts: Facts) -> None:
        self._columns = tuple(columns)
        self._facts = facts
        self._tree = parse_condition(text)
        self._lock = threading.Lock()
        self._known: dict[tuple[frozenset[str], frozenset[str]], tuple[int, float, Expr | None]] = {}
        check_policy(self._tree, self._columns, text)

    def condition(self, who: Reader) -> tuple[Expr | None, int, float]:
        """Return the condition that a reader's rows meet, bound, and from when until when it is that.

        Parameters
        ----------
        who
            The reader.

        Returns
        -------
        condition
            None: every row.
        since, until
            Microseconds since 1970; the second may be infinite.
        """
        moment = present()
        key = (who.names, who.groups)
        with self._lock:
            known = self._known.get(key)
            if known is None or not known[0] <= moment < known[1]:
                if len(self._known) >= READERS:
                    self._known.clear()
                asked = _Asked(who.names, who.groups, moment, self._facts)
                left = asked.left(self._tree)
                until = asked.until
                bound = (
                    None
                    if left is True
                    else bind_condition(left if isinstance(left, Expr) else NEVER, self._columns, functions=QUERY)
                )
                known = self._known[key] = moment, until, bound
        return known[2], known[0], known[1]


USES: Final = {
    NOW: "compare it with a time: release_date <= now",
    READER: "write reader in (pi, coi), reader = 'anna'",
    GROUPS: "write 'spica' in groups, project in groups",
}
EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (times of tables have no zone: they are UTC)
BEFORE: Final = -62_135_596_800_000_000  # the year 1, before any release
NEVER: Final = Compare("=", Literal(1), Literal(0))


@dataclass
class _Asked:
    """One reader at one moment."""

    names: frozenset[str]
    groups: frozenset[str]
    now: int
    facts: Facts
    until: float = math.inf

    def left(self, node: Expr) -> Expr | bool:
        """Return what is left of a condition: true, false, or a condition of the table alone."""
        if isinstance(node, And | Or):
            ends = isinstance(node, Or)  # what one true part makes true
            parts = [self.left(part) for part in node.parts]
            if ends in parts:
                return ends
            rest = tuple(part for part in parts if isinstance(part, Expr))
            return not ends if not rest else rest[0] if len(rest) == 1 else replace(node, parts=rest)
        if isinstance(node, Not):
            inner = self.left(node.operand)
            return not inner if isinstance(inner, bool) else replace(node, operand=inner)
        if isinstance(node, Between) and any(word(part) == NOW for part in (node.operand, node.low, node.high)):
            inner = self.left(
                And(
                    (
                        Compare(">=", node.operand, node.low, at=node.at),
                        Compare("<=", node.operand, node.high, at=node.at),
                    ),
                    at=node.at,
                )
            )
            return inner if not node.negated else not inner if isinstance(inner, bool) else Not(inner, at=node.at)
        if isinstance(node, Compare):
            return self._compared(node)
        if isinstance(node, In) and (word(node.operand) == READER or any(word(one) == GROUPS for one in listed(node))):
            found = self._among(node)
            return found if not node.negated else not found if isinstance(found, bool) else Not(found, at=node.at)
        return node

    def _compared(self, node: Compare) -> Expr | bool:
        if READER in (word(node.left), word(node.right)):
            who, other = (node.left, node.right) if word(node.left) == READER else (node.right, node.left)
            return self.left(In(who, (other,), node.op == "<>", at=node.at))
        if NOW not in (word(node.left), word(node.right)):
            return node
        expr, op = (node.left, node.op) if word(node.right) == NOW else (node.right, TURNED[node.op])
        # before now is what was up to the microsecond before; whatever lies between two moments of the rows is the same as the first of them
        strict, past = op in {"<", ">="}, op in {"<", "<="}
        last, until = self.facts.around(expr, self.now - strict)
        self.until = min(self.until, until + strict)
        return Compare("<=" if past else ">", expr, instant(BEFORE if last is None else last), at=node.at)

    def _among(self, node: In) -> Expr | bool:
        """Tell who is among whom: a membership is never unknown, so NOT turns it about for rows without a name, too."""
        if word(node.operand) == READER:
            parts: list[Expr] = []
            for one in listed(node):
                if isinstance(one, Literal):
                    if normal(str(one.value)) in self.names:
                        return True
                elif isinstance(one, ColumnRef) and self.names:
                    parts += _one_of(one, self.facts.written(one, self.names))
            return False if not parts else parts[0] if len(parts) == 1 else Or(tuple(parts), at=node.at)
        if isinstance(node.operand, Literal):
            return str(node.operand.value) in self.groups
        found = _one_of(node.operand, sorted(self.groups))
        return found[0] if found else False


def _one_of(expr: Expr, texts: Sequence[str]) -> list[Expr]:
    if not texts:
        return []
    return [
        And(
            (Not(IsNull(expr, at=expr.at), at=expr.at), In(expr, tuple(Literal(text) for text in texts), at=expr.at)),
            at=expr.at,
        )
    ]


def word(node: object) -> str | None:
    """Return the word of policies that a node is, if it is one."""
    if isinstance(node, ColumnRef) and not node.qualifier and not node.name.quoted and node.name.name.lower() in WORDS:
        return node.name.name.lower()
    return None


def listed(node: In) -> Sequence[Expr]:
    """Return the values of IN; a subquery has none."""
    return () if isinstance(node.choices, Subquery) else tuple(node.choices)


def check_policy(tree: Expr, columns: Sequence[Column] | None, text: str) -> None:
    """Refuse a policy that does not fit a table, or has one of its words where it means nothing.

    Parameters
    ----------
    tree
        As it was parsed.
    columns
        Of the table; None: they are not known yet.
    text
        The policy, for line and column of errors.

    Raises
    ------
    BindError
        With the place in the text.
    """
    placed: set[int] = set()
    for node in walk(tree):
        if isinstance(node, Compare) and NOW in (sides := (word(node.left), word(node.right))):
            if node.op not in TURNED or sides[0] == sides[1]:
                raise BindError(
                    "now is no moment that a row could have",
                    text=text,
                    offset=node.at,
                    remedy="write a time <= now, or a time > now",
                )
            placed |= {id(side) for side in (node.left, node.right) if word(side) == NOW}
        elif isinstance(node, Between):
            placed |= {id(side) for side in (node.operand, node.low, node.high) if word(side) == NOW}
        elif isinstance(node, Compare) and READER in (word(node.left), word(node.right)) and node.op in {"=", "<>"}:
            who, other = (node.left, node.right) if word(node.left) == READER else (node.right, node.left)
            _named((other,), text)
            placed.add(id(who))
        elif isinstance(node, In) and word(node.operand) == READER:
            _named(listed(node) or (node.operand,), text)
            placed.add(id(node.operand))
        elif isinstance(node, In) and [word(one) for one in listed(node)] == [GROUPS]:
            placed |= {id(one) for one in listed(node)}
    for node in walk(tree):
        said = word(node)
        if said is not None and id(node) not in placed:
            raise BindError(
                say("{word} does not stand here in a policy", said), text=text, offset=node.at, remedy=USES[said]
            )
    if columns is None:
        return
    somebody = Facts(lambda _: SOMEBODY, lambda _, now: (now, ()))
    left = _Asked(frozenset(SOMEBODY), frozenset(SOMEBODY), 0, somebody).left(tree)
    if isinstance(left, Expr):
        bind_condition(left, columns, functions=QUERY, text=text)
    known = {column.name.lower() for column in columns}
    for node in walk(tree):  # what is folded away is bound, too
        if isinstance(node, ColumnRef) and word(node) is None and node.name.name.lower() not in known:
            bind_condition(IsNull(node, at=node.at), columns, functions=QUERY, text=text)


def _named(values: Sequence[Expr], text: str) -> None:
    for one in values:
        if not (isinstance(one, ColumnRef) and word(one) is None) and not (
            isinstance(one, Literal) and isinstance(one.value, str)
        ):
            raise BindError(
                "the reader is looked for in columns and texts", text=text, offset=one.at, remedy=USES[READER]
            )


def told(tree: Expr) -> list[str]:
    """Tell in words who sees a row.

    Parameters
    ----------
    tree
        A policy, as it was parsed.

    Returns
    -------
    ways
        One line for each.
    """
    return [_told(way) for way in (tree.parts if isinstance(tree, Or) else (tree,))]


def _told(way: Expr) -> str:
    who, when, where = [], [], []
    for part in way.parts if isinstance(way, And) else (way,):
        words = [word(one) for one in walk(part) if isinstance(one, ColumnRef)]
        if isinstance(part, In) and not part.negated and word(part.operand) == READER:
            who.append(f"whoever is named in {' or '.join(map(write, listed(part)))}")
        elif isinstance(part, In) and not part.negated and GROUPS in words:
            named = (
                str(part.operand.value) if isinstance(part.operand, Literal) else f"that {write(part.operand)} names"
            )
            who.append(f"members of the group {named}")
        elif isinstance(part, Compare) and NOW in (word(part.left), word(part.right)):
            expr, op = (part.left, part.op) if word(part.right) == NOW else (part.right, TURNED[part.op])
            when.append(
                f"once {write(expr)} has come" if op in {"<", "<="} else f"as long as {write(expr)} has not come"
            )
        else:
            where.append(f"where {write(part)}")
    return ", ".join([" who is also ".join(who) or "everybody", *when, *where])


def sees_all(tree: Expr) -> bool | None:
    """Return whether everybody sees every row by a policy, or nobody sees any, whatever is in them; None: neither.

    Parameters
    ----------
    tree
        As it was parsed.
    """
    facts = Facts(lambda _: SOMEBODY, lambda _, now: (now, ()))  # whatever rows have
    people, groups = set(SOMEBODY), set(SOMEBODY)
    for node in walk(tree):
        if isinstance(node, In) and word(node.operand) == READER:
            people |= {normal(str(one.value)) for one in listed(node) if isinstance(one, Literal)}
        elif isinstance(node, Compare) and READER in (word(node.left), word(node.right)):
            people |= {normal(str(one.value)) for one in (node.left, node.right) if isinstance(one, Literal)}
        elif isinstance(node, In) and isinstance(node.operand, Literal):
            groups.add(str(node.operand.value))
    if len(people) + len(groups) > MOST:
        return None
    found = {
        left if isinstance(left := _Asked(frozenset(names), frozenset(those), 0, facts).left(tree), bool) else None
        for names in _some(people)
        for those in _some(groups)
    }
    return found.pop() if len(found) == 1 else None


def _some(texts: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """Yield some of them, none, or all."""
    known = sorted(texts)
    return chain.from_iterable(combinations(known, number) for number in range(len(known) + 1))


def instant(moment: int) -> Expr:
    """Write a moment as a literal of ADQL.

    Parameters
    ----------
    moment
        Microseconds since 1970.

    Returns
    -------
    tree
        Not bound.
    """
    return parse_expression(
        f"CAST('{(EPOCH + timedelta(microseconds=moment)).isoformat(timespec='microseconds')}' AS TIMESTAMP)"
    )


__all__ = [
    "AHEAD",
    "EPOCH",
    "Facts",
    "RowPolicy",
    "check_policy",
    "instant",
    "names_in",
    "normal",
    "present",
    "sees_all",
    "told",
]
