"""Cookies: read and written to the letter, never believed from foreign pages; failures are told ever later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.site.auth import session
from hven.site.auth.session import Attempts, cookie, foreign, proof_of

HOME = {"https://vo.example.org"}


@pytest.mark.parametrize(
    ("headers", "wanted"),
    [
        ({}, False),  # curl, pyvo: no browser
        ({"origin": "https://vo.example.org"}, False),
        ({"origin": "https://VO.example.org", "sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "same-origin"}, False),
        ({"sec-fetch-site": "none"}, False),
        ({"sec-fetch-site": "same-site"}, True),  # another host of the institute
        ({"sec-fetch-site": "cross-site"}, True),
        ({"sec-fetch-site": "nonsense"}, True),
        ({"origin": "https://evil.example"}, True),
        ({"origin": "http://vo.example.org"}, True),
        ({"origin": "https://vo.example.org.evil.example"}, True),
        ({"origin": "null"}, True),  # a sandboxed frame, a file
        ({"origin": ""}, True),
        ({"origin": "https://evil.example", "sec-fetch-site": "cross-site"}, True),
    ],
)
def test_whose_page_asks(headers, wanted):
    for method in ("POST", "PUT", "DELETE", "PATCH", "post", "WHATEVER"):
        assert foreign(method, headers, HOME) is wanted
    for method in ("GET", "HEAD", "OPTIONS"):
        assert not foreign(method, headers, HOME)


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=200))
def test_any_cookie_can_be_read(text):
    found = proof_of({"cookie": text})
    assert found is None or found in text


def test_cookies_as_browsers_send_them():
    assert proof_of({}) is None
    assert proof_of({"cookie": "a=b"}) is None
    assert proof_of({"cookie": f"a=b; {session.COOKIE}=x.y; c=d"}) == "x.y"
    assert proof_of({"cookie": f"not{session.COOKIE}=x.y"}) is None
    assert proof_of({"cookie": f"{session.COOKIE}="}) is None


def test_what_a_cookie_says():
    said = cookie("x.y", path="/hven", secure=True)
    assert said == f"{session.COOKIE}=x.y; Path=/hven; Max-Age={14 * 86400}; HttpOnly; SameSite=Lax; Secure"
    assert cookie(None, path="", secure=False) == f"{session.COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"


def test_failures_are_told_ever_later_and_forgotten():
    clock = [1000.0]
    attempts = Attempts(lambda: clock[0])

    def fail(address, account):
        pause = attempts.failed(address, account)
        attempts.answered(address, account)
        return pause

    pauses = [fail("a", "anna") for _ in range(100)]
    assert pauses[: session.FREE] == [0.0] * session.FREE
    assert pauses[session.FREE : session.FREE + 5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert set(pauses[session.FREE + 5 :]) == {session.LONGEST}
    assert fail("elsewhere", "anna") == session.LONGEST, "the account, wherever it is tried"
    assert fail("a", "bert") == session.LONGEST, "the address, whatever it tries"
    assert fail("b", "bert") == 0.0
    clock[0] += session.WINDOW + 1
    assert fail("a", "anna") == 0.0
    assert set(attempts._failed) == {("address", "a"), ("account", "anna")}, "nothing is kept of old failures"
    assert not attempts._held


def test_while_wrong_ones_wait_for_their_answers_no_more_are_looked_at():
    attempts = Attempts()
    for _ in range(session.HELD):
        assert attempts.allowed("a", "anna")
        attempts.failed("a", "anna")
    assert not attempts.allowed("a", "anna")
    assert attempts.allowed("a", "bert")
    assert attempts.allowed("b", "anna")
    attempts.answered("a", "anna")
    assert attempts.allowed("a", "anna")


def test_names_without_end_fill_no_memory(monkeypatch):
    monkeypatch.setattr(session, "KEPT", 10)
    attempts = Attempts()
    for n in range(100):
        attempts.failed("a", str(n))
        attempts.answered("a", str(n))
    assert len(attempts._failed) == 10
    assert attempts.failed("a", "x") == session.LONGEST, "the address is not forgotten for it"
