"""What `hven check` says of tables that are made by queries: their columns follow from the tables that the queries read."""

import pytest

from hven.descriptor import check_descriptor
from hven.model.settings import Settings

HEAD = "collection: sky\ntitle: Stars\ndescription: Stars of a test\nlicence: CC0-1.0\nsubjects: [stars]\nservices: [tap, obscore]\n"
STARS = """tables:
  stars:
    source: {kind: csv, files: stars.csv}
    primary: id
"""
BRIGHT = """  bright:
    primary: id
    source: {{kind: query, adql: "{adql}"}}
    obscore: {{map: {{calib_level: "2", s_region: "{region}"}}}}
"""
REGION = "'Circle ICRS ' || CAST(ra AS VARCHAR) || ' ' || CAST(dec AS VARCHAR) || ' 0.1'"


def found(place, text, name="sky"):
    folder = place / "collections" / name
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "stars.csv").write_text("id,ra,dec,mag\n1,10.5,20.5,3.5\n2,11.5,21.5,4.5\n")
    (folder / f"{name}.yaml").write_text(text)
    return [
        str(one)
        for one in check_descriptor(folder / f"{name}.yaml", Settings(directory=place))
        if one.severity == "error"
    ]


@pytest.mark.parametrize(
    ("adql", "region", "told"),
    [
        ("SELECT id, ra, dec FROM stars WHERE mag < 4", REGION, None),
        ("SELECT s.id, s.ra, s.dec FROM sky.stars AS s", REGION, None),
        ("WITH few AS (SELECT id, ra, dec FROM stars) SELECT * FROM few", REGION, None),
        ("SELECT id, ra, dec FROM stars WHERE mag < 4", "outline", "no column 'outline'"),
        ("SELECT id, ra FROM stars", REGION, "dec"),
        ("SELECT id, ra, dec FROM dim", REGION, None),
        ("SELECT id, colour FROM stars", "NULL", "no column 'colour'"),
        ("SELECT id, ra, dec FROM nowhere.stars", "outline", None),  # what nobody can look at here, ingest does
    ],
)
def test_a_wrong_mapping_over_a_query_is_told_before_ingest(tmp_path, adql, region, told):
    dim = "  dim:\n    view: SELECT id, ra, dec FROM sky.stars WHERE mag > 4\n"
    errors = found(tmp_path, HEAD + STARS + dim + BRIGHT.format(adql=adql, region=region))
    assert errors == [] if told is None else told in "".join(errors), errors


def test_a_query_over_another_collection_is_looked_at_and_circles_end(tmp_path):
    assert found(tmp_path, HEAD.replace(", obscore", "") + STARS) == []
    other = HEAD.replace("collection: sky", "collection: few") + "tables:\n" + BRIGHT
    good = other.format(adql="SELECT id, ra, dec FROM sky.stars", region=REGION)
    wrong = other.format(adql="SELECT id, ra, dec FROM sky.stars", region="outline")
    assert found(tmp_path, good, "few") == []
    assert "no column 'outline'" in "".join(found(tmp_path, wrong, "few"))
    assert found(tmp_path, other.format(adql="SELECT id, ra, dec FROM few.bright", region="outline"), "few") == []
