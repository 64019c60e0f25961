"""The tables that journeys run over: Tycho-2 as CSV (from its Debian source package), 5 x 10^7 generated stars as Parquet.

The generator imports nothing from hven. Where the package cannot be had, stars of the same number and form are generated.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

import duckdb

from bench.measure import CACHE

TYCHO_ROWS = 2_539_913
COLUMNS = (
    "tyc", "pflag", "ra", "dec", "pm_ra", "pm_dec", "e_ra", "e_dec", "e_pm_ra", "e_pm_dec", "ep_ra", "ep_dec", "num",
    "q_ra", "q_dec", "q_pm_ra", "q_pm_dec", "bt", "e_bt", "vt", "e_vt", "prox", "tyc1", "hip",
)  # fmt: skip


def tycho_csv() -> Path:
    """Give Tycho-2 as a CSV of 2,539,913 rows x 24 columns; made once."""
    target = CACHE / "tycho2.csv"
    if target.exists():
        return target
    CACHE.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=CACHE) as name:
            _extract_from_package(Path(name), target)
    except (OSError, subprocess.CalledProcessError, StopIteration) as error:
        print(f"Tycho-2 cannot be had ({error}); generating stars of the same form", file=sys.stderr)
        _generate_table(target)
    return target


def _extract_from_package(work: Path, target: Path) -> None:
    for part in ("parts", "lists/partial", "cache/archives/partial"):
        (work / part).mkdir(parents=True)
    parts = subprocess.run(
        ["apt-config", "shell", "P", "Dir::Etc::sourceparts/d"], check=True, capture_output=True, text=True
    ).stdout.split("'")[1]
    sources = (Path(parts) / "debian.sources").read_text().replace("Types: deb\n", "Types: deb-src\n")
    (work / "parts" / "debian.sources").write_text(sources)
    options = [
        "-o", "Dir::Etc::sourcelist=-", "-o", f"Dir::Etc::sourceparts={work / 'parts'}", "-o", f"Dir::State::lists={work / 'lists'}",
        "-o", f"Dir::Cache={work / 'cache'}", "-o", "APT::Sandbox::User=",
    ]  # fmt: skip
    subprocess.run(["apt-get", *options, "-qq", "update"], check=True, capture_output=True)
    subprocess.run(
        ["apt-get", *options, "-qq", "source", "--download-only", "tycho2"], check=True, capture_output=True, cwd=work
    )
    with tarfile.open(next(work.glob("tycho2_*.orig.tar.xz"))) as archive:
        archive.extractall(work, filter="data")
    with (work / "all.dat").open("wb") as everything:
        for piece in sorted(work.rglob("tyc2.dat.*")):
            with piece.open("rb") as file:
                shutil.copyfileobj(file, everything)
    raw = ", ".join(f"trim(column{at:02d}) AS {name}" for at, name in enumerate(COLUMNS[:23]))
    kinds = ", ".join(f"'column{at:02d}': 'VARCHAR'" for at in range(32))
    # TYC1 TYC2 TYC3 make the identifier; the catalogue's field 24 is HIP with CCDM
    with duckdb.connect() as connection:
        connection.execute(
            f"COPY (SELECT {raw}, regexp_extract(column23, '[0-9]+') AS hip FROM read_csv('{work / 'all.dat'}', delim='|', header=false, "
            f"all_varchar=true, quote='', escape='', null_padding=true, auto_detect=false, columns={{{kinds}}})) "
            f"TO '{target}.part' (HEADER, DELIMITER ',')"
        )
    Path(f"{target}.part").replace(target)


def _generate_table(target: Path) -> None:
    with duckdb.connect() as connection:
        connection.execute("SELECT setseed(0.5)")
        connection.execute(
            f"""COPY (SELECT format('{{:04d}} {{:05d}} 1', 1 + i % 9537, i // 9537) AS tyc, '' AS pflag,
            round(random() * 360, 8) AS ra, round(degrees(asin(2 * random() - 1)), 8) AS dec,
            round(20 * random() - 10, 1) AS pm_ra, round(20 * random() - 10, 1) AS pm_dec, 30 AS e_ra, 30 AS e_dec, 2.1 AS e_pm_ra, 2.1 AS e_pm_dec,
            1990.5 AS ep_ra, 1990.5 AS ep_dec, 4 AS num, 1.0 AS q_ra, 1.0 AS q_dec, 1.0 AS q_pm_ra, 1.0 AS q_pm_dec,
            round(8 + 6 * random(), 3) AS bt, 0.1 AS e_bt, round(7 + 6 * random(), 3) AS vt, 0.1 AS e_vt, 999 AS prox, '' AS tyc1,
            CASE WHEN random() < 0.05 THEN i END AS hip FROM range({TYCHO_ROWS}) t(i)) TO '{target}.part' (HEADER)"""
        )
    Path(f"{target}.part").replace(target)


def big_parquet(rows: int = 50_000_000) -> Path:
    """Give generated stars, 8 columns, in no order, as Parquet; made once."""
    target = CACHE / f"stars-{rows}.parquet"
    if not target.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with duckdb.connect() as connection:
            connection.execute("SET preserve_insertion_order = false")
            connection.execute(
                f"""COPY (SELECT i AS id, random() * 360 AS ra, degrees(asin(2 * random() - 1)) AS dec, (8 + 12 * random())::FLOAT AS gmag,
                (8 + 12 * random())::FLOAT AS rmag, random() * 10 AS parallax, (random() * 1000)::INTEGER AS field, random() < 0.1 AS variable
                FROM range({rows}) t(i)) TO '{target}.part' (FORMAT parquet, ROW_GROUP_SIZE 1000000)"""
            )
        Path(f"{target}.part").replace(target)
    return target
