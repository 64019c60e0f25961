"""Cookies: read and written to the letter, never believed from foreign pages; failures are told ever later."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hven.site.auth import session
from hven.site.auth.session import LoginAttempts, find_cookie_value, format_session_cookie, is_cross_site_change

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
        assert is_cross_site_change(method, headers, HOME) is wanted
    for method in ("GET", "HEAD", "OPTIONS"):
        assert not is_cross_site_change(method, headers, HOME)


@given(st.text(alphabet=st.characters(codec="latin-1"), max_size=200))
def test_any_cookie_can_be_read(text):
    found = find_cookie_value({"cookie": text})
    assert found is None or found in text


def test_cookies_as_browsers_send_them():
    assert find_cookie_value({}) is None
    assert find_cookie_value({"cookie": "a=b"}) is None
    assert find_cookie_value({"cookie": f"a=b; {session.SESSION_COOKIE}=x.y; c=d"}) == "x.y"
    assert find_cookie_value({"cookie": f"not{session.SESSION_COOKIE}=x.y"}) is None
    assert find_cookie_value({"cookie": f"{session.SESSION_COOKIE}="}) is None


def test_what_a_cookie_says():
    said = format_session_cookie("x.y", path="/hven", is_secure=True)
    assert said == f"{session.SESSION_COOKIE}=x.y; Path=/hven; Max-Age={14 * 86400}; HttpOnly; SameSite=Lax; Secure"
    assert (
        format_session_cookie(None, path="", is_secure=False)
        == f"{session.SESSION_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"
    )


def test_failures_are_told_ever_later_and_forgotten():
    clock = [1000.0]
    attempts = LoginAttempts(lambda: clock[0])

    def fail(address, account):
        pause = attempts.count_failure_and_compute_delay(address, account)
        attempts.end_delayed_answer(address, account)
        return pause

    pauses = [fail("a", "anna") for _ in range(100)]
    assert pauses[: session.FREE_ACCOUNT_FAILURES] == [0.0] * session.FREE_ACCOUNT_FAILURES
    assert pauses[session.FREE_ACCOUNT_FAILURES : session.FREE_ACCOUNT_FAILURES + 5] == [0.5, 1.0, 2.0, 4.0, 8.0]
    assert set(pauses[session.FREE_ACCOUNT_FAILURES + 5 :]) == {session.MAX_DELAY_SECONDS}
    assert fail("elsewhere", "anna") == session.MAX_DELAY_SECONDS, "the account, wherever it must be tried"
    assert fail("a", "bert") == session.MAX_DELAY_SECONDS, "the address, whatever it tries"
    assert fail("b", "bert") == 0.0
    clock[0] += session.FAILURE_WINDOW_SECONDS + 1
    assert fail("a", "anna") == 0.0
    assert set(attempts._failures) == {("address", "a"), ("account", "anna")}, "nothing is kept of old failures"
    assert not attempts._delayed_answers


def test_while_wrong_ones_wait_for_their_answers_no_more_are_looked_at():
    attempts = LoginAttempts()
    for _ in range(session.MAX_DELAYED_ANSWERS):
        assert attempts.is_attempt_allowed("a", "anna")
        attempts.count_failure_and_compute_delay("a", "anna")
    assert not attempts.is_attempt_allowed("a", "anna")
    assert attempts.is_attempt_allowed("a", "bert")
    assert attempts.is_attempt_allowed("b", "anna")
    attempts.end_delayed_answer("a", "anna")
    assert attempts.is_attempt_allowed("a", "anna")


def test_names_without_end_fill_no_memory(monkeypatch):
    monkeypatch.setattr(session, "MAX_TRACKED_KEYS", 10)
    attempts = LoginAttempts()
    for n in range(100):
        attempts.count_failure_and_compute_delay("a", str(n))
        attempts.end_delayed_answer("a", str(n))
    assert len(attempts._failures) == 10
    assert attempts.count_failure_and_compute_delay("a", "x") == session.MAX_DELAY_SECONDS, (
        "the address is not forgotten for it"
    )
