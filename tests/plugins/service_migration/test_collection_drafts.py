"""Surveys become drafts: names and units of a service that Hven cannot keep as they are."""

from __future__ import annotations

from pathlib import Path

import yaml

from hven.model.settings import create_site_directory, load_settings
from hven.plugins.service_migration.collection_drafts import SurveyConverter
from hven.plugins.service_migration.service_survey import ServiceSurvey, SurveyedTable

EPN_COLUMNS = ("granule_uid", "granule_gid", "obs_id", "dataproduct_type")


def create_converter(directory: Path, *tables: SurveyedTable) -> SurveyConverter:
    create_site_directory(directory / "site")
    survey = ServiceSurvey(url="https://old.example.org/tap", tables={table.name: table for table in tables})
    return SurveyConverter(survey, load_settings(directory / "site"))


def build_table(name: str, **columns: dict[str, str]) -> SurveyedTable:
    schema, _, local_name = name.rpartition(".")
    source = {"kind": "tap", "url": "https://old.example.org/tap", "table": name}
    return SurveyedTable(name=name, schema=schema, local_name=local_name, columns=columns, source=source, row_count=1)


def test_schemas_with_similar_names_stay_different_collections(tmp_path: Path) -> None:
    names = ("sky-survey.stars", "sky_survey.galaxies", "Sky_Survey.clouds")
    converter = create_converter(tmp_path, *(build_table(name, n={"type": "int32"}) for name in names))
    drafts = {draft.name: yaml.safe_load(draft.text) for draft in converter.draft_collections(())}
    assert [list(draft["tables"]) for draft in drafts.values()] == [["stars"], ["galaxies"], ["clouds"]]
    assert list(drafts) == converter.collection_names
    assert "queries need the new name" in converter.write_report()


def test_other_units_than_those_of_the_standard_are_reported(tmp_path: Path) -> None:
    columns = {name: {"type": "string"} for name in EPN_COLUMNS}
    columns["spectral_range_min"] = {"type": "float64", "unit": "MHz"}
    columns["time_min"] = {"type": "float64", "unit": "d"}
    converter = create_converter(tmp_path, build_table("sun.epn_core", **columns))
    converter.draft_collections(())
    report = " ".join(converter.write_report().split())
    assert "sun.epn_core: spectral_range_min has the unit MHz, and Hz in EPN-TAP 2.0" in report
    assert "time_min has the unit" not in report
