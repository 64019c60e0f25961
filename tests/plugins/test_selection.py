"""The setting `plugins`: which packages a site uses."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hven.descriptor import check_descriptor
from hven.model import plugins
from hven.model.errors import UserError
from hven.model.plugins import PluginPackage
from hven.model.settings import Settings, find_unavailable_section_faults, load_settings

KIND = "sources"


@pytest.fixture(autouse=True)
def _all_packages(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Use all packages before the test, and after it those that the process uses."""
    with pytest.MonkeyPatch.context() as context:
        context.delenv(plugins.SELECTION_VARIABLE, raising=False)
        plugins.select_plugin_packages(None)
        yield
        monkeypatch.undo()
    plugins.select_plugin_packages(None)


@pytest.fixture
def package_with_a_source() -> tuple[str, str]:
    """Give a package that has a kind of source, and the kind."""
    for package in plugins.list_plugin_packages():
        if package.sources:
            return package.name, next(iter(package.sources))
    pytest.skip("no plug-in package has a source")


def test_a_site_without_packages_has_the_core_alone(tmp_path: Path, package_with_a_source: tuple[str, str]) -> None:
    package, kind = package_with_a_source
    (tmp_path / "hven.toml").write_text('name = "x"\nplugins = []\n')
    load_settings(tmp_path)
    assert plugins.list_plugin_packages() == ()
    assert kind not in plugins.list_plugins("sources")
    assert "csv" in plugins.list_plugins("sources")
    with pytest.raises(UserError, match=f"'{kind}' belongs to the plug-in package {package}, but `plugins`"):
        plugins.load_plugin("sources", kind)
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    load_settings(tmp_path)
    assert kind in plugins.list_plugins("sources")


def test_a_site_uses_the_packages_that_it_names(tmp_path: Path) -> None:
    first = plugins.list_plugin_packages()[0].name
    (tmp_path / "hven.toml").write_text(f'name = "x"\nplugins = ["{first}", "{first}x"]\n')
    load_settings(tmp_path)
    assert [package.name for package in plugins.list_plugin_packages()] == [first]
    [error] = plugins.find_plugin_faults()
    assert error.message == f"`plugins` lists '{first}x', but there is no plug-in package with this name"
    assert f"did you mean '{first}'?" in error.remedy


def test_the_variable_takes_precedence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(plugins.SELECTION_VARIABLE, "")
    (tmp_path / "hven.toml").write_text('name = "x"\n')
    load_settings(tmp_path)
    assert plugins.list_plugin_packages() == ()


def test_settings_of_a_package_that_is_left_out_are_told_and_stop_no_site(tmp_path: Path) -> None:
    packages = plugins.list_plugin_packages()
    sections = [
        (package, plugins.load_named_object(place, "test"))
        for package in packages
        for place in package.settings.values()
    ]
    if not sections:
        pytest.skip("no plug-in package has settings")
    for package, section in sections:
        assert section.key in package.settings
        others = [other.name for other in packages if package.name not in {other.name, *other.uses}]
        (tmp_path / "hven.toml").write_text(f"plugins = {others}\n{section.example_text}", encoding="utf-8")
        found = load_settings(tmp_path, {})
        assert section.key not in found.brought
        faults = [str(fault) for fault in find_unavailable_section_faults(found)]
        assert f"belongs to the plug-in package {package.name}, but `plugins` does not list this package" in faults[0]


def test_a_package_is_left_out_with_one_that_it_uses(tmp_path: Path) -> None:
    users = [package for package in plugins.list_plugin_packages() if package.uses]
    if not users:
        pytest.skip("no plug-in package uses another one")
    for package in users:
        (tmp_path / "hven.toml").write_text(f'plugins = ["{package.name}"]\n', encoding="utf-8")
        load_settings(tmp_path, {})
        assert plugins.list_plugin_packages() == ()
        [error] = plugins.find_plugin_faults()
        assert f"the plug-in package {package.name} is left out, because it uses {package.uses[0]}" in error.message


def test_a_key_that_only_packages_use_names_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record = PluginPackage(name="inbox", title="Take files of clients", used_keys=("files.writers",))
    monkeypatch.setattr(plugins, "list_installed_packages", lambda: (record,))
    directory = tmp_path / "collections/reports"
    directory.mkdir(parents=True)
    text = "collection: reports\ntitle: Reports\nfiles:\n  - {files: '*.txt', writers: [anna]}\n"
    (directory / "reports.yaml").write_text(text)
    (directory / "a.txt").write_text("a")

    def list_faults() -> list[str]:
        faults = check_descriptor(directory / "reports.yaml", Settings(directory=tmp_path))
        assert {fault.severity for fault in faults} <= {"warning"}
        return [str(fault) for fault in faults]

    assert list_faults() == []
    plugins.select_plugin_packages(["other"])
    [fault] = list_faults()
    assert fault == (
        "collections/reports/reports.yaml:4:22: files.writers belongs to the plug-in package inbox, but `plugins` "
        "in hven.toml does not list this package; add 'inbox' to `plugins`"
    )
    monkeypatch.setattr(plugins, "list_installed_packages", lambda: ())
    [fault] = list_faults()
    assert fault == (
        "collections/reports/reports.yaml:4:22: no installed plug-in package uses files.writers, so this key has "
        "no effect; remove the key, or install a package that uses it"
    )


def test_a_verb_that_is_left_out_names_its_package() -> None:
    verbs = {name: package.name for package in plugins.list_plugin_packages() for name in package.verbs}
    if not verbs:
        pytest.skip("no plug-in package has a verb")
    verb, package = next(iter(verbs.items()))
    words = [sys.executable, "-m", "hven", verb, "--help"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, env={"HVEN_PLUGINS": "", "PATH": ""})
    assert done.returncode == 2
    reason = f"belongs to the plug-in package {package}, but HVEN_PLUGINS does not list this package"
    assert f"`hven {verb}` {reason}" in done.stderr
