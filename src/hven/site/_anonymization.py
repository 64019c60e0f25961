"""What a referee is shown who shall not know whose data these are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.site.auth._access_control import BLIND_REVIEW_GROUP_PREFIX

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.site._published_state import PublishedState
    from hven.site.auth import Principal


def anonymize_for_referee(published_state: PublishedState, principal: Principal) -> PublishedState:
    """Return the holdings without the people of the collections that a reader judges unseen.

    They are in no page, and in no head of an answer.

    Parameters
    ----------
    published_state
        Of the site.
    principal
        The reader.
    """
    names = {
        group.removeprefix(BLIND_REVIEW_GROUP_PREFIX)
        for group in principal.groups
        if group.startswith(BLIND_REVIEW_GROUP_PREFIX)
    }
    version = (
        f"{published_state.version.partition('~')[0]}~{'~'.join(sorted(names))}"  # what was remembered of it names them
    )
    if not names or published_state.version == version:
        return published_state

    def anonymize_resource(resource: Resource) -> Resource:
        return replace(
            resource,
            creators=(),
            contact=None,
            publisher=None,
            citation=None,
            bibcode=None,
            doi=None,
            reference_url=None,
            contributors=(),
            funding=(),
            works=(),
            acknowledgement=None,
            publisher_ror=None,
        )

    resources = {
        name: anonymize_resource(original) if name in names else original
        for name, original in published_state.resources.items()
    }
    tables_by_name = {
        name: replace(item, resource=anonymize_resource(item.resource))
        if item.resource is not None and item.resource.name in names
        else item
        for name, item in published_state.tables_by_name.items()
    }
    return replace(
        published_state,
        version=version,
        resources=resources,
        tables_by_name=tables_by_name,
    )
