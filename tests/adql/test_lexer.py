"""Words, literals and the shape that is the key of the plan cache."""

from __future__ import annotations

import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from hven.adql import parse_query
from hven.adql.lexer import (
    END,
    NAME,
    NUMBER,
    QUOTED,
    STRING,
    parse_number_literal,
    parse_string_literal,
    separate_literals_from_query,
    tokenize,
)
from hven.adql.reserved_words import RESERVED_WORDS, RESERVED_WORDS_2_0
from hven.adql.syntax_tree import Literal, SyntaxNode
from hven.model.errors import ParseError
from shared import shared


def literals(node):
    """Every Literal of a tree that stands in the text."""
    if isinstance(node, Literal):
        if node.slot >= 0:
            yield node
    elif isinstance(node, SyntaxNode):
        for field in dataclasses.fields(node):
            yield from literals(getattr(node, field.name))
    elif isinstance(node, tuple):
        for part in node:
            yield from literals(part)


def test_words_and_their_offsets():
    tokens = tokenize("Select a1,\"b c\" --x\n<= 'it''s' != 1.5e-3")
    assert tokens.tags == ["SELECT", NAME, ",", QUOTED, "<=", STRING, "<>", NUMBER, END]
    assert tokens.text_offsets == [0, 7, 9, 10, 20, 23, 31, 34, 40]
    assert tokens.values[3] == "b c"
    assert tokens.values[5] == Literal("it's")
    assert tokens.values[7] == Literal(0.0015)
    assert [value.slot for value in tokens.values if isinstance(value, Literal)] == [0, 1]


def test_reserved_words_are_those_of_the_standard():
    lines = shared("standards/adql-reserved.txt").read_text().splitlines()
    words = {line.split("\t")[0] for line in lines if line and not line.startswith("#")}
    assert words - {"END-EXEC"} == RESERVED_WORDS
    assert RESERVED_WORDS_2_0 < RESERVED_WORDS


@pytest.mark.parametrize("word", ["select", "SELECT", "Select", "sElEcT"])
def test_keywords_in_any_case(word):
    assert tokenize(word).tags == ["SELECT", END]


@pytest.mark.parametrize(
    ("figures", "value"),
    [
        ("0", 0),
        ("007", 7),
        ("12.", 12.0),
        (".5", 0.5),
        ("1e3", 1000.0),
        ("1.E+2", 100.0),
        ("9223372036854775808", 2**63),
    ],
)
def test_numbers(figures, value):
    assert parse_number_literal(figures) == value
    assert type(parse_number_literal(figures)) is type(value)


@given(st.floats(min_value=0, allow_nan=False, allow_infinity=False))
def test_every_double_is_read_exactly(value):
    assert parse_number_literal(repr(value)) == value


@given(
    st.lists(
        st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), max_size=20),
        min_size=1,
        max_size=4,
    )
)
def test_strings_and_their_neighbours(parts):
    text = " --gap\n ".join("'" + part.replace("'", "''") + "'" for part in parts)
    assert parse_string_literal(text) == "".join(parts)
    assert tokenize(text).values[0] == Literal("".join(parts))


@pytest.mark.parametrize("figures", ["9" * 401, "1e400", "1" * 10_000, "0." + "3" * 500])
def test_too_large_numbers_are_refused(figures):
    with pytest.raises(ParseError, match="too large or too long"):
        tokenize(f"a + {figures}")


@pytest.mark.parametrize("text", ["a\0b", "'a\0b'", "-- \0", '"\0"', "'\ud800'", "\udfff", "-- \udc80"])
def test_nul_and_half_surrogates_are_refused_everywhere(text):
    with pytest.raises(ParseError, match=r"NUL|surrogate") as caught:
        tokenize("a\n" + text)
    assert caught.value.line == 2


@given(st.text(alphabet=st.characters(), max_size=60))
def test_any_text_gives_words_or_a_fault(text):
    try:
        tokens = tokenize(text)
    except ParseError as caught:
        fault = caught
    else:
        fault = None
    if fault:
        assert 0 <= fault.offset <= len(text)
        assert fault.remedy
        return
    assert len(tokens.tags) == len(tokens.values) == len(tokens.text_offsets)
    assert tokens.text_offsets == sorted(tokens.text_offsets)


@given(st.text(alphabet=st.sampled_from("'\"-\n 1a.e_()\u00e9\u0663"), max_size=40))
@example("1e\u0663")
@example("1_0")
@example("'a''")
@example("a --1")
def test_shape_agrees_with_the_words(text):
    """The two expressions cut alike: same literals in the same slots; a text that has no words shares no key with one that has."""
    key, values = separate_literals_from_query(text)
    try:
        tokens = tokenize(text)
    except ParseError:
        assert any(piece not in RESERVED_WORDS and _is_bad(piece) for piece in key)
        return
    words = [value for value in tokens.values if isinstance(value, Literal)]
    assert [(word.slot, word.value, type(word.value)) for word in words] == [
        (n, value, type(value)) for n, value in enumerate(values)
    ]
    assert len(key) == len(tokens.tags) - 1


def _is_bad(piece):
    """A piece of a key that no word can be."""
    if piece in {"'s", "'d", "'i", "'l", "'n"}:
        return False
    try:
        return len(tokenize(piece).tags) != 2
    except ParseError:
        return True


@pytest.mark.parametrize("bad", ["\0", "\ud800"])
@pytest.mark.parametrize("where", ["'{}'", "-- {}\n'x'", "'a' '{}'"])
def test_shape_does_not_hide_what_the_parser_refuses(bad, where):
    text = "SELECT a FROM t WHERE b = " + where.format(bad)
    with pytest.raises(ParseError):
        parse_query(text)
    assert separate_literals_from_query(text)[0] != separate_literals_from_query(text.replace(bad, "y"))[0]


def test_shape_forgets_values_gaps_and_comments():
    one = separate_literals_from_query("SELECT a FROM t WHERE b = 'x' AND c < 1.5 AND d IN (1, 2)")
    two = separate_literals_from_query("SELECT a -- which?\n\nFROM t WHERE b='it''s' AND c<.25 AND d IN (7,\t8)")
    assert one[0] == two[0]
    assert one[1] == ("x", 1.5, 1, 2)
    assert two[1] == ("it's", 0.25, 7, 8)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("a = 1", "a = 1.0"),
        ("a = 1", "a = '1'"),
        ("a = 1", "a = -1"),
        ("a = 1", "a = 2147483648"),
        ("a = 2147483648", "a = 9223372036854775808"),
        ("a", '"a"'),
        ("a b", "ab"),
        ("a", "A"),
        ("a IN (1)", "a IN (1, 2)"),
        ("'a'", "'a'''''"[:-1]),
    ],
)
def test_shape_tells_apart(one, two):
    assert separate_literals_from_query(one)[0] != separate_literals_from_query(two)[0]


def test_slots_of_the_corpora_are_those_of_the_shape():
    """For every query that parses: the n-th value is that of the literal with slot n; equal shapes have equal verdicts."""
    verdicts: dict[tuple[str, tuple[str, ...]], bool] = {}
    seen = 0
    for path in sorted(shared("corpora/adql").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            key, values = separate_literals_from_query(record["query"])
            try:
                tree = parse_query(record["query"], record["version"])
            except ParseError:
                tree = None
            assert verdicts.setdefault((record["version"], key), tree is not None) == (tree is not None), record["id"]
            if tree is None:
                continue
            for literal in literals(tree):
                assert values[literal.slot] == literal.value, record["id"]
                assert type(values[literal.slot]) is type(literal.value), record["id"]
                seen += 1
    assert seen > 1000
