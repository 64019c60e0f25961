"""Sections of the reference for the keys of data sets, each with an example that has all of them."""

from __future__ import annotations

from hven.descriptor.api.keys import KeyReferenceSection

SERIES_SECTIONS = (
    KeyReferenceSection(
        "table series",
        "table",
        keys="series",
        example="""\
series: {parameters: [pressure, temperature], cadence: 1 s}
""",
    ),
    KeyReferenceSection(
        "series",
        "series",
        keys="id das2 title description time parameters where cadence ahead stamp bins colors vectors scale_types",
        example="""\
series:
  id: weather
  das2: Uraniborg/Weather/station_1
  title: Weather at Uraniborg
  description: Means over one second
  time: t
  parameters: [pressure, flux, quality, b]
  where: station = 1
  cadence: 1 s
  ahead: 1 d
  stamp: begin
  bins: {flux: {name: frequency, unit: MHz, centers: [10, 20, 40]}}
  colors: {quality: {good: green, "bad.*": "#FF0000"}}
  vectors: {b: GSE}
  scale_types: {flux: log}
""",
    ),
    KeyReferenceSection(
        "series in files",
        "series",
        keys="file reader part variables version",
        example="""\
series:
  file: "{target.path}"
  reader: maser
  part: DATA
  time: {of: TIME, unit: s, since: 2000-01-01T12:00:00}
  parameters: [stokes_i]
  variables: {stokes_i: {of: STOKESI, unit: Jy}}
  version: file_version
""",
    ),
    KeyReferenceSection(
        "time",
        "time",
        example="""\
series:
  file: "{target.path}"
  time:
    of: JDAY
    unit: d
    since: JD
    scale: UTC
    plus: {of: MSEC, unit: ms}
""",
    ),
    KeyReferenceSection("part", "part", shown_in="time"),
    KeyReferenceSection(
        "variable",
        "variable",
        example="""\
series:
  file: "{target.path}"
  time: TIME
  variables:
    stokes_i:
      of: [STOKESI_B1, STOKESI_B2]
      time: [TIME_B1, TIME_B2]
      element: 0
      unit: Jy
      description: Total intensity
      label: I
      fill: -1
""",
    ),
    KeyReferenceSection(
        "bins",
        "bins",
        example="""\
series:
  bins:
    flux:
      name: frequency
      unit: MHz
      centers: [10.5, 11.5]
      ranges: [[10, 11], [11, 12]]
      label: f
      description: Frequency at the centre of the channel
      scale_type: linear
""",
    ),
    KeyReferenceSection(
        "vector",
        "vector",
        example="""\
series:
  vectors:
    b: {system: GSE, components: [x, y, z]}
    lat: {system: HGI, components: latitude}
""",
    ),
)
