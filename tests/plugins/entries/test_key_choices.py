"""Fields that refer to another table offer its keys: those that the user sees, with labels, found by a part of them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client
from entry_site import Person, read_entry
from lxml import html

from hven import query
from hven.adql.adql_writer import write_adql
from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import QueryLimits
from hven.plugins.entries import row_references
from hven.testing.site import open_site_with_uningested_files

DESCRIPTOR = """\
collection: plan
title: A plan
tables:
  programmes:
    title: Programmes
    source: programmes.csv
    primary: programme
    access: {rows: "owner <> 'bob' or reader in (owner)"}
    columns: {programme: {type: string}, title: {type: string, ucd: meta.title}, owner: string}
  stars:
    source: stars.csv
    primary: number
    columns: {number: int64, name: {type: string, ucd: meta.id;src}}
  targets:
    source: {kind: push, columns: {target: int64, programme: string, star: int64, note: string}, ids: target, writers: [mia]}
    entries: {}
    primary: target
    keys: {programme: programmes, star: {columns: star, target: stars, target_columns: number}}
    columns: {target: int64, programme: string, star: int64, note: string}
"""
FILES = {
    "programmes.csv": 'programme,title,owner\nP1,"Disks & <jets>",anna\nP2,Secret,bob\nP3,Miras,anna\n',
    "stars.csv": "number,name\n" + "".join(f"{number},star {number}\n" for number in range(1, 301)),
}
QUANTITIES = """\
collection: dia
title: Diameters
tables:
  stars:
    source: {kind: push, columns: {id: int64, name: string, V: float64, e_V: float64, V_origin: int16, V_confidence: int16, grade: string}, ids: id, writers: [mia]}
    entries: {}
    primary: id
    columns: {id: int64, name: string, grade: {type: string, enum: grades, description: Grade}}
    map: {grade: UPPER(grade)}
    enums: {grades: {A: good}}
    origins: {1: {title: Hipparcos}, 2: computed}
    quantities:
      V: {unit: mag, ucd: phot.mag;em.opt.V, description: Magnitude, error: e_V, origin: V_origin, confidence: V_confidence}
"""
NEW = "/entries/plan.targets/new"


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Person]]:
    with open_site_with_uningested_files(tmp_path_factory.mktemp("keys"), DESCRIPTOR, FILES) as site:
        assert ingest_collection(site, "plan").published
        for name in ("anna", "bob", "mia"):
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        yield {name: Person(client, site, name) for name in ("anna", "bob", "mia")}


def read_offers(page: str, name: str) -> list[tuple[str, str]]:
    """Return the keys and labels of a field, as a browser without scripts has them."""
    tree = html.fromstring(page)
    (field,) = tree.xpath(f"//input[@id='field-{name}']")
    options = tree.xpath(f"//datalist[@id='{field.get('list')}']/option")
    return [(option.get("value"), option.text_content()) for option in options]


def test_a_field_offers_the_rows_that_its_user_sees(people: dict[str, Person]) -> None:
    anna = people["anna"].show(NEW).text
    assert read_offers(anna, "programme") == [("P1", "Disks & <jets>"), ("P3", "Miras")]
    assert read_offers(people["bob"].show(NEW).text, "programme") == [("P1", "Disks & <jets>"), ("P2", "Secret"), ("P3", "Miras")]  # fmt: skip
    assert "<jets>" not in anna
    assert 'list="keys-note"' not in anna
    assert 'aria-label="List rows of Programmes' not in anna, "the list is complete"


def test_a_long_list_is_searched_by_a_part_of_a_key_or_label(people: dict[str, Person]) -> None:
    anna = people["anna"]
    page = anna.show(NEW).text
    offers = read_offers(page, "star")
    assert len(offers) == row_references.MAX_OFFERED_KEYS
    assert offers[:2] == [("1", "star 1"), ("2", "star 2")]
    assert 'aria-label="List rows of plan.stars' in page
    for text, first in (
        ("star 29", ("29", "star 29")),
        ("STAR 299", ("299", "star 299")),
        ("298", ("298", "star 298")),
    ):
        found = anna.post_form("/entries/plan.targets", {"value.star": text, "value.note": "kept", "action": "find"})
        assert found.status == 200
        assert read_offers(found.text, "star")[0] == first
        assert f'value="{text}"' in found.text
        assert ">\nkept" in found.text or 'value="kept"' in found.text
    for text in ("%", "'", "nothing like it", "9" * 50, "-1", "x" * 9_000):
        found = anna.post_form("/entries/plan.targets", {"value.star": text, "action": "find"})
        assert (found.status, len(read_offers(found.text, "star"))) == (200, row_references.MAX_OFFERED_KEYS)
    assert "[]" in str(anna.get("/entries/plan.targets").text.replace(" ", "")), "nothing is stored"


def test_a_list_of_keys_takes_one_query_until_its_table_changes(
    people: dict[str, Person], monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = []
    run_query = query.run_query

    def record_query(statement: object, *arguments: object, **more: object) -> object:
        statements.append(write_adql(statement))  # type: ignore[arg-type]
        return run_query(statement, *arguments, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(query, "run_query", record_query)
    anna = people["anna"]
    form = {"value.star": "star 123", "value.programme": "P3", "action": "find"}
    assert read_offers(anna.post_form("/entries/plan.targets", form).text, "star")[0] == ("123", "star 123")
    assert len([text for text in statements if "plan.stars" in text]) == 1
    assert len([text for text in statements if "plan.programmes" in text]) == 1
    people["mia"].take(anna.submit({"programme": "P1", "star": 7}, "plan.targets"), "accept")  # another table changes
    statements.clear()
    assert read_offers(anna.post_form("/entries/plan.targets", form).text, "star")[0] == ("123", "star 123")
    assert not [text for text in statements if "plan.stars" in text or "plan.programmes" in text]
    assert ("P2", "Secret") not in read_offers(anna.show(NEW).text, "programme"), "the cache mixes no readers"
    assert ("P2", "Secret") in read_offers(people["bob"].show(NEW).text, "programme")


def test_an_entry_keeps_its_list_while_it_is_a_draft(people: dict[str, Person]) -> None:
    anna, mia = people["anna"], people["mia"]
    entry = anna.submit({"programme": "P1", "star": 7}, "plan.targets")
    path = f"/entries/plan.targets/{entry['number']}"
    assert read_offers(anna.show(path).text, "programme")[0][0] == "P1"
    assert "<datalist" not in mia.show(path).text, "a moderator decides, and enters nothing"
    found = anna.post_form(path, {"value.star": "star 250", "etag": entry["etag"], "action": "find"})
    assert read_offers(found.text, "star")[0] == ("250", "star 250")


def test_quantities_have_fields_with_units_and_codes(tmp_path: Path) -> None:
    """The error has the unit of its value, and origins and confidences are chosen by their words."""
    with open_site_with_uningested_files(tmp_path, QUANTITIES) as site:
        assert ingest_collection(site, "dia").published
        for name in ("anna", "mia"):
            site.store.users.add_account(name)
        client = Client(create_and_start_application(site))
        anna, mia = (Person(client, site, name) for name in ("anna", "mia"))
        listed = read_entry(anna.get("/entries/dia.stars"))["fields"]
        fields = {field["name"]: (field["kind"], field["unit"], list(field["choices"].values())) for field in listed}
        assert fields == {
            "name": ("text", "", []), "V": ("number", "mag", []), "e_V": ("number", "mag", []),
            "V_origin": ("choice", "", ["Hipparcos", "computed"]), "V_confidence": ("choice", "", ["none", "low", "medium", "high"]),
            "grade": ("text", "", []),
        }  # fmt: skip
        values = {"name": "Vega", "V": 0.03, "e_V": 0.01, "V_origin": 1, "V_confidence": 3}
        wrong = anna.send("/entries/dia.stars", {"values": {**values, "V_origin": 9}, "action": "submit"})
        assert (wrong.status, "choose one of 1, 2" in wrong.text) == (400, True)
        read_entry(mia.take(anna.submit(values, "dia.stars"), "accept"))
        text = client.get(
            "/tap/sync", LANG="ADQL", QUERY="SELECT V, e_V, V_origin FROM dia.stars", RESPONSEFORMAT="csv"
        ).text
        assert text.splitlines()[1:] == ["0.03,0.01,1"]
        changed = read_entry(
            anna.send("/entries/dia.stars", {"values": {"e_V": 0.02}, "row": [1], "action": "submit"}), 201
        )
        assert changed["base"]["e_V"] == 0.01


@pytest.mark.parametrize("is_stored", [True, False])
def test_rows_that_contain_the_text_do_not_shorten_the_list(tmp_path: Path, *, is_stored: bool) -> None:
    """A query without a limit returns fewer rows here than a text and the whole table have together."""
    descriptor = DESCRIPTOR
    if not is_stored:
        descriptor = descriptor.replace(
            "    source: stars.csv\n", "    view: SELECT number, name FROM plan.catalogue\n"
        )
        descriptor += (
            "  catalogue:\n    source: stars.csv\n    primary: number\n    columns: {number: int64, name: string}\n"
        )
    with open_site_with_uningested_files(tmp_path, descriptor, FILES, limits=QueryLimits(maxrec_default=300)) as site:
        assert ingest_collection(site, "plan").published
        site.store.users.add_account("anna")
        anna = Person(Client(create_and_start_application(site)), site, "anna")
        page = anna.post_form("/entries/plan.targets", {"value.star": "star", "action": "find"}).text
    assert len(read_offers(page, "star")) == row_references.MAX_OFFERED_KEYS
    assert 'aria-label="List rows of plan.stars' in page, "the list is not complete"
