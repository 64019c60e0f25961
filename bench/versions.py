"""Measure two versions of Hven in turn: ``python -m bench.versions FOLDER``, where FOLDER has the other version's ``src``.

Both serve a copy of the same site. Each round asks both for the same answers, this version first in every second round.
What is compared is the time of processors that a server spends on an answer: it drifts less with the machine than the time
of the clock does, and what drift is left meets both. A process keeps the luck of its start (where its memory lies makes
up to a tenth), so both servers start several times. Make the folder with ``git worktree add FOLDER COMMIT``.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import os
import shutil
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from bench.foundation import EIGHT, SITE, cones, ready
from bench.measure import CACHE, ask, pss, serve_site, spent, tap

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from bench.measure import Server

CONE = f"SELECT {EIGHT} FROM tycho.main WHERE 1=CONTAINS(POINT(ra, dec), CIRCLE({{}}, {{}}, 0.1))"
COUNT = "SELECT COUNT(*) FROM tycho.main WHERE vt < {} AND dec > {}"
DUMP = f"SELECT TOP 200000 {EIGHT} FROM tycho.main"
NUMBERS = itertools.count()
# name -> answers in a round, and the address of the next one
JOURNEYS: dict[str, tuple[int, Callable[[float, float], str]]] = {
    "cone by TAP": (60, lambda ra, dec: tap(CONE.format(ra, dec))),
    "cone search": (60, lambda ra, dec: f"/cone/tycho.main?RA={ra}&DEC={dec}&SR=0.1"),
    "query of a new shape": (
        40,
        lambda ra, dec: tap(CONE.format(ra, dec).replace("num FROM", f"num AS n{next(NUMBERS)} FROM")),
    ),
    "count": (30, lambda ra, dec: tap(COUNT.format(8 + ra / 60, dec))),
    "first row": (60, lambda ra, dec: tap(f"SELECT TOP 1 tyc FROM tycho.main WHERE ra > {ra}")),
    "rows of a page": (20, lambda ra, dec: f"/collections/tycho/main/rows?vt=..{8 + ra / 60:.4f}&_size=100"),
    "page of a collection": (30, lambda ra, dec: "/collections/tycho"),
    "capabilities": (30, lambda ra, dec: "/tap/capabilities"),
    "VOTable": (2, lambda ra, dec: tap(DUMP)),
    "VOTable, TABLEDATA": (1, lambda ra, dec: tap(DUMP, "votable/td")),
    "CSV": (1, lambda ra, dec: tap(DUMP, "csv")),
    "FITS": (2, lambda ra, dec: tap(DUMP, "fits")),
    "Parquet": (2, lambda ra, dec: tap(DUMP, "parquet")),
    "Arrow": (4, lambda ra, dec: tap(DUMP, "arrow")),
}


@contextlib.contextmanager
def serve_version(folder: Path | None) -> Iterator[Server]:
    """Serve a copy of the site, by this version or by that of a folder."""
    site = CACHE / f"site-{'other' if folder else 'this'}-version"
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(SITE, site)
    if folder is not None:
        os.environ["PYTHONPATH"] = str(folder / "src")
    try:
        with serve_site(site, workers=1) as server:
            yield server
    finally:
        os.environ.pop("PYTHONPATH", None)


def measure_journey(server: Server, addresses: list[str]) -> float:
    """Return the milliseconds of processors that a server spends on each of some answers."""
    connection = server.connect()
    begun = spent(server.pids)
    for address in addresses:
        status, content = ask(connection, address)
        if status != 200:
            raise RuntimeError(f"HTTP {status} for {address}: {content[:300]!r}")
    connection.close()
    return (spent(server.pids) - begun) * 1e3 / len(addresses)


def measure_start(
    folder: Path,
    rounds: int,
    times: dict[str, list[tuple[float, float]]],
    memory: list[tuple[float, float]],
    *,
    this_first: bool,
) -> None:
    """Start both versions, and add the medians of each journey and the memory at the end."""
    with contextlib.ExitStack() as stack:
        versions = (None, folder) if this_first else (folder, None)
        servers = {version: stack.enter_context(serve_version(version)) for version in versions}
        places = itertools.cycle(cones(5000))
        found: dict[str, list[tuple[float, float]]] = {name: [] for name in JOURNEYS}
        for round_number in range(rounds):
            for name, (count, build_address) in JOURNEYS.items():
                addresses = [build_address(*next(places)) for _ in range(count)]
                order = (None, folder) if round_number % 2 else (folder, None)
                spent_by_version = {version: measure_journey(servers[version], addresses) for version in order}
                if round_number:
                    found[name].append((spent_by_version[None], spent_by_version[folder]))
        memory.append((pss(servers[None].pids), pss(servers[folder].pids)))
    for name, pairs in found.items():
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        times[name].append((mine, theirs))


def main() -> None:
    """Print for each journey the medians of both versions, and the median of the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="a checkout of the other version")
    parser.add_argument("--starts", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5, help="after each start; the first only warms up")
    arguments = parser.parse_args()
    ready()
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in JOURNEYS}
    memory: list[tuple[float, float]] = []
    for start in range(arguments.starts):
        measure_start(arguments.folder, arguments.rounds, times, memory, this_first=start % 2 == 0)
    print(f"{'milliseconds of processors for an answer':42s} {'this':>9s} {'other':>9s} {'ratio':>7s}  quartiles")
    ratios_of_all = []
    for name, pairs in times.items():
        ratios = [mine / theirs for mine, theirs in pairs]
        low, ratio, high = statistics.quantiles(ratios, n=4)
        ratios_of_all.append(ratio)
        mine, theirs = (statistics.median(column) for column in zip(*pairs, strict=True))
        print(f"{name:42s} {mine:9.3f} {theirs:9.3f} {ratio:7.3f}  {low:.3f} to {high:.3f}")
    print(f"{'geometric mean of the ratios':62s} {statistics.geometric_mean(ratios_of_all):7.3f}")
    mine, theirs = (statistics.median(column) for column in zip(*memory, strict=True))
    print(f"{'MiB of memory at the end':42s} {mine:9.1f} {theirs:9.1f} {mine / theirs:7.3f}")


if __name__ == "__main__":
    main()
