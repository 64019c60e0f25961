"""A package adds functions of expressions with what DuckDB needs for them, a column of headers, names and job types."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from astropy.io import fits

from adql_runner import compute_expression, create_connection
from example_plugins import clear_caches
from hven import query
from hven.adql.functions import QUERY_FUNCTIONS
from hven.ingest.api.runs import ingest_collection
from hven.jobs import type_catalogue
from hven.model import plugins
from hven.model.errors import BindError, DescriptorError, NotFoundError
from hven.model.settings import load_settings
from hven.site import Site
from hven.site.auth import OWNER_PRINCIPAL
from hven.sources import SourceContext

PACKAGE = '''\
"""A package with functions, a column of headers, a name of `hven.sky`, and job types."""

import pyarrow as pa
import pyarrow.compute as pc

from hven.adql.signatures import define_function
from hven.adql.syntax_tree import FunctionCall, Literal
from hven.engines.api.engine_functions import EngineFunction, EngineFunctions
from hven.jobs import JobDefinition, JobTypeLimits
from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    function_definitions={"doubled": "hven_night_sky:DOUBLED", "folder": "hven_night_sky:FOLDER"},
    engine_functions={"duckdb": "hven_night_sky:FUNCTIONS"},
    header_columns={"file.footprint": "hven_night_sky:compute_column"},
    sky_names={"moon": "hven_night_sky:MOON"},
    job_providers=("hven_night_sky:PROVIDER",),
)
MOON = "full"


def write_doubled(writer, call):
    times = "2" if len(call.args) < 2 or call.args[1].value == "twice" else "3"
    return f"hven_night_times({writer.write_expression(call.args[0])}, {times}::BIGINT)"


def add_folder(context):
    if context.call.args:
        return None
    if context.find_source_column("missing") is None and context.has_selected_cards:
        context.raise_call_error("folder() needs the column missing", "add it")
    return FunctionCall("FOLDER", (Literal(context.directory),), text_offset=context.call.text_offset)


DOUBLED = define_function(
    "udf",
    "DOUBLED",
    "(n BIGINT [, how TEXT LITERAL]) -> BIGINT",
    doc="Twice n.",
    example="DOUBLED(2) is 4",
    sql={"duckdb": write_doubled},
    words=("twice",),
    accepts_word=lambda word: word == "thrice",
)
FOLDER = define_function(
    "mapping",
    "FOLDER",
    "([directory TEXT LITERAL]) -> TEXT",
    doc="The folder of a descriptor.",
    example="FOLDER('a') is 'a'",
    sql={"duckdb": "hven_night_name({0})"},
    expand_call=add_folder,
)
FUNCTIONS = EngineFunctions(
    functions={
        "hven_night_times": EngineFunction(("BIGINT", "BIGINT"), "BIGINT", lambda n, by: pc.multiply(n, by)),
    },
    macros=("CREATE OR REPLACE MACRO hven_night_name(s) AS split_part(s, '/', -1)",),
    parallel_functions=("hven_night_times",),
)


def compute_column(headers, longitudes):
    from hven.model.types import CONTOUR

    return pa.array([{"pixels": header["NAXIS1"]} for header in headers], CONTOUR.arrow)


class Provider:
    def list_type_names(self, settings):
        return ["watch"]

    def find_job_type(self, settings, type_name):
        return self.load_job_types(settings).get(type_name)

    def load_job_types(self, settings):
        return {"watch": JobDefinition(name="watch", title="Watch", run=print, quota=JobTypeLimits(running_limit=3))}


PROVIDER = Provider()
'''
DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: fits, files: "*.fits", mode: header}
    columns: {name: string, n: int64}
    map: {name: folder(), n: "doubled(NAXIS1, 'thrice')"}
"""


@pytest.fixture(autouse=True)
def _package(tmp_path: Path) -> Iterator[None]:
    place = tmp_path / "site-packages"
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as context:
        context.setenv(plugins.SELECTION_VARIABLE, "night_sky,product_sources")  # with the source of FITS
        context.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        yield
    plugins.select_plugin_packages(None)
    clear_caches()
    sys.modules.pop("hven_night_sky", None)
    if "hven.sky" in sys.modules:
        vars(sys.modules["hven.sky"]).pop("moon", None)
        importlib.reload(sys.modules["hven.sky"])


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    folder = tmp_path / "site/collections/stars"
    folder.mkdir(parents=True)
    (tmp_path / "site/hven.toml").write_text('name = "x"\n', encoding="utf-8")
    (folder / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    fits.PrimaryHDU([[1, 2, 3], [4, 5, 6]]).writeto(folder / "a.fits")
    with Site(load_settings(tmp_path / "site")) as opened:
        yield opened


def test_functions_are_bound_written_and_computed(site: Site) -> None:
    ingest_collection(site, "stars")
    site.refresh_published_state()
    with query.run_query("SELECT name, doubled(n) AS n FROM stars.main", OWNER_PRINCIPAL, site=site) as result:
        assert result.read_table().to_pylist() == [{"name": "stars", "n": 18}]
    assert QUERY_FUNCTIONS.find_function("doubled") is not None
    assert QUERY_FUNCTIONS.find_function("folder") is None


def test_a_column_is_computed_of_headers(site: Site) -> None:
    folder = site.settings.collections_directory / "stars"
    module = plugins.load_plugin("sources", "fits")
    options = module.Options(files="*.fits", mode="header", cards=["NAXIS1", "NAXIS2"])
    source = module.open(options, SourceContext(directory=folder))
    (batch,) = source.read_batches(["file.footprint"])
    assert [value["pixels"] for value in batch.column(0).to_pylist()] == [3]


def test_words_of_a_call_are_checked() -> None:
    assert compute_expression(create_connection(), "doubled(n)", n=[4, None]).to_pylist() == [8, None]
    with pytest.raises(BindError, match="doubled does not accept 'twic'"):
        compute_expression(create_connection(), "doubled(n, 'twic')", n=[4])


def test_a_call_that_cannot_be_completed_has_a_place(site: Site) -> None:
    path = site.settings.collections_directory / "stars/stars.yaml"
    path.write_text(DESCRIPTOR.replace("mode: header", "mode: header, cards: [NAXIS1]"), encoding="utf-8")
    with pytest.raises(DescriptorError) as raised:
        ingest_collection(site, "stars")
    assert str(raised.value).startswith(
        "collections/stars/stars.yaml:7:17: tables.main.map.name: folder() needs the column missing"
    )


def test_a_function_of_a_package_that_is_left_out_is_unknown(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.SELECTION_VARIABLE, "product_sources")
    plugins.select_plugin_packages(None)
    with pytest.raises(DescriptorError, match="there is no function folder"):
        ingest_collection(site, "stars")
    with pytest.raises(NotFoundError, match="there is no job type 'watch'"):
        type_catalogue.find_job_type(site.settings, "watch")


def test_a_package_makes_job_types(site: Site) -> None:
    assert type_catalogue.find_job_type(site.settings, "watch").title == "Watch"
    assert type_catalogue.load_all_job_types(site.settings)["watch"].name == "watch"
    assert type_catalogue.map_running_job_limits(site.settings)["watch"] == 3


def test_a_package_adds_names_to_the_api_of_the_sky() -> None:
    sky = importlib.reload(importlib.import_module("hven.sky"))
    assert sky.moon == "full"
    assert "moon" in sky.__all__
