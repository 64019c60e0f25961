"""Reduce policies of descriptors to plain conditions of the table for a reader at a moment.

A policy is a condition over the row and the reader:

``release_date <= now or reader in (pi, coi) or 'spica' in groups``. Three words are known only there: ``now`` (compared
with times), ``reader`` (by any of their names) and ``groups``. What is left of a policy for a reader has none of them:
it is the same text from one moment at which something changes to the next, so that plans, answers and tags that were
made under it may be used until then.
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
from hven.adql.adql_writer import quote_identifier, write_adql
from hven.adql.binder import bind_condition
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.syntax_tree import (
    BetweenPredicate,
    Cast,
    ColumnRef,
    Comparison,
    Conjunction,
    Disjunction,
    Expr,
    InPredicate,
    Literal,
    Negation,
    NullPredicate,
    Subquery,
    build_column_ref,
    walk_tree,
)
from hven.model.errors import BindError, UserError, format_message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hven.model.table import Column

NOW_WORD, READER_WORD, GROUPS_WORD = POLICY_WORDS = ("now", "reader", "groups")
PERSON_SEPARATORS: Final = "/;|\n"  # between several people in one text
MIRRORED_OPERATORS: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
MAX_CACHED_SUBJECTS = 4096  # whose conditions are remembered
MAX_UPCOMING_INSTANTS = 1000  # moments to come that are asked for at once
MAX_COMBINED_SUBJECTS = 10  # people and groups of a policy that are tried in all their combinations
MAX_PERSON_TEXTS = 1_000_000  # different texts of a column in which people are looked for
PLACEHOLDER_NAMES: Final = ("somebody",)


@dataclass(frozen=True, slots=True)
class Delegation:
    """Whose rows a reader has as if they were their own.

    Attributes
    ----------
    name
        Who stands in the rows, as `normalize_name` writes it.
    column, value
        Of these rows alone: those that have this value there; empty: of all.
    until
        Microseconds since 1970; may be infinite.
    """

    name: str
    column: str = ""
    value: str = ""
    until: float = math.inf


class PolicySubject(Protocol):
    """Who asks."""

    @property
    def names(self) -> frozenset[str]:
        """All their names, as `normalize_name` writes them."""

    @property
    def groups(self) -> frozenset[str]:
        """Those they are in."""

    @property
    def delegations(self) -> frozenset[Delegation]:
        """Whose rows they have besides."""


def get_current_instant() -> int:
    """Return the moment that policies call now: microseconds since 1970, as the machine's clock has it."""
    return time.time_ns() // 1000


def parse_person_names(text: str) -> frozenset[str]:
    """Return the people that a text names: split at ``/``, ``;``, ``|`` and ends of lines, without case, blanks evened.

    Parameters
    ----------
    text
        Of a row: a name, an e-mail address, or several.
    """
    for separator in PERSON_SEPARATORS[1:]:
        text = text.replace(separator, PERSON_SEPARATORS[0])
    return frozenset(name for part in text.split(PERSON_SEPARATORS[0]) if (name := normalize_name(part)))


def normalize_name(name: str) -> str:
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


class RowFacts:
    """What policies must know of the rows of a snapshot; asked of it once, or anew when it is no longer so.

    Parameters
    ----------
    list_texts
        Given a column, the distinct texts in it.
    find_instants
        Given an expression and a moment, the last value of it up to then (None: there is none), and the next ones, in
        order, `MAX_UPCOMING_INSTANTS` at most. Moments are microseconds since 1970.
    """

    def __init__(
        self,
        list_texts: Callable[[ColumnRef], Iterable[str]],
        find_instants: Callable[[Expr, int], tuple[int | None, Sequence[int]]],
    ) -> None:
        self._list_texts = list_texts
        self._find_instants = find_instants
        self._texts_by_person: dict[str, dict[str, list[str]]] = {}
        self._known_instants: dict[Expr, tuple[int, list[int], float]] = {}

    def find_texts(self, column: ColumnRef, person_names: Iterable[str]) -> list[str]:
        """List the texts of a column in which one of these names stands.

        Parameters
        ----------
        column
            Of the table.
        person_names
            As `normalize_name` writes them.

        Returns
        -------
        texts
            As rows have them, in order.

        Raises
        ------
        UserError
            There are too many different ones in the column.
        """
        texts_by_name = self._texts_by_person.get(column.name.name)
        if texts_by_name is None:
            texts_by_name = {}
            for number, text in enumerate(self._list_texts(column)):
                if number == MAX_PERSON_TEXTS:
                    message = format_message(
                        "{column} has more than {count:,} different texts", column.name.name, MAX_PERSON_TEXTS
                    )
                    raise UserError(message, remedy="name people in a column of accounts, or by a group")
                for name in parse_person_names(text):
                    texts_by_name.setdefault(name, []).append(text)
            self._texts_by_person[column.name.name] = texts_by_name
        return sorted(set(chain.from_iterable(texts_by_name.get(name, ()) for name in person_names)))

    def find_validity(self, expr: Expr, instant: int) -> tuple[int | None, float]:
        """Return the last moment that an expression takes up to now, and when the next one comes.

        Parameters
        ----------
        expr
            Over the table: a time.
        instant
            Microseconds since 1970.

        Returns
        -------
        last
            Microseconds since 1970; None: none was yet.
        until
            Likewise; infinite if none will be.
        """
        known_since, times, until = self._known_instants.get(expr, (0, [], -math.inf))
        if not known_since <= instant < until:  # more than is known has passed, or the clock went back
            last, upcoming = self._find_instants(expr, instant)
            known_since = instant if last is None else last
            times = [*(() if last is None else (last,)), *upcoming]
            if len(upcoming) == MAX_UPCOMING_INSTANTS:
                until = times[-1]
            else:
                until = math.inf
            self._known_instants[expr] = known_since, times, until
        position = bisect_right(times, instant)
        return (times[position - 1] if position else None), (times[position] if position < len(times) else math.inf)


ANY_FACTS: Final = RowFacts(lambda _: PLACEHOLDER_NAMES, lambda _, now: (now, ()))  # whatever rows have


class RowPolicy:
    """Who sees which rows of a table.

    Parameters
    ----------
    text
        The policy.
    columns
        Of the table.
    row_facts
        Of its rows.

    Raises
    ------
    ParseError, BindError
        It does not fit the table.
    """

    def __init__(self, text: str, columns: Sequence[Column], row_facts: RowFacts) -> None:
        self._columns = tuple(columns)
        self._row_facts = row_facts
        tree = parse_condition(text)
        check_policy(tree, self._columns, text)
        self._tree = normalize_policy(tree)
        self._lock = threading.Lock()
        self._conditions: dict[
            tuple[frozenset[str], frozenset[str], frozenset[Delegation]], tuple[int, float, Expr | None]
        ] = {}

    @property
    def release_time(self) -> Expr | None:
        """The time from which everybody passes, over the table, not bound; None: no row has one."""
        if isinstance(self._tree, Disjunction):
            alternatives = self._tree.parts
        else:
            alternatives = (self._tree,)
        times = [
            alternative.left
            for alternative in alternatives
            if isinstance(alternative, Comparison)
            and find_policy_word(alternative.right) == NOW_WORD
            and alternative.op in {"<", "<="}
        ]
        return times[0] if times else None

    def build_condition(self, subject: PolicySubject) -> tuple[Expr | None, int, float]:
        """Return the condition that a reader's rows meet, bound, and from when until when it is that.

        Parameters
        ----------
        subject
            The reader.

        Returns
        -------
        condition
            None: every row.
        since, until
            Microseconds since 1970; the second may be infinite.
        """
        instant = get_current_instant()
        key = (subject.names, subject.groups, subject.delegations)
        with self._lock:
            cached = self._conditions.get(key)
            if cached is None or not cached[0] <= instant < cached[1]:
                if len(self._conditions) >= MAX_CACHED_SUBJECTS:
                    self._conditions.clear()
                evaluation = _PolicyEvaluation(
                    subject.names, subject.groups, instant, self._row_facts, subject.delegations, self._columns
                )
                reduced = evaluation.reduce_condition(self._tree)
                until = evaluation.valid_until
                if reduced is True:
                    bound = None
                else:
                    bound = bind_condition(
                        reduced if isinstance(reduced, Expr) else NEVER_CONDITION,
                        self._columns,
                        functions=QUERY_FUNCTIONS,
                    )
                cached = self._conditions[key] = instant, until, bound
        return cached[2], cached[0], cached[1]


WORD_USES: Final = {
    NOW_WORD: "compare it with a time: release_date <= now",
    READER_WORD: "write reader in (pi, coi), reader = 'anna'",
    GROUPS_WORD: "write 'spica' in groups, project in groups",
}
UNIX_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (times of tables have no zone: they are UTC)
YEAR_ONE_MICROSECONDS: Final = -62_135_596_800_000_000  # the year 1, before any release
NEVER_CONDITION: Final = Comparison("=", Literal(1), Literal(0))


@dataclass
class _PolicyEvaluation:
    """One reader at one moment."""

    subject_names: frozenset[str]
    subject_groups: frozenset[str]
    now: int
    row_facts: RowFacts
    delegations: frozenset[Delegation] = frozenset()
    columns: Sequence[Column] = ()
    valid_until: float = math.inf

    def reduce_condition(self, node: Expr) -> Expr | bool:
        """Reduce a condition from `normalize_policy` to true, false, or a condition of the table alone."""
        if isinstance(node, Conjunction | Disjunction):
            return self._reduce_parts(node)
        if isinstance(node, Negation):
            reduced_operand = self.reduce_condition(node.operand)
            if isinstance(reduced_operand, bool):
                return not reduced_operand
            return replace(node, operand=reduced_operand)
        if isinstance(node, Comparison) and find_policy_word(node.right) == NOW_WORD:
            return self._reduce_time_test(node)
        if isinstance(node, InPredicate):
            return self._reduce_membership(node)
        return node

    def _reduce_parts(self, node: Conjunction | Disjunction) -> Expr | bool:
        absorbing_value = isinstance(node, Disjunction)  # the value of a part that decides the whole
        parts = [self.reduce_condition(part) for part in node.parts]
        if absorbing_value in parts:
            return absorbing_value
        undecided_parts = tuple(part for part in parts if isinstance(part, Expr))
        if not undecided_parts:
            return not absorbing_value
        if len(undecided_parts) == 1:
            return undecided_parts[0]
        return replace(node, parts=undecided_parts)

    def _reduce_time_test(self, node: Comparison) -> Expr:
        """Reduce a comparison with now to one with a time of the rows.

        "Before now" means up to the microsecond before now. All moments between two times of the rows give the same
        result as the earlier of the two times.
        """
        is_strict = node.op in {"<", ">="}
        is_past = node.op in {"<", "<="}
        last, until = self.row_facts.find_validity(node.left, self.now - is_strict)
        self.valid_until = min(self.valid_until, until + is_strict)
        instant_literal = build_instant_literal(YEAR_ONE_MICROSECONDS if last is None else last)
        operator = "<=" if is_past else ">"
        return Comparison(operator, node.left, instant_literal, text_offset=node.text_offset)

    def _reduce_membership(self, node: InPredicate) -> Expr | bool:
        if find_policy_word(node.operand) == READER_WORD:
            return self._reduce_reader_test(node)
        if GROUPS_WORD not in map(find_policy_word, list_in_values(node)):
            return node
        if isinstance(node.operand, Literal):
            return str(node.operand.value) in self.subject_groups
        group_conditions = _build_in_condition(node.operand, sorted(self.subject_groups))
        return group_conditions[0] if group_conditions else False

    def _reduce_reader_test(self, node: InPredicate) -> Expr | bool:
        """Tell whether the reader is among them.

        That is never unknown, so NOT turns it about for rows without a name, too.
        """
        parts: list[Expr] = []
        for value in list_in_values(node):
            if isinstance(value, Literal) and normalize_name(str(value.value)) in self.subject_names:
                return True
            if not isinstance(value, ColumnRef):
                continue
            if self.subject_names:
                parts += _build_in_condition(value, self.row_facts.find_texts(value, self.subject_names))
            for delegation in self.delegations:
                parts += self._find_delegated_rows(delegation, value)
        if not parts:
            return False
        if len(parts) == 1:
            return parts[0]
        return Disjunction(tuple(parts), text_offset=node.text_offset)

    def _find_delegated_rows(self, delegation: Delegation, column: ColumnRef) -> Sequence[Expr]:
        """Return the rows of somebody else that the reader has for a while, if this table has what tells which."""
        delegation_column = next(
            (candidate for candidate in self.columns if candidate.name.lower() == delegation.column.lower()), None
        )
        if self.now >= delegation.until or (delegation.column and delegation_column is None):
            return ()
        self.valid_until = min(self.valid_until, delegation.until)
        texts = self.row_facts.find_texts(column, {delegation.name})
        rows = _build_in_condition(column, texts)
        if delegation_column is None or not rows:
            return rows
        # whatever its type: compared as people write it
        text = Cast(build_column_ref(delegation_column.name), "VARCHAR")
        return [Conjunction((*rows, *_build_in_condition(text, (delegation.value,))))]


def normalize_policy(node: Expr) -> Expr:
    """Write a policy with its words in three forms alone: ``time op now``, ``reader IN (..)``, ``value IN (groups)``.

    Parameters
    ----------
    node
        As it was parsed; what is wrong in it stays as it is.
    """
    if isinstance(node, Conjunction | Disjunction):
        return replace(node, parts=tuple(normalize_policy(part) for part in node.parts))
    if isinstance(node, Negation):
        return replace(node, operand=normalize_policy(node.operand))
    if isinstance(node, BetweenPredicate):
        return _normalize_between(node)
    if isinstance(node, Comparison):
        return _normalize_comparison(node)
    if isinstance(node, InPredicate) and node.negated:
        words = {find_policy_word(node.operand), *map(find_policy_word, list_in_values(node))}
        if not words.isdisjoint({READER_WORD, GROUPS_WORD}):
            return Negation(replace(node, negated=False), text_offset=node.text_offset)
    return node


def _normalize_between(node: BetweenPredicate) -> Expr:
    """Write BETWEEN with now as two comparisons."""
    if NOW_WORD not in map(find_policy_word, (node.operand, node.low, node.high)):
        return node
    bounds = (
        Comparison(">=", node.operand, node.low, text_offset=node.text_offset),
        Comparison("<=", node.operand, node.high, text_offset=node.text_offset),
    )
    conditions = tuple(normalize_policy(bound) for bound in bounds)
    range_condition = Conjunction(conditions, text_offset=node.text_offset)
    if node.negated:
        return Negation(range_condition, text_offset=node.text_offset)
    return range_condition


def _normalize_comparison(node: Comparison) -> Expr:
    """Write a comparison with now as ``time op now``, and one with reader as ``reader IN (..)``."""
    left_word = find_policy_word(node.left)
    right_word = find_policy_word(node.right)
    if left_word == NOW_WORD and node.op in MIRRORED_OPERATORS:
        return Comparison(MIRRORED_OPERATORS[node.op], node.right, node.left, text_offset=node.text_offset)
    if READER_WORD not in {left_word, right_word} or node.op not in {"=", "<>"}:
        return node
    reader_word, compared_value = node.left, node.right
    if left_word != READER_WORD:
        reader_word, compared_value = node.right, node.left
    membership = InPredicate(reader_word, (compared_value,), text_offset=node.text_offset)
    if node.op == "<>":
        return Negation(membership, text_offset=node.text_offset)
    return membership


def _build_in_condition(expr: Expr, texts: Sequence[str]) -> list[Expr]:
    if not texts:
        return []
    literals = tuple(Literal(text) for text in texts)
    is_null = NullPredicate(expr, text_offset=expr.text_offset)
    is_not_null = Negation(is_null, text_offset=expr.text_offset)
    is_one_of_texts = InPredicate(expr, literals, text_offset=expr.text_offset)
    return [Conjunction((is_not_null, is_one_of_texts), text_offset=expr.text_offset)]


def find_policy_word(node: object) -> str | None:
    """Return the word of policies that a node is, if it is one."""
    if (
        isinstance(node, ColumnRef)
        and not node.qualifier
        and not node.name.quoted
        and node.name.name.lower() in POLICY_WORDS
    ):
        return node.name.name.lower()
    return None


def list_in_values(node: InPredicate) -> Sequence[Expr]:
    """Return the values of IN; a subquery has none."""
    if isinstance(node.choices, Subquery):
        return ()
    return tuple(node.choices)


def check_policy(tree: Expr, columns: Sequence[Column] | None, policy_text: str) -> None:
    """Refuse a policy that does not fit a table, or has one of its words where it means nothing.

    Parameters
    ----------
    tree
        As it was parsed.
    columns
        Of the table; None: they are not known yet.
    policy_text
        The policy, for line and column of errors.

    Raises
    ------
    BindError
        With the place in the text.
    """
    normalized = normalize_policy(tree)
    allowed_ids: set[int] = set()
    for node in walk_tree(normalized):
        if isinstance(node, Comparison) and NOW_WORD in (find_policy_word(node.left), find_policy_word(node.right)):
            if node.op not in MIRRORED_OPERATORS or find_policy_word(node.left) == NOW_WORD:
                raise BindError(
                    "now is no moment that a row could have",
                    text=policy_text,
                    offset=node.text_offset,
                    remedy="write a time <= now, or a time > now",
                )
            allowed_ids.add(id(node.right))
        elif isinstance(node, InPredicate) and find_policy_word(node.operand) == READER_WORD:
            _check_reader_values(list_in_values(node) or (node.operand,), policy_text)
            allowed_ids.add(id(node.operand))
        elif isinstance(node, InPredicate) and [find_policy_word(value) for value in list_in_values(node)] == [
            GROUPS_WORD
        ]:
            allowed_ids |= {id(value) for value in list_in_values(node)}
    for node in walk_tree(normalized):
        policy_word = find_policy_word(node)
        if policy_word is not None and id(node) not in allowed_ids:
            raise BindError(
                format_message("{word} does not stand here in a policy", policy_word),
                text=policy_text,
                offset=node.text_offset,
                remedy=WORD_USES[policy_word],
            )
    if columns is None:
        return
    reduced = _PolicyEvaluation(
        frozenset(PLACEHOLDER_NAMES), frozenset(PLACEHOLDER_NAMES), 0, ANY_FACTS
    ).reduce_condition(normalized)
    if isinstance(reduced, Expr):
        bind_condition(reduced, columns, functions=QUERY_FUNCTIONS, text=policy_text)
    column_names = {column.name.lower() for column in columns}
    for node in walk_tree(tree):  # what is folded away is bound, too
        if (
            isinstance(node, ColumnRef)
            and find_policy_word(node) is None
            and node.name.name.lower() not in column_names
        ):
            bind_condition(
                NullPredicate(node, text_offset=node.text_offset), columns, functions=QUERY_FUNCTIONS, text=policy_text
            )


def _check_reader_values(values: Sequence[Expr], policy_text: str) -> None:
    for value in values:
        if not (isinstance(value, ColumnRef) and find_policy_word(value) is None) and not (
            isinstance(value, Literal) and isinstance(value.value, str)
        ):
            raise BindError(
                "the reader is looked for in columns and texts",
                text=policy_text,
                offset=value.text_offset,
                remedy=WORD_USES[READER_WORD],
            )


def describe_policy(tree: Expr) -> list[str]:
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
    normalized = normalize_policy(tree)
    return [
        _describe_alternative(alternative)
        for alternative in (normalized.parts if isinstance(normalized, Disjunction) else (normalized,))
    ]


def _describe_alternative(alternative: Expr) -> str:
    reader_phrases = []
    time_phrases = []
    row_phrases = []
    for part in alternative.parts if isinstance(alternative, Conjunction) else (alternative,):
        if isinstance(part, InPredicate) and find_policy_word(part.operand) == READER_WORD:
            reader_phrases.append(f"whoever is named in {' or '.join(map(_write_source, list_in_values(part)))}")
        elif isinstance(part, InPredicate) and any(
            find_policy_word(value) == GROUPS_WORD for value in list_in_values(part)
        ):
            group_value = part.operand
            if isinstance(group_value, Literal):
                group_phrase = str(group_value.value)
            else:
                group_phrase = f"that {write_adql(group_value)} names"
            reader_phrases.append(f"members of the group {group_phrase}")
        elif isinstance(part, Comparison) and find_policy_word(part.right) == NOW_WORD:
            is_past = part.op in {"<", "<="}
            time_phrases.append(
                f"{'once' if is_past else 'as long as'} {write_adql(part.left)} has {'' if is_past else 'not '}come"
            )
        else:
            row_phrases.append(f"where {write_adql(part)}")
    return ", ".join([" who is also ".join(reader_phrases) or "everybody", *time_phrases, *row_phrases])


def _write_source(value: Expr) -> str:
    """Write where people are named; a column as queries must write it."""
    if isinstance(value, ColumnRef) and not value.qualifier:
        return quote_identifier(value.name)
    return write_adql(value)


def decide_for_everybody(tree: Expr) -> bool | None:
    """Return whether everybody passes a policy, or nobody, whatever is in the rows; None: neither.

    Parameters
    ----------
    tree
        As it was parsed.
    """
    normalized = normalize_policy(tree)
    people = set(PLACEHOLDER_NAMES)
    groups = set(PLACEHOLDER_NAMES)
    for node in walk_tree(normalized):
        if isinstance(node, InPredicate) and find_policy_word(node.operand) == READER_WORD:
            people |= {normalize_name(str(value.value)) for value in list_in_values(node) if isinstance(value, Literal)}
        elif isinstance(node, InPredicate) and isinstance(node.operand, Literal):
            groups.add(str(node.operand.value))
    if len(people) + len(groups) > MAX_COMBINED_SUBJECTS:
        return None
    outcomes = {
        reduced
        if isinstance(
            reduced := _PolicyEvaluation(frozenset(names), frozenset(group_names), 0, ANY_FACTS).reduce_condition(
                normalized
            ),
            bool,
        )
        else None
        for names in _iterate_subsets(people)
        for group_names in _iterate_subsets(groups)
    }
    if len(outcomes) == 1:
        return outcomes.pop()
    return None


def _iterate_subsets(texts: Iterable[str]) -> Iterable[tuple[str, ...]]:
    """Yield some of them, none, or all."""
    sorted_texts = sorted(texts)
    return chain.from_iterable(combinations(sorted_texts, number) for number in range(len(sorted_texts) + 1))


def build_instant_literal(microseconds: int) -> Expr:
    """Write a moment as a literal of ADQL.

    Parameters
    ----------
    microseconds
        Microseconds since 1970.

    Returns
    -------
    tree
        Not bound.
    """
    return parse_expression(
        f"CAST('{(UNIX_EPOCH + timedelta(microseconds=microseconds)).isoformat(timespec='microseconds')}' AS TIMESTAMP)"
    )


__all__ = [
    "MAX_PERSON_TEXTS",
    "MAX_UPCOMING_INSTANTS",
    "UNIX_EPOCH",
    "Delegation",
    "RowFacts",
    "RowPolicy",
    "build_instant_literal",
    "check_policy",
    "decide_for_everybody",
    "describe_policy",
    "get_current_instant",
    "normalize_name",
    "parse_person_names",
]
