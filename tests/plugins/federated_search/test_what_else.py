"""What else there is at the time and place of a row: the counts are those of numpy over the rows that were written; who may not see a table is told nothing of it."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.plugins.federated_search import coincident_rows_data, global_search
from hven.site import Site

TIME = "{type: timestamp, ucd: time.start}"
SKY = "      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}\n      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}\n"
BODY = "      target_name: {type: string, ucd: meta.id;src}\n      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon}\n      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat}\n"
TABLES = {  # columns; whether they have a position on the sky; more lines
    "plates": (f"      seen: {TIME}\n{SKY}      s_fov: {{type: float64, unit: deg}}\n", True, ""),
    "objects": (SKY, True, ""),
    "bursts": (f"      began: {TIME}\n      ended: {{type: timestamp, ucd: time.end}}\n", False, ""),
    "craters": (BODY, False, ""),
    "frames": (f"      seen: {TIME}\n{BODY}", False, ""),
    "letters": (f"      seen: {TIME}\n", False, "    access: private\n"),
    "later": (f"      seen: {TIME}\n", False, ""),
}
DESCRIPTOR = """\
collection: {name}
title: Made {name}
tables:
  main:
    primary: [id]
{more}    source: {{kind: csv, files: a.csv}}
    columns:
      id: {{type: int32, ucd: meta.id;meta.main}}
{columns}"""
HALF = np.timedelta64(30, "m")


def day(hours: np.ndarray) -> np.ndarray:
    return np.datetime64("2014-09-10T00:00:00") + (hours * 3600).astype("timedelta64[s]")


def build_tables() -> dict[str, dict[str, np.ndarray]]:
    random = np.random.default_rng(22)
    sky = {"ra": random.uniform(100, 104, 400), "dec": random.uniform(-2, 2, 400)}
    body = {
        "target_name": random.choice(["Mars", "Moon"], 400),
        "lon": random.uniform(0, 20, 400),
        "lat": random.uniform(-10, 10, 400),
    }
    began = random.uniform(0, 48, 300)
    return {
        "plates": {"seen": day(random.uniform(0, 48, 400)), **sky, "s_fov": np.full(400, 1.0)},
        "objects": {name: values + 0.01 for name, values in sky.items()},
        "bursts": {"began": day(began), "ended": day(began + random.uniform(0, 3, 300))},
        "craters": body,
        "frames": {"seen": day(random.uniform(0, 48, 400)), **body},
        "letters": {"seen": day(random.uniform(0, 48, 50))},
        "later": {"seen": day(random.uniform(4800, 4900, 50))},
    }


@pytest.fixture(scope="module")
def rows() -> dict[str, dict[str, np.ndarray]]:
    return build_tables()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, rows: dict[str, dict[str, np.ndarray]]) -> Iterator[Site]:
    directory = tmp_path_factory.mktemp("else")
    (directory / "hven.toml").write_text('title = "Uraniborg"\n')
    for name, (columns, placed, more) in TABLES.items():
        place = directory / "collections" / name
        place.mkdir(parents=True)
        said = more + ("    position: [ra, dec]\n" if placed else "")
        (place / f"{name}.yaml").write_text(DESCRIPTOR.format(name=name, columns=columns, more=said))
        lines = [",".join(["id", *rows[name]])]
        lines += [",".join(map(str, (at, *one))) for at, one in enumerate(zip(*rows[name].values(), strict=True))]
        (place / "a.csv").write_text("\n".join(lines))
    with Site(load_settings(directory, {})) as made_site:
        for name in TABLES:
            ingest_collection(made_site, name)
        made_site.refresh_published_state()
        yield made_site


@pytest.fixture(scope="module")
def client(site: Site) -> Client:
    return Client(create_and_start_application(site))


def fetch_related(client: Client, table: str, key: int, **more: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(client.get(f"/collections/{table}/main/else", _row=f"[{key}]", **more).body)
    return found


def compute_distances(rows: dict[str, np.ndarray], lon: float, lat: float) -> np.ndarray:
    """Give degrees between a point of the sky and all rows."""
    a, d, x, y = (np.radians(one) for one in (rows["ra"], rows["dec"], lon, lat))
    return np.degrees(np.arccos(np.clip(np.sin(d) * np.sin(y) + np.cos(d) * np.cos(y) * np.cos(a - x), -1, 1)))


def test_rows_of_tables_that_overlap_in_time_and_place_are_counted(
    client: Client, rows: dict[str, dict[str, np.ndarray]]
) -> None:
    at = 7
    plates, bursts, frames, objects = (rows[name] for name in ("plates", "bursts", "frames", "objects"))
    low, high = plates["seen"][at] - HALF, plates["seen"][at] + HALF
    place = plates["ra"][at], plates["dec"][at]
    wanted = {
        "plates.main": int(
            ((plates["seen"] >= low) & (plates["seen"] <= high) & (compute_distances(plates, *place) <= 0.5)).sum()
        ),
        "objects.main": int((compute_distances(objects, *place) <= 0.5).sum()),
        "bursts.main": int(((bursts["began"] <= high) & (bursts["ended"] >= low)).sum()),
        "frames.main": int(((frames["seen"] >= low) & (frames["seen"] <= high)).sum()),
    }
    wanted = {name: number for name, number in wanted.items() if number > (name == "plates.main")}
    found = fetch_related(client, "plates", at, _wait="1")
    assert {one["key"]: one["rows"] for one in found["lines"]} == wanted
    assert wanted["objects.main"] > 1
    assert [one["rows"] for one in found["lines"]] == sorted(wanted.values(), reverse=True)
    common = {one["key"]: one["common"] for one in found["lines"]}
    assert (common["objects.main"], common["bursts.main"]) == (["place"], ["time"])
    assert found["place"]
    assert found["begin"].startswith(str(low)[:19])
    for one in found["lines"]:  # one click shows these rows
        address = urlsplit(one["url"])
        asked = json.loads(
            client.get(
                f"{address.path}/count", **{name: value[0] for name, value in parse_qs(address.query).items()}
            ).body
        )
        assert (asked["total"], asked["faults"]) == (one["rows"], [])


def test_places_are_on_the_same_body(client: Client, rows: dict[str, dict[str, np.ndarray]]) -> None:
    at = 3
    craters = rows["craters"]
    lon, lat = craters["lon"][at], craters["lat"][at]
    aside = 0.5 / np.cos(np.radians(lat))
    near = (np.abs(craters["lon"] - lon) <= aside) & (np.abs(craters["lat"] - lat) <= 0.5)
    near &= craters["target_name"] == craters["target_name"][at]
    found = {one["key"]: one["rows"] for one in fetch_related(client, "craters", at, _wait="1")["lines"]}
    assert found["frames.main"] == int(near.sum())  # frames lie where craters do
    assert set(found) <= {"frames.main", "craters.main"}  # nothing else has a place on a body, and craters have no time


def test_what_lies_at_other_times_and_what_is_hidden_is_not_asked(client: Client) -> None:
    found = fetch_related(client, "bursts", 0)
    assert (
        found["asked"] == 3
    )  # plates, bursts, frames: not later ones, objects and craters have no time, letters are private
    assert "letters" not in json.dumps(found)
    assert fetch_related(client, "bursts", 100_000)["lines"] == []  # no such row
    assert client.get("/collections/letters/main/else", _row="[1]").status == 404


def test_who_is_late_is_told_to_be_so(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    released, ask = threading.Event(), global_search.query_searchable_table

    def ask_after_release(target: Any, *given: Any, **more: Any) -> Any:
        if target.name == "bursts.main":
            released.wait(20)
        return ask(target, *given, **more)

    monkeypatch.setattr(global_search, "query_searchable_table", ask_after_release)
    monkeypatch.setattr(coincident_rows_data, "QUICK_TIMEOUT_SECONDS", 3.0)
    try:
        late = [one["key"] for one in fetch_related(client, "frames", 5)["lines"] if one["late"]]
    finally:
        released.set()
    assert late == ["bursts.main"]
    assert not any(one["late"] for one in fetch_related(client, "frames", 5, _wait="1")["lines"])
