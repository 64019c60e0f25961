"""HTTP -> Params by DALI's rules."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from hven.model.errors import ParamError, TooLargeError
from hven.model.params import Param, collect_params
from hven.services.params import MAX_FORM_BYTES, read_params


def request(
    method: str = "GET", query: bytes = b"", body: bytes = b"", kind: str = "application/x-www-form-urlencoded"
) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    headers = [(b"content-type", kind.encode())]
    return Request({"type": "http", "method": method, "path": "/", "query_string": query, "headers": headers}, receive)


def params(**kwargs: Any) -> Any:
    return asyncio.run(read_params(request(**kwargs), 10_000))


def test_names_have_no_case_and_values_do() -> None:
    found = params(query=b"query=SELECT+a&Lang=ADQL")
    assert found.read_one("QUERY") == "SELECT a"
    assert found.read_one("LANG") == "ADQL"


def test_get_and_post_are_the_same() -> None:
    body = b"QUERY=SELECT%20%27%C3%A9%27&MAXREC=5"
    assert params(query=body).values == params(method="POST", body=body).values


def test_post_adds_to_the_address() -> None:
    found = params(method="POST", query=b"LANG=ADQL", body=b"QUERY=x")
    assert (found.read_one("LANG"), found.read_one("QUERY")) == ("ADQL", "x")


def test_multipart_fields_and_files() -> None:
    body = (
        b'--B\r\nContent-Disposition: form-data; name="QUERY"\r\n\r\nSELECT 1\r\n'
        b'--B\r\nContent-Disposition: form-data; name="t1"; filename="t1.vot"\r\nContent-Type: text/xml\r\n\r\n<VOTABLE/>\r\n--B--\r\n'
    )
    found = params(method="POST", body=body, kind="multipart/form-data; boundary=B")
    assert found.read_one("QUERY") == "SELECT 1"
    assert found.files["t1"].content == b"<VOTABLE/>"


@pytest.mark.parametrize("where", ["address", "body"])
def test_a_table_may_be_sent_as_text_without_a_file_name(where: str) -> None:
    """As scripts in browsers do (`FormData.append(name, text)`), and `curl -F t='<file'`."""
    said = b"u,param:other;Mine, param:t"
    body = b'--B\r\nContent-Disposition: form-data; name="UPLOAD"\r\n\r\n' + said + b"\r\n" if where == "body" else b""
    body += b'--B\r\nContent-Disposition: form-data; name="t"\r\n\r\na\n\xc3\xa9\r\n'
    body += b'--B\r\nContent-Disposition: form-data; name="plain"\r\n\r\n1\r\n--B--\r\n'
    query = b"" if where == "body" else b"UPLOAD=u,param:other;Mine,%20param:t"
    found = params(method="POST", query=query, body=body, kind="multipart/form-data; boundary=B")
    assert {name: file.content for name, file in found.files.items()} == {"t": b"a\n\xc3\xa9"}
    assert set(found.values) == {"UPLOAD", "PLAIN"}


def test_a_packed_body_is_refused_with_what_may_be_packed() -> None:
    asked = request(method="POST", body=b"\x1f\x8b")
    asked.scope["headers"].append((b"content-encoding", b"gzip"))
    with pytest.raises(ParamError, match=r"the compression 'gzip'.*files in it may be compressed"):
        asyncio.run(read_params(asked, 10_000))


def test_a_single_value_given_twice_is_an_error_only_if_it_differs() -> None:
    assert collect_params([("MAXREC", "5"), ("maxrec", "5")]).read_one("MAXREC") == "5"
    with pytest.raises(ParamError, match="2 times"):
        collect_params([("MAXREC", "5"), ("maxrec", "6")]).read_one("MAXREC")


def test_an_empty_value_is_no_value() -> None:
    assert collect_params([("MAXREC", "")]).read_integer("MAXREC") is None


@pytest.mark.parametrize("text", ["ten", "1e3.5", "nan", "inf", "0x10", "1,5", "1_000", "\u0661\u0662", "1e999", "--1"])
def test_what_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(ParamError, match="RA"):
        collect_params([("RA", text)]).read_number("RA")


@pytest.mark.parametrize(("text", "low", "high"), [("-0.1", 0, 360), ("360.5", 0, 360)])
def test_bounds_are_said(text: str, low: float, high: float) -> None:
    with pytest.raises(ParamError, match="from 0 to 360"):
        collect_params([("RA", text)]).read_number("RA", minimum=low, maximum=high)


@pytest.mark.parametrize("text", ["-1", "1.5", "many", "1_000", "\u0661", "-" + "9" * 5000, "1e3"])
def test_maxrec_is_a_whole_number(text: str) -> None:
    with pytest.raises(ParamError, match="MAXREC"):
        collect_params([("MAXREC", text)]).read_integer("MAXREC")


@pytest.mark.parametrize("text", ["9223372036854775807", "9" * 30, "+" + "9" * 5000, "0" * 200 + "9" * 19])
def test_a_maxrec_that_means_everything_is_taken_so(text: str) -> None:
    """Clients send the largest number of their language for it."""
    assert collect_params([("MAXREC", text)]).read_integer("MAXREC") == 2**63 - 1


def test_bytes_that_are_not_utf8_are_named() -> None:
    with pytest.raises(ParamError, match="UTF-8"):
        params(query=b"QUERY=%ff%fe")
    with pytest.raises(ParamError, match="UTF-8"):
        params(query=b"QUERY=\xff\xfe")


def test_too_much_is_refused_before_it_is_read_whole() -> None:
    with pytest.raises(TooLargeError, match="10,000"):
        params(method="POST", body=b"QUERY=" + b"x" * 20_000)


def test_an_unknown_body_is_refused() -> None:
    with pytest.raises(ParamError, match="application/json"):
        params(method="POST", body=b"{}", kind="application/json")


def test_a_broken_multipart_body_is_refused() -> None:
    with pytest.raises(ParamError, match="multipart"):
        params(method="POST", body=b"garbage", kind="multipart/form-data")


def test_check_knows_required_and_allowed_and_ignores_the_rest() -> None:
    known = [Param(name="LANG", required=True, allowed=("ADQL",))]
    collect_params([("LANG", "ADQL"), ("DUMMY", "ignore-me")]).check_values(known)
    with pytest.raises(ParamError, match="missing"):
        collect_params([]).check_values(known)
    with pytest.raises(ParamError, match="use one of ADQL"):
        collect_params([("LANG", "OOBLECK")]).check_values(known)


def test_a_long_form_is_read_like_a_short_one() -> None:
    body = b"QUERY=" + b"x" * 200_000 + b"&LANG=ADQL"
    found = asyncio.run(read_params(request(method="POST", body=body), 10**6))
    assert (len(found.read_one("QUERY") or ""), found.read_one("LANG")) == (200_000, "ADQL")


def test_a_form_without_files_has_its_own_limit() -> None:
    with pytest.raises(TooLargeError, match="16,777,216"):
        asyncio.run(read_params(request(method="POST", body=b"QUERY=" + b"x" * MAX_FORM_BYTES), 10**9))


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_number_that_a_program_writes_is_read(value: float) -> None:
    assert collect_params([("RA", repr(value))]).read_number("RA") == value


@given(st.binary(max_size=200))
def test_no_query_string_makes_anything_but_a_param_error(raw: bytes) -> None:
    with contextlib.suppress(ParamError):
        params(query=raw)
