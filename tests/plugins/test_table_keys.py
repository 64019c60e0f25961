"""A package adds a key of tables: it is read, checked, described in the schema, and stays at its site."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgi_client import Client

from example_plugins import clear_caches
from hven.app._server import create_and_start_application
from hven.descriptor import build_descriptor_json_schema, check_descriptor, find_package_key_conflicts, load_descriptor
from hven.descriptor._keys import TableSection
from hven.descriptor.value_schema import LOCAL_MARK, MIRRORED_MARK
from hven.ingest.api.runs import ingest_collection
from hven.model import plugins
from hven.model.plugins import PluginPackage
from hven.model.settings import Settings, load_settings
from hven.site import Site

PACKAGE = '''\
"""A package with a key of tables."""

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.descriptor.value_schema import Condition, DescriptorSection, Text
from hven.model.errors import Fault
from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="night_sky",
    title="Plan observations of published targets",
    protocols={"plans": "hven_night_service"},
    table_keys={"plans": "hven_night_sky:PLANS"},
)


class PlanSection(DescriptorSection, short="observer"):
    """A plan of observations."""

    observer: Text
    "who observes"
    where: Condition
    "condition for the rows that are observed"


def convert_plans(value):
    for name, plan in value.value.items():
        if "observer" not in plan:
            value.faults.add_error(f"{value.key_path}.{name} has no observer", plan.place)
    return tuple((str(name), str(plan.get("observer")), plan.get("where")) for name, plan in value.value.items())


def find_faults(resource, find_query_columns):
    for spec in resource.tables:
        for name, _, condition in spec.table.extensions.get("plans", ()):
            if condition is not None and find_query_columns(f"SELECT 1 AS x FROM {spec.table.name} WHERE {condition}"):
                yield Fault(message=f"{name} can be observed", place=spec.place, severity="warning")


def find_conflicts(resources, other_resources):
    names = {plan[0] for resource in other_resources for spec in resource.tables for plan in spec.table.extensions["plans"]}
    for resource in resources:
        for spec in resource.tables:
            yield from (Fault(message=f"two plans {plan[0]}") for plan in spec.table.extensions["plans"] if plan[0] in names)


PLANS = TableDescriptorKey(
    value_type=dict[str, PlanSection],
    doc="plans of observations, by their names",
    convert_value=convert_plans,
    previous_key="series",
    service="plans",
    find_faults=find_faults,
    find_conflicts=find_conflicts,
    reference_sections=(KeyReferenceSection("plan", "plan", example="plans: {tonight: {observer: Tycho, where: n > 1}}"),),
)
'''
SERVICE = '''\
"""Plans of a table at /plans/{table}/{name}, and at old addresses /tonight/{name}."""

from starlette.responses import PlainTextResponse

from hven.services import find_table
from hven.services.errors import TEXT_LINE_ERRORS
from hven.services.face import ServiceFace, ServiceOperation, create_route


def build_routes(context):
    async def answer(request):
        catalogue = context.site.get_published_state().get_catalogue(context.identify_principal(request), context.policies)
        table = find_table(request.path_params["table"], catalogue)
        return PlainTextResponse(f"{table.name}: {request.path_params['name']}")

    return [create_route("/plans/{table}/{name}", answer, TEXT_LINE_ERRORS)]


def build_address_rewriter(context):
    def rewrite_request(scope):
        for name, item in context.site.get_published_state().tables_by_name.items():
            for plan in item.table.extensions.get("plans", ()):
                if scope["path"] in (f"/night/{plan[0]}", "/tap/capabilities"):
                    return {**scope, "path": f"/plans/{name}/{plan[0]}", "raw_path": b""}
        return None

    return rewrite_request


def list_table_operations(table):
    for plan in table.extensions.get("plans", ()):
        yield ServiceOperation(path=f"/night/{plan[0]}", name=f"night-{plan[0]}", title=f"Plan {plan[0]}")


FACE = ServiceFace(
    name="plans",
    title="Plans",
    is_selectable=True,
    applies=lambda table: "plans" in table.extensions,
    build_routes=build_routes,
    build_address_rewriter=build_address_rewriter,
    list_table_operations=list_table_operations,
)
'''
DESCRIPTOR = """\
collection: stars
title: Stars
tables:
  main:
    source: {kind: csv, files: stars.csv}
    columns: {name: string, n: int32}
    plans:
      tonight: {observer: Tycho, where: n > 1}
      tomorrow: Sophie
"""


@pytest.fixture(autouse=True)
def package_place(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "site-packages"
    about = place / "hven_night_sky-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: hven-night-sky\nVersion: 1.0\n", encoding="utf-8")
    (about / "entry_points.txt").write_text("[hven.plugins]\nnight_sky = hven_night_sky\n", encoding="utf-8")
    (place / "hven_night_sky.py").write_text(PACKAGE, encoding="utf-8")
    (place / "hven_night_service.py").write_text(SERVICE, encoding="utf-8")
    with pytest.MonkeyPatch.context() as context:
        context.delenv(plugins.SELECTION_VARIABLE, raising=False)
        context.syspath_prepend(str(place))
        plugins.select_plugin_packages(None)
        clear_caches()
        yield place
    plugins.select_plugin_packages(None)
    clear_caches()
    for name in ("hven_night_sky", "hven_night_service"):
        sys.modules.pop(name, None)


@pytest.fixture
def descriptor_path(tmp_path: Path) -> Path:
    directory = tmp_path / "site/collections/stars"
    directory.mkdir(parents=True)
    (tmp_path / "site/hven.toml").write_text('name = "x"\n', encoding="utf-8")
    (directory / "stars.csv").write_text("name,n\nVega,1\nRigel,2\n", encoding="utf-8")
    (directory / "stars.yaml").write_text(DESCRIPTOR, encoding="utf-8")
    return directory / "stars.yaml"


def list_faults(path: Path) -> list[str]:
    return [str(fault) for fault in check_descriptor(path, Settings(directory=path.parents[2]))]


def test_the_value_is_converted_and_checked(descriptor_path: Path) -> None:
    settings = Settings(directory=descriptor_path.parents[2])
    resource = load_descriptor(descriptor_path, settings)
    plans = resource.tables[0].table.extensions["plans"]
    assert plans == (("tonight", "Tycho", "n > 1"), ("tomorrow", "Sophie", None))
    assert list_faults(descriptor_path) == ["collections/stars/stars.yaml:4:3: tonight can be observed"]
    assert [fault.message for fault in find_package_key_conflicts([resource], [resource])] == [
        "two plans tonight",
        "two plans tomorrow",
    ]


def test_faults_of_the_value_have_their_places(descriptor_path: Path) -> None:
    descriptor_path.write_text(
        DESCRIPTOR.replace("observer: Tycho", "observe: Tycho").replace("Sophie", "{}"), encoding="utf-8"
    )
    assert list_faults(descriptor_path) == [
        "collections/stars/stars.yaml:4:3: tonight can be observed",
        "collections/stars/stars.yaml:8:16: tables.main.plans.tonight has no observer",
        "collections/stars/stars.yaml:8:17: 'observe' is not a valid key of tables.main.plans.tonight; did you mean 'observer'?",
        "collections/stars/stars.yaml:9:17: tables.main.plans.tomorrow has no observer",
    ]


def test_a_key_without_its_service_is_told(descriptor_path: Path) -> None:
    descriptor_path.write_text(DESCRIPTOR.replace("title: Stars", "title: Stars\nservices: [tap]"), encoding="utf-8")
    told = "tables.main.plans has no effect, because `services` does not list plans"
    assert any(told in fault for fault in list_faults(descriptor_path))


def test_a_published_table_has_what_the_present_descriptor_says(descriptor_path: Path) -> None:
    with Site(load_settings(descriptor_path.parents[2])) as site:
        ingest_collection(site, "stars")
        descriptor_path.write_text(DESCRIPTOR.replace("Sophie", "Brahe"), encoding="utf-8")
        site.refresh_published_state()
        table = site.get_published_state().tables_by_name["stars.main"].table
        assert table.extensions["plans"][1][1] == "Brahe"


def test_a_service_answers_at_old_addresses_of_tables_that_it_may_serve(descriptor_path: Path) -> None:
    settings = load_settings(descriptor_path.parents[2])
    with Site(settings) as site:
        ingest_collection(site, "stars")
        client = Client(create_and_start_application(site))
        answer = client.get("/night/tonight")
        assert (answer.status, answer.text) == (200, "main: tonight")
        assert client.get("/night/yesterday").status == 404
        assert "capability" in client.get("/tap/capabilities").text, "no path of Hven can be taken"
        paths = json.loads(client.get("/openapi.json").text)["paths"]
        assert paths["/night/tonight"]["get"]["summary"] == "Plan tonight"
        descriptor_path.write_text(
            DESCRIPTOR.replace("title: Stars", "title: Stars\nservices: [tap]"), encoding="utf-8"
        )
        ingest_collection(site, "stars")
        site.refresh_published_state()
        assert client.get("/night/tonight").status == 404
        assert "/night/tonight" not in json.loads(client.get("/openapi.json").text)["paths"]


def test_the_schema_and_the_records_have_the_key() -> None:
    schema = build_descriptor_json_schema()
    properties = schema["$defs"]["table"]["properties"]
    names = list(properties)
    assert names[names.index("series") + 1] == "plans"
    assert properties["plans"]["description"] == "plans of observations, by their names"
    assert schema["$defs"]["plan"]["properties"].keys() == {"observer", "where"}
    record = TableSection.record
    assert record.key_docs["plans"] == "plans of observations, by their names"
    assert "plans" in record.list_marked_keys(LOCAL_MARK)
    assert "plans" not in record.list_marked_keys(MIRRORED_MARK)


def test_a_key_that_cannot_be_loaded_stops_no_site(package_place: Path, descriptor_path: Path) -> None:
    path = package_place / "hven_night_sky.py"
    path.write_text(PACKAGE.replace('"hven_night_sky:PLANS"', '"hven_night_sky:PLAN"'), encoding="utf-8")
    sys.modules.pop("hven_night_sky", None)
    clear_caches()
    faults = list_faults(descriptor_path)
    assert len(faults) == 1
    assert "'plans' is not a valid key of tables.main" in faults[0]
    [error] = plugins.find_plugin_faults()
    assert "names hven_night_sky:PLAN, but hven_night_sky has no PLAN" in error.message


def test_a_key_of_a_package_that_is_left_out_is_told_and_has_no_effect(
    descriptor_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = PluginPackage(name="night_sky", title="Plan observations", table_keys={"plans": "hven_night_sky:PLANS"})
    plugins.select_plugin_packages([])
    monkeypatch.setattr(plugins, "list_disabled_packages", lambda: (record,))
    [fault] = list_faults(descriptor_path)
    assert fault == (
        "collections/stars/stars.yaml:7:5: tables.main: 'plans' belongs to the plug-in package night_sky, but `plugins` "
        "in hven.toml does not list this package; add 'night_sky' to `plugins`"
    )
    resource = load_descriptor(descriptor_path, Settings(directory=descriptor_path.parents[2]))
    assert resource.tables[0].table.extensions == {}
