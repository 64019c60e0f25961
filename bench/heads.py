"""Heads of 10,000 FITS files and granules of 1,000 OIFITS files, beside astropy's reading of the same."""

from __future__ import annotations

import itertools
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from bench.measure import Journey, against
from hven.model import plugins
from hven.sources import SourceContext

FILES, CARDS, OIFITS, ROUNDS = 10_000, 60, 1_000, 3
AIMS = {"sources.heads": 1500, "sources.granules": 100}  # files a second


def journeys(only: str) -> Iterator[Journey]:
    """Read files that are in memory, in CPU time: others may be at work here."""
    if only in "sources.heads":
        yield _journey("sources.heads", FILES, _images, {"kind": "fits", "mode": "header"}, _headers)
    if only in "sources.granules":
        yield _journey("sources.granules", OIFITS, _visibilities, {"kind": "oifits"}, _tables)


def _journey(
    name: str,
    count: int,
    make: Callable[[Path, int], None],
    options: dict[str, str],
    theirs: Callable[[list[Path]], None],
) -> Journey:
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "data"
        folder.mkdir()
        make(folder, count)
        some = [folder / f"{number:05}.fits" for number in range(0, count, count // 100)]
        reference = count / 100 * statistics.median(_spent(lambda: theirs(some)) for _ in range(ROUNDS))
        value = statistics.median(_spent(lambda: _read(options, folder, None)) for _ in range(ROUNDS))
        _read(options, folder, Path(place))
        again = _spent(lambda: _read(options, folder, Path(place)))
    rates = (
        f"{count / value:,.0f} files a second (the aim is {AIMS[name]:,}), {count / again:,.0f} of those that are kept"
    )
    return against(
        name, value, reference, 0.5, unit="s of CPU", note=f"{rates}; astropy's own reading {count / reference:,.0f}"
    )


def _read(options: dict[str, str], folder: Path, kept: Path | None) -> int:
    kind, said = options["kind"], {key: value for key, value in options.items() if key != "kind"}
    module = plugins.load_plugin("sources", kind)
    source = module.open(
        module.Options.model_validate({"files": "*.fits", **said}),
        SourceContext(directory=folder, cache_directory=kept),
    )
    return sum(batch.num_rows for batch in source.read_batches())


def _images(folder: Path, count: int) -> None:
    from astropy.io import fits

    cards = {f"KEY{number}": number * 1.5 if number % 3 else f"text {number}" for number in range(CARDS)}
    fits.PrimaryHDU(np.zeros((64, 64), "f4"), header=fits.Header(cards)).writeto(folder / "00000.fits")
    body = (folder / "00000.fits").read_bytes()
    for number in range(1, count):
        (folder / f"{number:05}.fits").write_bytes(body.replace(b"'text 3  '", b"'t %6d'" % number))
    _old(folder)


def _headers(files: list[Path]) -> None:
    from astropy.io import fits

    for path in files:
        dict(fits.Header.fromfile(path).items())


def _visibilities(folder: Path, count: int) -> None:
    """Write what PIONIER's files have: four telescopes, six channels, five pointings."""
    from astropy.io import fits

    pairs = [*itertools.combinations((1, 2, 3, 4), 2)] * 5
    rows, channels = len(pairs), 6
    tables = {
        "OI_TARGET": [fits.Column("TARGET_ID", "I", array=[1]), fits.Column("TARGET", "16A", array=["HD 1"]), fits.Column("RAEP0", "D", array=[10.0]), fits.Column("DECEP0", "D", array=[-5.0])],
        "OI_WAVELENGTH": [fits.Column("EFF_WAVE", "E", array=np.linspace(1.5e-6, 1.8e-6, channels)), fits.Column("EFF_BAND", "E", array=[5e-8] * channels)],
        "OI_ARRAY": [fits.Column("STA_INDEX", "I", array=[1, 2, 3, 4]), fits.Column("STA_NAME", "8A", array=["A0", "B2", "C1", "D0"])],
        **{
            name: [
                fits.Column("TARGET_ID", "I", array=[1] * rows), fits.Column("TIME", "D", array=[0.0] * rows), fits.Column("MJD", "D", array=np.linspace(59000.1, 59000.2, rows)),
                fits.Column("INT_TIME", "D", array=[30.0] * rows), fits.Column(data, f"{channels}D", array=np.ones((rows, channels))), fits.Column(f"{data}ERR", f"{channels}D", array=np.ones((rows, channels))),
                fits.Column("UCOORD", "D", array=[30.0] * rows), fits.Column("VCOORD", "D", array=[-40.0] * rows), fits.Column("STA_INDEX", "2I", array=pairs), fits.Column("FLAG", f"{channels}L", array=np.zeros((rows, channels), bool)),
            ]
            for name, data in (("OI_VIS2", "VIS2DATA"), ("OI_VIS", "VISAMP"))
        },
    }  # fmt: skip
    hdus = [fits.BinTableHDU.from_columns(columns, name=name) for name, columns in tables.items()]
    for hdu in hdus:
        hdu.header.update({"INSNAME": "PIONIER", "ARRNAME": "VLTI", "OI_REVN": 1})
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(folder / "00000.fits")
    body = (folder / "00000.fits").read_bytes()
    for number in range(1, count):
        (folder / f"{number:05}.fits").write_bytes(body)
    _old(folder)


def _tables(files: list[Path]) -> None:
    from astropy.io import fits

    with warnings.catch_warnings(action="ignore"):
        for path in files:
            with fits.open(path) as hdus:
                for hdu in hdus[1:]:
                    for name in ("TARGET_ID", "MJD", "INT_TIME", "STA_INDEX", "EFF_WAVE", "TARGET"):
                        if name in hdu.columns.names:
                            np.asarray(hdu.data[name])


def _old(folder: Path) -> None:
    for path in folder.iterdir():
        os.utime(path, (1e9, 1e9))


def _spent(what: Callable[[], object]) -> float:
    begun = time.process_time()
    what()
    return time.process_time() - begun
