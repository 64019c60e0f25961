"""A small archive of an observatory for the ten tasks of users.

Real data from shared/data: the clusters of PSZ2, the flares of GOES, the interferograms, ten cubes of OMEGA, the
gazetteer of Mars and the header of AIA. Made up, in the form that the examples have: the other cubes and their
olivine, a day of AIA, the maps of GAIA-DEM, the days of the radioheliograph, active regions, the names of Abell
clusters, and raw frames other than the one that the header of V838 Mon names.
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import shutil
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import browser_site
import numpy as np
from astropy.io import fits
from astropy.table import Table

from example_sites import EXAMPLES
from process_runner import run_hven
from shared import shared

CHANNELS = (94, 131, 171, 193, 211, 304, 335, 1600, 1700, 4500)
DAY = datetime(2012, 1, 2)
OIFITS = (
    "AMBER_V838_Mon_2013-04-15.fits", "AMBER_DelSco_K_2010-04-15T07h12_MR.fits", "betlyr6t.oifits", "PIONIER_intro.fits",
    "GRAVI.2016-06-23T03-10-17.458_singlesciviscalibrated.fits", "MATISSE_2018-12-13T081156_HD45677_A0G1J2J3_IR-LM.fits",
)  # fmt: skip
CLUSTERS = """\
collection: sz
title: Clusters of galaxies by the Sunyaev-Zeldovich effect
description: Planck's second catalogue (PSZ2), and which other surveys have its clusters.
creators: [{name: Planck Collaboration}]
subjects: [galaxy clusters, Sunyaev-Zeldovich effect]
waveband: Millimeter
facility: Planck
instrument: HFI
bibcode: 2016A&A...594A..27P
tables:
  clusters:
    title: Clusters
    description: One row per cluster
    position: [ra, dec]
    primary: [name]
    source: {kind: fits, files: HFI_PCCS_SZ-union_R2.08.fits}
    columns:
      name: {type: string, ucd: meta.id;meta.main, required: true, label: Name, description: Name of the cluster in PSZ2, rank: 1}
      other_name: {type: string, ucd: meta.id, label: Also called, description: Name in Abell's catalogue, rank: 1}
      ra: {type: float64, unit: deg, ucd: pos.eq.ra;meta.main, label: Right ascension, description: Right ascension (ICRS), rank: 1, display: .5f}
      dec: {type: float64, unit: deg, ucd: pos.eq.dec;meta.main, label: Declination, description: Declination (ICRS), rank: 1, display: .5f}
      redshift: {type: float64, ucd: src.redshift, label: Redshift, description: "Redshift, if it is known", rank: 2, display: .4f}
      seen_by: {type: int16, ucd: meta.number, label: Surveys that saw it, description: "How many of Planck, ROSAT (MCXC), SDSS (redMaPPer), ACT and SPT have it", rank: 2}
      surveys: {type: string, ucd: meta.id;instr, label: Seen by, description: Surveys that have it, rank: 2}
      mass: {type: float64, unit: 10**14solMass, ucd: phys.mass, label: Mass, description: "Mass within R500, if the redshift is known", rank: 2, display: .2f}
      snr: {type: float32, ucd: stat.snr, label: Signal over noise, description: Signal over noise, rank: 3, display: .2f}
    map:
      redshift: nullif(REDSHIFT, -1)
      mass: CASE WHEN REDSHIFT > 0 THEN MSZ END
      seen_by: >-
        1 + CASE WHEN trim(MCXC) <> '' THEN 1 ELSE 0 END + CASE WHEN trim(REDMAPPER) <> '' THEN 1 ELSE 0 END
        + CASE WHEN trim(ACT) <> '' THEN 1 ELSE 0 END + CASE WHEN trim(SPT) <> '' THEN 1 ELSE 0 END
      surveys: >-
        'Planck' || CASE WHEN trim(MCXC) <> '' THEN ', ROSAT' ELSE '' END || CASE WHEN trim(REDMAPPER) <> '' THEN ', SDSS' ELSE '' END
        || CASE WHEN trim(ACT) <> '' THEN ', ACT' ELSE '' END || CASE WHEN trim(SPT) <> '' THEN ', SPT' ELSE '' END
    lookup:
      other_name: {from: NAME, table: names.csv, key: psz2, value: abell, missing: 'null'}
"""
FLARES = """\
collection: flares
title: Flares of the Sun
description: Flares of GOES by two catalogues, HEC and HEK, of 2012-01-01 and 02.
creators: [{name: NOAA}]
subjects: [solar flares]
waveband: X-ray
facility: GOES
tables:
  goes:
    title: Flares by HEC
    primary: [hec_id]
    source: {kind: csv, files: goes.csv}
    columns:
      hec_id: {type: int32, ucd: meta.id;meta.main, label: Number, rank: 1}
      time_start: {type: timestamp, ucd: time.start, label: Begin, rank: 1}
      time_peak: {type: timestamp, ucd: time.epoch, label: Peak, rank: 1}
      time_end: {type: timestamp, ucd: time.end, label: End, rank: 1}
      xray_class: {type: string, ucd: meta.code.class, label: Class, rank: 1}
      nar: {type: int32, ucd: meta.id, label: Region of NOAA, rank: 2}
  hek:
    title: Flares by HEK
    primary: [solar_object]
    source: {kind: csv, files: hek.csv}
    columns:
      solar_object: {type: string, ucd: meta.id;meta.main, label: Name, rank: 1}
      time_start: {type: timestamp, ucd: time.start, label: Begin, rank: 1}
      time_end: {type: timestamp, ucd: time.end, label: End, rank: 1}
      goes_class: {type: string, ucd: meta.code.class, label: Class, rank: 1}
"""
RAW_FRAMES = """\
collection: eso
title: Raw frames of the VLTI
description: One row per raw frame. Made up but for the one of V838 Mon, which the header of the calibrated file names.
creators: [{name: An archive, affiliation: ESO}]
subjects: [optical interferometry]
waveband: Infrared
facility: VLTI
tables:
  raw:
    title: Raw frames of the VLTI
    description: One row per raw frame
    primary: [dp_id]
    source: {kind: csv, files: raw.csv}
    columns:
      dp_id: {type: string, ucd: meta.id;meta.main, label: Frame, rank: 1}
      object: {type: string, ucd: meta.id;src, label: Target, rank: 1}
      mjd_obs: {type: float64, unit: d, ucd: time.start;obs.exposure, label: Begin, rank: 1}
      ob_id: {type: int64, ucd: meta.id;obs, label: Observing block, rank: 2, indexed: true}
      instrument: {type: string, ucd: meta.id;instr, label: Instrument, rank: 2}
      calib_level: {type: int16, ucd: meta.code;obs.calib, label: Calibration level, rank: 3}
    set: {calib_level: 0}
"""
NOMENCLATURE = """\
collection: nomenclature
title: Names of features of Mars
description: Named features, from the Gazetteer of Planetary Nomenclature (IAU, USGS).
creators: [USGS Astrogeology]
subjects: [mars]
tables:
  features:
    title: Names of features of Mars
    primary: [feature]
    source: {kind: csv, files: features.csv}
    columns:
      feature: {type: int32, ucd: meta.id, rank: 3}
      body: {type: string, ucd: meta.id;src, rank: 2}
      name: {type: string, ucd: meta.id;meta.main, rank: 1}
      lat: {type: float64, unit: deg, ucd: pos.bodyrc.lat, rank: 1}
      lon: {type: float64, unit: deg, ucd: pos.bodyrc.lon, rank: 1}
      diameter: {type: float32, unit: km, ucd: phys.size, rank: 1}
"""
OLIVINE = """\
      olivine: {type: float32, ucd: phys.composition.species, label: Olivine, description: "Index of olivine, from 0 (none) to 1. Made up", rank: 1}
"""
GRANULE = """
      - gid: fits
        set: {access_format: application/fits, access_estsize: 6}
        text: {access_url: "{site.url}/collections/omega/files/fits/{id}.fits"}
"""


def build_archive(site: Path, port: int) -> None:
    """Build a site in a new directory, for a port of this machine, and publish its collections."""
    run_hven("init", site)
    settings = site / "hven.toml"
    top, bracket, sections = settings.read_text().partition("\n[")
    settings.write_text(
        f'{top}\norigins = ["{browser_site.PREVIEW_ORIGIN}"]\nport = {port}\ntitle = "An archive"{bracket}{sections}'
    )
    random = np.random.default_rng(2012)
    for name, make in COLLECTION_WRITERS.items():
        directory = site / "collections" / name
        directory.mkdir(parents=True)
        make(directory, random)
        run_hven("--site", site, "ingest", name)


def replace_texts(text: str, *pairs: tuple[str, str]) -> str:
    """Replace texts, each of which must occur."""
    for old, new in pairs:
        assert old in text, old
        text = text.replace(old, new)
    return text


def adapt_descriptor(example: str, name: str, *pairs: tuple[str, str]) -> str:
    """Read the descriptor of an example, replace texts, and drop its tests, which expect the rows of the example."""
    text = (EXAMPLES / example / "collections" / name / f"{name}.yaml").read_text()
    return replace_texts(text.partition("\ntests:")[0] + "\n", *pairs)


def run_example(example: str, folder: Path, *pairs: tuple[str, str]) -> None:
    """Run the program of an example in another folder, with replaced texts."""
    made = folder / "made"
    (made / "collections" / folder.name).mkdir(parents=True)
    for path in (EXAMPLES / example).glob("*.py"):
        shutil.copy(path, made)
    program = made / "make_data.py"
    program.write_text(replace_texts(program.read_text(), *pairs))
    subprocess.run([sys.executable, program], check=True)


def write_table(path: Path, heads: list[str], rows: list[list[object]]) -> None:
    browser_site.write_csv(path, [list(heads), *rows])


def write_aia_collection(folder: Path, random: np.random.Generator) -> None:
    """Write images of AIA with a real header: ten channels, one image in about twenty minutes for 26 hours."""
    (folder / "aia.yaml").write_text(
        adapt_descriptor(
            "10-sdo-aia-images", "aia",
            ("let: {base: https://sdo.example.org}", 'files: "data/**/*.fits"'),
            ("{base}/{url_path(file.path)}", "{site.url}/collections/aia/files/{url_path(file.path)}"),
            ("{base}/thumbnails/{file.stem}.jpg", "{site.url}/collections/aia/preview/{url_path(file.path)}?size=200"),
            ("every hour and in four lines", "every twenty minutes and in ten channels"),
            ("description: Wavelength of the line", "label: Wavelength, description: Wavelength of the line"),
        )
    )  # fmt: skip
    real = browser_site.read_aia_header()
    kept = ("TELESCOP", "LVL_NUM", "QUALITY", "CRVAL1", "CRVAL2", "CDELT1", "CDELT2", "CRPIX1", "CRPIX2", "DSUN_OBS", "RSUN_OBS", "CTYPE1", "CTYPE2", "CUNIT1", "CUNIT2")  # fmt: skip
    y, x = np.mgrid[:16, :16] - 7.5
    shown = np.clip(400 - 6 * (x**2 + y**2), 0, None).astype("i2")
    target = folder / "data"
    target.mkdir()
    for line in CHANNELS:
        image = fits.ImageHDU(shown)
        image.header.update({key: real[key] for key in kept} | {"ZNAXIS1": 128, "ZNAXIS2": 128, "WAVELNTH": line, "EXPTIME": 2.0})  # fmt: skip
        for slot in range(-3, 75):
            when = DAY + timedelta(seconds=1200 * slot + int(random.integers(-500, 500)))
            image.header["DATE-OBS"] = f"{when.isoformat()}.00"
            fits.HDUList([fits.PrimaryHDU(), image]).writeto(target / f"AIA{when:%Y%m%d_%H%M%S}_{line:04d}.fits")


def write_omega_collection(folder: Path, random: np.random.Generator) -> None:
    """Write cubes of OMEGA: ten real ones, 240 made up (thirty of them in Nili Fossae), each also as FITS."""
    browser_site.write_omega_collection(folder, random)
    path = folder / "omega.yaml"
    text = path.read_text()
    path.write_text(
        replace_texts(
            text,
            ("let: {base:", 'files: "fits/*.fits"\nlet: {base:'),
            ("      data_quality: {type", f"{OLIVINE}      data_quality: {{type"),
            ("      data_quality: '", "      olivine: '\"properties.olivine\"'\n      data_quality: '"),
        ).rstrip()
        + GRANULE
    )
    (folder / "fits").mkdir()
    for number, one in enumerate(sorted((folder / "data" / "omega_data_cubes").glob("*/*.json"))):
        item = json.loads(one.read_text())
        item["properties"]["olivine"] = round(float(random.uniform(0, 1)), 3)
        season = abs((item["properties"]["solar_longitude"] + 180) % 360 - 180)
        if number >= 10 and (number % 8 == 2 or season < 20):
            west, south = 74.7 + float(random.uniform(-2, 2)), 20.5 + float(random.uniform(-2, 2))
            item["bbox"] = [round(west, 3), round(south, 3), round(west + 3, 3), round(south + 2, 3)]
        one.write_text(json.dumps(item))
        cube = np.full((3, 4, 4), item["properties"]["olivine"], "f4")
        fits.PrimaryHDU(cube, fits.Header({"OBJECT": "MARS", "CUBE": item["id"]})).writeto(folder / "fits" / f"{item['id']}.fits")  # fmt: skip


def write_dem_collection(folder: Path, random: np.random.Generator) -> None:
    """Write maps of GAIA-DEM: four small files for each half hour of two days."""
    (folder / "gaia_dem.yaml").write_text(
        adapt_descriptor(
            "05-gaia-dem", "gaia_dem",
            ("let: {base: https://medoc.example.org/gaia-dem}", 'files: "4*/*.fits"'),
            ("{base}/{id}/{target.file_name}", "{site.url}/collections/gaia_dem/files/{id}/{target.file_name}"),
            ('"{base}/{id}/{target.granule_uid}.png"', '"{site.url}/collections/gaia_dem/preview/{id}/{target.file_name}?size=200"'),
            ("quantity: {type: string,", "quantity: {type: string, label: Quantity,"),
        )
    )  # fmt: skip
    run_example("05-gaia-dem", folder, ("datetime(2010, 5, 13)", "datetime(2012, 1, 1)"))
    shutil.move(folder / "made" / "collections" / "gaia_dem" / "data", folder / "data")
    y, x = np.mgrid[:24, :24] - 11.5
    with (folder / "data" / "gaia_dem.csv").open() as lines:
        rows = list(csv.DictReader(lines))
    for row in rows:
        (folder / row["id"]).mkdir()
        for at, word in enumerate(("em", "width", "temp", "chi2")):
            image = np.exp(-((x - at) ** 2 + y**2) / (30 + 10 * at)) * (1 + at)
            fits.PrimaryHDU(image.astype("f4")).writeto(folder / row["id"] / f"aia_{row['id']}_{word}.fits")


def write_nrh_collection(folder: Path, random: np.random.Generator) -> None:
    """Write quick-looks of the radioheliograph: forty days, each at some of nine frequencies."""
    (folder / "nrh.yaml").write_text(adapt_descriptor("06-nrh-quicklooks", "nrh"))
    run_example("06-nrh-quicklooks", folder, ("datetime(2011, 6, 1)", "datetime(2012, 1, 1)"))
    shutil.move(folder / "made" / "collections" / "nrh" / "data", folder / "data")


def write_region_collection(folder: Path, random: np.random.Generator) -> None:
    """Write active regions in all tables of the HFC; the images begin on 2022-04-14."""
    common = EXAMPLES / "09-hfc-features" / "collections" / "hfc.yaml"
    shutil.copy(common, folder.parent)
    (folder / "hfc1ar.yaml").write_text(adapt_descriptor("09-hfc-features", "hfc1ar"))
    # Carrington's longitude and latitude of the middle of the disc on that day, and the number of the rotation
    run_example(
        "09-hfc-features", folder,
        ("YEARS = {2004: (datetime(2004, 1, 1), 164.6, -2.95, 2011),", "YEARS = {2022: (datetime(2022, 4, 14), 225.2, -5.7, 2256), 2004: (datetime(2004, 1, 1), 164.6, -2.95, 2011),"),
        ("moment = datetime(2004, 1, 1, 0, 3, 1)", "moment = datetime(2022, 4, 14, 0, 3, 1)"),
        ("lon, lat, wide, high = 0.7, 12.0, 5.0, 3.0", "lat = 12.0"),
    )  # fmt: skip
    shutil.move(folder / "made" / "collections" / "hfc.sqlite", folder.parent)


def write_cluster_collection(folder: Path, random: np.random.Generator) -> None:
    """Write the clusters of Planck; two have Abell numbers."""
    shutil.copy(shared("data/images/clusters/HFI_PCCS_SZ-union_R2.08.fits"), folder)
    (folder / "sz.yaml").write_text(CLUSTERS)
    write_table(folder / "names.csv", ["psz2", "abell"], [["PSZ2 G062.94+43.69", "ACO 2199"], ["PSZ2 G057.80+88.00", "ACO 1656"]])  # fmt: skip


def write_flare_collection(folder: Path, random: np.random.Generator) -> None:
    """Write real flares of two catalogues."""
    (folder / "flares.yaml").write_text(FLARES)
    goes = Table.read(shared("data/helio/flares/hec_goes_20120101-20120103.ecsv"))
    heads = ["hec_id", "time_start", "time_peak", "time_end", "xray_class", "nar"]
    goes[heads].write(folder / "goes.csv", format="ascii.csv")
    hek = Table.read(shared("data/helio/flares/hek_swpc_20120101-20120103.ecsv"))
    rows = [
        [row["SOL_standard"], str(row["event_starttime"]), str(row["event_endtime"]), row["fl_goescls"]] for row in hek
    ]
    write_table(folder / "hek.csv", ["solar_object", "time_start", "time_end", "goes_class"], rows)


def write_raw_frame_collection(folder: Path, random: np.random.Generator) -> None:
    """Write raw frames: the one that the header of V838 Mon names, and frames of other blocks and stars."""
    (folder / "eso.yaml").write_text(RAW_FRAMES)
    head = fits.getheader(shared(f"data/interferometry/oifits/{OIFITS[0]}"))
    named = re.match(r"AMBER\.[0-9T:.-]{23}", head["ESO PRO REC1 RAW1 NAME"])
    assert named
    rows: list[list[object]] = [[named[0], "V838_Mon", head["MJD-OBS"], head["ESO OBS ID"], "AMBER"]]
    for number in range(60):
        star = ("V838_Mon", "HD45677", "eps_Aur", "DelSco")[number % 4]
        mjd = 56_300 + 3.7 * number
        rows.append([f"AMBER.{number:04d}", star, round(mjd, 5), 200_300_000 + number, "AMBER"])
    write_table(folder / "raw.csv", ["dp_id", "object", "mjd_obs", "ob_id", "instrument"], rows)


def write_oifits_collection(folder: Path, random: np.random.Generator) -> None:
    """Write real files of interferometers."""
    (folder / "data").mkdir()
    for name in OIFITS:
        shutil.copy(shared(f"data/interferometry/oifits/{name}"), folder / "data" / name)
    text = adapt_descriptor(
        "13-oifits-archive", "oidb",
        ('"data/*.oifits"', '"data/*fits"'),
        ("  files:\n    description", "  heads:\n    description"),  # Hven adds a table of the other name
        ("access: private                                       # but for the table at the end\n", ""),
        *((f"  {name}:\n    description", f"  {name}:\n    access: private\n    description") for name in ("heads", "targets", "bands", "arrays", "visibilities")),
        ("JOIN oidb.files USING", "JOIN oidb.heads USING"),
        ("let: {base: https://oidb.example.org/files}", 'let: {base: https://oidb.example.org/files}\nfiles: {files: "data/*fits", type: application/oifits}'),
        ("columns: {file_name: string, instrument: string,", "columns: {file_name: string, ob_id: int64, calib_level: int16, instrument: string,"),
        ("map: {file_name: file.name, instrument: INSTRUME, program: PROG_ID,", "map: {file_name: file.name, ob_id: header('ESO OBS ID'), calib_level: \"CASE WHEN header('ESO PRO CATG') LIKE '%CALIBRATED' OR file.name LIKE '%calibrated%' THEN 2 ELSE 1 END\", instrument: header('INSTRUME'), program: header('PROG_ID'),"),
        ("      target: {type: string, ucd: meta.id;src,", '      calib_level: {type: int16, ucd: meta.code;obs.calib, label: Calibration level, description: "2: calibrated", rank: 1}\n      ob_id: {type: int64, ucd: meta.id;obs, label: Observing block, description: Number of the observing block, rank: 2}\n      target: {type: string, ucd: meta.id;src, label: Target, rank: 1,'),
        ("ucd: meta.id;meta.file, description: Name of the file, indexed: true}", "ucd: meta.id;meta.file, label: File, rank: 1, description: Name of the file, indexed: true}"),
    )  # fmt: skip
    links = """\
    links:
      - {semantics: this, file: "data/{target.file_name}", type: application/oifits, qualifier: "#visibility"}
      - semantics: progenitor
        from: eso.raw
        where: raw.ob_id = target.ob_id
        text: "{site.url}/collections/eso/raw?dp_id={raw.dp_id}"
        type: text/html
        description: "raw frame {raw.dp_id}"
"""
    (folder / "oidb.yaml").write_text(text.replace("    obscore:\n", f"{links}    obscore:\n"))


def write_nomenclature_collection(folder: Path, random: np.random.Generator) -> None:
    """Write the named features of Mars."""
    (folder / "nomenclature.yaml").write_text(NOMENCLATURE)
    rows: dict[str, list[object]] = {}  # one stands there twice
    with gzip.open(shared("data/planetary/nomenclature.dat.gz"), "rt") as lines:
        for line in lines:
            cells = line.rstrip("\n").split("\t")
            if cells[0] == "Mars":
                said = re.match(r'_\("([^"]*)"', cells[2])
                rows[cells[1]] = [cells[1], "Mars", said[1] if said else cells[2], *cells[4:7]]
    write_table(folder / "features.csv", ["feature", "body", "name", "lat", "lon", "diameter"], [*rows.values()])


COLLECTION_WRITERS = {
    "nomenclature": write_nomenclature_collection, "aia": write_aia_collection, "omega": write_omega_collection, "gaia_dem": write_dem_collection, "nrh": write_nrh_collection, "hfc1ar": write_region_collection, "sz": write_cluster_collection, "flares": write_flare_collection,
    "eso": write_raw_frame_collection, "oidb": write_oifits_collection,
}  # fmt: skip
