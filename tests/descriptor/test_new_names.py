"""Names that ``hven new`` gives to columns: reserved words stay readable, and pages show the source's own name."""

from __future__ import annotations

import yaml

from hven.adql.reserved_words import RESERVED_WORDS
from hven.descriptor import check_descriptor, load_descriptor
from hven.descriptor._column_guesses import to_adql_identifier
from hven.descriptor.drafting import create_descriptor
from hven.formats.votable.document import write_field
from hven.model.settings import Settings
from hven.portal._explore.column_labels import ColumnLabels


def draft_file(tmp_path, text, name="rows.csv", **options):
    settings = Settings(directory=tmp_path)
    (tmp_path / name).write_text(text)
    path = create_descriptor(settings, "x", str(tmp_path / name), **options)
    faults = [str(fault) for fault in check_descriptor(path, settings)]
    return path, yaml.safe_load(path.read_text())["tables"]["main"], faults


def test_no_reserved_word_ends_in_an_underscore():
    names = {word: to_adql_identifier(word.title()) for word in RESERVED_WORDS}
    assert [word for word, name in names.items() if name.endswith("_") or name.upper() in RESERVED_WORDS] == []
    assert len(set(names.values())) == len(names)


def test_reserved_words_keep_their_name_as_the_label(tmp_path):
    path, table, faults = draft_file(tmp_path, "Date,Count,year,mag\n2020-01-01,3,2020,1.5\n2020-01-02,4,2020,2.5\n")
    assert {name: said.get("label") for name, said in table["columns"].items()} == {"date_value": "Date", "count_value": "Count", "year_value": "year", "mag": None}  # fmt: skip
    assert table["map"] == {"date_value": '"Date"', "count_value": '"Count"', "year_value": '"year"'}
    assert not [fault for fault in faults if "double quotes" in fault or "error" in fault]
    published = load_descriptor(path, Settings(directory=tmp_path)).tables[0].table
    labels = ColumnLabels(table=published)
    assert [labels.label_column(column) for column in published.columns] == ["Date", "Count", "year", "mag"]
    assert "<DESCRIPTION>Count</DESCRIPTION>" in write_field(published.columns[1], "a", "TABLEDATA")


def test_a_column_keeps_a_name_that_a_reserved_word_would_get(tmp_path):
    _, table, _ = draft_file(tmp_path, "year,year_value,Year (a)\n2020,1,2\n2021,2,3\n")
    assert table["map"] == {"year_value_2": '"year"', "year_a": '"Year (a)"'}
    assert "label" not in table["columns"]["year_value"]
