"""A mirror has what its origin says of a collection, key by key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from hven.descriptor import _keys, load_descriptor
from hven.model.settings import Settings
from hven.plugins.mirroring import mirror_descriptors as mirroring

ORIGIN = """\
collection: psz2
title: {en: Clusters, fr: Amas}
description: {en: All of them, fr: Tous}
short_name: PSZ2
subjects: [galaxy clusters]
creators:
  - {name: "Brahe, Tycho", orcid: 0000-0002-1825-0097, affiliation: Uraniborg, ror: "https://ror.org/02feahw73", url: "https://hven.example/tycho"}
contributors:
  - {name: "Brahe, Sophie", role: DataCurator, orcid: 0000-0001-5109-3700, affiliation: Uraniborg, ror: "https://ror.org/02feahw73"}
funding: [{funder: Crown of Denmark, ror: "https://ror.org/02feahw73", award: DK-1576, title: An island, url: "https://example.org/dk"}]
related:
  - {relation: IsDerivedFrom, id: "arXiv:1502.01598"}
  - {relation: Cites, id: "https://example.org/x?a=1&b=2"}
publisher: Uraniborg
publisher_ror: https://ror.org/02feahw73
licence: CC-BY-4.0
licence_url: https://creativecommons.org/licenses/by/4.0/
citation: "Brahe (1598)"
bibcode: 2016A&A...594A..27P
doi: 10.5072/psz2
acknowledgement: Based on observations made at Uraniborg.
utype: ivo://hven.example/model
reference_url: https://hven.example/psz2
facility: [Planck]
instrument: [HFI]
waveband: [Millimeter]
content_level: [Research]
type: [Catalog]
created: 2015-02-05
index: 3
tables:
  main:
    title: {en: Clusters, fr: Amas}
    description: One row per cluster
    utype: hven:cluster
    primary: name
    position: [ra, dec]
    form: [name, t]
    observation: []
    index: 2
    indexes: [[name, kind]]
    frames:
      sky: {kind: coosys, system: ICRS, epoch: J2015.5}
      ground: {kind: coosys, system: BODY, refposition: Mars, crs: "IAU_2015:49900"}
      clock: {kind: timesys, timescale: UTC, refposition: TOPOCENTER, timeorigin: JD-origin}
    enums: {kinds: {"1": star, "2": planet}}
    params: {epoch: {type: float64, value: 2015.5, unit: yr, ucd: time.epoch, description: Epoch}, moving: {type: boolean, value: false}, zero: {type: int32, value: 0}}
    groups: {place: {value: ra, error: dec, description: A pair, ucd: pos, utype: hven:pair}}
    keys: {twin: {columns: [kind], target: others, target_columns: [number], description: Another list, utype: hven:twin}}
    source: {kind: csv, file: a.csv}
    columns:
      name: {type: string, ucd: meta.id;meta.main, label: {en: Name, fr: Nom}, description: As written, required: true, unique: true, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, frame: sky, display: .3f, minimum: 0, maximum: 360, std: true, section: Place}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, frame: sky, utype: hven:dec, indexed: true}
      kind: {type: int32, enum: kinds, null: -1, link: "https://hven.example/{kind}"}
      tmin: {type: float64, unit: d, ucd: time.start, frame: clock}
      tmax: {type: float64, unit: d, ucd: time.end, frame: clock}
  others:
    primary: number
    source: {kind: csv, file: b.csv}
    columns: {number: {type: int32, required: true}}
"""


def test_what_is_mirrored_is_equal_key_by_key(tmp_path: Path) -> None:
    settings = Settings(directory=tmp_path)

    def load_text(name: str, text: str) -> Any:
        path = tmp_path / name / "psz2.yaml"
        path.parent.mkdir()
        path.write_text(text)
        return load_descriptor(path, settings)

    record = _keys.CollectionSection.record
    said = yaml.safe_load(ORIGIN)
    further_lines = [
        f"{key}: {record.key_examples[key]}\n"
        for key in mirroring.COLLECTION_KEYS
        if key not in said and key in record.key_examples
    ]
    origin = load_text("origin", "".join(further_lines) + ORIGIN)
    tables = [spec.table for spec in origin.tables]
    told = mirroring.write_public_descriptor(origin, tables, url="https://hven.example")
    text = mirroring.write_mirror_descriptor(told, "https://hven.example", "psz2", sync_interval=None)
    copy = load_text("copy", text)
    for key in (*mirroring.COLLECTION_KEYS, *mirroring.RECORD_KEYS):
        value = mirroring.find_descriptor_key_value(origin, key)
        assert value, f"the descriptor of this test does not say {key}, and the key has no example"
        assert mirroring.find_descriptor_key_value(copy, key) == value, key
    assert copy.title.texts == {"en": "Clusters", "fr": "Amas"}
    for mine, theirs in zip([spec.table for spec in copy.tables], tables, strict=True):
        for key in (*mirroring.TABLE_KEYS, "keys", "indexes", "groups", "params", "enums", "frames"):
            assert getattr(mine, key) == getattr(theirs, key), key
        for column, other in zip(mine.columns, theirs.columns, strict=True):
            for key in ("name", "type", *mirroring.COLUMN_KEYS):
                assert getattr(column, key) == getattr(other, key), f"{other.name}.{key}"
    main = said["tables"]["main"]
    assert {key or "null" for column in main["columns"].values() for key in column} >= {
        *mirroring.COLUMN_KEYS,
        "type",
    }, "all keys are tried"
    assert {key for frame in main["frames"].values() for key in frame} >= {*mirroring.FRAME_KEYS} - {"equinox"}
