"""Grants: given, proved, ended, over by themselves; every change is in the log, and seen by other processes."""

import pytest

from hven.model.errors import NotFound
from hven.site.store import Store
from hven.site.store._grants import LOOK


@pytest.fixture
def store(tmp_path):
    with_it = Store(tmp_path)
    yield with_it
    with_it.close()


def test_a_secret_is_proved_and_kept_nowhere(store, tmp_path):
    token, proof = store.grants.add("token", subject="anna", role="read", by="anna", secret=True)
    other, theirs = store.grants.add("token", subject="bert", by="bert", secret=True)
    assert store.grants.holds("token", proof) == token
    assert store.grants.holds("token", theirs) == other
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
        assert store.grants.holds("token", wrong) is None, wrong
    assert store.grants.holds("referee", proof) is None  # of another kind
    member, nothing = store.grants.add("member", subject="anna", object="hesiod", role="reader", by="owner")
    assert nothing == ""
    assert store.grants.holds("member", f"{member.id}.") is None  # what has no secret is proved by none
    assert all(secret.encode() not in file.read_bytes() for file in tmp_path.iterdir() if file.is_file())
    store.grants.end(token.id, by="anna")
    assert store.grants.holds("token", proof) is None
    with pytest.raises(NotFound):
        store.grants.end(token.id, by="anna")


def test_a_grant_is_over_at_its_second(store, clock):
    grant, proof = store.grants.add("token", subject="anna", by="anna", until=clock.stand() + 0.5, secret=True)
    clock.move(0.499)
    assert store.grants.holds("token", proof) == grant
    assert store.grants.all(subject="anna") == [grant]
    clock.move(0.001)
    assert store.grants.holds("token", proof) is None
    assert store.grants.all() == []


def test_what_has_long_been_over_is_removed_and_counted(store, clock):
    now = clock.stand()
    for until in (now - 40 * 86400, now - 31 * 86400, now - 86400, now + 86400, None):
        store.grants.add("token", subject="anna", by="anna", until=until)
    lines = len(store.grants.audit())
    assert store.grants.sweep(now - 30 * 86400) == 2
    assert store.grants.sweep(now - 30 * 86400) == 0
    assert len(store.grants.all()) == 2
    told = store.grants.audit()
    assert len(told) == lines + 1
    assert (told[0].by, told[0].what, told[0].facts) == ("hven", "removed, long over", {"count": 2})


def test_what_is_asked_for_is_found_and_with_the_account_it_goes(store, clock):
    store.users.add("anna")
    reader, _ = store.grants.add("member", subject="anna", object="hesiod", role="reader", by="owner")
    curator, _ = store.grants.add("member", subject="bert", object="hesiod", role="curator", by="owner")
    theirs, _ = store.grants.add("delegation", subject="bert", object="A. Berg", by="anna", facts={"column": "progid"})
    assert store.grants.all("member") == [reader, curator]
    assert store.grants.all("member", subject="bert", object="hesiod") == [curator]
    assert store.grants.all("member", object="other") == store.grants.all(subject="nobody") == []
    assert store.grants.all("delegation")[0].facts == theirs.facts == {"column": "progid"}
    store.users.remove("anna")
    clock.move(LOOK)
    assert store.grants.all() == [curator]  # what anna had, and what she had handed on, are gone


def test_each_change_is_in_the_log_and_rises_the_version_everywhere(store, tmp_path, clock):
    other = Store(tmp_path)
    before = other.grants.version()
    grant, _ = store.grants.add("member", subject="anna", object="hesiod", role="reader", by="owner")
    store.grants.note("anna", "file taken", "night", {"path": "a.fits"})
    clock.move(LOOK)
    assert other.grants.version() == before + 1  # a look at a file changes no right
    assert other.grants.all() == [grant]
    store.grants.end(grant.id, by="bert")
    told = [(line.by, line.what, line.object) for line in other.grants.audit()]
    assert told == [
        ("bert", "member ended", "hesiod"),
        ("anna", "file taken", "night"),
        ("owner", "member given", "hesiod"),
    ]
    assert other.grants.audit(by="anna")[0].facts == {"path": "a.fits"}
    assert [line.number for line in other.grants.audit(object="hesiod", most=1)] == [3]
    other.close()
