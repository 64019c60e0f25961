"""The key ``endpoints`` of tables in descriptors."""

from __future__ import annotations

from hven.descriptor.api.keys import KeyReferenceSection, TableDescriptorKey
from hven.plugins.heritage.endpoint_checks import find_endpoint_faults
from hven.plugins.heritage.endpoint_keys import EndpointSection
from hven.plugins.heritage.endpoint_loading import find_endpoint_path_conflicts, read_endpoints

# of the reference, each with an example that has all of its keys
ENDPOINT_SECTIONS = (
    KeyReferenceSection(
        "table endpoints",
        "table",
        keys="endpoints",
        example="""\
endpoints:
  old_search: {path: /search.votable, params: {name: {where: name = param.name}}}
""",
    ),
    KeyReferenceSection(
        "endpoint",
        "endpoint",
        keys="path like title description params columns where order rows format votable",
        example="""\
endpoints:
  search:
    path: /search.votable
    like: query
    title: Search for exposures
    description: The script of the observatory asks it every night
    params: {date_from: {where: exp_date >= param.date_from}}
    columns: [exp_id, exp_mjd AS mjd]
    where: exp_mjd > 50000
    order: [exp_date, exp_id DESC]
    rows: 1000
    format: votable
    votable: {serialization: TABLEDATA}
""",
    ),
    KeyReferenceSection(
        "endpoint of sitools2",
        "endpoint",
        keys="cadence archives",
        example="""\
endpoints:
  ic_sdo:
    path: /webs_IAS_SDO_dataset
    like: sitools2
    cadence: {mask_cadence: "MOD(t_rec_index, param.seconds / 12) = 0"}
    archives: {plugin02: tar, plugin03: zip}
""",
    ),
    KeyReferenceSection(
        "parameter",
        "parameter",
        example="""\
endpoints:
  search:
    path: /search.votable
    params:
      ra: {type: float64, unit: deg, ucd: pos.eq.ra, description: right ascension, required: true}
      radius:
        type: float64
        unit: arcsec
        in: deg
        default: 30
        minimum: 1
        maximum: 3600
        where: "1 = CONTAINS(POINT(target_ra, target_dec), CIRCLE(param.ra, param.dec, param.radius))"
      dec: {type: float64, unit: deg}
      full: {values: ["true", "false"], columns: {"false": [exp_id, target_ra]}}
""",
    ),
    KeyReferenceSection(
        "shape",
        "shape",
        example="""\
endpoints:
  search:
    path: /search.votable
    votable:
      version: "1.4"
      namespace: "1.4"
      serialization: TABLEDATA
      type: text/xml
      params: {status: OK, last_mod_date: "{updated}"}
""",
    ),
)
ENDPOINTS = TableDescriptorKey(
    value_type=dict[str, EndpointSection],
    doc=(
        "addresses that the table had on another server. Hven serves them too, so existing scripts and programs still "
        "work. Choose a name for each address, and describe its parameters"
    ),
    convert_value=read_endpoints,
    previous_key="series",
    service="endpoints",
    find_faults=find_endpoint_faults,
    find_conflicts=find_endpoint_path_conflicts,
    reference_sections=ENDPOINT_SECTIONS,
)
