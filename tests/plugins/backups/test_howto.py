"""The commands of the how-to back a site up while it runs, and restore it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from process_runner import run_hven, serve_site, write_shell_program
from shared import ROOT
from star_descriptors import write_stars_descriptor

STARS = "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\nRigel,78.634,-8.202,0.18\n"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    (tmp_path / "stars.csv").write_text(STARS)
    run_hven("init", tmp_path / "site")
    write_stars_descriptor(tmp_path / "site", tmp_path / "stars.csv")
    run_hven("ingest", "stars", "--site", tmp_path / "site")
    return tmp_path / "site"


@pytest.mark.slow
def test_a_backup_is_a_site(site: Path, tmp_path: Path) -> None:
    page = (ROOT / "src/hven/plugins/backups/docs/backup.md").read_text(encoding="utf-8")
    commands = page.partition("```sh\n")[2].partition("```")[0]
    moved, archive = tmp_path / "moved", tmp_path / "hven.tar"
    lines = re.sub(r"/backups/\S+\.tar", str(archive), commands).replace(f"{archive} DIR", f"{archive} {moved}")
    (tmp_path / "bin").mkdir()
    write_shell_program(tmp_path / "bin/hven")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    with serve_site(site):  # while the site runs
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", lines],
            cwd=site,
            check=False,
            timeout=600,
            capture_output=True,
            text=True,
            env={**os.environ, "PATH": path},
        )
        assert done.returncode == 0, done.stderr
    shutil.rmtree(site)
    assert "stars.main" in run_hven("status", "--site", moved).stdout
    assert run_hven(
        "query", "-f", "csv", "SELECT name FROM stars.main WHERE vmag < 0", "--site", moved
    ).stdout.split() == [
        "name",
        "Sirius",
    ]
    assert "secrets.toml" in (moved / ".gitignore").read_text()
    run_hven("ingest", "stars", "--site", moved)
    run_hven("rollback", "stars", "--site", moved)
    assert run_hven("query", "-f", "csv", "SELECT COUNT(*) AS n FROM stars.main", "--site", moved).stdout.split() == [
        "n",
        "3",
    ]
