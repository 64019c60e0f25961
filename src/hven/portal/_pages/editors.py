"""Who edits which texts in the page: operators all, administrators those of their portal, curators of a project those of its collections."""

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
    """Return whether a reader edits the texts of a collection: they operate it, or curate its project."""
    if who.by or who.name is None:
        return False
    return around.operates(who, resource.name) or f"project:{resource.project}:{ROLE}" in who.groups


def edits(who: Reader, around: Surroundings, brand: Brand) -> tuple[str, ...]:
    """Return what pages depend on of all that: nothing for most readers."""
    if who.by or who.name is None:
        return ()
    mine = sorted(one for one in who.groups if one.startswith("project:") and one.endswith(f":{ROLE}"))
    administered = sorted(around.site.settings.administered(who.name))
    return (*(["portal"] if edits_portal(who, around, brand) else []), *mine, *administered)
