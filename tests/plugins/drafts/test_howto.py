"""The how-to about drafts does what it says."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import yaml

from process_runner import run_hven, write_shell_program
from shared import ROOT

pytestmark = pytest.mark.slow

PAGE = ROOT / "src/hven/plugins/drafts/docs/look-over-a-draft.md"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give an empty site, and shells that know `hven`."""
    (tmp_path / "bin").mkdir()
    write_shell_program(tmp_path / "bin/hven")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    run_hven("init", tmp_path / "site")
    return tmp_path / "site"


def find_blocks(kind: str) -> list[str]:
    blocks = re.findall(
        rf"^```{re.escape(kind)}\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    assert blocks, f"{PAGE.name} has no block of {kind}"
    return blocks


def write_files(directory: Path) -> None:
    """Write the blocks that say `file=`."""
    text = PAGE.read_text(encoding="utf-8")
    for name, content in re.findall(r"^```\w+ file=(\S+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        (directory / name).write_text(content, encoding="utf-8")


def run_shell(directory: Path, text: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_a_draft_is_as_the_page_shows_it_and_the_edited_one_is_right(site: Path) -> None:
    write_files(site)
    run_shell(site, find_blocks("sh")[0])
    descriptor = site / "collections/plates/plates.yaml"
    draft = descriptor.read_text()
    shown = find_blocks("yaml draft")[0]
    assert yaml.safe_load(draft)["tables"] == yaml.safe_load(shown)["tables"]
    (comment,) = re.findall(r"^ *#.*", shown, re.MULTILINE)
    assert comment in draft
    assert "# guessed" in draft
    assert "parse_time(\"date\", '%d/%m/%Y')" in draft  # the expression that a comment suggests
    descriptor.write_text(find_blocks("yaml edited")[0])
    told = run_shell(site, find_blocks("sh edited")[0])
    assert "1 descriptor: 0 errors, 0 warnings" in told
    rows = [line.split() for line in told.splitlines() if re.match(r"000\d", line)]
    assert rows == [
        ["0001", "1931-02-01T00:00:00", "9.1"],
        ["0002", "1931-02-13T00:00:00"],
        ["0003", "1931-03-05T00:00:00", "8.7"],
    ]
    assert re.search(r"plates: \d+ of 100", told)


def test_a_draft_of_a_file_outside_the_site_says_so(site: Path, tmp_path: Path) -> None:
    write_files(tmp_path)
    run_hven("new", "plates", "--from", tmp_path / "plates.csv", "--site", site)
    draft = (site / "collections/plates/plates.yaml").read_text()
    assert f"files: {tmp_path / 'plates.csv'}" in draft
    assert "outside the site" in draft
