"""Our own pairs: tests/corpus/adql/*.sql gives for each query the canonical text of its tree, or the error."""

from __future__ import annotations

from pathlib import Path

import pytest

from hven.adql import parse_query
from hven.adql.adql_writer import write_adql
from hven.model.errors import ParseError

FOLDER = Path(__file__).parent.parent / "corpus" / "adql"


def pairs():
    """Cut the files at their marks: ``--#`` title, query, ``-->`` text or ``--!`` error."""
    for path in sorted(FOLDER.glob("*.sql")):
        for block in path.read_text(encoding="utf-8").split("--# ")[1:]:
            title, rest = block.split("\n", 1)
            *query, expected = rest.strip("\n").split("\n")
            yield pytest.param("\n".join(query), expected, id=f"{path.stem}: {title}")


@pytest.mark.parametrize(("query", "expected"), list(pairs()))
def test_pair(query, expected):
    mark, _, wanted = expected.partition(" ")
    if mark == "--!":
        with pytest.raises(ParseError) as caught:
            parse_query(query)
        assert str(caught.value) == wanted
    else:
        assert mark == "-->"
        tree = parse_query(query)
        assert write_adql(tree) == wanted
        assert parse_query(wanted) == tree


def test_there_are_pairs():
    assert sum(1 for _ in pairs()) > 100
