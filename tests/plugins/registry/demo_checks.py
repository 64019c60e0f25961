"""What registries are told of the demo, for `test_demo.py`."""

from __future__ import annotations

import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import rofr_rules
from sickle import Sickle

from hven.adql.vocabularies import load_vocabularies
from hven.model import plugins
from process_runner import serve_site
from requirements import require_program
from shared import shared


def check_demo(site: Path, tmp_path: Path) -> None:
    """By the schemas, with xmllint and STILTS; by the rules of the registry of registries; and harvested by a client that is not ours."""
    schemas, files = shared("xsd/all.xsd"), []
    with serve_site(site, workers=1) as server:

        def ask(query: str) -> bytes:
            return bytes(urllib.request.urlopen(f"{server.url}/oai?{query}", timeout=60).read())

        for query in ("verb=Identify", "verb=ListRecords&metadataPrefix=ivo_vor", "verb=ListRecords&metadataPrefix=oai_dc"):  # fmt: skip
            files.append(tmp_path / f"{len(files)}.xml")
            files[-1].write_bytes(ask(query))
        address = re.search(r"<baseURL>([^<]+)<", files[0].read_text())
        assert address
        wrong = rofr_rules.check_registry(ask, address[1], set(load_vocabularies()["voresource/relationship_type"]))
        assert {code: found for code, found in wrong.items() if found} == {}
        assert {"CS4.0b", "SIA7.0b", "RI4.3.2b"} < set(wrong)
        harvested = list(Sickle(f"{server.url}/oai").ListIdentifiers(metadataPrefix="ivo_vor"))
    told = files[1].read_text()
    assert told.count("<record>") == len(harvested) >= 20
    services = {"hapi", "soda"} & {*plugins.list_plugins("protocols")}
    names = ("sun/epn_core", "hipparcos/main/cone", "tap", *services)
    assert all(f"<identifier>ivo://demo.hven.example/{name}</identifier>" in told for name in names)
    done = subprocess.run(
        [require_program("xmllint"), "--nonet", "--noout", "--schema", schemas, *files], capture_output=True, text=True, check=False,
        env={**os.environ, "XML_CATALOG_FILES": str(schemas.with_name("catalog.xml"))},
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if "Schemas parser warning" not in line]
    assert done.returncode == 0, "\n".join(lines)[:3000]
    listed = json.loads(schemas.with_name("catalogue.json").read_text())["schemas"]
    where = [f"schemaloc={one['namespace']}={schemas.with_name(one['default'])}" for one in listed if not one["default"].startswith(("VOEvent", "das", "mivot"))]  # fmt: skip
    files.append(tmp_path / "bad.xml")
    files[-1].write_text(told.replace("title>", "titel>"))
    for file in files:
        done = subprocess.run([require_program("stilts"), "xsdvalidate", *where, f"doc={file}", "verbose=false"], capture_output=True, text=True, check=False)  # fmt: skip
        assert (done.returncode == 0) == (file.name != "bad.xml"), done.stderr[-2000:]
