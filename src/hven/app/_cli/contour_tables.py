"""Tables and label images of contours for ``hven region``.

Columns by HFC's names or as options say -> regions, and what is wrong by row.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.model import plugins
from hven.model.errors import UsageError, UserError, suggest_spelling
from hven.model.sky import Regions, contours, footprints, region_files
from hven.sources import SourceContext, file_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

MAX_LABELS = 100_000  # values of an image that is taken for one of labels
_OBSERVER_CARDS = ("CRLN_OBS", "CRLT_OBS", "HGLN_OBS", "HGLT_OBS")  # for whom --date alone stands
_ARCSEC_PATTERN = re.compile(r"\s*(\"|arcsec)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContourOptions:
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


def read_contours(path: Path, options: ContourOptions) -> region_files.ParsedRegions:
    """Read the contours of a table, or the labels of an image.

    Parameters
    ----------
    path
        CSV, VOTable, JSON, FITS or Parquet.
    options
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
    source_kind = file_kinds.find_kind_by_name(path.name) or file_kinds.find_kind_of_file(path)
    if source_kind is None:
        raise UserError(
            f"{path}: it is none of what regions are read from",
            remedy=f"{region_files.READABLE_FORMATS}; tables of contours in CSV, VOTable, JSON, FITS or Parquet; FITS "
            f"images of labels",
        )
    if source_kind == "fits" and (image := _read_image(path)) is not None:
        return _read_labels(path, *image, options)
    table = _ContourTable(path, source_kind, options)
    region = table.find_column("region")
    if region is not None and table.find_column_names("chain") is None and options.x is None:
        return _read_region_texts(table, region)
    return _build_contours(table, options)


class _ContourTable:
    """Columns of a file by what they are for."""

    def __init__(self, path: Path, kind: str, contour_options: ContourOptions) -> None:
        module: Any = plugins.load_plugin("sources", kind)
        context = SourceContext(directory=path.resolve().parent)
        options: dict[str, Any] = {"files": [path.name]}
        source = module.open(module.Options.model_validate(options), context)
        self.path = path
        self.options = contour_options
        self.names = [column.name for column in source.list_columns()]
        digits = self.find_column_names("chain")
        if kind == "csv" and digits in self.names:  # digits of a chain code are no number
            source = module.open(module.Options.model_validate({**options, "types": {digits: "text"}}), context)
        wanted_columns = [
            column_name
            for part in (self.find_column_names(item.name) for item in fields(ContourOptions)[:11])
            for column_name in (part or "").split(",")
            if column_name in self.names
        ]
        batches = list(source.read_batches(list(dict.fromkeys(wanted_columns))))
        self.row_count = sum(batch.num_rows for batch in batches)
        if not self.row_count:
            raise UserError(
                f"{path}: it is no file of regions, and a table without rows", remedy=region_files.READABLE_FORMATS
            )
        self.table = pa.Table.from_batches(batches)

    def find_column_names(self, option: str) -> str | None:
        """Return what an option says, or the columns of HFC's that are there, as they are spelled."""
        option_value: str | None = getattr(self.options, option)
        names_by_upper = {name.upper(): name for name in self.names}
        if option_value is not None:
            return ",".join(
                part if part in self.names else names_by_upper.get(part.upper(), part)
                for part in map(str.strip, option_value.split(","))
            )
        for words in contours.HFC_COLUMN_NAMES[option]:
            matched_names = [names_by_upper.get(word) for word in words.split(",")]
            if all(matched_names):
                return ",".join(str(matched_name) for matched_name in matched_names)
        return None

    def require_column(self, option: str) -> pa.Array:
        """Return the column for something, which must be there."""
        values = self.find_column(option)
        if values is None:
            raise self._build_missing_error(option)
        return values

    def find_column(self, option: str) -> pa.Array | None:
        """Return the column for something; None: the file has none."""
        column_name = self.find_column_names(option)
        if column_name is None:
            return None
        if column_name not in self.names:
            raise UsageError(
                f"--{option} {column_name}: {self.path} has no such column",
                remedy=f"{suggest_spelling(column_name, self.names)} it has {', '.join(self.names)}".lstrip(),
            )
        values = self.table.column(column_name)
        if isinstance(values, pa.ChunkedArray):
            return values.combine_chunks()
        return values

    def _build_missing_error(self, option: str) -> UsageError:
        return UsageError(
            f"{self.path} has no column that is called {' or '.join(contours.HFC_COLUMN_NAMES[option])}",
            remedy=f"say --{option} NAME; it has {', '.join(self.names)}",
        )

    def read_numbers(self, option: str, count: int) -> list[Numbers]:
        """Return so many numbers for each row: columns, or numbers themselves; one alone stands for all."""
        option_value = self.find_column_names(option)
        if option_value is None:
            raise self._build_missing_error(option)
        words = [word.strip() for word in option_value.split(",")]
        if len(words) not in {1, count}:
            raise UsageError(
                f"--{option} {option_value}: {count} columns or numbers are wanted", remedy="NAME,NAME or 1.5,1.5"
            )
        number_arrays = []
        for word in words:
            if word in self.names:
                values = self.table.column(word).cast(pa.float64())
                number_arrays.append(
                    np.asarray(
                        values.to_numpy(zero_copy_only=False) if isinstance(values, pa.Array) else values.to_numpy(),
                        np.float64,
                    )
                )
                continue
            try:
                number_arrays.append(np.full(self.row_count, float(word)))
            except ValueError:
                raise UsageError(
                    f"--{option} {word}: {self.path} has no such column, and it is no number",
                    remedy=f"{suggest_spelling(word, self.names)} it has {', '.join(self.names)}".lstrip(),
                ) from None
        return number_arrays * (count if len(number_arrays) == 1 else 1)

    def list_row_names(self) -> list[str | None]:
        """Return the name of each row."""
        name = self.find_column_names("name")
        if name is None or name not in self.names:
            return [None] * self.row_count
        return [None if row_name is None else str(row_name) for row_name in self.table.column(name).to_pylist()]


def _write_region_text(region_numbers: Sequence[float] | None) -> str | None:
    """Write DALI's array of a circle or polygon as text."""
    if region_numbers is None:
        return None
    shape = "circle" if len(region_numbers) == 3 else "polygon"
    return f"{shape} {' '.join(map(repr, region_numbers))}"


def _read_region_texts(table: _ContourTable, region: pa.Array) -> region_files.ParsedRegions:
    """Read regions that are written in a column, as texts or as DALI's arrays."""
    if pa.types.is_list(region.type) or pa.types.is_large_list(region.type) or pa.types.is_fixed_size_list(region.type):
        values = [_write_region_text(region_numbers) for region_numbers in region.to_pylist()]
    else:
        values = region.cast(pa.string()).to_pylist()
    read_regions = region_files.parse_region_texts(values, make_valid=True)
    faults = [
        fault or ("" if value else "there is no region")
        for fault, value in zip(read_regions.faults, values, strict=True)
    ]
    return region_files.ParsedRegions(
        read_regions.regions, faults, table.list_row_names(), read_regions.frame, read_regions.notes
    )


def _build_contours(table: _ContourTable, options: ContourOptions) -> region_files.ParsedRegions:
    chain = table.find_column("chain")
    x = table.require_column("x")
    y = table.require_column("y")
    disc = _read_disc(table, options)
    if chain is not None:
        first_pixels = [np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False)) for column in (x, y)]
        if options.freeman:
            steps = contours.FREEMAN_STEPS
        else:
            steps = contours.HELIO_STEPS
        # a file of text does not tell an empty code, which is a single pixel, from a missing one: a first pixel does
        has_first_pixel = pa.array(np.isfinite(first_pixels[0]) & np.isfinite(first_pixels[1]))
        codes = chain.cast(pa.string())
        codes = pc.if_else(pc.and_(pc.is_null(codes), has_first_pixel), "", codes)
        contour_regions = contours.build_regions_from_chain_codes(
            codes, first_pixels[0], first_pixels[1], disc, origin=options.origin, step_table=steps
        )
    else:
        number_lists = _read_number_lists(x, "x", table)
        (starts, xs), (y_starts, ys) = number_lists, _read_number_lists(y, "y", table)
        if not np.array_equal(starts, y_starts):
            row = int(np.flatnonzero(np.diff(starts) != np.diff(y_starts))[0]) + 1
            raise UserError(
                f"{table.path}: row {row}: x and y have not as many numbers",
                remedy="a list of x and one of y for each contour, equally long",
            )
        contour_regions = contours.build_regions_from_pixel_lists(starts, xs, ys, disc, origin=options.origin)
    return _build_result(contour_regions, table.list_row_names())


def _build_result(
    contour_regions: contours.ContourRegions, row_names: Sequence[str | None]
) -> region_files.ParsedRegions:
    faults = [""] * len(contour_regions.regions)
    for fault in contour_regions.iterate_faults():
        faults[fault.row] = str(fault.message)
    return region_files.ParsedRegions(contour_regions.regions, faults, list(row_names), None)


def _read_number_lists(column: pa.Array, option: str, table: _ContourTable) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Read lists of numbers, as arrays or as texts of numbers."""
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = pc.split_pattern_regex(
            pc.utf8_trim_whitespace(pc.replace_substring_regex(pc.fill_null(column, ""), r"[\[\](),;]+", " ")), r"\s+"
        )
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not (pa.types.is_list(column.type) or pa.types.is_large_list(column.type)):
        raise UsageError(
            f"{table.path} has no chain code, and {table.find_column_names(option)} is no list of pixels",
            remedy=f"say --chain NAME; it has {', '.join(table.names)}",
        )
    flat = column.flatten()
    if pa.types.is_string(flat.type) or pa.types.is_large_string(flat.type):
        is_number = pc.not_equal(flat, "")
        row_numbers = np.repeat(
            np.arange(len(column)), column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        )
        sizes = np.bincount(row_numbers[np.asarray(is_number)], minlength=len(column))
        try:
            flat = pc.cast(flat.filter(is_number), pa.float64())
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{table.path}: {table.find_column_names(option)}: {error}",
                remedy="numbers with blanks or commas between",
            ) from None
    else:
        sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), np.asarray(
        flat.cast(pa.float64()).fill_null(np.nan), np.float64
    )


def _read_disc(table: _ContourTable, options: ContourOptions) -> contours.DiscImage:
    centre = table.read_numbers("centre", 2)
    scale = table.read_numbers("scale", 2)
    radius_text = table.find_column_names("radius")
    arcsec = radius_text is not None and _ARCSEC_PATTERN.search(radius_text)
    if arcsec:
        number = _ARCSEC_PATTERN.sub("", radius_text or "")
        radius = _ArcsecRadius(table, number).read_radius()
    else:
        numbers = table.read_numbers("radius", 1)
        radius = numbers[0] * np.abs(scale[0])
    lon, lat = _read_observer(table, options)
    # FITS counts pixels from 1, whatever the catalogue does
    if (table.find_column_names("centre") or "").upper().startswith("CRPIX"):
        first_pixel = 1
    else:
        first_pixel = options.origin
    return contours.DiscImage(centre[0] - first_pixel, centre[1] - first_pixel, scale[0], scale[1], radius, lon, lat)


class _ArcsecRadius:
    """A radius in arcseconds."""

    def __init__(self, table: _ContourTable, word: str) -> None:
        self.table = table
        self.word = word

    def read_radius(self) -> Numbers:
        """Return it for each row."""
        if self.word in self.table.names:
            return np.asarray(self.table.table.column(self.word).cast(pa.float64()).to_numpy(), np.float64)
        try:
            return np.full(self.table.row_count, float(self.word))
        except ValueError:
            raise UsageError(
                f"--radius {self.word}: no such column, and no number", remedy="NAME, 374.87, or 985.9arcsec"
            ) from None


def _read_observer(table: _ContourTable, options: ContourOptions) -> tuple[Numbers, Numbers]:
    if table.find_column_names("observer") is not None:
        lon, lat = table.read_numbers("observer", 2)
        return lon, lat
    date = table.find_column_names("date")
    if date is None:
        raise UsageError(
            f"{table.path} does not tell who saw the disc: no column is called "
            f"{' or '.join((*contours.HFC_COLUMN_NAMES['observer'], *contours.HFC_COLUMN_NAMES['date']))}",
            remedy="say --observer LON,LAT (the point below it), or --date NAME for observers at the Earth",
        )
    times = _parse_times(
        table.table.column(date).to_pylist() if date in table.names else [date] * table.row_count, date, table
    )
    column_names = table.find_column_names("rotation")
    return _compute_earth_observer(times, table.read_numbers("rotation", 1)[0] if column_names else np.nan, options)


def _compute_earth_observer(times: Any, rotation: Any, options: ContourOptions) -> tuple[Numbers, Numbers]:
    """Compute the point below an observer at the Earth.

    Its longitude is infinite where the rotation's number is not that of the date.
    """
    earth = contours.sun.compute_solar_ephemeris(times)
    if options.frame == "carrington":
        lon = earth.l0
    else:
        lon = np.where(np.isnan(earth.l0), np.nan, 0.0)
    is_rotation_mismatch = contours.sun.is_rotation_mismatch(rotation, times)
    return np.where(is_rotation_mismatch, np.inf, lon), earth.b0


def _parse_times(values: Sequence[Any], column_name: str, table: _ContourTable) -> npt.NDArray[np.datetime64]:
    times = np.full(len(values), np.datetime64("NaT", "us"))
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):
                text = str(value).strip().replace(" ", "T").removesuffix("Z")
            else:
                text = value
            if value is None or text == "":
                times[row] = np.datetime64("NaT")
            else:
                times[row] = np.datetime64(text).astype("datetime64[us]")
        except ValueError:
            if column_name not in table.names:
                raise UsageError(
                    f"--date {column_name}: no such column, and no date",
                    remedy=f"{suggest_spelling(column_name, table.names)} it has {', '.join(table.names)}".lstrip(),
                ) from None
    return times


def _read_image(path: Path) -> tuple[Any, npt.NDArray[np.integer]] | None:
    """Return head and pixels of the first image of whole numbers; None if there is a table, or none."""
    from astropy.io import fits  # noqa: PLC0415  (slow to load, for images alone)

    try:
        with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=False) as file:
            if any(isinstance(hdu, fits.BinTableHDU) and not isinstance(hdu, fits.CompImageHDU) for hdu in file):
                return None
            for hdu in file:
                if hdu.header.get("NAXIS") == 2 and hdu.data is not None:
                    return hdu.header, np.asarray(hdu.data)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the FITS file is damaged, or cut short: {error}") from None
    raise UserError(f"{path}: the FITS file has neither a table nor an image")


def _read_option_numbers(options: ContourOptions, option: str, count: int) -> Numbers | None:
    """Read the numbers of an option, as a column; one number stands for all. None: the option is not given."""
    option_value = getattr(options, option)
    if option_value is None:
        return None
    try:
        numbers = [float(_ARCSEC_PATTERN.sub("", word)) for word in option_value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, count}:
        raise UsageError(f"--{option} {option_value}: of an image, numbers are wanted", remedy="1.5 or 1.5,1.5")
    return np.resize(np.array(numbers), (count, 1))


def _read_disc_of_image(header: Any, options: ContourOptions) -> contours.DiscImage:
    """Read where the disc is in the pixels, and who saw it: options win over the cards of the header."""
    cards = dict(header)
    if options.date is not None:
        cards |= {"DATE-OBS": options.date, **dict.fromkeys(_OBSERVER_CARDS)}
    disc = contours.build_disc_image(cards, stonyhurst=options.frame == "stonyhurst")
    scale = _read_option_numbers(options, "scale", 2)
    if scale is not None:
        disc = replace(disc, scale_x=scale[0], scale_y=scale[1])
    centre = _read_option_numbers(options, "centre", 2)
    if centre is not None:
        disc = replace(disc, x=centre[0] - options.origin, y=centre[1] - options.origin)
    radius = _read_option_numbers(options, "radius", 1)
    if radius is not None:
        is_in_pixels = _ARCSEC_PATTERN.search(options.radius or "") is None
        unit_arcseconds = np.abs(disc.scale_x) if is_in_pixels else 1.0
        disc = replace(disc, radius=radius[0] * unit_arcseconds)
    observer = _read_option_numbers(options, "observer", 2)
    if observer is not None:
        return replace(disc, lon=observer[0], lat=observer[1])
    rotation = _read_option_numbers(options, "rotation", 1)
    rotation_numbers = contours.find_number(cards, "CAR_ROT") if rotation is None else rotation[0]
    if contours.sun.is_rotation_mismatch(rotation_numbers, contours.find_date(cards)).any():
        return replace(disc, lon=np.array([np.inf]))
    return disc


def _read_labels(
    path: Path, header: Any, image: npt.NDArray[Any], options: ContourOptions
) -> region_files.ParsedRegions:
    if image.dtype.kind not in "iu":
        integers = np.nan_to_num(image).astype(np.int64)
        if not np.array_equal(integers, np.nan_to_num(image)):
            return _read_image_footprint(path, header)
        image = integers
    values = np.unique(image)
    values = values[values != 0]
    if not len(values):
        raise UserError(f"{path}: the image has no labels: all its pixels are 0")
    if len(values) > MAX_LABELS:
        raise UserError(f"{path}: the image has {len(values):,} values, which are no labels")
    disc = _read_disc_of_image(header, options)
    for option, words, value in (
        ("centre", "CRPIX1,CRPIX2", disc.x + disc.y),
        ("scale", "CDELT1,CDELT2", disc.scale_x + disc.scale_y),
        ("radius", "RSUN_OBS, R_SUN or DSUN_OBS", disc.radius),
    ):
        if not np.isfinite(value).all():
            raise UsageError(f"{path} has no card {words}", remedy=f"say --{option} with numbers")
    if np.isnan(disc.lon + disc.lat).any():
        raise UsageError(
            f"{path} does not tell who saw the disc",
            remedy="say --observer LON,LAT, or --date 2009-06-15T12:00 for observers at the Earth",
        )
    return _build_result(
        contours.build_regions_from_labels(image, values, disc), [str(value) for value in values.tolist()]
    )


def _read_image_footprint(path: Path, header: Any) -> region_files.ParsedRegions:
    """Read what an image covers that has no labels."""
    cards = dict(header)
    image_geometry = footprints.build_image_wcs(cards)
    if image_geometry is None:
        raise UserError(
            f"{path}: the image has no labels, for its values are no whole numbers, and no footprint, for its "
            f"header does not say where its pixels are"
        )
    footprint_result = _build_result(footprints.build_regions_from_headers([cards]), [path.stem])
    return region_files.ParsedRegions(
        footprint_result.regions,
        footprint_result.faults,
        footprint_result.names,
        "ICRS" if image_geometry.image_axes.kind == "sky" else None,
    )


def merge_regions(read_regions: region_files.ParsedRegions) -> Regions:
    """Unite all rows.

    Parameters
    ----------
    read_regions
        Regions.

    Returns
    -------
    region
        One row.
    """
    return read_regions.regions.group_rows(np.array([0, len(read_regions.regions)])).make_valid()
