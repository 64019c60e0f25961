"""Tables and label images of contours for ``hven region``: columns by HFC's names or as options say -> regions, and what is wrong by row."""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import plugins
from hven.model.errors import UsageError, UserError, nearest
from hven.model.sky import Regions, contours, footprints, region_files
from hven.sources import Context, filekinds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

_OBSERVER = ("CRLN_OBS", "CRLT_OBS", "HGLN_OBS", "HGLT_OBS")  # for whom --date alone stands
_ARCSEC = re.compile(r"\s*(\"|arcsec)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What the options of the command say; a column's name, a number, or None: what the file calls as HFC does.

    Attributes
    ----------
    frame
        ``carrington`` or ``stonyhurst``: where longitudes begin if a date alone tells the observer.
    origin
        The number of an image's first pixel.
    freeman
        Chain codes by Freeman's table.
    """

    chain: str | None = None
    x: str | None = None
    y: str | None = None
    radius: str | None = None
    centre: str | None = None
    scale: str | None = None
    date: str | None = None
    observer: str | None = None
    rotation: str | None = None
    region: str | None = None
    name: str | None = None
    frame: str = "carrington"
    origin: int = 0
    freeman: bool = False


def read(path: Path, said: Said) -> region_files.Read:
    """Read the contours of a table, or the labels of an image.

    Parameters
    ----------
    path
        CSV, VOTable, JSON, FITS or Parquet.
    said
        Columns and numbers.

    Returns
    -------
    read
        Regions, and faults by row.

    Raises
    ------
    UserError
        No table and no image of labels.
    UsageError
        A column that is not there, or one that must be said.
    """
    kind = filekinds.named(path.name) or filekinds.inside(path)
    if kind is None:
        raise UserError(
            f"{path}: it is none of what regions are read from",
            remedy=f"{region_files.KNOWN}; tables of contours in CSV, VOTable, JSON, FITS or Parquet; FITS images of labels",
        )
    if kind == "fits" and (image := _image(path)) is not None:
        return _labels(path, *image, said)
    table = _Table(path, kind, said)
    region = table.column("region")
    if region is not None and table.given("chain") is None and said.x is None:
        return _texts(table, region)
    return _contours(table, said)


class _Table:
    """Columns of a file by what they are for."""

    def __init__(self, path: Path, kind: str, said: Said) -> None:
        module: Any = plugins.load("sources", kind)
        context = Context(directory=path.resolve().parent)
        options: dict[str, Any] = {"files": [path.name]}
        source = module.open(module.Options.model_validate(options), context)
        self.path, self.said = path, said
        self.names = [column.name for column in source.columns()]
        digits = self.given("chain")
        if kind == "csv" and digits in self.names:  # digits of a chain code are no number
            source = module.open(module.Options.model_validate({**options, "types": {digits: "text"}}), context)
        wanted = [
            one
            for part in (self.given(item.name) for item in fields(Said)[:11])
            for one in (part or "").split(",")
            if one in self.names
        ]
        batches = list(source.batches(list(dict.fromkeys(wanted))))
        self.rows = sum(batch.num_rows for batch in batches)
        if not self.rows:
            raise UserError(f"{path}: it is no file of regions, and a table without rows", remedy=region_files.KNOWN)
        self.table = pa.Table.from_batches(batches)

    def given(self, what: str) -> str | None:
        """Return what an option says, or the columns of HFC's that are there, as they are spelled."""
        said: str | None = getattr(self.said, what)
        known = {name.upper(): name for name in self.names}
        if said is not None:
            return ",".join(
                part if part in self.names else known.get(part.upper(), part)
                for part in map(str.strip, said.split(","))
            )
        for words in contours.HFC[what]:
            found = [known.get(word) for word in words.split(",")]
            if all(found):
                return ",".join(str(one) for one in found)
        return None

    def needed(self, what: str) -> pa.Array:
        """Return the column for something, which must be there."""
        found = self.column(what)
        if found is None:
            raise self._missing(what)
        return found

    def column(self, what: str) -> pa.Array | None:
        """Return the column for something; None: the file has none."""
        given = self.given(what)
        if given is None:
            return None
        if given not in self.names:
            raise UsageError(
                f"--{what} {given}: {self.path} has no such column",
                remedy=f"{nearest(given, self.names)} it has {', '.join(self.names)}".lstrip(),
            )
        found = self.table.column(given)
        return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found

    def _missing(self, what: str) -> UsageError:
        return UsageError(
            f"{self.path} has no column that is called {' or '.join(contours.HFC[what])}",
            remedy=f"say --{what} NAME; it has {', '.join(self.names)}",
        )

    def numbers(self, what: str, count: int) -> list[Numbers]:
        """Return so many numbers for each row: columns, or numbers themselves; one alone stands for all."""
        given = self.given(what)
        if given is None:
            raise self._missing(what)
        words = [word.strip() for word in given.split(",")]
        if len(words) not in {1, count}:
            raise UsageError(f"--{what} {given}: {count} columns or numbers are wanted", remedy="NAME,NAME or 1.5,1.5")
        found = []
        for word in words:
            if word in self.names:
                values = self.table.column(word).cast(pa.float64())
                found.append(
                    np.asarray(
                        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy(),
                        np.float64,
                    )
                )
                continue
            try:
                found.append(np.full(self.rows, float(word)))
            except ValueError:
                raise UsageError(
                    f"--{what} {word}: {self.path} has no such column, and it is no number",
                    remedy=f"{nearest(word, self.names)} it has {', '.join(self.names)}".lstrip(),
                ) from None
        return found * (count if len(found) == 1 else 1)

    def called(self) -> list[str | None]:
        """Return the name of each row."""
        name = self.given("name")
        if name is None or name not in self.names:
            return [None] * self.rows
        return [None if one is None else str(one) for one in self.table.column(name).to_pylist()]


def _texts(table: _Table, region: pa.Array) -> region_files.Read:
    """Read regions that are written in a column, as texts or as DALI's arrays."""
    if pa.types.is_list(region.type) or pa.types.is_large_list(region.type) or pa.types.is_fixed_size_list(region.type):
        values = [
            None if one is None else ("circle " if len(one) == 3 else "polygon ") + " ".join(map(repr, one))
            for one in region.to_pylist()
        ]
    else:
        values = region.cast(pa.string()).to_pylist()
    found = region_files.of_texts(values, mend=True)
    faults = [
        fault or ("" if value else "there is no region") for fault, value in zip(found.faults, values, strict=True)
    ]
    return region_files.Read(found.regions, faults, table.called(), found.frame, found.notes)


def _contours(table: _Table, said: Said) -> region_files.Read:
    chain = table.column("chain")
    x, y = table.needed("x"), table.needed("y")
    disc = _disc(table, said)
    if chain is not None:
        first = [np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False)) for column in (x, y)]
        steps = contours.FREEMAN if said.freeman else contours.HELIO
        # a file of text does not tell an empty code, which is a single pixel, from a missing one: a first pixel does
        begun = pa.array(np.isfinite(first[0]) & np.isfinite(first[1]))
        codes = chain.cast(pa.string())
        codes = pc.if_else(pc.and_(pc.is_null(codes), begun), "", codes)
        made = contours.chain_codes(codes, first[0], first[1], disc, origin=said.origin, table=steps)
    else:
        (starts, xs), (others, ys) = _lists(x, "x", table), _lists(y, "y", table)
        if not np.array_equal(starts, others):
            row = int(np.flatnonzero(np.diff(starts) != np.diff(others))[0]) + 1
            raise UserError(
                f"{table.path}: row {row}: x and y have not as many numbers",
                remedy="a list of x and one of y for each contour, equally long",
            )
        made = contours.pixel_lists(starts, xs, ys, disc, origin=said.origin)
    return _found(made, table.called())


def _found(made: contours.Contours, names: Sequence[str | None]) -> region_files.Read:
    faults = [""] * len(made.regions)
    for fault in made.faults():
        faults[fault.row] = str(fault.message)
    return region_files.Read(made.regions, faults, list(names), None)


def _lists(column: pa.Array, what: str, table: _Table) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Read lists of numbers, as arrays or as texts of numbers."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.split_pattern_regex(
            pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.fill_null(column, ""), r"[\[\](),;]+", " ")), r"\s+"
        )
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise UsageError(
            f"{table.path} has no chain code, and {table.given(what)} is no list of pixels",
            remedy=f"say --chain NAME; it has {', '.join(table.names)}",
        )
    flat = column.flatten()
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
        keep = pc.not_equal(flat, "")
        owner = np.repeat(np.arange(len(column)), column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False))
        sizes = np.bincount(owner[np.asarray(keep)], minlength=len(column))
        try:
            flat = pc.cast(flat.filter(keep), pa.float64())
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{table.path}: {table.given(what)}: {error}", remedy="numbers with blanks or commas between"
            ) from None
    else:
        sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), np.asarray(
        flat.cast(pa.float64()).fill_null(np.nan), np.float64
    )


def _disc(table: _Table, said: Said) -> contours.Disc:
    centre = table.numbers("centre", 2)
    scale = table.numbers("scale", 2)
    given = table.given("radius")
    arcsec = given is not None and _ARCSEC.search(given)
    if arcsec:
        number = _ARCSEC.sub("", given or "")
        radius = _Alone(table, number).radius()
    else:
        radius = table.numbers("radius", 1)[0] * np.abs(scale[0])
    lon, lat = _observer(table, said)
    # FITS counts pixels from 1, whatever the catalogue does
    first = 1 if (table.given("centre") or "").upper().startswith("CRPIX") else said.origin
    return contours.Disc(centre[0] - first, centre[1] - first, scale[0], scale[1], radius, lon, lat)


class _Alone:
    """A radius in arcseconds."""

    def __init__(self, table: _Table, word: str) -> None:
        self.table, self.word = table, word

    def radius(self) -> Numbers:
        """Return it for each row."""
        if self.word in self.table.names:
            return np.asarray(self.table.table.column(self.word).cast(pa.float64()).to_numpy(), np.float64)
        try:
            return np.full(self.table.rows, float(self.word))
        except ValueError:
            raise UsageError(
                f"--radius {self.word}: no such column, and no number", remedy="NAME, 374.87, or 985.9arcsec"
            ) from None


def _observer(table: _Table, said: Said) -> tuple[Numbers, Numbers]:
    if table.given("observer") is not None:
        lon, lat = table.numbers("observer", 2)
        return lon, lat
    date = table.given("date")
    if date is None:
        raise UsageError(
            f"{table.path} does not tell who saw the disc: no column is called {' or '.join((*contours.HFC['observer'], *contours.HFC['date']))}",
            remedy="say --observer LON,LAT (the point below it), or --date NAME for observers at the Earth",
        )
    times = _times(table.table.column(date).to_pylist() if date in table.names else [date] * table.rows, date, table)
    return _earth(times, table.numbers("rotation", 1)[0] if table.given("rotation") else np.nan, said)


def _earth(times: Any, rotation: Any, said: Said) -> tuple[Numbers, Numbers]:
    """Compute the point below an observer at the Earth; its longitude is infinite where the rotation's number is not that of the date."""
    earth = contours.sun.earth(times)
    lon = earth.l0 if said.frame == "carrington" else np.where(np.isnan(earth.l0), np.nan, 0.0)
    return np.where(contours.sun.contradicts(rotation, times), np.inf, lon), earth.b0


def _times(values: Sequence[Any], name: str, table: _Table) -> npt.NDArray[np.datetime64]:
    found = np.full(len(values), np.datetime64("NaT", "us"))
    for row, value in enumerate(values):
        try:
            text = str(value).strip().replace(" ", "T").removesuffix("Z") if isinstance(value, str) else value
            found[row] = (
                np.datetime64("NaT") if value is None or text == "" else np.datetime64(text).astype("datetime64[us]")
            )
        except ValueError:
            if name not in table.names:
                raise UsageError(
                    f"--date {name}: no such column, and no date",
                    remedy=f"{nearest(name, table.names)} it has {', '.join(table.names)}".lstrip(),
                ) from None
    return found


def _image(path: Path) -> tuple[Any, npt.NDArray[np.integer]] | None:
    """Return head and pixels of the first image of whole numbers; None if there is a table, or none."""
    from astropy.io import fits  # noqa: PLC0415  (slow to load, for images alone)

    try:
        with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=False) as file:
            if any(isinstance(one, fits.BinTableHDU) and not isinstance(one, fits.CompImageHDU) for one in file):
                return None
            for one in file:
                if one.header.get("NAXIS") == 2 and one.data is not None:
                    return one.header, np.asarray(one.data)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the FITS file is damaged, or cut short: {error}") from None
    raise UserError(f"{path}: the FITS file has neither a table nor an image")


def _labels(path: Path, head: Any, image: npt.NDArray[Any], said: Said) -> region_files.Read:
    if image.dtype.kind not in "iu":
        whole = np.nan_to_num(image).astype(np.int64)
        if not np.array_equal(whole, np.nan_to_num(image)):
            return _covered(path, head)
        image = whole
    values = np.unique(image)
    values = values[values != 0]
    if not len(values):
        raise UserError(f"{path}: the image has no labels: all its pixels are 0")
    if len(values) > 100_000:
        raise UserError(f"{path}: the image has {len(values):,} values, which are no labels")

    def number(what: str, count: int) -> Numbers | None:
        given = getattr(said, what)
        if given is None:
            return None
        try:
            words = [float(_ARCSEC.sub("", word)) for word in given.split(",")]
        except ValueError:
            words = []
        if len(words) not in {1, count}:
            raise UsageError(f"--{what} {given}: of an image, numbers are wanted", remedy="1.5 or 1.5,1.5")
        return np.resize(np.array(words), (count, 1))

    when = {} if said.date is None else {"DATE-OBS": said.date, **dict.fromkeys(_OBSERVER)}
    cards = {**head, **when}
    found = contours.disc(cards, stonyhurst=said.frame == "stonyhurst")
    if (scale := number("scale", 2)) is not None:
        found = replace(found, scale_x=scale[0], scale_y=scale[1])
    if (centre := number("centre", 2)) is not None:
        found = replace(found, x=centre[0] - said.origin, y=centre[1] - said.origin)
    if (radius := number("radius", 1)) is not None:
        pixels = _ARCSEC.search(said.radius or "") is None
        found = replace(found, radius=radius[0] * (np.abs(found.scale_x) if pixels else 1.0))
    if (observer := number("observer", 2)) is not None:
        found = replace(found, lon=observer[0], lat=observer[1])
    turn = number("rotation", 1)
    turns = turn[0] if turn is not None else contours.card(cards, "CAR_ROT")
    if observer is None and contours.sun.contradicts(turns, contours.date(cards)).any():
        found = replace(found, lon=np.array([np.inf]))
    for what, words, value in (("centre", "CRPIX1,CRPIX2", found.x + found.y), ("scale", "CDELT1,CDELT2", found.scale_x + found.scale_y), ("radius", "RSUN_OBS, R_SUN or DSUN_OBS", found.radius)):  # fmt: skip
        if not np.isfinite(value).all():
            raise UsageError(f"{path} has no card {words}", remedy=f"say --{what} with numbers")
    if np.isnan(found.lon + found.lat).any():
        raise UsageError(
            f"{path} does not tell who saw the disc",
            remedy="say --observer LON,LAT, or --date 2009-06-15T12:00 for observers at the Earth",
        )
    return _found(contours.masks(image, values, found), [str(value) for value in values.tolist()])


def _covered(path: Path, head: Any) -> region_files.Read:
    """Read what an image covers that has no labels."""
    cards = dict(head)
    place = footprints.places(cards)
    if place is None:
        raise UserError(
            f"{path}: the image has no labels, for its values are no whole numbers, and no footprint, for its header does not say where its pixels are"
        )
    found = _found(footprints.of_headers([cards]), [path.stem])
    return region_files.Read(found.regions, found.faults, found.names, "ICRS" if place.of.kind == "sky" else None)


def combined(read: region_files.Read) -> Regions:
    """Unite all rows.

    Parameters
    ----------
    read
        Regions.

    Returns
    -------
    region
        One row.
    """
    return read.regions.grouped(np.array([0, len(read.regions)])).mended()
