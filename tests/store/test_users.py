"""Accounts: tokens are shown once and kept nowhere; a store of format 2 gets them."""

import sqlite3

import pytest

from hven.errors import Conflict, NotFound, UserError
from hven.store import FORMAT, Store


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


def test_a_store_without_accounts_gets_them(tmp_path):
    Store(tmp_path).close()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        raw.execute("DROP TABLE users")
        raw.execute("DROP TABLE user_tables")
        raw.execute("UPDATE meta SET value = '2' WHERE key = 'format'")
    raw.close()
    store = Store(tmp_path)
    assert store.users.holds(store.users.add("anna")) == "anna"
    assert store.user_tables.of("anna") == []
    store.close()
    with sqlite3.connect(tmp_path / "hven.sqlite") as raw:
        assert raw.execute("SELECT value FROM meta WHERE key = 'format'").fetchone() == (str(FORMAT),)
    raw.close()
