"""OIFITS as rows: granules, judged by astropy and pyoifits; what is odd in files, and damage at their heads."""

from __future__ import annotations

import gc
import warnings

import numpy as np
import pyarrow as pa
import pytest
from astropy.io import fits

from hven.descriptor import check_descriptor
from hven.model import plugins
from hven.model.settings import Settings
from hven.sources import SourceContext, file_kinds
from plugin_needs import create_descriptor
from shared import EXAMPLES_FACTOR, shared

NAMES = {"OI_VIS": "nb_vis", "OI_VIS2": "nb_vis2", "OI_T3": "nb_t3", "OI_FLUX": "nb_flux"}


def open_source(kind, directory, rejects=None, **options):
    module = plugins.load_plugin("sources", kind)
    context = SourceContext(directory=directory, on_reject=rejects.append if rejects is not None else None)
    return module.open(module.Options.model_validate(options), context)


def read(source, columns=None):
    batches = list(source.read_batches(columns))
    return pa.Table.from_batches(batches).to_pylist() if batches else []


@pytest.mark.parametrize(
    "source",
    [
        "data/interferometry/oifits",
        "data/interferometry/oifits/GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits",
    ],
)
def test_new_writes_a_descriptor_that_is_right(tmp_path, source):
    settings = Settings(directory=tmp_path)
    text = (path := create_descriptor(settings, "mine", str(shared(source)))).read_text()
    assert "kind: oifits" in text
    assert "      target_name:" in text
    assert [str(fault) for fault in check_descriptor(path, settings) if fault.severity == "error"] == []


def test_granules_add_up_to_the_tables_that_astropy_reads():
    folder = shared("data/interferometry/oifits")
    rejects = []
    found = read(open_source("oifits", folder, rejects, files="*fits"), None)
    names = read(open_source("oifits", folder, [], files="*fits"), ["file.name"])
    assert [one.file for one in rejects] == ["bad_V1_with_V2_Tables.fits"]
    assert "no OIFITS data; its tables are: OI_CORR, OI_INSPOL" in rejects[0].reason
    mine: dict[str, list] = {}
    for row, name in zip(found, names, strict=True):
        mine.setdefault(name["file.name"], []).append(row)
    assert len(mine) == 13
    for name, granules in mine.items():
        with warnings.catch_warnings(action="ignore"), fits.open(folder / name) as theirs:
            targets = {int(line["TARGET_ID"]): line for line in theirs["OI_TARGET"].data}
            waves = {hdu.header["INSNAME"].strip(): hdu.data for hdu in theirs if hdu.name == "OI_WAVELENGTH"}
            for kind, column in NAMES.items():
                lines = [(hdu.header["INSNAME"].strip(), int(line["TARGET_ID"])) for hdu in theirs if hdu.name == kind for line in hdu.data]  # fmt: skip
                for mode, target in {*lines}:
                    those = [one for one in granules if one["instrument_mode"] == mode and one["target_id"] == target]
                    assert sum(one[column] for one in those) == lines.count((mode, target)), (name, kind)
            for one in granules:
                target, wave = targets[one["target_id"]], waves[one["instrument_mode"]]
                assert (one["target_name"], one["s_ra"], one["s_dec"]) == (target["TARGET"].strip(), pytest.approx(target["RAEP0"]), pytest.approx(target["DECEP0"]))  # fmt: skip
                assert one["em_min"] == pytest.approx(wave["EFF_WAVE"].min(), rel=1e-6)
                assert one["nb_channels"] == len(wave)
                times = np.concatenate([hdu.data["MJD"][hdu.data["TARGET_ID"] == one["target_id"]] for hdu in theirs if hdu.name in NAMES and hdu.header["INSNAME"].strip() == one["instrument_mode"]])  # fmt: skip
                assert times.min() <= one["t_min"] <= one["t_max"] <= times.max()
                assert one["t_min"] in times
                assert one["t_max"] - one["t_min"] < 1.0
                sides = [np.hypot(hdu.data["UCOORD"], hdu.data["VCOORD"]) for hdu in theirs if hdu.name in {"OI_VIS", "OI_VIS2"}]  # fmt: skip
                assert one["b_max"] <= np.concatenate(sides).max() * 1.001


def test_granules_of_gravity_equal_those_of_oidb():
    """The two rows that the README of oitools prints of this file."""
    folder = shared("data/interferometry/oifits")
    ft, sc = read(open_source("oifits", folder, files="GRAVI*"))
    words = ("target_name", "s_ra", "s_dec", "t_exptime", "t_min", "t_max", "em_res_power", "em_min", "em_max", "facility_name", "instrument_mode", "nb_vis", "nb_vis2", "nb_t3", "nb_channels")  # fmt: skip
    printed = [
        ("IRAS17216-3801", 261.2771541666667, -38.066788888888894, 36.54999999999172, 57562.13387079336, 57562.134832901625, 25.75830610631207, 2.0264997147023678e-6, 2.347295094295987e-6, "VLTI", "GRAVITY_FT", 6, 6, 4, 5),
        ("IRAS17216-3801", 261.2771541666667, -38.066788888888894, 0.0, 57562.1339081338, 57562.135323171286, 1008.6521574069673, 1.990000100704492e-6, 2.4500000108673703e-6, "VLTI", "GRAVITY_SC", 6, 6, 4, 210),
    ]  # fmt: skip
    for row, expected in zip((ft, sc), printed, strict=True):
        assert tuple(row[word] for word in words) == pytest.approx(expected, rel=1e-12)
        assert (row["instrument_name"], row["night"], row["progid"]) == ("GRAVITY", "2016-06-22", "60.A-9174(A)")


def test_oddities_of_a_file_are_reported_and_the_rest_is_read(tmp_path):
    folder = shared("data/interferometry/oifits")
    old = read(open_source("oifits", folder, files="NGC5128*"))
    assert {(row["doubts"], row["date_obs"]) for row in old} == {("DATE-OBS is 1564-02-15", "1564-02-15")}
    assert [row["night"] for row in old] == ["2005-02-28", "2005-05-26"]
    (whole,) = read(open_source("oifits", folder, files="NGC5128*", mode="files"))
    assert (whole["nb_vis"], whole["t_min"], whole["t_max"]) == (4, old[0]["t_min"], old[1]["t_max"])
    with warnings.catch_warnings(action="ignore"), fits.open(folder / "PIONIER_intro.fits") as file:
        file["OI_VIS2"].data["TARGET_ID"][0] = 77
        file["OI_VIS2"].data["MJD"][1] = 0.0
        file["OI_T3"].header["INSNAME"] = "nobody"
        file.append(fits.BinTableHDU.from_columns([fits.Column("IINDX", "J", array=[1])], name="OI_CORR"))
        file["OI_VIS2"].header["CORRNAME"] = "mine"
        file.writeto(tmp_path / "odd.fits")
    found = read(open_source("oifits", tmp_path, files="*.fits"))
    assert {row["doubts"] for row in found} == {"OI_VIS2 has impossible times: MJD 0; OI_TARGET has no target 77; INT_TIME is 357222 s; there is no OI_WAVELENGTH nobody"}  # fmt: skip
    assert {(row["target_name"], row["instrument_mode"]) for row in found} >= {("CO_ORI", "nobody"), (None, "PIONIER_Pnat(1.5884195/1.7597107)")}  # fmt: skip
    assert {row["correlation"] for row in found if row["nb_vis2"]} == {"mine"}
    assert [row["t_min"] for row in found if row["night"] is None] == [None]
    body = (folder / "AlphaCenA.oifits").read_bytes()
    (tmp_path / "odd.fits").write_bytes(body)
    for number, size in enumerate(range(3000, len(body), 9000)):
        (tmp_path / f"{number}.fits").write_bytes(body[:size])
    rejects = []
    there = {row["file.name"] for row in read(open_source("oifits", tmp_path, rejects, files="*.fits"), ["file.name"])}
    assert there == {"odd.fits"}
    assert len(rejects) == 13
    assert {one.reason.partition(" of ")[0].partition(" HDU")[0].partition(";")[0] for one in rejects} <= {"the file ends within the header", "the file ends within OI_VIS2", "the file ends within OI_T3", "the file ends within OI_TARGET", "the file ends within OI_ARRAY", "the file ends within OI_WAVELENGTH", "the file contains no OIFITS data"}  # fmt: skip


def test_oifits_behind_a_long_header_is_known(tmp_path):
    """As pipelines of ESO write it: a thousand cards before the first table."""
    with fits.open(shared("data/interferometry/oifits") / "PIONIER_intro.fits") as file:
        for number in range(1000):
            file[0].header[f"HIERARCH ESO DET KEY{number}"] = number
        file.writeto(tmp_path / "a.fits")
    assert file_kinds.detect_kind_from_file_content(tmp_path / "a.fits") == "oifits"
    fits.PrimaryHDU(header=fits.Header({"N": 1})).writeto(tmp_path / "b.fits")
    assert file_kinds.detect_kind_from_file_content(tmp_path / "b.fits") == "fits"


def test_damage_at_the_head_is_told_or_harmless(tmp_path):
    """One bad file of ten thousand must not end the ingest: whatever is in it, it is a row or kept aside."""
    chance = np.random.default_rng(2026)
    path = shared("data/interferometry/oifits/PIONIER_intro.fits")
    body = np.frombuffer(path.read_bytes()[:200_000], np.uint8)
    for number in range(12 * EXAMPLES_FACTOR):
        bytes_ = body.copy()
        places = chance.integers(0, min(len(body), 30_000), chance.integers(1, 12))
        places[::2] %= 600
        bytes_[places] = chance.integers(0, 256, len(places), np.uint8)
        (tmp_path / f"{number:03}{path.suffix}").write_bytes(bytes_.tobytes())
    (tmp_path / f"z{path.suffix}").write_bytes(path.read_bytes())
    rejects = []
    source = open_source("oifits", tmp_path, rejects, files=f"*{path.suffix}", mode="granules")
    found = read(source, ["file.name", "file.footprint"])
    assert {row["file.name"] for row in found} >= {f"z{path.suffix}"}
    assert len({row["file.name"] for row in found} | {one.file for one in rejects}) == 12 * EXAMPLES_FACTOR + 1


@pytest.mark.filterwarnings(
    "ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"
)  # it leaves files open
def test_counts_equal_those_of_pyoifits():
    """A second opinion, where it is installed."""
    oifits = pytest.importorskip("oifits")
    folder = shared("data/interferometry/oifits")
    looked = 0
    for path in sorted(folder.glob("*fits")):
        try:
            with warnings.catch_warnings(action="ignore"):
                theirs = oifits.open(str(path), quiet=True)
        except Exception:  # noqa: BLE001  (it does not read all of them)
            continue
        gc.collect()
        if not path.name.startswith("bad"):
            mine = read(open_source("oifits", folder, files=path.name))
            for column, lines in (("nb_vis2", theirs.vis2), ("nb_t3", theirs.t3), ("nb_vis", theirs.vis)):
                ids = [one.target.target.strip() for one in lines]
                assert {row["target_name"] for row in mine if row[column]} == {*ids}, (path.name, column)
                for name in {*ids}:
                    assert sum(row[column] for row in mine if row["target_name"] == name) == ids.count(name), path.name
            modes = {mode for mode, wave in theirs.wavelength.items() if len(wave.eff_wave)}
            assert {row["instrument_mode"] for row in mine} <= modes
            looked += 1
    assert looked > 8
