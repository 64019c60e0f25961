"""The search of the map page finds each of the 15,826 names of the IAU in the browser, without a request."""

from __future__ import annotations

import gzip
import json
import re
import subprocess

import pytest

from requirements import find_node, require
from shared import ROOT, shared

pytestmark = pytest.mark.needs("shared")
SCRIPT = """
import { readFileSync } from "node:fs";
import { findNames, foldText } from "./src/hven/plugins/maps/scripts/planet/place_search.js";
const names = JSON.parse(readFileSync(0, "utf-8")).map((name) => ({ name, lon: 0, lat: 0, size: 1 }));
const folded = names.map(({ name }) => foldText(name));
const find = (text) => findNames(names, folded, text).map(({ name }) => name);
const missing = names.map(({ name }) => name).filter((name) => !find(name).includes(name));
const times = names.filter((_, index) => index % 600 === 0).map(({ name }) => {
  const begin = process.cpuUsage();
  for (let run = 0; run < 20; run++) find(name.slice(0, 3));
  const { user, system } = process.cpuUsage(begin);
  return (user + system) / 20000;
});
process.stdout.write(JSON.stringify({ missing, times: times.sort((low, high) => low - high) }));
"""


def test_all_names_are_found() -> None:
    require("node")
    node = find_node()
    assert node is not None
    with gzip.open(shared("data/planetary/nomenclature.dat.gz"), "rt", encoding="utf-8") as lines:
        names = [found[1] for line in lines if (found := re.search(r'_\("(.*?)"', line))]
    assert len(names) == 15_826
    done = subprocess.run(
        [node, "--import", "./web/test/resolver.js", "--input-type=module", "--eval", SCRIPT],
        input=json.dumps(names), capture_output=True, text=True, check=False, timeout=600, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    print(f"a search in {len(names):,} names takes {found['times'][len(found['times']) // 2]:.2f} ms of processor")
    assert found["missing"] == []
