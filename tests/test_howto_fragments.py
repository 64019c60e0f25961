"""Commands, descriptors and settings in the how-tos have verbs, options and keys that exist."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import typer
import yaml

from hven.app._cli.verbs import build_typer_app
from hven.model.errors import DescriptorError
from hven.model.settings import load_settings
from plugin_needs import leads_to_absent_package, list_package_pages, load_core_fixtures
from process_runner import run_hven
from shared import ROOT

PAGES = [*sorted((ROOT / "docs/howto").glob("*.md")), *list_package_pages()]
VERBS: dict[str, Any] = typer.main.get_command(build_typer_app()).commands  # type: ignore[attr-defined]
SHELL_OPERATORS = {"|", ">", "&&", ";", "&"}
# the parts of a descriptor that a fragment may show by itself
PARTS = ["table", "link", "series", "access", "embargo", "endpoint", "column"]


def list_blocks(page: Path, *languages: str) -> list[str]:
    """List the fenced blocks of a page in some languages, without the indentation of the list that they stand in."""
    text = page.read_text(encoding="utf-8")
    found = re.findall(r"^( *)```(\w+)[^\n]*\n(.*?)^\1```", text, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"(?m)^{indent}", "", body) for indent, language, body in found if language in languages]


def list_commands(page: Path) -> list[list[str]]:
    """List the words of every ``hven`` command in the shell blocks of a page, without the site and what follows a pipe."""
    commands = []
    for block in list_blocks(page, "sh", "console", "text"):
        for line in block.replace("\\\n", " ").splitlines():
            match = re.match(
                r"^(?:\$ |\d+ \* \* \* \* )?(?:sudo (?:-u \S+ )?)?(?:\w+=\S+ )*(?:\S*/)?hven (.*)$", line.strip()
            )
            if match:
                words = list(shlex.shlex(match[1], posix=True, punctuation_chars=True))
                words = shlex.split(match[1], comments=True) if not SHELL_OPERATORS & set(words) else words
                commands.append(words)
    return commands


@pytest.fixture(scope="module")
def schema() -> dict[str, Any]:
    document: dict[str, Any] = json.loads(run_hven("schema").stdout)
    return document


class DescriptorLoader(yaml.SafeLoader):
    """Read dates as texts, as descriptors do."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


def leave_out_unknown(fragment: Any) -> Any:
    """Leave out what the schema cannot judge; keys are texts, as descriptors read them (``null``).

    It cannot judge a value that a page leaves out itself (``...``).
    """
    if isinstance(fragment, list):
        return [leave_out_unknown(item) for item in fragment]
    if not isinstance(fragment, dict):
        return fragment
    return {
        "null" if key is None else key: leave_out_unknown(value) for key, value in fragment.items() if value != "..."
    }


def is_valid(fragment: object, schema: dict[str, Any], part: dict[str, Any]) -> bool:
    return bool(jsonschema.Draft202012Validator({**part, "$defs": schema["$defs"]}).is_valid(fragment))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_have_verbs_and_options_that_exist(page: Path) -> None:
    for words in list_commands(page):
        first = 2 if words[0] == "--site" else 0
        end = next((at for at, word in enumerate(words) if word in SHELL_OPERATORS), len(words))
        verb, *arguments = words[first:end]
        if verb not in VERBS and leads_to_absent_package(page.read_text(encoding="utf-8")):
            continue
        assert verb in VERBS, words
        VERBS[verb].make_context(verb, arguments)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_commands_in_sentences_have_verbs_and_options_that_exist(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for command in re.findall(r"`hven ([^`]+)`", prose):
        verb, *words = command.split()
        if verb not in VERBS and leads_to_absent_package(text):
            continue  # a page that uses a verb of a package links to the package
        assert verb in VERBS, command
        subverbs = getattr(VERBS[verb], "commands", {})
        params = [*VERBS[verb].params, *(subverbs[words[0]].params if words and words[0] in subverbs else ())]
        known = {option for parameter in params for option in parameter.opts}
        assert {word.partition("=")[0] for word in words if word.startswith("--")} <= known, command


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_settings_have_keys_that_exist(page: Path, tmp_path: Path) -> None:
    for number, block in enumerate(list_blocks(page, "toml")):
        keys = tomllib.loads(block)
        directory = tmp_path / str(number)
        directory.mkdir()
        if "project" not in keys and not all(key.isupper() for key in keys):  # neither pyproject.toml nor secrets.toml
            (directory / "hven.toml").write_text(block, encoding="utf-8")
            secrets = sorted(set(re.findall(r'"\$([A-Z_]+)"', block)))
            address = "postgresql+psycopg://hven@127.0.0.1/hven"
            (directory / "secrets.toml").write_text("".join(f'{name} = "{address}"\n' for name in secrets))
            try:
                load_settings(directory)
            except DescriptorError:  # a page with settings of a package links to the page of the settings
                assert leads_to_absent_package(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.stem)
def test_descriptors_have_keys_that_exist(page: Path, schema: dict[str, Any]) -> None:
    if page.stem in load_core_fixtures("OTHER_YAML_PAGES"):
        return  # the tests of its package try it
    for block in list_blocks(page, "yaml"):
        fragment = leave_out_unknown(yaml.load(block, DescriptorLoader))
        items = fragment if isinstance(fragment, list) else [fragment]
        for item in items:
            parts = [{"$ref": f"#/$defs/{name}"} for name in PARTS if name in schema["$defs"]]
            named = [{"type": "object", "additionalProperties": part} for part in parts]
            shapes = [{key: value for key, value in schema.items() if key != "$defs"}, *parts, *named]
            faults = [error.message for error in jsonschema.Draft202012Validator(schema).iter_errors(item)]
            if not any(is_valid(item, schema, shape) for shape in shapes):
                # a page with a kind of source of a package links to the package
                assert leads_to_absent_package(page.read_text(encoding="utf-8")), f"{block}\n{faults}"
