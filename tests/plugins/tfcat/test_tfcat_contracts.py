"""TFCat as a source and as a format: the contracts of both, and the example of its page."""

from __future__ import annotations

import json
import sys

from hven.testing.format import FormatContract
from hven.testing.source import SourceContract
from shared import ROOT

sys.path.insert(0, str(ROOT / "tests/formats"))

from test_reference import write_answer

PAGE = ROOT / "src/hven/plugins/tfcat/docs/tfcat-format.md"


class TestTfcatSource(SourceContract):
    kind = "tfcat"
    rows = [
        {
            "id": name, "geometry_type": kind, "time_min": start, "time_max": stop, "spectral_range_min": low, "spectral_range_max": high,
            "geometry": f'{{"type":"{kind}","coordinates":{places}}}', "quality": quality,
        }
        for name, kind, start, stop, low, high, places, quality in (
            ("a", "Point", 2458849.5, 2458849.5, 1e6, 1e6, "[18262.0,1]", 1),
            ("b", "LineString", 2458849.5, 2458850.5, 1e6, 2.5e6, "[[18262,1],[18263.00,2.5]]", None),
            ("c", "Polygon", 2458849.5, 2458850.0, 1e6, 2e6, "[[[18262,1],[18262.5,1],[18262,2],[18262,1]]]", 2),
        )
    ]  # fmt: skip

    def write_source_files(self, directory):
        features = ",\n".join(
            f'{{"type": "Feature", "id": "{row["id"]}", "geometry": {row["geometry"]}, "properties": {{"quality": {row["quality"] or "null"}}}}}'
            for row in self.rows
        )
        crs = '{"type": "local", "properties": {"time_coords": {"name": "days", "unit": "d", "time_origin": "1970-01-01", "time_scale": "UTC"}, "spectral_coords": {"type": "frequency", "unit": "MHz"}, "ref_position_id": "GEOCENTER"}}'
        fields = '{"quality": {"info": "", "datatype": "int", "ucd": "meta.code.qual"}}'
        (directory / "a.tfcat").write_text(
            f'{{"type": "FeatureCollection", "features": [{features}], "fields": {fields}, "crs": {crs}}}'
        )
        return {"files": "a.tfcat"}


class TestTfcatFormat(FormatContract):
    name = "tfcat"

    def read_rows(self, data):
        told = json.loads(data)
        assert told["crs"]["type"] == "local"
        assert all(one["type"] == "Feature" and one["geometry"] for one in told["features"])
        assert all(one["properties"].keys() <= told["fields"].keys() for one in told["features"])
        return [one["properties"] for one in told["features"]]


def test_the_page_has_an_example() -> None:
    example = PAGE.read_text(encoding="utf-8").partition("```text\n")[2].partition("```")[0]
    assert example.rstrip() == write_answer("tfcat").decode().rstrip()
