"""A hundred queries as astronomers ask them, over the served site: each answer computed a second time without Hven.

The pairs stand in tests/corpus/hundred/*.sql: ``--#`` a title, the query, then ``--=`` the same question to SQLite with the functions
of tests/sqlite_oracle.py. Queries about positions are asked of every way to find them, the others of each engine. Where a query ends with ORDER BY or OFFSET, rows are compared in their order, else as a set with repeats.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from process_runner import Server
from shared import shared
from sqlite_oracle import build_database
from storage_engines import POSITION_ENGINES, use_engines

pytestmark = [pytest.mark.outside, pytest.mark.slow, pytest.mark.xdist_group("outside")]
FOLDER = Path(__file__).parent.parent / "corpus" / "hundred"
ORDERED = re.compile(r"ORDER BY [^()]*(\([^()]*\)[^()]*)*$")
# what may become a condition of positions; without one, the three ways of PostgreSQL are asked for the same SQL
POSITIONS = re.compile(r"(?i)\b(CONTAINS|INTERSECTS|DISTANCE)\s*\(|\bra (BETWEEN|>)")


def pairs() -> Iterator[tuple[str, str, str]]:
    """Give a title, the query, and the question to SQLite."""
    for path in sorted(FOLDER.glob("*.sql")):
        for block in path.read_text(encoding="utf-8").split("--# ")[1:]:
            title, rest = block.split("\n", 1)
            query, oracle = rest.split("--=")
            yield f"{path.stem}: {title}", query.strip(), oracle.strip()


def params(*, positions: bool) -> list[object]:
    return [
        pytest.param(query, question, id=title)
        for title, query, question in pairs()
        if bool(POSITIONS.search(query)) is positions
    ]


@pytest.fixture(scope="session")
def oracle() -> Iterator[Callable[[str], list[list[object]]]]:
    """What SQLite answers, asked once for all engines."""
    with contextlib.closing(build_database()) as base:
        yield cache(lambda question: [list(row) for row in base.execute(question)])


def ask(server: Server, query: str) -> tuple[list[str], list[list[object]]]:
    status, _, body = server.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=query, MAXREC=1_000_000)
    assert status == 200, body[:2000].decode()
    answer = json.loads(body)
    return [column["datatype"] for column in answer["metadata"]], answer["data"]


def key(row: list[object]) -> list[tuple[bool, object]]:
    return [(cell is None, round(cell, 5) if isinstance(cell, float) else "" if cell is None else cell) for cell in row]


@pytest.mark.parametrize(("query", "question"), params(positions=False))
def test_the_answer_is_the_oracles(
    server: Server, oracle: Callable[[str], list[list[object]]], query: str, question: str
) -> None:
    compare_with_oracle(server, oracle, query, question)


@use_engines(*POSITION_ENGINES)
@pytest.mark.parametrize(("query", "question"), params(positions=True))
def test_the_answer_about_positions_is_the_oracles(
    server: Server, oracle: Callable[[str], list[list[object]]], query: str, question: str
) -> None:
    compare_with_oracle(server, oracle, query, question)


def compare_with_oracle(server: Server, oracle: Callable[[str], list[list[object]]], query: str, question: str) -> None:
    right = oracle(question)
    types, found = ask(server, query)
    assert right, "an oracle without rows judges nothing"
    if not ORDERED.search(query):
        right, found = sorted(right, key=key), sorted(found, key=key)
    assert len(found) == len(right)
    for theirs, ours in zip(found, right, strict=True):
        assert len(theirs) == len(ours) == len(types)
        for kind, got, wanted in zip(types, theirs, ours, strict=True):
            if isinstance(wanted, float) and isinstance(got, (int, float)):
                assert got == pytest.approx(wanted, rel=1e-6 if kind == "float" else 1e-9, abs=1e-10), (theirs, ours)
            else:
                assert got == wanted, (theirs, ours)


def test_there_are_a_hundred() -> None:
    assert len(list(pairs())) >= 100


OURS = {f"tap_schema.{name}" for name in ("schemas", "tables", "columns", "keys", "key_columns")}
ELSEWHERE = {  # valid where they were asked: their TAP_SCHEMA or their functions are another service's
    "adql-6f0430c6a68c": "column arraysize is a string",
    "adql-bebab49e9216": "column arraysize is a string",
    "adql-65d67c8a4c10": "no column 'cat_id'",
    "adql-c59ddea665d1": "no function LOWERCASE",
}


def iterate_corpus_queries() -> Iterator[tuple[str, str]]:
    """The corpus's valid queries that name tables which every site has."""
    for path in sorted(shared("corpora/adql").glob("*.jsonl")):
        for line in path.read_text(encoding="utf-8").splitlines():
            record = json.loads(line)
            named = {name.lower() for name in re.findall(r'(?i)\b(?:from|join)\s+([\w."]+)', record["query"])}
            if record["expected"] == "valid" and named and named <= OURS:
                yield record["id"], record["query"]


def test_valid_queries_of_the_corpus_over_our_tables_run(server: Server) -> None:
    ran = 0
    for name, query in iterate_corpus_queries():
        status, _, body = server.post("/tap/sync", LANG="ADQL", RESPONSEFORMAT="json", QUERY=query, MAXREC=10)
        if name in ELSEWHERE:
            assert (status, ELSEWHERE[name] in body.decode()) == (400, True), (query, body.decode())
        else:
            assert status == 200, (query, body.decode())
            ran += 1
    assert ran > 25
