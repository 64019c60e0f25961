"""Runs the journeys of the groups named (default: all) and prints a table; ``--json FILE`` writes {journey: {...}}."""

from __future__ import annotations

import argparse
import importlib.util
import json
import pkgutil
import sys
from pathlib import Path
from types import ModuleType

import bench
from bench.measure import Journey, show
from bench.needs import Lacking, list_needs, need

GROUPS = (
    "foundation",
    "guards",
    "tap",
    "jobs",
    "postgres",
    "epn",
    "sources",
    "sync",
    "regions",
    "products",
    "portal",
    "overload",
    "rights",
    "registry",
    "regtap",
)


PACKAGE_BENCHES = "tests/plugins/*/bench_*.py"  # of plug-in packages: bench_GROUP.py


def find_package_benches() -> dict[str, Path]:
    """Find the groups of plug-in packages, beside their tests."""
    root = Path(__file__).resolve().parents[1]
    return {path.stem.removeprefix("bench_"): path for path in sorted(root.glob(PACKAGE_BENCHES))}


def load_group(group: str) -> ModuleType:
    """Load the module of a group."""
    path = find_package_benches().get(group)
    if path is None:
        return importlib.import_module(f"bench.{group}")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    there = [item.name for item in pkgutil.iter_modules(bench.__path__) if item.name in GROUPS]
    there += find_package_benches()
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=f"of {', '.join(there)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures here")
    parser.add_argument("--only", metavar="WORD", help="journeys whose name has this word")
    parser.add_argument(
        "--big", action="store_true", help="also the journeys over 5 x 10^7 rows (12 GB of disk, minutes)"
    )
    options = parser.parse_args()
    unknown = set(options.groups) - set(there)
    if unknown:
        parser.error(f"no group {', '.join(sorted(unknown))}; there are {', '.join(there)}")
    groups: list[ModuleType] = []
    lacking = []
    for group in options.groups or there:
        try:
            groups.append(load_group(group))
            need(group, list_needs(getattr(groups[-1], "NEEDS", {}), options.only or ""))
        except Lacking as error:
            lacking.append(str(error))
    if lacking:
        print("\n".join(lacking), file=sys.stderr)
        return 2
    found: dict[str, Journey] = {}
    for group in groups:
        for journey in group.run(only=options.only or "", big=options.big):
            found[journey.name] = journey
            show(journey)
    if options.json:
        options.json.write_text(
            json.dumps({name: journey.to_json() for name, journey in found.items()}, indent=1) + "\n"
        )
    missed = [name for name, journey in found.items() if not journey.met]
    print(
        f"\n{len(found) - len(missed)} of {len(found)} targets met"
        + (f"; missed: {', '.join(missed)}" if missed else "")
    )
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
