"""What clients write that is nearly right: other letter case, a slash at the end, the base address, a query in a file, OPTIONS."""

from __future__ import annotations

import pytest
from asgi_client import Client

COUNT = "SELECT COUNT(*) AS n FROM TAP_SCHEMA.schemas"


@pytest.mark.parametrize("lang", ["ADQL", "adql", "Adql-2.1", "adql-2.0"])
def test_the_language_has_no_case(client: Client, lang: str) -> None:
    assert client.get("/tap/sync", LANG=lang, QUERY=COUNT, RESPONSEFORMAT="csv").status == 200


def test_a_slash_at_the_end_changes_nothing(writing_client: Client) -> None:
    given = {"LANG": "ADQL", "QUERY": COUNT, "RESPONSEFORMAT": "csv"}
    assert writing_client.post("/tap/sync/", **given).body == writing_client.post("/tap/sync", **given).body
    assert writing_client.get("/tap/async/").body == writing_client.get("/tap/async").body
    made = writing_client.post("/tap/async/", **given)
    assert made.status == 303
    where = made.headers["location"].partition("/tap/")[2]
    assert writing_client.get(f"/tap/{where}/phase/").text == "PENDING"
    assert writing_client.get("/tap/tables/").status == 200


def test_the_base_address_shows_the_way(client: Client) -> None:
    found = client.get("/tap")
    assert (found.status, found.headers["location"].rpartition("/tap/")[2]) == (303, "capabilities")
    page = client.ask("GET", "/tap", headers={"accept": "text/html,application/xhtml+xml;q=0.9"})
    assert (page.status, page.headers["location"].rpartition("/tap/")[2]) == (303, "examples")


@pytest.mark.parametrize(
    ("path", "wanted"), [("/tap/sync", "POST"), ("/tap/async", "POST"), ("/tap/capabilities", "GET")]
)
def test_options_are_told(client: Client, path: str, wanted: str) -> None:
    told = client.ask("OPTIONS", path)
    assert (told.status, told.body) == (204, b"")
    assert {"OPTIONS", wanted} <= {word.strip() for word in told.headers["allow"].split(",")}


def multipart(*parts: tuple[str, bytes]) -> tuple[bytes, dict[str, str]]:
    body = b"".join(
        b"--X\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + content + b"\r\n"
        for head, content in parts
    )
    return body + b"--X--\r\n", {"content-type": "multipart/form-data; boundary=X"}


def test_a_query_may_be_a_file(client: Client) -> None:
    query = "\ufeffSELECT COUNT(*) AS n\nFROM TAP_SCHEMA.schemas -- größe\n".encode()
    body, headers = multipart(
        ('name="LANG"', b"ADQL"), ('name="RESPONSEFORMAT"', b"csv"), ('name="QUERY"; filename="q.adql"', query)
    )
    assert (
        client.ask("POST", "/tap/sync", body=body, headers=headers).body
        == client.get("/tap/sync", LANG="ADQL", QUERY=COUNT, RESPONSEFORMAT="csv").body
    )
    body, headers = multipart(('name="LANG"', b"ADQL"), ('name="query"; filename="q.adql"', b"SELECT \xff"))
    refused = client.ask("POST", "/tap/sync", body=body, headers=headers)
    assert refused.status == 400
    assert b"not UTF-8 (byte 7)" in refused.body


@pytest.mark.parametrize("path", ["/assets/sky/x/\0", "/assets/sky/" + "a" * 5000, "/tap/tables/\0", "/\0"])
def test_paths_that_no_file_can_have_are_not_found(client: Client, path: str) -> None:
    assert client.get(path).status == 404


def test_capabilities_and_examples_say_how_they_are_kept_and_framed(client: Client) -> None:
    first = client.get("/tap/capabilities")
    assert first.headers["cache-control"] == "public, no-cache"
    assert client.ask("GET", "/tap/capabilities", headers={"if-none-match": first.headers["etag"]}).status == 304
    assert "frame-ancestors" in client.get("/tap/examples").headers["content-security-policy"]
