"""What is published for a referee who must not know whose data these are."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from hven.descriptor import remove_personal_values
from hven.model.table import INPUT_DOCUMENT_KEY
from hven.site.auth._access_control import BLIND_REVIEW_GROUP_PREFIX

if TYPE_CHECKING:
    from hven.site._published_state import PublishedState
    from hven.site.auth import Principal


def anonymize_for_referee(published_state: PublishedState, principal: Principal) -> PublishedState:
    """Return the state without the people of the collections that a referee reviews blind.

    No page and no header of an answer then names them.

    Parameters
    ----------
    published_state
        State of the site.
    principal
        The referee, or any other user.
    """
    review_groups = [group for group in principal.groups if group.startswith(BLIND_REVIEW_GROUP_PREFIX)]
    names = {group.removeprefix(BLIND_REVIEW_GROUP_PREFIX) for group in review_groups}
    # answers that are cached for other users name the people, so this state has a version of its own
    original_version = published_state.version.partition("~")[0]
    version = f"{original_version}~{'~'.join(sorted(names))}"
    if not names or published_state.version == version:
        return published_state
    resources = dict(published_state.resources)
    for name in names & resources.keys():
        resources[name] = remove_personal_values(resources[name])
    tables_by_name = dict(published_state.tables_by_name)
    for name, published_table in tables_by_name.items():
        if published_table.resource is not None and published_table.resource.name in names:
            resource = remove_personal_values(published_table.resource)
            # the metadata of the source's document may name anybody
            table = published_table.table
            extensions = {key: value for key, value in table.extensions.items() if key != INPUT_DOCUMENT_KEY}
            anonymous_table = table.copy_with(extensions=extensions)
            tables_by_name[name] = replace(published_table, resource=resource, table=anonymous_table)
    return replace(published_state, version=version, resources=resources, tables_by_name=tables_by_name)
