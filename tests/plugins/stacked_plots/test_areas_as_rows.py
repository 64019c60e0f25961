"""A drawn area becomes a row: from the plot to the form, to a table of events, and back over the spectrogram as TFCat."""

from __future__ import annotations

import html
import json
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

from asgi_client import Client
from plot_samples import CHANNELS, CRS, build_lists, build_spectra, write_parquet

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.site.auth.local import create_personal_token
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = f"""\
collection: radio
title: Radio
description: Spectra, and what people see in them.
tables:
  waves:
    title: Radio spectra
    source: {{kind: parquet, files: waves.parquet}}
    columns:
      moment: {{ucd: time.epoch}}
      intensity: {{type: "float32[{len(CHANNELS)}]", unit: dB}}
    series:
      id: waves
      cadence: 60 s
      bins: {{intensity: {{name: frequency, unit: MHz, centers: {list(CHANNELS)}}}}}
  marks:
    title: Marks
    source:
      kind: push
      columns: {{id: int64, time_min: timestamp, time_max: timestamp, spectral_range_min: float64, spectral_range_max: float64, geometry: string}}
      ids: id
      writers: [mia]
    entries: {{submitters: [anna]}}
    primary: id
    columns:
      id: {{type: int64, ucd: meta.id;meta.main}}
      time_min: {{type: timestamp, ucd: time.start}}
      time_max: {{type: timestamp, ucd: time.end}}
      spectral_range_min: {{type: float64, unit: Hz, ucd: em.freq;stat.min}}
      spectral_range_max: {{type: float64, unit: Hz, ucd: em.freq;stat.max}}
      geometry: {{type: string, utype: "tfcat:geometry"}}
    params:
      crs: {{type: string, utype: "tfcat:crs", value: '{json.dumps(CRS)}'}}
"""
AREA = "2003-10-28T05:00 2e6, 2003-10-28T05:30 2e6, 2003-10-28T05:20 8e6"


def test_an_area_becomes_a_row_of_tfcat(tmp_path: Path) -> None:
    times, spectra = build_spectra()
    files = {
        "../../hven.toml": 'name = "radio"\n',
        "waves.parquet": write_parquet({"moment": times, "intensity": build_lists(spectra)}),
    }
    with open_site_with_uningested_files(tmp_path, DESCRIPTOR, files) as site:
        assert ingest_collection(site, "radio").published
        site.refresh_published_state()
        client = Client(create_and_start_application(site))
        headers = {}
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
            token = create_personal_token(site.store, name, "all", 1, created_by=name)[1]
            headers[name] = {"authorization": f"Bearer {token}"}
        state = [("_from", "2003-10-28"), ("_to", "2003-10-29"), ("_in", AREA), ("panel", "waves"), ("panel", "table:radio.marks")]  # fmt: skip
        query = urlencode(state).encode()
        assert "Enter this area" not in client.ask("GET", "/plots", query).text, "strangers enter no rows"
        page = client.ask("GET", "/plots", query, headers={"accept": "text/html", **headers["anna"]}).text
        (link,) = re.findall(r'href="([^"]*/entries/radio\.marks/new\?[^"]*)"', page)
        address = urlsplit(html.unescape(link))
        form = client.ask(
            "GET", address.path, address.query.encode(), headers={"accept": "text/html", **headers["anna"]}
        )
        assert form.status == 200
        assert "&#34;Polygon&#34;" in form.text or "&quot;Polygon&quot;" in form.text
        assert "2003-10-28T05:30" in form.text
        sent = {"content-type": "application/json", "accept": "application/json"}
        document = {"values": dict(parse_qsl(address.query)), "action": "submit"}
        answer = client.ask(
            "POST", "/entries/radio.marks", body=json.dumps(document).encode(), headers={**sent, **headers["anna"]}
        )
        assert answer.status == 201, answer.text
        entry = json.loads(answer.body)
        accepted = client.ask(
            "POST",
            f"/entries/radio.marks/{entry['number']}",
            body=json.dumps({"action": "accept", "etag": entry["etag"]}).encode(),
            headers={**sent, **headers["mia"]},
        )
        assert accepted.status == 200, accepted.text
        catalogue = json.loads(client.get("/collections/radio/marks/download?_as=tfcat").text)
        (feature,) = catalogue["features"]
        (ring,) = feature["geometry"]["coordinates"]
        assert sorted(frequency for _, frequency in ring[:3]) == [2.0, 2.0, 8.0]
        plot = client.ask("GET", "/plots", urlencode([pair for pair in state if pair[0] != "_in"]).encode()).text
        assert plot.count('class="shape"') == 1
