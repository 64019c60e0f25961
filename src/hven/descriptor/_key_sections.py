"""Sections of the reference of keys: each shows keys of one record together, with an example that has all of them.

The pages below `docs/reference/descriptor` are generated from the sections. `tests/descriptor/test_docs.py` reads every
example with the reader of descriptors, and refuses a key that no example has.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven.descriptor._keys import CollectionSection
from hven.descriptor._package_keys import KeyReferenceSection, load_package_collection_keys, load_package_table_keys

if TYPE_CHECKING:
    from hven.descriptor.value_schema import SectionKeySchema


def _build_example_section(name: str, record: SectionKeySchema) -> KeyReferenceSection:
    """Build the section of the keys of a collection that have an example of their own."""
    return KeyReferenceSection(
        name,
        record.name,
        keys=" ".join(record.key_examples),
        parent="collection",
        example="".join(f"{key}: {text}\n" for key, text in record.key_examples.items()),
    )


KEY_SECTIONS = (
    # --- collection.md
    KeyReferenceSection(
        "collection",
        "collection",
        keys="collection title description short_name reference_url index tables",
        parent="collection",
        example="""\
collection: omega
title: {en: Cubes of Mars by OMEGA, fr: Cubes de Mars par OMEGA}
description: >
  Spectral cubes of the surface and the atmosphere of Mars, calibrated to reflectance.
short_name: OMEGA cubes
reference_url: https://example.org/omega
index: 20
tables:
  cubes: {source: cubes.csv}
""",
    ),
    KeyReferenceSection(
        "collection settings",
        "collection",
        keys="include let access project functions for files prepare services sync engine",
        parent="collection",
        example="""\
include: ../common/omega.yaml
let: {base: https://example.org/data}
access: public
project: omega-team
functions: funcs.py
for:
  - each: {band: [u, g]}
    tables: {"flux_{band}": {source: "flux_{band}.csv"}}
files: "data/*.fits"
prepare: [previews, spectra]
services: [tap, cone, portal]
sync: {every: 1 h}
engine: postgres
""",
    ),
    KeyReferenceSection(
        "tables loop",
        "tables_loop",
        parent="collection",
        example="""\
for:
  - each: {band: [u, g, r]}
    tables:
      "stars_{band}":
        title: "Stars in {band}"
        source: "stars_{band}.csv"
""",
    ),
    KeyReferenceSection(
        "functions",
        "functions",
        parent="collection",
        example="""\
functions:
  file: funcs.py
  names: {deredden: {type: float64, unit: mag}}
""",
    ),
    KeyReferenceSection(
        "collection checks",
        "collection",
        keys="tests examples",
        parent="collection",
        example="""\
tests:
  - query: SELECT COUNT(*) AS n FROM brightest.main
    expect: {n: 100}
examples:
  - title: The ten brightest stars
    query: SELECT TOP 10 name, vmag FROM brightest.main ORDER BY vmag
""",
    ),
    KeyReferenceSection(
        "test",
        "test",
        parent="collection",
        example="""\
tests:
  - name: Sirius is there
    query: SELECT vmag FROM brightest.main WHERE name = 'Sirius'
    expect: {vmag: -1.46}
""",
    ),
    KeyReferenceSection(
        "example",
        "example",
        parent="collection",
        example="""\
examples:
  - title: Stars around the Pleiades
    description: Change the radius (in degrees) to see more of them.
    query: >
      SELECT name, ra, dec FROM brightest.main
      WHERE 1 = CONTAINS(POINT(ra, dec), CIRCLE(56.75, 24.12, 2))
""",
    ),
    # --- metadata.md
    KeyReferenceSection(
        "collection credits",
        "collection",
        keys="creators contact contributors funding publisher publisher_ror licence licence_url citation bibcode doi "
        "related acknowledgement",
        parent="collection",
        example="""\
creators: ["Brahe, T.", {name: "Brahe, S.", orcid: 0000-0002-1825-0097}]
contact: {name: Uraniborg data centre, email: data@example.org}
contributors: [{name: "Kepler, J.", role: DataCurator}]
funding: [{funder: Royal Danish Treasury, award: "1576"}]
publisher: Uraniborg
publisher_ror: https://ror.org/02feahw73
licence: CC-BY-4.0
licence_url: https://creativecommons.org/licenses/by/4.0/
citation: "Brahe (1602), Astronomiae Instauratae Progymnasmata"
bibcode: 1602aip..book.....B
doi: 10.5555/12345
related: [{id: "arXiv:2001.01234", relation: IsDocumentedBy}]
acknowledgement: This work uses the star catalogue of Uraniborg.
""",
    ),
    _build_example_section("collection subject", CollectionSection.record),
    KeyReferenceSection(
        "person",
        "person",
        parent="collection",
        example="""\
creators:
  - name: "Brahe, T."
    email: tycho@example.org
    orcid: 0000-0002-1825-0097
    affiliation: Uraniborg
    ror: https://ror.org/02feahw73
    url: https://example.org/~tycho
""",
    ),
    KeyReferenceSection(
        "contributor",
        "contributor",
        parent="collection",
        example="""\
contributors:
  - name: "Brahe, S."
    role: DataCurator
    orcid: 0000-0002-1825-0097
    affiliation: Uraniborg
    ror: https://ror.org/02feahw73
""",
    ),
    KeyReferenceSection(
        "grant",
        "grant",
        parent="collection",
        example="""\
funding:
  - funder: European Research Council
    ror: https://ror.org/0472cxd90
    award: "101019653"
    title: Cubes of Mars for everybody
    url: https://example.org/grants/101019653
""",
    ),
    KeyReferenceSection(
        "related work",
        "related_work",
        parent="collection",
        example="""\
related:
  - {id: 10.5555/12345, relation: IsSupplementTo}
""",
    ),
    KeyReferenceSection(
        "registry",
        "registry",
        parent="collection",
        example="""\
registry:
  publish: true
  id: ivo://example.org/stars
  services: {main.cone: ivo://example.org/stars/q/scs}
  also: ["doi:10.5555/12345"]
  related: [{type: IsDerivedFrom, title: The Bright Star Catalogue, id: "ivo://cds.vizier/v/50"}]
""",
    ),
    KeyReferenceSection(
        "registry service",
        "registry_service",
        parent="collection",
        example="""\
registry:
  services:
    main.cone:
      id: ivo://example.org/stars/q/scs
      mirrors: ["https://mirror.example.org/cone/stars.main"]
      test: RA=83.6&DEC=22&SR=0.1
""",
    ),
    KeyReferenceSection("registry relation", "registry_relation", shown_in="registry"),
    # --- tables.md
    KeyReferenceSection(
        "table",
        "table",
        keys="title description utype index source follow columns position form observation",
        example="""\
title: Bright stars
description: One row for each star brighter than magnitude 6.5
utype: ivo://example.org/models#star
index: 1
source: stars.csv
follow: true
columns: {vmag: {type: float32, unit: mag}}
position: [ra, dec]
form: [vmag, name]
observation: [name, night]
primary: row_id
""",
    ),
    KeyReferenceSection(
        "view",
        "table",
        keys="view",
        example="""\
title: Stars brighter than magnitude 2
view: SELECT name, ra, dec, vmag FROM brightest.main WHERE vmag < 2
""",
    ),
    KeyReferenceSection(
        "column",
        "column",
        keys="type unit ucd utype description label null rank required indexed unique hidden std section display frame "
        "link enum minimum maximum",
        example="""\
columns:
  obs_id:
    type: string
    ucd: meta.id;meta.main
    description: Identifier of the observation
    label: Observation
    required: true
    unique: true
    link: "https://example.org/obs/{obs_id}"
    rank: 1
    section: Identification
  ra:
    type: float64
    unit: deg
    ucd: pos.eq.ra;meta.main
    utype: "obscore:Char.SpatialAxis.Coverage.Location.Coord.Position2D.Value2.C1"
    frame: sky
    minimum: 0
    maximum: 360
    display: .5f
    indexed: true
    std: true
  quality: {type: int16, enum: grades, "null": -1, hidden: true}
frames: {sky: ICRS}
enums: {grades: {"0": good, "1": doubtful}}
""",
    ),
    KeyReferenceSection(
        "table relations",
        "table",
        keys="primary keys indexes groups params enums frames partition",
        example="""\
primary: obs_id
keys: {target: targets}
indexes: [[target, t_min]]
groups: {brightness: {value: vmag, error: e_vmag}}
params: {telescope: {value: Quadrant, type: string}}
enums: {grades: {"0": good, "1": doubtful, "2": bad}}
frames: {sky: {system: ICRS, epoch: J2015.5}}
partition: {by: healpix, order: 2}
""",
    ),
    KeyReferenceSection(
        "key",
        "key",
        example="""\
keys:
  to_targets:
    columns: target
    target: targets
    target_columns: name
    description: The object that was observed
    utype: ivo://example.org/models#target
""",
    ),
    KeyReferenceSection(
        "group",
        "group",
        example="""\
groups:
  brightness:
    value: vmag
    error: e_vmag
    lower: vmag_low
    upper: vmag_high
    origin: vmag_ref
    confidence: vmag_quality
    roles: {band: vmag_band}
    columns: [vmag_note]
    description: Brightness in V
    utype: ivo://example.org/models#brightness
    ucd: phot.mag;em.opt.V
""",
    ),
    KeyReferenceSection(
        "param",
        "param",
        example="""\
params:
  aperture:
    value: 1.5
    type: float64
    unit: m
    ucd: phys.size.diameter
    utype: ivo://example.org/models#aperture
    description: Diameter of the telescope
  grade: {value: "0", enum: grades}
enums: {grades: {"0": good, "1": bad}}
""",
    ),
    KeyReferenceSection(
        "frame",
        "frame",
        example="""\
frames:
  sky: {kind: coosys, system: FK5, equinox: J2000, epoch: J2015.5, refposition: BARYCENTER}
  mars: {system: BODY, refposition: Mars, crs: "IAU_2015:49900"}
  clock: {kind: timesys, timescale: UTC, refposition: TOPOCENTER, timeorigin: MJD-origin}
""",
    ),
    KeyReferenceSection(
        "partition",
        "partition",
        example="""\
partition: {by: time, column: t_obs, every: 1 month}       # or, by the position: {by: healpix, order: 2}
""",
        keys="by column every",
    ),
    KeyReferenceSection(
        "partition by position", "partition", keys="order", example="partition: {by: healpix, order: 2}\n"
    ),
    # --- mapping.md
    KeyReferenceSection(
        "table mapping",
        "table",
        keys="where max_rejects let set text map lookup for default",
        example="""\
where: quality > 0
max_rejects: 0.1
let: {t: parse_time(date_obs)}
columns:
  target_name: {type: string}
  obs_id: {type: string}
  time_min: {type: float64, unit: d}
  time_max: {type: float64, unit: d}
  wavelength: {type: float32, unit: nm}
  note: {type: string}
set: {target_name: Mars}
text: {obs_id: "{orbit:05d}_{cube}"}
map:
  time_min: jd(t)
  time_max: jd(t) + exposure / 86400
lookup: {wavelength: {from: filter, table: bands.csv}}
default: {note: "'no note'"}
for:
  - each: {band: [u, g]}
    columns: {"mag_{band}": {unit: mag}}
""",
    ),
    KeyReferenceSection(
        "lookup",
        "lookup",
        example="""\
columns: {wavelength: {type: float32}, grade: {type: string}, target: {type: string}}
lookup:
  wavelength: {from: filter, table: bands.csv, key: band, value: nm, default: 0}
  grade: {from: flag, values: {g: good, b: bad}, missing: keep}
  target: {from: jd(start), table: targets.csv, low: begin, high: end, value: name, missing: "null"}
""",
    ),
    KeyReferenceSection(
        "loop",
        "loop",
        example="""\
for:
  - each: {band: [u, g, r], zero: [0.03, 0.01, 0.02]}
    columns: {"mag_{band}": {type: float32, unit: mag}, "filter_{band}": {}, "id_{band}": {}, "nm_{band}": {}}
    set: {"filter_{band}": "{band}"}
    text: {"id_{band}": "{{obs_id}}_{band}"}
    map: {"mag_{band}": "m_{band} - {zero}"}
    lookup: {"nm_{band}": {from: "'{band}'", table: bands.csv}}
""",
    ),
    # --- rows.md
    KeyReferenceSection(
        "table rows",
        "table",
        keys="granules for_each group_by",
        example="""\
for_each: [frequencies, images]
group_by: [orbit, detector]
granules:
  - {gid: raw, set: {processing_level: 2}}
  - {gid: map, if: maps > 0, set: {processing_level: 5}}
columns: {processing_level: {type: int16}}
""",
    ),
    KeyReferenceSection(
        "granule",
        "granule",
        example="""\
granules:
  - gid: sav
    text: {granule_uid: "{target.obs_id}_sav", access_url: "{base}/{sav_file}"}
    set: {access_format: application/x-idl}
  - gid: nc
    if: nc_file IS NOT NULL
    text: {granule_uid: "{target.obs_id}_nc", access_url: "{base}/{nc_file}"}
    map: {access_estsize: nc_bytes / 1024}
    lookup: {access_format: {from: nc_kind, values: {n4: application/x-netcdf4}}}
""",
    ),
    # --- rules.md
    KeyReferenceSection(
        "table rules",
        "table",
        keys="rules vocabularies flags simulated",
        example="""\
rules:
  above_ground: {if: elevation > 0, flag: 1, message: the target was below the horizon}
  bands_known: {check: words, of: bands, columns: band, severity: warning}
vocabularies: {bands: {values: [u, g, r, i, z]}}
flags: quality_flags
simulated: origin = 'model'
""",
    ),
    KeyReferenceSection(
        "rule",
        "rule",
        example="""\
rules:
  id_known: {if: obs_id <> '', severity: error, message: the observation has no identifier}
  bands_known: {check: words, of: bands, columns: band, list: true, severity: warning}
  in_range: {check: between, columns: elevation, low: 0, high: 90, flag: 1}
  ordered: {check: order, columns: [time_min, time_max]}
vocabularies: {bands: {values: [u, g, r, i, z]}}
flags: quality_flags
""",
    ),
    KeyReferenceSection(
        "flags",
        "flags",
        example="""\
flags:
  column: quality_flags
  by: {instrument: ins_name, year: CAST(ISO(mjd + 2400000.5) AS CHAR(4))}
  given: false                     # true: the source has the column already
rules: {time_known: {if: mjd IS NOT NULL, flag: 0}}
""",
    ),
    KeyReferenceSection(
        "vocabulary",
        "vocabulary",
        example="""\
vocabularies:
  bands: {values: [u, g, r, i, z], version: "SDSS, data release 17"}
""",
    ),
    # --- access.md
    KeyReferenceSection(
        "table access",
        "table",
        keys="access embargo",
        example="""\
access: release_date <= now or reader = pi
embargo: {from: t_max, months: 12, column: release_date}
""",
    ),
    KeyReferenceSection(
        "access",
        "access",
        example="""\
access:
  rows: public
  files: obs_release_date <= now or 'team' in groups
  take: obs_release_date <= now or reader in (pi, coi)
  columns: [access_url, access_estsize]
  path: file_name
  contact: data@example.org
""",
    ),
    KeyReferenceSection(
        "embargo",
        "embargo",
        example="""\
embargo:
  from: t_max
  months: {from: obs_collection, values: {survey: 24}, default: 12}
  exempt: obs_type = 'calibration'
  not_before: 2027-01-01
  delivered: has_own_date = 1
  column: obs_release_date
""",
    ),
    KeyReferenceSection("term", "term", shown_in="embargo"),
    # --- sync.md
    KeyReferenceSection(
        "table sync",
        "table",
        keys="sync",
        example="""\
sync: {watermark: modified, overlap: 2 d}
primary: obs_id
""",
    ),
    KeyReferenceSection(
        "sync",
        "sync",
        example="""\
sync:
  watermark: modified
  overlap: 2 d
  deletions: compare
  full: 7 d
  page: 10000
  rate: 2
  guard: {removed: 10 %, changed: 50 %}
primary: obs_id
""",
    ),
    KeyReferenceSection(
        "deletions",
        "deletions",
        example="""\
sync: {watermark: modified, deletions: {column: "status = 'deleted'"}}
primary: obs_id
""",
    ),
    KeyReferenceSection("guard", "guard", shown_in="sync"),
    KeyReferenceSection(
        "schedule",
        "schedule",
        keys="every jitter",
        parent="collection",
        example="""\
sync: {every: 1 h, jitter: 5 min}
""",
    ),
    KeyReferenceSection(
        "schedule by cron",
        "schedule",
        keys="cron zone",
        parent="collection",
        example="""\
sync: {cron: "15 3 * * *", zone: Europe/Vienna}
""",
    ),
    # --- files.md
    KeyReferenceSection(
        "file",
        "file",
        keys="files ignore root at options checksums proxied title description type",
        parent="collection",
        example="""\
files:
  - files: "**/*.fits"
    ignore: "*_old*"
    root: s3://archive/raw
    at: raw
    options: {endpoint_url: https://s3.example.org, key: $S3_KEY, secret: $S3_SECRET}
    checksums: false
    proxied: true
    title: Raw frame
    description: As they leave the camera, without any correction
    type: application/fits
""",
    ),
    KeyReferenceSection(
        "file from programs",
        "file",
        keys="writers",
        parent="collection",
        example="""\
files:
  - {files: "incoming/*.fits", writers: [pipeline]}
""",
    ),
    KeyReferenceSection(
        "file from rows",
        "file",
        keys="from path size sha256",
        parent="collection",
        example="""\
files:
  - from: observations
    root: https://archive.example.org/data
    path: "{year}/{name}.fits"
    size: bytes
    sha256: checksum
""",
    ),
    # --- links.md
    KeyReferenceSection(
        "table links",
        "table",
        keys="links",
        example="""\
links:
  - {semantics: preview, text: "https://example.org/{target.obs_id}.png", type: image/png}
""",
    ),
    KeyReferenceSection(
        "link",
        "link",
        keys="semantics text type size description qualifier local if from where order file",
        example="""\
links:
  - semantics: preview
    from: previews
    where: previews.obs_id = target.obs_id
    order: previews.frequency
    text: "https://example.org/{previews.path}"
    type: image/png
    size: "{previews.bytes}"
    description: "map at {previews.frequency:.0f} MHz"
    qualifier: image
    local: "band {previews.band}"
    if: previews.bytes > 0
  - {semantics: this, file: "{target.file_name}"}
""",
    ),
    KeyReferenceSection(
        "link to other rows",
        "link",
        keys="derived series service",
        example="""\
links:
  - derived: obs_id
    text: "{site.url}/datalink/demo.main?ID={main.obs_id}"
  - series: marscam_pressure
  - semantics: cutout
    service: {url: "{site.url}/cut", params: {ID: "{target.obs_id}"}}
""",
    ),
    KeyReferenceSection(
        "service",
        "service",
        example="""\
links:
  - semantics: cutout
    service:
      url: https://das.example.org/soda
      standard: ivo://ivoa.net/std/SODA#sync-1.0
      registered: ivo://example.org/soda
      params:
        ID: "{target.dataset}"
        BAND: {type: "float64[2]", unit: m}
""",
    ),
    KeyReferenceSection(
        "input",
        "input",
        example="""\
links:
  - semantics: cutout
    service:
      url: https://das.example.org/soda
      params:
        ID: {value: "{target.dataset}"}
        BAND:
          type: float64[2]
          unit: m
          ucd: em.wl
          utype: ivo://example.org/models#band
          description: Wavelengths to cut out
          minimum: "{target.em_min}"
          maximum: "{target.em_max}"
          example: "{target.em_min} {target.em_max}"
        POL: {type: string, values: [I, Q, U, V]}
""",
    ),
    KeyReferenceSection(
        "derived",
        "derived",
        example="""\
links:
  - derived:
      by: obs_id
      in: raw
      within: 10 min
      time: [t_min, t_max]
      other_time: [start_time, stop_time]
      level: calib_level
    text: "{site.url}/datalink/demo.raw?ID={raw.obs_id}"
""",
    ),
    # --- standards.md
    KeyReferenceSection(
        "table standard",
        "table",
        keys="standard optional frame obscore",
        example="""\
standard: epn-tap-2.0
optional: [region, access, thumbnail_url]
frame: body
source: cubes.csv
obscore: {}
""",
    ),
    KeyReferenceSection(
        "obscore",
        "obscore",
        example="""\
obscore:
  set: {obs_collection: OMEGA, calib_level: 2}
  text: {obs_publisher_did: "ivo://example.org/omega?{obs_id}"}
  map: {t_min: mjd(start), t_max: mjd(stop)}
  optional: [obs_title]
  columns: {orbit: {type: int32, ucd: meta.id, description: Orbit of the spacecraft}}
  converted: false
  radio: {set: {instr_tel_number: 1}}
""",
    ),
    KeyReferenceSection(
        "table of a standard",
        "table",
        keys="variants families together called",
        example="""\
called: epn_core
families: {access: [access_url, access_format, access_estsize]}
together: [[access_url, access_format, access_estsize]]
variants: {body: {columns: {c1min: {unit: deg, ucd: "pos.bodyrc.lon;stat.min"}}}}
""",
    ),
    KeyReferenceSection(
        "column of a standard",
        "column",
        keys="types optional",
        example="""\
columns:
  s_region: {type: polygon, types: [circle, shape, multishape], optional: true}
""",
    ),
    KeyReferenceSection(
        "table of a mirror",
        "table",
        keys="obscore_radio converted",
        example="""\
obscore_radio: {map: {f_resolution: f_res}, converted: true}
""",
    ),
)


def list_key_sections() -> tuple[KeyReferenceSection, ...]:
    """List the sections of the core, then those of the plug-in packages in use."""
    package_sections = [section for key in load_package_table_keys().values() for section in key.reference_sections]
    package_sections += [
        section for key in load_package_collection_keys().values() for section in key.reference_sections
    ]
    return (*KEY_SECTIONS, *package_sections)
