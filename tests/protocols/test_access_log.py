"""GoAccess, with the settings of the documentation, reads what Hven writes in a day."""

from __future__ import annotations

import json
import logging
import random
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from asgi_client import Client
from star_tables import TABLES

from hven.app._server import create_and_start_application, request_middleware
from hven.testing.site import open_tiny_site
from requirements import require_program

PAGE = Path(__file__).parents[2] / "docs/howto/limit-a-user.md"
REQUESTS = [
    ("GET", "/", b""),
    ("GET", "/cone/stars.main", b"RA=1&DEC=1&SR=5"),
    ("GET", "/cone/stars.main", b"RA=x"),
    ("GET", "/tap/sync", b'LANG=ADQL&QUERY=SELECT+TOP+1+"id"+FROM+stars.main'),
    ("GET", "/tap/sync", b"QUERY=%22%5C%0A%C3%A9"),
    ("GET", "/tap/sync", "QUERY=\\ \u2028 \u00e9 {} \t".encode()),
    ("GET", "/nothing/here", b""),
    ("HEAD", "/health/live", b""),
    ("POST", "/tap/sync", b""),
]
SECONDS_OF_A_DAY = 86_400


@pytest.mark.outside
def test_goaccess_reads_the_log_of_a_day(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = require_program("goaccess")
    chosen = random.Random(49)
    with open_tiny_site(tmp_path / "site", TABLES) as site, caplog.at_level(logging.INFO, "hven.access"):
        client = Client(create_and_start_application(site))
        strftime = request_middleware.time.strftime
        for second in range(0, SECONDS_OF_A_DAY, 200):
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            monkeypatch.setattr(
                request_middleware.time, "strftime", lambda *_, clock=clock: f"2026-11-29T{clock}Z", raising=True
            )
            method, path, query = chosen.choice(REQUESTS)
            client.ask(method, path, query)
        monkeypatch.setattr(request_middleware.time, "strftime", strftime)
    lines = [record.getMessage() for record in caplog.records if record.name == "hven.access"]
    entries = [json.loads(line) for line in lines]
    assert len(entries) == SECONDS_OF_A_DAY // 200
    log = tmp_path / "access.log"
    log.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    command = re.search(r"```text\n(goaccess .*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    assert command is not None
    words = shlex.split(command[1].replace("\\\n", " "))
    words = [word.replace("/var/log/hven/access.log", str(log)) for word in words]
    words[words.index("report.html")] = str(tmp_path / "report.json")
    subprocess.run([program, *words[1:]], check=True, capture_output=True)
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    general = report["general"]
    assert (general["total_requests"], general["failed_requests"]) == (len(entries), 0)
    assert general["bandwidth"] == sum(entry["bytes"] for entry in entries)
    assert general["start_date"] == general["end_date"] == "29/Nov/2026"
    counted = {
        item["data"].partition(" ")[0]: item["hits"]["count"]
        for group in report["status_codes"]["data"]
        for item in group["items"]
    }
    assert counted == {str(status): count for status, count in Counter(entry["status"] for entry in entries).items()}
