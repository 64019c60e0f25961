"""A centre that moves keeps its identifiers: IDOC's registered services, of three authorities, each with a record of its own; and what a coverage may take."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from hven import descriptor
from hven.model import settings, sky
from hven.model.table import Schema
from hven.plugins.registry.record_coverage import MAX_COVERAGE_CHARACTERS, _merge_coverages
from hven.plugins.registry.registry_records import _RegistryRecordBuilder
from hven.services.face import ServiceContext, load_service_faces
from hven.site import PublishedState, PublishedTable, Site
from hven.site.auth import ANONYMOUS_PRINCIPAL
from mocs import cover_positions

TOML = """\
authority = "idoc"
contact_email = "vo@idoc.example"

[portals.herschel]
path = "/herschel"
collections = ["herschel", "szcluster"]
authority = "idoc.ginco"

[portals.corot]
path = "/corot"
collections = ["corot"]
authority = "idoc.d2s"
"""
STARS = "{{source: rows.csv, primary: id, columns: {{id: {{type: string, ucd: meta.id;meta.main}}, ra: {{type: float64, unit: deg, ucd: pos.eq.ra;meta.main}}, dec: {{type: float64, unit: deg, ucd: pos.eq.dec;meta.main}}}}{more}}}"
EPN = "{standard: epn-tap-2.0, frame: body, source: rows.csv}"
# collection -> table -> face -> what stands behind the authority, as IDOC has it in the registries (one was blank in its list)
IDS = {
    "herschel": {
        "maps": {"sia": "herschel/spirepacs", "sia-cutouts": "herschel/spirepacsCutout"},
        **{f"catalog{band}": {"cone": f"herschel/spirecatalog{band.upper()}"} for band in ("pmw", "psw", "plw")},
    },
    "szcluster": {"main": {"cone": "szcluster-db/szcluster-db-conesearch"}},
    "corot": {
        name.replace("-", "_"): {"cone": f"corot/{name}-conesearch"}
        for name in ("brightstars", "stars-rotation-period-affer", "redgiants", "stars-rotation-period-medeiros", "confirmedplanet")
    },
    "omega_cubes": {"epn_core": {"": "psup/omega_cubes/q/epn_core"}},
    "omega_maps": {"epn_core": {"": "psup/omega_maps/q/epn_core"}},
}  # fmt: skip
AUTHORITY = {"herschel": "idoc.ginco", "szcluster": "idoc.ginco", "corot": "idoc.d2s"}


def test_existing_identifiers_are_kept(tmp_path: Path) -> None:
    (tmp_path / "hven.toml").write_text(TOML)
    resources, published, schemas = {}, {}, []
    with Site(settings.load_settings(tmp_path)) as site:
        for name, tables in IDS.items():
            folder = tmp_path / "collections" / name
            folder.mkdir(parents=True)
            (folder / "rows.csv").write_text("id,ra,dec\na,1,2\n")
            said = ", ".join(f"{table}{'.' * bool(face)}{face}: {ident}" for table, faces in tables.items() for face, ident in faces.items())  # fmt: skip
            text = "\n".join(f"  {table}: {EPN if '' in faces else STARS.format(more='')}" for table, faces in tables.items())  # fmt: skip
            path = folder / f"{name}.yaml"
            path.write_text(f"collection: {name}\ntitle: {name}\nregistry: {{services: {{{said}}}}}\ntables:\n{text}\n")
            resource = descriptor.load_descriptor(path, site.settings)
            images = {"observed": True, "services": ("tap", "sia", "soda", "cone")}
            found = tuple(spec.table.copy_with(position=None if "" in tables[spec.table.name] else ("ra", "dec"), **(images if "sia" in tables[spec.table.name] else {})) for spec in resource.tables)  # fmt: skip
            resources[name] = resource
            schemas.append(Schema(name=name, title=name, tables=found))
            published |= {one.qualified_name: PublishedTable(table=one, relation=None, updated="2026-01-01T00:00:00Z", resource=resource) for one in found}  # fmt: skip
        faces = load_service_faces()
        cutouts = [
            replace(one, applies=lambda table: table.observed) for one in faces["sia"].additional_faces
        ]  # files are the matter of other tests
        around = replace(ServiceContext.create_for_principal(site, ANONYMOUS_PRINCIPAL), faces={**faces, "sia": replace(faces["sia"], additional_faces=cutouts)})  # fmt: skip
        making = _RegistryRecordBuilder(
            around, PublishedState(schemas=tuple(schemas), tables_by_name=published, resources=resources)
        )
        told = {one.ivoid: one for part in making.digests_by_part for one in making.build_records(part)}
    wanted = {f"ivo://{AUTHORITY.get(name, 'idoc')}/{ident}": face for name, tables in IDS.items() for faces in tables.values() for face, ident in faces.items()}  # fmt: skip
    assert len(wanted) == 13
    standards = {"cone": "ConeSearch", "sia": "SIA", "sia-cutouts": "SIA", "": "TAP#aux"}
    for ivoid, face in wanted.items():
        assert f'standardID="ivo://ivoa.net/std/{standards[face]}"' in told[ivoid].body, ivoid
    assert "<imageServiceType>Cutout</imageServiceType>" in told["ivo://idoc.ginco/herschel/spirepacsCutout"].body
    assert {"ivo://idoc", "ivo://idoc.ginco", "ivo://idoc.d2s"} <= told.keys()


@pytest.mark.parametrize("number", [1, 500, 200_000])
def test_a_merged_coverage_has_a_length_limit(number: int) -> None:
    rng = np.random.default_rng(number)
    lon, lat = rng.uniform(0, 360, number), np.degrees(np.arcsin(rng.uniform(-1, 1, number)))
    told = _merge_coverages(
        (str(cover_positions(lon[::2], lat[::2], 8)), str(cover_positions(lon[1::2], lat[1::2], 7)))
    )
    assert len(told) <= MAX_COVERAGE_CHARACTERS
    moc = sky.Moc.parse(told)
    assert sky.healpix.is_in_ranges(moc.ranges, sky.healpix.compute_cell_indexes(sky.healpix.MAX_ORDER, lon, lat)).all()
    assert moc.order <= 6
