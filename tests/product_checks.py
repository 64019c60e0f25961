"""Checks of the media of product files, for those of Hven and those of plug-in packages."""

from __future__ import annotations

import io
import shutil
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pytest
from astropy.io import fits
from astropy.io.votable import parse_single_table

from hven.formats.media import ArrayPart, RemotePath, TablePart, open_product
from hven.model.errors import SourceError, UpstreamError
from plugin_needs import load_core_fixtures, require_core_fixtures
from shared import shared

ORIGINS = pytest.mark.parametrize("origin", ["real", "made"])


def find_real_products(patterns: list[str], count: int) -> list[Path]:
    """Find the real files of a medium below ``shared/data``."""
    data = shared("data")
    found = [path for pattern in patterns for path in sorted(data.glob(pattern))]
    assert len(found) == count
    return found


def open_converted(made) -> fits.HDUList:
    body = b"".join(made.read_chunks())
    assert made.size in {None, len(body)}
    return fits.open(io.BytesIO(body))


def _load_product_writer(name: str) -> Any:
    """Load a function that cuts or converts products; skip the test if the package that has it is absent."""
    require_core_fixtures("PRODUCT_WRITERS")
    return load_core_fixtures("PRODUCT_WRITERS")[name]


def write_product_as_fits(*arguments: Any, **options: Any) -> Any:
    return _load_product_writer("write_product_as_fits")(*arguments, **options)


def write_product_as_votable(*arguments: Any, **options: Any) -> Any:
    return _load_product_writer("write_product_as_votable")(*arguments, **options)


def create_selection(**limits: Any) -> Any:
    return _load_product_writer("CutoutSelection")(**limits)


def cut_product(*arguments: Any, **options: Any) -> Any:
    return _load_product_writer("cut_product")(*arguments, **options)


def read_whole_array(array: ArrayPart) -> np.ndarray:
    return array.read([slice(0, size) for size in array.shape])


def check_conversion(path: Path, medium: str) -> None:
    """Check that a product has a medium, and that its parts are converted to FITS and VOTable."""
    with open_product(path) as product:
        assert product.medium == medium, path.name
        hdus = [
            hdu
            for hdu in open_converted(write_product_as_fits(product))
            if hdu.header["NAXIS"] and hdu.name != "WCS-TAB"
        ]
        written = [part for part in product.parts if not part.name.endswith(" points")]
        for hdu, part in zip(hdus, written, strict=True):
            assert hdu.name.upper() in {part.name.upper(), "PRIMARY", ""}, path.name
            if isinstance(part, ArrayPart):
                assert np.array_equal(hdu.data, read_whole_array(part), equal_nan=True), (path.name, hdu.name)
            else:
                assert len(hdu.data) == part.row_count
        tables = [part for part in product.parts if isinstance(part, TablePart) and part.row_count]
        for part in tables[:5]:
            made = b"".join(write_product_as_votable(product, str(part.index)).read_chunks())
            assert len(parse_single_table(io.BytesIO(made)).array) == part.row_count


def check_damage(sound: Path, directory: Path) -> None:
    """Check a product that is cut off at many places or has changed bytes: a fault of its own or what is left, nothing else."""
    body = sound.read_bytes()
    path = directory / sound.name
    rng = np.random.default_rng(3)
    told = []
    for beside in (".tab", ".lbl", ".img"):
        if beside != sound.suffix and sound.with_suffix(beside).exists():
            shutil.copy(sound.with_suffix(beside), directory)
    for turn in range(12):
        if turn < 6:
            damaged = body[: int(len(body) * turn / 6)]
        else:
            damaged = bytearray(body)
            for at in rng.integers(0, min(len(body), 20_000), 20):
                damaged[at] = int(rng.integers(0, 256))
        path.write_bytes(damaged)
        try:
            with open_product(path) as product:
                b"".join(write_product_as_fits(product, byte_limit=50 << 20).read_chunks())
        except SourceError as fault:
            told.append(str(fault))
    assert not any(str(directory) in one for one in told)


class RemoteFile:
    """A file of this machine as if it lay on another: read by ranges alone, and what was read is counted."""

    def __init__(self, path):
        self.path, self.length, self.read = path, path.stat().st_size, 0

    def read_spans(self, span_bytes, offsets, *, read_ahead=False):
        body = self.path.read_bytes()
        for offset in offsets:
            self.read += span_bytes
            yield body[offset : offset + span_bytes]


def open_as_remote(path):
    """Return the same file on another server, and those beside it."""
    known = {one.name: RemoteFile(one) for one in path.parent.iterdir() if one.is_file()}
    return RemotePath(PurePosixPath("data") / path.name, lambda path: known.get(path.removeprefix("data/"))), known


def check_remote_reads(path: Path) -> None:
    """Check that a product on another server is read by ranges: the same parts, and the same files beside a label."""
    place, known = open_as_remote(path)
    with open_product(place) as product, open_product(path) as other:
        assert [part.name for part in product.parts] == [part.name for part in other.parts]
        assert [one.name for one in product.companion_files] == [one.name for one in other.companion_files]
        before = sum(one.read for one in known.values())
        array = product.find_part()
        window = tuple(slice(size // 2, size // 2 + 1) for size in getattr(array, "shape", ()))
        if window:
            assert np.array_equal(array.read(window), other.find_part().read(window), equal_nan=array.dtype.kind == "f")
            assert sum(one.read for one in known.values()) - before < max(200_000, path.stat().st_size // 2)
        assert b"".join(write_product_as_fits(product).read_chunks()) == b"".join(
            write_product_as_fits(other).read_chunks()
        )


def check_failing_server(path: Path, after: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Check that the fault of a server comes through, while a product is opened and while it is read."""
    place, _ = open_as_remote(path)
    spans, asked = RemoteFile.read_spans, []

    def failing(self, span_bytes, offsets, *, read_ahead=False):
        asked.append(span_bytes)
        if len(asked) > after:
            raise UpstreamError("it is away", remedy="")
        return spans(self, span_bytes, offsets)

    monkeypatch.setattr(RemoteFile, "read_spans", failing)

    def read():
        with open_product(place) as product:
            for _ in range(2):
                b"".join(write_product_as_fits(product).read_chunks())
                asked.extend([0] * 9)

    with pytest.raises(UpstreamError, match="it is away"):
        read()
