"""``hven``: one verb is loaded, with what it needs, when it is asked for.

Of the others only what ``--help`` says of them is read.
"""

from __future__ import annotations

import ast
import inspect
import re
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pkgutil import resolve_name
from typing import Annotated

import typer

from hven import __version__

# verb -> the file beside this one, in the order of `hven --help`; "" is where those stand that engines bring
VERB_MODULES = {
    "init": "init",
    "new": "curate",
    "check": "curate",
    "ingest": "publish",
    "sync": "sync",
    "mirror": "mirror",
    "hips": "survey",
    "prepare": "preparation",
    "serve": "serve",
    "work": "serve",
    "query": "ask",
    "explain": "ask",
    "resolve": "ask",
    "region": "region",
    "lint": "judge",
    "register": "register",
    "report": "usage_counts",
    "doi": "doi",
    "status": "operating",
    "verify": "verify",
    "history": "publish",
    "diff": "sync",
    "rollback": "publish",
    "move": "publish",
    "backup": "backups",
    "restore": "backups",
    "": "",
    "remove": "publish",
    "audit": "referees",
    "schema": "curate",
}
VERB_GROUPS = {
    "project": ("members", "Projects: who shares private collections."),
    "release": ("labels", "Labels on what is published now, kept for good: R4."),
    "schedule": ("operating", "When collections are synchronised by themselves."),
    "user": ("accounts", "Accounts of readers who keep tables here."),
    "token": ("accounts", "Personal tokens of accounts."),
    "delegate": ("delegate", "Who sees the rows of somebody else."),
    "referee": ("referees", "Private addresses for referees of what is not public yet."),
    "tables": ("accounts", "Tables that readers keep here."),
}
VERSION_OPTION = "--version"
# A function of the module itself and its docstring. To parse the modules of all verbs took a third of `hven --help`. In
# its head there is no empty line, and the last line ends with a colon
_DOCSTRING_PATTERN = re.compile(r'^def (\w+)(?:.+\n)*?.*:(?:  #.*)?\n    (r?"""(?:.|\n)*?""")', re.MULTILINE)


def _show_version(is_requested: bool) -> None:
    if is_requested:
        print(f"hven {__version__}")
        raise typer.Exit


def read_options(
    context: typer.Context,
    site: Annotated[
        str | None, typer.Option("--site", metavar="DIR", help="The site's directory (default: the one we are in).")
    ] = None,
    _version: Annotated[
        bool, typer.Option(VERSION_OPTION, callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Read the options that stand before or after every verb."""
    context.obj = site


def build_command(verb: str | None = None) -> typer.Typer:
    """Build the command with this verb; if there is none of that name, with what `--help` says of all. None.

    All verbs as they are.
    """
    context_settings = {"help_option_names": ["-h", "--help"]}
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        help="Describe a collection once, and it is served.",
        context_settings=context_settings,
    )
    app.callback()(read_options)
    if verb == VERSION_OPTION:
        return app
    package_prefix = f"{__package__}."
    places = {name: f"{package_prefix}{file}:{name}" for name, file in VERB_MODULES.items()} | {
        name: f"{package_prefix}{VERB_GROUPS[name][0]}:{name}" for name in VERB_GROUPS
    }
    if not verb or verb not in places:
        from hven.app._cli import engine_verbs  # noqa: PLC0415  (they take time to be found)

        engine_places = engine_verbs.list_verbs()
        places = {
            verb_name: verb_place
            for name, place in places.items()
            for verb_name, verb_place in ({name: place} if name else engine_places).items()
        }
    for name, place in {verb: places[verb]}.items() if verb in places else places.items():
        is_loaded = verb in {None, name}
        if name in VERB_GROUPS:
            app.add_typer(resolve_name(place) if is_loaded else typer.Typer(), name=name, help=VERB_GROUPS[name][1])
        elif not is_loaded:
            app.command(name, help=_read_help(place))(lambda: None)
        else:
            app.command(name)(
                resolve_name(place)
                if place.startswith(package_prefix)
                else engine_verbs.build_command(engine_verbs.load_function(place))
            )
    return app


def _read_help(function_place: str) -> str | None:
    """Read what a verb says of itself, without loading what it needs."""
    module, _, name = function_place.partition(":")
    text = _read_source(module)
    for function_name, quoted in _DOCSTRING_PATTERN.findall(text):
        if function_name == name:
            return inspect.cleandoc(ast.literal_eval(quoted))
    functions = [
        node for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)
    ]  # an engine of others may write it otherwise
    return next((ast.get_docstring(node) for node in functions if node.name == name), None)


@cache
def _read_source(module: str) -> str:
    module_spec = find_spec(module)
    return Path(str(module_spec and module_spec.origin)).read_text(encoding="utf-8")
