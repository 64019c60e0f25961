"""A hundred thousand headers of an archive, one document for each row: fetched, killed midway, gone on with; no header is asked for twice but those on their way."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from hven.model.table import Column
from hven.model.types import INT64, STRING
from hven.plugins.enrichment.enrichment_options import DocumentEnrichmentOptions
from hven.plugins.enrichment.row_documents import STATE_COLUMN, RowDocuments
from hven.sources import InputVersion, SourceContext

sys.path.insert(0, str(Path(__file__).parents[3]))  # this file is a program, too

from bench.measure import Journey, against

COMMAND = [sys.executable, __file__]

DOCUMENTS, RATE, CARDS, PART = 100_000, 500.0, 400, 0.3
PAGE = 10_000  # rows of a batch
WINDOW = 2 * 1000 + 500  # documents that a kill may lose: what two seconds bring, and what is on its way
SAID = {
    "id": "id", "modified": "changed", "at_once": 4, "total": 3600,
    "columns": {"pbl": {"key": [f"ESO ISS PBL{n} START" for n in (12, 13, 14, 23, 24, 34)], "type": "float64"}, "mode": "ESO INS MODE", "lst": {"key": "LST", "type": "float64"}},
}  # fmt: skip


class Rows:
    """The archive's table."""

    def list_columns(self) -> list[Column]:
        """List id and change."""
        return [Column(name="id", type=STRING), Column(name="changed", type=INT64)]

    def read_batches(self, column_names: object = None, row_limit: object = None) -> object:
        """Yield all rows."""
        for at in range(0, DOCUMENTS, PAGE):
            numbers = range(at, at + PAGE)
            yield pa.record_batch({"id": [f"GRAVI.{number:06d}" for number in numbers], "changed": [*numbers]})

    def list_input_versions(self) -> list[InputVersion]:
        """Name nothing."""
        return []

    def estimate_progress_total(self) -> int:
        """Count them."""
        return DOCUMENTS


def run(*, only: str = "", big: bool = False) -> Iterator[Journey]:
    """Run the one journey."""
    if only in "sources.enrich":
        yield journey()


def journey() -> Journey:
    """Fetch all headers in two processes, of which the first is killed."""
    with (
        tempfile.TemporaryDirectory() as directory,
        subprocess.Popen(COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server,
    ):  # fmt: skip
        assert server.stdin is not None
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        words = [*COMMAND, url, directory]
        begun, before = time.monotonic(), _spent()
        with subprocess.Popen(words) as first:
            while _count_documents(Path(directory)) < PART * DOCUMENTS and first.poll() is None:
                time.sleep(0.5)
            os.kill(first.pid, signal.SIGKILL)
        killed = _count_documents(Path(directory))
        subprocess.run(words, check=True)
        seconds, spent = time.monotonic() - begun, _spent() - before
        server.stdin.close()
        asked = int(server.stdout.readline())
    if not killed < DOCUMENTS <= asked <= DOCUMENTS + WINDOW:
        raise AssertionError((killed, asked))
    note = f"pages of {CARDS} cards; {spent / DOCUMENTS * 1000:.2f} ms of CPU each; killed after {killed:,}, {asked - DOCUMENTS:,} of them asked for again"
    return against("sources.enrich", DOCUMENTS / seconds, RATE, 1.0, unit="documents/s", higher=True, note=note)


def _spent() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _count_documents(directory: Path) -> int:
    for path in directory.glob("*.sqlite"):
        with contextlib.suppress(sqlite3.OperationalError), sqlite3.connect(path, timeout=60) as file:
            return int(file.execute("SELECT count(*) FROM documents").fetchone()[0])
    return 0


def fetch(url: str, directory: str) -> None:
    """Read all rows with their headers."""
    context = SourceContext(cache_directory=Path(directory), allow_private=True)
    rows = Rows()
    said = DocumentEnrichmentOptions.model_validate({**SAID, "url": f"{url}/hdr?id={{id}}"})
    source = RowDocuments(said, rows.list_columns(), context).wrap_source(rows)  # type: ignore[arg-type]
    seen = 0
    for batch in source.read_batches(["id", STATE_COLUMN, "pbl", "mode", "lst"]):
        if not batch.num_rows:  # while documents are fetched
            continue
        assert set(batch.column(STATE_COLUMN).to_pylist()) == {"here"}
        assert batch.column("lst")[5].as_py() == seen + 5
        seen += batch.num_rows
    assert seen == DOCUMENTS


# --- the server, in a process of its own -----------------------------------------------------------------------------


class Archive(asyncio.Protocol):
    """Pages of headers, as an archive shows them."""

    asked = 0
    rest = "".join(
        f"HIERARCH ESO INS OPTI{number} ID = 'OPTI{number}' / Optical element, and what it is for\n"
        for number in range(CARDS - 9)
    )
    baselines = "".join(
        f"HIERARCH ESO ISS PBL{n} START = {n}.125 / Projected baseline [m]\n" for n in (12, 13, 14, 23, 24, 34)
    )
    page = f"<html><body><pre>\nSIMPLE  =                    T\n%s{rest}{baselines}HIERARCH ESO INS MODE = 'PARALLEL'\n</pre></body></html>"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self.way: asyncio.Transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Answer; requests are short, and come whole."""
        found = re.match(rb"GET /hdr\?id=GRAVI\.(\d+) ", data)
        number = int(found[1]) if found else -1
        Archive.asked += 1
        body = (self.page % f"LST     = {number} / [s]\n").encode()
        self.way.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        )


async def serve() -> None:
    """Serve until the standard input ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Archive, "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    print(Archive.asked, flush=True)
    server.close()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        fetch(*sys.argv[1:])
    else:
        asyncio.run(serve())
