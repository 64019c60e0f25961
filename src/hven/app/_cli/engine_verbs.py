"""The verbs that engines bring: they become commands, with the option ``--json``.

And what engines say to ``hven check``.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hven import engines
from hven.app._cli.context import load_site_settings, open_site, show_json
from hven.model import plugins

if TYPE_CHECKING:
    from hven.model.errors import Fault
    from hven.model.settings import Settings


def list_verbs() -> dict[str, str]:
    """List the engines' verbs, each with its place: ``module:name``."""
    return {
        place.rpartition(":")[2]: place for engine_kind in engines.load_engine_records() for place in engine_kind.verbs
    }


def load_function(function_place: str) -> Callable[..., Any]:
    """Load one verb, or check."""
    module, _, name = function_place.partition(":")
    return vars(plugins.import_hven_module(module, f"hven {name}"))[name]  # type: ignore[no-any-return]


def check_engine_settings(site_settings: Settings) -> Iterator[Fault | str]:
    """Ask what the settings of the engines name: what is wrong with it, and in plain texts what it is."""
    for engine_kind in engines.load_engine_records():
        if engine_kind.check:
            yield from load_function(engine_kind.check)(site_settings)


def build_command(verb: Callable[..., tuple[Any, bool]]) -> Callable[..., None]:
    """Make a command of a verb: its parameters, and what it takes from the site."""

    def run_verb(context: typer.Context, as_json: bool, **arguments: Any) -> None:
        def read_site_identity() -> str:
            with open_site(context) as opened_site:
                return opened_site.store.get_site_id()

        settings = partial(load_site_settings, context)
        print_message = (lambda *_, **__: None) if as_json else print
        caller = engines.CommandContext(
            settings=settings,
            identity=read_site_identity,
            print_message=print_message,
        )
        value, is_successful = verb(caller, **arguments)
        if as_json:
            show_json(value)
        if not is_successful:
            raise typer.Exit(1)

    first = inspect.signature(run_verb, eval_str=True).parameters["context"]
    last = inspect.Parameter.POSITIONAL_OR_KEYWORD
    verb_parameters = [
        parameter.replace(annotation=_build_annotation(parameter.annotation))
        for parameter in list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    ]
    json = inspect.Parameter(
        "as_json", last, default=False, annotation=Annotated[bool, typer.Option("--json", help="For scripts.")]
    )
    run_verb.__signature__ = inspect.Signature([first, *verb_parameters, json])  # type: ignore[attr-defined]
    run_verb.__doc__ = verb.__doc__
    return run_verb


def _build_annotation(annotation: Any) -> Any:
    kind, verb_word = get_args(annotation)
    option = verb_word.name.startswith("--")
    return Annotated[
        kind,
        typer.Option(verb_word.name, help=verb_word.help)
        if option
        else typer.Argument(metavar=verb_word.name, help=verb_word.help),
    ]
