"""What is wrong and what helps is told in the reader's language: every message that a page can show has its translation, and none is half one."""

from __future__ import annotations

import json
import pickle
import time
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from asgi_client import Client
from hypothesis import given
from hypothesis import strategies as st
from message_constants import (
    SOURCE,
    iterate_composed_lines,
    iterate_format_calls,
    iterate_messages,
    list_files,
    list_nodes,
    list_texts,
)
from polib import pofile

from hven.model.errors import (
    ParamError,
    ParseError,
    TextPlace,
    TranslatableMessage,
    UserError,
    format_message,
    join_messages,
    message_from_json,
    suggest_spelling,
)
from hven.model.units import compute_unit_factor
from hven.portal._pages.texts import CATALOGUE_DIRECTORY, list_catalogue_files, list_languages, load_page_translations
from hven.portal._pages.translation import get_message_translator
from plugin_needs import load_core_fixtures, require_query_editor

OTHERS = list_languages()[1:]
CONTEXTS = {"pages", "browser", "columns", "faults"}
ROOMS = (
    "model/errors.py", "portal/_explore", "portal/conditions.py", "portal/_condition_values.py", "portal/_views", "portal/faces/portal.py",
    "portal/faces/login.py", "adql", "query", "jobs/job_service.py", "site/auth/_recorded_rights.py", "site/history.py", "model/units/_vounits.py",
    "model/units/_unit_conversion.py", "services/errors.py", *load_core_fixtures("TRANSLATED_MODULES"),
)  # fmt: skip
TABLES = frozenset({
    "ACTION_WORDS", "BRACKET_FAULT", "CADENCE_REMEDY", "EPOCH_LABELS", "EXCEPTION_TYPES", "FILE_WORD_COLUMNS", "FOREIGN_FUNCTION_REMEDIES",
    "FOREIGN_KEYWORDS", "FOREIGN_OPERATORS", "INTERNAL_ERROR_MESSAGE", "KIND_PHRASES", "MAX_QUERY_TOKENS", "MAX_REQUEST_CHARACTERS",
    "NON_EQUATORIAL_UCDS", "OVERLOAD_REMEDY", "POLICY_WORDS", "RECOMMENDED_KEYS", "SPECTRAL_COLUMN_PAIRS", "STATUS_ELSEWHERE", "WORDS_PARAMETER",
    "_AGGREGATION_REMEDY", "_ALL_EDGES", "_BITWISE_REMEDY", "_CASE_REMEDY", "_COALESCE_REMEDY", "_CONE_REMEDY", "_CONNECTED_SIBLINGS",
    "_DIFFERENCE_REMEDY", "_FIELD_NAMES", "_FIRST_WORD_PATTERN", "_FOREIGN_CHARACTERS", "_IDENTIFIER_PATTERN", "_LETTER_NAMES", "_LONGITUDE_PATTERN",
    "_MIN_TIME_MICROSECONDS", "_NAME_LIST_PATTERN", "_NAME_PART_PATTERN", "_NON_NAME_CHARACTERS", "_NUMBER_REMEDY", "_OTHERS", "_PROGRESS_PATTERN",
    "_QUOTED_TEXT_PATTERN", "_REMEDIES_BY_EXPECTED", "_REMEDIES_BY_TOKEN", "_SHAPE_REMEDY", "_SPLITMIX_FACTOR_1", "_SUBSTRING_REMEDY",
    "_TEXT_CAST_REMEDY", "_TIME_PART_REMEDY", "_TIME_PATTERN", "_TIME_REMEDY", "_TYPOGRAPHIC_CHARACTERS", "_UCDS_BY_NAME_PATTERN",
    "_UPLOAD_PART_PATTERN", "_WANTED_PATHS_TABLE",
})  # fmt: skip
RETURNING = frozenset({
    "_find_polygon_fault", "_find_shape_fault", "_suggest_argument_remedy", "add_fault", "build_bind_error", "find_call_fault", "find_nearest_keyword",
    "find_nearest_unit", "find_recent_failure", "suggest_nearest_name", "suggest_parameters", "suggest_spelling", "suggest_text_cast",
    "translate_message_and_remedy",
})  # fmt: skip
UNTRANSLATED = {
    'send {"name": "anna", "token": "..."}': "an example of JSON",
    r"(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d(?:\.\d{1,9})?)?))?(Z|[+-]\d\d:?\d\d)?": "a pattern, in a variable of that name",
}


def fields(template: str) -> list[str]:
    return sorted(
        f"{name}!{conversion}:{spec}" for _, name, spec, conversion in Formatter().parse(template) if name is not None
    )


@pytest.fixture(scope="module", autouse=True)
def _clear_tree_cache() -> Iterator[None]:
    """Leave no trees of the whole source to whatever this process tests next."""
    yield
    list_nodes.cache_clear()


@pytest.fixture(scope="module")
def portal_messages() -> dict[str, str]:
    """Give all that the rooms tell, and where."""
    return {
        text: f"{path.relative_to(SOURCE)}:{line}: {text}"
        for path in list_files(ROOMS)
        for line, text in iterate_messages(path, TABLES, RETURNING)
    }


@pytest.mark.parametrize("language", OTHERS)
def test_every_message_has_a_translation(portal_messages: dict[str, str], language: str) -> None:
    assert len(portal_messages) > 900
    assert set(UNTRANSLATED) <= set(portal_messages), "an exception that is not needed"
    known = load_page_translations(language, "faults")
    assert [where for text, where in portal_messages.items() if text not in known and text not in UNTRANSLATED] == []


@pytest.mark.parametrize("language", OTHERS)
def test_every_translation_belongs_to_a_message(language: str) -> None:
    written = set().union(*map(list_texts, SOURCE.rglob("*.py")))
    assert set(load_page_translations(language, "faults")) - written == set()


def is_encoded_twice(text: str) -> bool:
    try:
        return text.encode("latin-1").decode() != text
    except UnicodeError:
        return False


CATALOGUES = [path for language in OTHERS for path in list_catalogue_files(language)]


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_catalogue_is_whole(path: Path) -> None:
    """What gettext's tools would warn of: nothing stands twice, nothing is empty or to be looked at, and whoever translates is told of values."""
    catalogue = pofile(str(path), check_for_duplicates=True)
    assert catalogue.percent_translated() == 100
    contexts = {one.msgctxt for one in catalogue}
    if path.parent == CATALOGUE_DIRECTORY:
        assert contexts == CONTEXTS
    else:
        assert contexts <= CONTEXTS
        core = pofile(str(CATALOGUE_DIRECTORY / path.name))
        assert {(one.msgctxt, one.msgid) for one in catalogue}.isdisjoint((one.msgctxt, one.msgid) for one in core)
    assert [
        one.msgid
        for one in catalogue
        if one.msgctxt == "faults" and ("{" in one.msgid) != ("python-brace-format" in one.flags)
    ] == []
    assert [one.msgstr for one in catalogue if is_encoded_twice(one.msgstr)] == []


@pytest.mark.parametrize("language", OTHERS)
def test_values_are_the_same(portal_messages: dict[str, str], language: str) -> None:
    templates = {text for path in list_files(ROOMS) for _, text, count in iterate_format_calls(path) if count}
    for english, other in load_page_translations(language, "faults").items():
        if english in templates:
            assert fields(english) == fields(other), english


def test_messages_are_said_and_not_composed() -> None:
    assert [
        f"{path.relative_to(SOURCE)}:{line}"
        for path in list_files(ROOMS)
        for line in iterate_composed_lines(path, RETURNING)
    ] == []


def test_every_name_has_its_value() -> None:
    wrong = []
    for path in SOURCE.rglob("*.py"):
        for line, template, count in iterate_format_calls(path):
            names = {name for _, name, _, _ in Formatter().parse(template) if name is not None} if count else set()
            if len(names) != count or not all(map(str.isidentifier, names)):
                wrong.append(f"{path.relative_to(SOURCE)}:{line}: {template}")
    assert wrong == []


# --- texts that know what they were made of ------------------------------------------------------------------------------

anything = st.text(max_size=60) | st.sampled_from([
    "{name}", "{0.__class__}", "{", "}}", "'", '"', "; ", "the end of the text", "the query is missing", "no column 'x' in a.b", "nobody",
])  # fmt: skip


@given(value=anything, other=anything)
def test_whatever_a_value_is_it_comes_through(value: str, other: str) -> None:
    words = get_message_translator("fr")
    plain = f"no column {value!r} in {other}"
    message = format_message("no column {name!r} in {tables}", value, other)
    assert message == plain
    assert words(message) == f"il n'y a pas de colonne {value!r} dans {other}"
    inside = format_message("in the view {table}: {message}", value, message)
    assert (inside, words(inside)) == (f"in the view {value}: {plain}", f"dans la vue {value} : {words(message)}")
    assert words(UserError(message, remedy=value).message) == words(message)


@given(value=anything, number=st.integers() | st.floats(allow_nan=False))
def test_it_is_kept_in_other_processes_and_in_stores(value: str, number: float) -> None:
    message = format_message(
        "in the view {table}: {message}", value, format_message("{value!r} is not a valid number of rows", number)
    )
    error = pickle.loads(pickle.dumps(ParseError(message, text=value, offset=1, remedy="reduce the nesting")))
    for again in (
        pickle.loads(pickle.dumps(message)),
        error.message,
        message_from_json(json.loads(json.dumps(message.to_json()))),
        str(ValueError(message)),
    ):
        assert isinstance(again, TranslatableMessage)
        assert (again, again.template, again.values) == (message, message.template, message.values)
    assert get_message_translator("fr")(str(error)).endswith(
        f"dans la vue {value} : {number!r} n'est pas un nombre de lignes valide ; imbriquez moins de parties"
    )


def test_what_it_is_made_of() -> None:
    message = format_message("{place} could not be queried: {message}", "{x}", UserError("ask again"))
    assert (message.template, message.values) == (
        "{place} could not be queried: {message}",
        {"place": "{x}", "message": "ask again"},
    )
    assert isinstance(message.values["message"], TranslatableMessage)
    assert type(f"{message}.") is str
    assert format_message(message) is message
    assert (format_message("{braces}"), format_message("{braces}").values) == ("{braces}", {})
    assert format_message("add {name} to {name}", "x") == "add x to x"
    with pytest.raises(ValueError, match="zip"):
        format_message("{one} and {other}", "x")
    with pytest.raises(ValueError, match="zip"):
        format_message("nothing", "x")


@given(st.lists(st.text(max_size=5), max_size=40))
def test_texts_are_joined(several: list[str]) -> None:
    assert join_messages("{one}; {other}", several) == "; ".join(several)


@pytest.mark.parametrize(
    ("english", "french"),
    [
        (format_message("{text!r} is not a duration", "3 parsecs"), "'3 parsecs' n'est pas une durée"),
        (
            format_message("{message} [request {request}]", str(ParseError(format_message("no column {name!r} in {tables}", "rra", "a.b"), text="SELECT rra", offset=7, remedy=suggest_spelling("rra", ["ra"]))), "ab-1"),
            "ligne 1, colonne 8 : il n'y a pas de colonne 'rra' dans a.b ; vouliez-vous dire 'ra' ? [demande ab-1]",
        ),
        (format_message("expected {expected}, found {found}", format_message("a comma or FROM"), format_message("the number {raw}", 5)), "attendu : une virgule ou FROM ; trouvé : le nombre 5"),
        (format_message("expected {expected}, found {found}", format_message("WHEN"), "'x'"), "attendu : WHEN ; trouvé : 'x'"),
        (join_messages("{one}; {other}", [format_message("{name}: {message}", name, format_message("{text!r} is not a number", "x")) for name in ("ra", "dec", "z")]), "ra : 'x' n'est pas un nombre ; dec : 'x' n'est pas un nombre ; z : 'x' n'est pas un nombre"),
        (UserError("the query is missing", place=TextPlace(file="q.adql", line=2)), "q.adql:2 : il manque la requête"),
        ("the query is missing", "il manque la requête"),
        (format_message("the query finds more than {most:,} rows", 20000), "la requête trouve plus de 20\u202f000 lignes"),
    ],
)  # fmt: skip
def test_messages_in_messages(english: str | UserError, french: str) -> None:
    assert get_message_translator("fr")(str(english)) == french
    assert get_message_translator("en")(str(english)) == str(english)


@pytest.mark.parametrize(
    "message",
    [
        "",
        "nobody has translated this",
        "no column 'rra' in a.b",  # finished: nothing matches it backwards
        join_messages(
            "{one}; {other}",
            [
                format_message("no column {name!r} in {tables}", "rra", "a.b"),
                format_message("nobody has translated this"),
            ],
        ),
        format_message(
            "the upload {name!r} cannot be read: {message}",
            "x",
            format_message("the reader of this format says that it is not a table"),
        ),
        format_message("expected {expected}, found {found}", format_message("something else"), "x"),
        format_message("nobody has translated {this}", format_message("a table")),
    ],
)
def test_what_is_not_known_whole_stays_english(message: str) -> None:
    assert get_message_translator("fr")(message) == message


def test_errors_of_libraries_keep_what_was_said() -> None:
    with pytest.raises(ValueError, match="is not a unit") as caught:
        compute_unit_factor("kmm", "m")
    assert get_message_translator("fr")(format_message("{name}: {message}", "IN_UNIT", caught.value)) == (
        "IN_UNIT : 'kmm' n'est pas une unité (caractère 1) : unité inconnue 'kmm' (vouliez-vous dire 'km' ?)"
    )


def test_a_message_costs_nothing_that_counts() -> None:
    words = get_message_translator("fr")
    words("warm")
    many = join_messages("{one}; {other}", [format_message("no column {name!r} in {tables}", "rra", "a.b")] * 5000)
    begun = time.process_time()
    words(many)
    assert time.process_time() - begun < 0.5


# --- pages ---------------------------------------------------------------------------------------------------------


FRENCH = {"accept-language": "fr"}


def test_an_error_is_told_in_the_language_of_the_page(client: Client) -> None:
    page = client.ask("GET", "/collections/nothing-like-it?lang=fr", headers={"accept": "text/html"})
    assert page.status == 404
    assert "il n&#39;y a pas de collection &#39;nothing-like-it&#39; ici" in page.text
    assert "there is no collection" not in page.text
    assert (
        "there is no collection &#39;nothing-like-it&#39; here"
        in client.ask("GET", "/collections/nothing-like-it").text
    )


def test_the_editors_mark(client: Client) -> None:
    require_query_editor()
    asked = "/adql/check?QUERY=SELECT+FROM+tap_schema.tables"
    french = json.loads(client.ask("GET", asked, headers=FRENCH).text)["fault"]
    english = json.loads(client.ask("GET", asked).text)["fault"]
    assert french["message"] != english["message"]
    assert (french["offset"], french["line"], french["column"]) == (
        english["offset"],
        english["line"],
        english["column"],
    )
    assert english["message"].startswith("expected ") or " " in english["message"]


def test_what_was_meant_can_be_written_in_every_language(client: Client) -> None:
    require_query_editor()
    asked = "/adql/check?QUERY=SELECT+table_nam+FROM+tap_schema.tables"
    for headers in ({}, FRENCH):
        assert json.loads(client.ask("GET", asked, headers=headers).text)["fault"]["meant"] == "table_name"
    assert (
        "vouliez-vous dire 'table_name' ?"
        in json.loads(client.ask("GET", asked, headers=FRENCH).text)["fault"]["remedy"]
    )


def test_programs_read_english(client: Client) -> None:
    answer = client.ask("GET", "/tap/sync?LANG=ADQL&QUERY=SELECT+x+FROM+nowhere.y", headers=FRENCH)
    assert "no table" in answer.text
    assert "il n" not in answer.text


def test_an_error_keeps_its_own_words() -> None:
    error = ParamError("the query is missing", remedy="send QUERY by POST, as you would to /tap/sync")
    assert get_message_translator("fr").translate_message_and_remedy(error) == {
        "message": "il manque la requête",
        "remedy": "envoyez QUERY par POST, comme à /tap/sync",
    }
    assert str(error) == "the query is missing; send QUERY by POST, as you would to /tap/sync"
    assert get_message_translator("en").translate_message_and_remedy(UserError("x")) == {"message": "x", "remedy": ""}
