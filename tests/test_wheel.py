"""The built wheel, in a bare environment elsewhere: what is in it, and what a user does first.

Its dependencies are lent by the environment of the tests; with CI=true or HVEN_PROOF=full they are installed from the registry, as a user's are.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from running import serving
from shared import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

REAL = "true" in {os.environ.get("CI"), os.environ.get("HVEN_WHEEL_REAL")} or os.environ.get("HVEN_PROOF") == "full"


def run(*words: object, cwd: Path) -> str:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HVEN_", "VIRTUAL_ENV"))}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=clean, capture_output=True, text=True, timeout=1800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build it; from a copy, so that nothing is left in the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    isolated = [] if importlib.util.find_spec("hatchling") is None else ["--no-build-isolation"]
    run(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *isolated, "--wheel-dir", out, ROOT, cwd=out)
    (made,) = out.glob("hven-*.whl")
    return made


@pytest.fixture(scope="module")
def elsewhere(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install it in an environment of its own; give the directory of its programs."""
    place = tmp_path_factory.mktemp("elsewhere") / "env"
    run(sys.executable, "-m", "venv", "--without-pip", place, cwd=wheel.parent)
    python = place / "bin/python"
    install = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet"]
    if REAL:
        run(*install, "--constraint", ROOT / "constraints.txt", wheel, cwd=place)
    else:
        run(*install, "--no-deps", wheel, cwd=place)
        packages = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_paths()['purelib'])", cwd=place).strip())
        lent = {sysconfig.get_paths()["purelib"], sysconfig.get_paths()["platlib"]}
        (packages / "lent.pth").write_text("\n".join(lent) + "\n")  # paths alone: .pth files there are not followed
    return place / "bin"


def test_it_has_what_the_program_needs_and_nothing_else(wheel: Path) -> None:
    inside = zipfile.ZipFile(wheel).namelist()
    code = {name for name in inside if name.startswith("hven/")}
    tracked = {
        str(path.relative_to(ROOT / "src")) for path in (ROOT / "src/hven").rglob("*") if path.is_file() and "__pycache__" not in path.parts
    }
    assert code == tracked
    # what was bundled for browsers (scripts/web): pictures and properties of the drawn sky, a licence, the mark of what it was made from
    made = {name for name in code if name.startswith("hven/protocols/portal/assets/")}
    assert {name.rpartition(".")[2] for name in code - made} <= {"py", "typed", "html", "yaml", "csv", "css", "js", "svg", "json", "toml"}
    endings = {Path(name).suffix or Path(name).name for name in made}
    assert endings <= {".js", ".css", ".json", ".txt", ".png", ".fits", "properties", "built"}
    if made:
        assert {"hven/protocols/portal/assets/manifest.json", "hven/protocols/portal/assets/aladin-COPYING.txt"} <= made
    assert "hven/protocols/pages/home.html" in code
    assert "hven/descriptor/standards/tap_schema.yaml" in code
    rest = [name.partition("/")[2] for name in inside if name not in code]
    assert all(name.partition("/")[0].endswith(".dist-info") for name in inside if name not in code)
    assert {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE", "licenses/NOTICE"} == set(rest)


def test_no_file_of_it_names_this_machine(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            assert str(ROOT).encode() not in archive.read(name), name


def test_a_user_elsewhere_publishes_a_file(elsewhere: Path, tmp_path: Path) -> None:
    home = tmp_path / "somebody's home"
    home.mkdir()
    (home / "stars.csv").write_text("name,ra (deg),dec (deg),Vmag (mag)\nSirius,101.287,-16.716,-1.44\nVega,279.235,38.784,0.03\n")
    where = run(elsewhere / "python", "-c", "import hven; print(hven.__file__)", cwd=home).strip()
    assert elsewhere.parent in Path(where).parents
    hven = elsewhere / "hven"
    run(hven, "init", "mysite", cwd=home)
    run(hven, "new", "stars", "--from", "stars.csv", "--site", "mysite", cwd=home)
    assert "0 errors" in run(hven, "check", "--site", "mysite", cwd=home)
    assert "stars.main: 2 rows" in run(hven, "ingest", "stars", "--site", "mysite", cwd=home)
    assert "Sirius" in run(hven, "query", "SELECT TOP 1 name FROM stars.main ORDER BY vmag", "--site", "mysite", cwd=home)
    with serving(home / "mysite", command=[str(hven)]) as server:
        assert server.rows("SELECT name FROM stars.main WHERE vmag > 0") == [["Vega"]]
        status, _, page = server.get("/")
        assert status == 200
        assert b"stars.main" in page
        assert b"Sirius" in server.get("/cone/stars.main", RA=101, DEC=-16, SR=2)[2]
        assert server.get("/tap/capabilities")[0] == 200
