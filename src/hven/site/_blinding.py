"""What a referee is shown who shall not know whose data these are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.site.auth._permit import BLIND

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.site._picture import Holdings
    from hven.site.auth import Reader


def blind(holdings: Holdings, who: Reader) -> Holdings:
    """Return the holdings without the people of the collections that a reader judges unseen: they are in no page, and in no head of an answer.

    Parameters
    ----------
    holdings
        Of the site.
    who
        The reader.
    """
    names = {group.removeprefix(BLIND) for group in who.groups if group.startswith(BLIND)}
    version = f"{holdings.version.partition('~')[0]}~{'~'.join(sorted(names))}"  # what was remembered of it names them
    if not names or holdings.version == version:
        return holdings

    def masked(one: Resource) -> Resource:
        return replace(
            one, creators=(), contact=None, publisher=None, citation=None, bibcode=None, doi=None, reference_url=None, contributors=(),
            funding=(), works=(), acknowledgement=None, publisher_ror=None,
        )  # fmt: skip

    return replace(
        holdings,
        version=version,
        resources={name: masked(one) if name in names else one for name, one in holdings.resources.items()},
        published={
            name: replace(item, resource=masked(item.resource))
            if item.resource is not None and item.resource.name in names
            else item
            for name, item in holdings.published.items()
        },
    )
