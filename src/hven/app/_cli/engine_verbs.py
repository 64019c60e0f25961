"""Verbs that the engines bring, and checks of settings that plug-in packages bring.

A verb becomes a command with the option ``--json``. The checks are run by ``hven check``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hven import engines
from hven.app._cli.context import load_site_settings, open_site, print_json
from hven.model import plugins

if TYPE_CHECKING:
    from hven.model.errors import Fault
    from hven.model.settings import Settings


def list_engine_verbs() -> dict[str, str]:
    """List the engines' verbs, each with its place as ``module:name``."""
    verbs: dict[str, str] = {}
    for engine_kind in engines.load_engine_records():
        verbs |= {place.rpartition(":")[2]: place for place in engine_kind.verbs}
    return verbs


def list_engine_verb_examples() -> dict[str, tuple[str, ...]]:
    """List the examples of the engines' verbs."""
    return {
        verb: examples
        for engine_kind in engines.load_engine_records()
        for verb, examples in engine_kind.verb_examples.items()
    }


def load_engine_function(function_place: str) -> Callable[..., Any]:
    """Load the function of a verb by its place."""
    module_name, _, name = function_place.partition(":")
    module = plugins.import_hven_module(module_name, f"hven {name}")
    return vars(module)[name]  # type: ignore[no-any-return]


def check_plugin_settings(site_settings: Settings) -> Iterator[Fault | str]:
    """Check what the settings name for packages: yield faults, and texts that describe it."""
    for package in plugins.list_plugin_packages():
        for place in package.checks:
            yield from plugins.load_named_object(place, f"the plug-in package {package.name}")(site_settings)


def build_engine_command(verb_function: Callable[..., tuple[Any, bool]]) -> Callable[..., None]:
    """Build the command of a verb: its parameters, with the context before them and ``--json`` behind them."""

    def run_verb(context: typer.Context, as_json: bool, **arguments: Any) -> None:
        def read_site_identity() -> str:
            with open_site(context) as opened_site:
                return opened_site.store.get_site_id()

        command_context = engines.CommandContext(
            settings=partial(load_site_settings, context),
            identity=read_site_identity,
            print_message=_discard_message if as_json else print,
        )
        json_result, is_successful = verb_function(command_context, **arguments)
        if as_json:
            print_json(json_result)
        if not is_successful:
            raise typer.Exit(1)

    context_parameter = inspect.signature(run_verb, eval_str=True).parameters["context"]
    _, *verb_parameters = inspect.signature(verb_function, eval_str=True).parameters.values()
    option_parameters = [
        parameter.replace(annotation=_build_typer_annotation(parameter.annotation)) for parameter in verb_parameters
    ]
    json_parameter = inspect.Parameter(
        "as_json",
        inspect.Parameter.POSITIONAL_OR_KEYWORD,
        default=False,
        annotation=Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")],
    )
    signature = inspect.Signature([context_parameter, *option_parameters, json_parameter])
    run_verb.__signature__ = signature  # type: ignore[attr-defined]
    run_verb.__doc__ = verb_function.__doc__
    return run_verb


def _discard_message(*_: object, **__: object) -> None:
    """Print nothing: with ``--json``, the standard output has only JSON."""


def _build_typer_annotation(annotation: Any) -> Any:
    """Turn the annotation of a verb's parameter into one that typer understands."""
    parameter_type, option = get_args(annotation)
    if option.name.startswith("--"):
        return Annotated[parameter_type, typer.Option(option.name, help=option.help)]
    return Annotated[parameter_type, typer.Argument(metavar=option.name, help=option.help)]
