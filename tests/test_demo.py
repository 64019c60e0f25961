"""The first of README's two commands: its options, its site from real data, what outside judges say of it.

The data are those of ``shared/``, put where the demo would have fetched them to; with CI=true or HVEN_PROOF=full all but those of --full are fetched.
"""

from __future__ import annotations

import json
import lzma
import os
import re
import resource
import shutil
import subprocess
import sys
import urllib.error
import urllib.parse
import urllib.request
from collections import Counter
from html import unescape
from pathlib import Path

import astropy_iers_data
import pytest
import sunpy

from package_modules import load_package_modules
from plugin_needs import list_query_addresses, list_statistics_pages, load_core_fixtures, require_plugins
from process_runner import lint_service, run_hven, serve_site, wait_until
from requirements import is_available, report_missing
from shared import ROOT, shared
from stilts import run_stilts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

FETCH = is_available("fetching")
ROWS: dict[str, int | None] = {
    "hipparcos.main": 125_982,
    "openngc.main": 13_960,
    "hipparcos.named": 224,
    "hipparcos.files": 224,
    "openngc.messier": 109,
    "openngc.files": 109,
    "sun.images": 7,
    "sun.files": 7,
    "sun.epn_core": 7,
    "sun.campaign": 7,
    "earth.rotation": None,
    "ivoa.obscore": None,
    "planets.bodies": 15,
}
LISTED = {"planets.mars": 352, "planets.moon": 786, "planets.mercury": 337, "planets.venus": 644, "planets.files": 2_152, "ganymede.epn_core": 139, "ganymede.files": 139}  # fmt: skip
MADE = {"planets.mars": 2, "planets.moon": 2, "planets.mercury": 2, "planets.venus": 2, "planets.files": 41, "ganymede.epn_core": 3, "ganymede.files": 3}  # fmt: skip
CRATERS = "Diameter (km),Latitude,Longitude\n2300.00,-42.40,70.50\n35.00,89.00,-170.25\n"
REGIONS = """# 1, 0, #0036fc, Polar Deposits, ---, ---, ---, ---, ---, ---, Surface features, Why,,,,,,,,,,
1, 0, 3, Osiris, -44.5, 188.5, -62.0, -27.0, 167.0, 210.0, Bright ray crater, Influence of transition, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
4, 2, 7, None, 0.0, 355.0, -10.0, 10.0, 345.0, 5.0, Across 0, Why not, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
5, 0, 1, Tros, 11.0, 333.0, 1.0, 21.0, 323.0, 343.0, Young bright crater, Age, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1
"""
LOADED, MAPS = 120, 13  # MB: of all packages, and of those that the maps of bodies are taken from before
SECONDS = 90  # of one core, to draw and to ingest


def busy() -> float:
    """Return the seconds of a core that processes begun here have taken."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def make(root: Path, *words: str, code: int = 0, **environment: str) -> str:
    """Run the demo's maker from a copy, so that the checkout's own demo-site stays as it is."""
    shutil.copytree(ROOT / "demo", root / "demo", dirs_exist_ok=True)
    done = subprocess.run(
        [sys.executable, root / "demo/make.py", *words],
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
        env={**os.environ, **environment},
    )
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def rows(root: Path) -> dict[str, int | None]:
    found = {
        item["table"]: item["rows"]
        for item in json.loads(run_hven("status", "--json", "--site", root / "demo-site").stdout)["tables"]
    }
    if found.get("earth.rotation", 0) > 19_000:  # it grows by a row a day
        found["earth.rotation"] = None
    return found


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [(["--help"], 0, "usage:"), (["--bogus"], 2, "unknown option --bogus"), (["--port"], 2, "needs a number")],
)
def test_options_of_the_script(words: list[str], code: int, said: str) -> None:
    done = subprocess.run([ROOT / "scripts/demo", *words], capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == code
    assert said in done.stdout + done.stderr


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def fetched_demo(root: Path) -> tuple[str, dict[str, int | None]] | None:
    """Make what the script makes without an option, from registries; gives what it told and the rows, and None where nothing is fetched."""
    require_plugins("sources", "sql")
    begun = busy()
    told = make(root) if FETCH else ""
    assert busy() - begun < SECONDS
    return (told, rows(root)) if FETCH else None


@pytest.fixture(scope="module")
def demo(root: Path, fetched_demo: object) -> Path:
    """Make all of it: what was not fetched is put where it would be."""
    data = root / "demo-site/collections"
    files = {
        "hipparcos/data/stars.dat": lzma.decompress(shared("data/stars/hipparcos-kstars-stars.dat.xz").read_bytes()),
        "openngc/data/OpenNGC.sqlite": shared("data/stars/OpenNGC.kscat.sqlite").read_bytes(),
        "nomenclature/data/nomenclature.dat.gz": shared("data/planetary/nomenclature.dat.gz").read_bytes(),
    }
    for name in ("efz20040301.000010_s.fits", "efz20040301.010016_s.fits", "aia_171_level1.fits", "resampled_hmi.fits"):
        files[f"sun/data/{name}"] = shared(f"data/helio/images/{name}").read_bytes()
    for name in (
        "2013_06_24__17_31_30_84__SDO_AIA_AIA_193.jp2",
        "2022_04_01__00_00_45__SOLO-EUI-FSI_EUI_FSI_174.jp2",
        "2023_01_31__03_39_23_200__SDO_HMI_HMI_continuum.jp2",
    ):
        files[f"sun/data/{name}"] = (Path(sunpy.__file__).parent / "data/test" / name).read_bytes()
    files |= {f"planets/data/{name}_craters_km.csv": CRATERS.encode() for name in ("mars", "moon", "mercury", "venus")}
    files["ganymede/data/Ganymede_ROIs-Stephan_2021_PSS-Tab_SM1.csv"] = REGIONS.encode()
    for name in ("finals2000A.all", "ReadMe.finals2000A"):
        files[f"earth/data/{name}"] = (Path(astropy_iers_data.__file__).parent / "data" / name).read_bytes()
    for name, content in files.items():
        if not (data / name).exists():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)
    begun = busy()
    told = make(root, "--full")
    assert busy() - begun < SECONDS
    assert "Fetching" not in told
    assert "FAILED" not in told
    assert rows(root) == {**ROWS, **(LISTED if FETCH else MADE), "nomenclature.features": 15_826}
    return root


def test_the_demo_fetches_all_its_data(fetched_demo: tuple[str, dict[str, int | None]] | None) -> None:
    if fetched_demo is None:
        report_missing("fetching")
    told, published = fetched_demo
    assert "left out: " not in told  # a whole part of it
    assert published == {**ROWS, **LISTED}
    (size,) = re.findall(r"Fetched (\d+) MB", told)
    assert int(size) + MAPS <= LOADED


def test_each_collection_has_a_picture(demo: Path) -> None:
    """On the first page, and each picture is one: charts, views and globes that were drawn, previews of images."""
    require_plugins("protocols", "previews")
    with serve_site(demo / "demo-site") as server:
        # as the addresses in its rows have it: pages show pictures of their own origin alone
        headers = {"accept": "text/html", "host": "127.0.0.1:8080"}
        request = urllib.request.Request(server.url + "/", headers=headers)

        def read_home() -> str:
            with urllib.request.urlopen(request, timeout=120) as answer:
                return answer.read().decode()

        # pictures of rows are looked at after the start, and come to the page then
        wait_until(lambda: read_home().count('<img class="thumbnail"') == 7)
        text = read_home()
        shown = re.findall(r'<img class="thumbnail" src="([^"]+)"', text)
        assert len(shown) == text.count('<div class="head">') == 7
        strip = re.findall(r'<img src="([^"]+)" alt', text)
        assert len(strip) == 12
        for address in {*shown, *strip}:
            here = re.sub(r"^https?://[^/]+", server.url, unescape(address))
            with urllib.request.urlopen(here, timeout=60) as answer:
                assert answer.headers["content-type"].startswith("image/"), here


def test_a_second_run_does_nothing_again(demo: Path) -> None:
    assert make(demo, "--full") == ""
    descriptor = demo / "demo/collections/sun/sun.yaml"
    before = rows(demo)
    assert descriptor.exists()
    *policies, told = run_hven("check", "--tests", "--run-examples", "--site", demo / "demo-site").stdout.splitlines()
    assert told == "7 descriptors: 0 errors, 0 warnings"
    assert len(policies) == 2
    assert policies[0].startswith("sun.campaign: a row is released ")
    assert policies[1].startswith("sun.campaign: rows are visible to ")
    assert rows(demo) == before


def test_package_checks_of_the_demo_pass(demo: Path, tmp_path: Path) -> None:
    for module in load_package_modules("demo_checks"):
        module.check_demo(demo / "demo-site", tmp_path)


def test_stilts_and_pyvo_commands_of_the_demo_work(demo: Path) -> None:
    """The lines that the script prints, and the validator over the whole site."""
    script = (ROOT / "scripts/demo").read_text()
    (line,) = re.findall(r"stilts cone (\S+) (lon=\S+) (lat=\S+) (radius=\S+)", script)
    lines = re.findall(r"^(?:  with pyvo)? {6,18}(import pyvo|tap = .*|print\(tap.*)$", script, re.MULTILINE)
    assert len(lines) == 3
    with serve_site(demo / "demo-site", workers=2) as server:

        def set_server_address(text: str) -> str:
            return text.replace("127.0.0.1:$port", f"127.0.0.1:{server.port}")

        assert len(run_stilts("cone", *map(set_server_address, line), "ofmt=csv").stdout.splitlines()) > 3
        python = [sys.executable, "-c", set_server_address("\n".join(lines))]
        assert "Sirius" in subprocess.run(python, capture_output=True, text=True, timeout=900, check=True).stdout
        told = run_stilts(
            "taplint",
            f"tapurl={server.url}/tap",
            "stages=TMV TME TMS TMC CPV CAP AVV QGE QPO MDQ EXA OBS",
            "report=EWF",
        ).stdout
        faults = [
            one
            for one in told.splitlines()
            if re.match("[EWF]-", one) and not re.match(r"W-CAP-CULF-\S+ .*tapregext#features-adql-", one)
        ]
        assert faults == []
        assert "Errors: 0" in told
        assert lint_service(server.url)["findings"] == []


def test_without_registries_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()  # no apt-get, no dpkg-deb
    told = make(
        tmp_path, code=1, PATH=str(tmp_path / "bin"), PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS=""
    )
    assert "kstars-data is a Debian package and this machine has no apt-get" in told
    assert "No data could be fetched: is a package registry reachable?" in told


def test_no_link_of_a_page_leads_nowhere(demo: Path) -> None:
    """All pages, from the first one on; of each address some searches. The rows of ivoa.obscore are among them."""
    elsewhere = re.compile(
        r"/(assets|tap|download|script|moc|cone)\b|\.(fits|csv|json|png|jpg|jp2|svg|vot|xml|atom|rss)(\?|$)"
    )
    broken: list[str] = []
    pages = load_core_fixtures("LINKED_PAGES")
    with serve_site(demo / "demo-site") as server:
        seen, asked, waiting = {"/"}, Counter[str](), ["/", *(f"{page}?_wait=1" for page in pages)]
        while waiting:
            at = waiting.pop()
            request = urllib.request.Request(server.url + at, headers={"accept": "text/html"})
            try:
                with urllib.request.urlopen(request, timeout=120) as answer:
                    text = answer.read().decode() if "html" in answer.headers["content-type"] else ""
            except urllib.error.HTTPError as error:
                broken.append(f"{at}: {error.code}")
                continue
            for link in re.findall(r'href="([^"]+)"', text):
                found = urllib.parse.urljoin(server.url + at, unescape(link)).partition("#")[0]
                path = found.removeprefix(server.url)
                if (
                    found.startswith(f"{server.url}/")
                    and path not in seen
                    and not elsewhere.search(path)
                    and asked[path.partition("?")[0]] < 3
                ):
                    seen.add(path)
                    asked[path.partition("?")[0]] += 1
                    waiting.append(path)
    assert broken == []
    found_paths = {path.partition("?")[0] for path in seen}
    assert {
        "/collections/hipparcos/main",
        "/help",
        *list_statistics_pages("sun"),
        *list_query_addresses("/jobs"),
    } <= found_paths
    assert "/collections/ivoa/obscore" in found_paths or "/search/obscore" not in pages
