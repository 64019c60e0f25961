"""Reduce the row policies of descriptors to plain conditions on the table, for one reader at one time.

A policy is a condition on the row and the reader, for instance
``release_date <= now or reader in (pi, coi) or 'spica' in groups``. Three words exist only in policies: ``now`` (which
is compared with times), ``reader`` (any name of the reader) and ``groups``. The reduced condition contains none of
them. It stays the same until the next time at which a row is released or a delegation ends, so plans, answers and
entity tags that depend on it stay valid until then.
"""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_right
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import combinations, product
from typing import TYPE_CHECKING, Final, Protocol

from hven.adql._parser import parse_condition, parse_expression
from hven.adql.adql_writer import quote_identifier_if_needed, write_adql
from hven.adql.binder import bind_condition
from hven.adql.functions import QUERY_FUNCTIONS
from hven.adql.syntax_tree import (
    BetweenPredicate,
    CastExpression,
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
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from hven.model.table import Column

NOW_WORD, READER_WORD, GROUPS_WORD = POLICY_WORDS = ("now", "reader", "groups")
PERSON_SEPARATORS: Final = "/;|\n"  # they separate several people in one text
MIRRORED_OPERATORS: Final = {"<": ">", ">": "<", "<=": ">=", ">=": "<="}
MAX_CACHED_SUBJECTS = 4096
MAX_UPCOMING_INSTANTS = 1000  # future times that one look at the table returns
MAX_COMBINED_SUBJECTS = 10  # 2**10 combinations of people and groups are evaluated quickly
MAX_PERSON_TEXTS = 1_000_000  # distinct texts of a column that is searched for people
PLACEHOLDER_NAMES: Final = ("somebody",)
SubjectKey = tuple[frozenset[str], frozenset[str], frozenset["RowDelegation"]]  # names, groups, delegations


@dataclass(frozen=True, slots=True)
class RowDelegation:
    """A person whose rows a reader may read as if they were the reader's own.

    Attributes
    ----------
    name
        The name of the person, as `normalize_person_name` writes it.
    column, value
        A restriction to rows with this value in this column; empty: all rows of the person.
    until
        The time at which the delegation ends, in microseconds since 1970; may be infinite.
    """

    name: str
    column: str = ""
    value: str = ""
    until: float = math.inf


class PolicySubject(Protocol):
    """The reader of rows."""

    @property
    def names(self) -> frozenset[str]:
        """All names of the reader, as `normalize_person_name` writes them."""

    @property
    def groups(self) -> frozenset[str]:
        """The groups that the reader belongs to."""

    @property
    def delegations(self) -> frozenset[RowDelegation]:
        """The people whose rows the reader may read too."""


def get_current_instant() -> int:
    """Return the time that policies call now, from the machine's clock: microseconds since 1970."""
    return time.time_ns() // 1000


def parse_person_names(text: str) -> frozenset[str]:
    """Return the normalized names of the people in a text: split at ``/``, ``;``, ``|`` and ends of lines.

    Parameters
    ----------
    text
        The text of a row: a name, an e-mail address, or several.
    """
    for separator in PERSON_SEPARATORS:
        text = text.replace(separator, "\n")
    names = map(normalize_person_name, text.split("\n"))
    return frozenset(name for name in names if name)


def normalize_person_name(person_name: str) -> str:
    """Return a name in lower case with single blanks.

    Parameters
    ----------
    person_name
        The name of a person.

    Returns
    -------
    name
        The same text for all spellings that differ in case and blanks only.
    """
    return " ".join(person_name.casefold().split())


class PolicyRowFacts:
    """The facts about the rows of a snapshot that policies need.

    An object reads each fact once, and again when it is out of date.

    Parameters
    ----------
    list_texts
        A function that returns the distinct texts in a column.
    find_instants
        A function that takes an expression and a time. It returns the last value of the expression up to this time
        (None: there is none), and the next values in order, at most `MAX_UPCOMING_INSTANTS`. All times are in
        microseconds since 1970.
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

    def find_texts_with_names(self, column: ColumnRef, person_names: Iterable[str]) -> list[str]:
        """List the texts of a column that contain one of these names.

        Parameters
        ----------
        column
            A column of the table.
        person_names
            Names as `normalize_person_name` writes them.

        Returns
        -------
        texts
            The sorted texts, as the rows have them.

        Raises
        ------
        UserError
            The column has more than `MAX_PERSON_TEXTS` distinct texts.
        """
        texts_by_name = self._texts_by_person.get(column.name.name)
        if texts_by_name is None:
            texts_by_name = {}
            for number, text in enumerate(self._list_texts(column)):
                if number == MAX_PERSON_TEXTS:
                    message = format_message(
                        "{column} has more than {count:,} different values", column.name.name, MAX_PERSON_TEXTS
                    )
                    raise UserError(message, remedy="use a column of account names, or specify a group")
                for name in parse_person_names(text):
                    texts_by_name.setdefault(name, []).append(text)
            self._texts_by_person[column.name.name] = texts_by_name
        matching_texts: set[str] = set()
        for name in person_names:
            matching_texts.update(texts_by_name.get(name, ()))
        return sorted(matching_texts)

    def find_adjacent_instants(self, expr: Expr, instant: int) -> tuple[int | None, float]:
        """Return the last value of a time expression up to an instant, and its next value.

        Parameters
        ----------
        expr
            An expression of the table that is a time.
        instant
            The time, in microseconds since 1970.

        Returns
        -------
        last
            The last value, in microseconds since 1970; None if there is none.
        until
            The next value, in microseconds since 1970; infinite if there is none.
        """
        known_since, times, known_until = self._known_instants.get(expr, (0, [], -math.inf))
        if not known_since <= instant < known_until:  # time went beyond what is known, or the clock went back
            last, upcoming = self._find_instants(expr, instant)
            known_since = instant
            times = list(upcoming)
            if last is not None:
                known_since = last
                times.insert(0, last)
            known_until = math.inf
            if len(upcoming) == MAX_UPCOMING_INSTANTS:
                known_until = times[-1]
            self._known_instants[expr] = known_since, times, known_until
        position = bisect_right(times, instant)
        last_time = None
        if position:
            last_time = times[position - 1]
        next_time = times[position] if position < len(times) else math.inf
        return last_time, next_time


# facts of no particular rows, to check a policy: everybody is named, and every time is in the past
ANY_FACTS: Final = PolicyRowFacts(lambda _: PLACEHOLDER_NAMES, lambda _, now: (now, ()))


class RowPolicy:
    """A policy that says which readers see which rows of a table.

    Parameters
    ----------
    text
        The text of the policy.
    columns
        The columns of the table.
    row_facts
        The facts about the rows of the table.

    Raises
    ------
    ParseError, BindError
        The policy is not in the grammar, or does not fit the table.
    """

    def __init__(self, text: str, columns: Sequence[Column], row_facts: PolicyRowFacts) -> None:
        self._columns = tuple(columns)
        self._row_facts = row_facts
        tree = parse_condition(text)
        check_row_policy(tree, self._columns, text)
        self._tree = normalize_row_policy(tree)
        self._lock = threading.Lock()
        self._conditions: dict[SubjectKey, tuple[Expr | None, int, float]] = {}

    @property
    def release_time(self) -> Expr | None:
        """The time from which everybody sees a row, as an unbound expression; None if the policy has none."""
        if isinstance(self._tree, Disjunction):
            alternatives = self._tree.parts
        else:
            alternatives = (self._tree,)
        for alternative in alternatives:
            if not isinstance(alternative, Comparison) or alternative.op not in {"<", "<="}:
                continue
            if find_policy_word(alternative.right) == NOW_WORD:
                return alternative.left
        return None

    def build_row_condition_and_validity(self, subject: PolicySubject) -> tuple[Expr | None, int, float]:
        """Return the bound condition on the rows that a reader sees, and the period in which it is valid.

        Parameters
        ----------
        subject
            The reader.

        Returns
        -------
        condition
            The condition; None: every row.
        since, until
            The begin and the end of the period, in microseconds since 1970; the end may be infinite.
        """
        instant = get_current_instant()
        key = (subject.names, subject.groups, subject.delegations)
        with self._lock:
            cached = self._conditions.get(key)
            if cached is not None:
                _, since, until = cached
                if since <= instant < until:
                    return cached
            if len(self._conditions) >= MAX_CACHED_SUBJECTS:
                self._conditions.clear()
            evaluation = _PolicyEvaluator(
                subject.names, subject.groups, instant, self._row_facts, subject.delegations, self._columns
            )
            reduced = evaluation.reduce_condition(self._tree)
            condition = None
            if reduced is not True:
                plain_condition = NEVER_CONDITION if reduced is False else reduced
                condition = bind_condition(plain_condition, self._columns, functions=QUERY_FUNCTIONS)
            self._conditions[key] = (condition, instant, evaluation.valid_until)
            return self._conditions[key]


WORD_USES: Final = {
    NOW_WORD: "compare it with a time: release_date <= now",
    READER_WORD: "write reader in (pi, coi), reader = 'anna'",
    GROUPS_WORD: "write 'spica' in groups, project in groups",
}
UNIX_EPOCH: Final = datetime(1970, 1, 1)  # noqa: DTZ001  (times of tables have no zone: they are UTC)
YEAR_ONE_MICROSECONDS: Final = -62_135_596_800_000_000  # the year 1, which is before every release
NEVER_CONDITION: Final = Comparison("=", Literal(1), Literal(0))


@dataclass
class _PolicyEvaluator:
    """The evaluation of a policy for one reader at one time."""

    subject_names: frozenset[str]
    subject_groups: frozenset[str]
    now: int
    row_facts: PolicyRowFacts
    delegations: frozenset[RowDelegation] = frozenset()
    columns: Sequence[Column] = ()
    valid_until: float = math.inf

    def reduce_condition(self, node: Expr) -> Expr | bool:
        """Reduce a condition from `normalize_row_policy` to true, false, or a condition of the table alone."""
        if isinstance(node, Conjunction | Disjunction):
            return self._reduce_boolean_operation(node)
        if isinstance(node, Negation):
            reduced_operand = self.reduce_condition(node.operand)
            if isinstance(reduced_operand, bool):
                return not reduced_operand
            return replace(node, operand=reduced_operand)
        if isinstance(node, Comparison) and find_policy_word(node.right) == NOW_WORD:
            return self._reduce_time_test(node)
        if isinstance(node, InPredicate):
            return self._reduce_in_predicate(node)
        return node

    def _reduce_boolean_operation(self, node: Conjunction | Disjunction) -> Expr | bool:
        absorbing_value = isinstance(node, Disjunction)  # one true part decides OR, one false part decides AND
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

        "Before now" means up to the microsecond before now. All instants between two times of the rows give the same
        result as the earlier of the two times.
        """
        is_strict = node.op in {"<", ">="}
        is_past = node.op in {"<", "<="}
        last, until = self.row_facts.find_adjacent_instants(node.left, self.now - is_strict)
        self.valid_until = min(self.valid_until, until + is_strict)
        instant_literal = build_instant_literal(YEAR_ONE_MICROSECONDS if last is None else last)
        operator = "<=" if is_past else ">"
        return Comparison(operator, node.left, instant_literal, text_offset=node.text_offset)

    def _reduce_in_predicate(self, node: InPredicate) -> Expr | bool:
        if find_policy_word(node.operand) == READER_WORD:
            return self._reduce_reader_test(node)
        if GROUPS_WORD not in map(find_policy_word, list_in_predicate_values(node)):
            return node
        if isinstance(node.operand, Literal):
            return str(node.operand.value) in self.subject_groups
        group_conditions = _build_null_safe_in_conditions(node.operand, sorted(self.subject_groups))
        if not group_conditions:
            return False
        return group_conditions[0]

    def _reduce_reader_test(self, node: InPredicate) -> Expr | bool:
        """Reduce ``reader IN (..)`` to a condition on the columns of people.

        The condition is never unknown. So with NOT it also holds for rows without a name.
        """
        parts: list[Expr] = []
        for value in list_in_predicate_values(node):
            if isinstance(value, Literal) and normalize_person_name(str(value.value)) in self.subject_names:
                return True
            if not isinstance(value, ColumnRef):
                continue
            if self.subject_names:
                texts = self.row_facts.find_texts_with_names(value, self.subject_names)
                parts += _build_null_safe_in_conditions(value, texts)
            for delegation in self.delegations:
                parts += self._build_delegation_conditions(delegation, value)
        if not parts:
            return False
        if len(parts) == 1:
            return parts[0]
        return Disjunction(tuple(parts), text_offset=node.text_offset)

    def _build_delegation_conditions(self, delegation: RowDelegation, column: ColumnRef) -> Sequence[Expr]:
        """Return the condition on the rows of a delegation; none if it has ended, or if the table lacks its column."""
        restriction_name = delegation.column.lower()
        matching_columns = [column for column in self.columns if column.name.lower() == restriction_name]
        delegation_column = matching_columns[0] if matching_columns else None
        if self.now >= delegation.until or (delegation.column and delegation_column is None):
            return ()
        self.valid_until = min(self.valid_until, delegation.until)
        texts = self.row_facts.find_texts_with_names(column, {delegation.name})
        row_conditions = _build_null_safe_in_conditions(column, texts)
        if delegation_column is None or not row_conditions:
            return row_conditions
        # the delegation holds the value as people write it, so a column of any type is compared as text
        column_text = CastExpression(build_column_ref(delegation_column.name), "VARCHAR")
        restriction = _build_null_safe_in_conditions(column_text, (delegation.value,))
        return [Conjunction((*row_conditions, *restriction))]


def normalize_row_policy(node: Expr) -> Expr:
    """Rewrite a policy so that its words stand in three forms only.

    The forms are ``time op now``, ``reader IN (..)`` and ``value IN (groups)``.

    Parameters
    ----------
    node
        The parsed policy; what is wrong in it does not change.
    """
    if isinstance(node, Conjunction | Disjunction):
        return replace(node, parts=tuple(normalize_row_policy(part) for part in node.parts))
    if isinstance(node, Negation):
        return replace(node, operand=normalize_row_policy(node.operand))
    if isinstance(node, BetweenPredicate):
        return _normalize_between(node)
    if isinstance(node, Comparison):
        return _normalize_comparison(node)
    if isinstance(node, InPredicate) and node.negated:
        policy_words = {find_policy_word(part) for part in (node.operand, *list_in_predicate_values(node))}
        if not policy_words.isdisjoint({READER_WORD, GROUPS_WORD}):
            return Negation(replace(node, negated=False), text_offset=node.text_offset)
    return node


def _normalize_between(node: BetweenPredicate) -> Expr:
    """Rewrite BETWEEN with now as two comparisons."""
    if NOW_WORD not in map(find_policy_word, (node.operand, node.low, node.high)):
        return node
    bounds = (
        Comparison(">=", node.operand, node.low, text_offset=node.text_offset),
        Comparison("<=", node.operand, node.high, text_offset=node.text_offset),
    )
    conditions = tuple(normalize_row_policy(bound) for bound in bounds)
    range_condition = Conjunction(conditions, text_offset=node.text_offset)
    if node.negated:
        return Negation(range_condition, text_offset=node.text_offset)
    return range_condition


def _normalize_comparison(node: Comparison) -> Expr:
    """Rewrite a comparison with now as ``time op now``, and one with reader as ``reader IN (..)``."""
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


def _build_null_safe_in_conditions(expr: Expr, texts: Sequence[str]) -> list[Expr]:
    """Build ``expr IN (texts)`` as a condition that is never unknown; no condition if there are no texts."""
    if not texts:
        return []
    literals = tuple(Literal(text) for text in texts)
    is_null = NullPredicate(expr, text_offset=expr.text_offset)
    is_not_null = Negation(is_null, text_offset=expr.text_offset)
    is_one_of_texts = InPredicate(expr, literals, text_offset=expr.text_offset)
    return [Conjunction((is_not_null, is_one_of_texts), text_offset=expr.text_offset)]


def find_policy_word(node: object) -> str | None:
    """Return ``now``, ``reader`` or ``groups`` if a node is this word, else None."""
    if not isinstance(node, ColumnRef) or node.qualifier or node.name.quoted:
        return None
    word = node.name.name.lower()
    if word in POLICY_WORDS:
        return word
    return None


def list_in_predicate_values(node: InPredicate) -> Sequence[Expr]:
    """Return the values of IN; none for a subquery."""
    if isinstance(node.choices, Subquery):
        return ()
    return tuple(node.choices)


def check_row_policy(policy_tree: Expr, columns: Sequence[Column] | None, policy_text: str) -> None:
    """Refuse a policy that does not fit a table, or that has a word of policies where it means nothing.

    Parameters
    ----------
    policy_tree
        The parsed policy.
    columns
        The columns of the table; None if they are not known yet.
    policy_text
        The text of the policy, for the line and column of errors.

    Raises
    ------
    BindError
        The policy is wrong; the error has the place in the text.
    """
    normalized = normalize_row_policy(policy_tree)
    allowed_ids = _collect_allowed_policy_word_ids(normalized, policy_text)
    for node in walk_tree(normalized):
        policy_word = find_policy_word(node)
        if policy_word is not None and id(node) not in allowed_ids:
            raise BindError(
                format_message("{word} is not allowed in this position in a policy", policy_word),
                text=policy_text,
                offset=node.text_offset,
                remedy=WORD_USES[policy_word],
            )
    if columns is None:
        return
    placeholder_names = frozenset(PLACEHOLDER_NAMES)
    evaluation = _PolicyEvaluator(placeholder_names, placeholder_names, 0, ANY_FACTS)
    reduced = evaluation.reduce_condition(normalized)
    if isinstance(reduced, Expr):
        bind_condition(reduced, columns, functions=QUERY_FUNCTIONS, text=policy_text)
    column_names = {column.name.lower() for column in columns}
    for node in walk_tree(policy_tree):  # the reduction may remove a part: check its columns too
        if not isinstance(node, ColumnRef) or find_policy_word(node) is not None:
            continue
        if node.name.name.lower() not in column_names:
            column_test = NullPredicate(node, text_offset=node.text_offset)
            bind_condition(column_test, columns, functions=QUERY_FUNCTIONS, text=policy_text)


def _collect_allowed_policy_word_ids(normalized: Expr, policy_text: str) -> set[int]:
    """Check the conditions with now and reader; return the ids of the nodes where a policy word is allowed."""
    allowed_ids: set[int] = set()
    for node in walk_tree(normalized):
        if isinstance(node, Comparison):
            left_word = find_policy_word(node.left)
            if NOW_WORD not in {left_word, find_policy_word(node.right)}:
                continue
            if node.op not in MIRRORED_OPERATORS or left_word == NOW_WORD:
                raise BindError(
                    "this comparison with `now` is not possible",
                    text=policy_text,
                    offset=node.text_offset,
                    remedy="write TIME <= now or TIME > now, where TIME is a time column",
                )
            allowed_ids.add(id(node.right))
        elif isinstance(node, InPredicate):
            in_values = list_in_predicate_values(node)
            if find_policy_word(node.operand) == READER_WORD:
                _check_reader_operands(in_values or (node.operand,), policy_text)
                allowed_ids.add(id(node.operand))
            elif [find_policy_word(value) for value in in_values] == [GROUPS_WORD]:
                allowed_ids.add(id(in_values[0]))
    return allowed_ids


def _check_reader_operands(values: Sequence[Expr], policy_text: str) -> None:
    """Refuse values of ``reader IN (..)`` that are neither columns nor strings."""
    for value in values:
        is_column = isinstance(value, ColumnRef) and find_policy_word(value) is None
        is_text = isinstance(value, Literal) and isinstance(value.value, str)
        if not is_column and not is_text:
            raise BindError(
                "`reader` can be compared only with columns and strings",
                text=policy_text,
                offset=value.text_offset,
                remedy=WORD_USES[READER_WORD],
            )


def describe_row_policy(policy_tree: Expr) -> list[str]:
    """Describe in words which readers a policy admits.

    Parameters
    ----------
    policy_tree
        The parsed policy.

    Returns
    -------
    descriptions
        One line for each alternative of the policy.
    """
    normalized = normalize_row_policy(policy_tree)
    if isinstance(normalized, Disjunction):
        alternatives = normalized.parts
    else:
        alternatives = (normalized,)
    return [_describe_policy_alternative(alternative) for alternative in alternatives]


def _describe_policy_alternative(alternative: Expr) -> str:
    reader_phrases = []
    time_phrases = []
    row_phrases = []
    if isinstance(alternative, Conjunction):
        parts = alternative.parts
    else:
        parts = (alternative,)
    for part in parts:
        if isinstance(part, InPredicate) and find_policy_word(part.operand) == READER_WORD:
            people_sources = " or ".join(map(_write_people_operand, list_in_predicate_values(part)))
            reader_phrases.append(f"everybody who is named in {people_sources}")
        elif isinstance(part, InPredicate) and GROUPS_WORD in map(find_policy_word, list_in_predicate_values(part)):
            group_value = part.operand
            if isinstance(group_value, Literal):
                group_phrase = str(group_value.value)
            else:
                group_phrase = f"that {write_adql(group_value)} names"
            reader_phrases.append(f"members of the group {group_phrase}")
        elif isinstance(part, Comparison) and find_policy_word(part.right) == NOW_WORD:
            time_text = write_adql(part.left)
            if part.op in {"<", "<="}:
                time_phrases.append(f"from {time_text} on")
            else:
                time_phrases.append(f"until {time_text}")
        else:
            row_phrases.append(f"where {write_adql(part)}")
    readers_phrase = " who is also ".join(reader_phrases) or "everybody"
    return ", ".join([readers_phrase, *time_phrases, *row_phrases])


def _write_people_operand(value: Expr) -> str:
    """Write a column or string that names people; quote a column as queries must."""
    if isinstance(value, ColumnRef) and not value.qualifier:
        return quote_identifier_if_needed(value.name)
    return write_adql(value)


def decide_policy_for_everybody(policy_tree: Expr) -> bool | None:
    """Return whether a policy admits everybody (True) or nobody (False), whatever the rows contain; None otherwise.

    Parameters
    ----------
    policy_tree
        The parsed policy.
    """
    normalized = normalize_row_policy(policy_tree)
    people = set(PLACEHOLDER_NAMES)
    groups = set(PLACEHOLDER_NAMES)
    for node in walk_tree(normalized):
        if isinstance(node, InPredicate) and find_policy_word(node.operand) == READER_WORD:
            literals = [value for value in list_in_predicate_values(node) if isinstance(value, Literal)]
            people |= {normalize_person_name(str(literal.value)) for literal in literals}
        elif isinstance(node, InPredicate) and isinstance(node.operand, Literal):
            groups.add(str(node.operand.value))
    if len(people) + len(groups) > MAX_COMBINED_SUBJECTS:
        return None
    outcomes: set[bool | None] = set()
    for names, group_names in product(_iterate_subsets(people), _iterate_subsets(groups)):
        evaluation = _PolicyEvaluator(frozenset(names), frozenset(group_names), 0, ANY_FACTS)
        reduced = evaluation.reduce_condition(normalized)
        outcomes.add(reduced if isinstance(reduced, bool) else None)
    if len(outcomes) == 1:
        return outcomes.pop()
    return None


def _iterate_subsets(texts: Iterable[str]) -> Iterator[tuple[str, ...]]:
    """Yield every subset of some texts, the empty one included."""
    sorted_texts = sorted(texts)
    for text_count in range(len(sorted_texts) + 1):
        yield from combinations(sorted_texts, text_count)


def build_instant_literal(microseconds: int) -> Expr:
    """Write a time as a literal of ADQL.

    Parameters
    ----------
    microseconds
        The time, in microseconds since 1970.

    Returns
    -------
    tree
        A CAST to TIMESTAMP, which is not bound.
    """
    instant = UNIX_EPOCH + timedelta(microseconds=microseconds)
    instant_text = instant.isoformat(timespec="microseconds")
    return parse_expression(f"CAST('{instant_text}' AS TIMESTAMP)")
