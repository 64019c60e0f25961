"""The example of a project with releases: the lines of its README in a shell, then what everybody, members and others are told."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlencode, urlsplit

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "protocols"))

from asgi_client import Client

from example_sites import EXAMPLES
from hven.app._server.application import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import run_collection_tests
from hven.model import settings
from hven.site import Site
from process_runner import wait_until, write_shell_program

if TYPE_CHECKING:
    from collections.abc import Iterator

    from asgi_client import Answer

LABELS = ("R4", "R6")


class WalkedSite:
    """The site after the walk, and what the shell said."""

    def __init__(self, told: list[str], site: Site) -> None:
        self.told, self.site, self.client = told, site, Client(create_and_start_application(site))
        words = re.findall(r"(?m)^(anna|bob|dora)\.(\S+)$", told[1])
        self.tokens = {name: f"{name}.{secret}" for name, secret in words}

    def ask(self, path: str, name: str = "", method: str = "GET", **form: str) -> Answer:
        headers = {"authorization": f"Bearer {self.tokens[name]}"} if name else {}
        if form:
            headers["content-type"] = "application/x-www-form-urlencoded"
        return self.client.ask(method, path, headers=headers, body=urlencode(form).encode())

    def rows(self, text: str, name: str = "", **more: str) -> list[str]:
        asked = urlencode({"LANG": "ADQL", "RESPONSEFORMAT": "csv", "QUERY": text, **more})
        answer = self.ask(f"/tap/sync?{asked}", name)
        assert answer.status == 200, answer.text
        return answer.text.splitlines()[1:]


@pytest.fixture(scope="module")
def walked_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WalkedSite]:
    place = tmp_path_factory.mktemp("hesiod") / "site"
    shutil.copytree(EXAMPLES / "18-hesiod", place, ignore=shutil.ignore_patterns("var", "data"))
    blocks = re.findall(r"(?ms)^```sh\n(.*?)^```", (place / "README.md").read_text())
    programs = tmp_path_factory.mktemp("bin")
    write_shell_program(programs / "hven")
    environment = {**os.environ, "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}"}
    told = []
    for lines in blocks:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines], cwd=place, env=environment, check=False, capture_output=True, text=True, timeout=600
        )  # fmt: skip
        assert done.returncode == 0, f"{lines}\n{done.stdout}\n{done.stderr}"
        told.append(done.stdout)
    with Site(settings.load_settings(place)) as site:
        yield WalkedSite(told, site)


def test_the_shell_says_what_the_readme_says(walked_site: WalkedSite) -> None:
    first, people, seen, second, changed, files = walked_site.told
    assert "3 descriptors: 0 errors, 0 warnings" in first
    assert "R4 of followup: followup_r4.targets" in first
    assert "anna has the role curator in hesiod" in people
    assert re.search(r"lowz +Nearby clusters +1 +0 +1 +0", people)
    assert "followup" not in seen.partition("table_name")[2]
    assert "R6 of psz2: psz2_r6.files, psz2_r6.main" in second
    assert "psz2.main: 6 added, 9 changed, 1 removed, 35 rows" in changed
    assert "psz2.files: 9 added, 7 removed, 9 rows" in changed
    assert re.search(r"snr \d+\.\d{1,2}\b(?!\d)", changed)  # as they are written, not the doubles beside them
    assert len(files.split()) == 1 + 7


def test_its_descriptors_have_no_fault_and_no_row_is_rejected(walked_site: WalkedSite) -> None:
    told = "".join(walked_site.told)
    assert "rejected" not in told.replace(" 0 rejected", ""), told
    paths = sorted(walked_site.site.settings.collections_directory.glob("*/*.yaml"))
    assert {path.stem for path in paths} == {*walked_site.site.store.list_publication_times()}
    for path in paths:
        assert [str(fault) for fault in check_descriptor(path, walked_site.site.settings)] == []
        assert [str(fault) for fault in run_collection_tests(walked_site.site, path.stem)] == []


def test_rows_of_then_and_now(walked_site: WalkedSite) -> None:
    count = "SELECT COUNT(*) AS n FROM psz2.main"
    assert walked_site.rows(count, ASOF="R4") == walked_site.rows("SELECT COUNT(*) AS n FROM psz2_r4.main") == ["30"]
    assert (
        walked_site.rows(count, ASOF="R6")
        == walked_site.rows(count, ASOF="latest")
        == walked_site.rows(count)
        == ["35"]
    )
    for label in LABELS:
        assert walked_site.ask(f"/collections/followup_{label.lower()}/targets").status == 404
        assert walked_site.ask(f"/collections/followup_{label.lower()}/targets", "bob").status == 200
        assert walked_site.rows("SELECT COUNT(*) AS n FROM followup.targets", "bob", ASOF=label) != ["0"]


def test_the_files_of_r4_stay_and_lead_to_those_of_r6(walked_site: WalkedSite) -> None:
    then, now = (
        dict(
            line.split(",")
            for line in walked_site.rows(f"SELECT name, map FROM psz2_{label}.main WHERE map IS NOT NULL")
        )
        for label in ("r4", "r6")
    )
    assert len(then) == 7
    assert then.keys() < now.keys()
    for name, address in then.items():
        answer = walked_site.ask(unquote(urlsplit(address).path))
        assert (answer.status, answer.body[:6]) == (200, b"SIMPLE")
        assert answer.headers["link"] == f'<{now[name]}>; rel="latest-version"'
        newer = walked_site.ask(unquote(urlsplit(now[name]).path))
        assert newer.status == 200
        assert "link" not in newer.headers
    assert len(walked_site.ask("/collections/psz2_r4/files").text.splitlines()) == 7


def test_pages(walked_site: WalkedSite) -> None:
    old, new = (walked_site.ask(f"/collections/psz2_{label}/main").text for label in ("r4", "r6"))
    assert "This is R4, which has been superseded" in old
    assert "superseded" not in new
    told = json.loads(walked_site.ask("/projects/hesiod.json").text)
    assert [(one["label"], one["superseded"], one["description"]) for one in told["releases"]] == [
        ("R6", False, None),
        ("R4", True, "As in the paper of 2026"),
    ]
    assert [one["title"] for one in told["news"]] == ["R4 is published"]
    assert len(told["collections"]) == 1
    mine = json.loads(walked_site.ask("/projects/hesiod.json", "bob").text)
    assert [one["title"] for one in mine["news"]] == ["Three nights in October", "R4 is published"]
    assert {one["title"]: one["members"] for one in mine["collections"]} == {
        "Clusters to observe": True,
        "Clusters of galaxies by the Sunyaev-Zeldovich effect": False,
    }
    page = walked_site.ask("/collections/psz2").text
    assert all(f"/collections/psz2_{label}/main" in page for label in ("r4", "r6"))
    assert "followup" not in page
    assert '/projects">' in walked_site.ask("/").text


def test_asking_for_access(walked_site: WalkedSite) -> None:
    page = walked_site.ask("/projects/lowz", "dora").text
    assert "Ask for access" in page
    assert "lowz.masses" not in page
    assert walked_site.ask("/projects/lowz", "dora", "POST", ask="1", words="I have spectra").status == 303
    wait_until(
        lambda: (
            [one["name"] for one in json.loads(walked_site.ask("/projects/lowz.json", "anna").text)["asked"]]
            == ["dora"]
        )
    )
    asked = json.loads(walked_site.ask("/projects/lowz.json", "anna").text)["asked"][0]["id"]
    assert walked_site.ask("/collections/lowz", "dora").status == 404
    assert walked_site.ask("/projects/lowz", "anna", "POST", accept=asked).status == 303
    wait_until(lambda: walked_site.ask("/collections/lowz", "dora").status == 200)
    assert walked_site.ask("/collections/lowz").status == 404
