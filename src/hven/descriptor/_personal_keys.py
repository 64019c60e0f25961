"""Remove from a collection what may tell who made its data."""

from __future__ import annotations

from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from hven.descriptor._keys import ATTRIBUTE_NAMES_BY_KEY, CollectionSection
from hven.descriptor.value_schema import IMPERSONAL_MARK

if TYPE_CHECKING:
    from hven.model.resource import CollectionSpec


def remove_personal_values(resource: CollectionSpec) -> CollectionSpec:
    """Return a collection without the values of keys that may tell who made the data.

    Only keys that are marked as `Impersonal` keep their values, so a new key is hidden until somebody has looked at it.

    Parameters
    ----------
    resource
        The collection.

    Returns
    -------
    resource
        A copy, in which the other keys have the values of a descriptor without them.
    """
    record = CollectionSection.record
    personal_keys = set(record.key_types) - set(record.list_marked_keys(IMPERSONAL_MARK))
    personal_attributes = {ATTRIBUTE_NAMES_BY_KEY.get(key, key) for key in personal_keys}
    defaults: dict[str, Any] = {}
    for field in fields(resource):
        if field.name in personal_attributes:
            defaults[field.name] = field.default if field.default_factory is MISSING else field.default_factory()
    extensions = {key: value for key, value in resource.extensions.items() if key not in personal_keys}
    return replace(resource, extensions=extensions, **defaults)
