"""The columns of a match, with SearchCal's names."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from hven.model.errors import SourceError
from hven.model.table import Column, parse_column_lines
from hven.model.types import FLOAT64
from hven.plugins.matching.match_verdicts import FLAG_LABELS, FLAG_MEANINGS, PARTNER, VERDICT_TEXTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import numpy.typing as npt

    from hven.plugins.matching.catalogue_reading import CatalogueReader
    from hven.plugins.matching.match_verdicts import MatchVerdicts
    from hven.plugins.matching.pair_search import FoundPairs

    Floats = npt.NDArray[np.float64]

_BIT_TEXTS = "; ".join(f"{bit}: {meaning}" for bit, meaning in FLAG_MEANINGS.items())
PARTNER_COLUMNS = parse_column_lines(f"""
    n_mates | int32   |        | meta.number              | Number of candidates, by distance alone
    sep     | float64 | arcsec | pos.angDistance          | Distance of the best candidate
    sep_2nd | float64 | arcsec | pos.angDistance          | Distance between the best candidate and the second one
    score   | float64 |        | stat.value               | Score of the best candidate
    dmag    | float64 | mag    | phot.mag;arith.diff      | Difference in magnitude to the best candidate
    flag    | int32   |        | meta.code.qual           | Class of the match ({_BIT_TEXTS})
""")
FLAG_COLUMNS = parse_column_lines(f"""
    XMATCH_MAIN_FLAG | int32  | | meta.code.qual | Bits of the classes in the main catalogues ({_BIT_TEXTS})
    XMATCH_ALL_FLAG  | int32  | | meta.code.qual | Bits of the classes in all catalogues
    XMATCH_LOG       | string | | meta.note      | Catalogues without a sure partner, and the reasons
""")
GROUP_COLUMNS = parse_column_lines("""
    GroupID   | int64 | | meta.id.assoc | Number of the group of near objects; null: the object is alone
    GroupSize | int32 | | meta.number   | Number of near objects; null: the object is alone
""")
CANDIDATE_COLUMNS = parse_column_lines("""
    catalogue      | string  |        | meta.id;meta.table  | Name of the catalogue
    candidate_id   | string  |        | meta.id.cross       | Id of the candidate in the catalogue
    separation     | float64 | arcsec | pos.angDistance     | Distance at the epoch of the candidate
    score          | float64 |        | stat.value          | Score; the smaller, the better
    dmag           | float64 | mag    | phot.mag;arith.diff | Difference in magnitude
    candidate_rank | int32   |        | meta.number         | Number by score, from 1; null: not considered
    is_partner     | boolean |        | meta.code           | Whether it is the partner
    reason         | string  |        | meta.note           | Why it is, or is not
""")
SIGMA_COLUMN = Column(
    name="dmag_sigma",
    type=FLOAT64,
    ucd="stat.value;phot.mag",
    description="Difference in magnitude, divided by its error; 0: the object has no magnitude",
)


def list_object_columns(
    reference: CatalogueReader, readers: Mapping[str, CatalogueReader], *, has_groups: bool, with_dmag: Iterable[str]
) -> list[Column]:
    """List the columns of a table with a row for each object.

    Parameters
    ----------
    reference
        The reference.
    readers
        The catalogues, by their names.
    has_groups
        Whether the table has groups.
    with_dmag
        Names of catalogues with a difference of magnitudes.

    Raises
    ------
    SourceError
        Two columns have the same name.
    """
    columns = [reference.id, *reference.shown_columns]
    for name, reader in readers.items():
        columns.append(replace(reader.id, name=f"XM_{name.upper()}_id", ucd="meta.id.cross", description=None))
        for column in PARTNER_COLUMNS:
            if column.name == "dmag" and name not in set(with_dmag):
                continue
            columns.append(replace(column, name=f"XM_{name.upper()}_{column.name}"))
        columns += reader.shown_columns
    columns += [*FLAG_COLUMNS, *(GROUP_COLUMNS if has_groups else ())]
    names = set[str]()
    for column in columns:
        if column.name.lower() in names:
            raise SourceError(
                f"two columns of the match are called {column.name}",
                remedy="remove one of the two from `columns`; to get its values, join the tables on the id",
            )
        names.add(column.name.lower())
    return [replace(column, required=False, indexed=False, unique=False, origins=()) for column in columns]


def list_candidate_columns(reference: CatalogueReader, *, has_sigma: bool = False) -> list[Column]:
    """List the columns of a table with a row for each candidate.

    Parameters
    ----------
    reference
        The reference.
    has_sigma
        Whether a catalogue has a limit in units of errors.
    """
    own_columns = [
        replace(reference.id, indexed=True, unique=False),
        replace(reference.longitude, ucd="pos.eq.ra;meta.main"),
        replace(reference.latitude, ucd="pos.eq.dec;meta.main"),
    ]
    sigma_columns = (SIGMA_COLUMN,) if has_sigma else ()
    return [*(replace(column, origins=()) for column in own_columns), *CANDIDATE_COLUMNS, *sigma_columns]


def build_partner_arrays(
    name: str, reader: CatalogueReader, pairs: FoundPairs, verdicts: MatchVerdicts, values: Mapping[str, Floats]
) -> dict[str, pa.Array]:
    """Build the columns of one catalogue for the objects of the reference.

    Parameters
    ----------
    name
        Name of the catalogue.
    reader
        The catalogue.
    pairs, verdicts
        Its candidates, and what was decided.
    values
        Score and difference of magnitudes of the pairs.

    Returns
    -------
    arrays
        Arrays by the name of the column.
    """
    shown = pa.array(np.maximum(verdicts.shown_pairs, 0), mask=verdicts.shown_pairs < 0)
    partners = pa.array(np.maximum(verdicts.shown_pairs, 0), mask=~verdicts.has_partner)
    prefix = f"XM_{name.upper()}_"
    arrays = {
        f"{prefix}id": pairs.ids.take(partners),
        f"{prefix}n_mates": pa.array(verdicts.mate_counts.astype(np.int32)),
        f"{prefix}sep": pa.array(pairs.separations).take(shown),
        f"{prefix}sep_2nd": _to_nullable(verdicts.second_separations),
        f"{prefix}score": _to_nullable(values["score"]).take(shown),
        f"{prefix}flag": pa.array(verdicts.flags.astype(np.int32)),
    }
    if "dmag" in values:
        arrays[f"{prefix}dmag"] = _to_nullable(values["dmag"]).take(shown)
    for column in reader.shown_columns:
        arrays[column.name] = pairs.rows.column(column.name).combine_chunks().take(partners)
    return arrays


def build_flag_reason_texts(flags_by_catalogue: Mapping[str, npt.NDArray[np.int64]]) -> pa.Array:
    """Write the reasons of all flags of each object.

    Parameters
    ----------
    flags_by_catalogue
        Flags of the objects in each catalogue.

    Returns
    -------
    texts
        Null where no catalogue has a flag.
    """
    combinations, codes = _find_flag_combinations(list(flags_by_catalogue.values()))
    texts = []
    for flags in combinations:
        named_flags = zip(flags_by_catalogue, flags, strict=True)
        reasons = [f"{name.upper()}: {FLAG_LABELS[flag]}" for name, flag in named_flags if flag]
        texts.append("; ".join(reasons) or None)
    return pa.array(texts, pa.string()).take(pa.array(codes))


def _find_flag_combinations(
    flag_arrays: Sequence[npt.NDArray[np.int64]],
) -> tuple[list[tuple[int, ...]], npt.NDArray[np.int64]]:
    """Find the different combinations of flags, and the number of the combination of each object, without sorting."""
    flag_range = sum(FLAG_MEANINGS) + 1
    combinations: list[tuple[int, ...]] = [()]
    codes = np.zeros(len(flag_arrays[0]), np.int64)
    for flags in flag_arrays:
        keys = codes * flag_range + flags
        is_present = np.bincount(keys) > 0
        found_keys = np.flatnonzero(is_present).tolist()
        combinations = [(*combinations[key // flag_range], key % flag_range) for key in found_keys]
        codes = (np.cumsum(is_present) - 1)[keys]
    return combinations, codes


def build_candidate_arrays(
    name: str, own_columns: Sequence[pa.Array], pairs: FoundPairs, verdicts: MatchVerdicts, values: Mapping[str, Floats]
) -> list[pa.Array]:
    """Build the rows of the candidates of one catalogue.

    Parameters
    ----------
    name
        Name of the catalogue.
    own_columns
        Id and position of the objects in the reference.
    pairs, verdicts
        Its candidates, and what was decided.
    values
        Score and difference of magnitudes of the pairs.

    Returns
    -------
    arrays
        Arrays in the order of `list_candidate_columns` with `SIGMA_COLUMN`, by object, rank and id.
    """
    last_rank = np.iinfo(np.int64).max
    ranks = np.where(verdicts.ranks == 0, last_rank, verdicts.ranks)
    order = np.lexsort((pairs.ranks, pairs.separations, ranks, pairs.reference_rows))
    places = pa.array(order)
    unknown = np.full(len(order), np.nan)
    dmag, sigmas = values.get("dmag", unknown), values.get("dmag_sigma", unknown)
    return [
        *(column.take(pa.array(pairs.reference_rows[order])) for column in own_columns),
        pa.array([name]).take(pa.array(np.zeros(len(order), np.int64))),
        pairs.ids.take(places).cast(pa.string()),
        pa.array(pairs.separations[order]),
        _to_nullable(values["score"][order]),
        _to_nullable(dmag[order]),
        pa.array(verdicts.ranks[order].astype(np.int32), mask=verdicts.ranks[order] == 0),
        pa.array(verdicts.verdicts[order] == PARTNER),
        pa.array(VERDICT_TEXTS).take(pa.array(verdicts.verdicts[order])),
        _to_nullable(sigmas[order]),
    ]


def _to_nullable(values: Floats) -> pa.Array:
    return pa.array(values, mask=np.isnan(values))
