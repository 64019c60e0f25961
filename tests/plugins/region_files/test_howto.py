"""The how-to of `hven region` runs as it stands."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from hven import sky
from process_runner import write_shell_program
from shared import ROOT

PAGE = (ROOT / "src/hven/plugins/region_files/docs/convert-regions.md").read_text(encoding="utf-8")


def test_its_shell_lines_run_in_an_empty_directory(tmp_path: Path):
    (lines, *_) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    place = tmp_path / "empty"
    for one in (place, tmp_path / "bin"):
        one.mkdir()
    write_shell_program(tmp_path / "bin/hven")
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    done = subprocess.run(
        ["bash"], input=lines, cwd=place, env={**os.environ, "PATH": path}, capture_output=True, text=True, check=False
    )
    assert "command not found" not in done.stderr
    assert done.stderr.count("character 3 of the chain code is not a digit") == 2
    assert [bool(line) for line in done.stdout.splitlines()] == [True, False, False] * 2
    assert {one.name for one in place.iterdir()} == {"hfc.csv", "holes.json", "holes.moc.fits"}
    read = sky.read_regions(place / "holes.json")
    assert repr(read.regions) == "<Regions: 3 rows, 1 parts, 10 corners>"
    covered = sky.read_regions((place / "holes.moc.fits").read_bytes()).regions
    assert read.regions.compute_areas()[0] < covered.compute_areas()[0] < 1.011 * read.regions.compute_areas()[0]
