"""Names that occur twice in the header of a text table get numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def number_names(names: Sequence[str]) -> list[str]:
    """Give names that occur again a number: ``flux, flux`` are ``flux, flux_2``.

    Parameters
    ----------
    names
        Of all columns, in order.

    Returns
    -------
    names
        Each once; a name that occurs once stays, also where it is that of a number: ``flux, flux, flux_2`` are ``flux, flux_3, flux_2``.
    """
    own = set(names)
    taken: set[str] = set()
    found: list[str] = []
    following: dict[str, int] = {}  # thousands may have one name
    for name in names:
        new, number = name, following.get(name, 2)
        while new in taken or (new != name and new in own):
            new, number = f"{name}_{number}", number + 1
        following[name] = number
        taken.add(new)
        found.append(new)
    return found


def find_renamed(names: Sequence[str], numbered: Sequence[str]) -> list[tuple[str, str]]:
    """List the names that `number_names` changed, each with its new one."""
    return [(name, new) for name, new in zip(names, numbered, strict=True) if name != new]
