"""Links of rows that have files: their sizes and types, pictures, packages, cut-outs with each file's bounds; one row and a thousand, beside the same rows by TAP."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator

from bench.measure import CACHE, HVEN, Journey, Server, against, ask, median, serve_site, spent, tap

SITE = CACHE / "site-linkedfiles"
ROWS = 20_000
NAMES = ("products.linked.one", "products.linked.seen", "products.linked.thousand", "products.linked.votable")
GOALS = {"one": 5.0, "seen": 5.0, "thousand": 200.0, "votable": 200.0}  # ms, on a machine that does nothing else
DESCRIPTOR = """\
collection: linked
title: Linked
files: {files: "*/*.fits", checksums: false}
tables:
  main:
    source: {kind: csv, file: rows.csv}
    primary: id
    columns:
      id: {type: string, ucd: meta.id;meta.main}
      exposure: {type: float64, unit: s}
      file: string
      raw: string
    links:
      - {semantics: this, file: "{target.file}", description: "image {target.id}"}
      - {semantics: progenitor, file: "{target.raw}", description: "raw image of {target.id}"}
"""


def make_site() -> None:
    """Make the site once: small images of the sky, two for each of ten thousand rows."""
    if (SITE / "done").exists():
        return
    from astropy.io import fits

    shutil.rmtree(SITE, ignore_errors=True)
    folder = SITE / "collections/linked"
    header = fits.Header([("SIMPLE", True), ("BITPIX", 16), ("NAXIS", 2), ("NAXIS1", 32), ("NAXIS2", 32)])
    for at, (word, value, step) in enumerate((("RA---TAN", 10.0, -1e-3), ("DEC--TAN", 20.0, 1e-3)), 1):
        header[f"CTYPE{at}"], header[f"CRPIX{at}"], header[f"CRVAL{at}"], header[f"CDELT{at}"] = word, 16, value, step
    bytes_of = header.tostring().encode() + bytes(2880)
    lines = ["id,exposure,file,raw\n"]
    for at in range(ROWS):
        place = f"{at // 1000}/{at}.fits"
        (folder / place).parent.mkdir(parents=True, exist_ok=True)
        (folder / place).write_bytes(bytes_of)
        lines.append(f"i{at},{at * 0.5},{place},{(at + 1) % ROWS // 1000}/{(at + 1) % ROWS}.fits\n")
    (folder / "rows.csv").write_text("".join(lines))
    (folder / "linked.yaml").write_text(DESCRIPTOR)
    (SITE / "hven.toml").write_text('name = "linked"\n')
    subprocess.run([HVEN, "ingest", "linked", "--site", SITE], check=True, stdout=subprocess.DEVNULL)
    (SITE / "done").touch()


def run(*, only: str = "") -> Iterator[Journey]:
    """Run the journeys whose name has `only` in it."""
    if only and not any(only in name for name in NAMES):
        return
    make_site()
    with serve_site(SITE, workers=1) as server:
        for name in NAMES:
            if only in name:
                yield _journey(server, name)


def _journey(server: Server, name: str) -> Journey:
    """Ask for other rows in each call, but for `seen`; a wrong answer ends the run."""
    what = name.rpartition(".")[2]
    connection, count = server.connect(), [0]
    many = 1 if what in {"one", "seen"} else 1000
    form = "votable" if what in {"votable", "one"} else "csv"

    def keys() -> list[str]:
        count[0] += what != "seen"
        return [f"i{(count[0] * many + at) * 7919 % ROWS}" for at in range(many)]

    def links() -> str:
        return f"/datalink/linked.main?RESPONSEFORMAT={form}&" + "&".join(f"ID={key}" for key in keys())

    def rows() -> str:
        listed = ", ".join(f"'{key}'" for key in keys())
        return tap(
            f"SELECT m.*, f.* FROM linked.main AS m JOIN linked.files AS f ON f.path = m.file WHERE m.id IN ({listed})",
            "csv",
        )

    def build_request(make: Callable[[], str], least: int) -> Callable[[], None]:
        def call() -> None:
            status, body = ask(connection, make())
            if status != 200 or body.count(b"\n") < least:
                raise RuntimeError(f"{name}: {status}: {body[:200]!r}")

        return call

    times = 200 if many == 1 else 15
    found, cpu = [], []
    for make, least in ((links, 6 * many), (rows, many)):
        call = build_request(make, least)
        median(call, 1, warm=5)
        before = spent(server.pids)
        found.append(median(call, times, warm=0))
        cpu.append((spent(server.pids) - before) / times)
    beside = f"the same rows by TAP {found[1] * 1000:.1f}, {cpu[1] * 1000:.1f}"
    note = f"of processors {cpu[0] * 1000:.1f} ms; {beside}"
    return against(name, found[0] * 1000, GOALS[what], 1.0, unit="ms", note=note)
