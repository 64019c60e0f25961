"""Three tasks with the same rows in Hven and in Debian's DaCHS: both find what the FITS file has; clicks and seconds of both are printed.

Typing, the Tab key and Enter are no clicks, and a choice from a list is one. Each task begins on the first page.
"""

from __future__ import annotations

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from archive_site import write_cluster_collection
from astropy.io import fits
from astropy.table import Table
from browser_tab import BrowserTab, open_tab
from task_reader import Reader

from dachs_server import DachsServer, create_dachs, serve_dachs
from process_runner import Server, run_hven, serve_site
from shared import shared

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

pytestmark = pytest.mark.needs("dachs", "postgresql", "pgsphere")
MIN_REDSHIFT, MIN_SURVEYS = 0.5, 2
DESCRIPTOR = """\
<resource schema="psz" resdir=".">
  <meta name="title">Clusters of Planck</meta>
  <meta name="creationDate">2026-11-20T10:00:00Z</meta>
  <meta name="description">Clusters of galaxies.</meta>
  <meta name="subject">galaxy-clusters</meta>
  <meta name="creator">Planck Collaboration</meta>
  <table id="clusters" onDisk="True" adql="True" primary="name">
    <column name="name" type="text" ucd="meta.id;meta.main" required="True"/>
    <column name="other_name" type="text" ucd="meta.id"/>
    <column name="redshift" ucd="src.redshift"/>
    <column name="seen_by" type="smallint" ucd="meta.number"><values nullLiteral="-1"/></column>
  </table>
  <data id="import">
    <sources>data/clusters.csv</sources>
    <csvGrammar/>
    <make table="clusters"><rowmaker idmaps="name,seen_by">
      <map key="other_name">parseWithNull(@other_name, str, "")</map>
      <map key="redshift">parseWithNull(@redshift, float, "")</map>
    </rowmaker></make>
  </data>
  <service id="web" allowed="form">
    <meta name="shortName">psz2</meta>
    <publish render="form" sets="local"/>
    <dbCore queriedTable="clusters">
      <condDesc buildFrom="other_name"/><condDesc buildFrom="redshift"/><condDesc buildFrom="seen_by"/>
    </dbCore>
  </service>
</resource>
"""


def read_clusters() -> Table:
    """Read names, redshifts (nan: unknown) and numbers of surveys from the catalogue."""
    catalogue = fits.getdata(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), 1)
    surveys = sum(
        np.char.strip(np.asarray(catalogue[name]).astype(str)) != "" for name in ("MCXC", "REDMAPPER", "ACT", "SPT")
    )
    redshift = np.asarray(catalogue["REDSHIFT"], dtype=float)
    names = np.char.strip(np.asarray(catalogue["NAME"]).astype(str))
    return Table({"name": names, "redshift": np.where(redshift > -1, redshift, np.nan), "seen_by": 1 + surveys})


@pytest.fixture(scope="module")
def clusters() -> Table:
    return read_clusters()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    site = tmp_path_factory.mktemp("beside") / "site"
    run_hven("init", site)
    (site / "collections/sz").mkdir(parents=True)
    write_cluster_collection(site / "collections/sz", np.random.default_rng(1))
    run_hven("--site", site, "ingest", "sz")
    with serve_site(site) as made:
        yield made


@pytest.fixture(scope="module")
def dachs(clusters: Table, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DachsServer]:
    folder = tmp_path_factory.mktemp("dachs") / "psz"
    (folder / "data").mkdir(parents=True)
    (folder / "q.rd").write_text(DESCRIPTOR)
    with (folder / "data/clusters.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["name", "other_name", "redshift", "seen_by"])
        for name, redshift, seen_by in clusters.iterrows():
            other_name = "ACO 2199" if name == "PSZ2 G062.94+43.69" else ""
            writer.writerow([name, other_name, "" if np.isnan(redshift) else float(redshift), int(seen_by)])
    with create_dachs() as made:
        made.import_descriptor(made.add_descriptor(folder, "psz"))
        with serve_dachs(made) as served:
            yield served


@pytest.fixture
def tab(browser: Browser, server: Server) -> Iterator[BrowserTab]:
    yield from open_tab(browser, server, viewport={"width": 1440, "height": 900})


@pytest.fixture
def reader(tab: BrowserTab) -> Reader:
    return Reader(tab)


def run_task_in_dachs(browser: Browser, dachs: DachsServer, task: Callable[[Page], tuple[Any, int]]) -> Any:
    """Run a task from the first page of DaCHS; print its clicks and seconds; return what it found."""
    page = browser.new_page()
    page.goto(dachs.url, wait_until="load")
    begun = time.monotonic()
    page.click("a:text-is('Clusters of Planck')")
    found, further_clicks = task(page)
    print(f"DaCHS: {1 + further_clicks} clicks, {time.monotonic() - begun:.1f} s")
    page.close()
    return found


def press_enter(page: Page, **fields: str) -> None:
    for name, text in fields.items():
        page.fill(f"[name={name}]", text)
    page.locator(f"[name={next(iter(fields))}]").press("Enter")


def test_far_clusters_of_two_surveys(reader: Reader, browser: Browser, dachs: DachsServer, clusters: Table) -> None:
    expected = int(((clusters["redshift"] > MIN_REDSHIFT) & (clusters["seen_by"] >= MIN_SURVEYS)).sum())

    def search_form(page: Page) -> tuple[str, int]:
        with page.expect_navigation():
            press_enter(page, redshift=f"> {MIN_REDSHIFT}", seen_by=f">= {MIN_SURVEYS}")
        return page.inner_text("body"), 0

    assert f"Matched: {expected}" in " ".join(run_task_in_dachs(browser, dachs, search_form).split())
    reader.table("sz", "Clusters")
    reader.writes(redshift=f"> {MIN_REDSHIFT}")
    reader.click("[data-facet=seen_by] button")
    reader.writes(seen_by=f">= {MIN_SURVEYS}")
    reader.page.wait_for_selector(f"[data-count] b:text-is('{expected}')")
    print(f"Hven: {reader.clicks} clicks, {time.monotonic() - reader.begun:.1f} s")


def test_a_cluster_by_another_name(reader: Reader, browser: Browser, dachs: DachsServer) -> None:
    def search_form(page: Page) -> tuple[str, int]:
        with page.expect_navigation():
            press_enter(page, other_name="ACO 2199")
        return page.inner_text("body"), 0

    assert "PSZ2 G062.94+43.69" in run_task_in_dachs(browser, dachs, search_form)
    reader.search("ACO 2199")
    reader.opens("ol.hits a")
    reader.page.wait_for_selector("text=PSZ2 G062.94+43.69")
    print(f"Hven: {reader.clicks} clicks, {time.monotonic() - reader.begun:.1f} s")


def test_far_clusters_as_fits(reader: Reader, browser: Browser, dachs: DachsServer, clusters: Table) -> None:
    expected = int((clusters["redshift"] > MIN_REDSHIFT).sum())

    def count_rows(path: Path) -> int:
        return len(fits.getdata(path, 1))

    def search_form(page: Page) -> tuple[int, int]:
        page.select_option("[name=_FORMAT]", "FITS")
        with page.expect_download() as waiting:
            press_enter(page, redshift=f"> {MIN_REDSHIFT}")
        return count_rows(waiting.value.path()), 1

    assert run_task_in_dachs(browser, dachs, search_form) == expected
    reader.table("sz", "Clusters")
    reader.writes(redshift=f"> {MIN_REDSHIFT}")
    reader.tab.wait_for_panes("take")
    reader.click("summary:text-is('Download')")
    assert count_rows(reader.takes("[data-formats] a:text-is('FITS')").path()) == expected
    print(f"Hven: {reader.clicks} clicks, {time.monotonic() - reader.begun:.1f} s")
