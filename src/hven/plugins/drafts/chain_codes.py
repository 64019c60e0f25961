"""Chain codes in a source, by the names of HFC's columns.

The region that ``hven new`` proposes for them, or what is missing for one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.adql.functions import MAPPING_FUNCTIONS
from hven.descriptor.api.hfc_columns import HFC_COLUMN_NAMES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.plugins.drafts.source_facts import SourceColumn
    from hven.plugins.drafts.standard_proposals import MappingProposer

CHAIN_CODE_PATTERN = r"^\s*[0-7]{2,}\s*$"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainCode:
    """A chain code that was recognised.

    Attributes
    ----------
    image_expression, contour_template
        Expressions: the disc that its pixels belong to, and the contour in an image ``{image}``.
    columns
        The columns that they read.
    missing_parts
        What the source does not have for them, for people; empty if it has all.
    """

    image_expression: str
    contour_template: str
    columns: Sequence[SourceColumn]
    missing_parts: str = ""

    @property
    def remedy(self) -> str:
        """Say how to add the parts that are missing."""
        code = self.columns[0].source
        expression = self.contour_template.format(image="disc(..)")
        return (
            f"{code} is a chain code on an image, and the image's {self.missing_parts} are not in this table: "
            "join the table of observations (in HFC: OBSERVATIONS by OBSERVATIONS_ID, or the view VIEW_.._HQI), "
            f"then write {expression} for s_region"
        )


def recognize_chain_code(columns: Sequence[SourceColumn]) -> ChainCode | None:
    """Recognise a chain code and its first pixel, and look for the image.

    Parameters
    ----------
    columns
        Columns, and their first values.

    Returns
    -------
    chain
        None: there is none, or it lies in a dynamic spectrum.
    """
    if MAPPING_FUNCTIONS.find_function("CHAIN_CONTOUR") is None:  # the package that has it is not in use
        return None
    columns_by_name = {fact.source.upper(): fact for fact in columns}
    code, x, y = (_find_hfc_columns(columns_by_name, role) for role in ("chain", "x", "y"))
    if (
        not (code and x and y)
        or not code[0].is_mostly_matching(CHAIN_CODE_PATTERN)
        or not (x[0].is_number and y[0].is_number)
    ):
        return None
    if "CC_X_UTC" in columns_by_name:
        return None
    centre, scale, radius = (_find_hfc_columns(columns_by_name, role) for role in ("centre", "scale", "radius"))
    observer = _find_hfc_columns(columns_by_name, "observer")
    rotation_number = _find_hfc_columns(columns_by_name, "rotation")
    date_columns = [
        fact for fact in _find_hfc_columns(columns_by_name, "date") if (fact.recognize_time() or ("",))[0] == "stamp"
    ]
    missing_parts = [
        words
        for words, available_columns in (
            ("centre", centre),
            ("scale", scale),
            ("radius", radius),
            ("date", date_columns or observer),
        )
        if not available_columns
    ]
    outline = f"chain_contour({code[0].sql}, {x[0].sql}, {y[0].sql}, {{image}})"
    used_columns = (*code, *x, *y)
    if missing_parts:
        return ChainCode(
            image_expression="", contour_template=outline, columns=used_columns, missing_parts=", ".join(missing_parts)
        )
    centre_expressions = [f"{fact.sql} - 1" if fact.source.upper().startswith("CRPIX") else fact.sql for fact in centre]
    steps = [fact.sql for fact in (scale * 2)[:2]]
    if observer:
        observer_expressions = [fact.sql for fact in observer]
    else:
        time = (date_columns[0].recognize_time() or ("", ""))[1]
        observer_expressions = [
            f"sun_l0({', '.join([time, *(fact.sql for fact in rotation_number)])})",
            f"sun_b0({time})",
        ]
    image = f"disc({', '.join([*centre_expressions, *steps, f'{radius[0].sql} * {steps[0]}', *observer_expressions])})"
    return ChainCode(
        image_expression=image,
        contour_template=outline,
        columns=(*used_columns, *centre, *scale, *radius, *observer, *date_columns, *rotation_number),
    )


def propose_contour_region(proposer: MappingProposer) -> None:
    """Propose the region of a chain code for s_region; with it come the bounds, and cells where no polygon says it."""
    chain = recognize_chain_code(proposer.source_columns)
    proposal = proposer.proposal
    if chain is None or "s_region" in proposal.settings:
        return
    if chain.missing_parts:
        proposal.missing_values["s_region"] = chain.remedy
        return
    used_names = {fact.source.lower() for fact in proposer.source_columns}
    image, outline = (
        next(word for word in (name, f"{name}_of_cc") if word not in used_names) for name in ("image", "hole")
    )
    proposal.let_expressions = {image: chain.image_expression, outline: chain.contour_template.format(image=image)}
    proposal.frame = "body"
    proposal.optional_families = ["region"]
    proposal.propose_expression(
        "s_region",
        outline,
        (
            f"guessed from the chain code {chain.columns[0].source}: it also gives c1min .. c2max, coverage and "
            "region_quality"
        ),
    )
    proposal.propose_constant(
        "spatial_coordinate_description", "Carrington", "guessed: longitudes from the date of the image"
    )
    proposal.used_sources.update(fact.source for fact in chain.columns)


def _find_hfc_columns(columns_by_name: Mapping[str, SourceColumn], role: str) -> list[SourceColumn]:
    """Find the columns that HFC's names say."""
    for words in HFC_COLUMN_NAMES[role]:
        names = words.split(",")
        if all(name in columns_by_name for name in names):
            return [columns_by_name[name] for name in names]
    return []
