"""A service without faults: a few granules of Mars and observations of the sky, one of them in radio.

Its tables have all columns of the standards that can have a value.
"""

from __future__ import annotations

from typing import Any

from tap_server import Column, Table, TapServer, build_schema_tables

from hven.plugins.lint.facts import StandardColumn, load_standard_columns

DATATYPES = {
    "text": "char",
    "timestamp": "char",
    "region": "char",
    "double": "float",
    "double!": "double",
    "integer": "int",
}
BODY_AXES = {"c1": ("deg", "pos.bodyrc.lon"), "c2": ("deg", "pos.bodyrc.lat"), "c3": ("km", "pos.bodyrc.alt")}
OPTIONAL_COLUMNS = [
    "access_url", "access_format", "access_estsize", "access_md5", "thumbnail_url", "file_name", "messenger", "coverage", "time_scale",
    "local_time_min", "local_time_max", "target_time_min", "target_time_max", "sun_distance_min", "sun_distance_max", "internal_reference",
    "species_inchikey", "geometry_type", "particle_spectral_type", "subsolar_longitude_min", "subsolar_longitude_max", "external_link",
]  # fmt: skip


def build_column(fact: StandardColumn, **more: Any) -> Column:
    xtype = fact.xtype or ("adql:REGION" if fact.type == "region" else "")
    return Column(
        fact.name,
        **{
            "datatype": DATATYPES[fact.type],
            "unit": fact.unit,
            "ucd": fact.ucd.split("|")[0],
            "utype": fact.utype,
            "xtype": xtype,
            "std": 1,
            **more,
        },
    )


def build_epn_column(fact: StandardColumn) -> Column:
    found = build_column(fact)
    if fact.unit.startswith("by-frame"):
        axis, end = fact.name[:2], fact.name[-3:]
        found.unit, ucd = BODY_AXES[axis]
        if "resol" in fact.name:
            ucd = "pos.angResolution" if found.unit == "deg" else "pos.resolution"
        found.ucd = f"{ucd};stat.{end}"
    return found


def build_granule(number: int) -> dict[str, Any]:
    west, south = 10.0 * number, 5.0
    return {
        "granule_uid": f"cube_{number}", "granule_gid": "cubes", "obs_id": f"orbit_{number}", "dataproduct_type": "sc", "target_name": "Mars",
        "target_class": "planet", "time_min": 2453000.5 + number, "time_max": 2453000.6 + number, "time_exp_min": 0.05, "time_exp_max": 0.1,
        "spectral_range_min": 5.9e13, "spectral_range_max": 7.9e14, "spectral_resolution_min": 50.0, "spectral_resolution_max": 200.0,
        "c1min": west, "c1max": west + 4, "c2min": south, "c2max": south + 8,
        # on a body: counter-clockwise seen from outside
        "s_region": f"POLYGON {west} {south} {west + 4} {south} {west + 4} {south + 8} {west} {south + 8}",
        "spatial_frame_type": "body", "incidence_min": 20.0, "incidence_max": 30.0, "emergence_min": 0.0, "emergence_max": 5.0,
        "phase_min": 20.0, "phase_max": 35.0, "instrument_host_name": "Mars Express", "instrument_name": "OMEGA",
        "measurement_type": "phys.reflectance#phot.radiance", "processing_level": 3, "creation_date": "2024-01-01T10:00:00",
        "modification_date": "2024-02-01T10:00:00", "release_date": "2024-01-01", "service_title": "demo",
        "access_url": f"https://archive.example.org/cube_{number}.fits", "access_format": "application/fits", "access_estsize": 2000,
        "access_md5": "0123456789abcdef0123456789abcdef", "thumbnail_url": f"https://archive.example.org/cube_{number}.png",
        "file_name": f"cube_{number}.fits", "messenger": "Infrared", "coverage": None, "time_scale": "UTC", "local_time_min": 9.0, "local_time_max": 10.0,
        "target_time_min": "2003-12-27T00:00:00", "target_time_max": "2003-12-27T00:10:00", "sun_distance_min": 1.5, "sun_distance_max": 1.6,
        "internal_reference": "cube_1", "external_link": "https://archive.example.org/",
        "subsolar_longitude_min": 350.0, "subsolar_longitude_max": 5.0, "geometry_type": "bidirectional",
    }  # fmt: skip


def build_observation(number: int) -> dict[str, Any]:
    ra, dec = 40.0 + number, 20.0
    return {
        "dataproduct_type": "image", "calib_level": 2, "obs_collection": "survey", "obs_id": f"o{number}",
        "obs_publisher_did": f"ivo://example.org/survey?o{number}", "access_url": f"https://archive.example.org/o{number}.fits",
        "access_format": "image/fits", "access_estsize": 4000, "target_name": f"field {number}", "s_ra": ra, "s_dec": dec, "s_fov": 1.4,
        # on the sky: counter-clockwise seen from inside
        "s_region": f"POLYGON ICRS {ra - 0.5} {dec - 0.5} {ra - 0.5} {dec + 0.5} {ra + 0.5} {dec + 0.5} {ra + 0.5} {dec - 0.5}",
        "s_resolution": 1.1, "s_xel1": 2000, "s_xel2": 2000, "t_min": 59000.0, "t_max": 59000.1, "t_exptime": 600.0, "em_min": 4e-7,
        "em_max": 7e-7, "em_xel": 1, "o_ucd": "phot.flux", "pol_states": "/I/Q/", "pol_xel": 2, "facility_name": "Uraniborg", "instrument_name": "camera",
        "data_rights": "public", "o_unit": "Jy", "obs_release_date": "2024-01-01T00:00:00",
    }  # fmt: skip


def build_valid_service() -> TapServer:
    epncore, core, radio = (
        load_standard_columns("epncore"),
        load_standard_columns("obscore"),
        load_standard_columns("obscore_radio"),
    )
    granules = Table(
        "demo.epn_core", [build_epn_column(fact) for fact in epncore.values() if fact.is_mandatory or fact.name in OPTIONAL_COLUMNS], [build_granule(n) for n in range(1, 6)],
        utype="ivo://ivoa.net/std/epntap#table-2.0",
    )  # fmt: skip
    optional = {"data_rights", "o_unit", "obs_release_date"}
    observations = Table(
        "ivoa.obscore", [build_column(fact, datatype="double" if fact.type == "double" else DATATYPES[fact.type]) for fact in core.values() if fact.is_mandatory or fact.name in optional],
        [build_observation(n) for n in range(1, 5)],
    )  # fmt: skip
    in_radio = Table(
        "ivoa.obscore_radio", [build_column(fact) for fact in radio.values() if fact.is_mandatory],
        [{"obs_publisher_did": "ivo://example.org/survey?o1", "s_fov_min": 0.5, "s_fov_max": 1.0, "instr_tel_number": 27, "instr_tel_min_dist": 30.0,
          "instr_tel_max_dist": 36000.0, "uv_distribution_fill": 0.5, "scan_mode": "cross-scan"}],
        utype="ivo://ivoa.net/std/obscore#radio-ext-1.0",
    )  # fmt: skip
    return TapServer([*build_schema_tables(), granules, observations, in_radio])
