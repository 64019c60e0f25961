"""What is wrong and what helps is told in the reader's language: every message that a page can show has its translation, and none is half one."""

from __future__ import annotations

import json
import re
import time

import pytest
from asking import Client
from faults_said import HOLE, SOURCE, files, said, shape
from hypothesis import given
from hypothesis import strategies as st

from hven.model.errors import ParamError, UserError
from hven.portal._pages.texts import languages, texts
from hven.portal._pages.translation import Template, faults_in

OTHERS = languages()[1:]
ROOMS = (
    "portal/_explore", "portal/conditions.py", "portal/_condition_words.py", "portal/_views", "portal/faces/portal.py",
    "portal/faces/_jobs_page.py", "portal/faces/login.py", "adql", "query", "jobs/desk.py", "site/past.py", "model/units/_vounits.py", "model/units/_conversion.py",
)  # fmt: skip
TABLES = frozenset({
    "FOREIGN", "PAIRS", "BRACKETS", "_STRANGE", "_SMART", "_WANTED", "_SHAPE", "_REMEDIES", "ELSEWHERE", "REMEDY", "_OTHERS", "_NAMES", "WORDS",
    "_TIME", "_DIFFERENCE", "_PART", "_CONE", "_TEXT", "_CASE", "_FIRST", "_CUT", "_ALL", "_BITS",
})  # fmt: skip
RETURNING = frozenset({"fault", "_remedy", "_shape_fault", "_polygon_fault", "nearest", "nearest_name", "found"})
UNTRANSLATED = {
    '{"name": "anna", "token": "..."}': "an example of JSON",
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:?\d\d)?": "a pattern, in a variable of that name",
    " (in one of {ats} {what}: {shown})": "put behind a message: it is there with that",
    " (a logarithm has no factor)": "put behind a message: it is there with that",
}
COMPOSED = {  # made of pieces that are no texts by themselves, so that reading the source does not find them
    "adql/_blame.py": ("{message_} (in one of {count} {what_}: {shown_})", "calls", "CASTs", "subqueries", "expressions", "operations {op}", "line {line}, column {column}"),
    "adql/_fitting.py": ("{have_} ({name})", "{have_} (column {name})", "{name} is {have_}", "column {name} is {have_}", "this is {have_}", "NULL", "terms"),
    "adql/bind.py": ("SELECTs", "columns"),
    "adql/_expressions.py": ("operator {op}", "the number of an element"),
    "adql/_joins.py": ("left", "right"),
    "adql/_calling.py": ("{count_} or {count2_}", "{word}: {message_}", "the latitude of a {name} is {value}", "the radius of a CIRCLE is {value}"),
    "model/units/_conversion.py": ("a plain number", "{message_} (a logarithm has no factor)"),
    "model/units/_vounits.py": ("{why_} (character {number})", "unexpected {text}"),
    "query/resolver/_providers.py": ("look at its spelling, or give the position itself", "the site's owner can {remedy_}", "{place_} could not be asked: {message_}"),
    "query/resolver/local.py": ("the table {name}",),
    "query/resolver/sesame.py": ("SIMBAD through Sesame ({url})", "a coordinate {text}"),
    "query/resolver/solar.py": ("the bodies of the Solar System",),
    "services/errors.py": (
        "something went wrong; this is a fault of the service; its owner finds it in the log under the request's id", "request",
        "the service cannot do this now: {why_}; try again later",
    ),
    "sources/_reading/foreign.py": (
        "a ZIP archive or an office document", "a tar archive", "a PDF document", "an HDF5 file (netCDF 4, too)", "a netCDF file", "a CDF file", "a PNG image",
        "a JPEG image", "a JPEG 2000 image", "a TIFF image",
    ),
    "engines/duckdb/engine.py": ("the rows of {name} are damaged on disk and are not given", "their owner must ingest the collection again"),
}  # fmt: skip


@pytest.fixture(scope="module")
def told_here() -> dict[str, str]:
    """Give the shapes of all that the rooms tell, and where."""
    return {
        shape(text): f"{path.relative_to(SOURCE)}:{line}: {text}" for path in files(ROOMS) for line, text in said(path, TABLES, RETURNING)
    }


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_has_a_translation(told_here: dict[str, str], language: str) -> None:
    assert len(told_here) > 700
    known = {shape(one) for section in ("faults", "parts") for one in texts(language, section)}
    left = {shape(one) for one in UNTRANSLATED}
    assert left <= set(told_here), "an exception that is not needed"
    assert [where for text, where in told_here.items() if text not in known | left] == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_belongs_to_a_message(told_here: dict[str, str], language: str) -> None:
    composed = {one for texts_ in COMPOSED.values() for one in texts_}
    found = [one for section in ("faults", "parts") for one in texts(language, section)]
    assert [one for one in found if shape(one) not in told_here and one not in composed] == []
    assert composed <= set(found)
    for file, made in COMPOSED.items():
        source = (SOURCE / file).read_text(encoding="utf-8")
        for one in made:
            for word in re.findall(r"[A-Za-z]{3,}", HOLE.sub("", one)):
                assert word in source or word in {"request", "NULL"}, (file, one)


@pytest.mark.parametrize("section", ["faults", "parts"])
@pytest.mark.parametrize("language", OTHERS)
def test_values_are_the_same(language: str, section: str) -> None:
    for english, other in texts(language, section).items():
        names = HOLE.findall(english)
        assert len(set(names)) == len(names), english
        assert sorted(names) == sorted(HOLE.findall(other)), english


@pytest.mark.parametrize("language", OTHERS)
@given(data=st.data())
def test_a_template_gives_its_values_back(language: str, data: st.DataObject) -> None:
    templates = [one for one in texts(language, "faults").items() if HOLE.search(one[0])]
    english, other = data.draw(st.sampled_from(templates))
    names = HOLE.findall(english)
    values = {name: data.draw(st.text(max_size=40).map(repr) | st.from_regex(r"[XYZ][0-9]{0,4}", fullmatch=True)) for name in names}
    beside = "}{" in english  # two side by side: only together are they known
    found = Template(english, other).values(HOLE.sub(lambda match: values[match[1]], english))
    assert found is not None
    if beside:
        assert "".join(found.values()) == "".join(values.values())
    else:
        assert found == values


@pytest.mark.parametrize("language", OTHERS)
@given(text=st.text(max_size=60).map(repr))
def test_what_a_reader_wrote_stays_as_it_is(language: str, text: str) -> None:
    assert text in faults_in(language)(f"{text} is no length of time")
    assert text in faults_in(language)(f"no column {text} in stars.main")


@given(text=st.text(max_size=300))
def test_anything_can_be_asked(text: str) -> None:
    assert isinstance(faults_in("fr")(text), str)
    assert faults_in("en")(text) == text


@pytest.mark.parametrize(
    ("english", "french"),
    [
        ("'3 parsecs' is no length of time", "'3 parsecs' n'est pas une durée"),
        (
            "line 1, column 8: no column 'rra' in a.b; did you mean 'ra'? [request ab-1]",
            "ligne 1, colonne 8 : il n'y a pas de colonne 'rra' dans a.b ; vouliez-vous dire 'ra' ? [demande ab-1]",
        ),
        ("expected a comma or FROM, found the number 5", "attendu : une virgule ou FROM ; trouvé : le nombre 5"),
        ("= compares a number (column ra) with a string ('a')", "= compare un nombre (colonne ra) et une chaîne ('a')"),
        ("ABS takes 1 or 2 arguments, and 3 are given", "ABS prend 1 ou 2 arguments, et 3 sont donnés"),
        ("write ABS(a number, a string)", "écrivez ABS(un nombre, une chaîne)"),
        ("'kmm' is no unit: a unit is missing (character 3)", "'kmm' n'est pas une unité : il manque une unité (caractère 3)"),
        ("in the view a.b: no column 'x' in c.d", "dans la vue a.b : il n'y a pas de colonne 'x' dans c.d"),
        (
            "a value cannot be computed (in one of 2 calls: line 1, column 3; line 2, column 5)",
            "une valeur ne peut pas être calculée (dans l'un des 2 appels : ligne 1, colonne 3 ; ligne 2, colonne 5)",
        ),
        ("ra: 'x' is no number; dec: 'y' is no date", "ra: 'x' n'est pas un nombre ; dec: 'y' n'est pas une date"),
    ],
)
def test_messages_in_messages(english: str, french: str) -> None:
    assert faults_in("fr")(english) == french


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nobody has translated this",
        "no column 'rra' in a.b; nobody has translated this",
        "the upload 'x' cannot be read: the reader of this format says that it is no table",
        "'a' is not known here, and SIMBAD through Sesame (http://x/) could not be asked: the line is cut",
        "expected something else, found the number 5",
        "x" * 5000,
    ],
)
def test_what_is_not_known_whole_stays_english(message: str) -> None:
    assert faults_in("fr")(message) == message


def test_a_message_costs_nothing_that_counts() -> None:
    words = faults_in("fr")
    words("warm")
    for make in (
        lambda i: f"nobody has translated number {i}",
        lambda i: f"line 1, column {i}: no column 'rra' in a.b; did you mean 'ra'?",
        lambda i: f"{i} " + "a in is, : (column ; " * 90,
    ):
        begun = time.process_time()
        for i in range(20):
            words(make(i))
        assert (time.process_time() - begun) / 20 < 0.05


# --- pages ---------------------------------------------------------------------------------------------------------


FRENCH = {"accept-language": "fr"}


def test_an_error_is_told_in_the_language_of_the_page(client: Client) -> None:
    page = client.ask("GET", "/collections/nothing-like-it?lang=fr", headers={"accept": "text/html"})
    assert page.status == 404
    assert "il n&#39;y a pas de collection &#39;nothing-like-it&#39; ici" in page.text
    assert "there is no collection" not in page.text
    assert "there is no collection &#39;nothing-like-it&#39; here" in client.ask("GET", "/collections/nothing-like-it").text


def test_the_editors_mark(client: Client) -> None:
    asked = "/adql/check?QUERY=SELECT+FROM+tap_schema.tables"
    french = json.loads(client.ask("GET", asked, headers=FRENCH).text)["fault"]
    english = json.loads(client.ask("GET", asked).text)["fault"]
    assert french["message"] != english["message"]
    assert (french["offset"], french["line"], french["column"]) == (english["offset"], english["line"], english["column"])
    assert english["message"].startswith("expected ") or " " in english["message"]


def test_what_was_meant_can_be_written_in_every_language(client: Client) -> None:
    asked = "/adql/check?QUERY=SELECT+table_nam+FROM+tap_schema.tables"
    for headers in ({}, FRENCH):
        assert json.loads(client.ask("GET", asked, headers=headers).text)["fault"]["meant"] == "table_name"
    assert "vouliez-vous dire 'table_name' ?" in json.loads(client.ask("GET", asked, headers=FRENCH).text)["fault"]["remedy"]


def test_programs_read_english(client: Client) -> None:
    answer = client.ask("GET", "/tap/sync?LANG=ADQL&QUERY=SELECT+x+FROM+nowhere.y", headers=FRENCH)
    assert "no table" in answer.text
    assert "il n" not in answer.text


def test_an_error_keeps_its_own_words() -> None:
    error = ParamError("there is no query", remedy="write one, or begin with an example")
    assert faults_in("fr").fault(error) == {"message": "il n'y a pas de requête", "remedy": "écrivez-en une, ou partez d'un exemple"}
    assert str(error) == "there is no query; write one, or begin with an example"
    assert faults_in("en").fault(UserError("x")) == {"message": "x", "remedy": ""}
