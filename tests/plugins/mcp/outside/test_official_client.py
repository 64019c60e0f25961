"""The client of the protocol's own library asks all questions of the corpus, in both eras of the protocol."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from demo_data import make_demo
from known_answers import find_answer, open_known_data, read_corpus
from question_answers import Answered, is_equal, is_right, is_silently_truncated

from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.mcp.service import TOOLS
from hven.site import Site
from process_runner import Server, reserve_port, serve_site
from requirements import ROOT, require

pytestmark = pytest.mark.outside
MIN_QUESTIONS, MIN_RIGHT_BY_SECOND_CALL = 100, 95


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    require("mcp-client")
    directory = tmp_path_factory.mktemp("questions") / "demo"
    make_demo(directory)
    port = reserve_port()
    os.environ["HVEN_PORT"] = str(port)  # addresses of the site stand in rows
    try:
        with Site(load_settings(directory)) as site:
            for path in sorted(directory.glob("collections/*/*.yaml")):
                report = ingest_collection(site, path.stem)
                assert report.published, f"{path.stem}: {report.error}"
    finally:
        del os.environ["HVEN_PORT"]
    with serve_site(directory, port=port) as served:
        yield served


def call_tools(server: Server, mode: str, calls: list[tuple[str, str, dict[str, Any]]]) -> dict[str, Any]:
    addressed = sorted(
        ([server.url + path, tool, arguments] for path, tool, arguments in calls), key=lambda one: one[0]
    )
    assert [one[0] for one in addressed] == [server.url + path for path, _, _ in calls], "sort calls by address"
    done = subprocess.run(
        [sys.executable, Path(__file__).with_name("client_calls.py"), mode],
        input=json.dumps(addressed),
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
        env={**os.environ, "PYTHONPATH": str(ROOT / ".cache/mcp")},
    )
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["tools"] == list(TOOLS)
    return told


@pytest.mark.parametrize(("mode", "version"), [("auto", "2026-07-28"), ("legacy", "2025-11-25")])
def test_questions_are_answered_by_the_second_call(
    server: Server, mode: str, version: str, subtests: pytest.Subtests, record_property: Any
) -> None:
    questions = sorted(read_corpus(), key=lambda question: question.get("at", "/mcp"))
    assert len(questions) >= MIN_QUESTIONS
    calls = [(question.get("at", "/mcp"), *call) for question in questions for call in question["calls"]]
    told = call_tools(server, mode, calls)
    assert told["version"] == version
    answers = iter([Answered(**answer) for answer in told["answers"]])
    right_at = Counter[int]()
    for question in questions:
        answered = [next(answers) for _ in question["calls"]]
        with subtests.test(question["ask"]):
            assert not any(map(is_silently_truncated, answered))
            right = [number for number, one in enumerate(answered, 1) if is_right(one, question, server.url)]
            assert right, f"{question['answer']} is not in {answered[-1].text[:2000]}"
            right_at[right[0]] += 1
    record_property("right by call", dict(right_at))
    assert right_at[1] + right_at[2] >= MIN_RIGHT_BY_SECOND_CALL * len(questions) / 100, right_at


def test_known_answers_are_those_of_the_files(server: Server) -> None:
    collections = server.site / "collections"
    database = open_known_data(collections)
    for question in read_corpus():
        found = find_answer(question, database, collections)
        assert is_equal(found, question["answer"], "BASE"), f"{question['ask']} {found}"


def test_bad_calls_are_answered_in_words(server: Server) -> None:
    calls: list[tuple[str, str, dict[str, Any]]] = [
        ("/mcp", "query", {"adql": "SELECT nothing FROM hipparcos.main"}),
        ("/mcp", "query", {"adql": "SELECT 1", "outputSchema": {"type": "object"}}),
        ("/mcp", "query", {"adql": "x" * 200_000}),
    ]
    answers = call_tools(server, "auto", calls)["answers"]
    assert all(answer["is_error"] and "Next: " in answer["text"] for answer in answers)
