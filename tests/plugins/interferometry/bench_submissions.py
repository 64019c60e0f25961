"""Measure how long a submission of 500 OIFITS files takes, of which one is damaged: sent, checked, and published.

usage: .venv/bin/python tests/plugins/interferometry/bench_submissions.py [files]
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from pathlib import Path

TESTS = Path(__file__).parents[2]
sys.path[:0] = [str(TESTS), str(TESTS / "protocols"), str(TESTS / "plugins/submissions"), str(Path(__file__).parent)]

from asgi_client import Client  # noqa: E402
from rule_files import make_oifits  # noqa: E402
from submission_site import Person, pack, query, read_submission  # noqa: E402
from test_oifits_submissions import DESCRIPTOR  # noqa: E402

from hven.app._server import create_application  # noqa: E402
from hven.ingest.api.runs import ingest_collection  # noqa: E402
from hven.testing.site import open_site_with_descriptor  # noqa: E402


def make_files(count: int) -> dict[str, bytes]:
    """Make files with different contents; the last is damaged."""
    files = {}
    for number in range(count):
        hdus = make_oifits(1)
        hdus[0].header["PROG_ID"] = f"bench {number}"
        buffer = io.BytesIO()
        hdus.writeto(buffer)
        files[f"file{number}.oifits"] = buffer.getvalue()
    files[f"file{count - 1}.oifits"] = buffer.getvalue()[:-3_000]
    return files


def main() -> None:
    """Print the seconds of each step."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    archive = pack(make_files(count))
    with tempfile.TemporaryDirectory() as directory, open_site_with_descriptor(Path(directory), DESCRIPTOR) as site:
        ingest_collection(site, "oidb")
        site.store.users.add_account("anna")
        client = Client(create_application(site))
        anna = Person(client, site, "anna")
        moments, cpu_moments = [time.perf_counter()], [time.process_time()]

        def note_time() -> None:
            moments.append(time.perf_counter())
            cpu_moments.append(time.process_time())

        submission = read_submission(anna.send_file("/submissions/oidb.granules", "files.zip", archive), 201)
        note_time()
        checked = read_submission(anna.take(submission, "check"))
        note_time()
        saved = read_submission(anna.take(checked, "submit"))
        note_time()
        again = read_submission(anna.send_file("/submissions/oidb.granules", "files.zip", archive), 201)
        note_time()
        states = [file["state"] for file in saved["files"]]
        assert (states.count("good"), states.count("bad"), saved["state"]) == (count - 1, 1, "saved")
        assert [file["state"] for file in again["files"]].count("known") == count - 1, "the content is known"
        rows = int(query(client, "SELECT COUNT(*) FROM oidb.granules")[0][0])
        print(f"{count} files of {len(archive) / 1e6:.1f} MB packed, {rows} rows published")
        for number, step in enumerate(("send and check files", "show the difference", "publish", "send again")):
            seconds = moments[number + 1] - moments[number]
            print(f"{step}: {seconds:.1f} s, of which {cpu_moments[number + 1] - cpu_moments[number]:.1f} s processor")


if __name__ == "__main__":
    main()
