"""`enrich:`: one document for each row, fetched once, newest first, over several runs; and all that servers may send instead."""

from __future__ import annotations

import http.server
import json
import sqlite3
import sys
import threading
import zlib
from types import SimpleNamespace

import pytest

from hven import query
from hven.app._cli import progress
from hven.ingest.api.runs import IngestProgress, ingest_collection
from hven.ingest.sync import sync_collection
from hven.model.errors import DescriptorError, SourceError
from hven.plugins.enrichment import document_fetch
from hven.plugins.enrichment.document_values import extract_values
from hven.plugins.enrichment.enrichment_options import DocumentEnrichmentOptions
from hven.plugins.enrichment.row_documents import RowDocuments
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import FileListSource, IncrementalSource, SourceContext, _rate_limiting, csv
from hven.sources.api.documents import InvalidDocumentError
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from shared import shared

COLUMNS = {
    "pbl": {"key": ["ESO ISS PBL12 START", "ESO ISS PBL13 START"], "type": "float64", "unit": "m"},
    "mode": "ESO INS MODE",
    "lst": {"key": "LST", "type": "float64"},
    "ntel": {"key": "ESO ISS CONF NTEL", "type": "int32"},
}
TAKEN = [
    (["ESO ISS PBL12 START", "ESO ISS PBL13 START"], "float", True),
    (["ESO INS MODE"], "text", False),
    (["LST"], "float", False),
    (["ESO ISS CONF NTEL"], "int", False),
]
GOOD = ([24.166, 31.889], "PARALLEL", 59733.643, 4)


def header(number=0, **more):
    said = {
        "SIMPLE": "T", "MJD-OBS": 57562.1, "LST": 59733.643, "HIERARCH ESO INS MODE": "'PARALLEL'",
        "HIERARCH ESO ISS CONF NTEL": 4, "HIERARCH ESO ISS PBL12 START": 24.166 + number, "HIERARCH ESO ISS PBL13 START": 31.889,
    } | more  # fmt: skip
    cards = [
        f"{f'{key} =' if key.startswith('HIERARCH') else f'{key:8}='} {value:>20} / of <a> & b"
        for key, value in said.items()
    ]
    return [*(card.ljust(80) for card in cards), "END".ljust(80)]


def page(cards):
    inner = "\n".join(card.replace("&", "&amp;").replace("<", "&lt;").rstrip() for card in cards)
    return f"<!DOCTYPE html><html><body><h1>Header</h1><pre id=x>\n<b>{inner}</b>\n</pre></body></html>".encode()


BLOCKS = "".join(header()).encode().ljust(2880)
FORMS = {
    "as it is": BLOCKS,
    "a whole file": BLOCKS + b"\x01\x02" * 2880,
    "lines": "\n".join(header()).encode(),
    "lines of Windows": "\r\n".join(card.rstrip() for card in header()).encode(),
    "a page": page(header()),
    "short lines": b"SIMPLE = T\nLST = 59733.643\nESO INS MODE = 'PARALLEL' / x\nESO ISS CONF NTEL = 4\nESO ISS PBL12 START = 24.166\nESO ISS PBL13 START = 31.889\nEND\n",
}


@pytest.mark.parametrize("form", FORMS)
def test_headers_are_read_in_every_form(form):
    assert tuple(extract_values(FORMS[form], "header", TAKEN)[0]) == GOOD


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (BLOCKS[:320], "ends in the middle of"),
        (b"\n".join(FORMS["lines"].split(b"\n")[:-1]), "ends in the middle of"),
        (FORMS["a page"].partition(b"</pre>")[0], "ends in the middle of"),
        (b"<html><form>Please log in</form></html>", "a web page without a header"),
        (b"<!doctype html><pre>nothing here</pre>", "a web page without a header"),
        (b"", "not a header"),
        (b"\x00\xff" * 500, "not a header"),
    ],
)
def test_invalid_headers_are_reported(body, why):
    with pytest.raises(InvalidDocumentError, match=why):
        extract_values(body, "header", TAKEN)


def test_values_are_extracted_from_json_and_xml():
    want = [(["a.b.1"], "int", False), (["t"], "text", False), (["f"], "bool", False), (["n"], "float", False)]
    values, doubt = extract_values(b'{"a": {"b": [1, 2]}, "t": {"x": 1}, "f": true, "n": NaN}', "json", want)
    assert values == [2, '{"x": 1}', True, None]
    assert doubt == "n is 'nan', which is not a number"
    for body in (b"[1]", b"{", b"<html>", b"[" * 100_000):
        with pytest.raises(InvalidDocumentError):
            extract_values(body, "json", want)
    xml = b'<p:Product xmlns:p="urn:x"><p:Time zone="Z"><p:start>2004</p:start></p:Time></p:Product>'
    assert extract_values(xml, "xml", [(["Time/start"], "int", False), (["Time@zone"], "text", False)])[0] == [
        2004,
        "Z",
    ]
    bomb = b'<!DOCTYPE a [<!ENTITY b "x"><!ENTITY c "&b;&b;">]><a><t>&c;</t></a>'
    assert extract_values(bomb, "xml", [(["t"], "text", False)])[0] in ([None], [""])
    with pytest.raises(InvalidDocumentError):
        extract_values(b"<html><p></html>", "xml", want)


def write_votable(*infos):
    table = "<TABLE><FIELD name='id' datatype='int'/><DATA><TABLEDATA><TR><TD>1</TD></TR></TABLEDATA></DATA></TABLE>"
    return f"<VOTABLE version='1.4'><RESOURCE type='results'>{table}{''.join(infos)}</RESOURCE></VOTABLE>".encode()


def test_votables_that_were_cut_off_are_broken():
    want = [(["RESOURCE/TABLE/DATA/TABLEDATA/TR/TD"], "int", False)]
    overflow = '<INFO name="QUERY_STATUS" value="OVERFLOW"/>'
    assert extract_values(write_votable(), "xml", want)[0] == [1]
    with pytest.raises(InvalidDocumentError, match="truncated"):
        extract_values(write_votable(overflow), "xml", want)
    with pytest.raises(InvalidDocumentError, match="an error: too busy"):
        extract_values(write_votable('<INFO name="QUERY_STATUS" value="ERROR">too busy</INFO>'), "xml", want)
    other = overflow.join(("<a><t>1</t>", "</a>")).encode()
    assert extract_values(other, "xml", [(["t"], "int", False)])[0] == [1], "no VOTable"


def test_real_headers_are_read():
    folder = shared("data/interferometry/oifits")
    for path in (*folder.glob("GRAVI*.fits"), *folder.glob("MATISSE*.fits")):
        values, doubt = extract_values(path.read_bytes(), "header", TAKEN)
        assert all(one is not None for one in values)
        assert all(20 < one < 200 for one in values[0])
        assert not doubt


# --- a server of headers ------------------------------------------------------------------------------------------


class Archive(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    world = SimpleNamespace(asked=[], answers={})

    def do_GET(self):
        self.world.asked.append(self.path)
        name = self.path.rpartition("=")[2]
        told = self.world.answers.get(name, (200, page(header(len(name)))))
        if callable(told):
            told = told()
        status, body, *length = told
        self.send_response(status)
        self.send_header("Content-Length", str(length[0] if length else len(body)))
        self.end_headers()
        self.wfile.write(body)
        if length:
            self.close_connection = True

    def log_message(self, *_):
        """Say nothing."""


@pytest.fixture
def archive(monkeypatch):
    monkeypatch.setattr(_rate_limiting, "FIRST_PAUSE_SECONDS", 0.001)
    Archive.world = SimpleNamespace(asked=[], answers={})
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Archive)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    Archive.world.url = f"http://localhost:{server.server_port}"
    yield Archive.world
    server.shutdown()
    thread.join()
    server.server_close()


DESCRIPTOR = """
collection: eso
title: Exposures
tables:
  main:
    source:
      kind: csv
      files: rows.csv
      enrich:
        url: "{url}/hdr?id={{dp_id}}"
        id: dp_id
        modified: changed
        tries: 2
        at_once: 1
        columns: {columns}
        {more}
    primary: dp_id
    sync: {{}}
    columns: {{dp_id: string, changed: string, pbl: "float64[2]", mode: string, lst: float64, header: string, quality_flags: int32}}
    map: {{header: document.state}}
    flags: quality_flags
    rules: {{there: {{if: "header IN ('here', 'old')", flag: 0, message: its header is not here}}}}
"""


def write_descriptor(world, more=""):
    return DESCRIPTOR.format(url=world.url, columns=json.dumps(COLUMNS), more=more)


def write_list(*rows):
    return "dp_id,changed\n" + "".join(f"{name},{changed}\n" for name, changed in rows)


def table(site):
    with query.run_query(
        "SELECT dp_id, header, pbl, mode, quality_flags FROM eso.main", OWNER_PRINCIPAL, site=site
    ) as result:
        return {row["dp_id"]: row for batch in result.iterate_batches() for row in batch.to_pylist()}


def find_document_store(site):
    (path,) = (site.settings.data_directory / "documents" / "eso").glob("*.sqlite")
    return path


def test_headers_are_fetched_newest_first_and_fill_their_rows(tmp_path, archive):
    rows = [("A", "2024-01-01"), ("BB", "2025-01-01"), ("C:1", "2026-01-01"), ("DDD", "2023-01-01")]
    archive.answers["DDD"] = (404, b"no")
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive), {"rows.csv": write_list(*rows)}, allow_private=True
    ) as site:
        report = ingest_collection(site, "eso")
        assert archive.asked == [f"/hdr?id={name}" for name in ("C:1", "BB", "A", "DDD")]
        found = table(site)
        assert {name: row["header"] for name, row in found.items()} == {
            "A": "here",
            "BB": "here",
            "C:1": "here",
            "DDD": "missing",
        }
        assert found["BB"]["pbl"] == pytest.approx([26.166, 31.889])
        assert found["DDD"]["pbl"] is None
        assert {name: row["quality_flags"] for name, row in found.items() if row["quality_flags"]} == {"DDD": 1}
        assert any(
            "1 document is missing: localhost returned status 404 (first: DDD)" in text for text in report.warnings
        )
        with sqlite3.connect(find_document_store(site)) as file:  # the text as it came
            (body,) = file.execute("SELECT body FROM documents WHERE id = 'A'").fetchone()
            assert zlib.decompress(body) == page(header(1))
        archive.asked.clear()
        ingest_collection(site, "eso")  # nothing is fetched twice, nor asked for again so soon
        assert archive.asked == []
        assert table(site) == found


def test_an_interrupted_run_resumes_and_estimates_its_end(tmp_path, archive, monkeypatch):
    rows = [(f"E{number:03}", f"2025-{1 + number // 28:02}-{1 + number % 28:02}") for number in range(60)]
    monkeypatch.setattr(document_fetch, "SAVE_BATCH_SIZE", 1)
    clock = SimpleNamespace(now=0.0)
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive, "total: 50"), {"rows.csv": write_list(*rows)}, allow_private=True
    ) as site:
        real = document_fetch.time

        def monotonic():
            clock.now += 1.0
            return clock.now

        monkeypatch.setattr(document_fetch, "time", SimpleNamespace(monotonic=monotonic, time=real.time))
        seen: list[IngestProgress] = []
        first = ingest_collection(site, "eso", progress=seen.append)
        some = len(archive.asked)
        shown = [(one.done, one.total) for one in seen if one.step == "fetch"]
        assert shown == [(number, 60) for number in range(1, some + 1)], "meanwhile it says how far it is"
        assert 10 < some < 60
        assert archive.asked == [f"/hdr?id={name}" for name, _ in reversed(rows)][:some]
        states = [row["header"] for row in table(site).values()]
        assert states.count("here") == some
        assert states.count("waiting") == 60 - some
        told = next(text for text in first.warnings if "remain" in text)
        assert f"{some:,} were fetched from localhost, {60 - some:,} remain" in told
        assert "a second, the rest takes" in told
        assert "UTC if syncs run without a pause" in told
        archive.asked.clear()
        for _ in range(5):
            change = sync_collection(site, "eso").changes["eso.main"]  # of a file that is as it was
            if all(row["header"] == "here" for row in table(site).values()):
                break
        assert len(archive.asked) == 60 - some
        assert change.changed
        assert sync_collection(site, "eso").changes["eso.main"].how == "0 of 1 file"


def test_a_progress_bar_counts_the_fetched_documents(monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.IngestProgressBar() as bar:
        bar(IngestProgress(table="eso.main", step="fetch", done=1200, total=15_000))
        (task,) = bar._bar.tasks
        assert (task.description, task.fields["shown"], task.completed) == (
            "eso.main fetch",
            "1,200 of 15,000 documents",
            1200,
        )
        bar(IngestProgress(table="eso.main", step="read", rows=15_000, total=None))
        assert (task.description, task.fields["shown"]) == ("eso.main", "15,000 rows")


def test_who_does_not_read_on_ends_the_fetching_and_keeps_what_came(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(document_fetch, "SAVE_BATCH_SIZE", 5)
    (tmp_path / "rows.csv").write_text(write_list(*((f"E{number:03}", "1") for number in range(200))))
    context = SourceContext(directory=tmp_path, cache_directory=tmp_path / "kept", allow_private=True)
    source = csv.open(csv.Options(files="rows.csv"), context)
    said = DocumentEnrichmentOptions.model_validate(
        {"url": f"{archive.url}/hdr?id={{dp_id}}", "id": "dp_id", "at_once": 1, "columns": COLUMNS}
    )

    def wrap_source():
        return RowDocuments(said, source.list_columns(), context).wrap_source(source)

    reading = wrap_source().read_batches()
    assert next(reading).num_rows == 0
    reading.close()
    some = len(archive.asked)
    assert 5 <= some <= 10 + document_fetch.PREFETCH_FACTOR
    assert sum(batch.num_rows for batch in wrap_source().read_batches()) == 200
    assert len(archive.asked) <= 200 + document_fetch.PREFETCH_FACTOR  # what was under way, and nothing else, twice


def test_an_old_document_stays_until_its_newer_version_is_fetched(tmp_path, archive):
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive), {"rows.csv": write_list(("A", "1"), ("B", "1"))}, allow_private=True
    ) as site:
        ingest_collection(site, "eso")
        archive.answers |= {"A": (200, page(header(5))), "B": (500, b"oops")}
        (tmp_path / "collections/eso/rows.csv").write_text(write_list(("A", "2"), ("B", "2")))
        archive.asked.clear()
        sync_collection(site, "eso")
        assert sorted(set(archive.asked)) == ["/hdr?id=A", "/hdr?id=B"]
        found = table(site)
        assert found["A"]["pbl"][0] == pytest.approx(29.166)
        assert (found["B"]["header"], found["B"]["pbl"][0]) == ("old", pytest.approx(25.166))
        del archive.answers["B"]
        sync_collection(site, "eso")  # the server is well again: the row did not change, its document did
        assert table(site)["B"]["header"] == "here"


def test_a_watermark_holds_again_when_nothing_waits(tmp_path, archive):
    require_plugins("sources", "sql")
    text = write_descriptor(archive).replace(
        "kind: csv\n      files: rows.csv", "kind: sql\n      file: raw.sqlite\n      table: raw"
    )
    text = text.replace("sync: {}", "sync: {watermark: changed, deletions: none}")
    with open_site_with_uningested_files(tmp_path, text, allow_private=True) as site:
        with sqlite3.connect(tmp_path / "collections/eso/raw.sqlite") as file:
            file.execute("CREATE TABLE raw (dp_id TEXT PRIMARY KEY, changed TEXT NOT NULL)")
            file.executemany("INSERT INTO raw VALUES (?, ?)", [("A", "2024"), ("B", "2025"), ("C", "2026")])
        archive.answers["A"] = (500, b"")
        ingest_collection(site, "eso")
        archive.answers.clear()
        with sqlite3.connect(tmp_path / "collections/eso/raw.sqlite") as file:
            file.execute("INSERT INTO raw VALUES ('D', '2027')")
        change = sync_collection(site, "eso").changes["eso.main"]  # A is older than the watermark
        assert (change.how, change.added, change.changed) == ("everything", 1, 1)
        archive.asked.clear()
        with sqlite3.connect(tmp_path / "collections/eso/raw.sqlite") as file:
            file.execute("INSERT INTO raw VALUES ('E', '2028')")
        change = sync_collection(site, "eso").changes["eso.main"]
        assert (change.how, change.added, change.changed) == ("since 2027", 1, 0)
        assert archive.asked == ["/hdr?id=E"]
        assert {row["header"] for row in table(site).values()} == {"here"}


BAD = {
    "LOGIN": ((200, b"<html>log in</html>"), "broken"),
    "CUT": ((200, BLOCKS[:320]), "broken"),
    "SHORT": ((200, BLOCKS, 9000), "here"),  # its header came, the rest is of no interest
    "BROKE": ((200, b"SIMPLE  = T", 9000), "failed"),
    "GONE": ((410, b""), "missing"),
    "CLOSED": ((403, b"not for you"), "refused"),
    "ILL": ((500, b""), "failed"),
    "BUSY": ((503, b""), "failed"),
    "LONG": ((200, b"LST     = 1\n" * 400_000), "broken"),
    "AWAY": ((200, page(header(LST="'abc'"))), "here"),
}


def test_invalid_documents_flag_only_their_own_rows(tmp_path, archive):
    archive.answers |= {name: told for name, (told, _) in BAD.items()}
    tricks = ["..", "../../etc/passwd", "a?b=c&d", "%2e%2e", "x#y", "http://evil.example/"]
    rows = [*((name, "1") for name in BAD), *((trick, "1") for trick in tricks), ("FINE", "1")]
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive), {"rows.csv": write_list(*rows)}, allow_private=True
    ) as site:
        report = ingest_collection(site, "eso")
        found = table(site)
        assert {name: found[name]["header"] for name in BAD} == {name: state for name, (_, state) in BAD.items()}
        assert found["FINE"]["header"] == "here"
        assert any("LST is 'abc', which is not a number (first: AWAY)" in text for text in report.warnings)
        assert len(found) == len(rows)
        # an id is a value of the address and nothing else
        sent = {path for path in archive.asked if not any(path.endswith(f"={name}") for name in [*BAD, "FINE"])}
        assert all(path.startswith("/hdr?id=") and not {"&", "#", "/"} & {*path[8:]} for path in sent), sent


def test_a_server_that_is_down_is_left_in_peace(tmp_path, archive, monkeypatch):
    monkeypatch.setattr(document_fetch, "MAX_CONSECUTIVE_FAILURES", 3)
    rows = [(f"E{number}", "1") for number in range(40)]
    archive.answers |= dict.fromkeys((name for name, _ in rows), (503, b"maintenance"))
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive), {"rows.csv": write_list(*rows)}, allow_private=True
    ) as site:
        report = ingest_collection(site, "eso")
        assert len(archive.asked) <= 2 * (3 + 8)
        assert any("stopped asking" in text and "maintenance" in text for text in report.warnings)
        archive.answers.clear()
        sync_collection(site, "eso")
        assert {row["header"] for row in table(site).values()} == {"here"}


def test_an_address_that_is_not_public_is_refused(tmp_path, archive):
    with (
        open_site_with_uningested_files(
            tmp_path, write_descriptor(archive), {"rows.csv": write_list(("A", "1"))}
        ) as site,
        pytest.raises(Exception, match="not on the public internet"),
    ):
        ingest_collection(site, "eso")
    assert not archive.asked


LOCAL = """
collection: eso
title: Exposures
tables:
  main:
    source: {kind: csv, files: rows.csv, enrich: {file: "headers/{dp_id}.hdr", id: dp_id, columns: {lst: {key: LST, type: float64}, text: "*"}}}
    columns: {dp_id: string, lst: float64, text: string, state: string}
    map: {state: document.state}
"""


def test_documents_of_the_disk_stay_below_the_descriptor(tmp_path):
    (tmp_path / "secret.hdr").write_bytes(BLOCKS)
    names = ["A", "sub/B", "../../../secret", "/etc/passwd", "link", "none"]
    with open_site_with_uningested_files(tmp_path, LOCAL, {"rows.csv": "dp_id\n" + "\n".join(names)}) as site:
        place = tmp_path / "collections/eso/headers"
        (place / "sub").mkdir(parents=True)
        for name in ("A.hdr", "sub/B.hdr"):
            (place / name).write_bytes(FORMS["lines"])
        (place / "link.hdr").symlink_to("/etc/hostname")
        ingest_collection(site, "eso")
        with query.run_query("SELECT dp_id, state, lst, text FROM eso.main", OWNER_PRINCIPAL, site=site) as result:
            found = {row["dp_id"]: row for batch in result.iterate_batches() for row in batch.to_pylist()}
    assert {name: row["state"] for name, row in found.items()} == {
        "A": "here", "sub/B": "here", "../../../secret": "missing", "/etc/passwd": "missing", "link": "refused", "none": "missing",
    }  # fmt: skip
    assert found["A"]["lst"] == 59733.643
    assert found["A"]["text"] == FORMS["lines"].decode()


def test_changed_columns_need_no_new_fetch(tmp_path, archive):
    with open_site_with_uningested_files(
        tmp_path, write_descriptor(archive), {"rows.csv": write_list(("A", "1"))}, allow_private=True
    ) as site:
        ingest_collection(site, "eso")
        archive.asked.clear()
        path = tmp_path / "collections/eso/eso.yaml"
        path.write_text(path.read_text().replace('"ESO INS MODE"', '"MJD-OBS"'))
        ingest_collection(site, "eso")
        assert (table(site)["A"]["mode"], archive.asked) == ("57562.1", [])


def test_a_source_keeps_its_abilities_and_gains_columns(tmp_path):
    (tmp_path / "rows.csv").write_text("dp_id,n\nA,1\n")
    context = SourceContext(directory=tmp_path)
    source = csv.open(csv.Options(files="rows.csv"), context)
    said = DocumentEnrichmentOptions.model_validate({"file": "{dp_id}", "id": "dp_id", "columns": COLUMNS})
    around = RowDocuments(said, source.list_columns(), context).wrap_source(source)
    assert isinstance(around, FileListSource)
    assert not isinstance(around, IncrementalSource)
    kinds = {column.name: column.type.arrow for column in around.list_columns()}
    batch = next(batch for batch in around.read_batches() if batch.num_rows)
    assert {name: kinds[name] for name in batch.schema.names} == dict(
        zip(batch.schema.names, batch.schema.types, strict=True)
    )
    assert str(kinds["pbl"]) == "fixed_size_list<item: double>[2]"
    assert next(iter(around.read_batches(["n"]))).schema.names == ["n"]
    with pytest.raises(SourceError, match="no column 'dp'"):
        RowDocuments(
            DocumentEnrichmentOptions.model_validate({"file": "{dp}", "id": "dp", "columns": COLUMNS}),
            source.list_columns(),
            context,
        )
    with pytest.raises(SourceError, match="already has a column 'n'"):
        RowDocuments(
            DocumentEnrichmentOptions.model_validate({"file": "{n}", "id": "n", "columns": {"n": "N"}}),
            source.list_columns(),
            context,
        )


@pytest.mark.parametrize(
    ("wrong", "why"),
    [
        ("{id: dp_id, columns: {a: A}}", "write either `url` or `file`"),
        ("{url: 'https://{dp_id}/x', id: dp_id, columns: {a: A}}", "a host name without columns in braces"),
        ("{url: 'https://a.example/x', id: dp_id, columns: {a: A}}", "all rows would have the same document"),
        (
            "{file: '{dp_id}', id: dp_id, columns: {a: {key: A, type: point}}}",
            "is not numeric, string or boolean",
        ),
        ("{file: '{dp_id}', id: dp_id, column: {a: A}}", "'column' is not a valid option of"),
        ("{file: '{dp_id}', columns: {a: A}}", "lacks the option 'id'"),
        ("{file: '{dp_id}', id: dp_id, columns: {a: A}, token: hunter2}", "put the value into a secret"),
        ("[1]", "must be a map, not"),
    ],
)
def test_what_is_said_wrong_is_told_with_its_place(tmp_path, wrong, why):
    text = f"collection: eso\ntables:\n  main:\n    source:\n      kind: csv\n      files: rows.csv\n      enrich: {wrong}\n"
    with (
        open_site_with_uningested_files(tmp_path, text, {"rows.csv": "dp_id\nA\n"}) as site,
        pytest.raises(DescriptorError, match=why) as caught,
    ):
        ingest_collection(site, "eso")
    assert "eso.yaml:7" in str(caught.value)
