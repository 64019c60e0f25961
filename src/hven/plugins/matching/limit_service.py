"""The service ``match_limits``: which partners of a region would change with other limits, without a new match."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hven.adql import quote_adql_name
from hven.adql.adql_writer import write_adql_literal
from hven.model.params import Param
from hven.model.types import FLOAT64
from hven.plugins.matching.candidate_service import MISSING_REQUIREMENT, has_candidates, write_candidate_table
from hven.services.face import ServiceFace, ServiceQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Table

MAX_REGION_DEGREES = 10.0


def _has_positions(table: Table) -> bool:
    return has_candidates(table) and table.position is not None


def _build_query(table: Table, parameters: Mapping[str, Any]) -> ServiceQuery:
    """Choose mutual partners again among the candidates of a region, and select the pairs whose verdict changes."""
    assert table.position is not None  # noqa: S101  (the service applies only to such tables)
    id_name = quote_adql_name(table.primary[0])
    longitude, latitude = (quote_adql_name(name) for name in table.position)
    condition = f"score IS NOT NULL AND separation <= {parameters['RADIUS']!r}"
    if parameters["DMAG"] is not None:
        condition += f" AND ABS(dmag) <= {parameters['DMAG']!r}"
    center = f"POINT({parameters['RA']!r}, {parameters['DEC']!r})"
    catalogue = write_adql_literal(parameters["CATALOGUE"])
    region = f"catalogue = {catalogue} AND DISTANCE(POINT({longitude}, {latitude}), {center}) <= {parameters['SR']!r}"
    shown = f"{id_name}, {longitude}, {latitude}, catalogue, candidate_id, separation, score, dmag, is_partner"
    fulfilled = f"CASE WHEN {condition} THEN 0 ELSE 1 END"
    return ServiceQuery(
        query=f"SELECT {shown}, CASE WHEN is_first = 1 THEN 'gains' ELSE 'loses' END AS partner_change FROM ("
        f"SELECT {shown}, "
        "CASE WHEN fulfilled = 0 AND object_rank = 1 AND partner_rank = 1 THEN 1 ELSE 0 END AS is_first "
        f"FROM (SELECT {shown}, {fulfilled} AS fulfilled, "
        f"ROW_NUMBER() OVER (PARTITION BY catalogue, {id_name} ORDER BY {fulfilled}, score, candidate_id) "
        "AS object_rank, "
        f"ROW_NUMBER() OVER (PARTITION BY catalogue, candidate_id ORDER BY {fulfilled}, score, {id_name}) "
        f"AS partner_rank FROM {write_candidate_table(table)} WHERE {region}) AS ranked) AS judged "
        "WHERE is_first <> CASE WHEN is_partner = 'true' THEN 1 ELSE 0 END "
        f"ORDER BY catalogue, {id_name}, candidate_id"
    )


FACE = ServiceFace(
    name="match_limits",
    title="Other limits of a match",
    description=(
        "The pairs of a region that would become partners, or would no longer be partners, with another radius or "
        "another limit for the difference in magnitude. Partners are chosen as with best: mutual."
    ),
    params=(
        Param(name="CATALOGUE", required=True, description="name of a catalogue of the match"),
        Param(
            name="RA",
            type=FLOAT64,
            unit="deg",
            minimum=0,
            maximum=360,
            period=360,
            required=True,
            description="right ascension of the region",
        ),
        Param(
            name="DEC",
            type=FLOAT64,
            unit="deg",
            minimum=-90,
            maximum=90,
            required=True,
            description="declination of the region",
        ),
        Param(
            name="SR",
            type=FLOAT64,
            unit="deg",
            minimum=0,
            maximum=MAX_REGION_DEGREES,
            required=True,
            description="radius of the region",
        ),
        Param(
            name="RADIUS",
            type=FLOAT64,
            unit="arcsec",
            minimum=0,
            required=True,
            description="largest distance of a partner",
        ),
        Param(
            name="DMAG",
            type=FLOAT64,
            unit="mag",
            minimum=0,
            description="largest difference in magnitude; default: no limit",
        ),
    ),
    applies=_has_positions,
    missing_requirement=f"{MISSING_REQUIREMENT} with positions",
    build_query=_build_query,
    path="/match-limits/{table}",
    example="CATALOGUE=gaia&RA=100&DEC=10&SR=1&RADIUS=1",
)
