"""The documents say what is there: verbs and options, formats, files; links lead somewhere; README's and the tutorial's lines run."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import typer

from example_sites import EXAMPLES, list_examples, prepare_example, start_data_sources
from hven import formats
from hven.app._cli import verb_examples
from hven.app._cli.verbs import build_typer_app, list_package_verbs
from hven.descriptor import check_descriptor
from hven.ingest.api.runs import run_collection_tests
from hven.model import plugins
from hven.model.settings import collect_setting_docs, load_settings
from hven.model.settings._reloadable_settings import RESTART_SETTINGS
from hven.site import Site
from plugin_needs import find_missing_plugins, leads_to_absent_package, list_absent_packages, list_package_pages
from process_runner import Server, run_hven, serve_site, wait_until, write_shell_program
from reference_pages import keep_part, list_source_pages
from requirements import require_program
from shared import ROOT
from star_descriptors import write_stars_descriptor

ELSEWHERE = {".venv", "demo-site", "node_modules", ".pytest_cache", ".cache"}


def found_pages() -> Iterator[Path]:
    """Find the pages; directories that come and go meanwhile are not looked into, nor packages that are left out."""
    left_out = {PACKAGES / name for name in list_absent_packages()}
    for directory, inside, files in os.walk(ROOT):
        inside[:] = {name for name in inside if Path(directory, name) not in left_out} - ELSEWHERE
        yield from (Path(directory) / name for name in files if name.endswith(".md"))


PACKAGES = ROOT / "src/hven/plugins"
PAGES = sorted(found_pages())
PACKAGE_PAGES = list_package_pages()
USED_PACKAGES = {package.name for package in plugins.list_plugin_packages()}


def is_used(page: Path) -> bool:
    """Return whether this run has what a page is about: it may do without the plug-in package of the page."""
    return PACKAGES not in page.parents or page.relative_to(PACKAGES).parts[0] in {*USED_PACKAGES, "README.md"}


VERB_PAGES = {page: page.read_text(encoding="utf-8") for page in (ROOT / "docs/reference/cli.md", *PACKAGE_PAGES)}


# --- reference ------------------------------------------------------------------------------------------------

VERBS = typer.main.get_command(build_typer_app()).commands  # type: ignore[attr-defined]


def get_verb_section(verb: str) -> str:
    """Return the section of a verb from the page of the command line, or from a page of a plug-in package."""
    sections = [re.split(r"\n###? ", text.partition(f"## hven {verb}")[2])[0] for text in VERB_PAGES.values()]
    return "".join(sections)


def find_verb_page(verb: str) -> Path:
    [page] = [page for page, text in VERB_PAGES.items() if f"<!-- examples: {verb} -->" in text]
    return page


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_with_its_arguments_and_options_is_on_the_page(verb: str) -> None:
    told = get_verb_section(verb)
    assert told, f"no page of the command line has a section about hven {verb}"
    heading = told.splitlines()[0]
    for parameter in VERBS[verb].params:
        if parameter.param_type_name == "argument":
            assert f"[{parameter.metavar}]" in heading if not parameter.required else f" {parameter.metavar}" in heading
        else:
            for name in parameter.opts:
                assert f"`{name}" in told or name == "--help", f"{verb} {name}"
    commands = getattr(VERBS[verb], "commands", {}).values()
    options = {name for command in commands for item in command.params for name in item.opts if name.startswith("-")}
    assert [name for name in options - {"--help"} if not re.search(rf"`[^`\n]*{name}\b", told)] == []
    options |= {name for item in VERBS[verb].params for name in item.opts}
    for word in set(re.findall(r"`(--[a-z-]+)", told)) - {"--purge", "--help"}:
        assert word in options, f"hven {verb} has no {word}"


VERB_EXAMPLES_BY_NAME = {
    **verb_examples.VERB_EXAMPLES,
    **{name: verb.examples for name, verb in list_package_verbs().items()},
}


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_examples_on_the_page(verb: str) -> None:
    lines = "\n".join(VERB_EXAMPLES_BY_NAME[verb])
    page = find_verb_page(verb)
    keep_part(page, f"<!-- examples: {verb} -->", "<!-- /examples -->", f"\n```sh\n{lines}\n```\n\n")


def parse_example(line: str) -> set[str]:
    """Parse a command line; return the command and its options, each with the verb before it."""
    words = shlex.split(line)
    words = words[: words.index(">")] if ">" in words else words
    assert words[0] == "hven"
    name = "hven"
    command: Any = typer.main.get_command(build_typer_app())
    context = command.make_context("hven", words[1:])
    used = set()
    while hasattr(command, "commands") and (rest := [*context._protected_args, *context.args]):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
        used.add(name)
    assert not hasattr(command, "commands") or command.invoke_without_command, line
    return used


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_are_understood_and_show_each_command(verb: str) -> None:
    used = [parse_example(line) for line in VERB_EXAMPLES_BY_NAME[verb]]
    assert all(verb in names for names in used)
    commands = getattr(VERBS[verb], "commands", {})
    assert set().union(*used) >= set(commands)


@pytest.mark.parametrize("verb", VERBS)
def test_the_examples_of_a_verb_show_each_of_its_options(verb: str) -> None:
    text = " ".join(VERB_EXAMPLES_BY_NAME[verb])
    words = {word.partition("=")[0] for word in shlex.split(text)}
    command = VERBS[verb]
    parameters = [item for one in (command, *getattr(command, "commands", {}).values()) for item in one.params]
    options = [item for item in parameters if item.param_type_name == "option" and "--help" not in item.opts]
    assert [item.opts for item in options if not words & set(item.opts)] == []


def test_the_help_of_a_verb_shows_its_examples() -> None:
    assert "Examples:\n    hven ingest stars\n" in run_hven("ingest", "-h").stdout


def test_no_verb_is_made_up() -> None:
    described = {verb for text in VERB_PAGES.values() for verb in re.findall(r"^##+ hven ([a-z]+)", text, re.MULTILINE)}
    assert described == set(VERBS)
    for page in filter(is_used, PAGES):
        text = page.read_text(encoding="utf-8")
        for verb in re.findall(r"^\s*hven (?:--site \S+ )?([a-z]+)\b", text, re.MULTILINE):
            # a page that uses a verb of a package links to the page of the verb
            assert verb in VERBS or leads_to_absent_package(text), f"{page}: hven {verb}"


def test_every_key_of_json_outputs_is_on_the_page(tmp_path: Path) -> None:
    (tmp_path / "stars.csv").write_text("name,vmag\nVega,0.03\n")
    site = tmp_path / "site"
    run_hven("init", site)
    write_stars_descriptor(site, tmp_path / "stars.csv")
    report = json.loads(run_hven("ingest", "stars", "--json", "--site", site).stdout)
    for key in set(
        re.findall(r"`\{collection.*?tables: .*?`", get_verb_section("ingest"))[0]
        .replace("{", ",")
        .replace("}", ",")
        .replace(":", ",")
        .split(",")
    ):
        assert not key.strip("` .") or key.strip("` ") in {*report, *report["tables"]["stars.main"], "name", "..."}, key
    for verb in ("status", "history stars", "check"):
        shown = json.loads(run_hven(*verb.split(), "--json", "--site", site).stdout)
        records = (
            [shown, *(item for value in shown.values() if isinstance(value, list) for item in value)]
            if isinstance(shown, dict)
            else shown
        )
        for record in records:
            assert all(re.search(rf"\b{key}\b", get_verb_section(verb.split()[0])) for key in record), (verb, record)


@pytest.mark.parametrize("name", [fmt.name for fmt in formats.load_formats()])
def test_every_format_is_described(name: str) -> None:
    page = (ROOT / "docs/reference/formats.md").read_text(encoding="utf-8")
    assert f"`{name}`" in page
    assert name in get_verb_section("query")


@pytest.mark.parametrize("kind", plugins.list_plugins("sources"))
def test_every_source_is_described_with_all_its_options(kind: str) -> None:
    texts = [page.read_text(encoding="utf-8") for page in list_source_pages()]
    (section,) = [
        text.partition(f"\n## {kind}\n")[2].partition("\n## ")[0] for text in texts if f"\n## {kind}\n" in text
    ]
    for name, field in plugins.load_plugin("sources", kind).Options.model_fields.items():
        assert f"| `{field.alias or name}`" in section
    assert f"[`{kind}`]" in (ROOT / "docs/reference/sources.md").read_text(encoding="utf-8")


def test_every_setting_is_described() -> None:
    pages = [ROOT / "docs/reference/settings.md", *PACKAGE_PAGES]
    page = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert [name for name in collect_setting_docs() if not is_described(name, page)] == []


def is_described(setting: str, page: str) -> bool:
    """Return whether a setting has a line, or a section of its own; the heading of a section has its name."""
    section, _, key = setting.rpartition(".")
    is_name = key == "name" and f"`[{section}.NAME]`" in page
    return (
        is_name or re.search(rf"^(\| `{re.escape(setting)}`|###? {setting}(\.NAME)?$)", page, re.MULTILINE) is not None
    )


def test_settings_that_wait_for_a_restart_are_named() -> None:
    page = (
        (ROOT / "docs/reference/settings.md").read_text(encoding="utf-8").partition("**Live.**")[2].partition("\n\n")[0]
    )
    assert [name for name in RESTART_SETTINGS if f"`{name}`" not in page and f"`{name}.*`" not in page] == []


def test_every_key_of_descriptors_is_described() -> None:
    folders = ["descriptor", "sources"]
    pages = [page for folder in folders for page in (ROOT / "docs/reference" / folder).glob("*.md")]
    pages += [ROOT / "docs/reference/sources.md", *PACKAGE_PAGES]
    page = "".join(page.read_text(encoding="utf-8") for page in pages)
    schema = json.loads(run_hven("schema").stdout)
    keys: set[str] = set()

    def gather(node: object) -> None:
        if isinstance(node, dict):
            properties = node.get("properties")
            keys.update(properties if isinstance(properties, dict) else ())
            for value in node.values():
                gather(value)
        elif isinstance(node, list):
            for value in node:
                gather(value)

    gather(schema)
    assert len(keys) > 100
    assert sorted(key for key in keys if not re.search(rf"\b{re.escape(key)}\b", page)) == []


# --- links ---------------------------------------------------------------------------------------------------------


def prose(page: Path) -> str:
    return re.sub(r"```.*?```|`[^`\n]*`", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def anchors(page: Path) -> set[str]:
    """Give the anchors of a page as GitHub makes them from headings."""
    headings = re.findall(r"^#+ +(.*?) *$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().replace("`", "")).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        parts = urllib.parse.urlsplit(target)
        if parts.scheme:
            assert parts.scheme in {"https", "http", "mailto"}, target
            continue
        if page.parent.name == "demo" and parts.path.startswith("/"):
            continue  # an address of the demo, whose first page this is: tests/test_demo.py follows its links
        found = (page.parent / urllib.parse.unquote(parts.path)).resolve() if parts.path else page
        if PACKAGES in found.parents and not (PACKAGES / found.relative_to(PACKAGES).parts[0]).exists():
            continue  # a plug-in package that was deleted
        assert found.exists(), f"{page.relative_to(ROOT)} links to {target}"
        assert ROOT in found.parents, target
        if parts.fragment and found.suffix == ".md":
            assert parts.fragment in anchors(found), f"{page.relative_to(ROOT)} links to {target}"


def test_every_page_is_found_from_the_index() -> None:
    listed = {
        (ROOT / "docs" / target.partition("#")[0]).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(ROOT / "docs/README.md"))
    }
    decisions = {
        (ROOT / "docs/decisions" / target).resolve()
        for target in re.findall(r"\]\(([^)\s]+)\)", prose(ROOT / "docs/decisions/README.md"))
    }
    pages = (
        {page.resolve() for page in PAGES if (ROOT / "docs") in page.parents}
        - {ROOT / "docs/README.md"}
        - set((ROOT / "docs/proofs").glob("*.md"))
    )
    assert sorted(str(page.relative_to(ROOT)) for page in pages - listed - decisions) == []
    for page in PACKAGE_PAGES:
        readme = page.parents[1] / "README.md"
        assert f"](docs/{page.name})" in readme.read_text(encoding="utf-8").partition("\n## Pages\n")[2], page


@pytest.fixture(scope="module")
def docs_site() -> ModuleType:
    """Load the hooks that make a site of the pages; MkDocs itself is not needed."""
    spec = importlib.util.spec_from_file_location("docs_site", ROOT / "scripts/docs_site.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_index_is_the_navigation_of_the_site(docs_site: ModuleType) -> None:
    """Each page but the proofs is in it once; groups have pages, and decisions come last."""
    navigation = docs_site.build_navigation()
    pages = list(docs_site.list_navigation_pages(navigation))
    written = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    expected = {page for page in written if page != "README.md" and not page.startswith("proofs/")}
    written_pages = [page for page in PACKAGES.glob("*/docs/*.md") if not page.stem.endswith("-proof")]
    expected |= {docs_site.find_site_path(page) for page in written_pages}
    assert sorted(page for page in pages if not page.startswith("repository/")) == sorted(expected)
    groups = {title: value for entry in navigation for title, value in entry.items()}
    titles = list(groups)
    assert (titles[0], titles[-1]) == ("Home", "Decisions")
    assert all(groups.values())
    assert [title for entry in groups["How-to"] for title in entry] == [
        "Publish",
        "Describe",
        "Keep in sync",
        "Protect",
        "Show",
        "Connect",
        "Operate",
        "Extend",
    ]


def test_links_out_of_docs_lead_to_pages_of_the_site(docs_site: ModuleType) -> None:
    page = ROOT / "docs/howto/files.md"
    text = "[a](../../examples/) `[b](no.md)` [`c`](../../src/hven/__init__.py) [d](links.md#x) [e](https://example.org/x) [f](gone.md)\n```\n[g](../README.md)\n```\n"
    found = list(docs_site.list_linked_files(text, page))
    assert [docs_site.find_site_path(path) for path in found] == [
        "repository/examples/about.md",
        "repository/src/hven/__init__.py.md",
        "howto/links.md",
    ]


def test_blocks_of_the_site_have_a_language_and_a_title(docs_site: ModuleType) -> None:
    text = "```csv file=stars.csv\na,b\n```\n```sh served\nls\n```\n"
    assert docs_site.FENCE.sub(docs_site.write_fence, text) == ('```text title="stars.csv"\na,b\n```\n```sh\nls\n```\n')
    box = "> **Note** One.\n> Two.\n\nThree."
    assert docs_site.BOX.sub(docs_site.write_box, box) == "!!! note\n\n    One.\n    Two.\n\nThree."


# --- what is meant to be run runs ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Block:
    kind: str
    text: str


def blocks(page: Path) -> list[Block]:
    return [
        Block(kind.strip(), text)
        for kind, text in re.findall(
            r"^```([^\n]*)\n(.*?)^```", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
        )
    ]


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a directory where ``hven`` is this Hven."""
    (tmp_path / "bin").mkdir()
    write_shell_program(tmp_path / "bin/hven")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


def run(shell: Path, text: str) -> str:
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", text],
        cwd=shell,
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, f"{text}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def run_typed_line(place: Path, line: str) -> str:
    """Run a line that is typed: a verb alone in this process (README's begin their own), all else by the shell."""
    words = list(shlex.shlex(line, posix=True, punctuation_chars=True))
    if words[:1] != ["hven"] or set(words) & {"|", ">", ">>", "<", "&", "&&", "||", ";", "$", "`"}:
        return run(place, line)
    return run_hven(*shlex.split(line)[1:], cwd=place).stdout


def python(server: Server, text: str) -> str:
    """Run a block of Python against the server."""
    done = subprocess.run(
        [sys.executable, "-"],
        input=set_server_address(server, text),
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def set_server_address(server: Server, text: str) -> str:
    assert "127.0.0.1:8080" in text
    return text.replace("127.0.0.1:8080", f"127.0.0.1:{server.port}")


TUTORIALS = ROOT / "docs/tutorials"
# what no two runs have in common: times, names of runs and snapshots, durations, sizes, checksums of files, the port,
# and the requests of lint, which asks for the phase of a job until it ends
UNSTEADY = re.compile(
    r"\d{8}T\d{6,9}-[0-9a-f]{4}|\d{4}-\d\d-\d\d[ T]\d\d:\d\d(:\d\d(\.\d+)?)?Z?|\b\d+(\.\d+)? (ms|s|[kM]?B)\b|127\.0\.0\.1:\d+|\b\d+ requests\b"
)


class Tutorial:
    """Follow a tutorial in a directory: each block is done by its kind, and each output that is shown is compared."""

    def __init__(self, place: Path, stack: contextlib.ExitStack) -> None:
        self.place = place
        self.stack = stack
        self.server: Server | None = None
        self.output = ""
        self.repeat: Callable[[], str] | None = None  # asks the server again: an edit shows within a second

    def follow(self, page: Path) -> None:
        for block in blocks(page):
            language, *words = block.kind.split()
            self.do(language, words[0] if words else "", block)

    def do(self, language: str, word: str, block: Block) -> None:
        action, _, value = word.partition("=")
        match language, action:
            case "sh", "install":  # run by test_wheel where packages may be fetched
                assert block in blocks(ROOT / "README.md")
            case "sh", "" | "exit":
                self.type_lines(block.text, int(value or 0))
            case "sh", "serve":
                assert block.text.strip() == "hven --site mysite serve --port 8080"
                self.stack.close()
                self.server = self.stack.enter_context(serve_site(self.place / "mysite"))
            case (("sh" | "python"), "served"):
                run_block = run if language == "sh" else run_python
                server = self.server
                assert server is not None
                self.repeat = lambda: run_block(self.place, set_server_address(server, block.text))
                wait_until(self.ask_again)
            case "python", "":
                self.output = run_python(self.place, block.text)
            case "text", "output":
                self.compare(block.text)
            case _, "file":
                (self.place / value).parent.mkdir(parents=True, exist_ok=True)
                (self.place / value).write_text(block.text)
            case "nginx", "":  # the how-to's: tests/test_howto.py asks the server as this proxy does
                known = (ROOT / "docs/howto/reverse-proxy.md").read_text()
                assert [line for line in block.text.splitlines() if line.strip() not in known] == []
            case _, "add":
                with (self.place / value).open("a") as file:
                    file.write("\n" + block.text)
            case _, "shows":
                assert block.text in (self.place / value).read_text()
            case "diff", "edit":
                edit(self.place / value, block.text)
            case _:
                pytest.fail(f"what shall be done with a block of {block.kind!r}?")

    def type_lines(self, text: str, code: int) -> None:
        self.repeat = None
        self.output = ""
        for line in text.replace("\\\n", "").replace("~/hven/bin/python", sys.executable).splitlines():
            words = shlex.split(line)
            if words[:1] == ["hven"] and not re.search(r"[|<>&;$`]", line):
                done = run_hven(*words[1:], cwd=self.place, expected_code=code)
                self.output += done.stdout + done.stderr
            else:
                self.output += run(self.place, line)

    def compare(self, shown: str) -> None:
        """Compare an output with what is shown; `...` stands for lines that are left out."""
        if self.repeat is not None and not is_shown_output(self.output, shown):
            with contextlib.suppress(AssertionError):
                wait_until(lambda: self.ask_again() and is_shown_output(self.output, shown), timeout_seconds=20)
        assert is_shown_output(self.output, shown), f"{self.output}\n-- is shown as\n{shown}"

    def ask_again(self) -> bool:
        """Ask the server, which may not have seen an edit of a second ago; tell whether the command succeeded."""
        assert self.repeat is not None
        try:
            self.output = self.repeat()
        except AssertionError as error:
            self.output = str(error)
            return False
        return True


def is_shown_output(output: str, shown: str) -> bool:
    def steady(text: str) -> list[str]:
        return [re.sub(r" +", " ", UNSTEADY.sub("~", line)).strip() for line in text.strip().splitlines()]

    pattern = "\n".join(".*" if line == "..." else re.escape(line) for line in steady(shown))
    return re.fullmatch(pattern, "\n".join(steady(output)), re.DOTALL) is not None


def edit(path: Path, diff: str) -> None:
    """Edit a file as a diff says; the lines that go stand in it once."""
    lines = [(line[:1], line[1:]) for line in diff.splitlines()]
    assert {mark for mark, _ in lines} <= {"-", "+", " "}
    before, after = ("".join(f"{line}\n" for mark, line in lines if mark in {kept, " "}) for kept in "-+")
    text = path.read_text()
    assert before
    assert text.count(before) == 1, f"{path} has {text.count(before)} times\n{before}\n{text}"
    path.write_text(text.replace(before, after))


def run_python(place: Path, text: str) -> str:
    done = subprocess.run(
        [sys.executable, "-"], input=text, cwd=place, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
@pytest.mark.needs("curl")
@pytest.mark.parametrize("page", sorted(path.name for path in TUTORIALS.glob("*.md")))
def test_tutorials_from_their_first_line_to_their_last(shell: Path, page: str) -> None:
    """Each file, command, edit and output of a tutorial, in its order, with a server where it says so."""
    with contextlib.ExitStack() as stack:
        tutorial = Tutorial(shell, stack.enter_context(contextlib.ExitStack()))
        tutorial.follow(TUTORIALS / page)
        assert tutorial.server is not None
    done = {" ".join(block.kind.split()[:2]).partition("=")[0] for block in blocks(TUTORIALS / page)}
    assert {"sh", "text output", "sh serve", "sh served", "diff edit"} <= done


def test_an_output_that_is_shown_is_compared() -> None:
    assert is_shown_output("main: 3 rows in 0.2 s\nat 2026-11-26 17:25:59\n", "main: 3 rows in 9.1 s\n...\n")
    assert is_shown_output("a  b\n1  2\n", "a b\n1 2")
    assert not is_shown_output("main: 3 rows in 0.2 s\n", "main: 4 rows in 0.2 s\n")
    assert not is_shown_output("one\ntwo\n", "one\n")


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give the file that README takes for granted: the tutorial's."""
    file = next(block.text for block in blocks(TUTORIALS / "csv-to-topcat.md") if block.kind.endswith("/stars.csv"))
    path = tmp_path_factory.mktemp("readme") / "stars.csv"
    path.write_text(file)
    return path


@pytest.mark.slow
@pytest.mark.outside
def test_readme_as_it_stands(shell: Path, stars: Path) -> None:
    """README's shell lines, then the lines for STILTS and those of Python of the first page of the documentation."""
    shutil.copy(stars, shell / "stars.csv")
    demo, verbs = (block for block in blocks(ROOT / "README.md") if block.kind in {"sh", "python"})
    judges, script = (block for block in blocks(ROOT / "docs/index.md") if block.kind in {"sh", "python"})
    assert [line.split()[0] for line in demo.text.splitlines()] == ["scripts/demo", "scripts/test"]
    assert all((ROOT / line.split()[0]).stat().st_mode & 0o100 for line in demo.text.splitlines())
    lines = verbs.text.splitlines()
    assert "Sirius" in run(shell, "\n".join(lines[:-1]))
    assert lines[-1].partition("#")[0].strip() == "hven --site mysite serve"
    require_program("stilts")
    with serve_site(shell / "mysite") as server:
        assert all("Sirius" in run(shell, line) for line in set_server_address(server, judges.text).splitlines())
        assert "Sirius" in python(server, script.text)


CASES = list(list_examples())


@pytest.mark.slow
@pytest.mark.parametrize(
    "case", [case for case in CASES if case != "18-hesiod"]
)  # examples/test_hesiod.py runs its lines
def test_every_examples_own_lines_run(shell: Path, case: str) -> None:
    """What an example's README says to type, except for what serves or asks a server; its descriptors have no fault, no row is rejected, its own tests pass."""
    shutil.copytree(prepare_example(case), shell / case)
    lines = [
        line
        for block in blocks(shell / case / "README.md")
        if block.kind == "sh"
        for line in block.text.splitlines()
        if not re.search(r" serve\b|^curl", line)
    ]
    assert any("ingest" in line for line in lines)
    with start_data_sources(shell / case):
        told = "".join(run_typed_line(shell / case, line) for line in lines)
        assert "rows" in told
        assert "rejected" not in told.replace(" 0 rejected", ""), told
        with Site(settings := load_settings(shell / case, {})) as site:
            paths = sorted(settings.collections_directory.glob("*/*.yaml"))
            assert {path.stem for path in paths} == {*site.store.list_publication_times()}, (
                "all that it has is ingested"
            )
            for path in paths:
                assert [str(fault) for fault in check_descriptor(path, settings)] == []
                assert [str(fault) for fault in run_collection_tests(site, path.stem)] == []


def test_the_ladder_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text(encoding="utf-8")
    assert CASES
    addresses = {case: os.path.relpath(directory, EXAMPLES) for case, directory in list_examples().items()}
    assert all(f"[{case}]({address})" in listed for case, address in addresses.items())
    assert all((directory / "README.md").is_file() for directory in list_examples().values())


OTHER_KINDS = {"granule_gid", "coosys", "timesys", "background"}  # what is no source


def test_kinds_that_the_pages_name_exist() -> None:
    kinds = set(plugins.list_plugins("sources"))
    wrong = set()
    for page in PAGES:
        if EXAMPLES in page.parents and find_missing_plugins(page.parent):
            continue
        text = page.read_text(encoding="utf-8")
        if leads_to_absent_package(text):
            continue
        told = set(re.findall(r"kind: *([a-z_]+)\b", text))
        for inside in re.findall(r"\(([a-z_]+(?:, [a-z_]+)+)(?:, \.\.\.)?\)", text):
            words = set(inside.split(", "))
            told |= words if len(words & kinds) > 1 else set()  # a list of kinds
        wrong |= {(page.name, word) for word in told - kinds - OTHER_KINDS}
    assert not wrong


# --- pages to be read with the code open --------------------------------------------------------------------------------

EXPLAINED = ROOT / "docs/explained"
OF_THE_EXAMPLE = {"brightest.main", "brightest.yaml", "vmag"}


def passages(page: str) -> list[str]:
    """Cut a page into what names files and what is in them: sections, and entries of the glossary."""
    text = (EXPLAINED / page).read_text(encoding="utf-8")
    return text.partition("## Words of the code")[2].split("\n\n") if page == "glossary.md" else text.split("\n## ")


MAX_WORDS = {"howto": 900, "explained": 1200}  # of a page, code and tables included


def list_short_pages() -> Iterator[tuple[str, str, int]]:
    """List the pages that are read as a whole: their name, their text by hand and how many words they may have."""
    for folder, max_words in MAX_WORDS.items():
        for page in sorted((ROOT / "docs" / folder).glob("*.md")):
            yield f"{folder}/{page.name}", page.read_text(encoding="utf-8"), max_words
    for readme in sorted(PACKAGES.glob("*/README.md")):
        for group in readme.read_text(encoding="utf-8").split("\n#")[1:]:
            if "How-to" in group.partition("\n")[0]:
                for target in re.findall(r"\]\((docs/[^)#]+\.md)\)", group):
                    text = (readme.parent / target).read_text(encoding="utf-8")
                    yield f"{readme.parent.name}/{target}", text, MAX_WORDS["howto"]


def test_pages_that_are_read_as_a_whole_are_short() -> None:
    pages = list(list_short_pages())
    assert len(pages) > 60
    words = {
        name: len(re.sub(r"<!-- (\w+) -->.*?<!-- (/|end of )\1 -->", "", text, flags=re.DOTALL).split())
        for name, text, _ in pages
    }
    assert {name: words[name] for name, _, max_words in pages if words[name] > max_words} == {}


@pytest.mark.parametrize(("page", "least"), [("life-of-a-query.md", 30), ("life-of-a-row.md", 30), ("glossary.md", 10)])
def test_names_are_found_in_the_files_beside_them(page: str, least: int) -> None:
    wrong, found = [], 0
    for passage in passages(page):
        links = re.findall(r"\[([\w./]+\.py)\]\(([^)]+)\)", passage)
        wrong += [f"{shown} leads to {target}" for shown, target in links if not target.endswith(shown)]
        code = "\n".join((EXPLAINED / target).read_text(encoding="utf-8") for _, target in links)
        for name in re.findall(r"`([A-Za-z_][\w.]*(?:\(\))?)`", re.sub(r"```.*?```", "", passage, flags=re.DOTALL)):
            word = name.removesuffix("()").rpartition(".")[2]
            pattern = rf"^\s*(async )?def {word}\b" if name.endswith("()") else rf"\b{word}\b"
            found += 1
            if name not in OF_THE_EXAMPLE and links and not re.search(pattern, code, re.MULTILINE):
                wrong.append(f"{name} in {passage.splitlines()[0]}")
    assert not wrong
    assert found > least


def test_paths_in_contributing_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    paths = re.findall(r"`((?:src|tests|bench|docs|examples|web|demo|scripts)(?:/[\w./]*)?)`", text)
    assert len(paths) > 8
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_tests_that_proofs_name_exist() -> None:
    """Each requirement has its test there: `file::test`; `contract` is the contract of engines.

    The folder may stand before the file. Tests of plug-in packages that were deleted are passed over.
    """
    pages = [ROOT / f"docs/proofs/{name}.md" for name in ("portal", "portal-tasks", "products", "registry", "sources")]
    pages += [page for page in PACKAGE_PAGES if page.stem.endswith("-proof")]
    texts = (page.read_text(encoding="utf-8") for page in pages)
    folders = {path.name for path in (ROOT / "tests").rglob("*") if path.is_dir()}
    named = [
        (file, test)
        for text in texts
        for place, file, test in re.findall(r"`((?:\w+/)*)(\w+)::(\w+_\w+)`", text)
        if set(place.split("/")) - {""} <= folders
    ]
    paths = [(path.stem.removeprefix("test_"), path) for path in (ROOT / "tests").rglob("test_*.py")]
    known = {
        (stem, name)
        for stem, path in [*paths, ("contract", ROOT / "src/hven/testing/engine.py")]
        for name in re.findall(r"^ *def test_(\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 500
    assert [one for one in named if one not in known] == []
