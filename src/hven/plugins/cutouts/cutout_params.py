"""Define the parameters that select a part of a file.

They are those of SODA (1.0, section 3), and our own for what SODA cannot express. Tables are cut by columns.
"""

from __future__ import annotations

from hven.model.params import Param
from hven.model.types import ColumnType

INTERVAL_TYPE = ColumnType("double", "2", "interval")
MAX_PIXEL_AXES = 4  # axes that can be cut by pixels
SODA_STANDARD_ID = "ivo://ivoa.net/std/SODA#sync-1.0"
# SODA 1.0 section 3.2: parameters are identified by name, UCD and unit
ID_PARAM = Param(
    name="ID",
    many=True,
    required=True,
    ucd="meta.ref.url;meta.curation",
    description="identifiers of rows, as in results",
)
TABLE_PARAM = Param(
    name="TABLE",
    ucd="meta.id;meta.table",
    description="the table of these rows, as schema.table; without it, IDs have the form ivo://authority/schema?value",
)
CUTOUT_PARAMS = (
    Param(
        name="POS",
        many=True,
        ucd="pos.outline;obs",
        description="region: CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., in degrees, "
        "ICRS",
    ),
    Param(
        name="CIRCLE",
        many=True,
        type=ColumnType("double", "3", "circle"),
        unit="deg",
        ucd="pos.outline;obs",
        description="region: longitude, latitude and radius of a circle, ICRS",
    ),
    Param(
        name="POLYGON",
        many=True,
        type=ColumnType("double", "*", "polygon"),
        unit="deg",
        ucd="pos.outline;obs",
        description="region: longitudes and latitudes of the corners of a polygon, ICRS",
    ),
    Param(
        name="BAND",
        many=True,
        type=INTERVAL_TYPE,
        unit="m",
        ucd="em.wl;stat.interval",
        description="one or two wavelengths in vacuum",
    ),
    Param(
        name="TIME",
        many=True,
        type=INTERVAL_TYPE,
        unit="d",
        ucd="time.interval;obs.exposure",
        description="one or two times, as modified Julian dates",
    ),
    Param(
        name="POL",
        many=True,
        ucd="meta.code;phys.polarization",
        description="states of polarisation: I, Q, U, V, RR ..",
    ),
    Param(
        name="LONGITUDE",
        type=INTERVAL_TYPE,
        unit="deg",
        ucd="pos.bodyrc.lon",
        description="longitudes in the frame of the image (of a body, or helioprojective); -1 1 crosses 0",
    ),
    Param(
        name="LATITUDE",
        type=INTERVAL_TYPE,
        unit="deg",
        ucd="pos.bodyrc.lat",
        description="latitudes in the frame of the image",
    ),
    *(
        Param(
            name=f"PIXELS_{number}",
            type=INTERVAL_TYPE,
            unit="pixel",
            ucd="pos.cartesian;instr.pixel",
            description=f"first and last pixel of axis {number}, in FITS numbering",
        )
        for number in range(1, MAX_PIXEL_AXES + 1)
    ),
    Param(
        name="PART",
        ucd="meta.id.part",
        description=(
            "index or name of the part of the file (HDU) to cut. Default: the first part with data, together with "
            "the errors and flags of these data"
        ),
    ),
)
