"""Accounts: tokens are shown once and kept nowhere; a store of format 2 gets them."""

import pytest

from hven.model.errors import ConflictError, NotFoundError, UnauthenticatedError, UserError
from hven.site.store import JobRecord, StateStore


def test_a_token_is_its_accounts_and_nobody_elses(tmp_path):
    store = StateStore(tmp_path)
    anna, bert = store.users.add_account("anna"), store.users.add_account("bert")
    assert (store.users.find_account_by_token(anna), store.users.find_account_by_token(bert)) == ("anna", "bert")
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
        assert store.users.find_account_by_token(wrong) is None
    store.users.remove_account("anna")
    assert store.users.find_account_by_token(anna) is None
    assert store.users.add_account("anna") != anna
    assert store.users.find_account_by_token(anna) is None
    assert [name for name, _ in store.users.list_accounts()] == ["anna", "bert"]
    store.close()


def test_another_token_ends_the_old_one_and_all_sessions(tmp_path):
    store = StateStore(tmp_path)
    old = store.users.add_account("anna")
    proof = store.sessions.begin_session("anna", 100.0)
    new = store.users.renew_token_and_end_sessions("anna")
    assert [store.users.find_account_by_token(one) for one in (old, new)] == [None, "anna"]
    assert store.sessions.find_session_owner(proof) is None
    with pytest.raises(NotFoundError, match="hven user list"):
        store.users.renew_token_and_end_sessions("bert")
    store.close()


def job(name, owner):
    return JobRecord(
        id=name, type="tap", queue=f"user {owner}", owner=owner, duration=60, destruction="2999-01-01T00:00:00Z"
    )


def test_an_account_goes_with_its_jobs_sessions_and_token(tmp_path):
    store = StateStore(tmp_path)
    token = store.users.add_account("anna")
    store.users.add_account("bert")
    proof = store.sessions.begin_session("anna", 100.0)
    for name, owner in (("a1", "anna"), ("a2", "anna"), ("b1", "bert")):
        store.jobs.add_job(job(name, owner))
    before = store.jobs.get_phase_change_count()
    assert sorted(store.users.remove_account("anna")) == ["a1", "a2"]
    assert store.jobs.get_phase_change_count() > before, "workers look"
    assert store.users.find_account_by_token(token) is None
    assert store.sessions.find_session_owner(proof) is None
    assert store.jobs.select_existing(["a1", "a2", "b1"]) == {"b1"}
    with pytest.raises(UnauthenticatedError):
        store.sessions.begin_session("anna", 100.0)
    store.jobs.add_job(job("a3", "anna"))  # by a process that has not heard of it
    store.users.add_account("anna")
    assert store.jobs.select_existing(["a3"]) == set(), "whoever has the name next gets nothing of the one before"
    store.close()


def test_names_of_accounts(tmp_path):
    store = StateStore(tmp_path)
    for name in ("", "Anna", "a.b", "a:b", "owner", "anonymous", "1a", "a" * 65, "a b", "ä"):
        with pytest.raises(UserError, match="is not a valid name for an account"):
            store.users.add_account(name)
    store.users.add_account("anna")
    with pytest.raises(ConflictError):
        store.users.add_account("anna")
    with pytest.raises(NotFoundError):
        store.users.remove_account("bert")
    store.close()
