"""SIA 2.0: images and cubes of ivoa.obscore, by position, wavelength, time and whatever else ObsCore says of them; builds ADQL."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from hven.adql.text import literal
from hven.model.params import Param
from hven.model.types import INT32, Type
from hven.services.errors import LABELLED
from hven.services.face import Asked, Face, Way
from hven.services.observed import OBSERVED, between, inside, observed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hven.model.table import Table
    from hven.site import Published

INTERVAL = Type("double", "2", "interval")
IMAGES = ("image", "cube")
# parameter -> the columns where an interval begins and ends; a value that is not known matches nothing (SIA 2.0 section 2.1)
BETWEEN = {
    "BAND": ("em_min", "em_max"),
    "TIME": ("t_min", "t_max"),
    "FOV": ("s_fov", "s_fov"),
    "SPATRES": ("s_resolution", "s_resolution"),
    "SPECRP": ("em_res_power", "em_res_power"),
    "EXPTIME": ("t_exptime", "t_exptime"),
    "TIMERES": ("t_resolution", "t_resolution"),
}
EQUAL = {
    "ID": "obs_publisher_did",
    "COLLECTION": "obs_collection",
    "FACILITY": "facility_name",
    "INSTRUMENT": "instrument_name",
    "DPTYPE": "dataproduct_type",
    "CALIB": "calib_level",
    "TARGET": "target_name",
    "FORMAT": "access_format",
}
PARAMS = (
    Param(name="POS", many=True, type=Type("char", "*", "shape"), unit="deg", ucd="phys.angArea;obs.field", description="where: CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., ICRS"),
    Param(name="BAND", many=True, type=INTERVAL, unit="m", ucd="em.wl;stat.interval", description="wavelengths: two, or one, in vacuum"),
    Param(name="TIME", many=True, type=INTERVAL, unit="d", ucd="time.interval", description="times: two modified Julian dates (UTC), or one"),
    Param(name="POL", many=True, ucd="phys.polarization", allowed=("I", "Q", "U", "V", "RR", "LL", "RL", "LR", "XX", "YY", "XY", "YX", "POLI", "POLA"), description="states of polarisation"),
    Param(name="FOV", many=True, type=INTERVAL, unit="deg", ucd="phys.angSize;instr.fov", description="diameters of what is covered"),
    Param(name="SPATRES", many=True, type=INTERVAL, unit="arcsec", ucd="pos.angResolution", description="angular resolutions"),
    Param(name="SPECRP", many=True, type=INTERVAL, ucd="spect.resolution", description="resolving powers"),
    Param(name="EXPTIME", many=True, type=INTERVAL, unit="s", ucd="time.duration;obs.exposure", description="exposure times"),
    Param(name="TIMERES", many=True, type=INTERVAL, unit="s", ucd="time.resolution", description="resolutions in time"),
    Param(name="ID", many=True, ucd="meta.ref.uri;meta.curation", description="identifiers of datasets: ivo://.."),
    Param(name="COLLECTION", many=True, ucd="meta.id", description="names of collections"),
    Param(name="FACILITY", many=True, ucd="meta.id;instr.tel", description="observatories, telescopes or spacecraft"),
    Param(name="INSTRUMENT", many=True, ucd="meta.id;instr", description="instruments"),
    Param(name="DPTYPE", many=True, ucd="meta.code.class", allowed=IMAGES, description="image or cube; both if nothing is said"),
    Param(name="CALIB", many=True, type=INT32, ucd="meta.code;obs.calib", minimum=0, maximum=4, description="levels of calibration, 0 (raw) to 4 (analysed)"),
    Param(name="TARGET", many=True, ucd="meta.id;src", description="names of what was observed"),
    Param(name="FORMAT", many=True, ucd="meta.code.mime", description="media types of the files"),
)  # fmt: skip


def _conditions(given: Mapping[str, Any]) -> Iterator[str]:
    """Write the condition of each parameter: values of one are alternatives."""

    def one_of(name: str, write: Callable[[Any], str]) -> Iterator[str]:
        if given[name]:
            yield f"({' OR '.join(dict.fromkeys(map(write, given[name])))})"

    yield from one_of("POS", inside)
    for name, columns in BETWEEN.items():
        yield from one_of(name, partial(between, *columns))
    yield from one_of("POL", lambda state: f"pol_states LIKE '%/{state}/%'")
    for name, column in EQUAL.items():
        values = given[name] or (IMAGES if name == "DPTYPE" else ())
        if values:
            yield f"{column} IN ({', '.join(map(literal, dict.fromkeys(values)))})"


def _ask(table: Table, given: Mapping[str, Any]) -> Asked:
    return Asked(query=f"SELECT * FROM {OBSERVED} WHERE {' AND '.join(_conditions(given))}", alone=table.qualified)


def _ways(published: Published, base: str) -> Sequence[Way]:
    """Show how images of a place are asked for."""
    url = FACE.url(published.table, base)
    python = f'import pyvo\nfrom astropy.coordinates import SkyCoord\n\nimages = pyvo.dal.SIA2Service("{url}")\nprint(images.search(pos=(SkyCoord("83.63 22.01", unit="deg"), 0.1)).to_table())'
    return [Way(title="Images in Python", url=url, language="python", example=python)]


FACE = Face(
    name="sia2",
    title="Images (SIA 2)",
    description="Images and cubes of all collections, by position, wavelength, time and what else is known of them.",
    standard_ids=("ivo://ivoa.net/std/SIA#query-2.0",),
    params=PARAMS,
    applies=observed("sia2"),
    lacking="observations (ivoa.obscore has, and tables with `obscore` whose `services` name sia2)",
    ask=_ask,
    path="/sia2/{table}",
    faults=LABELLED,
    example="POS=CIRCLE 83.63 22.01 1&RESPONSEFORMAT=csv",
    trial=("POS=CIRCLE {lon} {lat} {size}", ""),
    ways=_ways,
    itself=True,
)
