"""Decide who may edit texts in the pages.

Operators edit all texts. Curators of a project edit the texts of its collections. Administrators of a portal edit the
texts of the portal, and those of its collections that they can see as readers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model.resource import CollectionSpec
    from hven.portal._pages.brand import PortalBrand
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

CURATOR_ROLE = "curator"


def can_edit_portal(principal: Principal, context: ServiceContext, brand: PortalBrand) -> bool:
    """Return whether a reader may edit the home page and the news of a portal, or of the site.

    Operators of the site and administrators of the portal may.

    Parameters
    ----------
    principal
        The reader.
    context
        The context of the service.
    brand
        The portal.
    """
    if principal.impersonator or principal.name is None:
        return False
    own_portal = next(
        (portal_settings for portal_settings in context.site.settings.portals if portal_settings.name == brand.portal),
        None,
    )
    if context.is_operator(principal):
        return True
    return own_portal is not None and principal.name in own_portal.administrators


def can_edit_collection(principal: Principal, context: ServiceContext, resource: CollectionSpec) -> bool:
    """Return whether a reader may edit the texts of a collection.

    Operators of the site, curators of the project, and administrators of the portal who can see the collection may.
    Administrators get no right to see anything: only members and operators edit a collection that is hidden from them.

    Parameters
    ----------
    principal
        The reader.
    context
        The context of the service.
    resource
        The collection.
    """
    if principal.impersonator or principal.name is None:
        return False
    if context.is_operator(principal) or f"project:{resource.project}:{CURATOR_ROLE}" in principal.groups:
        return True
    return resource.name in context.site.settings.list_administered_collections(principal.name) and _can_see_collection(
        principal, context, resource
    )


def _can_see_collection(principal: Principal, context: ServiceContext, resource: CollectionSpec) -> bool:
    """Return whether a reader can see a table of a collection, or could see one if it were published."""
    published_state = context.site.get_published_state()
    if any(item.table.schema == resource.name for item in published_state.tables_by_name.values()):
        return any(
            schema.name == resource.name
            for schema in published_state.get_catalogue(principal, context.policies).schemas
        )
    project = next((schema for schema in context.site.settings.projects if schema.name == resource.project), None)
    if resource.project and not (project is not None and project.open):
        return f"project:{resource.project}" in principal.groups
    return resource.access == "public"


def list_editing_rights(principal: Principal, context: ServiceContext, brand: PortalBrand) -> tuple[str, ...]:
    """Return the editing rights on which the content of a page depends; empty for most readers."""
    if principal.impersonator or principal.name is None:
        return ()
    curator_groups = sorted(
        group for group in principal.groups if group.startswith("project:") and group.endswith(f":{CURATOR_ROLE}")
    )
    administered_collections = context.site.settings.list_administered_collections(principal.name)
    administered = sorted(administered_collections)
    portal_rights = ("portal",) if can_edit_portal(principal, context, brand) else ()
    return (*portal_rights, *curator_groups, *administered)
