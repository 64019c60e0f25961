"""A site of real data, served once for all external clients and for each engine."""

from __future__ import annotations

import lzma
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.ingest.api.runs import ingest_collection
from hven.model import settings
from hven.site import Site
from plugin_needs import require_plugins
from process_runner import Server, run_hven, serve_site
from shared import shared
from stilts import run_stilts
from storage_engines import DEFAULT_ENGINES, EMBEDDED, SiteEngine, open_engine

HIPPARCOS = """\
collection: hipparcos
title: Stars of Hipparcos and Tycho
description: 125,982 stars, edited for KStars
subjects: [stars]
tables:
  main:
    description: One row per star
    position: [ra, dec]
    primary: [star]
    source:
      kind: fixed
      files: stars.dat
      comment: "#"
      fields:
        ra_h: {bytes: 1-2, type: float64}
        ra_m: {bytes: 3-4, type: float64}
        ra_s: {bytes: 5-9, type: float64}
        de_sign: {bytes: 11, type: string}
        de_d: {bytes: 12-13, type: float64}
        de_m: {bytes: 14-15, type: float64}
        de_s: {bytes: 16-19, type: float64}
        pm_ra: {bytes: 21-29, type: float32}
        pm_dec: {bytes: 30-38, type: float32}
        parallax: {bytes: 39-45, type: float32}
        vmag: {bytes: 47-51, type: float32}
        b_v: {bytes: 52-56, type: float32}
        sp_type: {bytes: 57-58, type: string}
        name: {bytes: 84-120, type: string}
    columns:
      star: {type: int32, ucd: meta.id;meta.main, description: Number in the file, rank: 1}
      name: {type: string, ucd: meta.id, description: Common name, rank: 2}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, description: Right ascension, rank: 1}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, description: Declination, rank: 1}
      pm_ra: {type: float32, unit: mas/yr, ucd: pos.pm;pos.eq.ra, rank: 11}
      pm_dec: {type: float32, unit: mas/yr, ucd: pos.pm;pos.eq.dec, rank: 11}
      parallax: {type: float32, unit: mas, ucd: pos.parallax, rank: 11}
      vmag: {type: float32, unit: mag, ucd: phot.mag;em.opt.V, rank: 4, indexed: true}
      b_v: {type: float32, unit: mag, ucd: phot.color;em.opt.B;em.opt.V, rank: 11}
      sp_type: {type: string, ucd: src.spType, rank: 11}
    map:
      star: source.row
      ra: 15 * (ra_h + ra_m / 60 + ra_s / 3600)
      dec: CASE WHEN de_sign = '-' THEN -1 ELSE 1 END * (de_d + de_m / 60 + de_s / 3600)
"""

OPENNGC = """\
collection: openngc
title: OpenNGC
description: Galaxies, clusters and nebulae
subjects: [galaxies]
tables:
  main:
    description: One row per object
    position: [ra, dec]
    primary: [id]
    source:
      kind: sql
      file: OpenNGC.sqlite
      query: SELECT catalog_identifier, name, long_name, ra, dec, magnitude, major_axis FROM cat
    columns:
      id: {type: string, ucd: meta.id;meta.main}
      name: {type: string, ucd: meta.id}
      long_name: {type: string, ucd: meta.id}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}
      magnitude: {type: float32, unit: mag, ucd: phot.mag;em.opt}
      major_axis: {type: float32, unit: arcmin, ucd: phys.angSize.smajAxis}
    map: {id: catalog_identifier}
    links:
      - {semantics: this, text: "https://data.example/{target.id}.fits", type: image/fits, size: "1000", if: major_axis > 5}
      - {semantics: counterpart, from: openngc.large, where: openngc.large.name = target.name, text: "https://data.example/large/{openngc.large.id}"}
      - {semantics: documentation, text: "{site.url}/about?of={target.name}", type: text/html, description: "What {target.long_name} is"}
  large:
    description: Objects larger than half a degree
    view: SELECT id, name, ra, dec, major_axis FROM openngc.main WHERE major_axis > 30
"""

STAGES = ["TMV", "TME", "TMS", "TMC", "CPV", "CAP", "AVV", "QGE", "QPO", "QAS", "UWS", "MDQ", "UPL", "EXA"]
# collections of queries about positions; the other position indexes are tested with these only
MATCHED = ["hipparcos", "openngc", "jmdc", "tycho"]
DESCRIPTORS = {"hipparcos": HIPPARCOS, "openngc": OPENNGC}
DRAFTED = {
    "jmdc": "data/interferometry/jmdc/JMDC_2017-03-28.fits.gz",
    "charm": "data/helio/hfc/charm/ch_results.csv.gz",
    "flares": "data/helio/hec/hec_goes_xray.vot.xml.gz",
    "tycho": "data/stars/tyc2.dat.07.xz",
    "maser": "data/vo/epntap/maser_epncore.csv",
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test of a served site once for each of its engines."""
    if "keeper" in metafunc.fixturenames:
        metafunc.parametrize(
            "keeper", getattr(metafunc.function, "keepers", DEFAULT_ENGINES), indirect=True, scope="session"
        )


@pytest.fixture(scope="session", autouse=True)
def long_pyvo_timeout() -> None:
    """Let pyvo wait for a busy machine: by default it stops polling a job after ten seconds."""
    import pyvo.dal.tap

    pyvo.dal.tap.DEFAULT_JOB_POLL_TIMEOUT = 60


@pytest.fixture(scope="session")
def keeper(request: pytest.FixtureRequest) -> Iterator[SiteEngine]:
    """Give the engine that stores the rows."""
    with open_engine(request.param) as engine:
        yield engine


@pytest.fixture(scope="session")
def described_collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write the collections as a curator does: some descriptors by hand, most by ``hven new``."""
    require_plugins("sources", "sql")
    site = tmp_path_factory.mktemp("described") / "site"
    run_hven("init", site)
    for name, text in DESCRIPTORS.items():
        (site / "collections" / name).mkdir(parents=True)
        (site / "collections" / name / f"{name}.yaml").write_text(text, encoding="utf-8")
    (site / "collections/hipparcos/stars.dat").write_bytes(
        lzma.decompress(shared("data/stars/hipparcos-kstars-stars.dat.xz").read_bytes())
    )
    shutil.copy(shared("data/stars/OpenNGC.kscat.sqlite"), site / "collections/openngc/OpenNGC.sqlite")
    for name, path in DRAFTED.items():
        run_hven("new", name, "--from", shared(path), "--site", site)
    *told, counts = run_hven("check", "--site", site).stdout.splitlines()
    assert counts == "7 descriptors: 0 errors, 1 warning"
    assert [
        line for line in told if "jmdc.yaml" in line and "the source has invalid UCDs: dm (ID_DM)" in line
    ] == told  # UCDs that only JMMC uses
    return site / "collections"


@pytest.fixture(scope="session")
def site(tmp_path_factory: pytest.TempPathFactory, keeper: SiteEngine, described_collections: Path) -> Path:
    """Publish the collections with one engine."""
    site = tmp_path_factory.mktemp("outside") / "site"
    run_hven("init", site)
    keeper.write_settings(site)
    shutil.copytree(described_collections, site / "collections", dirs_exist_ok=True)
    with Site(settings.load_settings(site)) as made:  # a verb for each would read all descriptors each time
        for name in [*DESCRIPTORS, *DRAFTED] if keeper.name in {*DEFAULT_ENGINES, EMBEDDED} else MATCHED:
            ingest_collection(made, name)
    return site


@pytest.fixture(scope="session")
def server(site: Path) -> Iterator[Server]:
    with serve_site(site, workers=2) as made:
        yield made


@pytest.fixture(scope="session")
def taplint_report(server: Server) -> list[str]:
    """Give the report of STILTS taplint about the site, for all stages."""
    words = ["taplint", f"tapurl={server.url}/tap", f"stages={' '.join(STAGES)}", "report=EWFSI", "maxrepeat=99"]
    return run_stilts(*words).stdout.splitlines()
