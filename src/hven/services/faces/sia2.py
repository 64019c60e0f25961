"""SIA 2.0: images and cubes of ivoa.obscore, by position, wavelength, time and other columns of ObsCore, as ADQL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.adql_writer import write_adql_literal
from hven.model.params import Param
from hven.model.types import INT32, ColumnType
from hven.services.errors import LABELLED_VOTABLE_ERRORS
from hven.services.face import ServiceFace, ServiceQuery, UsageExample
from hven.services.observation_conditions import (
    OBSCORE_TABLE,
    create_observation_service_test,
    write_interval_condition,
    write_region_condition,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Table
    from hven.site import PublishedTable

INTERVAL_TYPE = ColumnType("double", "2", "interval")
IMAGE_PRODUCT_TYPES = ("image", "cube")
# parameter -> columns with begin and end of an interval; an unknown value matches nothing (SIA 2.0, section 2.1)
INTERVAL_COLUMNS = {
    "BAND": ("em_min", "em_max"),
    "TIME": ("t_min", "t_max"),
    "FOV": ("s_fov", "s_fov"),
    "SPATRES": ("s_resolution", "s_resolution"),
    "SPECRP": ("em_res_power", "em_res_power"),
    "EXPTIME": ("t_exptime", "t_exptime"),
    "TIMERES": ("t_resolution", "t_resolution"),
}
EQUALITY_COLUMNS = {
    "ID": "obs_publisher_did",
    "COLLECTION": "obs_collection",
    "FACILITY": "facility_name",
    "INSTRUMENT": "instrument_name",
    "DPTYPE": "dataproduct_type",
    "CALIB": "calib_level",
    "TARGET": "target_name",
    "FORMAT": "access_format",
}
SIA2_PARAMS = (
    Param(
        name="POS",
        many=True,
        type=ColumnType("char", "*", "shape"),
        unit="deg",
        ucd="phys.angArea;obs.field",
        description="region: CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., ICRS",
    ),
    Param(
        name="BAND",
        many=True,
        type=INTERVAL_TYPE,
        unit="m",
        ucd="em.wl;stat.interval",
        description="one or two vacuum wavelengths",
    ),
    Param(
        name="TIME",
        many=True,
        type=INTERVAL_TYPE,
        unit="d",
        ucd="time.interval",
        description="times: one or two modified Julian dates (UTC)",
    ),
    Param(
        name="POL",
        many=True,
        ucd="phys.polarization",
        allowed=("I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA"),
        description="states of polarisation",
    ),
    Param(
        name="FOV",
        many=True,
        type=INTERVAL_TYPE,
        unit="deg",
        ucd="phys.angSize;instr.fov",
        description="diameters of the covered area",
    ),
    Param(
        name="SPATRES",
        many=True,
        type=INTERVAL_TYPE,
        unit="arcsec",
        ucd="pos.angResolution",
        description="angular resolutions",
    ),
    Param(name="SPECRP", many=True, type=INTERVAL_TYPE, ucd="spect.resolution", description="resolving powers"),
    Param(
        name="EXPTIME",
        many=True,
        type=INTERVAL_TYPE,
        unit="s",
        ucd="time.duration;obs.exposure",
        description="exposure times",
    ),
    Param(
        name="TIMERES",
        many=True,
        type=INTERVAL_TYPE,
        unit="s",
        ucd="time.resolution",
        description="time resolutions",
    ),
    Param(name="ID", many=True, ucd="meta.ref.uri;meta.curation", description="identifiers of datasets: ivo://.."),
    Param(name="COLLECTION", many=True, ucd="meta.id", description="names of collections"),
    Param(name="FACILITY", many=True, ucd="meta.id;instr.tel", description="observatories, telescopes or spacecraft"),
    Param(name="INSTRUMENT", many=True, ucd="meta.id;instr", description="instruments"),
    Param(
        name="DPTYPE",
        many=True,
        ucd="meta.code.class",
        allowed=IMAGE_PRODUCT_TYPES,
        description="image or cube (default: both)",
    ),
    Param(
        name="CALIB",
        many=True,
        type=INT32,
        ucd="meta.code;obs.calib",
        minimum=0,
        maximum=4,
        description="levels of calibration, 0 (raw) to 4 (analysed)",
    ),
    Param(name="TARGET", many=True, ucd="meta.id;src", description="names of the observed objects"),
    Param(name="FORMAT", many=True, ucd="meta.code.mime", description="media types of the files"),
)


def _write_sia2_conditions(param_values: Mapping[str, Any]) -> Iterator[str]:
    """Write the condition of each parameter; several values of one are alternatives."""

    def write_alternatives(name: str, write_condition: Callable[[Any], str]) -> Iterator[str]:
        conditions = dict.fromkeys(map(write_condition, param_values[name] or ()))
        if conditions:
            yield f"({' OR '.join(conditions)})"

    yield from write_alternatives("POS", write_region_condition)
    for name, columns in INTERVAL_COLUMNS.items():
        yield from write_alternatives(name, partial(write_interval_condition, *columns))
    yield from write_alternatives("POL", lambda state: f"pol_states LIKE '%/{state}/%'")
    for name, column in EQUALITY_COLUMNS.items():
        values = param_values[name]
        if not values and name == "DPTYPE":
            values = IMAGE_PRODUCT_TYPES
        if values:
            literals = map(write_adql_literal, dict.fromkeys(values))
            yield f"{column} IN ({', '.join(literals)})"


def _build_sia2_query(table: Table, values: Mapping[str, Any]) -> ServiceQuery:
    return ServiceQuery(
        query=f"SELECT * FROM {OBSCORE_TABLE} WHERE {' AND '.join(_write_sia2_conditions(values))}",
        only_table=table.qualified_name,
    )


def _list_usage_examples(published: PublishedTable, base_url: str) -> Sequence[UsageExample]:
    """List examples of how images of a position are requested."""
    url = FACE.build_url(published.table, base_url)
    python = (
        f"import pyvo\nfrom astropy.coordinates import SkyCoord\n\nimages = "
        f'pyvo.dal.SIA2Service("{url}")\nprint(images.search(pos=(SkyCoord("83.63 22.01", unit="deg"), '
        f"0.1)).to_table())"
    )
    return [UsageExample(title="Images in Python", url=url, language="python", example=python)]


FACE = ServiceFace(
    name="sia2",
    title="Images (SIA 2)",
    is_selectable=True,
    description="Images and cubes of all collections, by position, wavelength, time and other metadata.",
    standard_ids=("ivo://ivoa.net/std/SIA#query-2.0",),
    params=SIA2_PARAMS,
    applies=create_observation_service_test("sia2"),
    missing_requirement="observations (ivoa.obscore, or a table with `obscore` and sia2 in `services`)",
    build_query=_build_sia2_query,
    path="/sia2/{table}",
    error_responder=LABELLED_VOTABLE_ERRORS,
    example="POS=CIRCLE 83.63 22.01 1&RESPONSEFORMAT=csv",
    test_query=("POS=CIRCLE {lon} {lat} {size}", ""),
    list_usage_examples=_list_usage_examples,
    describes_itself=True,
)
