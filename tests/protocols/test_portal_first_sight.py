"""What a stranger sees of a table: words, numbers to be read, a form as people ask, the next step where nothing is found."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode

import pytest
from asgi_client import Client
from lxml import html

from hven.app._server import create_and_start_application
from hven.ingest.api.runs import ingest_collection
from hven.model.settings import load_settings
from hven.site import Site
from plugin_needs import list_query_addresses

HERE = "/collections/cubes/epn_core"
ROWS = 60
EVIL = "<b>Ice</b> & snow"
LONG = " of Mars" * 40  # more than a card has room for
CUBES = f"""\
collection: cubes
title: {{en: Cubes, fr: Les <i>cubes</i>}}
description: {{fr: Des cubes{LONG}, en: Made cubes{LONG}}}
tables:
  epn_core:
    description: {{en: A row is a file, fr: Une ligne est un fichier}}
    standard: epn-tap-2.0
    frame: body
    optional: [solar_longitude, access]
    primary: [granule_uid]
    source: {{kind: csv, files: a.csv}}
    columns:
      orbit: {{type: int32, description: Number of the orbit}}
      quality: {{type: int32, description: 0 to 3, enum: good}}
      ice: {{type: float64, label: {{en: {json.dumps(EVIL)}, fr: Glace}}, description: {{en: Depth, fr: Profondeur}}}}
    enums: {{good: {{"0": bad, "1": fair, "2": good}}}}
    set: {{dataproduct_type: sc, processing_level: 3, target_name: Mars, target_class: planet, instrument_host_name: Mars Express, instrument_name: OMEGA, access_format: application/fits}}
    map:
      granule_uid: uid
      obs_id: uid
      time_min: jd(start)
      time_max: jd(start) + 0.01
      c1min: lon
      c1max: lon + 1
      c2min: lat
      c2max: lat + 1.5
      solar_longitude_min: ls
      solar_longitude_max: ls
      spectral_range_min: 5.889e13
      spectral_range_max: 8.226e14 + quality
      access_url: "'https://a.example/' || uid"
      access_estsize: 50000 + CAST(MOD(orbit, 3) AS INTEGER)
"""
PLAIN = """\
collection: plain
title: Plain
tables:
  main:
    form: [size, who, t]
    source: {kind: csv, files: a.csv}
    columns:
      id: {type: int32}
      who: {type: string}
      size: {type: float64, unit: m}
      t_min: {type: float64}
      t_max: {type: float64}
      deep: {type: float64, rank: 20}
      mass: {type: float64, unit: 10**14solMass, rank: 20}
      light: {type: float64, unit: Hz, ucd: em.freq, rank: 20}
"""


@pytest.fixture(scope="module")
def sight_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("sight")
    (root / "hven.toml").write_text('title = "Sight"\n', encoding="utf-8")
    cubes = ["uid,start,lon,lat,ls,orbit,quality,ice"]
    cubes += [
        f"u{n:03d},2004-01-{1 + n % 28:02d}T03:00:00,{n * 5.123456},{n - 30},{(n * 6) % 360},{n // 2},{n % 3},{n / 7}"
        for n in range(ROWS)
    ]
    plain = [
        "id,who,size,t_min,t_max,deep,mass,light",
        *(f"{n},w{n % 30},{n * 1e3},{n},{n},{n},{n % 9},{6e14 + n * 37 % 60 * 5e14}" for n in range(1, 61)),
    ]
    for name, text, lines in (("cubes", CUBES, cubes), ("plain", PLAIN, plain)):
        folder = root / "collections" / name
        folder.mkdir(parents=True)
        (folder / f"{name}.yaml").write_text(text, encoding="utf-8")
        (folder / "a.csv").write_text("\n".join(lines), encoding="utf-8")
    with Site(load_settings(root)) as site:
        for name in ("cubes", "plain"):
            ingest_collection(site, name)
        yield Client(create_and_start_application(site))


def ask(client: Client, path: str) -> Any:
    answer = client.ask("GET", path)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def page(client: Client, path: str) -> Any:
    answer = client.ask("GET", path)
    assert answer.status == 200, answer.text
    return html.fromstring(answer.text)


def words(found: Any) -> list[str]:
    return [" ".join(one.text_content().split()) for one in found]


def test_column_headers_are_labels_and_ranges_have_one_column(sight_client: Client) -> None:
    found = page(sight_client, HERE)
    assert words(found.xpath("//thead//th")) == ["Granule", "Time UTC", "Longitude °", "Latitude °", "orbit", "quality", EVIL, "Wavelength µm", "Data"]  # fmt: skip
    assert found.xpath("//thead//th/@title")[0].startswith("granule_uid: ")
    assert words(found.xpath("//tbody/tr[contains(., '2004-01-02 03:00')]/td"))[1:4] == ["2004-01-02 03:00:00 \u2013 03:14:24", "5.123 \u2013 6.123", "-29 \u2013 -27.5"]  # fmt: skip
    assert not found.xpath("//b[text()='Ice']"), "a label is text"


def test_column_names_of_queries_are_shown_on_request(sight_client: Client) -> None:
    found = page(sight_client, f"{HERE}?_names=raw&lang=fr")
    assert words(found.xpath("//thead//th"))[:3] == ["granule_uid", "time_min d", "time_max d"]
    assert found.xpath("//a[@data-names='']"), "and the way back"
    assert "_names=raw" in found.xpath("//thead//th/a/@href")[0], "kept along"


def test_all_words_are_in_the_readers_language(sight_client: Client) -> None:
    found = page(sight_client, f"{HERE}?lang=fr")
    assert words(found.xpath("//thead//th"))[1:3] == ["Temps UTC", "Longitude °"]
    assert "cube spectral" in found.xpath("//p[@data-alike]")[0].text_content()


def test_the_form_starts_with_main_columns_and_omits_constant_ones(sight_client: Client) -> None:
    found = page(sight_client, HERE)
    first = found.xpath("//form[@data-pane='form']//details[1]")[0]
    assert first.get("open") is not None
    assert words(first.xpath("summary | .//legend | .//label/span")) == ["Main columns", "Time UTC", "Longitude", "Latitude", "Ls", "orbit", "quality", EVIL]  # fmt: skip
    assert not found.xpath("//form//*[@name='target_name']"), "all rows are of Mars"
    assert page(sight_client, f"{HERE}?target_name=Venus").xpath("//form//*[@name='target_name']"), "unless it is asked"
    assert {one.get("open") for one in found.xpath("//form[@data-pane='form']//details")[1:]} == {None}


def test_a_descriptor_sets_the_order_of_the_form(sight_client: Client) -> None:
    found = page(sight_client, "/collections/plain/main")
    first = found.xpath("//form[@data-pane='form']//details[1]")[0]
    assert words(first.xpath(".//legend | .//label/span")) == ["size", "who", "t", "id"]
    assert first.xpath(".//select[@name='_as.size']/option[@selected]")[0].text_content().strip() == "km"


def test_light_is_asked_in_the_unit_of_its_size(sight_client: Client) -> None:
    (field,) = page(sight_client, HERE).xpath("//fieldset[@data-ask='spectral_range']")
    assert words(field.xpath("legend")) == ["Wavelength"]
    (chosen,) = field.xpath(".//option[@selected]")
    assert chosen.get("value") == "um" == field.get("data-unit")
    assert chosen.text_content().strip() == "µm"


def test_units_are_typeset_in_forms_answers_and_lists_of_columns(sight_client: Client) -> None:
    said = "10¹⁴ M☉"
    (field,) = page(sight_client, "/collections/plain/main").xpath("//fieldset[@data-ask='mass']")
    options = field.xpath(".//select/option")
    assert [one.text_content().strip() for one in options] == [said, "kg", "g", "M☉"]
    assert [one.get("value") for one in options] == ["", "kg", "g", "solMass"], "an address has the unit's name"
    assert options[0].get("data-unit") == "10**14solMass"
    asked = "QUERY=SELECT+mass+FROM+plain.main"
    for address in list_query_addresses("/adql"):
        assert words(page(sight_client, f"{address}/answer?{asked}").xpath("//th/small")) == [said]
        assert ask(sight_client, f"{address}/histogram?{asked}&_x=mass")["unit"] == said
        assert said in words(page(sight_client, address).xpath("//li/small"))
    (column,) = ask(sight_client, "/collections/plain/main/rows?_cols=mass")["columns"]
    assert (column["unit"], column["stored_unit"], column["stored_text"]) == ("10**14solMass", "10**14solMass", said)
    assert dict(zip(column["units"], column["unit_texts"], strict=True))["solMass"] == "M☉"


def test_choices_that_statistics_know_are_shown_before_they_are_counted(sight_client: Client) -> None:
    (script,) = page(sight_client, f"{HERE}?orbit=..20").xpath("//div[@data-pane='facets']/script")
    known = {one["column"]: one for one in json.loads(script.text)}
    assert [(one["value"], one["rows"]) for one in known["quality"]["choices"]] == [
        ("0", None),
        ("1", None),
        ("2", None),
    ]


def test_short_choice_lists_appear_in_the_field_sorted_by_value(sight_client: Client) -> None:
    found = {one["column"]: one for one in ask(sight_client, f"{HERE}/facets?orbit=..20")["facets"]}
    assert [(one["value"], one["label"]) for one in found["quality"]["choices"]] == [("0", "bad"), ("1", "fair"), ("2", "good")]  # fmt: skip
    assert found["quality"]["field"]
    assert not found["orbit"]["field"]
    assert found["orbit"]["more"]
    assert not {"access_estsize", "access_format", "access_url", "target_name"} & set(found), "files, constants"
    assert page(sight_client, HERE).xpath("//*[@data-choices='quality']")
    many = ask(sight_client, "/collections/plain/main/facets")["facets"]
    assert [(one["column"], one["field"], len(one["choices"])) for one in many if one["column"] == "who"] == [("who", False, 12)]  # fmt: skip


def test_searched_quantities_become_columns(sight_client: Client) -> None:
    assert "Ls °" not in words(page(sight_client, HERE).xpath("//thead//th"))
    found = page(sight_client, f"{HERE}?solar_longitude=350..10")
    assert "Ls °" in words(found.xpath("//thead//th"))
    assert "solar_longitude_min" in ask(sight_client, f"{HERE}/rows?solar_longitude=350..10")["adql"]
    chosen = page(sight_client, f"{HERE}?solar_longitude=350..10&_cols=granule_uid")
    assert words(chosen.xpath("//thead//th")) == ["Granule"], "who chooses columns has those"
    plain = page(sight_client, "/collections/plain/main?deep=1..5")
    assert "deep" in words(plain.xpath("//thead//th"))


def test_empty_results_suggest_conditions_to_drop(sight_client: Client) -> None:
    asked = "orbit=99999&quality=0,1&_q=nowhere"
    (one,) = ask(sight_client, f"{HERE}/count?{asked}")["without"]
    assert [each["name"] for each in one["left"]] == ["orbit", "_q"], "neither alone would help"
    asked = "orbit=99999&quality=0"
    (one,) = ask(sight_client, f"{HERE}/count?{asked}")["without"]
    assert one["rows"] == ROWS // 3
    (one,) = one["left"]
    assert (one["name"], one["label"], one["value"]) == ("orbit", "orbit", "99999")
    found = page(sight_client, f"{HERE}?{asked}")
    assert words(found.xpath("//ul[@data-without]/li")) == ["without orbit 99999: 20 rows orbit of these rows: 0 – 28"]  # noqa: RUF001
    assert one["range"] == "0 – 28"  # noqa: RUF001
    assert found.xpath("//ul[@data-without]//a/@href")[0].endswith("?quality=0")
    assert ask(sight_client, f"{HERE}/count?orbit=99999")["without"][0]["rows"] == ROWS
    assert ask(sight_client, f"{HERE}/count?orbit=1")["without"] == []
    both = ask(sight_client, f"{HERE}/count?orbit=0&quality=2")["without"]
    assert [(one["left"][0]["name"], one["rows"]) for one in both] == [("quality", 2), ("orbit", 20)], (
        "the nearest first"
    )


def test_conditions_that_no_row_meets_are_left_out_together(sight_client: Client) -> None:
    asked = "orbit=99999&time=1999&quality=0"
    (one,) = ask(sight_client, f"{HERE}/count?{asked}")["without"]
    assert [each["name"] for each in one["left"]] == ["orbit", "time"]
    assert (one["rows"], one["observations"]) == (ROWS // 3, False)
    said = words(page(sight_client, f"{HERE}?{asked}").xpath("//ul[@data-without]/li"))
    wanted = "without orbit 99999, Time 1999: 20 rows orbit of these rows: 0 – 28 Time of these rows: 2004-01-01 03:00:00 – 2004-01-28 03:14:24 UTC"  # noqa: RUF001
    assert said == [wanted]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("time=1999", "2004-01-01 03:00:00 – 2004-01-28 03:14:24 UTC"),  # noqa: RUF001
        ("time=1999&orbit=3", "2004-01-07 03:00:00 – 2004-01-08 03:14:24 UTC"),  # noqa: RUF001
        ("c2=80..90", "-30 – 30.5 °"),  # noqa: RUF001
        ("spectral_range=1..2 m", "0.364445 – 5.09072 µm"),  # noqa: RUF001
        ("ice=>99", "0 – 8.42857"),  # noqa: RUF001
        ("quality=7", ""),  # of codes there is no range
        ("obs_id=nobody", ""),
    ],
)
def test_where_nothing_is_found_the_range_that_there_is_stands_beside_it(
    sight_client: Client, asked: str, said: str
) -> None:
    found = ask(sight_client, f"{HERE}/count?{asked}")
    assert (found["total"], found["faults"]) == (0, [])
    name = asked.partition("=")[0]
    assert next(each["range"] for one in found["without"] for each in one["left"] if each["name"] == name) == said


def test_plots_are_in_the_units_that_people_read(sight_client: Client) -> None:
    found = ask(sight_client, f"{HERE}/points?_x=spectral_range_max&_y=access_estsize&quality=1")
    assert [(one["label"], one["unit"]) for one in found["axes"]] == [
        ("Shortest wavelength", "µm"),
        ("Size", "MB"),
    ]
    assert found["values"][0] == pytest.approx([299792458 / (8.226e14 + 1) * 1e6] * 20)
    assert set(found["values"][1]) <= {50.0, 50.001, 50.002}
    found = ask(sight_client, f"{HERE}/histogram?_x=access_estsize")
    assert (found["unit"], found["low"], found["high"]) == ("MB", 50, pytest.approx(50.002))
    chosen = ask(sight_client, f"{HERE}/histogram?_x=access_estsize&_unit.access_estsize=kbyte")
    assert (chosen["unit"], chosen["low"]) == ("kB", 50_000)
    assert ask(sight_client, f"{HERE}/histogram?_x=access_estsize&_names=raw")["unit"] == "kbyte"
    offered = page(sight_client, HERE).xpath("//div[@data-pane='plot']/script/text()")[0]
    assert {"name": "access_estsize", "label": "Size", "unit": "MB"} in json.loads(offered)


def test_choices_and_filter_chips_have_labels(sight_client: Client) -> None:
    found = page(sight_client, f"{HERE}?quality=2&dataproduct_type=sc&_every=")
    assert words(found.xpath("//ul[@data-chips]/li/a")) == ["quality good ×", "Product spectral cube ×"]  # noqa: RUF001


def test_pages_use_the_readers_language_and_programs_get_the_sites(
    sight_client: Client,
) -> None:
    for path in (HERE, "/collections/cubes", "/"):
        french, english = (sight_client.ask("GET", f"{path}?lang={language}").text for language in ("fr", "en"))
        assert "Les &lt;i&gt;cubes&lt;/i&gt;" in french
        assert "Les &lt;i&gt;" not in english
    cards = page(sight_client, "/?lang=fr").xpath("string(//ul[@class='cards'])")
    assert "Des cubes of Mars" in cards
    assert "Made cubes" not in cards
    found = page(sight_client, f"{HERE}?lang=fr")
    assert "Glace" in words(found.xpath("//thead//th"))
    assert "ice: Profondeur" in found.xpath("//thead//th/@title")
    assert "Une ligne est un fichier" in found.text_content()
    assert ask(sight_client, f"{HERE}/rows?lang=fr")["columns"][-1]["label"] == "Glace"
    twin = ask(sight_client, "/collections/cubes.json")
    assert (twin["title"], twin["description"]) == ("Cubes", f"Made cubes{LONG}")
    for query in (
        "SELECT description FROM TAP_SCHEMA.columns WHERE table_name = 'cubes.epn_core' AND column_name = 'ice'",
        "SELECT TOP 1 ice FROM cubes.epn_core",
    ):
        sent = urlencode(
            {"LANG": "ADQL", "QUERY": query, "RESPONSEFORMAT": "application/x-votable+xml;serialization=tabledata"}
        )
        answer = sight_client.ask("GET", f"/tap/sync?{sent}", headers={"accept-language": "fr"}).text
        assert "Depth" in answer
        assert "Profondeur" not in answer


def test_one_line_says_what_the_table_is(sight_client: Client) -> None:
    told = "Mars Express / OMEGA, {}, Mars, 0.36\u20135.1 µm, 2004"
    for language, kind in (("en", "spectral cubes, calibrated"), ("fr", "cubes spectraux, étalonné")):
        (line,) = words(page(sight_client, f"{HERE}?lang={language}").xpath("//details[@class='sentence']/summary"))
        assert line == told.format(kind)
    assert page(sight_client, HERE).xpath("//details[@class='sentence']/p[@data-alike]"), "the rest is after it"
    plain = page(sight_client, "/collections/plain/main")
    assert not plain.xpath("//details[@class='sentence']"), "nothing is known of it"
    assert plain.xpath("//p[@data-alike]")
