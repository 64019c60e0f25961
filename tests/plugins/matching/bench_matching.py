"""Match 2.5 million stars with 2.5 million others at another epoch, and match again after changes; beside STILTS tmatch2."""

from __future__ import annotations

import json
import re
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

COUNT, CHANGES = 2_500_000, 1_000
YEARS = 24.75
SECONDS, MEBIBYTES = 15.0, 2048
NAMES = ("matching.mutual", "matching.memory", "matching.update")


def run(only: str = "", *, big: bool = False) -> Iterator[object]:
    """Match, and match again after 1,000 stars have changed; the sources read tables in memory."""
    from bench.measure import CACHE, Journey

    if not any(only in name for name in NAMES):
        return
    directory = CACHE / "matching"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    first, second = generate_catalogues()
    write_table(directory / "first.arrow", first)
    write_table(directory / "second.arrow", second)
    known_seconds, known_pairs = run_tmatch2(directory, first, second)
    facts = json.loads(
        subprocess.run([sys.executable, __file__, str(directory)], check=True, capture_output=True).stdout
    )
    if abs(facts["pairs"] - known_pairs) > 2:  # of pairs at the radius, to the last bit
        raise AssertionError(f"{facts['pairs']:,} pairs, but STILTS finds {known_pairs:,}")
    for name, value, unit, goal in (
        (NAMES[0], facts["seconds"], "s", SECONDS),
        (NAMES[1], facts["mebibytes"], "MiB", MEBIBYTES),
        (NAMES[2], facts["update_seconds"], "s", SECONDS / 2),
    ):
        note = f"{COUNT:,} x {COUNT:,}, {facts['pairs']:,} pairs; STILTS tmatch2 without epochs: {known_seconds:.1f} s"
        yield Journey(name=name, value=value, unit=unit, reference=goal, ratio=value / goal, target=1.0, note=note)


def generate_catalogues() -> tuple[pa.Table, pa.Table]:
    """Generate stars, and the same stars 24.75 years later with errors of 0.3 arcsec, in another order."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from plugins.matching.generated_stars import move_stars

    random = np.random.default_rng(45)
    ra, dec = random.uniform(0, 360, COUNT), np.degrees(np.arcsin(random.uniform(-1, 1, COUNT)))
    pmra, pmdec = random.normal(0, 30, (2, COUNT))
    later_ra, later_dec = move_stars(ra, dec, pmra, pmdec, YEARS)
    later_dec = np.clip(later_dec + random.normal(0, 0.3, COUNT) / 3600, -90, 90)
    later_ra = (later_ra + random.normal(0, 0.3, COUNT) / 3600 / np.cos(np.radians(later_dec))) % 360
    order = random.permutation(COUNT)
    first = {"id": np.arange(COUNT), "ra": ra, "dec": dec, "pmra": pmra, "pmdec": pmdec}
    return pa.table(first), pa.table({"source": order, "ra": later_ra[order], "dec": later_dec[order]})


def write_table(path: Path, table: pa.Table) -> None:
    """Write a table as an Arrow file."""
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=131_072)


def run_tmatch2(directory: Path, first: pa.Table, second: pa.Table) -> tuple[float, int]:
    """Match with STILTS; return its seconds, and the number of pairs that are the best of both sides."""
    from astropy.table import Table

    from plugins.matching.generated_stars import move_stars

    columns = (first[name].to_numpy() for name in ("ra", "dec", "pmra", "pmdec"))
    ra, dec = move_stars(*columns, YEARS)
    Table({"id": first["id"].to_numpy(), "ra": ra, "dec": dec}).write(directory / "first.fits")
    Table({name: second[name].to_numpy() for name in second.column_names}).write(directory / "second.fits")
    pairs = []
    begin = time.perf_counter()
    for find in ("best1", "best2"):
        out = directory / f"{find}.fits"
        subprocess.run(
            ["stilts", "tmatch2", f"in1={directory / 'first.fits'}", f"in2={directory / 'second.fits'}", "matcher=sky",
             "values1=ra dec", "values2=ra dec", "params=1.5", f"find={find}", "join=1and2", f"out={out}", "progress=none"],
            check=True,
        )  # fmt: skip
        rows = Table.read(out)
        pairs.append(np.asarray(rows["id"]).astype(np.int64) * COUNT + np.asarray(rows["source"]))
        if find == "best1":
            seconds = time.perf_counter() - begin
    return seconds, len(np.intersect1d(*pairs))


class Rows:
    """Rows in memory, as an answer to a query."""

    def __init__(self, table: pa.Table) -> None:
        from hven.model.table import build_columns_from_arrow

        self._table = table
        self.columns = build_columns_from_arrow(table.schema)

    def __iter__(self) -> Iterator[pa.RecordBatch]:
        return iter(self._table.to_batches())


def measure_match(directory: Path) -> dict[str, float]:
    """Match tables in memory twice, the second time with changes; return seconds and the largest memory."""
    from hven.plugins.matching import match_source
    from hven.plugins.matching.match_options import Options
    from hven.sources import SourceContext

    tables = {
        name: pa.ipc.open_file(pa.memory_map(str(directory / f"{name}.arrow"))).read_all()
        for name in ("first", "second")
    }

    def run_query(text: str, uploads: object = None) -> Rows:
        table = tables[re.search(r"(\w+)$", text.replace('"', ""))[1]]  # type: ignore[index]
        if "TOP 0" in text:
            return Rows(table.slice(0, 0))
        return Rows(table.select(re.findall(r"\w+", text.split("FROM", maxsplit=1)[0].removeprefix("SELECT"))))

    reference = {"table": "sky.first", "id": "id", "ra": "ra", "dec": "dec", "pmra": "pmra", "pmdec": "pmdec"}
    catalogue = {
        "table": "sky.second",
        "id": "source",
        "ra": "ra",
        "dec": "dec",
        "epoch": 1991.25 + YEARS,
        "radius": 1.5,
    }
    options = Options.model_validate({"reference": {**reference, "epoch": 1991.25}, "catalogues": {"gaia": catalogue}})
    facts = {}
    for run_name, figure in (("first", "seconds"), ("second", "update_seconds")):
        context = SourceContext(
            run_query=run_query, cache_directory=directory / "cache", run_name=run_name, table_name="a.b"
        )
        begin = time.perf_counter()
        pair_count = 0
        for batch in match_source.open(options, context).read_batches():
            pair_count += len(batch) - batch.column("XM_GAIA_id").null_count
        facts[figure] = time.perf_counter() - begin
        if run_name == "first":
            facts["pairs"] = pair_count
            facts["mebibytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        latitudes = tables["second"]["dec"].to_numpy().copy()
        latitudes[:CHANGES] += 0.1 / 3600
        tables["second"] = tables["second"].set_column(2, "dec", pa.array(np.minimum(latitudes, 90)))
    return facts


if __name__ == "__main__":
    print(json.dumps(measure_match(Path(sys.argv[1]))))
