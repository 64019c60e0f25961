"""das2: streams are read by an independent reader, which is proven on das2C's own, good and bad; samples and reductions are those of the source."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from asgi_client import Client
from das2_site import SECOND_MICROSECONDS, START_MICROSECONDS, make_samples, write_site

from das2_streams import Stream, StreamError, find_das2c_faults, parse_stream
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.ingest.sync import sync_collection
from hven.model import settings
from hven.plugins.series import pyramids
from hven.plugins.series.das2 import stream_writing
from hven.site import Site
from hven.testing.site import open_site_with_uningested_files
from shared import shared


@pytest.fixture(scope="module")
def source() -> pa.Table:
    return make_samples()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, source: pa.Table) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("das2")
    write_site(directory, source, public_url="https://vo.example")
    with Site(settings.load_settings(directory)) as made:
        for name in ("nda", "shut"):
            ingest_collection(made, name)
        yield made


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


LH, LINES, SWEPT, STOKES, ALL = (
    f"Nancay/NDA/Routine/{name}" for name in ("routine_jup_lh", "lines", "swept", "stokes", "all")
)
WHOLE = {"start_time": "2016-12-31", "end_time": "2017-01-02"}


def data(client: Client, path: str, **given: object) -> Stream:
    answer = client.get("/das2/server", **{"server": "dataset", "dataset": path, **WHOLE, **given})
    assert answer.status == 200, answer.body
    assert find_das2c_faults(answer.body) == []
    return parse_stream(answer.body)


def matrix(source: pa.Table, name: str) -> np.ndarray:
    return np.array(source[name].to_pylist(), float).reshape(source.num_rows, -1)


def times(source: pa.Table) -> np.ndarray:
    return source["at"].cast(pa.int64()).to_numpy()


def test_the_test_parser_reads_streams_of_other_servers() -> None:
    read, refused = 0, {}
    for place in sorted([*shared("corpora/das2").iterdir(), *shared("data/radio/das2").iterdir()]):
        if place.suffix[:3] not in {".d2", ".d3"} and place.suffix != ".bad":
            continue
        try:
            stream = parse_stream(place.read_bytes())
            if stream.version != "3.0":
                assert all(
                    len(values) == len(packet)
                    for packet in stream.packets
                    if len(packet)
                    for values in packet.values().values()
                )
                read += 1
        except StreamError as error:
            refused[place.name] = str(error)
    assert not any(name.endswith((".d2s", ".d2t")) for name in refused)
    assert read >= 15
    assert "at 72097" in refused["das2C--ex06_waveform_binary.d3b.bad"]  # where das2C's own judge stops
    assert {
        "das2C--reject_sandwich_noterm.d3t",
        "das2C--reject_sandwich_partial.d3t",
        "das2C--notimp_zero_subrun.d3b",
    } <= set(refused)
    good = shared("corpora/das2/das2C--x_multi_y.d2s").read_bytes()
    for bad in (
        good[:-3],
        good.replace(b"[01]000276", b"[01]000270"),
        good.replace(b"[01]", b"[02]", 1),
        b"x" + good,
        good.replace(b"real4", b"real3", 1),
    ):
        with pytest.raises(StreamError):
            parse_stream(bad)


@pytest.mark.parametrize("form", [{}, {"ascii": "1"}, {"compress": "true"}, {"ascii": "true", "compress": "true"}, {"format.version": "3"}, {"format.version": "3", "format.serial": "text"}])  # fmt: skip
def test_samples_equal_those_of_the_source(client: Client, source: pa.Table, form: dict[str, str]) -> None:
    stream = data(client, LH, **form)
    (packet,) = stream.packets
    values = packet.values()
    assert (values[""][:, 0] == times(source)).all()
    plane = packet.plane("lh")
    assert plane.tags == (10, 12, 14, 16, 18, 20, 22.5, 24)
    assert (plane.tag_units, plane.units) == ("MHz", "V**2 m**-2 Hz**-1")
    np.testing.assert_array_equal(values["lh"].astype(np.float32), matrix(source, "lh").astype(np.float32))
    assert stream.properties["xTagWidth"].startswith("1")
    if "format.version" not in form:
        assert (stream.version, stream.properties["renderer"], stream.properties["xTagWidth"]) == (
            "2.2",
            "spectrogram",
            "1 s",
        )


def test_lines_and_vectors_are_planes_of_their_own(client: Client, source: pa.Table) -> None:
    (packet,) = data(client, LINES).packets
    values = packet.values()
    assert list(values) == ["", "mag", "field_1", "field_2", "field_3", "count"]  # texts have no plane
    for name in ("mag", "count"):
        np.testing.assert_array_equal(values[name], matrix(source, name))
    np.testing.assert_array_equal(np.hstack([values[f"field_{at}"] for at in (1, 2, 3)]), matrix(source, "field"))
    (packet,) = data(client, LINES, params="count, mag").packets
    assert list(packet.values()) == ["", "mag", "count"]


@pytest.mark.parametrize("form", [{}, {"format.version": "3"}])
@pytest.mark.parametrize("resolution", ["0", "60"])
def test_lines_and_spectra_of_other_tags_have_packets_of_their_own(
    client: Client, source: pa.Table, form: dict[str, str], resolution: str
) -> None:
    """das2C reads a packet whose variables share their axes; a name that is no identifier, it does not read at all."""
    packets = data(client, ALL, resolution=resolution, **form).packets
    values = {name: found for packet in packets for name, found in packet.values().items()}
    assert values.keys() >= {"lh", "mag", "count", "stokes_1"}
    assert len(packets) == 3  # lines, lh, stokes
    assert len({tuple(packet.values()[""].ravel()) for packet in packets}) == 1
    if resolution == "0":
        np.testing.assert_array_equal(values["lh"].astype("f4"), matrix(source, "lh").astype("f4"))
        np.testing.assert_array_equal(values["mag"], matrix(source, "mag"))


@pytest.mark.parametrize("resolution", ["0", "60"])
def test_scales_are_said_of_values_and_of_their_axis(client: Client, resolution: str) -> None:
    """The stated scale of an axis wins over what its range suggests: these channels are no wide range."""
    stream = data(client, ALL, params="lh", resolution=resolution)
    assert (stream.properties["yScaleType"], stream.properties["zScaleType"]) == ("log", "log")
    stream = data(client, ALL, resolution=resolution)
    assert not {"yScaleType", "zScaleType"} & {*stream.properties}, "lines would inherit the scale of the channels"
    said = {plane.name: plane.properties for packet in stream.packets for plane in packet.planes}
    for name in ("lh", "lh.max") if resolution == "60" else ("lh",):
        assert (said[name]["yScaleType"], said[name]["zScaleType"]) == ("log", "log")
    assert (said["mag"]["yScaleType"], "zScaleType" in said["mag"]) == ("linear", False)
    assert not {"yScaleType", "zScaleType"} & {*said["count"], *said["stokes_1"]}
    assert data(client, ALL, params="mag").properties["yScaleType"] == "linear"
    newer = client.get("/das2/server", server="dataset", dataset=ALL, **WHOLE, **{"format.version": "3"}).body
    assert newer.count(b'<p name="scaleType">log</p>') == 2
    assert newer.count(b'<p name="scaleType">linear</p>') == 1


@pytest.mark.parametrize("version", [2, 3])
def test_doubles_are_written_whole_in_24_characters(version: int) -> None:
    """Some have 25 characters without an exponent, and some 24 with one, which leaves no room for a space."""
    values = np.array([-4.8065704427339955e-06, -2.2250738585072014e-308, 0.1, -1.7976931348623157e308, 1.0, -1e16, 5e-324]).reshape(-1, 1)  # fmt: skip
    rng = np.random.default_rng(4)
    values = np.vstack([values, rng.normal(size=(500, 1)) * 10.0 ** rng.integers(-300, 300, (500, 1))])
    times = START_MICROSECONDS + np.arange(len(values)) * SECOND_MICROSECONDS
    plane = stream_writing.Das2PacketPlane("mag", "mag", (0, 2))
    both = np.hstack([values, values[::-1]])
    form = stream_writing.Das2StreamEncoding(version, is_text=True)
    raw = b"".join(stream_writing.write_das2_stream([([plane._replace(axis_values=(1.0, 2.0), axis_name="Channel (MHz)")], [(times, {"mag": both})])], form, "none", str))  # fmt: skip
    assert find_das2c_faults(raw) == []
    (packet,) = parse_stream(raw).packets
    assert packet.planes[1].type == "ascii24"
    np.testing.assert_array_equal(packet.values()["mag"], both)


def test_windows_end_before_their_end(client: Client, source: pa.Table) -> None:
    low, high = "2016-12-31T23:00:10.25", "2016-366T23:00:20.25Z"
    for names in (
        ("start_time", "end_time"),
        ("time.min", "time.max"),
        ("reader.x.min", "reader.x.max"),
        ("read.time.min", "read.time.max"),
    ):
        query = f"server=dataset;dataset={LH};{names[0]}={low};{names[1]}={high}"
        (packet,) = parse_stream(client.get(f"/das2/server?{query}").body).packets
        assert (packet.values()[""][:, 0] == times(source)[10:20]).all()


@pytest.mark.parametrize("form", [{}, {"ascii": "1", "compress": "1"}, {"format.version": "3"}])
@pytest.mark.parametrize("name", ["resolution", "reducer.x.resolution", "time.res", "bin.time.max"])
def test_reduced_streams_have_means_and_peaks(
    client: Client, source: pa.Table, form: dict[str, str], name: str
) -> None:
    stream = data(client, LH, **form, **{name: "60"})
    (packet,) = stream.packets
    values, numbers = packet.values(), times(source) // (60 * SECOND_MICROSECONDS)
    every = np.unique(numbers)
    assert (values[""][:, 0] == every * 60 * SECOND_MICROSECONDS + 30 * SECOND_MICROSECONDS).all()  # the gap stays one
    real = matrix(source, "lh")
    for at, number in enumerate(every):
        inside = real[numbers == number]
        np.testing.assert_allclose(values["lh"][at], np.nanmean(inside, axis=0), rtol=1e-6)
        np.testing.assert_array_equal(
            values["lh.max"][at].astype(np.float32), np.nanmax(inside, axis=0).astype(np.float32)
        )
    if not form:
        assert stream.properties["xTagWidth"] == stream.properties["xCacheResolution"] == "60 s"
        assert stream.properties["xCacheResInfo"] == "(1.0 minute Averages)"
        said = {one: packet.plane(one).properties for one in ("lh", "lh.max")}
        assert (said["lh"]["source"], said["lh"]["operation"]) == ("lh", "BIN_AVG")
        assert (said["lh.max"]["source"], said["lh.max"]["operation"]) == ("lh", "BIN_MAX")


@pytest.mark.parametrize("form", [{}, {"format.version": "3"}, {"format.version": "3", "format.serial": "text"}])
@pytest.mark.parametrize("resolution", ["0", "60"])
def test_spectra_of_several_polarisations_are_a_plane_each(
    client: Client, source: pa.Table, form: dict[str, str], resolution: str
) -> None:
    (packet,) = data(client, STOKES, resolution=resolution, **form).packets
    values, real = packet.values(), matrix(source, "stokes").reshape(-1, 2, 8)
    numbers = times(source) // (60 * SECOND_MICROSECONDS)
    for at, name in enumerate(("stokes_1", "stokes_2")):
        plane = packet.plane(name)
        assert (plane.tags, plane.tag_units, plane.units) == (tuple(range(1, 9)), "MHz", "K")
        if resolution == "0":
            np.testing.assert_array_equal(values[name].astype("f4"), real[:, at])
        else:
            peaks = [real[numbers == number, at].max(axis=0) for number in np.unique(numbers)]
            np.testing.assert_array_equal(values[f"{name}.max"].astype("f4"), np.array(peaks))


@pytest.mark.parametrize("form", [{}, {"format.version": "3"}])
def test_lines_have_lowest_values_too(client: Client, source: pa.Table, form: dict[str, str]) -> None:
    # no cadence is said: on average 2.2 s, so that bins of 60 s are the widest kept ones below 100 s
    (packet,) = data(client, LINES, resolution=100, **form).packets
    values, numbers = packet.values(), times(source) // (60 * SECOND_MICROSECONDS)
    inside = matrix(source, "mag")[numbers == numbers[-1], 0]
    if not form:
        assert list(values)[1:6] == ["mag", "field_1", "field_2", "field_3", "count"]
    assert (values["mag.min"][-1, 0], values["mag.max"][-1, 0]) == (inside.min(), inside.max())
    inside = matrix(source, "field")[numbers == numbers[-1], 1]
    assert values["field_2.max"][-1, 0] == inside.max()


@pytest.mark.parametrize("resolution", ["", "0", "1", "0.5", "intrinsic"])
def test_finer_than_the_samples_is_as_they_are(client: Client, source: pa.Table, resolution: str) -> None:
    (packet,) = data(client, LH, resolution=resolution).packets
    assert len(packet) == source.num_rows


def test_frequencies_that_change_make_another_packet(client: Client, source: pa.Table) -> None:
    first, second = data(client, SWEPT, params="swept").packets
    assert first.planes[1].tags == tuple(range(10, 18))
    assert second.planes[1].tags == tuple(range(20, 36, 2))
    np.testing.assert_array_equal(
        np.vstack([one.values()["swept"] for one in (first, second)]), matrix(source, "swept")
    )
    both = data(client, SWEPT, params="swept", resolution=30).packets
    assert [one.plane("swept.max").tags[0] for one in both] == [10, 20]


@pytest.mark.parametrize(("given", "status", "word"), [
    ({"start_time": "2016-12-31", "end_time": "2016-12-31T01:00"}, 200, "NoDataInInterval"), ({"start_time": "1900", "end_time": "1901"}, 200, "NoDataInInterval"),
    ({"start_time": "2016-12-31T23:26:00", "end_time": "2016-12-31T23:26:30"}, 200, "NoDataInInterval"),  # in the gap
    ({"start_time": "2018", "end_time": "2017"}, 400, "IllegalArgument"), ({"start_time": "2017", "end_time": "2017"}, 400, "IllegalArgument"),
    ({"start_time": "yesterday"}, 400, "IllegalArgument"), ({"end_time": ""}, 400, "IllegalArgument"), ({"resolution": "-1"}, 400, "IllegalArgument"),
    ({"resolution": "nan"}, 400, "IllegalArgument"), ({"interval": "60"}, 400, "IllegalArgument"), ({"params": "lh,nothing"}, 400, "IllegalArgument"),
    ({"params": "note"}, 400, "IllegalArgument"), ({"format.version": "4"}, 400, "IllegalArgument"), ({"format.serial": "<xml>"}, 400, "IllegalArgument"),
    ({"dataset": "Nancay/NDA/Routine/nothing"}, 404, "NoSuchDataSource"), ({"dataset": "Nancay/Shut/lines"}, 404, "NoSuchDataSource"),
    ({"dataset": ""}, 404, "NoSuchDataSource"), ({"server": "drop"}, 400, "IllegalArgument"),
])  # fmt: skip
def test_errors_are_sent_as_exception_packets(client: Client, given: dict[str, str], status: int, word: str) -> None:
    answer = client.get("/das2/server", **{"server": "dataset", "dataset": LH, **WHOLE, **given})
    stream = parse_stream(answer.body)
    assert answer.status == status
    assert [one["type"] for one in stream.exceptions] == [word]
    assert not any(map(len, stream.packets))


def test_data_sources_are_listed_and_described(client: Client) -> None:
    listed = client.get("/das2/server", server="list").body.decode().split("\r\n")
    assert listed == [
        "Nancay/",
        "Nancay/NDA/",
        "Nancay/NDA/Routine/",
        f"{ALL}|Routine",
        f"{LINES}|Lines & more",
        f"{LH}|Routine",
        f"{STOKES}|Routine",
        f"{SWEPT}|Routine",
        "",
    ]
    assert client.get("/das2/server", server="discovery").body.decode().split("\r\n") == listed
    said = parse_stream(client.get("/das2/server", server="dsdf", dataset=LH).body).properties
    assert said["validRange"] == "2016-12-31T23:00:00.250 to 2017-01-01T01:06:40.250 UTC"
    assert said["das2Stream"] == "1"
    assert said["server"] == "https://vo.example/das2/server"
    low, high = said["exampleRange_00"].partition("|")[0].replace("UTC", "").split(" to ")
    assert len(data(client, LH, start_time=low, end_time=high).packets[0]) > 100
    assert client.get("/das2/server", server="id").text == "Nançay\r\n"
    assert b"<url>https://vo.example/das2/server</url>" in client.get("/das2/server", server="peers").body
    assert client.get("/das2/server", server="logo").status == 404
    assert client.get("/das2/server").status == 200


def test_catalogue_nodes_lead_to_every_data_source(client: Client) -> None:
    def follow_nodes(url: str) -> Iterator[dict[str, object]]:
        node = json.loads(client.get(url.removeprefix("https://vo.example")).body)
        yield node
        for below in [*node.get("catalog", {}).values(), *node.get("sources", {}).values()]:
            for each in below["urls"]:
                yield from follow_nodes(each)

    nodes = list(follow_nodes("https://vo.example/das2/catalog.json"))
    kinds = [node["type"] for node in nodes]
    assert (kinds.count("Catalog"), kinds.count("Collection"), kinds.count("HttpStreamSrc")) == (4, 5, 5)
    assert {node["name"] for node in nodes if node["type"] == "Catalog"} >= {"Nancay", "NDA", "Routine"}
    source = next(node for node in nodes if node["type"] == "HttpStreamSrc" and node["name"] == "routine_jup_lh")
    example = source["interface"]["examples"][0]["settings"]  # type: ignore[index]
    url = source["protocol"]["baseUrls"][0]  # type: ignore[index]
    low, high = example["coords/time/props/min"], example["coords/time/props/max"]
    answer = client.get(f"{url.removeprefix('https://vo.example')}&start_time={low}&end_time={high}")
    assert len(parse_stream(answer.body).packets[0]) > 100
    assert client.get("/das2/catalog/nancay/nothing.json").status == 404
    assert client.get("/das2/catalog/nancay/shut.json").status == 404


def test_responses_have_content_types_and_file_names(client: Client) -> None:
    query = f"server=dataset&dataset={LH}&start_time=2016-12-31&end_time=2017-01-02"
    answer = client.get(f"/das2/server?{query}")
    assert answer.headers["content-type"] == "application/vnd.das2.das2stream"
    assert answer.headers["content-disposition"] == 'inline; filename="routine_jup_lh_2016-12-31_2017-01-02.d2s"'
    assert (
        client.get(f"/das2/server?{query}&ascii=1").headers["content-type"] == "text/vnd.das2.das2stream; charset=utf-8"
    )
    again = client.ask("GET", f"/das2/server?{query}", headers={"if-none-match": answer.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert client.ask("HEAD", f"/das2/server?{query}").body == b""


def test_stored_reductions_give_the_same_samples(
    client: Client, site: Site, source: pa.Table, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 100)
    monkeypatch.setattr(pyramids, "MIN_LEVEL_BINS", 2)
    given = {"start_time": "2016-12-31T23:10", "end_time": "2017-01-01T01:00", "resolution": 130, "params": "lh"}
    before = data(client, LH, **given)
    kept = site.get_or_create(pyramids.BinPyramidStore, site.settings.var_directory / "reductions")
    kept.wait_until_idle()
    places = [place for place in (site.settings.var_directory / "reductions").iterdir() if place.is_dir()]
    assert len(places) == 1
    assert {place.name for place in places[0].iterdir()} >= {"15000000.bins", "60000000.bins", "levels.json"}
    read = threading.Event()
    inner = pyramids.iterate_bin_chunks

    def note_reduction(bins: object, width: int, *args: object) -> object:
        assert width == 60 * SECOND_MICROSECONDS
        read.set()
        return inner(bins, width, *args)  # type: ignore[arg-type]

    monkeypatch.setattr(pyramids, "iterate_bin_chunks", note_reduction)
    monkeypatch.setattr(pyramids, "read_samples", None)  # none of them is read
    after = data(client, LH, **given)
    assert read.is_set()
    (one,), (other,) = before.packets, after.packets
    for name, values in one.values().items():
        np.testing.assert_allclose(other.values()[name], values, rtol=1e-6)
    np.testing.assert_array_equal(other.values()["lh.max"], one.values()["lh.max"])
    # what is private is never kept
    assert not any("shut" in place.name for place in Path(site.settings.var_directory / "reductions").rglob("*"))


GROWING = """\
collection: grow
title: Growing
tables:
  main:
    source: {kind: parquet, files: a.parquet}
    primary: taken
    columns: {taken: {ucd: time.epoch}, mag: {unit: nT}, field: {type: "float32[4]"}}
    series: {cadence: 1 s}
"""


def test_only_what_changed_is_reduced_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Samples that are added, changed and removed: the levels are those that all of them make, though few are read."""
    monkeypatch.setattr(pyramids, "MAX_DIRECT_VALUES", 100)
    monkeypatch.setattr(pyramids, "MIN_LEVEL_BINS", 10)
    rng = np.random.default_rng(3)
    many = 40_000
    at = START_MICROSECONDS // SECOND_MICROSECONDS * SECOND_MICROSECONDS + np.arange(many) * SECOND_MICROSECONDS
    mag, field = rng.normal(size=many), rng.normal(size=(many, 4)).astype("f4")

    def write(keep: np.ndarray) -> None:
        made = {
            "taken": pa.array(at[keep]).cast(pa.timestamp("us")),
            "mag": mag[keep],
            "field": pa.array(list(field[keep])),
        }
        pq.write_table(pa.table(made), tmp_path / "collections" / "grow" / "a.parquet")

    reads: list[int] = []
    inner = pyramids.read_samples

    def note_read_rows(*args: object, **more: object) -> Iterator[pa.RecordBatch]:
        for batch in inner(*args, **more):  # type: ignore[arg-type]
            if threading.current_thread().name == "reductions":
                reads.extend(batch.column(0).to_pylist())
            yield batch

    monkeypatch.setattr(pyramids, "read_samples", note_read_rows)
    with open_site_with_uningested_files(tmp_path, GROWING, {}) as site:
        place, client = site.settings.var_directory / "reductions", Client(create_and_start_application(site))

        def load_levels() -> dict[int, np.ndarray]:
            reads.clear()
            for _ in range(2):  # the second time they are there
                data(client, "grow/main", start_time="2016", end_time="2018", resolution=60)
                site.get_or_create(pyramids.BinPyramidStore, place).wait_until_idle()
            (one,) = [each for each in place.iterdir() if each.is_dir()]
            return {width: np.array(bins) for width, bins in pyramids.load_pyramid_levels(one).items()}

        write(np.arange(30_000))
        ingest_collection(site, "grow")
        first = load_levels()
        assert len(reads) == 30_000
        mag[100] = 1e6
        keep = np.delete(np.arange(many), [5, 9_000])
        write(keep)
        sync_collection(site, "grow")
        again = load_levels()
    assert list(first) == list(again)[: len(first)]  # a wider level is worth it now
    widest = max(again) // SECOND_MICROSECONDS
    assert 10_000 < len(reads) < 10_000 + 4 * widest < 25_000  # of 40,000
    whole = pa.record_batch(
        [pa.array(at[keep]), pa.array(mag[keep]), pa.array(list(field[keep]))], names=["hven_time", "mag", "field"]
    )
    pyramids.build_pyramid(tmp_path, lambda *_: [whole], ["mag", "field"], list(again))
    for width, bins in pyramids.load_pyramid_levels(tmp_path).items():
        for name in bins.dtype.names or ():
            np.testing.assert_allclose(again[width][name], bins[name], rtol=1e-6 if name[:2] == "m " else 0)
