"""`services:` of a descriptor: the faces that it names answer for its tables, and no others."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from hven.app._server import create_and_start_application
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import require_plugins

ROWS = "id,ra,dec,t_exptime\na,10,20,1\nb,11,21,2\n"
TABLE = """
tables:
  t:
    source: {kind: csv, files: t.csv}
    primary: [id]
    obscore: {set: {calib_level: 2, dataproduct_type: image}}
    columns: {id: {type: string, ucd: meta.id;meta.main}, ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main}, dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}
"""
OFFERED = {"coned": "[cone]", "asked": "[tap]", "seen": "[obscore]", "shown": "[portal]", "every": ""}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    directory = tmp_path_factory.mktemp("services")
    (directory / "hven.toml").write_text('authority = "test.example"\n')
    for name, services in OFFERED.items():
        place = directory / "collections" / name
        place.mkdir(parents=True)
        (place / "t.csv").write_text(ROWS)
        (place / f"{name}.yaml").write_text(
            f"collection: {name}\ntitle: {name}\n" + (f"services: {services}\n" if services else "") + TABLE
        )
    with Site(load_settings(directory)) as site:
        for name in OFFERED:
            assert ingest_collection(site, name).published
        yield Client(create_and_start_application(site))


def fetch_words(client: Client, text: str) -> list[str]:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY=text, RESPONSEFORMAT="csv")
    return answer.text.split() if answer.status == 200 else [str(answer.status)]


def test_each_face_answers_for_the_tables_that_are_offered_by_it(client: Client) -> None:
    by_tap = {name for name in OFFERED if fetch_words(client, f"SELECT id FROM {name}.t") == ["id", "a", "b"]}
    assert by_tap == {"asked", "seen", "every"}  # ObsCore is asked by TAP
    assert {
        line for line in fetch_words(client, "SELECT table_name FROM TAP_SCHEMA.tables") if line.endswith(".t")
    } == {f"{name}.t" for name in by_tap}
    listed = client.get("/tap/tables").text
    assert {name for name in OFFERED if f"<name>{name}.t</name>" in listed} == by_tap
    assert {
        name
        for name in OFFERED
        if 'value="a"'
        in (answer := client.get(f"/cone/{name}.t", RA=10, DEC=20, SR=1, RESPONSEFORMAT="votable/td")).text
        or "<TD>a</TD>" in answer.text
    } == {"coned", "every"}
    assert {name for name in OFFERED if client.get(f"/collections/{name}").status == 200} == {"shown", "every"}
    rows = fetch_words(client, "SELECT DISTINCT obs_collection FROM ivoa.obscore")
    assert sorted(rows[1:]) == ["every", "seen"]


def test_changes_come_with_tap(client: Client) -> None:
    require_plugins("protocols", "changes")
    answered = {name for name in OFFERED if client.get(f"/changes/{name}.t").status != 404}
    assert answered == {"asked", "seen", "every"}


def test_pages_and_answers_stay_public(client: Client) -> None:
    answer = client.get("/tap/sync", LANG="ADQL", QUERY="SELECT id FROM every.t")
    assert answer.headers["cache-control"] == "public, no-cache"


def check_text(directory: Path, text: str) -> list[str]:
    (directory / "hven.toml").write_text("")
    place = directory / "collections" / "c"
    place.mkdir(parents=True)
    (place / "t.csv").write_text(ROWS)
    (place / "c.yaml").write_text(f"collection: c\ntitle: C\n{text}")
    return [
        f"{fault.severity}: {fault.message}" for fault in check_descriptor(place / "c.yaml", load_settings(directory))
    ]


def test_what_is_not_served_yet_is_told_by_name(tmp_path: Path) -> None:
    found = check_text(
        tmp_path,
        f"services: [tap, maps, tfcat]{TABLE}    links: [{{semantics: '#this', text: 'https://x.example/{{target.id}}'}}]\n",
    )
    assert found[1:3] == [
        "warning: services: Hven does not offer 'maps' yet",
        "warning: services: Hven does not offer 'tfcat' yet",
    ]
    assert "warning: tables.t.obscore has no effect, because `services` does not list obscore" in found
    assert found[0] == "warning: tables.t.links has no effect, because `services` does not list datalink"


def test_a_wrong_mapping_of_a_table_made_by_a_query_is_found(tmp_path: Path) -> None:
    query = TABLE.replace("{kind: csv, files: t.csv}", "{kind: query, adql: 'SELECT id, ra, dec FROM other.t'}")
    found = check_text(
        tmp_path,
        query.replace("type: image}}", "type: image}, map: {t_exptime: nothing + 1}}").replace("t_exptime\n", "\n"),
    )
    assert (
        [fault for fault in found if fault.startswith("error")]
        == [fault for fault in found if "nothing" in fault]
        != []
    )


LONE = "tables: {t: {source: {kind: csv, files: t.csv}, primary: [id], columns: {id: {type: string}}}}\n"


@pytest.mark.parametrize("service", ["cone", "epn-tap", "obscore", "files", "sia", "sia2", "ssa"])
def test_a_service_that_no_table_is_for_is_refused(tmp_path: Path, service: str) -> None:
    (found,) = [fault for fault in check_text(tmp_path, f"services: [tap, {service}]\n{LONE}") if "services" in fault]
    assert found.startswith(f"error: services: {service!r} has no data, because no table of c has ")
    with (
        Site(load_settings(tmp_path)) as site,
        pytest.raises(DescriptorError, match=f"services: {service!r} has no data"),
    ):
        ingest_collection(site, "c")


@pytest.mark.parametrize(
    ("services", "table"),
    [("[cone]", TABLE), ("[cone, tap, portal, obscore]", TABLE), ("[tap, files]", f"{LONE}files: [t.csv]\n")],
)
def test_services_that_a_table_is_for_pass(tmp_path: Path, services: str, table: str) -> None:
    assert not [
        fault for fault in check_text(tmp_path, f"services: {services}\n{table.lstrip()}") if fault.startswith("error")
    ]


def test_a_collection_that_nothing_serves_is_refused(tmp_path: Path) -> None:
    assert (
        "error: services: Hven does not offer any of these services yet, so the collection has no services"
        in check_text(tmp_path, f"services: [tfcat]\n{LONE}")
    )
