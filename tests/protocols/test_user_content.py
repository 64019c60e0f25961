"""Files of others from the site's own origin: pages may load scripts and styles from 'self', so no file of anybody is sent as one."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest
from asgi_client import Answer, Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.jobs._worker import run_next_job
from hven.model import settings
from hven.services._user_content import choose_safe_media_type
from hven.site import Site
from job_programs import write_job_type
from plugin_needs import require_package_objects

FILES = {
    "x.js": ("text/javascript", True), "x.mjs": ("text/javascript", True), "x.css": ("text/css", True), "x.wasm": ("application/wasm", True),
    "page.html": ("text/html", False), "pic.svg": ("image/svg+xml", False), "pic.png": ("image/png", False), "doc.pdf": ("application/pdf", False),
    "rows.csv": ("text/csv", False), "notes.txt": ("text/plain", False),
}  # fmt: skip
WRITES = "import sys\nopen('out', 'w').write('alert(1)')\n"
TYPE = 'title: Writes\ncommand: [./writes.py]\nresults: {{out: {{file: out, type: "{0}"}}}}\n'
# as WHATWG MIME Sniffing 4.6 lists them
JAVASCRIPT = [f"{kind}/{name}" for kind in ("application", "text") for name in ("ecmascript", "javascript", "x-ecmascript", "x-javascript")] + [
    *(f"text/javascript1.{number}" for number in range(6)), "text/jscript", "text/livescript",
]  # fmt: skip


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "collections" / "docs"
    (folder / "data").mkdir(parents=True)
    (folder / "docs.yaml").write_text("collection: docs\ntitle: Docs\nfiles: [data/*]\n")
    for name in FILES:
        (folder / "data" / name).write_text("alert(1)")
    (tmp_path / "hven.toml").write_text('name = "docs"\n')
    for name, kind in (("script", "text/javascript"), ("page", "text/html")):
        write_job_type(tmp_path, name, TYPE.format(kind), writes_py=WRITES)
    with Site(settings.load_settings(tmp_path)) as made:
        ingest_collection(made, "docs")
        made.refresh_published_state()
        yield made


def check(answer: Answer, kind: str, *, loaded: bool) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    found = answer.headers["content-type"]
    if loaded:
        assert found == "text/plain; charset=utf-8"
        assert answer.headers["content-disposition"].startswith("attachment")
    else:
        assert found.partition(";")[0] == kind


@pytest.mark.parametrize("name", FILES)
def test_no_file_is_a_script_or_a_style(site: Site, name: str) -> None:
    client, path = Client(create_and_start_application(site)), f"/collections/docs/files/data/{name}"
    kind, loaded = FILES[name]
    assert mimetypes.guess_type(name)[0] == kind or name in {"x.wasm", "x.mjs"}
    for method, headers in (("GET", {}), ("HEAD", {}), ("GET", {"range": "bytes=0-2"})):
        answer = client.ask(method, path, headers=headers)
        assert answer.status == (206 if headers else 200)
        if answer.headers["content-type"].partition(";")[0] != "application/octet-stream":
            check(answer, kind, loaded=loaded)


@pytest.mark.parametrize(("name", "kind", "loaded"), [("script", "text/javascript", True), ("page", "text/html", False)])  # fmt: skip
def test_no_result_of_a_program_runs_here(site: Site, name: str, kind: str, loaded: bool) -> None:
    require_package_objects("job_providers")
    client = Client(create_and_start_application(site))
    made = client.ask("POST", f"/jobs/{name}", body=urlencode({"PHASE": "RUN"}).encode(), headers={"content-type": "application/x-www-form-urlencoded"})  # fmt: skip
    while run_next_job(site):
        pass
    path = made.headers["location"].partition("vo.example")[2]
    for method in ("GET", "HEAD"):
        answer = client.ask(method, f"{path}/results/out")
        assert answer.status == 200, answer.text
        check(answer, kind, loaded=loaded)


@pytest.mark.parametrize("kind", [*JAVASCRIPT, "Text/JavaScript; charset=utf-8", "text/css", "application/wasm"])
def test_every_type_by_which_a_page_loads_a_file(kind: str) -> None:
    assert choose_safe_media_type(kind) == ("text/plain; charset=utf-8", True)
