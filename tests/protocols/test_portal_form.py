"""The form of a table as the server draws it: what is wrong stays in its field, parts become an address, chips lead away, choices are looked for."""

from __future__ import annotations

import json
import re
from html import unescape
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from asgi_client import Client

HERE = "/collections/stars/main"


def inputs(text: str) -> dict[str, str]:
    return {
        unescape(name): unescape(value) for name, value in re.findall(r'<input name="([^"]+)" value="([^"]*)"', text)
    }


def test_what_is_wrong_stays_with_its_fault_and_the_rest_is_asked(client: Client) -> None:
    answer = client.ask("GET", f"{HERE}?dec=north%22%3E%3Cscript%3E&number=1..5&_near=Nowhere,3%20arcmin&_every=often")
    assert answer.status == 200
    found = inputs(answer.text)
    assert found["dec"] == 'north"><script>'
    assert (found["number"], found["_to.number"]) == ("1", "5")
    assert (found["_near"], found["_radius"]) == ("Nowhere", "3")
    for name in ("dec", "_near"):
        assert f'id="fault-{name}"' in answer.text
        assert f'aria-describedby="fault-{name}"' in answer.text
    assert "_every: " in answer.text, "a table without times has no such field, but the fault is told"
    assert "<script>n" not in answer.text
    chips = re.findall(r'data-name="([^"]+)"', answer.text)
    assert chips == ["number"]


def test_pages_of_no_rows_are_pages_of_the_usual_size(client: Client) -> None:
    none, usual = (client.ask("GET", HERE + sent) for sent in ("?_size=0", ""))
    assert (none.status, usual.status) == (200, 200)
    assert none.text.count("<tr") == usual.text.count("<tr") > 1


def test_what_is_not_used_is_said_above_the_rows_and_to_programs(client: Client) -> None:
    page = client.ask(
        "GET", f"{HERE}?dec=abc&_x=1&mag=1..9&_view=a&_map=b&_plot=c&_compare=d&_from=1&_size=5&lang=en"
    ).text
    said = re.search(r"<p[^>]* data-unused>(.*?)</p>", page, re.DOTALL)
    assert said is not None
    told = " ".join(unescape(re.sub(r"<[^>]+>", "", said[1])).split())
    assert told == "Not used: _x there is no parameter '_x' Not used: dec 'abc' is not a number"
    assert page.index(said[0]) < page.index("data-count")
    for name in re.findall(r'href="#(fault-[^"]+)"', said[1]):
        assert f'id="{name}"' in page
    opened = page[: page.index('id="fault-dec"')].rpartition("<details")[2]
    assert opened.startswith(" open"), "the section of the field is open"
    assert "data-unused hidden" in client.ask("GET", f"{HERE}?mag=1..9").text
    for pane in ("rows", "count"):
        assert [one["field"] for one in ask(client, f"{HERE}/{pane}?dec=abc&_x=1&_from=0")["faults"]] == ["_x", "dec"]
    twin = client.ask("GET", f"{HERE}?dec=abc&_x=1", headers={"accept": "application/json"})
    assert {one["field"] for one in json.loads(twin.body)["faults"]} == {"dec", "_x"}
    for wrong in ("dec=abc", "_x=1", "nothing=3"):
        for way in ("download?_as=csv", "script?_as=wget", "moc?_as=ascii"):
            assert client.ask("GET", f"{HERE}/{way}&{wrong}").status == 400, "no file of other rows than were asked for"


@pytest.mark.parametrize(
    ("sent", "address"),
    [
        ("mag=3&_to.mag=4&_as.mag=", {"mag": "3..4"}),
        ("mag=3&_to.mag=4000&_as.mag=mmag", {"mag": "3..4000 mmag"}),
        ("mag=&_to.mag=4&_as.mag=", {"mag": "..4"}),
        ("mag=%3C4&_to.mag=&_as.mag=", {"mag": "<4"}),
        ("mag=&_to.mag=&_as.mag=&_q=", {}),
        ("_near=5h31m+22d&_radius=30&_radius_unit=arcmin", {"_near": "82.75,22.0,0.5"}),
        ("_near=&_radius=30&_radius_unit=arcmin&_sort=-mag&lang=fr", {"_sort": "-mag", "lang": "fr"}),
        ("dec=x&_to.dec=&_as.dec=", {"dec": "x"}),
    ],
)
def test_a_form_that_was_sent_has_an_address_of_its_own(client: Client, sent: str, address: dict[str, str]) -> None:
    answer = client.ask("GET", f"{HERE}?{sent}")
    assert answer.status == 303
    target = urlsplit(answer.headers["location"])
    assert target.path == HERE
    assert dict(parse_qsl(target.query)) == address
    assert client.ask("GET", f"{HERE}?{target.query}").status == 200


def test_each_chip_leads_to_everything_else(client: Client) -> None:
    text = client.ask("GET", f"{HERE}?mag=1..9&_in=CIRCLE%2010%2010%2090&_q=a&_sort=mag").text
    for address, name in re.findall(r'<li><a href="([^"]+)" data-name="([^"]+)"', text):
        kept = {one for one, _ in parse_qsl(urlsplit(unescape(address)).query)}
        assert kept == {"mag", "_in", "_q", "_sort"} - {name}
    form = text[text.index('class="filters"') :]
    form = form[: form.index("</form>")]
    assert re.findall(r'<input type="hidden" name="([^"]+)"', form) == ["_in", "_sort"]


def ask(client: Client, path: str) -> Any:
    answer = client.ask("GET", path)
    assert answer.status == 200, answer.text
    return json.loads(answer.body)


def test_the_count_tells_scripts_what_stands_in_the_fields(client: Client) -> None:
    found = ask(client, f"{HERE}/count?mag=1..9%20mmag&_near=10,20,0.01&dec=abc")
    assert found["fields"]["mag"] == {"low": "1", "high": "9", "unit": "mmag", "around": ""}
    assert found["place"] == {"centre": "10.0,20.0", "size": "36", "unit": "arcsec", "found": "", "body": False}
    assert [one["name"] for one in found["asked"]] == ["mag", "_near"]
    assert [one["field"] for one in found["faults"]] == ["dec"]


def test_values_are_looked_for(client: Client) -> None:
    every = ask(client, f"{HERE}/facets?_of=id")["facets"][0]
    assert every["more"]
    some = ask(client, f"{HERE}/facets?_of=id&_like={every['choices'][0]['value']}")["facets"][0]
    assert every["choices"][0]["value"] in [one["value"] for one in some["choices"]]
    assert ask(client, f"{HERE}/facets?_of=id&_like=_")["facets"][0]["choices"] == []
    assert client.ask("GET", f"{HERE}/facets?_of=nothing").status == 400
    assert client.ask("GET", f"{HERE}/facets?_of=mag&_like=3").status == 400


@pytest.mark.parametrize("sent", ["_q=%25", "_q=_", "_q=s_%25", "id=_*"])
def test_wildcards_of_like_are_ordinary_characters(client: Client, sent: str) -> None:
    assert ask(client, f"{HERE}/count?{sent}")["total"] == 0
