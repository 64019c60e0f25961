"""Who edits which texts in the page: operators all, curators of a project those of its collections, administrators those of their portal that they see as readers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hven.model.resource import Resource
    from hven.portal._pages.brand import Brand
    from hven.services.face import Surroundings
    from hven.site.auth import Reader

ROLE = "curator"


def edits_portal(who: Reader, around: Surroundings, brand: Brand) -> bool:
    """Return whether a reader edits the first page and the news of a portal (or of the site): they operate the site, or administer the portal."""
    if who.by or who.name is None:
        return False
    own = next((one for one in around.site.settings.portals if one.name == brand.portal), None)
    return around.operates(who) or (own is not None and who.name in own.administrators)


def edits_collection(who: Reader, around: Surroundings, resource: Resource) -> bool:
    """Return whether a reader edits the texts of a collection: they operate the site, curate its project, or administer its portal and know of it.

    An administrator gets no right to see anything: titles and descriptions of a collection that is hidden from them are its members' and the operators'.
    """
    if who.by or who.name is None:
        return False
    if around.operates(who) or f"project:{resource.project}:{ROLE}" in who.groups:
        return True
    return resource.name in around.site.settings.administered(who.name) and _knows(who, around, resource)


def _knows(who: Reader, around: Surroundings, resource: Resource) -> bool:
    """Return whether a reader knows of a collection: sees a table of it, or would if one were published."""
    holdings = around.site.current()
    if any(item.table.schema == resource.name for item in holdings.published.values()):
        return any(one.name == resource.name for one in holdings.catalogue(who, around.policies).schemas)
    project = next((one for one in around.site.settings.projects if one.name == resource.project), None)
    if resource.project and not (project is not None and project.open):
        return f"project:{resource.project}" in who.groups
    return resource.access == "public"


def edits(who: Reader, around: Surroundings, brand: Brand) -> tuple[str, ...]:
    """Return what pages depend on of all that: nothing for most readers."""
    if who.by or who.name is None:
        return ()
    mine = sorted(one for one in who.groups if one.startswith("project:") and one.endswith(f":{ROLE}"))
    administered = sorted(around.site.settings.administered(who.name))
    return (*(["portal"] if edits_portal(who, around, brand) else []), *mine, *administered)
