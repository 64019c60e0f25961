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
from hven.adql.tree import (
    And,
    Between,
    Cast,
    ColumnRef,
    Compare,
    Expr,
    In,
    IsNull,
    Literal,
    Not,
    Or,
    Subquery,
    ref,
    walk,
)
from hven.model.errors import BindError, UserError, say

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.table import Column

NOW, READER, GROUPS = WORDS = ("now", "reader", "groups")
SEPARATORS: Final = "/;|\n"  # between several people in one text
TURNED: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
READERS = 4096  # whose conditions are remembered
AHEAD = 1000  # moments to come that are asked for at once
MOST = 10  # people and groups of a policy that are tried in all their combinations
PEOPLE = 1_000_000  # different texts of a column in which people are looked for
SOMEBODY: Final = ("somebody",)


@dataclass(frozen=True, slots=True)
class Delegation:
    """Whose rows a reader has as if they were their own.

    Attributes
    ----------
    name
        Who stands in the rows, as `normal` writes it.
    column, value
        Of these rows alone: those that have this value there; empty: of all.
    until
        Microseconds since 1970; may be infinite.
    """

    name: str
    column: str = ""
    value: str = ""
    until: float = math.inf


class Reader(Protocol):
    """Who asks."""

    @property
    def names(self) -> frozenset[str]:
        """All their names, as `normal` writes them."""

    @property
    def groups(self) -> frozenset[str]:
        """Those they are in."""

    @property
    def delegations(self) -> frozenset[Delegation]:
        """Whose rows they have besides."""


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

        Raises
        ------
        UserError
            There are too many different ones in the column.
        """
        known = self._people.get(column.name.name)
        if known is None:
            known = {}
            for number, text in enumerate(self._ask(column)):
                if number == PEOPLE:
                    message = say("{column} has more than {count:,} different texts", column.name.name, PEOPLE)
                    raise UserError(message, remedy="name people in a column of accounts, or by a group")
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


ANY: Final = Facts(lambda _: SOMEBODY, lambda _, now: (now, ()))  # whatever rows have


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
        tree = parse_condition(text)
        check_policy(tree, self._columns, text)
        self._tree = simple(tree)
        self._lock = threading.Lock()
        self._known: dict[
            tuple[frozenset[str], frozenset[str], frozenset[Delegation]], tuple[int, float, Expr | None]
        ] = {}

    @property
    def opens(self) -> Expr | None:
        """The time from which everybody passes, over the table, not bound; None: no row has one."""
        ways = self._tree.parts if isinstance(self._tree, Or) else (self._tree,)
        times = [
            one.left for one in ways if isinstance(one, Compare) and word(one.right) == NOW and one.op in {"<", "<="}
        ]
        return times[0] if times else None

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
        key = (who.names, who.groups, who.delegations)
        with self._lock:
            known = self._known.get(key)
            if known is None or not known[0] <= moment < known[1]:
                if len(self._known) >= READERS:
                    self._known.clear()
                asked = _Asked(who.names, who.groups, moment, self._facts, who.delegations, self._columns)
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
    delegations: frozenset[Delegation] = frozenset()
    columns: Sequence[Column] = ()
    until: float = math.inf

    def left(self, node: Expr) -> Expr | bool:
        """Return what is left of a `simple` condition: true, false, or a condition of the table alone."""
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
        if isinstance(node, Compare) and word(node.right) == NOW:
            # before now is what was up to the microsecond before; whatever lies between two moments of the rows is the same as the first of them
            strict, past = node.op in {"<", ">="}, node.op in {"<", "<="}
            last, until = self.facts.around(node.left, self.now - strict)
            self.until = min(self.until, until + strict)
            return Compare("<=" if past else ">", node.left, instant(BEFORE if last is None else last), at=node.at)
        if isinstance(node, In) and word(node.operand) == READER:
            return self._named(node)
        if isinstance(node, In) and any(word(one) == GROUPS for one in listed(node)):
            if isinstance(node.operand, Literal):
                return str(node.operand.value) in self.groups
            found = _one_of(node.operand, sorted(self.groups))
            return found[0] if found else False
        return node

    def _named(self, node: In) -> Expr | bool:
        """Tell whether the reader is among them: that is never unknown, so NOT turns it about for rows without a name, too."""
        parts: list[Expr] = []
        for one in listed(node):
            if isinstance(one, Literal) and normal(str(one.value)) in self.names:
                return True
            if not isinstance(one, ColumnRef):
                continue
            if self.names:
                parts += _one_of(one, self.facts.written(one, self.names))
            for given in self.delegations:
                parts += self._given(given, one)
        return False if not parts else parts[0] if len(parts) == 1 else Or(tuple(parts), at=node.at)

    def _given(self, given: Delegation, column: ColumnRef) -> Sequence[Expr]:
        """Return the rows of somebody else that the reader has for a while, if this table has what tells which."""
        within = next((one for one in self.columns if one.name.lower() == given.column.lower()), None)
        if self.now >= given.until or (given.column and within is None):
            return ()
        self.until = min(self.until, given.until)
        rows = _one_of(column, self.facts.written(column, {given.name}))
        if within is None or not rows:
            return rows
        # whatever its type: compared as people write it
        text = Cast(ref(within.name), "VARCHAR")
        return [And((*rows, *_one_of(text, (given.value,))))]


def simple(node: Expr) -> Expr:
    """Write a policy with its words in three forms alone: ``time op now``, ``reader IN (..)``, ``value IN (groups)``.

    Parameters
    ----------
    node
        As it was parsed; what is wrong in it stays as it is.
    """
    if isinstance(node, And | Or):
        return replace(node, parts=tuple(simple(part) for part in node.parts))
    if isinstance(node, Not):
        return replace(node, operand=simple(node.operand))
    if isinstance(node, Between) and NOW in map(word, (node.operand, node.low, node.high)):
        ends = (Compare(">=", node.operand, node.low, at=node.at), Compare("<=", node.operand, node.high, at=node.at))
        both: Expr = And(tuple(simple(end) for end in ends), at=node.at)
        return Not(both, at=node.at) if node.negated else both
    if isinstance(node, Compare) and word(node.left) == NOW and node.op in TURNED:
        return Compare(TURNED[node.op], node.right, node.left, at=node.at)
    if isinstance(node, Compare) and READER in map(word, (node.left, node.right)) and node.op in {"=", "<>"}:
        who, other = (node.left, node.right) if word(node.left) == READER else (node.right, node.left)
        found: Expr = In(who, (other,), at=node.at)
        return Not(found, at=node.at) if node.op == "<>" else found
    if isinstance(node, In) and node.negated and {READER, GROUPS} & {word(node.operand), *map(word, listed(node))}:
        return Not(replace(node, negated=False), at=node.at)
    return node


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
    made = simple(tree)
    placed: set[int] = set()
    for node in walk(made):
        if isinstance(node, Compare) and NOW in (word(node.left), word(node.right)):
            if node.op not in TURNED or word(node.left) == NOW:
                raise BindError(
                    "now is no moment that a row could have",
                    text=text,
                    offset=node.at,
                    remedy="write a time <= now, or a time > now",
                )
            placed.add(id(node.right))
        elif isinstance(node, In) and word(node.operand) == READER:
            _named(listed(node) or (node.operand,), text)
            placed.add(id(node.operand))
        elif isinstance(node, In) and [word(one) for one in listed(node)] == [GROUPS]:
            placed |= {id(one) for one in listed(node)}
    for node in walk(made):
        said = word(node)
        if said is not None and id(node) not in placed:
            raise BindError(
                say("{word} does not stand here in a policy", said), text=text, offset=node.at, remedy=USES[said]
            )
    if columns is None:
        return
    left = _Asked(frozenset(SOMEBODY), frozenset(SOMEBODY), 0, ANY).left(made)
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
    """Tell in words who passes a policy.

    Parameters
    ----------
    tree
        As it was parsed.

    Returns
    -------
    ways
        One line for each.
    """
    made = simple(tree)
    return [_told(way) for way in (made.parts if isinstance(made, Or) else (made,))]


def _told(way: Expr) -> str:
    who, when, where = [], [], []
    for part in way.parts if isinstance(way, And) else (way,):
        if isinstance(part, In) and word(part.operand) == READER:
            who.append(f"whoever is named in {' or '.join(map(write, listed(part)))}")
        elif isinstance(part, In) and any(word(one) == GROUPS for one in listed(part)):
            said = part.operand
            named = str(said.value) if isinstance(said, Literal) else f"that {write(said)} names"
            who.append(f"members of the group {named}")
        elif isinstance(part, Compare) and word(part.right) == NOW:
            past = part.op in {"<", "<="}
            when.append(f"{'once' if past else 'as long as'} {write(part.left)} has {'' if past else 'not '}come")
        else:
            where.append(f"where {write(part)}")
    return ", ".join([" who is also ".join(who) or "everybody", *when, *where])


def sees_all(tree: Expr) -> bool | None:
    """Return whether everybody passes a policy, or nobody, whatever is in the rows; None: neither.

    Parameters
    ----------
    tree
        As it was parsed.
    """
    made = simple(tree)
    people, groups = set(SOMEBODY), set(SOMEBODY)
    for node in walk(made):
        if isinstance(node, In) and word(node.operand) == READER:
            people |= {normal(str(one.value)) for one in listed(node) if isinstance(one, Literal)}
        elif isinstance(node, In) and isinstance(node.operand, Literal):
            groups.add(str(node.operand.value))
    if len(people) + len(groups) > MOST:
        return None
    found = {
        left if isinstance(left := _Asked(frozenset(names), frozenset(those), 0, ANY).left(made), bool) else None
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
    "PEOPLE",
    "Delegation",
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
