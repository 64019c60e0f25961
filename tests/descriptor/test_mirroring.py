"""A mirror has what its origin says of a collection, key by key; each key either goes along or stays at its site for a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from hven.descriptor import _citation_keys, _keys, load_descriptor, mirroring
from hven.model.settings import Settings

# why a key does not go along with a mirror; a new key needs a line here, or one in hven.descriptor.mirroring
MADE_THERE = "how the origin makes its rows: sources, mappings, Python, checks"
OF_THE_SITE = "decided by the site that serves: rights, addresses, services, schedule, engine"
COMPUTED = "goes along by hven.descriptor.public_metadata, as far as public columns suffice"
OF_STANDARDS = "of tables that a standard describes; the columns that it made go along"
LOCAL: dict[type, dict[str, str]] = {
    _keys.CollectionSection: {
        **dict.fromkeys(("include", "let", "functions", "for", "prepare", "tests"), MADE_THERE),
        **dict.fromkeys(("access", "project", "services", "sync", "registry", "engine"), OF_THE_SITE),
        "contact": "whoever runs the mirror answers questions about it; creators go along",
        "files": "copied by `hven mirror` itself, with checksums",
        "examples": COMPUTED,
    },
    _keys.TableSection: {
        **dict.fromkeys(
            (
                "follow", "source", "view", "where", "max_rejects", "let", "set", "text", "map", "lookup", "for", "granules", "group_by",
                "for_each", "rules", "simulated", "embargo", "sync", "vocabularies", "default", "converted",
            ),
            MADE_THERE,
        ),
        **dict.fromkeys(("access", "endpoints", "partition"), OF_THE_SITE),
        **dict.fromkeys(("standard", "optional", "frame", "variants", "families", "together", "called"), OF_STANDARDS),
        **dict.fromkeys(("obscore", "obscore_radio", "flags"), COMPUTED),
        "links": "the origin's own DataLink service answers for its rows",
        "series": "files of samples stay at the origin; its HAPI service answers for them",
    },
    _keys.ColumnSection: {
        "hidden": "a hidden column is not told at all",
        **dict.fromkeys(("types", "optional"), OF_STANDARDS),
        "type": "always told",
    },
    _keys.CoordinateFrameSection: {"crs": "read into the body, which is told as refposition"},
    _keys.TableParamSection: {"type": "always told"},
    _keys.ColumnGroupSection: dict.fromkeys(("value", "error", "lower", "upper", "origin", "confidence", "roles", "columns"), "told as roles"),
    _keys.ForeignKeySection: dict.fromkeys(("columns", "target", "target_columns"), "always told"),
    _citation_keys.PersonSection: {"email": "an address for questions about the origin"},
    _citation_keys.ContributorSection: {},
    _citation_keys.FundingSection: {},
    _citation_keys.RelatedWorkSection: {},
}  # fmt: skip
MIRRORED: dict[type, tuple[str, ...]] = {
    _keys.CollectionSection: ("collection", "tables", *mirroring.COLLECTION_KEYS, *mirroring.RECORD_KEYS),
    _keys.TableSection: (*mirroring.TABLE_KEYS, "columns", "keys", "indexes", "groups", "params", "enums", "frames"),
    _keys.ColumnSection: mirroring.COLUMN_KEYS,
    _keys.CoordinateFrameSection: mirroring.FRAME_KEYS,
    _keys.TableParamSection: mirroring.PARAM_KEYS,
    _keys.ColumnGroupSection: mirroring.DESCRIPTION_KEYS,
    _keys.ForeignKeySection: mirroring.DESCRIPTION_KEYS[:2],
    _citation_keys.PersonSection: mirroring.RECORD_KEYS["creators"],
    _citation_keys.ContributorSection: mirroring.RECORD_KEYS["contributors"],
    _citation_keys.FundingSection: mirroring.RECORD_KEYS["funding"],
    _citation_keys.RelatedWorkSection: mirroring.RECORD_KEYS["related"],
}


@pytest.mark.parametrize("kind", MIRRORED, ids=lambda kind: kind.__name__)
def test_each_key_goes_along_or_stays_for_a_reason(kind: Any) -> None:
    keys = set(kind.record.key_types)
    assert set(MIRRORED[kind]) | LOCAL[kind].keys() == keys
    assert not set(MIRRORED[kind]) & LOCAL[kind].keys()


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

    origin = load_text("origin", ORIGIN)
    tables = [spec.table for spec in origin.tables]
    told = mirroring.write_public_descriptor(origin, tables, url="https://hven.example")
    text = mirroring.write_mirror_descriptor(told, "https://hven.example", "psz2", sync_interval=None)
    copy = load_text("copy", text)
    for key in (*mirroring.COLLECTION_KEYS, *mirroring.RECORD_KEYS):
        attribute = mirroring.ATTRIBUTE_NAMES_BY_KEY.get(key, key)
        assert getattr(origin, attribute), f"the descriptor of this test does not say {key}"
        assert getattr(copy, attribute) == getattr(origin, attribute), key
    assert copy.title.texts == {"en": "Clusters", "fr": "Amas"}
    for mine, theirs in zip([spec.table for spec in copy.tables], tables, strict=True):
        for key in (*mirroring.TABLE_KEYS, "keys", "indexes", "groups", "params", "enums", "frames"):
            assert getattr(mine, key) == getattr(theirs, key), key
        for column, other in zip(mine.columns, theirs.columns, strict=True):
            for key in ("name", "type", *mirroring.COLUMN_KEYS):
                assert getattr(column, key) == getattr(other, key), f"{other.name}.{key}"
    said = yaml.safe_load(ORIGIN)["tables"]["main"]
    assert {key or "null" for column in said["columns"].values() for key in column} >= {
        *mirroring.COLUMN_KEYS,
        "type",
    }, "all keys are tried"
    assert {key for frame in said["frames"].values() for key in frame} >= {*mirroring.FRAME_KEYS} - {"equinox"}
