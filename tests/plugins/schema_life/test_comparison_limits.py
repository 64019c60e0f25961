"""What bounds the memory and the work of a comparison, and the ids under which differences are accepted."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import orjson
import pytest
from asgi_client import Client
from test_compare_page import ask
from test_comparison import build_model, column

from hven.model.table import Column, Schema, Table
from hven.model.types import FLOAT64
from hven.plugins.schema_life import compare_page, comparison_tables, schema_comparison
from hven.plugins.schema_life.comparison_documents import comparison_to_json
from hven.plugins.schema_life.comparison_tables import iterate_differences
from hven.plugins.schema_life.described_columns import OwnSchemaCache
from hven.plugins.schema_life.schema_comparison import ComparisonGroup, SchemaComparison, compare_models
from hven.plugins.schema_life.schema_copies import SchemaCopies
from hven.site import Catalogue


def compare_different_models(count: int) -> SchemaComparison:
    """Compare models none of whose columns another model has."""
    return compare_models([build_model(f"m{number}", column(f"c{number}")) for number in range(count)])


def test_missing_models_are_counted_if_they_are_too_many_to_list(monkeypatch: pytest.MonkeyPatch) -> None:
    comparison = compare_different_models(20)
    assert sum(batch.num_rows for batch in iterate_differences(comparison)) == 20 * 19
    monkeypatch.setattr(schema_comparison, "MAX_LISTED_ABSENCES", 20 * 19 - 1)
    comparison = compare_different_models(20)
    rows = [row for batch in iterate_differences(comparison) for row in batch.to_pylist()]
    assert [(row["kind"], row["value"], row["model"]) for row in rows] == [("missing", "19 models", "")] * 20
    content = json.loads(orjson.dumps(comparison_to_json(comparison)))
    assert content["missing_listed"] is False
    assert [(group["missing"], group["missing_count"]) for group in content["groups"]] == [([], 19)] * 20


def test_a_site_of_many_collections_gets_small_answers() -> None:
    """2,000 collections with 10 names of their own each would be 40 million pairs of a name and a collection."""
    columns = [column(f"c{number}") for number in range(10)]
    models = [
        build_model(f"m{number}", *(item._replace(name=f"{item.name}_{number}") for item in columns))
        for number in range(2000)
    ]
    comparison = compare_models(models)
    assert sum(batch.num_rows for batch in iterate_differences(comparison)) == 20_000
    assert len(orjson.dumps(comparison_to_json(comparison))) < 10_000_000


def test_rows_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [row for batch in iterate_differences(compare_different_models(20)) for row in batch.to_pylist()]
    monkeypatch.setattr(comparison_tables, "MAX_BATCH_ROWS", 50)
    batches = list(iterate_differences(compare_different_models(20)))
    assert len(batches) > 5
    assert [row for batch in batches for row in batch.to_pylist()] == whole


def test_the_number_of_models_is_limited(client: Client) -> None:
    """Each pattern selects the same tables again, so it costs as much as a model."""
    names = [f"*.{'*' * number}" for number in range(1, 60)]
    for path in ("/compare.json", "/compare/differences"):
        answer = ask(client, path, {}, model=names)
        assert answer.status == 400
        assert "59 schemas; the limit is 50" in answer.text


def test_the_number_of_columns_is_limited(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare_page, "MAX_COMPARED_COLUMNS", 10)
    assert ask(client, "/compare.json", {}, model="stars").status == 200
    for params in ({"model": ["stars", "stars.main"]}, {"model": ["*.*", "stars.*"]}):
        answer = ask(client, "/compare.json", {}, **params)
        assert answer.status == 400
        assert "more than 10 columns" in answer.text


def test_each_missing_model_is_found_once() -> None:
    labels = [f"m{number}" for number in range(5)]
    texts = compare_different_models(1).texts
    group = ComparisonGroup("k", texts, None, ["m1", "m3"], labels)
    assert (group.missing_models, group.missing_count) == (["m0", "m2", "m4"], 3)
    assert ComparisonGroup("", texts, None, ["m1"], labels).missing_models == []


def test_models_that_could_not_be_read_lack_nothing() -> None:
    models = [build_model("a", column("x")), build_model("b", column("x"))]
    broken = replace(build_model("c"), fault="no answer")
    assert compare_models([*models, broken]).groups[0].missing_count == 0
    assert compare_models([*models, build_model("d")]).groups[0].missing_models == ["d"]


def test_a_missing_column_can_be_accepted() -> None:
    models = [build_model("a", column("x"), column("y")), build_model("b", column("x"))]
    comparison = compare_models(models)
    (missing,) = (group for group in comparison.groups if group.missing_count)
    missing_id = comparison.compute_missing_id(missing)
    assert comparison.count_open_differences(["missing"]) == 1
    accepted = compare_models(models, notes={missing_id: "not observed"})
    assert accepted.count_open_differences(["missing"]) == 0
    (row,) = (row for batch in iterate_differences(accepted) for row in batch.to_pylist())
    assert (row["conflict"], row["note"]) == (missing_id, "not observed")
    content = json.loads(orjson.dumps(comparison_to_json(accepted)))
    assert content["groups"][1]["missing_note"] == "not observed"


def test_the_note_on_two_models_is_known_beside_a_third() -> None:
    models = [build_model(label, column("ra", unit=unit)) for label, unit in (("a", "deg"), ("b", "rad"))]
    third = build_model("c", column("ra", unit="mag"))
    (conflict,) = compare_models(models).groups[0].conflicts
    notes = {conflict.id: "b is older"}
    (larger,) = compare_models([*models, third], notes=notes).groups[0].conflicts
    assert larger.has_id(conflict.id)
    assert larger.pair_notes == {("deg", "rad"): "b is older"}
    assert not larger.note
    all_notes = dict.fromkeys(larger.pair_ids.values(), "known")
    (accepted,) = compare_models([*models, third], notes=all_notes).groups[0].conflicts
    assert accepted.note == "known"
    assert compare_models([*models, third], notes=all_notes).count_open_differences(["unit"]) == 0


def test_copies_survive_a_restart_and_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = build_model("https://a.example/tap", column("ra", unit="deg", choices=(("1", "x"),)))
    SchemaCopies(tmp_path / "copies").store_copy(model)
    copies = SchemaCopies(tmp_path / "copies")
    copy = copies.find_copy(model.label)
    assert copy is not None
    assert (copy.label, list(copy.columns), copy.read_at) == (model.label, list(model.columns), model.read_at)
    assert copies.find_copy("https://b.example/tap") is None
    (file,) = (tmp_path / "copies").iterdir()
    monkeypatch.setattr("hven.plugins.schema_life.schema_copies.MAX_COPIES_BYTES", 3 * file.stat().st_size)
    for number in range(9):
        copies.store_copy(build_model(f"https://a.example/{number}", column("ra")))
    assert len(list((tmp_path / "copies").iterdir())) <= 3
    assert copies.find_copy("https://a.example/8") is not None
    file.write_bytes(b"torn")
    assert copies.find_copy(model.label) is None


def test_descriptions_of_this_site_are_kept_until_another_state_is_published() -> None:
    column_of_table = Column(name="ra", type=FLOAT64)

    def build_catalogue(name: str, access_key: str = "public") -> Catalogue:
        table = Table(schema=name, name="t", columns=(column_of_table,))
        return Catalogue(access_key=access_key, schemas=(Schema(name=name, tables=(table,)),))

    cache = OwnSchemaCache()
    first, second = SimpleNamespace(version="1"), SimpleNamespace(version="2")
    assert [model.label for model in cache.find_or_describe_models(first, build_catalogue("a"))] == ["a"]
    assert [model.label for model in cache.find_or_describe_models(first, build_catalogue("b"))] == ["a"]
    private_models = cache.find_or_describe_models(first, build_catalogue("b", "digest"))
    assert [model.label for model in private_models] == ["b"]
    models = cache.find_or_describe_models(second, build_catalogue("c"))
    assert [column.place for column in models[0].columns] == ["c: c.t.ra"]


def test_large_schemas_are_not_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hven.plugins.schema_life.schema_copies.MAX_COPY_BYTES", 10)
    SchemaCopies(tmp_path / "copies").store_copy(build_model("https://a.example/tap", column("ra")))
    assert not (tmp_path / "copies").exists()
