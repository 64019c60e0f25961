"""A converted custom grammar reads a million documents of Elasticsearch: memory stays flat, a killed run continues after
its last page, and a certificate that nobody vouches for is refused.
"""

from __future__ import annotations

import datetime as dt
import http.server
import ipaddress
import json
import os
import resource
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from migration_sites import convert

from example_sites import list_examples
from hven.model.settings import create_site_directory, load_settings

pytestmark = pytest.mark.needs("proof")
DOCUMENT_COUNT = 1_000_000
FEW_DOCUMENTS = 100_000
ENOUGH_DOCUMENTS = 400_000  # with which an ingest has filled all its buffers: batches, the engine's, and rows that wait
PAGE = 5_000
ENGINE_BYTES = 128 << 20
MAX_GROWTH_BYTES = 64 << 20  # from a tenth of the documents to all of them (reading), or from enough of them (ingest)
MAX_INGEST_BYTES = 768 << 20  # of a process that ingests all of them: it also sorts and indexes the rows
MAPPING = {
    "date_obs": {"type": "date"},
    "date_end": {"type": "date"},
    "cadence": {"type": "double"},
    "quicklook": {"type": "keyword"},
    "number": {"type": "long"},
    "frequencies": {"properties": {"lowest": {"type": "double"}, "highest": {"type": "double"}}},
    "fits": {"properties": {"name": {"type": "keyword"}, "bytes": {"type": "long"}}},
}
DOCUMENT = (
    '{"_index":"nrh","_id":"d%d","_score":null,"_source":{"number":%d,"date_obs":"2011-06-01T08:00:00.000",'
    '"date_end":"2011-06-01T09:00:00.000","cadence":10.0,"frequencies":{"lowest":150.9,"highest":432.0},'
    '"fits":{"name":"nrh_%d.fts","bytes":%d},"quicklook":"nrh_%d.gif"},"sort":[%d]}'
)


@dataclass
class ManyDocuments:
    """An index whose documents are written when they are asked for."""

    count: int
    pages: list[int] = field(default_factory=list)  # first document of each page that was asked for
    stop: threading.Event = field(default_factory=threading.Event)  # a page after the limit is never answered
    page_limit: int = 0

    def answer(self, method: str, path: str, body: dict[str, Any]) -> bytes | None:
        if path == "/":
            return b'{"version": {"number": "8.15.0"}}'
        if method == "DELETE":
            return b"{}"
        if path == "/nrh/_mapping":
            return json.dumps({"nrh": {"mappings": {"properties": MAPPING}}}).encode()
        if path.startswith("/nrh/_pit"):
            return b'{"id": "pit"}'
        after = body.get("search_after")
        begin = 0 if after is None else after[0] + 1
        self.pages.append(begin)
        if self.page_limit and len(self.pages) > self.page_limit:
            self.stop.set()
            return None
        hits = ",".join(DOCUMENT % ((n,) * 6) for n in range(begin, min(begin + body["size"], self.count)))
        total = f'"total":{{"value":{self.count},"relation":"eq"}},' if body.get("track_total_hits") else ""
        head = '{"pit_id":"pit","timed_out":false,"_shards":{"total":1,"failed":0},"hits":{'
        return f'{head}{total}"hits":[{hits}]}}}}'.encode()


@contextmanager
def serve_documents(index: ManyDocuments, context: ssl.SSLContext | None = None) -> Iterator[str]:
    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            answer = index.answer(self.command, self.path, json.loads(data) if data else {})
            if answer is None:
                self.close_connection = True
                threading.Event().wait()  # until the client is killed; the thread ends with the process
                return
            self.send_response(200)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        do_POST = do_DELETE = do_GET  # noqa: N815  (names of the standard library)

        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if context is not None:
        server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"{'http' if context is None else 'https'}://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def create_converted_site(directory: Path, url: str, *, has_sync: bool = False) -> Path:
    """Convert the descriptor of the radioheliograph, as a curator does, and point it to a server."""
    create_site_directory(directory)
    # what the engine may keep of the rows that it has written grows up to this limit, and not beyond it
    (directory / "hven.toml").write_text(f"allow_private = true\n[limits]\nmemory = {ENGINE_BYTES}\n")
    settings = load_settings(directory)
    site_files = convert(settings, "vespa_nrh", list_examples()["30-from-dachs"] / "inputs/vespa_nrh/q.rd")
    descriptor = site_files.load_descriptor("vespa_nrh")
    source = descriptor["tables"]["epn_core"]["source"]
    assert source["kind"] == "elastic"
    source |= {"url": url, "order": "number", "page": PAGE}
    source["source"] = [*source["source"], "number"]
    if has_sync:  # a sync keeps the pages that it has read
        descriptor["tables"]["epn_core"]["sync"] = {"page": PAGE}
    settings.locate_descriptor("vespa_nrh").write_text(yaml.safe_dump(descriptor, sort_keys=False))
    return directory


def start_ingest(directory: Path, verb: str = "ingest", **variables: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "hven", "--site", str(directory), verb, "vespa_nrh"]
    return subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def measure_ingest(directory: Path) -> int:
    """Ingest in a process of its own, and return the most memory that it had, in bytes."""
    process = start_ingest(directory)
    output, _ = process.communicate(timeout=3_000)
    assert process.returncode == 0, output[-3000:].decode()
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024


def count_rows(directory: Path) -> int:
    """Count the rows, whose granule_uid is a key: a document that is read twice is not counted twice."""
    command = [sys.executable, "-m", "hven", "--site", str(directory), "query", "--format", "csv"]
    query = "SELECT COUNT(*) AS n FROM vespa_nrh.epn_core"
    done = subprocess.run([*command, query], check=False, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.split()[-1])


READ_SCRIPT = """
import resource, sys
from hven.model import plugins
from hven.sources import SourceContext
module = plugins.load_plugin("sources", "elastic")
options = module.Options(url=sys.argv[1], index="nrh", order="number", page=int(sys.argv[2]))
count = sum(batch.num_rows for batch in module.open(options, SourceContext(allow_private=True)).read_batches())
print(count, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""


def test_memory_of_reading_is_flat() -> None:
    peaks: list[int] = []
    for expected_count in (FEW_DOCUMENTS, DOCUMENT_COUNT):
        with serve_documents(ManyDocuments(expected_count)) as url:
            command = [sys.executable, "-c", READ_SCRIPT, url, str(PAGE)]
            done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=1_200)
        count, peak = map(int, done.stdout.split())
        assert count == expected_count
        peaks.append(peak)
    print(f"peaks of reading: {peaks[0] / 2**20:.0f} MiB and {peaks[1] / 2**20:.0f} MiB")
    assert peaks[1] - peaks[0] < MAX_GROWTH_BYTES


def test_a_million_documents_are_published_with_flat_memory(tmp_path: Path) -> None:
    peaks: list[int] = []
    for count in (ENOUGH_DOCUMENTS, DOCUMENT_COUNT):
        with serve_documents(ManyDocuments(count)) as url:
            directory = create_converted_site(tmp_path / f"site{count}", url)
            peaks.append(measure_ingest(directory))  # the most of all processes so far
        assert count_rows(directory) == count
    print(f"peaks of the ingest: {peaks[0] / 2**20:.0f} MiB and {peaks[1] / 2**20:.0f} MiB")
    assert peaks[1] - peaks[0] < MAX_GROWTH_BYTES
    assert peaks[1] < MAX_INGEST_BYTES


def test_a_killed_run_continues_after_its_last_page(tmp_path: Path) -> None:
    index = ManyDocuments(FEW_DOCUMENTS, page_limit=12)
    with serve_documents(index) as url:
        directory = create_converted_site(tmp_path / "site", url, has_sync=True)
        process = start_ingest(directory, "sync")  # only a sync keeps pages of a run that was killed
        is_stopped = index.stop.wait(timeout=60)
        process.kill()
        output, _ = process.communicate()
        assert is_stopped, output.decode()
        first_pages = list(index.pages)
        index.pages.clear()
        index.page_limit = 0
        process = start_ingest(directory, "sync")
        output, _ = process.communicate(timeout=1_200)
        assert process.returncode == 0, output.decode()
    assert first_pages[-1] > PAGE
    assert min(page for page in index.pages if page) >= first_pages[-1] - PAGE  # read again: at most the last page
    assert count_rows(directory) == FEW_DOCUMENTS


def write_certificate(path: Path) -> ssl.SSLContext:
    """Write a certificate that only itself vouches for, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "elastic")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private_text + certificate.public_bytes(serialization.Encoding.PEM))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context


def test_a_certificate_that_nobody_vouches_for_is_refused(tmp_path: Path) -> None:
    context = write_certificate(tmp_path / "elastic.pem")
    with serve_documents(ManyDocuments(10), context) as url:
        directory = create_converted_site(tmp_path / "site", url)
        process = start_ingest(directory)
        output, _ = process.communicate(timeout=600)
        assert process.returncode != 0
        assert b"certificate" in output.lower()
        process = start_ingest(directory, SSL_CERT_FILE=str(tmp_path / "elastic.pem"))
        output, _ = process.communicate(timeout=600)
        assert process.returncode == 0, output.decode()
    assert count_rows(directory) == 10
