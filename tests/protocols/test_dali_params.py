"""Parameters as clients of all ages send them: TAP 1.0's REQUEST and VERSION, UWS's PHASE at once, repeats, cases, forms, media types, Accept."""

from __future__ import annotations

import pytest
from asgi_client import Answer, Client

GOOD = {"LANG": "ADQL", "QUERY": "SELECT 7 AS x", "RESPONSEFORMAT": "csv"}
CSV = b"x\r\n7\r\n"


@pytest.mark.parametrize(
    "params",
    [
        {"REQUEST": "doQuery"},
        {"REQUEST": "DOQUERY", "VERSION": "1.0"},
        {"VERSION": "1.1"},
        {"LANG": "ADQL-2.0"},
        {"LANG": ""},
        {"PHASE": "RUN"},
        {"RUNID": "a b"},
        {"MAXREC": ""},
        {"MAXREC": " +5 "},
        {"MAXREC": "9223372036854775807"},
        {"UPLOAD": ""},
        {"FORMAT": "votable"},  # the newer name counts
        {"RESPONSEFORMAT": "CSV"},
        {"RESPONSEFORMAT": "text/csv"},
        {"RESPONSEFORMAT": "Text/CSV; header=present"},
        {"RESPONSEFORMAT": "text/csv;charset=UTF-8"},
        {"RESPONSEFORMAT": "", "FORMAT": "csv"},
        {"nonsense": "1", "_": "17"},
    ],
)
def test_what_clients_add_is_understood(client: Client, params: dict[str, str]) -> None:
    for ask in (client.get, client.post):
        answer = ask("/tap/sync", **{**GOOD, **params})
        assert (answer.status, answer.body) == (200, CSV), params


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"REQUEST": "getCapabilities"}, "REQUEST='getCapabilities' is not valid"),
        ({"LANG": "PQL"}, "use one of ADQL, ADQL-2.0, ADQL-2.1"),
        ({"QUERY": ""}, "QUERY is missing"),
        ({"MAXREC": "-1"}, "at least 0"),
        ({"MAXREC": "1.5"}, "not a whole number"),
        ({"RESPONSEFORMAT": "doc"}, "use one of votable"),
        ({"RESPONSEFORMAT": "application/x-votable+xml;serialization=BINARY3"}, "use one of votable"),
        ({"RESPONSEFORMAT": "text/csv;header=perhaps"}, "use one of votable"),
    ],
)
def test_what_cannot_be_meant_is_refused_with_what_can(client: Client, params: dict[str, str], words: str) -> None:
    for ask in (client.get, client.post):
        answer = ask("/tap/sync", **{**GOOD, **params})
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/x-votable+xml"
        assert words in answer.text


def test_a_parameter_twice_is_one_if_its_values_are_equal(client: Client) -> None:
    def ask(more: bytes) -> Answer:
        return client.ask("GET", "/tap/sync", b"LANG=ADQL&RESPONSEFORMAT=csv&QUERY=SELECT+7+AS+x" + more)

    assert ask(b"&query=SELECT+7+AS+x").body == CSV
    for more in (b"&QUERY=SELECT+8", b"&lang=ADQL-2.0", b"&MAXREC=1&maxrec=2"):
        answer = ask(more)
        assert (answer.status, "is given 2 times, with different values" in answer.text) == (400, True)


def test_both_forms_of_a_body_say_the_same(client: Client) -> None:
    body = (
        b"".join(
            f'--M\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
            for name, value in GOOD.items()
        )
        + b"--M--\r\n"
    )
    for kind in ("multipart/form-data; boundary=M", 'Multipart/Form-Data; boundary="M"'):
        assert client.ask("POST", "/tap/sync", body=body, headers={"content-type": kind}).body == CSV
    body = b"lang=ADQL&responseformat=csv&query=SELECT+7+AS+x"
    for kind in ("application/x-www-form-urlencoded", "application/x-www-form-urlencoded; charset=UTF-8"):
        assert client.ask("POST", "/tap/sync", body=body, headers={"content-type": kind}).body == CSV
    assert client.ask("POST", "/tap/sync", body=body).body == CSV


@pytest.mark.parametrize(
    ("accept", "found"),
    [
        ("*/*", "application/x-votable+xml"),
        ("text/html,application/xhtml+xml,*/*;q=0.8", "application/x-votable+xml"),
        ("image/png", "application/x-votable+xml"),
        ("text/csv", "text/csv"),
        ("text/csv;q=0.1, application/json", "application/json"),
        ("application/vnd.apache.parquet, text/csv;q=0", "application/vnd.apache.parquet"),
    ],
)
def test_accept_counts_where_no_format_is_asked_for(client: Client, accept: str, found: str) -> None:
    query = b"LANG=ADQL&QUERY=SELECT+7+AS+x"
    assert client.ask("GET", "/tap/sync", query, headers={"accept": accept}).headers["content-type"] == found
    assert (
        client.ask("GET", "/tap/sync", query + b"&FORMAT=tsv", headers={"accept": accept}).headers["content-type"]
        == "text/tab-separated-values"
    )


def test_pages_of_other_sites_may_ask(writing_client: Client) -> None:
    """Answers, errors and redirects alike are readable to scripts in browsers."""
    origin = {"origin": "https://aladin.example"}
    for method, path, query, status in (
        ("GET", "/tap/sync", b"LANG=ADQL&QUERY=SELECT+7+AS+x", 200),
        ("HEAD", "/tap/sync", b"LANG=ADQL&QUERY=SELECT+7+AS+x", 200),
        ("GET", "/tap/sync", b"LANG=ADQL&QUERY=x", 400),
        ("GET", "/tap/nothing", b"", 404),
        ("PUT", "/tap/sync", b"", 405),
        ("POST", "/tap/async", b"LANG=ADQL&QUERY=SELECT+7", 303),
        ("OPTIONS", "/tap/async", b"", 204),
        ("OPTIONS", "/tap/sync", b"", 204),
    ):
        answer = writing_client.ask(
            method,
            path,
            query,
            headers={**origin, "access-control-request-headers": "content-type"} if method == "OPTIONS" else origin,
        )
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (status, "*"), (method, path)
        assert "location" in answer.headers["access-control-expose-headers"].lower()


def test_an_answer_that_is_known_is_not_sent_again(client: Client) -> None:
    query = b"LANG=ADQL&QUERY=SELECT+TOP+3+id+FROM+stars.main+ORDER+BY+id&RESPONSEFORMAT="
    for form in (b"csv", b"votable", b"fits"):
        tag = client.ask("GET", "/tap/sync", query + form).headers["etag"]
        again = client.ask("GET", "/tap/sync", query + form, headers={"if-none-match": tag})
        assert (again.status, again.body) == (304, b"")
        assert client.ask("GET", "/tap/sync", query + b"json", headers={"if-none-match": tag}).status == 200
        assert client.ask("HEAD", "/tap/sync", query + form).headers["etag"] == tag
