"""Tables that take contributions of users: entries, or files with their rows. It says who may do what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, TypeVar

from hven.plugins.entries.entry_keys import is_listed
from hven.plugins.push import PUSH_SOURCE_KIND, client_writes
from hven.plugins.push.source import Options

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.resource import CollectionSpec, SourceSpec, TableSpec
    from hven.model.table import Table
    from hven.site import Site
    from hven.site.auth import Principal


class Contribution(Protocol):
    """What a user contributes."""

    @property
    def author(self) -> str:
        """The account."""

    @property
    def state(self) -> str:
        """Its state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContributionTable:
    """A table that takes contributions, as a user sees it.

    Attributes
    ----------
    key
        The key in the descriptor that switches the contributions on.
    author_actions, moderator_actions
        State of a contribution -> steps that its author and the moderators may take.
    resource, spec, source
        The collection, the table and its source `push` in the descriptor.
    table
        The table as the user sees it.
    options
        Options of the source.
    """

    key: ClassVar[str]
    author_actions: ClassVar[Mapping[str, tuple[str, ...]]]
    moderator_actions: ClassVar[Mapping[str, tuple[str, ...]]]
    resource: CollectionSpec
    spec: TableSpec
    source: SourceSpec
    table: Table
    options: Options

    @property
    def name(self) -> str:
        """The name as ``schema.table``."""
        return self.table.qualified_name

    @property
    def rules(self) -> Any:
        """The value of the key."""
        return self.table.extensions[self.key]

    @property
    def moderators(self) -> frozenset[str]:
        """The accounts and groups that decide on contributions."""
        return client_writes.list_writers(self.resource, self.source)

    def can_moderate(self, principal: Principal) -> bool:
        """Return whether a user decides on contributions: those who may push rows into the table do."""
        return not principal.impersonator and client_writes.can_push(self.resource, self.source, principal)

    def can_submit(self, principal: Principal) -> bool:
        """Return whether a user may contribute."""
        if principal.name is None or principal.impersonator:
            return False
        submitters = self.rules.submitters
        return not submitters or is_listed(principal, submitters) or self.can_moderate(principal)

    def list_actions(self, contribution: Contribution, principal: Principal) -> tuple[str, ...]:
        """List the steps that a user may take with a contribution now."""
        actions: list[str] = []
        if contribution.author == principal.name and self.can_submit(principal):
            actions += self.author_actions.get(contribution.state, ())
        if self.can_moderate(principal):
            actions += self.moderator_actions.get(contribution.state, ())
        return tuple(dict.fromkeys(actions))


AnyContributionTable = TypeVar("AnyContributionTable", bound=ContributionTable)


def find_contribution_table(
    table_class: type[AnyContributionTable], site: Site, table: Table
) -> AnyContributionTable | None:
    """Find how a table takes contributions; None: it takes none.

    Parameters
    ----------
    table_class
        The kind of contributions.
    site
        The site.
    table
        The table as the user sees it.
    """
    if table_class.key not in table.extensions or table.release is not None:
        return None
    push_target = client_writes.find_push_target(site, table.qualified_name)
    if push_target is None or push_target[2].kind != PUSH_SOURCE_KIND:
        return None
    resource, spec, source = push_target
    options = Options.model_validate(dict(source.options))
    return table_class(resource=resource, spec=spec, source=source, table=table, options=options)
