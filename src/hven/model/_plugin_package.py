"""The record of a plug-in package: all that it adds to Hven, listed in one place.

The package has a module ``plugin``, which holds the record under the name ``PLUGIN``. Hven finds its own packages below
`hven.plugins`, and those of other projects by entry points of the group ``hven.plugins``. The module imports nothing
but this one: what the record names is imported when it is used.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

_NAME_PATTERN = re.compile(r"[a-z][a-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Verb:
    """A verb of the command line.

    Parameters
    ----------
    function
        Place of the function as ``module:name``. Its parameters are options and arguments of typer; the first line of
        its docstring is the help text.
    after
        The verb behind which ``hven --help`` lists this one; it stands at the end if there is no such verb.
    examples
        Command lines, as a user types them, for the help of the verb and the page of the command line. Together they
        show each option.
    """

    function: str
    after: str = ""
    examples: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class PluginPackage:
    """All that a plug-in package adds.

    A mapping has the names of plug-ins of one kind, and the dotted names of the modules in which their records stand.

    Parameters
    ----------
    name
        Name of the package: lower-case letters, digits and underscores.
    title
        What it does, in a line.
    uses
        Names of other plug-in packages that it imports.
    sources, descriptions, engines, formats, media, functions, protocols, jobs, identity, panes, resolvers
        Plug-ins of the groups of `hven.model.plugins.PLUGIN_GROUPS`.
    verbs
        Verbs of the command line by their names.

    Raises
    ------
    ValueError
        The name has other characters.
    """

    name: str
    title: str
    uses: tuple[str, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    descriptions: Mapping[str, str] = field(default_factory=dict)
    engines: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, str] = field(default_factory=dict)
    media: Mapping[str, str] = field(default_factory=dict)
    functions: Mapping[str, str] = field(default_factory=dict)
    protocols: Mapping[str, str] = field(default_factory=dict)
    jobs: Mapping[str, str] = field(default_factory=dict)
    identity: Mapping[str, str] = field(default_factory=dict)
    panes: Mapping[str, str] = field(default_factory=dict)
    resolvers: Mapping[str, str] = field(default_factory=dict)
    verbs: Mapping[str, Verb] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _NAME_PATTERN.fullmatch(self.name):
            message = (
                f"a plug-in package cannot be called {self.name!r}: use lower-case letters, digits and underscores"
            )
            raise ValueError(message)
