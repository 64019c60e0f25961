"""hven.toml and HVEN_*: every fault at once, with its line; `create_site_directory` makes a site that loads."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields
from types import SimpleNamespace

import pytest

from hven.engines import EnginePluginRecord
from hven.model import plugins
from hven.model.errors import DescriptorError, UserError
from hven.model.settings import (
    PortalSettings,
    QueryLimits,
    ReloadableSettings,
    RemoteTapService,
    Settings,
    SettingsSection,
    _validation,
    build_setting_metadata,
    collect_setting_docs,
    create_site_directory,
    define_setting,
    find_missing_portal_item_faults,
    load_settings,
)  # fmt: skip


def site(tmp_path, text):
    (tmp_path / "hven.toml").write_text(text)
    return tmp_path


def faults(tmp_path, text, environment=None):
    with pytest.raises(DescriptorError) as caught:
        load_settings(site(tmp_path, text), environment or {})
    return [str(fault) for fault in caught.value.faults]


def test_an_empty_file_gives_the_defaults(tmp_path):
    package_sections = [
        plugins.load_named_object(place, "test")
        for package in plugins.list_plugin_packages()
        for place in package.settings.values()
    ]
    brought = {section.key: () if section.is_repeated else section.settings_class() for section in package_sections}
    assert load_settings(site(tmp_path, ""), {}) == Settings(directory=tmp_path, brought=brought)


def test_everything(tmp_path):
    text = """
name = "Uraniborg"
authority = "uraniborg.example"
public_url = "https://vo.example.org/hven/"
port = 9000
workers = 4
disk_budget = "1.5 GiB"
cors = ["https://portal.example"]
[limits]
seconds = 5
memory = "512 MiB"
maxrec_default = 10
[defaults]
publisher = "Uraniborg"
[defaults.contact]
name = "Tycho"
"""
    found = load_settings(
        site(tmp_path, text),
        {
            "HVEN_PORT": "9001",
            "HVEN_LIMITS_SECONDS": "7.5",
            "HVEN_CORS": "https://a.example,https://b.example",
            "HVEN_NOTHING_OF_OURS": "x",
        },
    )
    assert (found.name, found.authority, found.port, found.workers) == ("Uraniborg", "uraniborg.example", 9001, 4)
    assert (found.public_url, found.root_path) == ("https://vo.example.org/hven", "/hven")
    assert found.disk_budget == 1_610_612_736
    assert found.limits == QueryLimits(seconds=7.5, memory=512 * 1024**2, maxrec_default=10)
    assert found.cors == ("https://a.example", "https://b.example")
    assert found.defaults == {"publisher": "Uraniborg", "contact": {"name": "Tycho"}}


def test_every_fault_at_once_with_its_line(tmp_path):
    text = """nam = "x"
port = 99999
public_url = "vo.example.org"
[limits]
second = 3
seconds = 0
memory = "much"
maxrec_default = 30_000_000
[[remote]]
name = "a"
url = "https://vo.example/tap"
tables = ["a"]
[[remote]]
name = "Capital"
tables = ["a"]
"""
    found = faults(tmp_path, text, {"HVEN_PROT": "1", "HVEN_WORKERS": "many"})
    assert found == [
        "environment: there is no setting HVEN_PROT; did you mean HVEN_PORT?",
        "hven.toml:1: nam: there is no such setting; did you mean 'name'?",
        "hven.toml:2: port: input should be less than or equal to 65535, not 99999",
        "hven.toml:3: public_url: 'vo.example.org' is not valid; expected an address such as 'https://vo.example.org/hven'",
        "hven.toml:5: limits.second: there is no such setting; did you mean 'seconds'?",
        "hven.toml:6: limits.seconds: input should be greater than 0, not 0",
        "hven.toml:7: limits.memory: must be a number of bytes, such as '2 GiB'; it is 'much'",
        "hven.toml:8: limits.maxrec_default (30000000) is above limits.maxrec_hard (20000000)",
        "hven.toml:13: remote.1.url: is missing",
        "hven.toml:14: remote.1.name: 'Capital' is not valid; expected another form",
        "environment: HVEN_WORKERS: must be a whole number; it is 'many'",
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('name = "x\nport = 1\n', "hven.toml:1:10: the file is not valid TOML: Illegal character '\\n'"),
        ("name = x\n", "hven.toml:1:8: the file is not valid TOML: Invalid value"),
        ('name = "a"\nname = "b"\n', "hven.toml:2:11: the file is not valid TOML: Cannot overwrite a value"),
        ("[limits\n", "hven.toml:1:8: the file is not valid TOML"),
    ],
)
def test_bad_toml(tmp_path, text, said):
    assert faults(tmp_path, text)[0].startswith(said)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("port = true", "hven.toml:1: port: must be a number; it is true"),
        ("[limits]\nseconds = true", "hven.toml:2: limits.seconds: must be a number; it is true"),
        ("port = 80.5", "hven.toml:1: port: must be a whole number; it is 80.5"),
        ("name = 5", "hven.toml:1: name: must be text in quotes; it is 5"),
        ("limits = 5", "hven.toml:1: limits: must be a section: write [limits], and the settings below it; it is 5"),
        (
            '[health]\noperators = "olga"',
            "hven.toml:2: health.operators: must be a list, such as [\"olga\"]; it is 'olga'",
        ),
        ('alias = "/x"', "hven.toml:1: alias: must be sections: write [[alias]]; it is '/x'"),
        (
            '[projects]\nhesiod = "x"',
            "hven.toml:2: projects.hesiod: must be a section: write [projects.hesiod], and the settings below it; it is 'x'",
        ),
        ('[health]\nsee_as = "maybe"', "hven.toml:2: health.see_as: must be true or false; it is 'maybe'"),
        (
            'name = "x"\ntrusted_proxies = ["127.0.0.1", "10.0.0"]',
            "hven.toml:2: trusted_proxies.1: '10.0.0' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            'name = "a"\nname = "b"\n',
            "hven.toml:2:11: the file is not valid TOML: Cannot overwrite a value; write each setting, and each section, only once",
        ),
    ],
)
def test_a_value_of_another_type_has_its_line_and_the_form_that_is_expected(tmp_path, text, found):
    assert faults(tmp_path, text) == [found]


def test_the_address_of_an_ipv6_host_has_brackets(tmp_path):
    found = Settings(directory=tmp_path, host="::1", port=8080)
    assert (found.listening_address, found.site_url) == ("[::1]:8080", "http://[::1]:8080")
    assert Settings(directory=tmp_path, host="localhost", port=8080).site_url == "http://localhost:8080"


def test_bad_bytes(tmp_path):
    (tmp_path / "hven.toml").write_bytes(b'name = "x"\ntitle = "caf\xe9"\n')
    with pytest.raises(DescriptorError, match=r"hven\.toml:2: the file is not UTF-8"):
        load_settings(tmp_path, {})


def test_no_site(tmp_path):
    with pytest.raises(UserError, match=r"is not a site: it has no hven\.toml; run `hven init"):
        load_settings(tmp_path, {})
    with pytest.raises(UserError, match="there is no such directory"):
        load_settings(tmp_path / "nowhere", {})


def test_init_makes_a_site_and_never_overwrites(tmp_path):
    made = create_site_directory(
        tmp_path / "a" / "b", name='The "best" site \\ ever', contact_name="T. Brahe", contact_email="t@example.org"
    )
    found = load_settings(made, {})
    assert (found.name, found.contact_name, found.contact_email) == (
        'The "best" site \\ ever',
        "T. Brahe",
        "t@example.org",
    )
    assert found.collections_directory.is_dir()
    with pytest.raises(UserError, match="is already a site"):
        create_site_directory(made)


def test_the_commented_settings_of_the_template_are_right(tmp_path):
    made = create_site_directory(tmp_path / "x")
    file = made / "hven.toml"
    bare = [
        line.removeprefix("# ")
        for line in file.read_text().splitlines()
        if " = " in line or line.startswith(("# [", "["))
    ]
    file.write_text("\n".join(bare))
    assert load_settings(made, {}).limits.seconds == 60
    assert "publisher" in load_settings(made, {}).defaults


def test_every_setting_has_a_key_and_a_word():
    ours = {field.name for field in fields(Settings)} - {"directory", "brought"} | {
        one.name for one in _validation.list_plugin_settings_sections() if not one.part
    }
    ours |= {
        f"{one.name}.{field.name}"
        for one in _validation.collect_settings_sections().values()
        for field in fields(one.settings_class)
    }
    assert ours == set(collect_setting_docs())
    assert all(collect_setting_docs().values())


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretHandler:
    url: str | None = define_setting(None, "where it is", pattern="^far://", example="an address such as 'far://x'")
    memory: int = define_setting(1024, "bytes that it may use", ge=1, size=True)
    tags: tuple[str, ...] = define_setting((), "words")


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    name: str = field(metadata=build_setting_metadata("its name"))


@pytest.fixture
def engine(monkeypatch):
    """Install an engine that brings two sections."""
    kind = EnginePluginRecord(
        settings=(
            SettingsSection(
                name="far",
                settings_class=SecretHandler,
                doc="the engine far",
                previous_setting="data",
                template_text="# [far]\n",
            ),
            SettingsSection(
                name="node", settings_class=Node, doc="its machines", is_repeated=True, previous_setting="far"
            ),
        )
    )
    views = (
        _validation.list_plugin_settings_sections,
        _validation.collect_settings_sections,
        _validation.collect_setting_metadata,
        _validation.build_settings_file_model,
    )
    for view in views:
        view.cache_clear()
    monkeypatch.setattr(plugins, "list_plugin_packages", lambda: ())
    monkeypatch.setattr(plugins, "list_plugins", lambda _: ("far",))
    monkeypatch.setattr(plugins, "load_plugin", lambda *_: SimpleNamespace(KIND=kind))
    yield
    for view in views:
        view.cache_clear()


@pytest.mark.usefixtures("engine")
def test_an_engine_brings_its_settings(tmp_path):
    file = create_site_directory(tmp_path) / "hven.toml"
    assert "# [far]\n" in file.read_text()
    assert "postgres" not in collect_setting_docs()
    assert collect_setting_docs()["far.url"] == "where it is"
    assert load_settings(tmp_path, {}).brought == {"far": SecretHandler(), "node": ()}
    file.write_text('[far]\nurl = "far://a"\nmemory = "2k"\n[[node]]\nname = "one"\n[[node]]\nname = "two"\n')
    packages = {name: value for name, value in os.environ.items() if name == "HVEN_PLUGINS"}  # as the second reading
    found = load_settings(tmp_path, {"HVEN_FAR_URL": "far://b", "HVEN_FAR_TAGS": "x,y", **packages})
    assert found.brought == {
        "far": SecretHandler(url="far://b", memory=2048, tags=("x", "y")),
        "node": (Node(name="one"), Node(name="two")),
    }
    now = ReloadableSettings(found)
    os.utime(file, (1, 1))
    assert not now.reload_if_changed(["far"])
    assert (now.pending_restart, now.current.brought["far"]) == (("far.url", "far.tags"), found.brought["far"])
    said = faults(tmp_path, '[far]\nurl = "x"\nurls = 1\n[nearby]\nurl = "near://h/d"\n[[node]]\nid = 1\n')
    assert "hven.toml:2: far.url: 'x' is not valid; expected an address such as 'far://x'" in said
    assert "hven.toml:3: far.urls: there is no such setting; did you mean 'url'?" in said
    assert any(one.startswith("hven.toml:4: nearby: there is no such setting") for one in said)
    assert "hven.toml:6: node.0.name: is missing" in said


@pytest.mark.parametrize("section", ["portals", "projects", "readers"])
def test_a_list_of_what_has_sections_by_name_says_how_to_write_them(tmp_path, section):
    (fault,) = faults(tmp_path, f'title = "x"\n[[{section}]]\nname = "mars"\n')
    assert (
        fault
        == f"hven.toml:2: {section}: each of them needs a section with its own name: write [{section}.mars], and no `name` in it"
    )


def test_services_elsewhere_are_named_with_their_tables(tmp_path):
    file = tmp_path / "hven.toml"
    file.write_text(
        '[[remote]]\nname = "amda"\nurl = "https://amda.example.org/tap"\ntables = ["amdadb.epn_core"]\n[[remote]]\nname = "eso"\nurl = "https://eso.example.org/tap"\nkind = "obscore"\n'
    )
    assert load_settings(tmp_path, {}).remote == (
        RemoteTapService(name="amda", url="https://amda.example.org/tap", tables=("amdadb.epn_core",)),
        RemoteTapService(name="eso", url="https://eso.example.org/tap", kind="obscore", tables=("ivoa.obscore",)),
    )
    file.write_text(
        '[[remote]]\nname = "a"\nurl = "https://x.example.org/tap"\n'
        '[[remote]]\nname = "a"\nurl = "ftp://x.example.org"\ntables = ["x.y; DROP"]\n[[remote]]\nname = "B c"\nurl = "https://x.example.org"\nkind = "ssa"\n'
    )
    with pytest.raises(DescriptorError) as caught:
        load_settings(tmp_path, {})
    told = " ".join(f"{fault.place.line}:{fault.message}" for fault in caught.value.faults)
    for word in (
        "2:remote.0.tables: is missing",
        "two services with the name 'a'",
        "remote.1.url",
        "remote.1.tables",
        "remote.2.name",
        "remote.2.kind",
    ):
        assert word in told, told


def test_portals(tmp_path):
    text = """[portals.medoc]
path = "/medoc"
collections = ["soho"]
levels = ["mission"]
[portals.psup]
host = "psup.example.org"
"""
    (tmp_path / "hven.toml").write_text(text)
    found = load_settings(tmp_path, {}).portals
    assert found == (
        PortalSettings(name="medoc", path="/medoc", collections=("soho",), levels=("mission",)),
        PortalSettings(name="psup", host="psup.example.org"),
    )


def test_portals_that_nobody_could_come_to(tmp_path):
    text = """logo = "../x.svg"
[portals.none]
titel = "x"
[portals.both]
host = "x.y"
path = "/x"
[portals.again]
host = "X.y"
[portals.taken]
path = "/tap/x"
[portals.Bad]
path = "x"
"""
    found = faults(tmp_path, text)
    assert (
        "hven.toml:1: logo: '../x.svg' is not valid; expected a picture beside hven.toml, such as 'logo.svg'" in found
    )
    assert "hven.toml:3: portals.none.titel: there is no such setting; did you mean 'title'?" in found
    assert any(fault.startswith("hven.toml:2: portals.none: the portal has neither host nor path") for fault in found)
    assert any(fault.startswith("hven.toml:4: portals.both: the portal has both a host and a path") for fault in found)
    assert any(fault.startswith("hven.toml:7: portals.again: portals.both already uses x.y") for fault in found)
    assert any(fault.startswith("hven.toml:9: portals.taken: /tap is the path of a service") for fault in found)
    assert any("portals.Bad" in fault for fault in found)


def test_what_portals_name_must_be_there(tmp_path):
    (tmp_path / "collections" / "soho").mkdir(parents=True)
    (tmp_path / "collections" / "soho" / "soho.yaml").write_text("collection: soho\n")
    (tmp_path / "logo.svg").write_text("<svg/>")
    (tmp_path / "hven.toml").write_text(
        'logo = "logo.svg"\n[portals.sun]\npath = "/sun"\nlogo = "no.png"\ncollections = ["soho", "sohoo"]\n'
    )
    found = find_missing_portal_item_faults(load_settings(tmp_path, {}))
    assert [str(fault) for fault in found] == [
        "hven.toml:5: portals.sun.collections: there is no collection 'sohoo'; did you mean 'soho'?",
        "hven.toml:4: portals.sun.logo: there is no file no.png beside hven.toml; create it, or remove the setting",
    ]
    assert {fault.severity for fault in found} == {"warning"}
