"""Kinds that read tables of databases: `hven new` and `hven check` ask each of them, and none of them by its name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from hven.descriptor.api.key_proposals import ColumnGuess
from hven.model import plugins
from hven.model.errors import UsageError
from hven.model.table import Column
from hven.model.types import INT64
from hven.plugins.drafts import database_tables
from hven.plugins.drafts.table_selection import choose_source_table
from hven.sources import (
    AvailableTable,
    DatabaseForeignKey,
    DatabaseSignature,
    DatabaseTableFacts,
    FileKindSignature,
    SourceContext,
    file_kinds,
)

FACTS = DatabaseTableFacts(
    columns=(Column(name="n", type=INT64),),
    primary_key=("n",),
    foreign_keys=(DatabaseForeignKey(name="f", columns=("n",), target="b", target_columns=("m",)),),
    omitted_column_reasons=("x is a shape; cast it",),
    kind_note="kind: tablet keeps it",
)


def inspect_table(kind: str, options: Mapping[str, Any], context: SourceContext) -> DatabaseTableFacts | None:
    return FACTS if options["url"] == "clay://archive" else None


def list_source_tables(options: Mapping[str, Any], context: SourceContext) -> list[AvailableTable]:
    return [AvailableTable(option_value=name, row_count=1) for name in ("a", "b")]


@pytest.fixture(autouse=True)
def _kinds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let there be a kind that copies tables, one that publishes them in place, and one of files."""
    copies = DatabaseSignature(
        url_pattern=r"(?P<database>clay://[^/?]+)(?:/(?P<table>[^/?]+))?(?P<parameters>\?.*)?",
        extract_connection_line=lambda text: text.removeprefix("clay:") if text.startswith("clay:") else None,
    )
    modules = {
        "plain": SimpleNamespace(FILES=FileKindSignature(extensions=("txt",))),
        "tablet": SimpleNamespace(
            DATABASE=copies,
            FILES=FileKindSignature(extensions=("clay",), option="file"),
            list_source_tables=list_source_tables,
        ),
        "wall": SimpleNamespace(DATABASE=DatabaseSignature(inspect_table=inspect_table, copying_kind="tablet")),
    }
    monkeypatch.setattr(plugins, "list_plugins", lambda _: tuple(modules))
    monkeypatch.setattr(plugins, "load_plugin", lambda _, name: modules[name])


def test_addresses_and_files_of_databases_are_recognised() -> None:
    split = database_tables.split_database_address
    assert split("clay://archive/a?x=1") == ("clay://archive?x=1", "a")
    assert split("stone://archive/a") == split("https://archive/a") == ("", None)
    assert [kind for kind, _ in file_kinds.iterate_database_signatures()] == ["tablet", "wall"]
    assert file_kinds.find_database_signature("plain") is None
    assert [file_kinds.find_file_option_name(kind) for kind in ("plain", "tablet", "wall")] == [
        "files",
        "file",
        "files",
    ]


def test_a_connection_line_moves_to_the_secrets(tmp_path: Path) -> None:
    line = tmp_path / "driver.txt"
    line.write_text("clay:room=1\n")
    secret, notes = database_tables.copy_connection_line_to_secrets(tmp_path, "c", str(line))
    assert secret == "$C_DB"
    assert (tmp_path / "secrets.toml").read_text() == 'C_DB = "room=1"\n'
    assert "the secret C_DB" in notes[0]
    line.write_text("room=1\n")
    assert database_tables.copy_connection_line_to_secrets(tmp_path, "c", str(line)) == (str(line), [])


def test_a_kind_inspects_tables_that_another_one_reads() -> None:
    inspect = database_tables.inspect_database_table
    context = SourceContext()
    assert inspect("tablet", {"url": "clay://archive", "table": "a"}, context) == FACTS
    assert inspect("tablet", {"url": "clay://elsewhere", "table": "a"}, context) is None
    assert inspect("tablet", {"url": "clay://archive"}, context) is None
    assert inspect("plain", {"url": "clay://archive", "table": "a"}, context) is None


def test_keys_and_omitted_columns_are_noted() -> None:
    guesses = [ColumnGuess(source="n", column=Column(name="number", type=INT64))]
    assert database_tables.find_key_guesses(FACTS, guesses) == guesses
    assert database_tables.find_key_guesses(FACTS, []) == []
    copied = database_tables.write_draft_notes(FACTS, guesses, is_live=False)
    assert copied == [
        (
            "a foreign key refers to b; also publish that table, and write keys: {f: {columns: [number], target: b, "
            "target_columns: [m]}}"
        ),
        "kind: tablet keeps it",
    ]
    in_place = database_tables.write_draft_notes(FACTS, guesses, is_live=True)
    assert in_place == ["x is a shape: cast it", *copied]


def test_a_table_of_a_database_must_be_chosen() -> None:
    module = plugins.load_plugin("sources", "tablet")
    with pytest.raises(UsageError, match="the database has 2 tables and views: a"):
        choose_source_table(module, "tablet", {"url": "clay://archive"}, SourceContext())
