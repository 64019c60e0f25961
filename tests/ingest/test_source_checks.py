"""``hven check NAME`` looks at what an ingest needs beside files: secrets that sources name, databases, services."""

from __future__ import annotations

import http.server
import importlib
import json
import re
import socket
import sqlite3
import threading
from contextlib import closing

import pytest

from example_plugins import install_plugin
from hven import descriptor
from hven.ingest import source_checks
from hven.model.errors import SourceError
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import require_plugins
from process_runner import run_hven, wait_until

TEXT = """\
collection: stars
title: Stars
tables:
  main:
    columns: {{x: string}}
    source: {source}
"""


def check_source(tmp_path, source, *, code, secrets=None, mode=0o600):
    require_plugins("sources", *re.findall(r"kind: (\w+)", source))
    with open_site_with_uningested_files(tmp_path, TEXT.format(source=source)):
        (tmp_path / "hven.toml").write_text("allow_private = true\n")
    if secrets is not None:
        (tmp_path / "secrets.toml").write_text(secrets)
        (tmp_path / "secrets.toml").chmod(mode)
    return json.loads(run_hven("--site", tmp_path, "check", "stars", "--json", expected_code=code).stdout)


def find_closed_port():
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return server.getsockname()[1]


@pytest.mark.parametrize(
    "source",
    [
        "{kind: sql, url: $NOWHERE_DB, table: x}",
        "{kind: tap, url: 'http://127.0.0.1:9/tap', table: x, token: $NOWHERE_DB}",
    ],
)
def test_a_secret_that_is_not_set_is_an_error_at_its_place(tmp_path, source):
    faults = [fault for fault in check_source(tmp_path, source, code=1) if "secret" in fault["message"]]
    assert [(fault["severity"], fault["message"]) for fault in faults] == [
        ("error", "the secret NOWHERE_DB is not set")
    ]
    assert (faults[0]["file"], faults[0]["line"]) == ("collections/stars/stars.yaml", 6)
    assert "NOWHERE_DB = '...' to" in faults[0]["remedy"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{kind: rest, url: 'http://127.0.0.1:9', cursor: c, number: n}", "cursor and number cannot be combined"),
    ],
)  # fmt: skip
def test_what_the_source_of_a_service_refuses_is_an_error_of_check(tmp_path, source, message):
    """Without asking the service: an ingest reads the same options by the same parser."""
    faults = [fault for fault in check_source(tmp_path, source, code=1) if fault["severity"] == "error"]
    assert [fault["message"] for fault in faults] == [message]
    assert (faults[0]["file"], faults[0]["line"]) == ("collections/stars/stars.yaml", 6)


def test_a_file_that_the_source_of_a_plugin_cannot_read_is_an_error(tmp_path, monkeypatch):
    """Such a kind of source may name its columns without reading a file, so nothing before reports the file."""

    def refuse_file(self, file):
        raise SourceError(f"{file.name} is no label", remedy="check the file")
        yield

    with install_plugin("labels", tmp_path / "installed"):
        monkeypatch.setattr(importlib.import_module("hven_labels").Labels, "read_file_batches", refuse_file)
        files = tmp_path / "collections/stars/a.lbl"
        files.parent.mkdir(parents=True)
        files.write_text("garbage")
        faults = check_source(tmp_path, "{kind: labels, files: a.lbl, keys: [x]}", code=1)
    assert [(fault["severity"], fault["line"]) for fault in faults] == [("error", 6)]
    assert "a.lbl is no label" in faults[0]["message"]
    assert faults[0]["remedy"] == "check the file"


@pytest.mark.parametrize(("mode", "told"), [(0o600, False), (0o644, True)])
def test_secrets_that_others_can_read_are_told_of_one_collection_too(tmp_path, mode, told):
    with closing(sqlite3.connect(tmp_path / "a.db")) as database:
        database.execute("CREATE TABLE x (x TEXT)")
    source = f"{{kind: sql, file: {tmp_path}/a.db, table: x}}"
    faults = check_source(tmp_path, source, code=0, secrets="A = 'b'\n", mode=mode)
    assert any("every account on this machine can read the file" in fault["message"] for fault in faults) is told


@pytest.mark.parametrize(
    ("source", "named"),
    [
        ("{{kind: sql, url: 'postgresql://reader@127.0.0.1:{port}/x', table: x}}", "the database 127.0.0.1:{port}"),
        ("{{kind: sql, url: $DB, table: x}}", "the database $DB"),
        ("{{kind: tap, url: 'http://127.0.0.1:{port}/tap', table: x}}", "the service 127.0.0.1:{port}"),
    ],
)
def test_servers_that_do_not_answer_are_named(tmp_path, source, named):
    port = find_closed_port()
    secrets = f"DB = 'postgresql://reader:pass-word@127.0.0.1:{port}/x'\n"
    faults = check_source(tmp_path, source.format(port=port), code=0, secrets=secrets)
    assert len(faults) == 1
    assert faults[0]["message"].startswith(f"{named.format(port=port)} does not respond: ")
    assert "no response within" not in faults[0]["message"], "the server was asked, and why it does not respond is told"
    assert (faults[0]["severity"], faults[0]["line"]) == ("warning", 6)
    assert "pass-word" not in json.dumps(faults)


def test_a_server_that_says_nothing_holds_the_check_for_a_short_time(tmp_path, monkeypatch):
    require_plugins("sources", "sql")
    monkeypatch.setattr(source_checks, "PROBE_TIMEOUT_SECONDS", 0.2)
    with open_site_with_uningested_files(tmp_path, TEXT.format(source="{kind: sql, url: $DB, table: x}")) as site, closing(socket.create_server(("127.0.0.1", 0))) as server:  # fmt: skip
        monkeypatch.setenv("DB", f"postgresql://u:p@127.0.0.1:{server.getsockname()[1]}/x")
        path = tmp_path / "collections/stars/stars.yaml"
        resource, _ = descriptor.check_and_read_descriptor(path, site.settings)
        (fault,) = source_checks.find_source_faults(resource, path.parent, site.settings)
    assert fault.message == "the database $DB does not respond: no response within 0.2 s"


class RefusingService(http.server.BaseHTTPRequestHandler):
    """Answers every request with 404."""

    def do_POST(self):
        self.send_error(404)

    def do_GET(self):
        self.send_error(404)

    def log_message(self, *_arguments):
        pass


def test_a_service_that_answers_otherwise_is_reported_once_for_all_its_tables(tmp_path):
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), RefusingService) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        source = f"{{kind: tap, url: 'http://127.0.0.1:{server.server_port}/tap', table: x}}"
        faults = check_source(tmp_path, f"{source}\n  other:\n    source: {source}", code=0)
        server.shutdown()
    assert len(faults) == 1
    assert faults[0]["message"] == f"there is no TAP service at http://127.0.0.1:{server.server_port}/tap (404)"
    assert (faults[0]["severity"], faults[0]["line"]) == ("warning", 6)


def test_a_server_of_many_collections_is_asked_once_and_some_at_a_time() -> None:
    """Each probe is a connection, and a database accepts only some."""
    lock = threading.Lock()
    running = [0, 0, 0]  # now, at most, in all

    def probe() -> None:
        with lock:
            running[0] += 1
            running[1:] = max(running[1], running[0]), running[2] + 1
        go_on.wait(60)
        with lock:
            running[0] -= 1

    go_on = threading.Event()
    probes = source_checks.ServerProbes()
    futures = [probes.start_probe(("the database", f"address {number % 50}"), probe) for number in range(1000)]
    wait_until(lambda: running[0] >= source_checks.MAX_CONCURRENT_PROBES)
    go_on.set()
    assert [future.result(60) for future in futures] == [None] * 1000
    assert running[1:] == [source_checks.MAX_CONCURRENT_PROBES, 50]
