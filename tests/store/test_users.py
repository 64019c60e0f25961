"""Accounts: tokens are shown once and kept nowhere; a store of format 2 gets them."""

import pytest

from hven.model.errors import Conflict, NotFound, Unauthenticated, UserError
from hven.site.store import Job, Store


def test_a_token_is_its_accounts_and_nobody_elses(tmp_path):
    store = Store(tmp_path)
    anna, bert = store.users.add("anna"), store.users.add("bert")
    assert (store.users.holds(anna), store.users.holds(bert)) == ("anna", "bert")
    secret = anna.partition(".")[2]
    for wrong in (
        "",
        ".",
        "anna",
        "anna.",
        f"bert.{secret}",
        f"ANNA.{secret}",
        f".{secret}",
        secret,
        anna[:-1],
        f"nina.{secret}",
        "anna.\udcff",
    ):
        assert store.users.holds(wrong) is None
    store.users.remove("anna")
    assert store.users.holds(anna) is None
    assert store.users.add("anna") != anna
    assert store.users.holds(anna) is None
    assert [name for name, _ in store.users.all()] == ["anna", "bert"]
    store.close()


def test_another_token_ends_the_old_one_and_all_sessions(tmp_path):
    store = Store(tmp_path)
    old = store.users.add("anna")
    proof = store.sessions.begin("anna", 100.0)
    new = store.users.renew("anna")
    assert [store.users.holds(one) for one in (old, new)] == [None, "anna"]
    assert store.sessions.holder(proof) is None
    with pytest.raises(NotFound, match="hven user list"):
        store.users.renew("bert")
    store.close()


def job(name, owner):
    return Job(id=name, type="tap", queue=f"user {owner}", owner=owner, duration=60, destruction="2999-01-01T00:00:00Z")


def test_an_account_goes_with_its_jobs_sessions_and_token(tmp_path):
    store = Store(tmp_path)
    token = store.users.add("anna")
    store.users.add("bert")
    proof = store.sessions.begin("anna", 100.0)
    for name, owner in (("a1", "anna"), ("a2", "anna"), ("b1", "bert")):
        store.jobs.add(job(name, owner))
    before = store.jobs.version()
    assert sorted(store.users.remove("anna")) == ["a1", "a2"]
    assert store.jobs.version() > before, "workers look"
    assert store.users.holds(token) is None
    assert store.sessions.holder(proof) is None
    assert store.jobs.known(["a1", "a2", "b1"]) == {"b1"}
    with pytest.raises(Unauthenticated):
        store.sessions.begin("anna", 100.0)
    store.jobs.add(job("a3", "anna"))  # by a process that has not heard of it
    store.users.add("anna")
    assert store.jobs.known(["a3"]) == set(), "whoever has the name next gets nothing of the one before"
    store.close()


def test_names_of_accounts(tmp_path):
    store = Store(tmp_path)
    for name in ("", "Anna", "a.b", "a:b", "owner", "anonymous", "1a", "a" * 65, "a b", "ä"):
        with pytest.raises(UserError, match="cannot be the name"):
            store.users.add(name)
    store.users.add("anna")
    with pytest.raises(Conflict):
        store.users.add("anna")
    with pytest.raises(NotFound):
        store.users.remove("bert")
    store.close()
