"""The shared corpus of ADQL queries: verdicts of the grammar alone (corpora/adql, see its SOURCES.md)."""

from __future__ import annotations

import json

from hven.adql import parse_query
from hven.adql.adql_writer import write_adql
from hven.model.errors import ParseError
from shared import shared

#: Records whose label contradicts the grammar of the standard, by id, with the rule. None does at present: what the BNF's
#: loose rules would let through where a label says no (numbers as geometries, strings as coordinates or factors: rule
#: `value_expression_primary` stands in every kind of value) can never be right, and is refused.
EXCEPTIONS: dict[str, str] = {}


def records():
    for path in sorted(shared("corpora/adql").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            yield json.loads(line)


def get_expected_verdict(record):
    """What the parser alone must say, or None: names, types and functions are for the binder."""
    if record["expected"] == "valid":
        return True
    if record["expected"] == "invalid" and record["needs"] == "grammar":
        return False
    return None


def is_accepted(record):
    try:
        parse_query(record["query"], record["version"])
    except ParseError as caught:
        fault = caught
    else:
        return True
    assert fault.line >= 1
    assert fault.column >= 1
    assert fault.message
    return False


def test_the_corpus_is_there():
    verdicts = [get_expected_verdict(record) for record in records()]
    assert verdicts.count(True) > 700
    assert verdicts.count(False) > 100


def test_verdicts(subtests):
    for record in records():
        if get_expected_verdict(record) is None:
            continue
        with subtests.test(record["id"], query=record["query"]):
            agrees = is_accepted(record) == get_expected_verdict(record)
            if record["id"] in EXCEPTIONS:
                assert not agrees, "this exception is none any more: take it off the list"
            else:
                assert agrees


def test_every_text_comes_back_as_the_same_tree():
    """`parse(write(tree)) == tree` for whatever parses; written twice it is the same text."""
    written = 0
    for record in records():
        try:
            tree = parse_query(record["query"], record["version"])
        except ParseError:
            continue
        if "REGION(" in write_adql(tree) and record["version"] == "2.0":
            continue  # 2.0 permits expressions there, 2.1 does not (BNF `region`)
        text = write_adql(tree)
        assert parse_query(text) == tree, record["id"]
        assert write_adql(parse_query(text)) == text
        written += 1
    assert written > 700


def test_disputed_queries_get_a_tree_or_a_clean_error(subtests):
    for record in records():
        if record["expected"] == "depends":
            with subtests.test(record["id"], query=record["query"]):
                is_accepted(record)
