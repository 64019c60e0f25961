"""The options of the source ``match``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hven.adql import parse_condition, parse_expression, quote_adql_name
from hven.model.errors import HvenError

MAX_RADIUS_ARCSEC = 3600.0
REFERENCE_NAME = "reference"
_NAME_PATTERN = re.compile(r"[A-Za-z0-9_]+")


class CatalogueOptions(BaseModel):
    """A table of stars: its columns for positions, motions and epochs."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    table: str = Field(
        pattern=r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)?$",
        description="A table of this site, as `schema.table`.",
        examples=["gaia.dr3"],
    )
    where: str | None = Field(
        None, description="A condition that selects rows of the table.", examples=["phot_g_mean_mag < 16"]
    )
    id: str | None = Field(
        None,
        description="The column that identifies a row. Default: the column with the UCD `meta.id;meta.main`.",
        examples=["source_id"],
    )
    ra: str | None = Field(
        None, description="Right ascension. Default: by its UCD, `pos.eq.ra;meta.main`.", examples=["ra"]
    )
    dec: str | None = Field(
        None, description="Declination. Default: by its UCD, `pos.eq.dec;meta.main`.", examples=["dec"]
    )
    pmra: str | bool | None = Field(
        None,
        description=(
            "Proper motion in right ascension, multiplied by cos(dec). Default: by its UCD, `pos.pm;pos.eq.ra`. "
            "`false`: the stars don't move."
        ),
        examples=["pmra"],
    )
    pmdec: str | bool | None = Field(
        None, description="Proper motion in declination. Default: by its UCD, `pos.pm;pos.eq.dec`.", examples=["pmdec"]
    )
    epoch: float | str = Field(
        2000.0,
        description=(
            "Epoch of the positions: a Julian year, or a column with years, Julian dates (unit `d`) or times. "
            "Default: 2000."
        ),
        examples=[2016.0],
    )
    columns: list[str] = Field(
        default_factory=list, description="Columns that Hven adds to the result.", examples=[["Vmag", "SpType"]]
    )

    @field_validator("epoch")
    @classmethod
    def _check_epoch(cls, value: float | str) -> float | str:
        if isinstance(value, float | int) and not 1000 <= value <= 3000:
            raise ValueError("an epoch is a Julian year from 1000 to 3000, such as 2016.0, or the name of a column")
        return value


class SigmaOptions(BaseModel):
    """A limit for the difference of two magnitudes, in units of their errors, as SearchCal has it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    magnitudes: tuple[str, str] = Field(
        description="The magnitude of the reference, and the magnitude of the catalogue.",
        examples=[["reference.vmag", "gaia.vmag"]],
    )
    errors: list[str] = Field(
        default_factory=list,
        max_length=2,
        description="Their errors. Hven uses the larger one. Default: all pairs have the error `smallest`.",
        examples=[["reference.e_vmag", "gaia.e_vmag"]],
    )
    limit: float = Field(5.0, gt=0, le=1000, description="Largest difference, in units of the error.", examples=[5.0])
    smallest: float = Field(0.1, gt=0, description="Smallest error, also for unknown errors.", examples=[0.1])
    largest: float = Field(0.5, gt=0, description="Largest error.", examples=[0.5])

    @model_validator(mode="after")
    def _check_values(self) -> Self:
        if self.smallest > self.largest:
            raise ValueError(f"`smallest` is {self.smallest:g}, which is more than `largest` ({self.largest:g})")
        for text in (*self.magnitudes, *self.errors):
            try:
                parse_expression(text)
            except HvenError as error:
                raise ValueError(f"{text!r}: {error.message}") from None
        return self


class PartnerOptions(CatalogueOptions):
    """A catalogue in which partners are searched."""

    radius: float = Field(
        gt=0, le=MAX_RADIUS_ARCSEC, description="Largest distance of a partner, in arcseconds.", examples=[1.5]
    )
    mates: float = Field(
        3.0,
        gt=0,
        le=MAX_RADIUS_ARCSEC,
        description=(
            "`XM_.._n_mates` counts the candidates within this distance, in arcseconds. Default: 3. The log contains "
            "the candidates within the radius plus this distance."
        ),
        examples=[3.0],
    )
    condition: str | None = Field(
        None,
        alias="and",
        description=(
            "A further condition for partners. It can use `separation` (arcseconds), the columns of the reference "
            "(`reference.Vmag`), and the columns of the catalogue, after the catalogue's name (`gaia.vmag`)."
        ),
        examples=["ABS(reference.Vmag - gaia.vmag) <= 5 * reference.e_Vmag"],
    )
    within_sigma: SigmaOptions | None = Field(
        None,
        description="A limit for the difference of two magnitudes, in units of their errors.",
        examples=[{"magnitudes": ["reference.vmag", "gaia.vmag"], "errors": ["reference.e_vmag"], "limit": 5}],
    )
    score: str = Field(
        "separation",
        description="An expression, with the same names as `and`. The candidate with the smallest score is the best.",
        examples=["SQRT(POWER(separation / 1.5, 2) + POWER((reference.Vmag - gaia.vmag) / 0.5, 2))"],
    )
    dmag: str | None = Field(
        None,
        description=(
            "An expression for the column `XM_.._dmag`. Default: the difference of the magnitudes in `within_sigma`."
        ),
        examples=["reference.Vmag - gaia.vmag"],
    )
    best: Literal["mutual", "unique", "first", "all"] = Field(
        "mutual",
        description=(
            "`mutual`: the best candidate is the partner if the object is also the best one for this candidate. "
            "`unique`: if several objects have the same best candidate, the best of these objects gets it (`find=best` "
            "of STILTS). `first`: the best candidate is the partner. `all`: all candidates are partners."
        ),
        examples=["first"],
    )
    ambiguous: float = Field(
        0.5,
        ge=0,
        description="If the second-best score differs by less than this, the match is flagged as ambiguous.",
        examples=[0.5],
    )
    main: bool = Field(
        True, description="Whether the flags of this catalogue count in `XMATCH_MAIN_FLAG`.", examples=[False]
    )

    @property
    def has_dmag(self) -> bool:
        """Whether pairs have a difference of magnitudes."""
        return self.dmag is not None or self.within_sigma is not None

    @model_validator(mode="after")
    def _check_expressions(self) -> Self:
        for name, text in (("score", self.score), ("dmag", self.dmag), ("and", self.condition)):
            if text is None:
                continue
            try:
                if name == "and":
                    parse_condition(text)
                else:
                    parse_expression(text)
            except HvenError as error:
                raise ValueError(f"`{name}`: {error.message}") from None
        return self


class GroupOptions(BaseModel):
    """Groups of near objects in the reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    radius: float = Field(
        gt=0,
        le=MAX_RADIUS_ARCSEC,
        description="Each object of a group is within this distance of another one, in arcseconds.",
        examples=[3.0],
    )
    epoch: float | None = Field(
        None, ge=1000, le=3000, description="Epoch of the groups. Default: the reference's epoch.", examples=[1991.25]
    )
    with_mates: bool = Field(
        False,
        description="`true`: `GroupSize` is at least the number of mates in each catalogue, as in SearchCal.",
        examples=[True],
    )


class Options(BaseModel):
    """What a descriptor may state about a match."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    reference: CatalogueOptions = Field(
        description="The table with the objects to match.", examples=[{"table": "stars.main", "epoch": 1991.25}]
    )
    catalogues: dict[str, PartnerOptions] = Field(
        min_length=1,
        description="The catalogues in which Hven searches for partners. Choose a name for each catalogue.",
        examples=[{"gaia": {"table": "gaia.dr3", "epoch": 2016.0, "radius": 1.5}}],
    )
    rows: Literal["objects", "pairs", "candidates"] = Field(
        "objects",
        description=(
            "`objects`: a row for each object of the reference. `pairs`: a row for each pair of an object and its "
            "partner. `candidates`: a row for each candidate, with the verdict and its reason (the match log)."
        ),
        examples=["candidates"],
    )
    epoch: float | None = Field(
        None,
        ge=1000,
        le=3000,
        description=(
            "Hven moves all positions to this epoch. Default: Hven moves the objects of the reference to the epoch of "
            "each catalogue or row."
        ),
        examples=[1991.25],
    )
    motion: Literal["rigorous", "linear"] = Field(
        "rigorous",
        description=(
            "`rigorous` moves stars along great circles. `linear` adds the proper motion to the coordinates, as JMMC "
            "does."
        ),
        examples=["linear"],
    )
    missing_motion: Literal["zero", "unmatched"] = Field(
        "zero",
        description=(
            "What happens to stars without proper motion. `zero`: Hven assumes that they don't move. `unmatched`: they "
            "get no partners."
        ),
        examples=["unmatched"],
    )
    groups: GroupOptions | None = Field(
        None,
        description="Hven adds the columns `GroupID` and `GroupSize`, which describe objects that are near each other.",
        examples=[{"radius": 3.0}],
    )

    @field_validator("catalogues")
    @classmethod
    def _check_names(cls, value: dict[str, PartnerOptions]) -> dict[str, PartnerOptions]:
        check_catalogue_names(value)
        return value


def check_catalogue_names(names: Iterable[str]) -> None:
    """Check the names that a descriptor gives to catalogues.

    Parameters
    ----------
    names
        The names.

    Raises
    ------
    ValueError
        A name has other characters, means the reference, or is there twice.
    """
    lower_names = set[str]()
    for name in names:
        if not _NAME_PATTERN.fullmatch(name) or name.lower() == REFERENCE_NAME:
            raise ValueError(
                f"a catalogue can't be called {name!r}: use letters, digits and underscores, but not {REFERENCE_NAME!r}"
            )
        if name.lower() in lower_names:
            raise ValueError(f"two catalogues are called {name!r}")
        lower_names.add(name.lower())


def quote_dotted_table_name(table: str) -> str:
    """Write the name of a table as ADQL.

    Parameters
    ----------
    table
        ``schema.table``.
    """
    return ".".join(quote_adql_name(part) for part in table.split("."))


def list_match_queries(options: Any) -> list[str]:
    """List a query for each table that a match reads.

    Parameters
    ----------
    options
        Options of a descriptor, which may have faults.
    """
    members = [options.get("reference")]
    catalogues = options.get("catalogues")
    if isinstance(catalogues, dict):
        members += catalogues.values()
    return list_table_queries(members)


def list_table_queries(members: Iterable[Any]) -> list[str]:
    """List a query for each table that members of options name.

    Parameters
    ----------
    members
        Values of a descriptor, which may have faults.
    """
    tables = [str(member["table"]) for member in members if isinstance(member, dict) and "table" in member]
    return [f"SELECT * FROM {quote_dotted_table_name(table)}" for table in tables]
