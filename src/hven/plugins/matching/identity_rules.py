"""Decide which object a target is, by a table of rules over arrays of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]
    Masks = npt.NDArray[np.bool_]

# what a candidate has in common with its target; the best first
NAME_AND_PLACE, NAME_NEARBY, NAME_ALONE, PLACE_ALONE, NAME_ELSEWHERE, NEIGHBOUR = range(1, 7)
CANDIDATE_TEXTS = (
    "",
    "name and place",
    "name, and nearly the place",
    "name; there is no place to compare",
    "place",
    "name, but elsewhere",
    "neighbour",
)


@dataclass(frozen=True, slots=True)
class IdentityRule:
    """A row of the table of rules: its confidence, and its reason."""

    confidence: str
    reason: str


# the number of a rule is its place
RULES = (
    IdentityRule("none", "no object has the name, and none is near the place"),
    IdentityRule("high", "the name and the place agree"),
    IdentityRule("medium", "the name agrees, and the place nearly does"),
    IdentityRule("medium", "the name agrees; there is no place to compare"),
    IdentityRule("medium", "one object is at the place, and no object has the name"),
    IdentityRule("low", "several objects have the name; this is the nearest"),
    IdentityRule("low", "several objects are at the place, and no object has the name; this is the nearest"),
    IdentityRule("low", "the name agrees, and the place nearly does, but another object is at the place"),
    IdentityRule("conflict", "the name is that of an object elsewhere"),
    IdentityRule("conflict", "the name is that of an object elsewhere, and another object is at the place"),
    IdentityRule("none", "no object has the name, and none is at the place, but some are near it"),
    IdentityRule("manual", "a person decided"),
    IdentityRule("manual", "a person decided that the target is none of the objects"),
)
(
    NOTHING,
    AGREEMENT,
    NEAR_AGREEMENT,
    NAME_ONLY,
    PLACE_ONLY,
    SEVERAL_NAMES,
    SEVERAL_PLACES,
    OTHER_AT_PLACE,
    ELSEWHERE,
    CONTRADICTION,
    NEIGHBOURS_ONLY,
    DECIDED,
    DECIDED_NONE,
) = range(len(RULES))


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityCandidates:
    """Pairs of a target and an object, shape (n,) each.

    Attributes
    ----------
    target_rows
        Numbers of the targets.
    catalogues, star_rows
        Number of the catalogue of each object, and the number of the object in it, in the order of the ids.
    separations
        Arcseconds; NaN: the target or the object has no place.
    have_name
        Whether the target has a name of the object.
    """

    target_rows: Rows
    catalogues: Rows
    star_rows: Rows
    separations: Floats
    have_name: Masks


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityDecisions:
    """The decisions: `classes` for each candidate, the other arrays for each target.

    Attributes
    ----------
    classes
        What the candidate has in common with its target.
    rules
        Number of the rule in `RULES`.
    chosen
        The identified candidate; -1: there is none.
    conflicting
        The candidate that has the name, but is elsewhere, if that is a conflict; -1: there is none.
    counts
        Number of candidates near the place, in the catalogue of the best one.
    second_separations
        Distance between the place and the nearest other candidate of this catalogue; NaN: there is none.
    """

    classes: Rows
    rules: Rows
    chosen: Rows
    conflicting: Rows
    counts: Rows
    second_separations: Floats


def decide_identities(
    candidates: IdentityCandidates, target_count: int, radius_arcsec: float, near_arcsec: float
) -> IdentityDecisions:
    """Decide which object each target is.

    Equal candidates are ordered by their catalogues and ids, so the result doesn't depend on the order of rows.

    Parameters
    ----------
    candidates
        All candidates.
    target_count
        Number of targets.
    radius_arcsec
        Largest distance at which a name counts.
    near_arcsec
        Largest distance of an object at the place.

    Returns
    -------
    decisions
        What was decided.
    """
    targets, separations, have_name = candidates.target_rows, candidates.separations, candidates.have_name
    is_at_place = separations <= near_arcsec
    is_near = separations <= radius_arcsec
    classes = np.select(
        [have_name & is_at_place, have_name & is_near, have_name & np.isnan(separations), is_at_place, have_name],
        [NAME_AND_PLACE, NAME_NEARBY, NAME_ALONE, PLACE_ALONE, NAME_ELSEWHERE],
        NEIGHBOUR,
    )
    order = np.lexsort((candidates.star_rows, separations, candidates.catalogues, classes, targets))
    best = _find_first_candidates(targets, order, target_count)
    has_best = best >= 0
    best_class = np.where(has_best, classes[best] if len(classes) else 0, 0)
    best_catalogue = np.where(has_best, candidates.catalogues[best] if len(classes) else 0, -1)
    is_in_catalogue = candidates.catalogues == best_catalogue[targets]

    def count(mask: Masks) -> Rows:
        return np.bincount(targets[mask], minlength=target_count)

    named_count = count(is_in_catalogue & (classes <= NAME_ALONE))
    place_count = count(is_in_catalogue & is_at_place)
    is_named_elsewhere = count(classes == NAME_ELSEWHERE) > 0
    rules = np.select(
        [
            best_class == 0,
            (best_class <= NAME_ALONE) & (named_count > 1),
            best_class == NAME_AND_PLACE,
            (best_class == NAME_NEARBY) & (place_count > 0),
            best_class == NAME_NEARBY,
            best_class == NAME_ALONE,
            (best_class == PLACE_ALONE) & is_named_elsewhere,
            (best_class == PLACE_ALONE) & (place_count > 1),
            best_class == PLACE_ALONE,
            best_class == NAME_ELSEWHERE,
        ],
        [
            NOTHING,
            SEVERAL_NAMES,
            AGREEMENT,
            OTHER_AT_PLACE,
            NEAR_AGREEMENT,
            NAME_ONLY,
            CONTRADICTION,
            SEVERAL_PLACES,
            PLACE_ONLY,
            ELSEWHERE,
        ],
        NEIGHBOURS_ONLY,
    )
    is_conflict = np.isin(rules, (ELSEWHERE, CONTRADICTION))
    named_elsewhere = order[classes[order] == NAME_ELSEWHERE]
    conflicting = np.where(is_conflict, _find_first_candidates(targets, named_elsewhere, target_count), -1)
    chosen = np.where((rules >= AGREEMENT) & (rules <= OTHER_AT_PLACE), best, -1)
    by_distance = np.lexsort((separations, targets))
    is_other = is_near & is_in_catalogue & (np.arange(len(targets)) != chosen[targets])
    others = _find_first_candidates(targets, by_distance[is_other[by_distance]], target_count)
    second_separations = np.full(target_count, np.nan)
    second_separations[others >= 0] = separations[others[others >= 0]]
    return IdentityDecisions(
        classes=classes,
        rules=rules,
        chosen=chosen,
        conflicting=conflicting,
        counts=count(is_in_catalogue & is_near),
        second_separations=second_separations,
    )


def _find_first_candidates(targets: Rows, order: Rows, target_count: int) -> Rows:
    """Return the first candidate of each target in an order; -1: it has none."""
    firsts = np.full(target_count, -1)
    firsts[targets[order[::-1]]] = order[::-1]  # of several values for a place, numpy keeps the last
    return firsts
