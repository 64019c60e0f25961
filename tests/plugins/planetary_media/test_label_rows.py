"""Labels and product files with labels as rows, judged by the bytes of the files and by other readers."""

from __future__ import annotations

import io
import tarfile
import zipfile

import numpy as np
import pyarrow as pa
import pytest

import file_servers
from hven import query
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.errors import SourceError
from hven.model.settings import Settings, load_settings
from hven.site.auth._access_control import OWNER_PRINCIPAL
from hven.sources import SourceContext
from hven.sources.csv import Options
from hven.sources.csv import open as open_csv
from hven.testing.site import open_site_with_uningested_files
from plugin_needs import create_descriptor, require_functions, require_plugins
from shared import EXAMPLES_FACTOR, shared


def open_source(kind, directory, rejects=None, **options):
    module = plugins.load_plugin("sources", kind)
    context = SourceContext(
        directory=directory, on_reject=rejects.append if rejects is not None else None, allow_private=True
    )
    return module.open(module.Options.model_validate(options), context)


def read(source, columns=None):
    batches = list(source.read_batches(columns))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


def rows(site, adql):
    with query.run_query(adql, OWNER_PRINCIPAL, site=site) as result:
        return result.read_table().to_pylist()


def test_labels_and_tables_of_pds_are_read():
    cubes, pds4 = shared("data/planetary/cubes"), shared("data/planetary/pds4")
    (label,) = read(open_source("product", cubes, files="*.qub", cards=["PRODUCT_ID", "TARGET_NAME", "START_TIME"]))
    text = (cubes / "v1477479472_1.qub").read_bytes()[:20_000].decode("latin-1")
    assert all(f'"{value}"' in text for value in label.values())
    found = read(open_source("product", pds4, files="colors.xml", part=0))
    lines = (pds4 / "colors.tab").read_text(encoding="latin-1").splitlines()
    assert len(found) == len(lines) == 76
    assert all(line[5:].startswith(row["Comet Name"]) for row, line in zip(found, lines, strict=True))
    images = read(open_source("product", cubes, files="*", mode="images"), ["file.name", "name", "role", "width", "height", "planes", "type"])  # fmt: skip
    sizes = {(row["file.name"][-4:], row["role"]): (row["width"], row["height"], row["planes"]) for row in images}
    assert sizes[".IMG", "data"] == (1024, 1024, 1)
    assert sizes[".cub", "data"] == (21, 1, 256)


def test_maps_have_their_places(tmp_path):
    """The map of a label covers what its bounds say."""
    require_functions("wcs_footprint")
    said = {
        "PDS_VERSION_ID": "PDS3", "RECORD_TYPE": "FIXED_LENGTH", "RECORD_BYTES": 40, "^IMAGE": '"map.img"', "TARGET_NAME": "MARS", "OBJECT": "IMAGE", "LINES": 20, "LINE_SAMPLES": 40,
        "SAMPLE_TYPE": "UNSIGNED_INTEGER", "SAMPLE_BITS": 8, "END_OBJECT": "IMAGE",
    }  # fmt: skip
    world = {
        "MAP_PROJECTION_TYPE": '"SIMPLE CYLINDRICAL"', "A_AXIS_RADIUS": "3396.19 <KM>", "C_AXIS_RADIUS": "3376.2 <KM>", "MAP_RESOLUTION": "1.0 <PIX/DEG>", "CENTER_LONGITUDE": 30.0,
        "CENTER_LATITUDE": 0.0, "LINE_PROJECTION_OFFSET": 9.5, "SAMPLE_PROJECTION_OFFSET": 19.5, "MAXIMUM_LATITUDE": 10.0, "MINIMUM_LATITUDE": -10.0, "POSITIVE_LONGITUDE_DIRECTION": "EAST",
    }  # fmt: skip
    lines = [*(f"{key} = {value}" for key, value in said.items()), "OBJECT = IMAGE_MAP_PROJECTION", *(f"{key} = {value}" for key, value in world.items()), "END_OBJECT", "END", ""]  # fmt: skip
    text = """\
collection: maps
title: Maps
tables:
  main:
    frame: body
    source: {kind: product, mode: images, files: "data/*.lbl", cards: [TARGET_NAME, CTYPE1]}
    columns: {name: string, target: string, s_region: {type: polygon}, pixels: int64}
    map: {name: file.stem, target: TARGET_NAME, s_region: wcs_footprint(), pixels: width * height}
"""
    with open_site_with_uningested_files(tmp_path, text.replace("    frame: body\n", "")) as site:
        data = site.settings.collections_directory / "maps/data"
        data.mkdir()
        (data / "map.lbl").write_text("\r\n".join(lines))
        (data / "map.img").write_bytes(bytes(800))
        ingest_collection(site, "maps")
        (row,) = rows(site, "SELECT * FROM maps.main")
        assert (row["target"], row["pixels"]) == ("MARS", 800)
        numbers = np.array(row["s_region"].replace(",", " ").strip("()").split() if isinstance(row["s_region"], str) else row["s_region"], float).reshape(-1, 2)  # fmt: skip
        assert numbers.min(0) == pytest.approx([10.0, -10.0], abs=0.05)
        assert numbers.max(0) == pytest.approx([50.0, 10.0], abs=0.05)


@pytest.mark.parametrize(
    ("source", "column"),
    [("data/planetary/cubes/v1477479472_1.qub", "target_name"), ("data/planetary/pds4/colors.xml", "comet_name")],
)
def test_new_writes_a_descriptor_that_is_right(tmp_path, source, column):
    settings = Settings(directory=tmp_path)
    text = (path := create_descriptor(settings, "mine", str(shared(source)))).read_text()
    assert "kind: product" in text
    assert f"      {column}:" in text
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def test_new_of_archives(tmp_path):
    settings = Settings(directory=tmp_path)
    (tmp_path / "volumes").mkdir()
    with zipfile.ZipFile(tmp_path / "volumes/a.zip", "w") as archive:
        archive.write(shared("data/planetary/cubes/v1477479472_1.qub"), "data/a.qub")
        archive.writestr("readme.txt", "no image")
    path = create_descriptor(settings, "mine", str(tmp_path / "volumes"))
    assert "../../volumes/*.zip" in path.read_text()
    assert "mode: images" in path.read_text()
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def read_label_pair():
    folder = shared("data/planetary/pds4")
    return {name: (folder / name).read_bytes() for name in ("colors.xml", "colors.tab")}


def test_a_label_on_another_server_has_its_table_beside_it(tmp_path):
    bodies = {f"/night/{name}": body for name, body in read_label_pair().items()}
    with file_servers.serve_ftp(file_servers.ServedFiles(bodies)) as there:
        source = open_source(
            "product", tmp_path, files="night/*.xml", root=there.address, mode="cards", cards=["title"]
        )
        assert read(source, ["value"]) == [{"value": "Properties of Comet Nuclei - Colors"}]


def test_a_label_in_a_bucket_has_its_table_beside_it(tmp_path):
    bodies = {f"night/{name}": body for name, body in read_label_pair().items()}
    with file_servers.serve_s3(bodies) as (address, key, secret):
        module = plugins.load_plugin("sources", "product")
        context = SourceContext(directory=tmp_path, allow_private=True, resolve_secret=lambda _: secret)
        options = {"endpoint_url": address, "key": key, "secret": "$S3"}
        given = {
            "files": "night/*.xml",
            "root": "s3://observatory",
            "options": options,
            "mode": "cards",
            "cards": ["title"],
        }
        source = module.open(module.Options.model_validate(given), context)
        assert read(source, ["value"]) == [{"value": "Properties of Comet Nuclei - Colors"}]


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.xz"])
def test_a_label_in_an_archive_has_its_table_beside_it(tmp_path, ending):
    members = {f"pds/{name}": body for name, body in read_label_pair().items()}
    if ending == "zip":
        with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in members.items():
                archive.writestr(name, body)
    else:
        with tarfile.open(tmp_path / f"a.{ending}", f"w:{ending.partition('.')[2]}") as archive:
            for name, body in members.items():
                fact = tarfile.TarInfo(name)
                fact.size, fact.mtime = len(body), 1e9
                archive.addfile(fact, io.BytesIO(body))
    (label,) = read(open_source("product", tmp_path, files=f"*.{ending}", members="pds/*.xml", cards=["title"]))
    assert label == {"title": "Properties of Comet Nuclei - Colors"}


def test_damage_at_the_head_of_a_cube_is_told_or_harmless(tmp_path):
    """One bad file of ten thousand must not end the ingest: whatever is in it, it is a row or kept aside."""
    chance = np.random.default_rng(2026)
    path = shared("data/planetary/cubes/v1477479472_1.qub")
    body = np.frombuffer(path.read_bytes()[:200_000], np.uint8)
    for number in range(12 * EXAMPLES_FACTOR):
        bytes_ = body.copy()
        places = chance.integers(0, min(len(body), 30_000), chance.integers(1, 12))
        places[::2] %= 600
        bytes_[places] = chance.integers(0, 256, len(places), np.uint8)
        (tmp_path / f"{number:03}{path.suffix}").write_bytes(bytes_.tobytes())
    (tmp_path / f"z{path.suffix}").write_bytes(path.read_bytes())
    rejects = []
    source = open_source("product", tmp_path, rejects, files=f"*{path.suffix}", mode="images")
    found = read(source, ["file.name", "file.footprint"])
    assert {row["file.name"] for row in found} >= {f"z{path.suffix}"}
    assert len({row["file.name"] for row in found} | {one.file for one in rejects}) == 12 * EXAMPLES_FACTOR + 1


@pytest.mark.parametrize(
    "text", [b"Object = IsisCube\n  Object = Core\n", b"CCSD3ZF0000100000001NJPL3IF0PDS200000001 = SFDU_LABEL\n"]
)
def test_a_label_is_no_delimited_text(tmp_path, text):
    (tmp_path / "a.csv").write_bytes(text)
    with pytest.raises(SourceError, match="looks like an ISIS or PDS3 product with its label") as caught:
        open_csv(Options(files="a.csv"), SourceContext(directory=tmp_path)).list_columns()
    assert "write `kind: product`" in str(caught.value.remedy)


LEFT_OUT = """\
collection: maps
title: Maps
tables:
  main:
    source: {source}
    columns: {{name: string}}
    map: {{name: {name}}}
"""


@pytest.mark.parametrize(
    ("source", "name"),
    [("{kind: product, mode: images, files: a.lbl}", "file.stem"), ("a.lbl", "file.stem")],
)
def test_check_names_the_package_that_a_site_leaves_out(tmp_path, source, name):
    require_plugins("sources", "product")
    (tmp_path / "hven.toml").write_text('plugins = ["product_sources"]\n')
    folder = tmp_path / "collections" / "maps"
    folder.mkdir(parents=True)
    (folder / "a.lbl").write_text("PDS_VERSION_ID = PDS3\nEND\n")
    path = folder / "maps.yaml"
    path.write_text(LEFT_OUT.format(source=source, name=name))
    try:
        faults = check_descriptor(path, load_settings(tmp_path))
        assert any("planetary_media" in str(fault) for fault in faults), faults
    finally:
        plugins.select_plugin_packages(None)


def test_values_equal_those_of_pds4_tools():
    """A second opinion, where it is installed."""
    pds4_tools = pytest.importorskip("pds4_tools")
    path = shared("data/planetary/pds4/colors.xml")
    theirs = pds4_tools.read(str(path), quiet=True)[0]
    mine = read(open_source("product", path.parent, files=path.name, part=0))
    for name in theirs.data.dtype.names:
        values = [None if str(value).strip() in {"", "--"} else value for value in theirs[name].tolist()]
        for row, value in zip(mine, values, strict=True):
            here = row[name]
            assert here == pytest.approx(value) if isinstance(here, float) else (here is None or str(here) == str(value).strip()), name  # fmt: skip
