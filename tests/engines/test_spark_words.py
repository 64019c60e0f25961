"""What errors of Spark mean, the texts of plans, and servers of other versions: without a cluster."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hven.adql import bind, parse
from hven.adql.scope import Tables
from hven.engines.hats import faults
from hven.engines.hats.checking import doubts
from hven.engines.hats.cluster import Cluster, Facts
from hven.engines.hats.connect import Pieces, load
from hven.engines.hats.far import Elsewhere, FarPlan
from hven.model.errors import (
    Cancelled,
    EvaluationError,
    HvenError,
    ServiceError,
    StorageError,
    Timeout,
    TooLarge,
    Unavailable,
)
from hven.testing.engine import STARS
from running import hven, until


@pytest.mark.parametrize(
    ("text", "kind", "said"),
    [
        ("[ARITHMETIC_OVERFLOW] long overflow. If necessary set spark.sql.ansi.enabled. SQLSTATE: 22003", EvaluationError, "range of BIGINT"),
        ("[ARITHMETIC_OVERFLOW] overflow. Use 'try_add' to tolerate overflow and return NULL instead. SQLSTATE: 22003", EvaluationError, "range of BIGINT"),
        ("[BINARY_ARITHMETIC_OVERFLOW] 9223372036854775807L + 1L caused overflow. SQLSTATE: 22003", EvaluationError, "range of BIGINT"),
        ('[CAST_INVALID_INPUT] The value \'x\' of the type "STRING" cannot be cast to "INT" because it is malformed. SQLSTATE: 22018', EvaluationError, "the text 'x' cannot be read as INTEGER"),
        ('[CAST_OVERFLOW] The value 1.0E30D of the type "DOUBLE" cannot be cast to "BIGINT" due to an overflow. SQLSTATE: 22003', EvaluationError, "1.0E30D is out of the range of BIGINT"),
        ("[SCALAR_SUBQUERY_TOO_MANY_ROWS] More than one row returned. SQLSTATE: 21000", EvaluationError, "several rows"),
        ("[USER_RAISED_EXCEPTION] a text of more than 5 bytes would be built SQLSTATE: P0001", EvaluationError, "would be built"),
        ("Job aborted due to stage failure: Task 1 failed 4 times: java.util.regex.PatternSyntaxException: Unclosed group near index 1\n(\n\tat java.base/x", EvaluationError, "pattern cannot be read: Unclosed group$"),
        ("[PYTHON_EXCEPTION] An exception was thrown:\n Traceback:\nValueError: MOC: cells are too small\n SQLSTATE: 38000", EvaluationError, "cells are too small"),
        ("[PYTHON_EXCEPTION] Traceback:\nModuleNotFoundError: No module named 'hven'\n SQLSTATE: 38000", StorageError, "have no Hven"),
        ("[PYTHON_EXCEPTION] Traceback:\nRuntimeError: hven 9.9 is on the workers, and here is 0.1\n SQLSTATE: 38000", StorageError, "have Hven 9.9, and here is 0.1"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11", StorageError, "another Python"),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] Error while reading file file:///data/hats/x/Npix=1.parquet. File does not exist.", StorageError, "does not find a file of the table: /data/hats/x/Npix=1.parquet"),
        ("[PATH_NOT_FOUND] Path does not exist: file:/data/hats/x. SQLSTATE: 42K03", StorageError, "does not find a file"),
        ("Total size of serialized results of 9 tasks is bigger than spark.driver.maxResultSize (1024.0 KiB)", TooLarge, "driver"),
        ("java.lang.OutOfMemoryError: Java heap space", TooLarge, "memory"),
        ("java.io.IOException: No space left on device", StorageError, "disk"),
        ("[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008", Cancelled, "cancelled"),
        ("[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.X] no SQLSTATE: 0A000", Elsewhere, "Spark does not know"),
        ('[INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE] The limit like expression "CAST(1.0E20 AS DOUBLE)" is invalid. SQLSTATE: 42K0E', Elsewhere, "Spark does not know"),
        ("[AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION] Non-deterministic expression should not appear. SQLSTATE: 42845", Elsewhere, "Spark does not know"),
        ("[INTERNAL_ERROR] Invalid PythonUDF hven_contains_text(none#1504, none#1477)#-1, requires attributes from more than one child.", Elsewhere, "two tables"),
        ("[SOMETHING_NEW] what is this", ServiceError, r"\[SOMETHING_NEW\] what is this"),
    ],
)  # fmt: skip
def test_errors_say_what_helps(text, kind, said):
    found = faults.translate(RuntimeError(text))
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found


def test_what_was_stopped_is_said_so():
    assert isinstance(faults.translate(RuntimeError("x"), stopped="timeout", seconds=3), Timeout)
    assert isinstance(faults.translate(RuntimeError("x"), stopped="cancel"), Cancelled)


def test_a_plan_needs_no_cluster():
    """It is written and explained without one; nobody is at that address."""
    cluster = Cluster("sc://127.0.0.1:9")
    text = "SELECT IVO_HEALPIX_INDEX(3, ra, dec) AS c, COUNT(*) AS n FROM sky.stars WHERE name = 'a\\b''c' GROUP BY IVO_HEALPIX_INDEX(3, ra, dec)"
    plan = FarPlan(cluster, bind(parse(text), Tables([STARS])))
    told = plan.explain({"sky.stars": [f"/data/Npix={number}.parquet" for number in range(9)]})
    assert "sky.stars: 9 files (Npix=0.parquet, Npix=1.parquet, Npix=2.parquet, ..)" in told
    assert "`_healpix_29`" in plan.sql
    assert cluster.problem() is None
    cluster.close()


@contextmanager
def server(answer: Callable[[str, Any, Any], Any]) -> Iterator[str]:
    """Serve Spark Connect's protocol: `answer` is given the name of a call, the messages, and the request."""
    messages = load()
    import grpc
    from pyspark.sql.connect.proto import base_pb2_grpc

    class Servicer(base_pb2_grpc.SparkConnectServiceServicer):
        def Config(self, request: Any, _: Any) -> Any:  # noqa: N802  (the protocol's names)
            return answer("Config", messages, request)

        def AnalyzePlan(self, request: Any, _: Any) -> Any:  # noqa: N802  (the protocol's names)
            return answer("AnalyzePlan", messages, request)

        def ReleaseSession(self, request: Any, _: Any) -> Any:  # noqa: N802  (the protocol's names)
            return messages.ReleaseSessionResponse(session_id=request.session_id)

    with ThreadPoolExecutor(4) as pool:
        running = grpc.server(pool)
        base_pb2_grpc.add_SparkConnectServiceServicer_to_server(Servicer(), running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"sc://127.0.0.1:{port}"
        running.stop(0).wait(10)


def of_version(version: str) -> Callable[[str, Any, Any], Any]:
    def answer(call: str, messages: Any, request: Any) -> Any:
        if call == "Config":
            return messages.ConfigResponse(session_id=request.session_id, server_side_session_id="there")
        found = messages.AnalyzePlanResponse(session_id=request.session_id, server_side_session_id="there")
        found.spark_version.version = version
        return found

    return answer


@pytest.mark.parametrize("version", ["3.5.6", "5.0.0"])
def test_a_server_of_another_version_is_refused(version: str) -> None:
    with server(of_version(version)) as url:
        cluster = Cluster(url)
        with pytest.raises(StorageError, match=f"is Spark {version}, and 4 is wanted") as fault:
            cluster.session()
        assert "Spark 4" in str(fault.value.remedy)
        assert f"Spark {version}" in str(cluster.problem())
        cluster.close()


def test_a_server_that_hangs_is_said_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine answers, it does not: health says so within the time in which a server is taken for gone."""
    monkeypatch.setattr("hven.engines.hats.connect.WAIT", 0.3)
    hangs, goes_on = threading.Event(), threading.Event()

    def answer(call: str, messages: Any, request: Any) -> Any:
        if hangs.is_set():
            goes_on.wait(30)
        return of_version("4.3.0")(call, messages, request)

    with server(answer) as url:
        cluster = Cluster(url)
        assert cluster.problem() is None  # nobody needed it
        session = cluster.session()
        assert cluster.problem() is None
        hangs.set()
        assert "does not answer" in str(cluster.problem())
        hangs.clear()
        goes_on.set()
        assert cluster.problem() is None
        assert cluster.session() is session
        cluster.close()


def test_who_waits_for_a_server_that_is_gone_waits_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked while somebody else found it gone is told the same: they do not wait for it one after another."""
    asked: list[float] = []
    entered, let = threading.Event(), threading.Event()

    class Silent:
        def __init__(self, _: str, where: str) -> None:
            asked.append(1)
            entered.set()
            let.wait(30)
            raise faults.silent(where)

    class Counted:
        def __init__(self) -> None:
            self.lock, self.came = threading.Lock(), 0

        def __enter__(self) -> None:
            self.came += 1
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    monkeypatch.setattr("hven.engines.hats.cluster.Session", Silent)
    cluster: Any = Cluster("sc://127.0.0.1:9")
    lock = cluster._lock = Counted()
    told: list[HvenError] = []

    def ask() -> None:
        try:
            cluster.session()
        except Unavailable as error:
            told.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    until(lambda: lock.came == 5)
    let.set()
    for thread in threads:
        thread.join(30)
    assert (len(told), len(asked)) == (5, 1)
    cluster.close()


class Part:
    """A part of an answer: messages by their names, then what comes instead of more."""

    def __init__(self, *names: str, then: Exception | None = None) -> None:
        self._names, self._then = list(names), then
        self.cancelled = False

    def __next__(self) -> Any:
        if self._names:
            return SimpleNamespace(response_id=(name := self._names.pop(0)), HasField=lambda _: name == "complete")
        raise self._then or StopIteration

    def cancel(self) -> None:
        self.cancelled = True


def pieces_of(*parts: Part) -> tuple[Pieces, list[str]]:
    asked: list[str] = []
    left = list(parts[1:])

    def again(last: str) -> Part:
        asked.append(last)
        return left.pop(0)

    return Pieces(lambda: parts[0], again), asked


def test_an_answer_in_parts_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("hven.engines.hats.connect.time.sleep", pauses.append)
    pieces, asked = pieces_of(Part("a", "b"), Part(), Part("c", "complete"))
    assert [piece.response_id for piece in pieces] == ["a", "b", "c"]
    assert asked == ["b", "b"]
    assert pauses == [0.1, 0.1]  # a server that ends its parts at once is not asked without a pause


def test_who_does_not_read_on_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server sends anew is taken from there; if it had sent all and forgotten it, what is here goes on."""
    monkeypatch.setattr("hven.engines.hats.connect.KEEP", 0.0)
    first, second, third = Part("a", "b"), Part("b"), Part("b", "complete")
    pieces, asked = pieces_of(first, second, third)
    taken = [next(pieces).response_id]
    pieces.keep()
    pieces.keep()
    taken += [piece.response_id for piece in pieces]
    assert taken == ["a", "b"]
    assert asked == ["a", "a"]
    assert first.cancelled
    assert second.cancelled

    gone = RuntimeError("[INVALID_HANDLE.OPERATION_NOT_FOUND] The handle is invalid. Operation not found.")
    pieces, asked = pieces_of(Part("a", "b", "complete"), Part(then=gone))
    taken = [next(pieces).response_id]
    pieces.keep()
    assert taken + [piece.response_id for piece in pieces] == ["a", "b"]

    pieces, asked = pieces_of(Part("a"), Part(then=gone))
    assert next(pieces).response_id == "a"
    with pytest.raises(RuntimeError) as fault:
        next(pieces)
    assert "has forgotten the query" in str(faults.translate(fault.value))


def test_what_is_wrong_with_a_cluster_is_told() -> None:
    facts = Facts(version="4.3.0", pythons={"3.1.4": ["a"]}, hvens={"": ["a"], "9.9": ["b", "c"]}, unseen={"/data": ["the Connect server"]}, fault="no workers")  # fmt: skip
    said = [f"{text}; {remedy}" for text, remedy in doubts(facts)]
    assert [next(word for word in ("Python 3.1.4", "no Hven", "Hven 9.9", "/data", "no workers") if word in line) for line in said] == [
        "no workers", "Python 3.1.4", "no Hven", "Hven 9.9", "/data",
    ]  # fmt: skip
    assert not list(doubts(Facts(version="4.3.0")))


def test_a_cluster_that_is_away_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site is right nevertheless; an address that is none is an error when hven.toml is read."""
    monkeypatch.setattr("hven.engines.hats.connect.WAIT", 0.2)
    hven("init", site := tmp_path / "site")
    (site / "hven.toml").write_text('[hats]\nroots = ["hats"]\nspark = "sc://127.0.0.1:9"\n')
    told = hven("check", "--site", site).stdout
    assert "warning: hven.toml: the Spark cluster at 127.0.0.1:9 does not answer; try again" in told
    assert "0 errors, 1 warning" in told
    assert json.loads(hven("check", "--site", site, "--json").stdout)[0]["severity"] == "warning"
