"""The options of the source ``identify``."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from hven.plugins.matching.match_options import (
    MAX_RADIUS_ARCSEC,
    CatalogueOptions,
    check_catalogue_names,
    list_table_queries,
)


class TargetOptions(CatalogueOptions):
    """The table of targets. They don't move: their epochs are the times of the observations."""

    name: str | None = Field(
        None,
        description="The column with the name of the target. Default: the column with the UCD `meta.id;src`.",
        examples=["target_name"],
    )


class ObjectOptions(CatalogueOptions):
    """A catalogue of objects."""

    names: list[str] = Field(
        default_factory=list,
        description=(
            "Columns with names of the objects. A text can contain several names, separated by `|`, `#` or `;`. The "
            "first column contains the main names. Default: text columns with the UCD `meta.id`."
        ),
        examples=[["main_id", "ids"]],
    )


class OverrideOptions(BaseModel):
    """A table in which people decide what a target is."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    table: str = Field(
        pattern=CatalogueOptions.model_fields["table"].metadata[0].pattern,
        description="A table of this site, as `schema.table`. Hven uses the nearest row with the target's name.",
        examples=["obs.decisions"],
    )
    name: str = Field("target_name", description="Column with the name of the target, as it is written there.")
    ra: str = Field("target_ra", description="Column with the right ascension of the target, in degrees. Null: any.")
    dec: str = Field("target_dec", description="Column with the declination of the target, in degrees. Null: any.")
    catalogue: str = Field("ident_catalogue", description="Column with the name of the catalogue of the object.")
    id: str = Field(
        "ident_id", description="Column with the id of the object. Null: the target is none of the objects."
    )
    author: str = Field("author", description="Column with the person who decided.")
    reason: str = Field("reason", description="Column with the reason.")


class Options(BaseModel):
    """What a descriptor may state about an identification."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    targets: TargetOptions = Field(
        description="The table whose rows are identified.",
        examples=[{"table": "obs.exposures", "epoch": "mjd"}],
    )
    among: dict[str, ObjectOptions] = Field(
        min_length=1,
        description=(
            "The catalogues with the objects. Choose a name for each catalogue. If several objects fit equally well, "
            "Hven chooses the one in the first catalogue."
        ),
        examples=[{"simbad": {"table": "simbad.basic"}}],
    )
    radius: float = Field(
        36.0,
        gt=0,
        le=MAX_RADIUS_ARCSEC,
        description="Largest distance between a target and an object with the same name, in arcseconds. Default: 36.",
        examples=[60.0],
    )
    near: float = Field(
        3.0,
        gt=0,
        le=MAX_RADIUS_ARCSEC,
        description=(
            "Objects within this distance of a target, in arcseconds, count as being at its position. Default: 3."
        ),
        examples=[1.5],
    )
    overrides: OverrideOptions | None = Field(
        None,
        description="A table with people's decisions, which take precedence over all rules.",
        examples=[{"table": "obs.decisions"}],
    )
    calibrate: bool = Field(
        False,
        description=(
            "`true`: to estimate how many matches occur by chance, Hven also moves all targets by 5 arcmin, identifies "
            "them again, and reports how many targets get each level of confidence."
        ),
        examples=[True],
    )
    rows: Literal["targets", "candidates"] = Field(
        "targets",
        description=(
            "`targets`: a row for each target. `candidates`: a row for each pair of a target and a candidate."
        ),
        examples=["candidates"],
    )

    @field_validator("among")
    @classmethod
    def _check_names(cls, value: dict[str, ObjectOptions]) -> dict[str, ObjectOptions]:
        check_catalogue_names(value)
        return value

    @model_validator(mode="after")
    def _check_radii(self) -> Self:
        if self.near > self.radius:
            raise ValueError(f"`near` is {self.near:g}, but `radius` is only {self.radius:g}")
        return self


def list_identify_queries(options: Any) -> list[str]:
    """List a query for each table that an identification reads.

    Parameters
    ----------
    options
        Options of a descriptor, which may have faults.
    """
    members = [options.get("targets"), options.get("overrides")]
    among = options.get("among")
    if isinstance(among, dict):
        members += among.values()
    return list_table_queries(members)
