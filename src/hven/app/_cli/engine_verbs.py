"""The verbs that engines bring: they become commands, with the option ``--json``; and what engines say to ``hven check``."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from hven import engines
from hven.app._cli.context import settings, show_json, site
from hven.model import plugins

if TYPE_CHECKING:
    from hven.model.errors import Fault
    from hven.model.settings import Settings


def places() -> dict[str, str]:
    """List the engines' verbs, each with its place: ``module:name``."""
    return {place.rpartition(":")[2]: place for kind in engines.kinds() for place in kind.verbs}


def loaded(place: str) -> Callable[..., Any]:
    """Load one verb, or check."""
    module, _, name = place.partition(":")
    return vars(plugins.imported(module, f"hven {name}"))[name]  # type: ignore[no-any-return]


def checked(found: Settings) -> Iterator[Fault | str]:
    """Ask what the settings of the engines name: what is wrong with it, and in plain texts what it is."""
    for kind in engines.kinds():
        if kind.check:
            yield from loaded(kind.check)(found)


def mounted(verb: Callable[..., tuple[Any, bool]]) -> Callable[..., None]:
    """Make a command of a verb: its parameters, and what it takes from the site."""

    def run(context: typer.Context, as_json: bool, **given: Any) -> None:
        def identity() -> str:
            with site(context) as found:
                return found.store.identity()

        caller = engines.Caller(
            settings=partial(settings, context), identity=identity, say=(lambda *_, **__: None) if as_json else print
        )
        value, fine = verb(caller, **given)
        if as_json:
            show_json(value)
        if not fine:
            raise typer.Exit(1)

    first, last = inspect.signature(run, eval_str=True).parameters["context"], inspect.Parameter.POSITIONAL_OR_KEYWORD
    words = [
        one.replace(annotation=_word(one.annotation))
        for one in list(inspect.signature(verb, eval_str=True).parameters.values())[1:]
    ]
    json = inspect.Parameter(
        "as_json", last, default=False, annotation=Annotated[bool, typer.Option("--json", help="For scripts.")]
    )
    run.__signature__ = inspect.Signature([first, *words, json])  # type: ignore[attr-defined]
    run.__doc__ = verb.__doc__
    return run


def _word(annotation: Any) -> Any:
    kind, word = get_args(annotation)
    option = word.name.startswith("--")
    return Annotated[
        kind, typer.Option(word.name, help=word.help) if option else typer.Argument(metavar=word.name, help=word.help)
    ]
