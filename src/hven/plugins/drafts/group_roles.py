"""Recognise values with their origins, confidences and errors by names, where a source states no roles.

JMMC's programs name the columns of a property ``V``, ``V.origin``, ``V.confidence`` and ``e_V``. They list the codes of
all origins and confidences in the PARAMs ``OriginIndexes`` and ``ConfidenceIndexes``, to which no column refers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from hven.model.table import ColumnGroup

CODE_ROLES = ("origin", "confidence")
ERROR_NAMES = ("e_{name}", "{name}Err")


def find_code_list(column_name: str, enum_names: Collection[str]) -> str | None:
    """Find the list with the codes of a column: ``OriginIndexes`` for ``V.origin``.

    Parameters
    ----------
    column_name
        Name of the column in the source.
    enum_names
        Names of the lists of the source.

    Returns
    -------
    enum_name
        None: the column has no such list.
    """
    for role in CODE_ROLES:
        if column_name.endswith(f".{role}"):
            names = (f"{role.capitalize()}Indexes", f"{role}s")
            return next((name for name in names if name in enum_names), None)
    return None


def find_member_roles(group: ColumnGroup) -> Mapping[str, str]:
    """Find the roles of the members of a group by their names; those that the source states remain.

    Parameters
    ----------
    group
        The group, with the names of the source.

    Returns
    -------
    roles
        Names of the members by their roles.
    """
    if any(role != name for role, name in group.roles.items()):
        return group.roles
    roles = {}
    for name in group.roles.values():
        role = name
        stem, _, suffix = name.rpartition(".")
        if name == group.name:
            role = "value"
        elif stem == group.name and suffix in CODE_ROLES:
            role = suffix
        elif any(name.lower() == pattern.format(name=group.name).lower() for pattern in ERROR_NAMES):
            role = "error"
        roles[role] = name
    if "value" in roles:
        return roles
    return group.roles
