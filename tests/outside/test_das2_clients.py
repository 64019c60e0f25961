"""Streams of das2 and das 3.0 of the example of time series, in every form: they keep the rules of das2C, and das2py, which stands on it, reads them."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from das2_streams import find_das2c_faults, parse
from made import example, ingested
from running import serving

pytestmark = pytest.mark.slow
FORMS = [
    {**version, **serial, **resolution}
    for version in ({}, {"format.version": "3"})
    for serial in ({}, {"format.serial": "text"})
    for resolution in ({}, {"resolution": "86400"})
]
# das2py counts the values of each variable
READ = """
import json, sys
import das2
import numpy as np

found = {}
for path in sys.argv[1:]:
    sets = das2.read_file(path)
    found[path] = None if sets is None else [int(np.prod(one.shape)) for one in sets]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def streams(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Ask for every data source in every form."""
    found: dict[str, bytes] = {}
    with example("19-time-series", tmp_path_factory.mktemp("das2")) as site:
        ingested(site)
        with serving(site) as server:

            def ask(**given: str) -> bytes:
                with urlopen(f"{server.url}/das2/server?{urlencode(given)}") as answer:
                    return bytes(answer.read())

            lines = ask(server="discovery").decode().splitlines()
            for path in (line.partition("|")[0] for line in lines if "|" in line):
                said = parse(ask(server="dsdf", dataset=path)).properties["validRange"].removesuffix("UTC")
                start, _, end = said.strip().partition(" to ")  # both lists of channels of the NDA
                for form in FORMS:
                    name = f"{path.replace('/', '_')}.{'.'.join(form.values())}"
                    found[name] = ask(server="dataset", dataset=path, start_time=start, end_time=end, **form)
    return found


def test_streams_keep_the_rules_of_das2c(streams: dict[str, bytes]) -> None:
    assert len(streams) == 4 * len(FORMS)
    assert {name: faults for name, raw in streams.items() if (faults := find_das2c_faults(raw))} == {}
    assert all(any(map(len, parse(raw).packets)) for raw in streams.values())
    spectra = parse(streams["Nancay_NDA_NewRoutine_sun."])
    assert len({plane.tags for packet in spectra.packets for plane in packet.planes if plane.name == "ll"}) == 2


@pytest.mark.needs("HVEN_DAS2PY")
def test_das2py_reads_every_stream(streams: dict[str, bytes], tmp_path: Path) -> None:
    paths = {}
    for name, raw in streams.items():
        path = tmp_path / name
        path.write_bytes(raw)
        wanted = [packet for packet in parse(raw).packets if len(packet)]
        paths[str(path)] = sorted(len(packet) * max(plane.items for plane in packet.planes) for packet in wanted)
    program = [os.environ["HVEN_DAS2PY"], "-c", READ, *paths]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert {path: sorted(sizes or []) for path, sizes in found.items()} == paths
