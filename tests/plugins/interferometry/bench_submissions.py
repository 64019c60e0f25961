"""Submit 500 OIFITS files in an archive, of which one is damaged: send them, check them, and publish them."""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

FILES, SECONDS = 500, 10.0
NAME = "submissions.files"
TESTS = Path(__file__).parents[2]


def run(only: str = "", *, big: bool = False) -> Iterator[object]:
    """Measure the three steps of a submission together, without the transport of the files."""
    if only not in NAME:
        return
    folders = (TESTS, TESTS / "protocols", TESTS / "plugins/submissions", Path(__file__).parent)
    sys.path[:0] = [str(folder) for folder in folders]
    from asgi_client import Client
    from bench.measure import Journey
    from submission_site import Person, pack, query, read_submission
    from test_oifits_submissions import DESCRIPTOR

    from hven.app._server import create_and_start_application
    from hven.ingest.api.runs import ingest_collection
    from hven.testing.site import open_site_with_uningested_files

    archive = pack(make_files())
    with (
        tempfile.TemporaryDirectory() as directory,
        open_site_with_uningested_files(Path(directory), DESCRIPTOR) as site,
    ):
        ingest_collection(site, "oidb")
        site.store.users.add_account("anna")
        client = Client(create_and_start_application(site))
        anna = Person(client, site, "anna")
        moments = [time.perf_counter()]
        cpu_begin = time.process_time()
        submission = read_submission(anna.send_file("/submissions/oidb.granules", "files.zip", archive), 201)
        moments.append(time.perf_counter())
        checked = read_submission(anna.take(submission, "check"))
        moments.append(time.perf_counter())
        saved = read_submission(anna.take(checked, "submit"))
        moments.append(time.perf_counter())
        cpu_seconds = time.process_time() - cpu_begin
        states = [file["state"] for file in saved["files"]]
        if (states.count("good"), states.count("bad"), saved["state"]) != (FILES - 1, 1, "saved"):
            raise RuntimeError(f"not all good files were published: {saved['state']}")
        again = read_submission(anna.send_file("/submissions/oidb.granules", "files.zip", archive), 201)
        if [file["state"] for file in again["files"]].count("known") != FILES - 1:
            raise RuntimeError("the same files are not known the second time")
        rows = int(query(client, "SELECT COUNT(*) FROM oidb.granules")[0][0])
        steps = ", ".join(f"{moments[place + 1] - moments[place]:.1f}" for place in range(3))
        seconds = moments[-1] - moments[0]
        yield Journey(
            name=NAME,
            value=seconds,
            unit="s",
            reference=SECONDS,
            ratio=seconds / SECONDS,
            target=1.0,
            note=f"{FILES} files, {rows} rows; send, check, publish: {steps} s; {cpu_seconds:.1f} s of processor",
        )


def make_files() -> dict[str, bytes]:
    """Make files with different contents, of which the last is damaged."""
    from rule_files import make_oifits

    files = {}
    content = b""
    for number in range(FILES):
        hdus = make_oifits(1)
        hdus[0].header["PROG_ID"] = f"bench {number}"
        buffer = io.BytesIO()
        hdus.writeto(buffer)
        content = buffer.getvalue()
        files[f"file{number}.oifits"] = content
    files[f"file{FILES - 1}.oifits"] = content[:-3_000]
    return files


__all__ = ["run"]
