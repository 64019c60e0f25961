"""A log is read whatever server wrote it, its requests go to the named services only, and differences are told."""

from __future__ import annotations

import gzip
import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import UserError
from hven.plugins.log_replay import replay, request_logs
from hven.plugins.log_replay.answer_comparison import compare_answers, compare_tables
from hven.plugins.log_replay.load_model import build_load_model, draw_requests, read_load_model
from hven.plugins.log_replay.replay import OUTSIDE_PREFIX, OVER_LIMIT, collect_distinct_requests
from hven.plugins.log_replay.request_counts import TARGET_CHARACTERS, RequestCounts
from hven.plugins.log_replay.request_logs import LoggedRequest, read_log
from hven.sources.http_client import HttpAnswer
from process_runner import run_hven

COMMON = '192.0.2.1 - - [10/Oct/2026:13:55:36 +0000] "{method} {target} HTTP/1.1" {status} 2326 "-" "curl/8"'
VOLLT = (
    "2026-10-10T13:55:36.000+0200\tINFO\tHTTP\tREQUEST_RECEIVED\tr1\t"
    "{method} as application/x-www-form-urlencoded at https://old.example/tap/sync from 192.0.2.1 using pyvo/1.5 (x; y) "
    "with parameters (LANG=ADQL&QUERY=SELECT a FROM b WHERE c='x & y')"
)
VOLLT_ANSWER = (
    "2026-10-10T13:55:37.000+0200\tINFO\tHTTP\tRESPONSE_SENT\tr1\t\tHTTP-200 to the user ANONYMOUS as text/csv"
)


def write_hven_line(**values: object) -> str:
    return json.dumps({"method": "GET", "path": "/cone/a.b", "query": "RA=1", "status": 200, **values})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (write_hven_line(), LoggedRequest(target="/cone/a.b?RA=1", status=200)),
        (write_hven_line(query=""), LoggedRequest(target="/cone/a.b", status=200)),
        (write_hven_line(method="POST"), request_logs.WITHOUT_BODY),
        (write_hven_line(method="DELETE"), request_logs.CHANGING),
        (write_hven_line(path="/tap/async/x/phase"), request_logs.CHANGING),
        (write_hven_line(status=401), request_logs.PRIVATE),
        (write_hven_line(path="/morning.atom", query="account=a&KEY=0f"), request_logs.PRIVATE),
        (write_hven_line(query="MONKEY=1"), LoggedRequest(target="/cone/a.b?MONKEY=1", status=200)),
        (write_hven_line(query="QUERY=x&UPLOAD=t,http://x"), request_logs.UPLOADING),
        ('{"broken', request_logs.UNREADABLE),
        ("{}", request_logs.UNREADABLE),
        (COMMON.format(method="GET", target="/x/q/cone.form?RA=1", status=200), LoggedRequest(target="/x/q/cone.form?RA=1", status=200)),
        (COMMON.format(method="GET", target="http://evil.example/a?b", status=404), LoggedRequest(target="/a?b", status=404)),
        (COMMON.format(method="POST", target="/tap/sync", status=200), request_logs.WITHOUT_BODY),
        (COMMON.format(method="GET", target="*", status=200), request_logs.UNREADABLE),
        ("Oct 10 13:55:36 host kernel: eth0 up", request_logs.UNREADABLE),
        ("a\tb\tc\td\te\tf", request_logs.UNREADABLE),
        (VOLLT.format(method="DELETE"), request_logs.CHANGING),
    ],
)  # fmt: skip
def test_lines_of_all_logs_are_read(tmp_path: Path, line: str, expected: LoggedRequest | str) -> None:
    (tmp_path / "log").write_text(line + "\n\n")
    assert list(read_log(tmp_path / "log")) == [expected]


@pytest.mark.parametrize("method", ["GET", "POST"])
def test_logs_of_vollt_have_parameters_and_statuses(tmp_path: Path, method: str) -> None:
    with gzip.open(tmp_path / "log.gz", "wt") as file:
        file.write(f"{VOLLT.format(method=method)}\n{VOLLT_ANSWER}\n")
    (request,) = read_log(tmp_path / "log.gz")
    target = "/tap/sync?LANG=ADQL&QUERY=SELECT+a+FROM+b+WHERE+c%3D%27x+%26+y%27"
    assert request == LoggedRequest(target=target, status=200)


@given(st.text(max_size=200))
def test_any_line_is_read_or_counted(tmp_path_factory: pytest.TempPathFactory, line: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.log"
    path.write_text(line, encoding="utf-8", errors="replace")
    for entry in read_log(path):
        assert isinstance(entry, str) or (entry.target.startswith("/") and entry.target.isprintable())


def test_equal_requests_are_sent_once_and_the_rarest_are_left_out(tmp_path: Path) -> None:
    lines = [write_hven_line(path=f"/old/{name}", query="") for name in "aaabbc"] + [write_hven_line(path="/other")]
    (tmp_path / "log").write_text("\n".join(lines))
    requests, unrepeatable = collect_distinct_requests(tmp_path / "log", prefix="/old/", request_limit=2)
    assert [(request.target, count) for request, count in requests] == [("/old/a", 3), ("/old/b", 2)]
    assert unrepeatable == {OVER_LIMIT: 1, OUTSIDE_PREFIX: 1}


STARS = pa.table({"ID": ["a", "b"], "mag": pa.array([1.5, 2.25], pa.float32()), "n": [1, 2]})


@pytest.mark.parametrize(
    ("new", "difference"),
    [
        (STARS, ""),
        (STARS.take([1, 0]), ""),
        (STARS.rename_columns(["id", "Mag", "n"]), ""),
        (STARS.set_column(1, "mag", pa.array([1.5, 2.2500001], pa.float64())), ""),
        (STARS.set_column(1, "mag", pa.array([1.5, 2.26], pa.float64())), "other values in the columns mag"),
        (STARS.set_column(1, "mag", pa.array([2.25, 1.5], pa.float32())), "the same values in other rows"),
        (STARS.slice(1), "1 rows instead of 2"),
        (STARS.drop_columns(["n"]), "without the columns n"),
        (STARS.set_column(2, "n", pa.array([1.0, 2.0])), ""),
        (STARS.set_column(2, "n", pa.array([1, 2], pa.uint8())), ""),
        (STARS.set_column(2, "n", pa.array([1, 3])), "other values in the columns n"),
        (STARS.append_column("z", pa.array([1, 2])), "additional columns z"),
    ],
)
def test_tables_are_compared_by_their_values(new: pa.Table, difference: str) -> None:
    assert compare_tables(STARS, new) == difference


@pytest.mark.parametrize("other_type", [pa.int64(), pa.uint64(), pa.float64()])
def test_all_digits_of_identifiers_are_compared(other_type: pa.DataType) -> None:
    old = pa.table({"source_id": pa.array([5853498713190524928, None], pa.int64())})
    same = pa.table({"source_id": old["source_id"].cast(other_type, safe=False)})
    other = pa.table({"source_id": pa.array([5853498713190524929, None], pa.int64())})
    assert compare_tables(old, same) == ""
    assert compare_tables(other, same) == "other values in the columns source_id"


def make_answer(body: bytes, status: int = 200, media_type: str = "text/csv") -> HttpAnswer:
    return HttpAnswer(status=status, headers={"content-type": media_type}, body=body, url="")


def build_page(**members: object) -> HttpAnswer:
    return make_answer(json.dumps(members).encode(), media_type="application/json")


@pytest.mark.parametrize(
    ("new", "difference"),
    [
        ({"total": 2, "data": [{"b": None, "a": 2}, {"a": 1.5, "b": "x "}], "success": True}, ""),
        ({"total": 2, "data": [{"a": 2}, {"a": 1.5, "b": "x"}], "count": 2}, ""),
        ({"total": 3, "data": [{"a": 2}, {"a": 1.5, "b": "x"}]}, "a total of 3 instead of 2"),
        ({"total": 2, "data": [{"a": 2}, {"a": 1.25, "b": "x"}]}, "1 records are missing, and 1 are new"),
        ({"total": 2, "data": [{"a": 2}]}, "1 records are missing, and 0 are new"),
        ({"data": "x"}, "other content: 13 bytes instead of 63"),
    ],
)
def test_records_of_json_are_compared(new: dict[str, object], difference: str) -> None:
    old = build_page(total=2, data=[{"a": 1.5, "b": "x"}, {"a": 2, "b": ""}])
    assert compare_answers(old, build_page(**new)) == difference


@pytest.mark.parametrize(
    ("old", "new", "difference"),
    [
        (make_answer(b"a\n1\n2\n"), make_answer(b"a\r\n2\r\n1\r\n"), ""),
        (make_answer(b"a\n1\n"), make_answer(b"a\n3\n4\n"), "1 lines are missing, and 2 are new"),
        (make_answer(b"x"), make_answer(b"x", 500), "status 500 instead of 200"),
        (make_answer(b"no table", 404), make_answer(b"nothing there", 404), ""),
        (make_answer(b"{}"), make_answer(b"[]", media_type="application/json"), "the media type application/json instead of text/csv"),
        (make_answer(b"PAR1", media_type="x/y"), make_answer(b"PAR123", media_type="x/y"), "other content: 6 bytes instead of 4"),
        (make_answer(b"<VOTABLE broken"), make_answer(b"<VOTABLE worse"), "1 lines are missing, and 1 are new"),
    ],
)  # fmt: skip
def test_other_documents_are_compared(old: HttpAnswer, new: HttpAnswer, difference: str) -> None:
    assert compare_answers(old, new) == difference


Serve = Callable[[dict[str, tuple[int, bytes]]], tuple[str, list[str]]]


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start servers that answer from a dictionary, and record what they are asked."""
    servers = []

    def start(answers: dict[str, tuple[int, bytes]]) -> tuple[str, list[str]]:
        asked: list[str] = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                asked.append(self.path)
                status, body = answers.get(self.path, (404, b"nothing"))
                self.send_response(status)
                if 300 <= status < 400:
                    self.send_header("location", body.decode())
                self.send_header("content-type", "text/csv")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}", asked

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_both_services_are_asked_and_a_page_tells_the_differences(tmp_path: Path, serve: Serve) -> None:
    old_url, old_asked = serve({"/a": (200, b"x\n1\n"), "/b?q=<b>": (200, b"x\n2\n"), "/c": (302, b"/a")})
    stranger_url, stranger_asked = serve({})
    new_url, new_asked = serve(
        {"/a": (200, b"x\n1\n"), "/b?q=%3Cb%3E": (200, b"x\n3\n"), "/c": (302, stranger_url.encode() + b"/a")}
    )
    lines = [
        *[write_hven_line(path="/a", query="")] * 3,
        write_hven_line(path="/b", query="q=<b>"),
        write_hven_line(path="/c", query="", status=302),
        write_hven_line(method="POST"),
        "nonsense",
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    page = tmp_path / "page.html"
    done = run_hven(
        "replay",
        tmp_path / "log",
        "--against",
        new_url,
        "--old",
        old_url,
        "--rate",
        50,
        "--page",
        page,
        expected_code=1,
    )
    assert done.returncode == 1, done.stderr
    summary = "requests repeated: 5 (3 of them distinct); different answers: 2; requests not repeated: 2\n"
    assert summary in done.stdout
    assert "1 POST requests" in done.stdout
    assert new_asked == ["/a", "/b?q=%3Cb%3E", "/c"]
    assert old_asked.count("/a") == 2, "a redirect within the service is followed"
    assert stranger_asked == [], "no address is asked that the user did not name"
    text = page.read_text()
    assert "q=%3Cb%3E" in text
    assert "<b>" not in text
    assert "signature" in text
    assert "status 302 instead of 200" in text


def test_statuses_of_the_log_are_compared_without_the_old_service(tmp_path: Path, serve: Serve) -> None:
    new_url, _ = serve({"/a": (200, b""), "/b": (500, b"")})
    lines = [write_hven_line(path=f"/{name}", query="", status=status) for name, status in (("a", 304), ("c", 404))]
    (tmp_path / "log").write_text("\n".join(lines))
    same = run_hven("replay", tmp_path / "log", "--against", new_url, "--rate", 50, "--json")
    assert json.loads(same.stdout)["different"] == 0
    (tmp_path / "log").write_text("\n".join([*lines, write_hven_line(path="/b", query="")]))
    other = run_hven("replay", tmp_path / "log", "--against", new_url, "--rate", 50, "--json", expected_code=1)
    assert other.returncode == 1
    assert [entry["difference"] for entry in json.loads(other.stdout)["requests"]] == [
        "",
        "",
        "status 500 instead of 200",
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["absent.log", "--against", "http://127.0.0.1:9"], "absent.log cannot be read"),
        (["log", "--against", "file:///etc/passwd"], "is not the address of a service"),
        (["log"], "the address of the new service is missing"),
        (["other.log", "--against", "http://127.0.0.1:9"], "is a request in a format that Hven reads"),
        (["empty.log", "--against", "http://127.0.0.1:9"], "is a request in a format that Hven reads"),
        (["cut.gz", "--against", "http://127.0.0.1:9"], "cannot be read"),
        (["other.log", "--model", "model.json"], "has no request with a time"),
        (["log", "--against", "127.0.0.1:8080"], "is not the address of a service"),
        (["log", "--against", "http://127.0.0.1:9", "--rate", "1000"], "--rate"),
    ],
)
def test_faults_are_told(tmp_path: Path, words: list[str], message: str) -> None:
    (tmp_path / "log").write_text(write_hven_line())
    (tmp_path / "other.log").write_text("Oct 10 13:55:36 host kernel: eth0 up\n" * 3)
    (tmp_path / "empty.log").write_text("")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(write_hven_line().encode())[:-12])
    done = run_hven("replay", tmp_path / words[0], *words[1:], expected_code=2 if "--rate" in words else 1)
    assert message in done.stderr.replace("\n", " ")


def test_a_service_that_is_not_there_is_a_difference(tmp_path: Path) -> None:
    (tmp_path / "log").write_text(write_hven_line())
    done = run_hven("replay", tmp_path / "log", "--against", "http://127.0.0.1:9", expected_code=1)
    assert done.returncode == 1
    assert "no answer: " in done.stdout


def write_day_log(path: Path) -> None:
    """Write a log of a day: 60 requests in a minute of the afternoon, and one in each other hour."""
    lines = [
        COMMON.format(method="GET", target=f"/old/cone?RA={n % 3}", status=200).replace("13:55:36", f"13:55:{n:02}")
        for n in range(60)
    ]
    lines += [
        COMMON.format(method="GET", target="/old/tap/sync?QUERY=x", status=200).replace("13:55:36", f"{hour:02}:00:00")
        for hour in range(24)
    ]
    path.write_text("\n".join([*lines, COMMON.format(method="POST", target="/old/tap/sync", status=200)]))


def test_a_model_has_the_rates_and_the_mix_of_a_log(tmp_path: Path) -> None:
    write_day_log(tmp_path / "log")
    run_hven("replay", tmp_path / "log", "--model", tmp_path / "model.json", "--prefix", "/old")
    model = read_load_model(tmp_path / "model.json")
    assert (model.requests, model.peak_rate) == (84, 1.0)
    assert model.mean_rate == pytest.approx(84 / (23 * 3600), abs=1e-6)
    assert model.hourly_rates[13] == pytest.approx(61 / 3600, abs=1e-6)
    assert model.hourly_rates[3] == pytest.approx(1 / 3600, abs=1e-6)
    assert model.targets == {"/tap/sync?QUERY=x": 24, "/cone?RA=0": 20, "/cone?RA=1": 20, "/cone?RA=2": 20}
    drawn = list(islice(draw_requests(model, 50.0, 1), 20_000))
    assert drawn == list(islice(draw_requests(model, 50.0, 1), 20_000))
    assert drawn[-1][0] == pytest.approx(20_000 / 50, rel=0.05)
    shares = Counter(target for _, target in drawn)
    assert all(abs(shares[target] / 20_000 - count / 84) < 0.02 for target, count in model.targets.items())


def test_a_model_has_all_requests_and_counts_those_that_do_not_fit(tmp_path: Path) -> None:
    names = [f"/rare/{n:04}" for n in range(1500)]
    names[::2] = ["/often"] * 750
    (tmp_path / "log").write_text("\n".join(COMMON.format(method="GET", target=name, status=200) for name in names))
    model = build_load_model(tmp_path / "log")
    assert (len(model.targets), model.requests, model.requests_without_target) == (751, 1500, 0)
    small_model = build_load_model(tmp_path / "log", max_characters=100 * (10 + TARGET_CHARACTERS))
    assert small_model.targets["/often"] == 750
    assert len(small_model.targets) <= 101
    assert sum(small_model.targets.values()) + small_model.requests_without_target == small_model.requests == 1500


@given(st.lists(st.integers(0, 30)), st.integers(1, 20))
def test_no_request_is_lost_within_any_budget(numbers: list[int], kept: int) -> None:
    counts = RequestCounts(kept * (2 + TARGET_CHARACTERS))
    for number in numbers:
        request = LoggedRequest(target=f"/{number:x}")
        counts.count(request, request.target)
        assert len(counts.first_requests) <= kept
    assert sum(count for _, count in counts.list_targets()) + counts.dropped_count == len(numbers)
    assert counts.first_requests.keys() == dict(counts.list_targets()).keys()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"targets": {}}', "\0"])
def test_another_file_is_no_model(tmp_path: Path, text: str) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(UserError, match="is not a model of load"):
        read_load_model(tmp_path / "model.json")


@pytest.mark.parametrize(
    "line",
    [
        write_hven_line(time="2026-10-10T11:55:36Z"),
        COMMON.format(method="GET", target="/a", status=200).replace("13:55:36 +0000", "13:55:36 +0200"),
        VOLLT.format(method="GET"),
    ],
)
def test_each_log_states_times(tmp_path: Path, line: str) -> None:
    (tmp_path / "log").write_text(line)
    (request,) = read_log(tmp_path / "log")
    assert isinstance(request, LoggedRequest)
    assert request.unix_time == datetime(2026, 10, 10, 11, 55, 36, tzinfo=UTC).timestamp()


def test_a_query_that_the_log_has_not_completely_is_not_repeated(tmp_path: Path) -> None:
    lines = [
        write_hven_line(query="Q=" + "x" * 1998, query_cut=True),
        write_hven_line(query="Q=" + "x" * 1998),  # of an older log, which does not say it
        write_hven_line(query="Q=" + "x" * 1997),
        write_hven_line(query="Q=" + "x" * 1998, method="POST"),
    ]
    (tmp_path / "log").write_text("\n".join(lines))
    reasons = [entry if isinstance(entry, str) else len(entry.target) for entry in read_log(tmp_path / "log")]
    assert reasons == [request_logs.CUT, request_logs.CUT, len("/cone/a.b?Q=") + 1997, request_logs.WITHOUT_BODY]


@pytest.mark.parametrize("user", ["anna", '"anna b"', "anna [at home]"])
def test_users_of_the_common_format_had_logged_in(tmp_path: Path, user: str) -> None:
    line = COMMON.format(method="GET", target="/a", status=200).replace("- - [", f"- {user} [")
    (tmp_path / "log").write_text(line)
    assert list(read_log(tmp_path / "log")) == [request_logs.PRIVATE]


def test_other_lines_of_vollt_are_skipped(tmp_path: Path) -> None:
    job = "2026-10-10T13:55:36.500+0200\tINFO\tTAP\tSTART\tr1\tExecution of the query started."
    (tmp_path / "log").write_text(f"{VOLLT.format(method='GET')}\n{job}\n{VOLLT_ANSWER}\n{VOLLT_ANSWER}\n")
    (request,) = read_log(tmp_path / "log")
    assert isinstance(request, LoggedRequest)
    assert request.status == 200


def test_answers_of_vollt_belong_to_the_last_request_with_their_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only requests that wait for their answer are kept, and only some of them: a log may have millions."""
    monkeypatch.setattr(request_logs, "MAX_WAITING_REQUESTS", 2)
    request = VOLLT.format(method="GET")
    lines = [request.replace("\tr1\t", f"\tr{number}\t") for number in (1, 1, 2, 3)]
    answers = [VOLLT_ANSWER.replace("\tr1\t", f"\tr{number}\t") for number in (1, 2)]
    private = VOLLT_ANSWER.replace("\tr1\t", "\tr3\t").replace("HTTP-200", "HTTP-401")
    (tmp_path / "log").write_text("\n".join([*lines, *answers, private]))
    statuses = [entry if isinstance(entry, str) else entry.status for entry in read_log(tmp_path / "log")]
    assert statuses == [None, None, 200, request_logs.PRIVATE], "the first is replaced, and the second makes room"


@pytest.mark.parametrize(
    ("statuses", "lasting"),
    [
        ([499, 200, 200], 200),
        ([503, 429, 404], 404),
        ([200, 404, 404], 404),
        ([200, 500, 500], 200),
        ([503, 500], None),
        ([200], 200),
    ],
)
def test_statuses_of_the_moment_are_no_answers(tmp_path: Path, statuses: list[int], lasting: int | None) -> None:
    lines = [write_hven_line(status=status) for status in statuses]
    (tmp_path / "log").write_text("\n".join(lines))
    ((request, count),) = collect_distinct_requests(tmp_path / "log", prefix="", request_limit=5)[0]
    assert (request.status, count) == (lasting, len(statuses))


def test_a_server_error_is_a_difference_even_if_the_log_has_no_lasting_status(tmp_path: Path, serve: Serve) -> None:
    new_url, _ = serve({"/a": (500, b""), "/b": (200, b"")})
    lines = [write_hven_line(path=path, query="", status=503) for path in ("/a", "/b")]
    (tmp_path / "log").write_text("\n".join(lines))
    done = run_hven("replay", tmp_path / "log", "--against", new_url, "--rate", 50, "--json", expected_code=1)
    differences = [entry["difference"] for entry in json.loads(done.stdout)["requests"]]
    assert differences == ["status 500, and the log does not say what the old service answers", ""]


def test_answers_that_are_too_large_are_told(tmp_path: Path, serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(replay, "MAX_ANSWER_BYTES", 10)
    url, _ = serve({"/a": (200, b"x" * 20)})
    log_replay = replay.LogReplay(url, url, requests_per_second=50)
    (replayed,) = log_replay.repeat_requests([(LoggedRequest(target="/a"), 1)])
    assert replayed.difference.startswith("no answer of either service can be compared: ")
    assert "returned more than 10 bytes" in replayed.difference
