"""JSON lines and lists in documents keep the contract of sources."""

from __future__ import annotations

from hven.testing.source import SourceContract
from number_writers import write_numbers

ROWS = [
    {"name": "Vega", "ra": 279.23, "n": 1},
    {"name": "Deneb", "ra": 310.36, "n": 2},
    {"name": None, "ra": None, "n": 3},
]


class TestJsonLines(SourceContract):
    kind = "json"
    rows = ROWS

    def write_source_files(self, directory):
        (directory / "stars.jsonl").write_text(
            '{"name": "Vega", "ra": 279.23, "n": 1}\n{"n": 2, "ra": 310.36, "name": "Deneb"}\n\n{"n": 3, "ra": null}\n'
        )
        return {"files": "stars.jsonl"}

    def write_number_files(self, directory, values):
        return write_numbers("json", directory, values)


class TestJsonList(SourceContract):
    kind = "json"
    rows = [
        {"id": 1, "a.b": "x", "a.list": [1.5, 2.0]},
        {"id": 2, "a.b": None, "a.list": None},
        {"id": 3, "a.b": "y]", "a.list": []},
    ]

    def write_source_files(self, directory):
        text = '{"took": [1], "hits": {"hits": [\n {"id": 1, "a": {"b": "x", "list": [1.5, 2]}},\n {"id": 2},\n {"id": 3, "a": {"b": "y]", "list": []}}\n]}}'
        (directory / "hits.json").write_text(text)
        return {"files": "hits.json"}
