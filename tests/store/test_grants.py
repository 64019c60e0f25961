"""Grants: given, proved, ended, over by themselves; every change is in the log, and seen by other processes."""

import pytest

from hven.model.errors import NotFoundError
from hven.site.store import StateStore
from hven.site.store._grants import POLL_INTERVAL_SECONDS


@pytest.fixture
def store(tmp_path):
    with_it = StateStore(tmp_path)
    yield with_it
    with_it.close()


def test_a_secret_is_proved_and_kept_nowhere(store, tmp_path):
    token, proof = store.grants.add_grant("token", subject="anna", role="read", actor="anna", with_secret=True)
    other, theirs = store.grants.add_grant("token", subject="bert", actor="bert", with_secret=True)
    assert store.grants.verify_proof("token", proof) == token
    assert store.grants.verify_proof("token", theirs) == other
    secret = proof.partition(".")[2]
    for wrong in (
        "",
        ".",
        secret,
        f".{secret}",
        f"{other.id}.{secret}",
        proof[:-1],
        f"{token.id}.",
        f"{token.id}.\udcff",
    ):
        assert store.grants.verify_proof("token", wrong) is None, wrong
    assert store.grants.verify_proof("referee", proof) is None  # of another kind
    member, nothing = store.grants.add_grant("member", subject="anna", object="hesiod", role="reader", actor="owner")
    assert nothing == ""
    assert store.grants.verify_proof("member", f"{member.id}.") is None  # what has no secret is proved by none
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    store.grants.revoke_grant(token.id, actor="anna")
    assert store.grants.verify_proof("token", proof) is None
    with pytest.raises(NotFoundError):
        store.grants.revoke_grant(token.id, actor="anna")


def test_a_grant_is_over_at_its_second(store, clock):
    grant, proof = store.grants.add_grant(
        "token", subject="anna", actor="anna", expiry_time=clock.stop_time() + 0.5, with_secret=True
    )
    clock.move(0.499)
    assert store.grants.verify_proof("token", proof) == grant
    assert store.grants.list_grants(subject="anna") == [grant]
    clock.move(0.001)
    assert store.grants.verify_proof("token", proof) is None
    assert store.grants.list_grants() == []


def test_what_has_long_been_over_is_removed_and_counted(store, clock):
    now = clock.stop_time()
    for until in (now - 40 * 86400, now - 31 * 86400, now - 86400, now + 86400, None):
        store.grants.add_grant("token", subject="anna", actor="anna", expiry_time=until)
    lines = len(store.grants.list_audit_entries())
    assert store.grants.delete_expired_grants(now - 30 * 86400) == 2
    assert store.grants.delete_expired_grants(now - 30 * 86400) == 0
    assert len(store.grants.list_grants()) == 2
    told = store.grants.list_audit_entries()
    assert len(told) == lines + 1
    assert (told[0].by, told[0].what, told[0].facts) == ("hven", "removed, long over", {"count": 2})


def test_what_is_asked_for_is_found_and_with_the_account_it_goes(store, clock):
    store.users.add_account("anna")
    reader, _ = store.grants.add_grant("member", subject="anna", object="hesiod", role="reader", actor="owner")
    curator, _ = store.grants.add_grant("member", subject="bert", object="hesiod", role="curator", actor="owner")
    theirs, _ = store.grants.add_grant(
        "delegation", subject="bert", object="A. Berg", actor="anna", facts={"column": "progid"}
    )
    assert store.grants.list_grants("member") == [reader, curator]
    assert store.grants.list_grants("member", subject="bert", object="hesiod") == [curator]
    assert store.grants.list_grants("member", object="other") == store.grants.list_grants(subject="nobody") == []
    assert store.grants.list_grants("delegation")[0].facts == theirs.facts == {"column": "progid"}
    store.users.remove_account("anna")
    clock.move(POLL_INTERVAL_SECONDS)
    assert store.grants.list_grants() == [curator]  # what anna had, and what she had handed on, are gone


def test_each_change_is_in_the_log_and_rises_the_version_everywhere(store, tmp_path, clock):
    other = StateStore(tmp_path)
    before = other.grants.get_version()
    grant, _ = store.grants.add_grant("member", subject="anna", object="hesiod", role="reader", actor="owner")
    store.grants.log_event("anna", "file taken", "night", {"path": "a.fits"})
    clock.move(POLL_INTERVAL_SECONDS)
    assert other.grants.get_version() == before + 1  # a look at a file changes no right
    assert other.grants.list_grants() == [grant]
    store.grants.revoke_grant(grant.id, actor="bert")
    told = [(line.by, line.what, line.object) for line in other.grants.list_audit_entries()]
    assert told == [
        ("bert", "member ended", "hesiod"),
        ("anna", "file taken", "night"),
        ("owner", "member given", "hesiod"),
    ]
    assert other.grants.list_audit_entries(by="anna")[0].facts == {"path": "a.fits"}
    assert [line.number for line in other.grants.list_audit_entries(object="hesiod", row_limit=1)] == [3]
    other.close()
