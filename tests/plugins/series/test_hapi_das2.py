"""HAPI and das2 as sources: the samples of servers that are none of ours; what is new alone; bad answers told, never taken for samples."""

from __future__ import annotations

import datetime as dt
import json
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qsl, urlsplit

import numpy as np
import pyarrow as pa
import pytest
from hapi_server import HapiAnswer, HapiServer, serve

import das2_streams
from hven.model.errors import SourceError, TooLargeError
from hven.plugins.series.das2 import source as das2
from hven.plugins.series.das2 import stream_reading, stream_writing
from hven.plugins.series.hapi import source as hapi
from hven.plugins.series.time_windows import parse_instants
from hven.sources import SourceContext, _rate_limiting
from hven.testing.source import SourceContract
from shared import shared

ROWS = 12
OPEN = SourceContext(allow_private=True)


def moment(at: int) -> dt.datetime:
    return dt.datetime(2003, 10, 28) + dt.timedelta(seconds=4 * at)


def compute_expected_row(at: int) -> dict[str, Any]:
    flux = at / 4 if at % 7 else None
    return {"Time": moment(at), "flux": flux, "spectrum": [at, at + 0.5, -at], "flag": f"a,{at % 3}", "count": at}


@pytest.fixture
def world() -> HapiServer:
    return HapiServer(rows=ROWS)


@pytest.fixture
def url(world: HapiServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.0)
    with serve(world) as found:
        yield found


class TestHapi(SourceContract):
    kind = "hapi"
    has_files = False
    key: ClassVar[list[str]] = ["Time"]
    rows: ClassVar[list[dict[str, Any]]] = [compute_expected_row(at) for at in range(ROWS)]

    @pytest.fixture(autouse=True)
    def _served(self, url: str) -> None:
        self.url = url

    def write_source_files(self, directory: Path) -> dict[str, Any]:
        return {"url": self.url, "dataset": "rays"}

    def build_source_context(self, directory: Path) -> SourceContext:
        return SourceContext(directory=directory, allow_private=True)


def open_source(url: str, context: SourceContext = OPEN, **options: Any) -> Any:
    return hapi.open(hapi.Options.model_validate({"url": url, "dataset": "rays", "tries": 2, **options}), context)


def rows_of(source: Any, columns: list[str] | None = None) -> list[dict[str, Any]]:
    return [row for batch in source.read_batches(columns) for row in batch.to_pylist()]


@pytest.mark.parametrize("options", [{"format": "csv"}, {"format": "binary"}])
def test_samples_are_read_in_each_format(url: str, world: HapiServer, options: dict[str, str]) -> None:
    source = open_source(url, **options)
    assert [(one.name, str(one.type), one.unit) for one in source.list_columns()] == [
        ("Time", "timestamp", None), ("flux", "float64", "W"), ("spectrum", "float64[3]", None), ("flag", "string", None), ("count", "int32", None),
    ]  # fmt: skip
    assert rows_of(source) == [
        compute_expected_row(at) if at else {**compute_expected_row(at), "flux": None} for at in range(ROWS)
    ]
    assert rows_of(open_source(url, **options, columns=["count"])) == [
        {"Time": moment(at), "count": at} for at in range(ROWS)
    ]
    assert world.requests[-1][1]["parameters"] == "count"
    part = open_source(url, **options, start="2003-301T00:00:08Z", stop="2003-10-28T00:00:16Z")
    assert [row["count"] for row in rows_of(part, ["count"])] == [2, 3]


@pytest.mark.parametrize("name", [f"{version}-dataset{at}" for version, at in (("3.0", 1), ("3.1", 1), ("3.1", 2), ("3.3", 1), ("3.3", 2))])  # fmt: skip
def test_metadata_of_the_hapi_test_data_is_read(url: str, world: HapiServer, name: str) -> None:
    """Each parameter of HAPI's TestData is a column; what its bins are is taken over, numbers or the name of another parameter."""
    said = json.loads(shared(f"corpora/hapi/data-specification-schema--TestData{name}.json").read_text())
    told: list[str] = []
    world.info = {"startDate": "1970-01-01Z", "stopDate": "1970-01-02Z", **said}
    source = open_source(url, replace(OPEN, on_notice=told.append))
    columns = {one.name: one for one in source.list_columns()}
    assert list(columns) == [one["name"] for one in said["parameters"]]
    bins = source.read_parameter_bins()
    for one in said["parameters"]:
        if one.get("size") and one["type"] in {"double", "integer"}:
            assert columns[one["name"]].type.shape == tuple(reversed(one["size"]))
        if "$ref" in str(one.get("bins")):  # servers resolve them, unless they are asked not to
            assert [text for text in told if f"invalid description of the bins of {one['name']}" in str(text)]
            continue
        for mine, their in zip(bins.get(one["name"], ()), one.get("bins", ()), strict=True):
            assert (mine.centers or None) == (tuple(their["centers"]) if isinstance(their.get("centers"), list) else their.get("centers"))  # fmt: skip


@pytest.mark.parametrize("format_", ["csv", "binary"])
def test_arrays_of_texts_and_times_keep_all_elements(url: str, world: HapiServer, format_: str) -> None:
    """As `vectorstr` and `vectoriso` of the reference server's test data are; the elements of times are texts."""
    flags = ["P/P", "P/F", "F/P", "F/F", "none", "ab,c"]
    grid = [[flags[(at + row + 3 * column) % 6] for row in range(3) for column in range(2)] for at in range(ROWS)]
    times = [[moment_text(at + more) if (at + more) % 5 else "" for more in range(2)] for at in range(ROWS)]
    world.info["parameters"] = [
        world.info["parameters"][0],
        {"name": "grid", "type": "string", "length": 4, "units": None, "fill": "none", "size": [3, 2]},
        {"name": "times", "type": "isotime", "length": 24, "units": "UTC", "fill": "", "size": [2]},
        {"name": "count", "type": "integer", "units": None, "fill": None},
    ]
    world.samples = [[world.format_time(at), grid[at], times[at], at] for at in range(ROWS)]
    told: list[Any] = []
    source = open_source(url, replace(OPEN, on_notice=told.append), format=format_)
    columns = {one.name: one.type for one in source.list_columns()}
    assert (columns["grid"].shape, columns["times"].shape) == ((4, 2, 3), (24, 2))
    rows = rows_of(source)
    assert [row["grid"] for row in rows] == [[None if text == "none" else text for text in row] for row in grid]
    assert [row["times"] for row in rows] == [[text or None for text in row] for row in times]
    assert [row["count"] for row in rows] == list(range(ROWS))
    assert [(one.kind, one.column) for one in told] == [("type", "times")]


def moment_text(at: int) -> str:
    return HapiServer.format_time(at)


def test_a_number_that_is_too_large_for_a_double_is_told(url: str, world: HapiServer) -> None:
    world.alter_answer = spoil_data(set_to(body=lambda raw: raw.replace(b",0.25,", b",1e400,")))
    with pytest.raises(SourceError, match="sent 1e400, which is too large"):
        rows_of(open_source(url, format="csv"))


def test_only_new_samples_are_requested(url: str, world: HapiServer) -> None:
    source = open_source(url)
    assert source.can_filter_by("Time")
    assert not source.can_filter_by("count")
    world.requests.clear()
    assert [row["count"] for row in rows_of(source.select_since("Time", moment(9)))] == [9, 10, 11]
    assert min(given["start"] for name, given in world.requests if name == "data") >= "2003-10-28T00:00:36"


def test_a_coarser_linked_dataset_is_used_for_its_cadence(url: str, world: HapiServer) -> None:
    links = [{"id": f"rays_{one}", "cadence": one, "type": "resample"} for one in ("PT1M", "PT1H", "P1D")]
    world.info["x_relations"] = links
    world.alter_answer = lambda endpoint, given, answer: None
    for cadence, name in ((3, "rays"), (60, "rays_PT1M"), (5000, "rays_PT1H"), (1e6, "rays_P1D")):
        assert open_source(url, cadence=cadence)._dataset_id_at_cadence == name


def test_windows_grow_shorter_where_a_server_wants_that(url: str, world: HapiServer) -> None:
    def refuse_long_windows(endpoint: str, given: dict[str, str], answer: HapiAnswer) -> None:
        if (
            endpoint == "data"
            and parse_instants(np.array([given["stop"].encode()])) - parse_instants(np.array([given["start"].encode()]))
            > 9_000_000
        ):
            answer.status, answer.body = 400, b'{"HAPI": "3.3", "status": {"code": 1408, "message": "too much"}}'

    world.alter_answer = refuse_long_windows
    assert [row["count"] for row in rows_of(open_source(url), ["count"])] == list(range(ROWS))


def spoil_data(change: Callable[[HapiAnswer], object]) -> Callable[[str, dict[str, str], HapiAnswer], None]:
    return lambda endpoint, _given, answer: change(answer) if endpoint == "data" else None  # type: ignore[return-value, func-returns-value]


def set_to(**said: Any) -> Callable[[HapiAnswer], None]:
    def change(answer: HapiAnswer) -> None:
        for name, value in said.items():
            setattr(answer, name, value(answer.body) if callable(value) else value)

    return change


@pytest.mark.parametrize(
    ("format_", "change", "words"),
    [
        ("binary", set_to(body=lambda raw: raw[:-3]), "not a multiple of the record length"),
        ("csv", set_to(body=lambda raw: raw[:-3]), "the response is truncated"),
        ("csv", set_to(body=lambda raw: raw.replace(b",11\n", b"\n")), "do not match its `info` response"),
        ("csv", set_to(body=lambda raw: raw.replace(b",11\n", b",x\n")), "do not match its `info` response"),
        (
            "csv",
            set_to(body=lambda raw: raw.replace(b"2003-10-28T00:00:04", b"2003-13-28T00:00:04")),
            "a value of .* that is not a time",
        ),
        ("csv", set_to(status=404, body=b'{"HAPI": "3.3", "status": {"code": 1406, "message": "gone"}}'), "1406: gone"),
        ("csv", set_to(body=b'{"HAPI": "3.3", "status": {"code": 1500, "message": "trouble"}}'), "1500: trouble"),
        ("csv", set_to(status=500, body=b"<html>trouble</html>"), "returned status 500: trouble"),
        ("csv", set_to(status=503, body=b"later"), "Hven tried 2 times"),
    ],
)
def test_invalid_responses_are_reported(
    url: str, world: HapiServer, format_: str, change: Callable[[HapiAnswer], None], words: str
) -> None:
    source = open_source(url, format=format_)
    source.list_columns()
    world.alter_answer = spoil_data(change)
    with pytest.raises(SourceError, match=words):
        rows_of(source)


def test_lines_of_another_length_can_be_kept_aside(url: str, world: HapiServer) -> None:
    world.alter_answer = spoil_data(set_to(body=lambda raw: raw.replace(b",11\n", b"\n")))
    refused: list[Any] = []
    source = open_source(url, SourceContext(allow_private=True, on_reject=refused.append), format="csv")
    assert len(rows_of(source)) == ROWS - 1
    assert refused[0].reason == "6 values instead of 7"


def test_samples_that_were_not_asked_for_are_left_out(url: str, world: HapiServer) -> None:
    told: list[str] = []
    world.samples.insert(3, ["2003-10-27T00:00:00.000Z", 1.0, [1, 2, 3], "a", 1])
    everything = list(world.samples)

    def all_of_them(endpoint: str, given: dict[str, str], answer: HapiAnswer) -> None:
        if endpoint == "data":
            listed = world.info["parameters"]
            answer.body = b"".join(world._pack_record(row, listed) for row in everything)

    world.alter_answer = all_of_them
    source = open_source(url, SourceContext(allow_private=True, on_notice=told.append), stop="2003-10-28T00:00:20Z")
    assert [row["count"] for row in rows_of(source)] == [0, 1, 2, 3, 4]
    assert [one for one in told if "outside" in str(one)]
    assert [one for one in told if "not in time order" in str(one)]


def test_budgets(url: str) -> None:
    with pytest.raises(TooLargeError, match="more than 100 bytes"):
        rows_of(open_source(url, bytes=100))
    with pytest.raises(SourceError, match="takes longer than"):
        rows_of(open_source(url, total=1e-9))


@pytest.mark.parametrize(
    ("text", "iso"),
    [
        (b"2003-301T01:02:03.5Z", "2003-10-28T01:02:03.5"), (b"2003-10-28", "2003-10-28"), (b"2003-301Z", "2003-10-28"), (b"2003Z", "2003-01-01"),
        (b"2003-10-28T01Z", "2003-10-28T01"), (b"2016-12-31T23:59:60.250Z", "2017-01-01T00:00:00.250"), (b"2016-366T23:59:60Z", "2017-01-01"),
        (b"2003-10-28T01:02:03.123456789Z", "2003-10-28T01:02:03.123456"),
    ],
)  # fmt: skip
def test_times(text: bytes, iso: str) -> None:
    assert parse_instants(np.array([text])).tolist() == [np.datetime64(iso, "us").astype(np.int64)]


@pytest.mark.parametrize("text", [b"2003-367T00Z", b"2003-000", b"x", b"2003-02-30", b"2003-10-28T25:00Z"])
def test_what_is_no_time(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_instants(np.array([text]))


# --- das2 --------------------------------------------------------------------------------------------------------

STREAMS = [
    "das2_ascii_input1.d2s",
    "das2_ascii_input2.d2s",
    "das2_bin_avgsec_input2.d2s",
    "das2_bin_peakavgsec_output1.d2t",
    "das2_from_das1_output2.d2t",
]


@pytest.mark.parametrize("name", STREAMS)
def test_streams_are_read_as_the_judge_reads_them(name: str) -> None:
    raw = shared(f"corpora/das2/das2C--{name}").read_bytes()
    mine, judge = (
        stream_reading.parse_das2_stream(raw).segments,
        [one for one in das2_streams.parse_stream(raw).packets if len(one)],
    )
    assert len(mine) == len(judge) > 0
    for one, other in zip(mine, judge, strict=True):
        wanted = other.values()
        np.testing.assert_array_equal(one.times, wanted[""].ravel())
        for plane, values in zip(one.planes[1:], one.values, strict=True):
            np.testing.assert_allclose(values, wanted[plane.name].reshape(len(values), -1), rtol=1e-7)


@pytest.mark.parametrize("cut", [3, 8, 200, 5000, -7])
def test_a_stream_that_breaks_off_is_told(cut: int) -> None:
    raw = shared("corpora/das2/das2C--das2_bin_avgsec_input2.d2s").read_bytes()[:cut]
    with pytest.raises(SourceError, match=r"is truncated|ends in the middle|not a das2 stream|no XML"):
        stream_reading.parse_das2_stream(raw)


def test_a_wrong_length_is_told() -> None:
    raw = shared("corpora/das2/das2C--das2_bin_avgsec_input2.d2s").read_bytes()
    at = raw.index(b":01:") + 4
    with pytest.raises(
        SourceError, match=r"length is wrong|no description of this packet|is truncated|ends in the middle"
    ):
        stream_reading.parse_das2_stream(raw[:at] + b"x" + raw[at:])


def test_variables_of_packets_of_their_own_are_one_row() -> None:
    """A line beside a spectrum whose frequencies change twice, and one whose frequencies change elsewhere: a row for each time."""
    times = np.arange(9, dtype=np.int64) * 60_000_000 + 1_577_836_800_000_000
    line, ll, rr = np.arange(9.0)[:, None], np.arange(18.0).reshape(9, 2), -np.arange(27.0).reshape(9, 3)

    def segments() -> Iterator[stream_writing.Segment]:
        for first, last, low, lowest in ((0, 3, 1.0, 7.0), (3, 5, 2.0, 7.0), (5, 9, 2.0, 8.0)):
            planes = [
                stream_writing.Das2PacketPlane("line", "line", (0, 1)),
                stream_writing.Das2PacketPlane("ll", "ll", (0, 2), "V", (low, 5.0), "frequency", "MHz"),
                stream_writing.Das2PacketPlane("rr", "rr", (0, 3), "V", (lowest, 9.0, 10.0), "frequency", "MHz"),
            ]
            rows = slice(first, last)
            yield planes, [(times[rows], {"line": line[rows], "ll": ll[rows], "rr": rr[rows]})]

    raw = b"".join(stream_writing.write_das2_stream(segments(), stream_writing.Das2StreamEncoding(2), "none", str))
    found = stream_reading.parse_das2_stream(raw).segments
    found.sort(key=lambda one: int(one.times[0]))
    assert [one.times.tolist() for one in found] == [times[:3].tolist(), times[3:5].tolist(), times[5:].tolist()]
    for name, values in (("line", line), ("ll", ll), ("rr", rr)):
        parts = [part for one in found for plane, part in zip(one.planes[1:], one.values, strict=True) if plane.name == name]  # fmt: skip
        np.testing.assert_array_equal(np.concatenate(parts), values)
    tags = [{plane.name: plane.item_values[:1] for plane in one.planes[1:]} for one in found]
    assert [(one["ll"], one["rr"]) for one in tags] == [((1.0,), (7.0,)), ((2.0,), (7.0,)), ((2.0,), (8.0,))]


@pytest.mark.parametrize("spelling", ['<stream xmlns="das-basic-stream"', '<d:stream xmlns:d="das-basic-stream"'])
def test_headers_may_have_a_namespace(spelling: str) -> None:
    times = np.arange(5, dtype=np.int64) * 60_000_000 + 1_577_836_800_000_000
    form = stream_writing.Das2StreamEncoding(2, properties={"title": "Rays", "double:yFill": "-1e31"})
    plane = stream_writing.Das2PacketPlane("flux", "flux", (0, 1), "W")
    raw = b"".join(
        stream_writing.write_das2_stream([([plane], [(times, {"flux": np.arange(5.0)[:, None]})])], form, "none", str)
    )
    size = raw.index(b">\n", raw.index(b"</stream")) + 2
    begin = raw.index(b"<stream")
    body = raw[begin:size].decode()
    named = spelling.split(maxsplit=1)[0][1:]
    said = body.replace("<stream", spelling, 1).replace("</stream", f"</{named}", 1)
    if named != "stream":
        said = said.replace("<properties", "<d:properties").replace("</properties", "</d:properties").replace("<p ", "<d:p ").replace("</p>", "</d:p>")  # fmt: skip
    head = f"[00]{len(said):06d}"
    described = {"<packet>": '<packet xmlns="das-basic-stream">'}
    rest = raw[size:]
    for plain, spaced in described.items():
        if plain.encode() in rest:
            old, number = rest[:10], "[01]{:06d}"
            length = int(old[4:])
            packet = rest[len(old) : len(old) + length].decode().replace(plain, spaced, 1)
            rest = number.format(len(packet)).encode() + packet.encode() + rest[len(old) + length :]
            break
    stream = stream_reading.parse_das2_stream(head.encode() + said.encode() + rest)
    assert stream.properties["title"] == "Rays"
    (one,) = stream.segments
    assert one.times.tolist() == times.tolist()
    assert one.values[0].ravel().tolist() == [0, 1, 2, 3, 4]


class Das2Server(BaseHTTPRequestHandler):
    """Two hours of a number and a spectrum, a sample a minute; an hour without samples between."""

    asked: ClassVar[list[dict[str, str]]] = []

    def do_GET(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query))
        self.asked.append(given)
        if given["server"] == "dsdf":
            body = self.packet("00", '<stream version="2.2"><properties title="Rays" validRange="2020-01-01 to 2020-001T03:00" exampleRange_00="2020-01-01T00:00 to 2020-01-01T00:10 UTC | ten" /></stream>')  # fmt: skip
        elif given["dataset"] == "third":
            body = b"|Sx||52|<stream type='das-basic-stream' version='3.0'/>     "
        else:
            low, high = (np.datetime64(given[name], "us").astype(np.int64) / 1e6 for name in ("start_time", "end_time"))
            begin = np.datetime64("2020-01-01", "s").astype(np.int64)
            times = np.array([at for at in range(begin, begin + 10_800, 60) if low <= at < high and not 3600 <= at - begin < 7200])  # fmt: skip
            body = self.packet("00", '<stream version="2.2"><properties double:zFill="-1" /></stream>')
            if len(times):
                body += self.packet("01", '<packet><x type="sun_real8" units="t1970"/><y name="flux" type="sun_real4" units="W"/><yscan name="psd" nitems="3" yTags="1,2,4" type="little_endian_real4" zUnits="V"/></packet>')  # fmt: skip
            else:
                body += self.packet("xx", '<exception type="NoDataInInterval" message="none" />')
            rows = np.empty(len(times), [("mark", "S4"), ("x", ">f8"), ("y", ">f4"), ("z", "<f4", 3)])
            rows["mark"], rows["x"], rows["y"] = b":01:", times, (times - begin) / 60
            rows["z"] = np.array([-1, 2, 3])
            body += rows.tobytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def packet(self, number: str, text: str) -> bytes:
        return f"[{number}]{len(text):06d}{text}".encode()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def das2_url() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Das2Server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/das2/server"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_das2_server_is_mirrored(das2_url: str) -> None:
    options = {"url": das2_url, "dataset": "a/rays"}
    source = das2.open(das2.Options.model_validate(options), OPEN)
    assert [(one.name, str(one.type), one.unit) for one in source.list_columns()] == [("time", "timestamp", None), ("flux", "float32", "W"), ("psd", "float32[3]", "V")]  # fmt: skip
    rows = rows_of(source)
    assert [row["flux"] for row in rows] == [*range(60), *range(120, 180)]
    assert rows[61] == {"time": dt.datetime(2020, 1, 1, 2, 1), "flux": 121, "psd": [None, 2, 3]}
    assert source.read_title_and_description()[0] == "Rays"
    Das2Server.asked.clear()
    late = dt.datetime(2020, 1, 1, 2, 50)
    assert [row["flux"] for row in rows_of(source.select_since("time", late))] == [*range(170, 180)]  # type: ignore[attr-defined]
    assert all(given["start_time"] >= "2020-01-01T02:50" for given in Das2Server.asked)
    tagged = das2.open(das2.Options.model_validate({**options, "tags": True, "resolution": 60}), OPEN)
    assert rows_of(tagged)[0]["psd_tags"] == [1, 2, 4]
    assert Das2Server.asked[-1]["resolution"] == "60"
    assert pa.Table.from_batches(list(tagged.read_batches())).schema.field("psd").type == pa.list_(pa.float32())


def test_a_stream_of_das_3_is_refused(das2_url: str) -> None:
    source = das2.open(das2.Options.model_validate({"url": das2_url, "dataset": "third"}), OPEN)
    with pytest.raises(SourceError, match=r"a das 3\.0 stream.*das2 2\.2, the only version that Hven reads"):
        source.list_columns()


def test_a_number_of_items_is_refused_before_their_values_are_computed() -> None:
    stream = b'<stream version="2.2"/>'
    packet = b'<packet><x type="sun_real8" units="us2000"/><yscan type="sun_real4" nitems="3000000"/></packet>'
    raw = b"[00]%06d%s[01]%06d%s" % (len(stream), stream, len(packet), packet)
    tracemalloc.start()
    try:
        with pytest.raises(SourceError, match="3000000 items"):
            stream_reading.parse_das2_stream(raw)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 10_000_000
