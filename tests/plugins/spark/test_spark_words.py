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

import numpy as np
import pyarrow as pa
import pytest

from hven.adql import bind_query, parse_query
from hven.adql.scope import StaticTableCatalogue
from hven.engines import ExecutionLimits
from hven.model.errors import (
    EvaluationError,
    HvenError,
    OperationCancelledError,
    ServiceError,
    StorageError,
    StorageUnavailableError,
    TimeLimitError,
    TooLargeError,
    UsageError,
)
from hven.model.sky import compute_angular_distance, healpix
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, parse_type
from hven.plugins.hats.clusters import UnsupportedByClusterError
from hven.plugins.spark import error_translation
from hven.plugins.spark.cell_matches import (
    choose_cell_order,
    find_largest_radius,
    find_position_match_conditions,
    list_circle_cells,
)
from hven.plugins.spark.cluster import SparkCluster, SparkClusterFacts
from hven.plugins.spark.cluster_checks import list_spark_cluster_problems
from hven.plugins.spark.cluster_plan import SparkClusterPlan, cast_answer_batch
from hven.plugins.spark.spark_connect import ReattachableResponseStream, load_spark_protocol
from hven.testing.engine import STARS_TABLE
from process_runner import run_hven, wait_until


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
        ("Job aborted due to stage failure: Task 1 failed 4 times: java.util.regex.PatternSyntaxException: Unclosed group near index 1\n(\n\tat java.base/x", EvaluationError, "the pattern is not valid \\(Unclosed group\\)$"),
        ("[PYTHON_EXCEPTION] An exception was thrown:\n Traceback:\nValueError: MOC: cells are too small\n SQLSTATE: 38000", EvaluationError, "cells are too small"),
        ("[PYTHON_EXCEPTION] Traceback:\nModuleNotFoundError: No module named 'hven'\n SQLSTATE: 38000", StorageError, "is not installed on the workers"),
        ("[PYTHON_EXCEPTION] Traceback:\nRuntimeError: the workers have hven 9.9, but this server has 0.1\n SQLSTATE: 38000", StorageError, "have Hven 9.9, but this server has 0.1"),
        ("[PYTHON_VERSION_MISMATCH] Python in worker has different version: 3.9 than that in driver: 3.11", StorageError, "a different version of Python"),
        ("[FAILED_READ_FILE.FILE_NOT_EXIST] Error while reading file file:///data/hats/x/Npix=1.parquet. File does not exist.", StorageError, "cannot find a file of the table: /data/hats/x/Npix=1.parquet"),
        ("[PATH_NOT_FOUND] Path does not exist: file:/data/hats/x. SQLSTATE: 42K03", StorageError, "cannot find a file"),
        ("Total size of serialized results of 9 tasks is bigger than spark.driver.maxResultSize (1024.0 KiB)", TooLargeError, "driver"),
        ("java.lang.OutOfMemoryError: Java heap space", TooLargeError, "memory"),
        ("java.io.IOException: No space left on device", StorageError, "disk"),
        ("[OPERATION_CANCELED] Operation has been canceled. SQLSTATE: HY008", OperationCancelledError, "cancelled"),
        ("[UNSUPPORTED_SUBQUERY_EXPRESSION_CATEGORY.X] no SQLSTATE: 0A000", UnsupportedByClusterError, "this query "),
        ('[INVALID_LIMIT_LIKE_EXPRESSION.DATA_TYPE] The limit like expression "CAST(1.0E20 AS DOUBLE)" is invalid. SQLSTATE: 42K0E', UnsupportedByClusterError, "this query "),
        ("[AGGREGATE_FUNCTION_WITH_NONDETERMINISTIC_EXPRESSION] Non-deterministic expression should not appear. SQLSTATE: 42845", UnsupportedByClusterError, "this query "),
        ("[INTERNAL_ERROR] Invalid PythonUDF hven_contains_text(none#1504, none#1477)#-1, requires attributes from more than one child.", UnsupportedByClusterError, "two tables"),
        ("[SOMETHING_NEW] what is this", ServiceError, r"\[SOMETHING_NEW\] what is this"),
    ],
)  # fmt: skip
def test_errors_say_what_helps(text, kind, said):
    found = error_translation.translate_spark_error(RuntimeError(text))
    assert type(found) is kind
    with pytest.raises(kind, match=said):
        raise found


def test_what_was_stopped_is_said_so():
    assert isinstance(
        error_translation.translate_spark_error(RuntimeError("x"), stop_reason="timeout", timeout_seconds=3),
        TimeLimitError,
    )
    assert isinstance(
        error_translation.translate_spark_error(RuntimeError("x"), stop_reason="cancel"), OperationCancelledError
    )


def test_a_plan_needs_no_cluster():
    """It is written and explained without one; nobody is at that address."""
    cluster = SparkCluster("sc://127.0.0.1:9")
    text = "SELECT IVO_HEALPIX_INDEX(3, ra, dec) AS c, COUNT(*) AS n FROM sky.stars WHERE name = 'a\\b''c' GROUP BY IVO_HEALPIX_INDEX(3, ra, dec)"
    plan = SparkClusterPlan(cluster, bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE])))
    told = plan.explain({"sky.stars": [f"/data/Npix={number}.parquet" for number in range(9)]})
    assert "sky.stars: 9 files (Npix=0.parquet, Npix=1.parquet, Npix=2.parquet, ..)" in told
    assert "`_healpix_29`" in plan.spark_query.sql
    assert cluster.find_outage() is None
    cluster.close()


@contextmanager
def server(answer: Callable[[str, Any, Any], Any]) -> Iterator[str]:
    """Serve Spark Connect's protocol: `answer` is given the name of a call, the messages, and the request."""
    messages = load_spark_protocol()
    import grpc
    from pyspark.sql.connect.proto import base_pb2_grpc

    class Servicer(base_pb2_grpc.SparkConnectServiceServicer):
        def Config(self, request: Any, _: Any) -> Any:  # noqa: N802  (the protocol's names)
            return answer("Config", messages, request)

        def ExecutePlan(self, request: Any, _: Any) -> Iterator[Any]:  # noqa: N802  (the protocol's names)
            yield answer("ExecutePlan", messages, request)

        def ReleaseSession(self, request: Any, _: Any) -> Any:  # noqa: N802  (the protocol's names)
            return messages.ReleaseSessionResponse(session_id=request.session_id)

    with ThreadPoolExecutor(4) as pool:
        running = grpc.server(pool)
        base_pb2_grpc.add_SparkConnectServiceServicer_to_server(Servicer(), running)
        port = running.add_insecure_port("127.0.0.1:0")
        running.start()
        yield f"sc://127.0.0.1:{port}"
        running.stop(0).wait(10)


def build_answerer(version: str) -> Callable[[str, Any, Any], Any]:
    def answer(call: str, messages: Any, request: Any) -> Any:
        if call == "Config":
            return messages.ConfigResponse(session_id=request.session_id, server_side_session_id="there")
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, pa.schema([("v", pa.string())])) as writer:
            writer.write_batch(pa.record_batch({"v": [version]}))
        found = messages.ExecutePlanResponse(session_id=request.session_id, server_side_session_id="there")
        found.arrow_batch.data = sink.getvalue().to_pybytes()
        return found

    return answer


@pytest.mark.parametrize("version", ["3.5.6", "5.0.0"])
def test_a_server_of_another_version_is_refused(version: str) -> None:
    with server(build_answerer(version)) as url:
        cluster = SparkCluster(url)
        with pytest.raises(StorageError, match=f"runs Spark {version}, but Hven needs version 4") as fault:
            cluster.get_session()
        assert "Spark 4" in str(fault.value.remedy)
        assert f"Spark {version}" in str(cluster.find_outage())
        cluster.close()


def test_a_server_that_hangs_is_said_to_be_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its machine answers, it does not: health says so within the time in which a server is taken for gone."""
    monkeypatch.setattr("hven.plugins.spark.spark_connect.CONNECT_TIMEOUT_SECONDS", 0.3)
    hangs, goes_on = threading.Event(), threading.Event()

    def answer(call: str, messages: Any, request: Any) -> Any:
        if hangs.is_set():
            goes_on.wait(30)
        return build_answerer("4.3.0")(call, messages, request)

    with server(answer) as url:
        cluster = SparkCluster(url)
        assert cluster.find_outage() is None  # nobody needed it
        session = cluster.get_session()
        assert cluster.find_outage() is None
        hangs.set()
        assert "does not respond" in str(cluster.find_outage())
        hangs.clear()
        goes_on.set()
        assert cluster.find_outage() is None
        assert cluster.get_session() is session
        cluster.close()


def test_concurrent_queries_wait_for_a_lost_server_only_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asked while somebody else found it gone is told the same: they do not wait for it one after another."""
    asked: list[float] = []
    entered, let = threading.Event(), threading.Event()

    class Silent:
        def __init__(self, _: str, where: str) -> None:
            asked.append(1)
            entered.set()
            let.wait(30)
            raise error_translation.build_spark_no_answer_error(where)

    class Counted:
        def __init__(self) -> None:
            self.lock, self.came = threading.Lock(), 0

        def __enter__(self) -> None:
            self.came += 1
            self.lock.acquire()

        def __exit__(self, *_: object) -> None:
            self.lock.release()

    monkeypatch.setattr("hven.plugins.spark.cluster.SparkConnectSession", Silent)
    cluster: Any = SparkCluster("sc://127.0.0.1:9")
    lock = cluster._lock = Counted()
    told: list[HvenError] = []

    def ask() -> None:
        try:
            cluster.get_session()
        except StorageUnavailableError as error:
            told.append(error)

    threads = [threading.Thread(target=ask) for _ in range(5)]
    threads[0].start()
    assert entered.wait(30)
    for thread in threads[1:]:
        thread.start()
    wait_until(lambda: lock.came == 5)
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


def pieces_of(*parts: Part) -> tuple[ReattachableResponseStream, list[str]]:
    asked: list[str] = []
    left = list(parts[1:])

    def ask_again(last: str) -> Part:
        asked.append(last)
        return left.pop(0)

    return ReattachableResponseStream(lambda: parts[0], ask_again), asked


def test_an_answer_in_parts_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("hven.plugins.spark.spark_connect.time.sleep", pauses.append)
    pieces, asked = pieces_of(Part("a", "b"), Part(), Part("c", "complete"))
    assert [piece.response_id for piece in pieces] == ["a", "b", "c"]
    assert asked == ["b", "b"]
    assert pauses == [0.1, 0.1]  # a server that ends its parts at once is not asked without a pause


def test_who_does_not_read_on_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the server sends anew is taken from there; if it had sent all and forgotten it, what is here goes on."""
    monkeypatch.setattr("hven.plugins.spark.spark_connect.KEEP_ALIVE_SECONDS", 0.0)
    first, second, third = Part("a", "b"), Part("b"), Part("b", "complete")
    pieces, asked = pieces_of(first, second, third)
    taken = [next(pieces).response_id]
    pieces.keep_alive()
    pieces.keep_alive()
    taken += [piece.response_id for piece in pieces]
    assert taken == ["a", "b"]
    assert asked == ["a", "a"]
    assert first.cancelled
    assert second.cancelled

    gone = RuntimeError("[INVALID_HANDLE.OPERATION_NOT_FOUND] The handle is invalid. Operation not found.")
    pieces, asked = pieces_of(Part("a", "b", "complete"), Part(then=gone))
    taken = [next(pieces).response_id]
    pieces.keep_alive()
    assert taken + [piece.response_id for piece in pieces] == ["a", "b"]

    pieces, asked = pieces_of(Part("a"), Part(then=gone))
    assert next(pieces).response_id == "a"
    with pytest.raises(RuntimeError) as fault:
        next(pieces)
    assert "has lost the query" in str(error_translation.translate_spark_error(fault.value))


def test_problems_of_a_cluster_are_reported() -> None:
    facts = SparkClusterFacts(version="4.3.0", pythons={"3.1.4": ["a"]}, hvens={"": ["a"], "9.9": ["b", "c"]}, unseen={"/data": ["the Connect server"]}, fault="no workers")  # fmt: skip
    said = [f"{text}; {remedy}" for text, remedy in list_spark_cluster_problems(facts)]
    assert [next(word for word in ("Python 3.1.4", "no Hven", "Hven 9.9", "/data", "no workers") if word in line) for line in said] == [
        "no workers", "Python 3.1.4", "no Hven", "Hven 9.9", "/data",
    ]  # fmt: skip
    assert not list(list_spark_cluster_problems(SparkClusterFacts(version="4.3.0")))


def test_an_unreachable_cluster_is_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The site is right nevertheless; an address that is none is an error when hven.toml is read."""
    monkeypatch.setattr("hven.plugins.spark.spark_connect.CONNECT_TIMEOUT_SECONDS", 0.2)
    run_hven("init", site := tmp_path / "site")
    (site / "hven.toml").write_text('[hats]\nroots = ["hats"]\nspark = "sc://127.0.0.1:9"\n')
    told = run_hven("check", "--site", site).stdout
    assert "warning: hven.toml: the Spark cluster at 127.0.0.1:9 does not respond; try again" in told
    assert "0 errors, 1 warning" in told
    assert json.loads(run_hven("check", "--site", site, "--json").stdout)[0]["severity"] == "warning"


def test_unsupported_queries_are_not_planned_for_spark():
    for text in (
        "SELECT COUNT(DISTINCT mag) OVER (PARTITION BY band) AS n FROM sky.stars",
        "SELECT a.id FROM sky.stars AS a LEFT JOIN sky.stars AS b ON INTERSECTS(CIRCLE(a.ra, a.dec, 1), BOX(b.ra, b.dec, 1, 1)) = 1",
    ):
        with pytest.raises(UnsupportedByClusterError):
            SparkClusterPlan(
                SparkCluster("sc://127.0.0.1:9"), bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE]))
            )


def test_no_address_is_refused_early():
    with pytest.raises(UsageError, match="not the address"):
        SparkCluster("http://head:15002")


def test_a_server_that_is_not_there_is_told():
    nobody = SparkCluster("sc://127.0.0.1:9")
    bound = bind_query(parse_query("SELECT 1 AS n FROM sky.stars"), StaticTableCatalogue([STARS_TABLE]))
    with pytest.raises(StorageUnavailableError, match=r"127.0.0.1:9 does not respond"):
        list(
            SparkClusterPlan(nobody, bound).execute(
                bound.literal_values, {}, ExecutionLimits(), {"sky.stars": ["/nowhere"]}
            )
        )
    assert "does not respond" in nobody.find_outage()
    nobody.close()


# --- matches ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("radius", [1e-7, 0.0003, 0.02, 0.7, 4.0, 9.6, 9.8, 60.0])
def test_cells_of_a_circle_cover_all_its_positions(radius):
    """Positions within the circle, at its rim too, are in one of its cells; most small circles have one."""
    generator = np.random.default_rng(int(radius * 1e7))
    lon, lat = generator.uniform(0, 360, 300), np.degrees(np.arcsin(generator.uniform(-1, 1, 300)))
    lon[:40], lat[:8], lat[8:16], lat[16:24] = np.arange(40) * 45.0, 90, -90, np.degrees(np.arcsin(2 / 3))
    order = choose_cell_order(radius)
    listed = list_circle_cells(order, lon, lat, np.full(300, radius))
    for angle in np.linspace(0, 2 * np.pi, 17):
        for share in (0, 0.5, 1 - 1e-9):
            near = np.clip(lat + share * radius * np.cos(angle), -90, 90)
            width = np.maximum(np.cos(np.radians(near)), 1e-9)
            there = lon + np.clip(share * radius * np.sin(angle) / width, -180, 180)
            inside = compute_angular_distance(lon, lat, there, near) <= radius
            cell = healpix.compute_cell_indexes(order, there, near)
            for row in np.flatnonzero(inside).tolist():
                assert cell[row] in listed[row].as_py()
    if radius < 1:
        assert len(listed.flatten()) < 2 * 300


UPLOAD = Table(
    schema="TAP_UPLOAD", name="objects", columns=tuple(Column(name=name, type=FLOAT64) for name in ("ra", "dec", "err"))
)


@pytest.mark.parametrize(
    ("condition", "radius"),
    [
        ("DISTANCE(a.ra, a.dec, b.ra, b.dec) < b.err", "err"),
        ("b.err >= DISTANCE(POINT(b.ra, b.dec), POINT(a.ra, a.dec))", "err"),
        ("1 = CONTAINS(POINT(a.ra, a.dec), CIRCLE(b.ra, b.dec, b.err))", "err"),
        ("DISTANCE(a.ra, a.dec, b.ra, b.dec) < a.mag", None),  # nobody knows the greatest of stored ones
        ("DISTANCE(a.ra, a.dec, b.ra, b.dec) < b.err + 1", None),
        ("DISTANCE(a.ra, a.dec, b.ra, b.dec) > b.err", None),
    ],
)
def test_each_uploaded_row_can_have_its_own_radius(condition, radius):
    text = f"SELECT a.id FROM sky.stars AS a JOIN TAP_UPLOAD.objects AS b ON {condition}"
    matches = [
        *find_position_match_conditions(
            bind_query(parse_query(text), StaticTableCatalogue([STARS_TABLE, UPLOAD]))
        ).values()
    ]
    assert [match.radius for match in matches] == ([] if radius is None else [radius])
    if not matches:
        return
    [match] = matches
    assert match.spread_table.table.name == "objects"
    rows = pa.table({"err": pa.array([0.5, None, -1.0, np.nan, 0.0])})
    sizes = match.compute_row_radii((), rows)
    np.testing.assert_array_equal(sizes, [0.5, np.nan, np.nan, np.nan, 0.0])
    assert find_largest_radius(sizes) == 0.5
    assert np.isnan(find_largest_radius(match.compute_row_radii((), rows.slice(1, 3))))
    assert np.isnan(match.compute_common_radius(()))


def test_invalid_circles_have_no_cells():
    numbers = [
        np.array(column) for column in ((10.0, np.nan, 10.0, 10.0), (95.0, 0.0, 0.0, 0.0), (1.0, 1.0, np.nan, -1.0))
    ]
    assert list_circle_cells(3, *numbers).to_pylist() == [None] * 4


def test_lists_of_fixed_length_are_made_of_any():
    three = parse_type("float64[3]").arrow
    for rows in ([[1.0, 2.0, 3.0], None, [4.0, 5.0, None]], [None, None], [], [[1.0, 2.0, 3.0]]):
        batch = pa.record_batch([pa.array(rows, pa.list_(pa.float64()))], names=["x"])
        found = cast_answer_batch(batch.slice(0), pa.schema([("a", three)]))
        assert found.to_pydict() == {"a": rows}
        assert cast_answer_batch(batch.slice(1), pa.schema([("a", three)])).to_pydict() == {"a": rows[1:]}
    with pytest.raises(pa.ArrowInvalid, match="2 elements, but 3"):
        cast_answer_batch(pa.record_batch([pa.array([[1.0, 2.0]])], names=["x"]), pa.schema([("a", three)]))
