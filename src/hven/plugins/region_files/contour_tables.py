"""Read tables and label images of contours for ``hven region``.

Columns have the names of the HFC catalogues, or those that the options give. The result has regions, and the faults of
each row.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven.descriptor.api.hfc_columns import HFC_COLUMN_NAMES
from hven.model import plugins
from hven.model.errors import UsageError, UserError, suggest_spelling
from hven.model.sky import Regions, footprints, region_files
from hven.plugins.image_regions import contours
from hven.plugins.image_regions.header_footprints import build_regions_from_headers
from hven.sources import SourceContext, file_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy.typing as npt

    Numbers = npt.NDArray[np.float64]

MAX_LABELS = 100_000  # distinct values of a label image
_OBSERVER_CARDS = ("CRLN_OBS", "CRLT_OBS", "HGLN_OBS", "HGLT_OBS")  # ignored if --date gives the observer

_ARCSEC_PATTERN = re.compile(r"\s*(\"|arcsec)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class ContourTableOptions:
    """Options of the command: names of columns or numbers; None stands for the column that HFC has for it.

    Attributes
    ----------
    frame
        ``carrington`` or ``stonyhurst``: the zero of longitudes if only a date gives the observer.
    origin
        Number of an image's first pixel, 0 or 1.
    freeman
        True if chain codes follow Freeman's table.
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


# options that name columns of a table: those that have no default
_COLUMN_OPTIONS = tuple(option.name for option in fields(ContourTableOptions) if option.default is None)


def read_contours(path: Path, options: ContourTableOptions) -> region_files.ParsedRegions:
    """Read the contours of a table, or the labels of an image.

    Parameters
    ----------
    path
        A CSV, VOTable, JSON, FITS or Parquet file.
    options
        Names of columns, and numbers.

    Returns
    -------
    read
        Regions, and faults by row.

    Raises
    ------
    UserError
        The file is neither a table nor a label image.
    UsageError
        A column does not exist, or an option is needed to name it.
    """
    source_kind = file_kinds.find_file_kind_by_name(path.name) or file_kinds.detect_kind_from_file_content(path)
    if source_kind is None:
        raise UserError(
            f"{path}: the file format is unknown",
            remedy="use a FITS label image, a contour table (CSV, VOTable, JSON, FITS or Parquet), or one of these "
            f"formats: {region_files.READABLE_FORMATS}",
        )
    if source_kind == "fits":
        header_and_image = _read_fits_image_unless_table(path)
        if header_and_image is not None:
            header, image = header_and_image
            return _build_label_regions(path, header, image, options)
    table = _ContourTable(path, source_kind, options)
    region_column = table.find_column("region")
    has_contours = table.resolve_option_value("chain") is not None or options.x is not None
    if region_column is not None and not has_contours:
        return _parse_region_column(table, region_column)
    return _build_contour_regions(table, options)


class _ContourTable:
    """The columns of a file by their purpose."""

    def __init__(self, path: Path, kind: str, contour_options: ContourTableOptions) -> None:
        self.path = path
        self.options = contour_options
        source = self._open_source(kind)
        self.names = [column.name for column in source.list_columns()]
        digits_column = self.resolve_option_value("chain")
        if kind == "csv" and digits_column in self.names:  # the digits of a chain code are text, not a number
            source = self._open_source(kind, types={digits_column: "text"})
        batches = list(source.read_batches(self._list_option_columns()))
        self.row_count = sum(batch.num_rows for batch in batches)
        if not self.row_count:
            raise UserError(
                f"{path}: the file is neither a region file nor a table with rows",
                remedy=f"use one of these formats: {region_files.READABLE_FORMATS}",
            )
        self.table = pa.Table.from_batches(batches)

    def _open_source(self, kind: str, **options: Any) -> Any:
        module: Any = plugins.load_plugin("sources", kind)
        source_options = module.Options.model_validate({"files": [self.path.name], **options})
        return module.open(source_options, SourceContext(directory=self.path.resolve().parent))

    def _list_option_columns(self) -> list[str]:
        """Return the columns of the file that options or their defaults name."""
        column_names: dict[str, None] = {}
        for option in _COLUMN_OPTIONS:
            words = (self.resolve_option_value(option) or "").split(",")
            column_names |= dict.fromkeys(word for word in words if word in self.names)
        return list(column_names)

    def resolve_option_value(self, option: str) -> str | None:
        """Return what an option gives, or HFC's columns that the file has; names are spelled as in the file."""
        option_value: str | None = getattr(self.options, option)
        names_by_upper = {name.upper(): name for name in self.names}
        if option_value is not None:
            words = [word.strip() for word in option_value.split(",")]
            return ",".join(word if word in self.names else names_by_upper.get(word.upper(), word) for word in words)
        for default_names in HFC_COLUMN_NAMES[option]:
            matched_names = [names_by_upper.get(name) for name in default_names.split(",")]
            if all(matched_names):
                return ",".join(str(matched_name) for matched_name in matched_names)
        return None

    def require_column(self, option: str) -> pa.Array:
        """Return the column for an option.

        Raises
        ------
        UsageError
            The file has no such column.
        """
        values = self.find_column(option)
        if values is None:
            raise self._build_missing_column_error(option)
        return values

    def find_column(self, option: str) -> pa.Array | None:
        """Return the column for an option; None if the file has none."""
        column_name = self.resolve_option_value(option)
        if column_name is None:
            return None
        if column_name not in self.names:
            raise UsageError(
                f"--{option}: {self.path} has no column {column_name!r}",
                remedy=self.suggest_column_names(column_name),
            )
        values = self.table.column(column_name)
        if isinstance(values, pa.ChunkedArray):
            return values.combine_chunks()
        return values

    def suggest_column_names(self, column_name: str) -> str:
        """Suggest a column with a similar name, and list all columns."""
        suggestion = suggest_spelling(column_name, self.names)
        return f"{suggestion} the columns are {', '.join(self.names)}".lstrip()

    def _build_missing_column_error(self, option: str) -> UsageError:
        default_names = " or ".join(HFC_COLUMN_NAMES[option])
        return UsageError(
            f"{self.path} has no column named {default_names}",
            remedy=f"give --{option} NAME; the columns are {', '.join(self.names)}",
        )

    def read_number_arrays(self, option: str, count: int) -> list[Numbers]:
        """Return arrays of numbers with a value for each row, from columns or from numbers of the option.

        Parameters
        ----------
        option
            The option that names the columns.
        count
            Number of arrays. A single column or number stands for all of them.
        """
        option_value = self.resolve_option_value(option)
        if option_value is None:
            raise self._build_missing_column_error(option)
        words = [word.strip() for word in option_value.split(",")]
        if len(words) not in {1, count}:
            raise UsageError(
                f"--{option} {option_value}: this option needs {count} columns or numbers",
                remedy="write NAME,NAME or 1.5,1.5",
            )
        number_arrays = [self._read_column_or_constant(option, word) for word in words]
        if len(number_arrays) == 1:
            return number_arrays * count
        return number_arrays

    def _read_column_or_constant(self, option: str, column_or_number: str) -> Numbers:
        """Return the numbers of a column, or a number for all rows."""
        if column_or_number in self.names:
            values = self.table.column(column_or_number).cast(pa.float64())
            return np.asarray(values.to_numpy(), np.float64)
        try:
            return np.full(self.row_count, float(column_or_number))
        except ValueError:
            raise UsageError(
                f"--{option}: {column_or_number!r} is neither a column of {self.path} nor a number",
                remedy=self.suggest_column_names(column_or_number),
            ) from None

    def list_row_names(self) -> list[str | None]:
        """Return the name of each row, or None where there is none."""
        name = self.resolve_option_value("name")
        if name is None or name not in self.names:
            return [None] * self.row_count
        return [None if row_name is None else str(row_name) for row_name in self.table.column(name).to_pylist()]


def _write_region_text(region_numbers: Sequence[float] | None) -> str | None:
    """Write DALI's array of a circle or polygon as text."""
    if region_numbers is None:
        return None
    shape = "polygon"
    if len(region_numbers) == 3:
        shape = "circle"
    return f"{shape} {' '.join(map(repr, region_numbers))}"


def _is_list_type(data_type: pa.DataType) -> bool:
    is_variable = pa.types.is_list(data_type) or pa.types.is_large_list(data_type)
    return bool(is_variable or pa.types.is_fixed_size_list(data_type))


def _is_text_type(data_type: pa.DataType) -> bool:
    return bool(pa.types.is_string(data_type) or pa.types.is_large_string(data_type))


def _parse_region_column(table: _ContourTable, region_column: pa.Array) -> region_files.ParsedRegions:
    """Read regions from a column of texts or of DALI's arrays."""
    if _is_list_type(region_column.type):
        values = [_write_region_text(region_numbers) for region_numbers in region_column.to_pylist()]
    else:
        values = region_column.cast(pa.string()).to_pylist()
    read_regions = region_files.parse_region_texts(values, make_valid=True)
    faults = []
    for fault, value in zip(read_regions.faults, values, strict=True):
        default_fault = "" if value else "there is no region"
        faults.append(fault or default_fault)
    return region_files.ParsedRegions(
        read_regions.regions, faults, table.list_row_names(), read_regions.frame, read_regions.notes
    )


def _build_contour_regions(table: _ContourTable, options: ContourTableOptions) -> region_files.ParsedRegions:
    chain = table.find_column("chain")
    x = table.require_column("x")
    y = table.require_column("y")
    disc = _read_disc_geometry(table, options)
    if chain is not None:
        contour_regions = _build_chain_code_regions(chain, x, y, disc, options)
    else:
        starts, xs = _read_pixel_lists(x, "x", table)
        y_starts, ys = _read_pixel_lists(y, "y", table)
        if not np.array_equal(starts, y_starts):
            is_different = np.diff(starts) != np.diff(y_starts)
            row = int(np.flatnonzero(is_different)[0]) + 1
            raise UserError(
                f"{table.path}, row {row}: x and y have different numbers of values",
                remedy="specify as many x values as y values for each contour",
            )
        contour_regions = contours.build_regions_from_pixel_lists(starts, xs, ys, disc, origin=options.origin)
    return _build_parsed_regions(contour_regions, table.list_row_names())


def _build_chain_code_regions(
    chain: pa.Array, x: pa.Array, y: pa.Array, disc: contours.DiscImage, options: ContourTableOptions
) -> contours.ContourRegions:
    """Build regions from chain codes and the coordinates of their first pixels."""
    first_x, first_y = (np.asarray(column.cast(pa.float64()).to_numpy(zero_copy_only=False)) for column in (x, y))
    if options.freeman:
        step_table = contours.FREEMAN_STEPS
    else:
        step_table = contours.HELIO_STEPS
    # Text files do not distinguish an empty code, which is a single pixel, from a missing one. The first pixel does.
    has_first_pixel = pa.array(np.isfinite(first_x) & np.isfinite(first_y))
    codes = chain.cast(pa.string())
    is_empty_code = pc.and_(pc.is_null(codes), has_first_pixel)
    codes = pc.if_else(is_empty_code, "", codes)
    return contours.build_regions_from_chain_codes(
        codes, first_x, first_y, disc, origin=options.origin, step_table=step_table
    )


def _build_parsed_regions(
    contour_regions: contours.ContourRegions, row_names: Sequence[str | None]
) -> region_files.ParsedRegions:
    faults = [""] * len(contour_regions.regions)
    for fault in contour_regions.iterate_faults():
        faults[fault.row] = str(fault.message)
    return region_files.ParsedRegions(contour_regions.regions, faults, list(row_names), None)


def _read_pixel_lists(column: pa.Array, option: str, table: _ContourTable) -> tuple[npt.NDArray[np.int64], Numbers]:
    """Read lists of numbers, from arrays or from texts, as offsets and all values in one array."""
    if _is_text_type(column.type):
        texts = pc.replace_substring_regex(pc.fill_null(column, ""), r"[\[\](),;]+", " ")
        column = pc.split_pattern_regex(pc.utf8_trim_whitespace(texts), r"\s+")
    if pa.types.is_fixed_size_list(column.type):
        column = column.cast(pa.list_(column.type.value_type))
    if not _is_list_type(column.type):
        raise UsageError(
            f"{table.path} contains no contours: the table has no chain codes, and the column "
            f"{table.resolve_option_value(option)!r} contains no lists of pixels",
            remedy=f"give --chain NAME; the columns are {', '.join(table.names)}",
        )
    values = column.flatten()
    sizes = column.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
    if _is_text_type(values.type):
        is_number = pc.not_equal(values, "")
        row_numbers = np.repeat(np.arange(len(column)), sizes)
        sizes = np.bincount(row_numbers[np.asarray(is_number)], minlength=len(column))
        try:
            values = pc.cast(values.filter(is_number), pa.float64())
        except pa.ArrowInvalid as error:
            raise UserError(
                f"{table.path}, column {table.resolve_option_value(option)!r}: {error}",
                remedy="separate the numbers with spaces or commas",
            ) from None
    starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
    return starts, np.asarray(values.cast(pa.float64()).fill_null(np.nan), np.float64)


def _read_disc_geometry(table: _ContourTable, options: ContourTableOptions) -> contours.DiscImage:
    centre = table.read_number_arrays("centre", 2)
    scale = table.read_number_arrays("scale", 2)
    radius_text = table.resolve_option_value("radius")
    if radius_text is not None and _ARCSEC_PATTERN.search(radius_text):
        radius = _read_radius_arcseconds(table, _ARCSEC_PATTERN.sub("", radius_text))
    else:
        radius_pixels = table.read_number_arrays("radius", 1)[0]
        radius = radius_pixels * np.abs(scale[0])
    lon, lat = _read_observer_positions(table, options)
    # FITS counts pixels from 1, whatever the catalogue does.
    centre_names = table.resolve_option_value("centre") or ""
    if centre_names.upper().startswith("CRPIX"):
        first_pixel = 1
    else:
        first_pixel = options.origin
    return contours.DiscImage(centre[0] - first_pixel, centre[1] - first_pixel, scale[0], scale[1], radius, lon, lat)


def _read_radius_arcseconds(table: _ContourTable, word: str) -> Numbers:
    """Return a radius in arcseconds for each row, from a column or a number."""
    if word in table.names:
        return np.asarray(table.table.column(word).cast(pa.float64()).to_numpy(), np.float64)
    try:
        return np.full(table.row_count, float(word))
    except ValueError:
        raise UsageError(
            f"--radius: {word!r} is neither a column nor a number",
            remedy="write the name of a column, or a number such as 374.87 or 985.9arcsec",
        ) from None


def _read_observer_positions(table: _ContourTable, options: ContourTableOptions) -> tuple[Numbers, Numbers]:
    if table.resolve_option_value("observer") is not None:
        lon, lat = table.read_number_arrays("observer", 2)
        return lon, lat
    date = table.resolve_option_value("date")
    if date is None:
        default_names = (*HFC_COLUMN_NAMES["observer"], *HFC_COLUMN_NAMES["date"])
        raise UsageError(
            f"{table.path} does not give the observer's position: no column is named {' or '.join(default_names)}",
            remedy="give --observer LON,LAT (the point below the observer), or --date NAME for an observer on the "
            "Earth",
        )
    if date in table.names:
        dates = table.table.column(date).to_pylist()
    else:
        dates = [date] * table.row_count
    times = _parse_times(dates, date, table)
    rotation: Any = np.nan
    if table.resolve_option_value("rotation"):
        rotation = table.read_number_arrays("rotation", 1)[0]
    return _compute_sub_earth_points(times, rotation, options)


def _compute_sub_earth_points(times: Any, rotation: Any, options: ContourTableOptions) -> tuple[Numbers, Numbers]:
    """Compute the point of the Sun below an observer at the Earth.

    The longitude is infinite where the number of the rotation does not match the date.
    """
    earth = contours.sun.compute_solar_ephemeris(times)
    if options.frame == "carrington":
        lon = earth.l0
    else:
        lon = np.where(np.isnan(earth.l0), np.nan, 0.0)
    is_rotation_mismatch = contours.sun.is_carrington_rotation_mismatch(rotation, times)
    return np.where(is_rotation_mismatch, np.inf, lon), earth.b0


def _parse_times(values: Sequence[Any], column_name: str, table: _ContourTable) -> npt.NDArray[np.datetime64]:
    times = np.full(len(values), np.datetime64("NaT", "us"))
    for row, value in enumerate(values):
        time_value = value
        if isinstance(value, str):
            time_value = value.strip().replace(" ", "T").removesuffix("Z")
        if time_value is None or time_value == "":
            continue
        try:
            times[row] = np.datetime64(time_value).astype("datetime64[us]")
        except ValueError:
            if column_name not in table.names:
                raise UsageError(
                    f"--date: {column_name!r} is neither a column nor a date",
                    remedy=table.suggest_column_names(column_name),
                ) from None
    return times


def _read_fits_image_unless_table(path: Path) -> tuple[Any, npt.NDArray[np.integer]] | None:
    """Return header and pixels of the first image of a FITS file; None if the file has a table.

    Raises
    ------
    UserError
        The file is damaged, or has neither a table nor an image.
    """
    from astropy.io import fits  # noqa: PLC0415  (slow to import, and needed only for images)

    try:
        with warnings.catch_warnings(action="ignore"), fits.open(path, memmap=False) as file:
            for hdu in file:
                if isinstance(hdu, fits.BinTableHDU) and not isinstance(hdu, fits.CompImageHDU):
                    return None
            for hdu in file:
                if hdu.header.get("NAXIS") == 2 and hdu.data is not None:
                    return hdu.header, np.asarray(hdu.data)
    except (OSError, ValueError) as error:
        raise UserError(f"{path}: the FITS file is damaged or truncated: {error}") from None
    raise UserError(f"{path}: the FITS file has neither a table nor an image")


def _parse_option_numbers(options: ContourTableOptions, option: str, count: int) -> Numbers | None:
    """Read the numbers of an option as a column; one number stands for all. None if the option is not given."""
    option_value = getattr(options, option)
    if option_value is None:
        return None
    try:
        numbers = [float(_ARCSEC_PATTERN.sub("", word)) for word in option_value.split(",")]
    except ValueError:
        numbers = []
    if len(numbers) not in {1, count}:
        raise UsageError(
            f"--{option} {option_value}: for an image, the value must be one or two numbers",
            remedy="write 1.5 or 1.5,1.5",
        )
    return np.resize(np.array(numbers), (count, 1))


def _read_image_disc_geometry(header: Any, options: ContourTableOptions) -> contours.DiscImage:
    """Read the position of the disc in the pixels, and its observer; options override the cards of the header."""
    cards = dict(header)
    if options.date is not None:
        cards |= {"DATE-OBS": options.date, **dict.fromkeys(_OBSERVER_CARDS)}
    disc = contours.build_solar_disc_image(cards, stonyhurst=options.frame == "stonyhurst")
    scale = _parse_option_numbers(options, "scale", 2)
    if scale is not None:
        disc = replace(disc, scale_x=scale[0], scale_y=scale[1])
    centre = _parse_option_numbers(options, "centre", 2)
    if centre is not None:
        disc = replace(disc, x=centre[0] - options.origin, y=centre[1] - options.origin)
    radius = _parse_option_numbers(options, "radius", 1)
    if radius is not None:
        is_in_pixels = _ARCSEC_PATTERN.search(options.radius or "") is None
        unit_arcseconds = np.abs(disc.scale_x) if is_in_pixels else 1.0
        disc = replace(disc, radius=radius[0] * unit_arcseconds)
    observer = _parse_option_numbers(options, "observer", 2)
    if observer is not None:
        return replace(disc, lon=observer[0], lat=observer[1])
    rotation = _parse_option_numbers(options, "rotation", 1)
    if rotation is None:
        rotation_numbers = footprints.find_header_number(cards, "CAR_ROT")
    else:
        rotation_numbers = rotation[0]
    if contours.sun.is_carrington_rotation_mismatch(rotation_numbers, contours.find_observation_date(cards)).any():
        return replace(disc, lon=np.array([np.inf]))
    return disc


def _build_label_regions(
    path: Path, header: Any, image: npt.NDArray[Any], options: ContourTableOptions
) -> region_files.ParsedRegions:
    if image.dtype.kind not in "iu":
        finite_image = np.nan_to_num(image)
        integers = finite_image.astype(np.int64)
        if not np.array_equal(integers, finite_image):
            return _build_footprint_region(path, header)
        image = integers
    values = np.unique(image)
    values = values[values != 0]
    if not len(values):
        raise UserError(f"{path}: the image has no labels, because all its pixels are 0")
    if len(values) > MAX_LABELS:
        raise UserError(f"{path}: the image has {len(values):,} different values, which is too many for labels")
    disc = _read_image_disc_geometry(header, options)
    needed_numbers = (
        ("centre", "both CRPIX1 and CRPIX2", disc.x + disc.y),
        ("scale", "both CDELT1 and CDELT2", disc.scale_x + disc.scale_y),
        ("radius", "RSUN_OBS, R_SUN or DSUN_OBS", disc.radius),
    )
    for option, cards, numbers in needed_numbers:
        if not np.isfinite(numbers).all():
            message = f"the header of {path} does not contain {cards}"
            raise UsageError(message, remedy=f"specify the numbers with --{option}")
    if np.isnan(disc.lon + disc.lat).any():
        raise UsageError(
            f"{path} does not give the observer's position",
            remedy="give --observer LON,LAT; for an observer on the Earth, give --date 2009-06-15T12:00 instead",
        )
    label_regions = contours.build_regions_from_labels(image, values, disc)
    return _build_parsed_regions(label_regions, [str(label) for label in values.tolist()])


def _build_footprint_region(path: Path, header: Any) -> region_files.ParsedRegions:
    """Read the footprint of an image that has no labels."""
    cards = dict(header)
    image_geometry = footprints.build_image_wcs(cards)
    if image_geometry is None:
        raise UserError(
            f"{path}: the image has neither labels (its values are not integers) nor a footprint (its header has no "
            "coordinates)"
        )
    result = _build_parsed_regions(build_regions_from_headers([cards]), [path.stem])
    frame = None
    if image_geometry.image_axes.kind == "sky":
        frame = "ICRS"
    return region_files.ParsedRegions(result.regions, result.faults, result.names, frame)


def merge_row_regions(read_regions: region_files.ParsedRegions) -> Regions:
    """Unite the regions of all rows.

    Parameters
    ----------
    read_regions
        The regions of a file.

    Returns
    -------
    region
        The union, in one row.
    """
    return read_regions.regions.merge_consecutive_rows(np.array([0, len(read_regions.regions)])).make_valid()
