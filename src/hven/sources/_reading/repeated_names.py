"""Names that occur twice in the header of a text table get numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


def rename_repeated_names(names: Sequence[str]) -> list[str]:
    """Give names that occur again a number: ``flux, flux`` are ``flux, flux_2``.

    Parameters
    ----------
    names
        Names of all columns, in order.

    Returns
    -------
    names
        Each once; a name that occurs once stays, also where it is that of a number: ``flux, flux, flux_2`` are ``flux,
        flux_3, flux_2``.
    """
    original_names = set(names)
    taken_names: set[str] = set()
    unique_names: list[str] = []
    next_numbers: dict[str, int] = {}  # thousands may have one name
    for name in names:
        new = name
        number = next_numbers.get(name, 2)
        while new in taken_names or (new != name and new in original_names):
            new = f"{name}_{number}"
            number = number + 1
        next_numbers[name] = number
        taken_names.add(new)
        unique_names.append(new)
    return unique_names


def list_renamed_names(names: Sequence[str], new_names: Sequence[str]) -> list[tuple[str, str]]:
    """List the names that `rename_repeated_names` changed, each with its new one."""
    return [(name, new) for name, new in zip(names, new_names, strict=True) if name != new]
