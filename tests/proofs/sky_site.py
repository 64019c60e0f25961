"""A site of made-up stars, for servers under attack or under long load."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import process_runner
from process_runner import run_hven

DESCRIPTOR = """\
collection: sky
title: Made-up stars
access: public
tables:
  stars:
    title: Stars
    primary: [id]
    position: [ra, dec]
    columns:
      id: {type: int32}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      kind: {type: string, indexed: true}
      state: {type: int32}
    source: {kind: csv, files: stars.csv}
"""


def create_site(site: Path, settings: str = "") -> None:
    """Create the site without rows."""
    run_hven("init", site)
    with (site / "hven.toml").open("a") as file:
        file.write(settings)
    (site / "collections" / "sky").mkdir()
    (site / "collections" / "sky" / "sky.yaml").write_text(DESCRIPTOR)


def publish_stars(site: Path, rows: int, kind: str, state: Callable[[int], int]) -> None:
    """Publish a number of stars of seven kinds whose names begin with `kind`.

    The file is replaced in one step, because it is read at the same time.
    """
    lines = [f"{n},{n * 7.31 % 360:.5f},{n * 3.7 % 178 - 89:.5f},{kind}{n % 7},{state(n)}" for n in range(rows)]
    path = site / "collections" / "sky" / "stars.csv"
    path.with_suffix(".new").write_text("id,ra,dec,kind,state\n" + "\n".join(lines) + "\n")
    path.with_suffix(".new").replace(path)
    # beside the readers, which are threads of this process
    log = site / "ingest.log"
    ended = process_runner.start_hven(["--site", str(site), "ingest", "sky"], log, None).wait(300)
    assert ended == 0, log.read_text()
