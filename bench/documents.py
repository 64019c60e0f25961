"""A million documents of an Elasticsearch that takes 10 ms for a page: what the source makes of them, beside reading the pages and throwing them away."""

from __future__ import annotations

import http.client
import json
import resource
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from bench.measure import Journey, against
from hven.model import plugins
from hven.sources import SourceContext

DOCUMENTS, PAGE, PAUSE, ROUNDS = 1_000_000, 1_000, 0.010, 3
MAPPING = {"obs": "keyword", "freq": "double", "n": "long", "good": "boolean", "time": "date", "pol": "keyword", "file": "keyword"}  # fmt: skip
NAMES = ["_id", *(f"_source.{name}" for name in MAPPING)]


def journey() -> Journey:
    """Read all documents, by turns with the bare pages; order and count are looked at."""
    with subprocess.Popen([sys.executable, "-m", __spec__.name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        ours, bare = [], []
        for _ in range(ROUNDS):
            bare.append(_bare(url))
            ours.append(_ours(url))
        server.stdin.close()
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    value, reference = DOCUMENTS / min(ours), DOCUMENTS / min(bare)
    return against("sources.elastic", value, reference, 0.9, unit="documents/s", higher=True, note=f"pages of {PAGE:,} in {PAUSE * 1000:.0f} ms; order and count exact; {memory} MiB at most")  # fmt: skip


def _ours(url: str) -> float:
    source = plugins.load_plugin("sources", "elastic").open(
        plugins.load_plugin("sources", "elastic").Options(url=url, index="nrh", page=PAGE),
        SourceContext(allow_private=True),
    )
    source.list_columns()
    begun, seen = time.monotonic(), 0
    for batch in source.read_batches(NAMES):
        numbers = batch.column(NAMES.index("_source.n"))
        if numbers[0].as_py() != seen or numbers[-1].as_py() != seen + batch.num_rows - 1:
            raise AssertionError(f"out of order at {seen}")
        seen += batch.num_rows
    if seen != DOCUMENTS:
        raise AssertionError(seen)
    return time.monotonic() - begun


def _bare(url: str) -> float:
    link, seen, after = http.client.HTTPConnection(urlsplit(url).netloc), 0, None
    begun = time.monotonic()
    while seen < DOCUMENTS:
        body = json.dumps({"size": PAGE, **({} if after is None else {"search_after": [after]})})
        link.request("POST", "/_search", body, {"Content-Type": "application/json"})
        link.getresponse().read()
        seen += PAGE
        after = seen - 1
    link.close()
    return time.monotonic() - begun


# --- the server, in a process of its own -----------------------------------------------------------------------------


def _page(begin: int) -> bytes:
    hits = ",".join(
        f'{{"_index":"nrh","_id":"d{at}","_score":null,"_source":{{"obs":"o{at:07d}","freq":228.0,"n":{at},"good":true,"time":"2012-01-11T08:00:{at % 60:02d}.000Z",'
        f'"pol":"I","file":"/data/nrh/2012/01/11/nrh2_2280_h80_20120111_{at % 240000:06d}c04_i.fits"}},"sort":[{at}]}}'
        for at in range(begin, min(begin + PAGE, DOCUMENTS))
    )
    total = f'"total":{{"value":{DOCUMENTS},"relation":"eq"}},' if begin == 0 else ""
    return f'{{"timed_out":false,"_shards":{{"total":1,"failed":0}},"hits":{{{total}"max_score":null,"hits":[{hits}]}}}}'.encode()


def main() -> None:
    """Serve until the standard input ends."""
    pages = [_page(begin) for begin in range(0, DOCUMENTS + 1, PAGE)]
    properties = {name: {"type": kind} for name, kind in MAPPING.items()}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = 1 << 16

        def do_GET(self) -> None:
            said = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = self.path.partition("?")[0]
            if path == "/_search":
                after = json.loads(said).get("search_after")
                time.sleep(PAUSE)
                body = pages[0 if after is None else (after[0] + 1) // PAGE]
            elif path == "/nrh/_mapping":
                body = json.dumps({"nrh": {"mappings": {"properties": properties}}}).encode()
            else:
                body = b'{"version": {"number": "8.15.0"}, "id": "a"}'
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
            self.wfile.flush()

        do_POST = do_DELETE = do_GET  # noqa: N815  (names of the standard library)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    print(f"http://127.0.0.1:{server.server_address[1]}", flush=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdin.read()


if __name__ == "__main__":
    main()
