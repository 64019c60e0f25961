"""Decide which candidate is the partner of a star, and how sure that is, over arrays of candidate pairs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hven.plugins.matching.star_positions import compute_separations

if TYPE_CHECKING:
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Rows = npt.NDArray[np.int64]
    Masks = npt.NDArray[np.bool_]

# bits of SearchCal (vobsSTAR_MATCH_TYPE)
TOO_FAR, BETTER_ELSEWHERE, AMBIGUOUS_REFERENCE, AMBIGUOUS_PARTNER, CLEAR_REFERENCE, CLEAR_PARTNER = 1, 2, 4, 8, 16, 32
FLAG_MEANINGS = {
    TOO_FAR: "too far: the nearest candidate is beyond the radius",
    BETTER_ELSEWHERE: "better elsewhere: the best candidate is nearer to another object",
    AMBIGUOUS_REFERENCE: "ambiguous object: the partner has a second object with nearly the same score",
    AMBIGUOUS_PARTNER: "ambiguous partner: a second candidate has nearly the same score",
    CLEAR_REFERENCE: "ambiguous object, but the first is clearly better",
    CLEAR_PARTNER: "ambiguous partner, but the first is clearly better",
}
FLAG_LABELS = {
    TOO_FAR: "too far",
    BETTER_ELSEWHERE: "better elsewhere",
    AMBIGUOUS_REFERENCE: "ambiguous object",
    AMBIGUOUS_PARTNER: "ambiguous partner",
    CLEAR_REFERENCE: "ambiguous object, clearly better",
    CLEAR_PARTNER: "ambiguous partner, clearly better",
}
CLEAR_SCORE_DIFFERENCE, CLEAR_SCORE_RATIO = 0.01, 2.0  # of SearchCal
# codes of verdicts
PARTNER, NOT_FIRST, NOT_MUTUAL, OUT_OF_RADIUS, CONDITION_FAILED = range(5)
VERDICT_TEXTS = (
    "partner",
    "another candidate has a better score",
    "the candidate has a better score with another object",
    "beyond the radius",
    "the condition does not hold, or the score is unknown",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CandidatePairs:
    """Pairs of a star of the reference and a star of a catalogue, shape (n,) each.

    Attributes
    ----------
    reference_rows, partner_ranks
        Numbers of the two stars in the order of their ids.
    separations
        Arcseconds.
    scores
        The smaller, the better; NaN: unknown.
    fulfilled
        Whether the further conditions hold.
    reference_vectors, partner_vectors
        Positions at the epoch of the pair, shape (n, 3).
    """

    reference_rows: Rows
    partner_ranks: Rows
    separations: Floats
    scores: Floats
    fulfilled: Masks
    reference_vectors: Floats
    partner_vectors: Floats


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchRule:
    """How to choose partners.

    Attributes
    ----------
    radius_arcsec
        Largest distance of a partner.
    mates_radius_arcsec
        Distance within which candidates are counted.
    best
        ``mutual``, ``unique``, ``first`` or ``all``.
    ambiguous_difference
        Scores that differ by less are nearly the same.
    """

    radius_arcsec: float
    mates_radius_arcsec: float
    best: str
    ambiguous_difference: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchVerdicts:
    """The verdicts: `verdicts` and `ranks` for each pair, the other arrays for each star of the reference.

    Attributes
    ----------
    verdicts
        Code of the verdict, an index of `VERDICT_TEXTS`.
    ranks
        Number of the pair among those of its star by score, from 1; 0: not considered.
    shown_pairs
        The pair of the partner, or of the best candidate if there is no partner; -1: there is none.
    has_partner
        Whether `shown_pairs` is that of the partner.
    mate_counts
        Number of candidates within the radius for mates, by distance alone.
    second_separations
        Distance between the first and the second candidate; NaN: there is no second.
    flags
        Bits of `FLAG_MEANINGS`.
    """

    verdicts: Rows
    ranks: Rows
    shown_pairs: Rows
    has_partner: Masks
    mate_counts: Rows
    second_separations: Floats
    flags: Rows


def judge_pairs(pairs: CandidatePairs, rule: MatchRule, reference_count: int) -> MatchVerdicts:
    """Choose the partner of each star.

    Equal scores are ordered by the ids of both stars, so the result doesn't depend on the order of the pairs.

    Parameters
    ----------
    pairs
        All candidate pairs.
    rule
        How to choose.
    reference_count
        Number of stars in the reference.

    Returns
    -------
    verdicts
        What was decided for each pair and each star.
    """
    considered = pairs.fulfilled & np.isfinite(pairs.scores)
    near = pairs.separations <= rule.radius_arcsec
    # pairs beyond the radius follow the others: they count only if there is no partner, and as second candidates
    by_reference = _rank_pairs(pairs.reference_rows, pairs, pairs.partner_ranks, considered, near)
    by_partner = _rank_pairs(pairs.partner_ranks, pairs, pairs.reference_rows, considered, near)
    eligible = considered & near
    is_first = eligible & (by_reference.ranks == 1)
    is_partner = {"first": is_first, "all": eligible}.get(rule.best)
    if is_partner is None:
        rivals = by_partner
        if rule.best == "unique":
            rivals = _rank_pairs(pairs.partner_ranks, pairs, pairs.reference_rows, is_first, near)
        is_partner = is_first & (rivals.ranks == 1)
    verdicts = np.full(len(pairs.scores), NOT_FIRST)
    verdicts[is_first] = NOT_MUTUAL
    verdicts[is_partner] = PARTNER
    verdicts[considered & ~near] = OUT_OF_RADIUS
    verdicts[~considered] = CONDITION_FAILED
    shown_pairs = np.full(reference_count, -1)
    firsts = np.flatnonzero(by_reference.ranks == 1)
    shown_pairs[pairs.reference_rows[firsts]] = firsts
    has_candidate = shown_pairs >= 0
    shown = shown_pairs[has_candidate]
    has_partner = np.zeros(reference_count, bool)
    has_partner[has_candidate] = is_partner[shown]
    flags = np.zeros(reference_count, np.int64)
    flags[has_candidate] = _compute_first_pair_flags(pairs, rule, shown, (by_reference, by_partner))
    flags[has_candidate & ~has_partner] = BETTER_ELSEWHERE
    flags[pairs.reference_rows[shown[~near[shown]]]] = TOO_FAR
    second_separations = np.full(reference_count, np.nan)
    second_separations[has_candidate] = np.fmin(
        _measure_rival_separations(pairs.partner_vectors, shown, by_reference.rivals[shown]),
        _measure_rival_separations(pairs.reference_vectors, shown, by_partner.rivals[shown]),
    )
    mates = pairs.reference_rows[pairs.separations <= rule.mates_radius_arcsec]
    return MatchVerdicts(
        verdicts=verdicts,
        ranks=by_reference.ranks,
        shown_pairs=shown_pairs,
        has_partner=has_partner,
        mate_counts=np.bincount(mates, minlength=reference_count),
        second_separations=second_separations,
        flags=flags,
    )


@dataclass(frozen=True, slots=True)
class PairRanks:
    """For each pair its rank by score in its group, and its rival: the second pair for the first, the first for others.

    A rival of -1 means that there is none.
    """

    ranks: Rows
    rivals: Rows


def _rank_pairs(groups: Rows, pairs: CandidatePairs, others: Rows, considered: Masks, near: Masks) -> PairRanks:
    ranks = considered.astype(np.int64)  # nearly all pairs are alone in their groups
    rivals = np.full(len(groups), -1)
    rows = np.flatnonzero(considered)
    rows = rows[np.bincount(groups[rows])[groups[rows]] > 1]
    order = rows[np.lexsort((others[rows], pairs.scores[rows], ~near[rows], groups[rows]))]
    if not len(order):
        return PairRanks(ranks, rivals)
    sorted_groups = groups[order]
    is_start = np.concatenate([[True], sorted_groups[1:] != sorted_groups[:-1]])
    starts = np.flatnonzero(is_start)
    group_numbers = np.cumsum(is_start) - 1
    ranks[order] = np.arange(len(order)) - starts[group_numbers] + 1
    sizes = np.diff(np.append(starts, len(order)))
    second_of_group = np.where(sizes > 1, order[np.minimum(starts + 1, len(order) - 1)], -1)
    rivals[order] = np.where(ranks[order] == 1, second_of_group[group_numbers], order[starts][group_numbers])
    return PairRanks(ranks, rivals)


def _compute_first_pair_flags(
    pairs: CandidatePairs, rule: MatchRule, shown: Rows, ranks: tuple[PairRanks, PairRanks]
) -> Rows:
    """Return the bit of each best pair; as in SearchCal, the first reason counts."""
    by_reference, by_partner = ranks
    flags = np.zeros(len(shown), np.int64)
    if rule.best != "all":
        is_first_of_both = by_partner.ranks[shown] == 1
        second_objects = np.where(is_first_of_both, by_partner.rivals[shown], -1)
        for seconds, bit in ((second_objects, AMBIGUOUS_REFERENCE), (by_reference.rivals[shown], AMBIGUOUS_PARTNER)):
            second_scores, first_scores = pairs.scores[seconds], pairs.scores[shown]
            differences = np.abs(second_scores - first_scores)
            is_ambiguous = (seconds >= 0) & (differences < rule.ambiguous_difference) & (flags == 0)
            is_clear = (differences >= CLEAR_SCORE_DIFFERENCE) & (second_scores >= CLEAR_SCORE_RATIO * first_scores)
            flags[is_ambiguous] = np.where(is_clear, bit * 4, bit)[is_ambiguous]
    return flags


def _measure_rival_separations(vectors: Floats, firsts: Rows, seconds: Rows) -> Floats:
    separations = np.full(len(firsts), np.nan)
    known = seconds >= 0
    separations[known] = compute_separations(vectors[firsts[known]], vectors[seconds[known]])
    return separations
