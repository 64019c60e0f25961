"""How a selection of a file is said: the parameters of SODA (1.0, section 3), and those of ours for what it has no words for; by which a table is cut."""

from __future__ import annotations

from hven.formats.media._tables import bounds, ways
from hven.model.params import Param
from hven.model.types import Type

INTERVAL = Type("double", "2", "interval")
PIXELS = 4  # axes that may be cut by pixels
STANDARD = "ivo://ivoa.net/std/SODA#sync-1.0"
# identified by name, UCD and unit (SODA 1.0 section 3.2)
ID = Param(
    name="ID",
    many=True,
    required=True,
    ucd="meta.ref.url;meta.curation",
    description="identifiers of rows, as results have them",
)
TABLE = Param(
    name="TABLE",
    ucd="meta.id;meta.table",
    description="the table whose rows they are, schema.table; without it IDs are ivo://authority/schema?value",
)
PARAMS = (
    Param(name="POS", many=True, ucd="pos.outline;obs", description="where: CIRCLE lon lat radius, RANGE lon1 lon2 lat1 lat2 or POLYGON lon1 lat1 .., degrees, ICRS"),
    Param(name="CIRCLE", many=True, type=Type("double", "3", "circle"), unit="deg", ucd="pos.outline;obs", description="where: longitude, latitude and radius of a circle, ICRS"),
    Param(name="POLYGON", many=True, type=Type("double", "*", "polygon"), unit="deg", ucd="pos.outline;obs", description="where: longitudes and latitudes of a polygon's corners, ICRS"),
    Param(name="BAND", many=True, type=INTERVAL, unit="m", ucd="em.wl;stat.interval", description="wavelengths in vacuum: two, or one"),
    Param(name="TIME", many=True, type=INTERVAL, unit="d", ucd="time.interval;obs.exposure", description="times: two modified Julian dates, or one"),
    Param(name="POL", many=True, ucd="meta.code;phys.polarization", description="states of polarisation: I, Q, U, V, RR .."),
    Param(name="LONGITUDE", type=INTERVAL, unit="deg", ucd="pos.bodyrc.lon", description="longitudes of the image's own frame, of a body or helioprojective; -1 1 goes over 0"),
    Param(name="LATITUDE", type=INTERVAL, unit="deg", ucd="pos.bodyrc.lat", description="latitudes of the image's own frame"),
    *(
        Param(name=f"PIXELS_{number}", type=INTERVAL, unit="pixel", ucd="pos.cartesian;instr.pixel", description=f"first and last pixel of axis {number}, as FITS counts them")
        for number in range(1, PIXELS + 1)
    ),
    Param(name="PART", ucd="meta.id.part", description="index or name of the part of the file (the HDU) to be cut; without it the first with data, and its errors and flags"),
)  # fmt: skip

__all__ = ["ID", "PARAMS", "PIXELS", "STANDARD", "TABLE", "bounds", "ways"]
