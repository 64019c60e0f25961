"""The report of a check is kept with its templates, so that each user reads it in their language."""

from __future__ import annotations

from submission_site import Person, make_image, path_of, read_submission

from hven.model.errors import format_message
from hven.model.table import build_localized_text
from hven.plugins.entries.stored_messages import decode_message, encode_message
from hven.site import Site

FRENCH = {"accept-language": "fr"}


def show_in_french(person: Person, path: str) -> str:
    return person.get(path, accept="text/html", **FRENCH).text.replace("&#39;", "'")


def test_findings_of_files_and_rules_are_french_for_a_french_reader(people: dict[str, Person]) -> None:
    anna = people["anna"]
    files = {"long.fits": make_image(OBJECT="Vega", EXPTIME=2000.0), "notes.txt": b"no FITS"}
    submission = anna.begin(files, "lists.images")
    checked = read_submission(anna.take(submission, "check"))
    (finding,) = checked["report"]["findings"]
    assert (finding["rule"], finding["severity"], finding["message"], finding["rows"]) == (
        "short",
        "warning",
        "the exposure is long",
        [checked["rows"][0]["number"]],
    )
    assert checked["report"]["obstacles"] == [
        "the files have warnings: explain in the note why the warnings are acceptable"
    ]
    name_finding = checked["files"][1]["findings"][0]["message"]
    assert name_finding == "the name must end with one of .fits, .fit, .fts, .fits.gz"
    page = show_in_french(anna, path_of(checked))
    assert "le nom doit finir par l'un de .fits, .fit, .fts, .fits.gz" in page
    assert "la pose est longue" in page
    assert "the name must end" not in page
    assert "the name must end" in anna.show(path_of(checked))


def test_what_rules_of_the_table_find_is_french(people: dict[str, Person]) -> None:
    anna = people["anna"]
    files = {"day.fits": make_image(OBJECT="Deneb", EXPTIME=9000.0), "nobody.fits": make_image(EXPTIME=1.0)}
    checked = read_submission(anna.take(anna.begin(files, "lists.images"), "check"))
    english = [finding["message"] for finding in checked["report"]["findings"]]
    assert english == ["object is required, but has no value", "exptime: more than an hour", "the exposure is long"]
    assert checked["report"]["obstacles"][0] == "rows break rules of the table"
    page = show_in_french(anna, path_of(checked))
    french = ["object est obligatoire, mais n'a pas de valeur", "exptime : plus d'une heure", "la pose est longue"]
    for text in (*french, "des lignes enfreignent des règles de la table"):
        assert text in page
    for text in english:
        assert text not in page
    refused = anna.send(path_of(checked), {"etag": checked["etag"], "action": "submit"}, **FRENCH)
    assert "des lignes enfreignent des règles de la table" in refused.text


def test_messages_come_back_as_they_were() -> None:
    localized = build_localized_text({"en": "night", "fr": "nuit"})
    message = format_message("{name!r:.80} in {place}, {count:,} times", "x", format_message("the file"), 1_234)
    for text in (message, localized, format_message("{text}: {more}", localized, 1.5), "plain"):
        decoded = decode_message(encode_message(text))
        assert (decoded, type(decoded), str(decoded.__reduce__() if text != "plain" else "")) == (
            text,
            type(text),
            str(text.__reduce__() if text != "plain" else ""),
        )


def test_reports_of_an_older_version_are_shown(site: Site) -> None:
    assert (decode_message("the exposure is long"), site.settings.name is not None) == ("the exposure is long", True)
