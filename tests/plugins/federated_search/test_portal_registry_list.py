"""Services that a registry lists in the form over all tables: asked once a day, kept, narrowed by what they cover; rubbish of a registry is told."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from asgi_client import Client
from remote_servers import reserve_closed_address, serve_nonsense, serve_site
from test_portal_everywhere import rows, table

from hven.app._server import create_and_start_application
from hven.model.settings import RemoteTapService
from hven.model.settings._sections import FederatedSearchSettings
from hven.model.table import Column, Table
from hven.model.types import FLOAT64, INT64, MOC, STRING
from hven.plugins.federated_search.global_search import load_standard_table
from hven.plugins.federated_search.registered_tables import (
    RegisteredTableCache,
    _extract_search_ranges,
    _parse_registered_tables,
)
from hven.portal._explore import parse_search
from hven.site import Site
from hven.testing.site import open_tiny_site
from process_runner import wait_until

EPN, TAP = "ivo://ivoa.net/std/epntap#table-2.0", "ivo://ivoa.net/std/tap"
COLUMNS = {
    "resource": {"ivoid": STRING, "res_title": STRING}, "res_table": {"ivoid": STRING, "table_name": STRING, "table_utype": STRING},
    "capability": {"ivoid": STRING, "cap_index": INT64, "standard_id": STRING}, "interface": {"ivoid": STRING, "cap_index": INT64, "intf_role": STRING, "access_url": STRING},
    "res_detail": {"ivoid": STRING, "cap_index": INT64, "detail_xpath": STRING, "detail_value": STRING}, "stc_temporal": {"ivoid": STRING, "time_start": FLOAT64, "time_end": FLOAT64},
    "stc_spectral": {"ivoid": STRING, "spectral_start": FLOAT64, "spectral_end": FLOAT64}, "stc_spatial": {"ivoid": STRING, "coverage": MOC},
}  # fmt: skip


def registry(url: str) -> dict[str, tuple[Table, pa.Table]]:
    """Write the tables of a registry that knows a table with rows, the same again in the record of its service, one of another time, and what is no address."""
    known = {
        "resource": [["ivo://a/far", "The far one"], ["ivo://a/tap", "A service"], ["ivo://a/later", "Later"], ["ivo://a/odd", "Odd"], ["ivo://a/std", "No TAP"]],
        "res_table": [["ivo://a/far", "far.epn_core", EPN], ["ivo://a/tap", "far.epn_core", EPN], ["ivo://a/later", "later.epn_core", EPN], ["ivo://a/odd", "o'dd; DROP", EPN], ["ivo://a/std", "far.x", EPN], ["ivo://a/far", "far.other", None]],
        "capability": [["ivo://a/far", 1, f"{TAP}#aux"], ["ivo://a/tap", 1, TAP], ["ivo://a/later", 1, f"{TAP}#aux"], ["ivo://a/odd", 1, TAP], ["ivo://a/std", 1, "ivo://ivoa.net/std/sia"]],
        "interface": [["ivo://a/far", 1, "std", url], ["ivo://a/tap", 1, "std", f"{url}/"], ["ivo://a/later", 1, "std", url], ["ivo://a/odd", 1, "std", "javascript:alert(1)"], ["ivo://a/std", 1, "std", url]],
        "res_detail": [["ivo://a/tap", 1, "/capability/dataModel/@ivo-id", "ivo://ivoa.net/std/ObsCore#core-1.1"]],
        "stc_temporal": [["ivo://a/later", 60000.0, 61000.0]], "stc_spectral": [], "stc_spatial": [],
    }  # fmt: skip
    made = {}
    for name, lines in known.items():
        columns = tuple(Column(name=column, type=kind) for column, kind in COLUMNS[name].items())
        one = Table(schema="rr", name=name, columns=columns)
        made[f"rr.{name}"] = one, pa.Table.from_pylist([dict(zip(COLUMNS[name], line, strict=True)) for line in lines], schema=one.arrow_schema)  # fmt: skip
    return made


def lines(site: Site, path: str, wanted: str = "far.epn_core") -> dict[str, dict[str, Any]]:
    """Ask as often as a busy machine needs."""
    told: list[dict[str, Any]] = []
    reader = Client(create_and_start_application(site))

    def complete() -> bool:
        told.append(json.loads(reader.ask("GET", path, headers={"accept": "application/json"}).body))
        known = {line["table"]: line["status"] for line in told[-1]["lines"]}
        return known.get(wanted) in {"ok", "failed"}

    wait_until(complete)
    return {line["table"]: line for line in told[-1]["lines"]}


@pytest.fixture(scope="module")
def far_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, list[str]]]:
    made = table("far")
    with (
        open_tiny_site(tmp_path_factory.mktemp("far"), {"far.epn_core": (made, rows(made, 9))}) as site,
        serve_site(site) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def listing(
    tmp_path_factory: pytest.TempPathFactory, far_server: tuple[str, list[str]]
) -> Iterator[tuple[str, list[str]]]:
    with (
        open_tiny_site(tmp_path_factory.mktemp("registry"), registry(far_server[0])) as site,
        serve_site(site) as found,
    ):
        yield found


@contextlib.contextmanager
def asking(folder: Path, said: str, *, tables: Any = None, **more: Any) -> Iterator[Site]:
    own = table("own")
    there = {"own.epn_core": (own, rows(own, 3)), **(tables or {})}
    with open_tiny_site(
        folder, there, allow_private=True, everywhere=FederatedSearchSettings(registry=said, seconds=60.0), **more
    ) as site:
        yield site


def test_registered_services_are_queried_if_their_coverage_fits(
    tmp_path: Path, listing: tuple[str, list[str]], far_server: tuple[str, list[str]]
) -> None:
    with asking(tmp_path, listing[0]) as site:
        found = lines(site, "/search/epn?target_name=Mars&time=2004-01&_wait=1")
        assert {key: (line["title"], line["status"], line["rows"]) for key, line in found.items()} == {
            "own.epn_core": ("own.epn_core", "ok", 2), "far.epn_core": ("The far one", "ok", 6), "later.epn_core": ("Later", "other", None),
        }  # fmt: skip
        assert found["later.epn_core"]["message"] == "according to the registry, it has no such data"
        asked = len(listing[1])
        far_server[1].clear()
        lines(site, "/search/epn?target_name=Mars&_wait=1")
        assert len(listing[1]) == asked, "once for all readers"
        assert any("later.epn_core" in body for body in far_server[1]), "without a time nothing speaks against it"
        assert set(lines(site, "/search/obscore?target_name=M31&_wait=1", "ivoa.obscore")) >= {"ivoa.obscore"}
    listing[1].clear()
    with asking(tmp_path / "again", listing[0]) as site:
        (site.settings.var_directory / "services").mkdir(parents=True)
        for file in (tmp_path / "var/services").iterdir():
            (site.settings.var_directory / "services" / file.name).write_bytes(file.read_bytes())
        assert "far.epn_core" in lines(site, "/search/epn?target_name=Mars&_wait=1")
        assert listing[1] == [], "another process, or another start, knows it from the disk"


def test_a_local_collection_can_be_the_registry(tmp_path: Path, far_server: tuple[str, list[str]]) -> None:
    with asking(tmp_path, "rr", tables=registry(far_server[0])) as site:
        assert lines(site, "/search/epn?target_name=Mars&_wait=1")["far.epn_core"]["rows"] == 6


def test_what_hven_toml_names_is_not_asked_twice(
    tmp_path: Path, listing: tuple[str, list[str]], far_server: tuple[str, list[str]]
) -> None:
    named = RemoteTapService(name="mine", title="Mine", url=far_server[0], tables=("far.epn_core",), seconds=60.0)
    with asking(tmp_path, listing[0], remote=(named,)) as site:
        page = json.loads(
            Client(create_and_start_application(site))
            .ask("GET", "/search/epn", headers={"accept": "application/json"})
            .body
        )
        assert [line["title"] for line in page["lines"] if line["table"] == "far.epn_core"] == ["Mine"]


@pytest.mark.parametrize("kind", [serve_nonsense, reserve_closed_address], ids=["nonsense", "down"])
def test_an_invalid_registry_response_is_reported_and_known_tables_stay(tmp_path: Path, kind: Any) -> None:
    with kind() as url, asking(tmp_path, url) as site:
        page = Client(create_and_start_application(site)).get("/search/epn", target_name="Mars")
        assert page.status == 200
        assert "the registry could not be queried" in page.text
        known = RegisteredTableCache(file=tmp_path / "kept")
        known.tables_by_kind["epn"] = (0.0, ("known",))  # type: ignore[assignment]

        def broken(_: str) -> list[dict[str, Any]]:
            raise ValueError("no")

        assert known.list_tables("epn", broken, max_age_seconds=1, max_tables=5) == ("known",)
        wait_until(lambda: known.fault)


def test_coverage_is_compared_in_the_registry_s_units() -> None:
    def find_search_ranges(kind: str, *pairs: tuple[str, str]) -> dict[str, tuple[float, float]]:
        return {
            axis: (low, high)
            for axis, low, high in _extract_search_ranges(parse_search(pairs, load_standard_table(kind)))
        }

    assert find_search_ranges("epn", ("time", "2004-01-02..2004-01-03"))["times"] == (53006.0, 53008.0)
    assert find_search_ranges("epn", ("spectral_range", "1..2 um"))["energies"] == pytest.approx(
        (9.93e-20, 1.986e-19), rel=1e-3
    )
    assert find_search_ranges("obscore", ("em", "1..2 um"))["energies"] == pytest.approx(
        (9.93e-20, 1.986e-19), rel=1e-3
    )
    assert find_search_ranges("obscore", ("t", "..2004-01-02"))["times"][0] == float("-inf")
    said = {"tables": [{"ivoid": "a", "access_url": "http://x.y/tap", "table_name": "ivoa.obscore", "res_title": "", "standard_id": ""}], "times": [], "energies": [["a", 1e-19, 1.5e-19]], "places": [["a", "6/20000-20010"]]}  # fmt: skip
    (one,) = _parse_registered_tables(said, "obscore")
    lon, lat = _centre(20005)
    for pairs, may in (
        ([("em", "1..2 um")], True), ([("em", "3..4 um")], False), ([("_near", f"{lon} {lat},0.1")], True), ([("_near", f"{(lon + 1.2) % 360} {lat},1.5")], True),
        ([("_near", f"{(lon + 40) % 360} {lat},1")], False), ([("_near", f"{(lon + 40) % 360} {lat},80")], True), ([], True),
    ):  # fmt: skip
        assert one.may_have_rows(parse_search(pairs, load_standard_table("obscore"))) == may, pairs


def _centre(cell: int) -> tuple[float, float]:
    from hven.model.sky import healpix

    lon, lat = healpix.compute_cell_centers(6, [cell])
    return float(lon[0]), float(lat[0])
