"""Build the command ``hven``. A verb is imported, with what it needs, only when it is run.

Of the other verbs, only their help text is read from the source.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from hven import __version__
from hven.app._cli.verb_examples import VERB_EXAMPLES, format_verb_examples
from hven.model import plugins

if TYPE_CHECKING:
    from hven.model.plugins import CommandLineVerb
DEFAULT_HEADING = "Operate"  # of verbs whose record names neither a heading nor a verb that exists
# heading of `hven --help` -> verb -> its module in this package
VERBS_BY_HEADING = {
    "Describe": {
        "init": "init",
        "check": "check",
        "schema": "descriptor_schema",
    },
    "Publish": {"ingest": "publish", "prepare": "preparation", "remove": "publish"},
    "Keep in sync": {"sync": "sync", "history": "publish", "diff": "sync", "rollback": "publish"},
    "Query": {"query": "query_commands", "explain": "query_commands"},
    "Protect": {"audit": "referees"},
    "Operate": {
        "serve": "serve",
        "work": "serve",
        "status": "status_commands",
        "verify": "verify",
        "move": "publish",
    },
}
VERB_MODULES = {name: module for verbs in VERBS_BY_HEADING.values() for name, module in verbs.items()}
# verb with verbs of its own -> its module, its help text, its heading
VERB_GROUPS = {
    "release": ("release_commands", "Releases: labels such as R4 that keep a published state.", "Publish"),
    "schedule": ("status_commands", "Schedules by which Hven synchronises collections.", "Keep in sync"),
    "project": ("project_members", "Projects and their members, who share private collections.", "Protect"),
    "user": ("accounts", "Accounts of readers.", "Protect"),
    "token": ("accounts", "Personal tokens of accounts.", "Protect"),
    "delegate": ("delegate", "Delegations: who may see somebody else's rows.", "Protect"),
    "referee": ("referees", "Private addresses for referees of unpublished collections.", "Protect"),
}
VERSION_OPTION = "--version"
# A function at the top level of a module, with its docstring. The head of the function has no empty line, and its last
# line ends with a colon. Parsing the modules of all verbs took a third of the time of `hven --help`.
_DOCSTRING_PATTERN = re.compile(r'^def (\w+)(?:.+\n)*?.*:(?:  #.*)?\n    (r?"""(?:.|\n)*?""")', re.MULTILINE)


class HeadedVerbGroup(typer.core.TyperGroup):
    """The command ``hven``, which lists its verbs below headings."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write the verbs with the first sentence of their help texts; the parameters are click's."""
        name_width = max(map(len, self.commands))
        rows_by_heading: dict[str, list[tuple[str, str]]] = {heading: [] for heading in VERBS_BY_HEADING}
        for name in self.list_commands(ctx):
            help_text = self.commands[name].get_short_help_str(formatter.width - 6 - name_width)
            rows_by_heading.setdefault(_find_help_heading(name), []).append((name.ljust(name_width), help_text))
        for heading, rows in rows_by_heading.items():
            if rows:
                with formatter.section(heading):
                    formatter.write_dl(rows)


def _find_help_heading(verb: str) -> str:
    """Return the heading below which ``hven --help`` lists a verb."""
    package_verbs = list_package_verbs()
    while verb in package_verbs:
        record = package_verbs.pop(verb)  # verbs that stand behind each other end the search, too
        if record.heading:
            return record.heading
        verb = record.after
    if verb in VERB_GROUPS:
        return VERB_GROUPS[verb][2]
    headings = (heading for heading, modules in VERBS_BY_HEADING.items() if verb in modules)
    return next(headings, DEFAULT_HEADING)


def _show_version(is_requested: bool) -> None:
    if is_requested:
        print(f"hven {__version__}")
        raise typer.Exit


def read_site_option(
    context: typer.Context,
    site: Annotated[
        str | None,
        typer.Option(
            "--site",
            metavar="DIR",
            help=("Directory of the site (default: the site that contains the current directory)."),
        ),
    ] = None,
    _version: Annotated[
        bool, typer.Option(VERSION_OPTION, callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read the options that stand before or after every verb."""
    context.obj = site


def build_typer_app(verb: str | None = None) -> typer.Typer:
    """Build the command with one verb.

    If there is no verb of that name, the command has the help texts of all verbs. None loads all verbs.
    """
    app = typer.Typer(
        cls=HeadedVerbGroup,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Describe a collection once, and Hven serves it.",
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(read_site_option)
    if verb == VERSION_OPTION:
        return app
    places = _list_builtin_verb_functions()
    examples = dict(VERB_EXAMPLES)
    group_helps = {name: help_text for name, (_, help_text, _) in VERB_GROUPS.items()}
    if not verb or verb not in places:
        places = _insert_package_verbs(places)
        package_verbs = list_package_verbs()
        examples |= {name: record.examples for name, record in package_verbs.items()}
        group_helps |= {name: record.group_help for name, record in package_verbs.items() if record.group_help}
    if verb in places:
        places = {verb: places[verb]}
    for name, place in places.items():
        is_loaded = verb in {None, name}
        epilog = None
        if is_loaded:
            epilog = format_verb_examples(examples.get(name, ()))
        if name in group_helps:
            if is_loaded:
                group = _load_verb(place)
            else:
                group = typer.Typer()
            app.add_typer(group, name=name, help=group_helps[name], epilog=epilog)
        elif is_loaded:
            app.command(name, epilog=epilog)(_load_verb(place))
        else:
            app.command(name, help=_read_verb_docstring(place))(lambda: None)
    return app


def _list_builtin_verb_functions() -> dict[str, str]:
    """Return the places, as ``module:name``, of all verbs and groups."""
    modules = VERB_MODULES | {name: module for name, (module, _, _) in VERB_GROUPS.items()}
    return {name: f"{__package__}.{module}:{name}" for name, module in modules.items()}


def list_package_verbs() -> dict[str, CommandLineVerb]:
    """List the verbs of plug-in packages."""
    return {name: verb for package in plugins.list_plugin_packages() for name, verb in package.verbs.items()}


def _insert_package_verbs(verb_functions: dict[str, str]) -> dict[str, str]:
    """Insert the verbs of plug-in packages, each behind the verb that its record names."""
    names = list(verb_functions)
    package_verbs = list_package_verbs()
    remaining_names = list(package_verbs)
    while remaining_names:
        # a verb may stand behind one of another package
        placeable_names = [name for name in remaining_names if package_verbs[name].after in names]
        if placeable_names:
            name = placeable_names[0]
        else:
            name = remaining_names[0]
        previous_verb = package_verbs[name].after
        if previous_verb in names:
            position = names.index(previous_verb) + 1
        else:
            position = len(names)
        names.insert(position, name)
        remaining_names.remove(name)
    places = verb_functions | {name: verb.function for name, verb in package_verbs.items()}
    return {name: places[name] for name in names}


def _load_verb(function_place: str) -> Any:
    """Load the function of a verb, or the group of its verbs."""
    if function_place.startswith(f"{__package__}."):
        return resolve_name(function_place)
    module_name, _, name = function_place.partition(":")
    module = plugins.import_hven_module(module_name, f"hven {name}")
    return vars(module)[name]


def _read_verb_docstring(function_place: str) -> str | None:
    """Read the docstring of a verb from its source, without importing the module."""
    module, _, name = function_place.partition(":")
    text = _read_module_source(module)
    for function_name, docstring_literal in _DOCSTRING_PATTERN.findall(text):
        if function_name == name:
            return inspect.cleandoc(ast.literal_eval(docstring_literal))
    # a package of somebody else may be written in another style
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef) and node.name == name:
            return ast.get_docstring(node)
    return None


@cache
def _read_module_source(module: str) -> str:
    module_spec = find_spec(module)
    source_file = None if module_spec is None else module_spec.origin
    return Path(str(source_file)).read_text(encoding="utf-8")
