"""Draw products as PNG with a description, or a picture that says why they cannot be drawn."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hven.formats.media import HeaderCard, TablePart, detect_product_file_format, open_product
from hven.model.errors import SourceError, TimeLimitError, format_message
from hven.plugins.previews.pictures import curves, image_pictures, interferometry, raster_pictures
from hven.plugins.previews.pictures.appearance import PICTURE_SIZE_RANGE
from hven.plugins.previews.pictures.canvas import PictureCanvas, RenderedPicture, encode_png

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import ArrayPart, OpenProductFile, Part, Place
    from hven.plugins.previews.pictures.appearance import PictureStyle

MAX_UNPACKED_BYTES = 512 << 20  # of a compressed file that is drawn
SIGN_COLOUR, SIGN_OUTLINE = (150, 157, 168), (205, 209, 215)
MIN_WORDS_PIXELS = 300  # longer side of a picture from which on it has words
_MAX_DEFLATE_RATIO = 1032  # highest ratio of deflate


def has_drawable_extension(path: str) -> bool:
    """Return whether a file may be drawn, by its name.

    Parameters
    ----------
    path
        Path of the file.
    """
    extension = path.lower().rpartition(".")[2]
    if detect_product_file_format(path) is not None or extension in raster_pictures.RASTER_FORMATS:
        return True
    return extension in raster_pictures.FILM_MEDIA_TYPES and raster_pictures.can_read_films()


def draw_files(files: Sequence[tuple[Place, str]], look: PictureStyle) -> bytes:
    """Draw files, several side by side.

    Parameters
    ----------
    files
        Place and name of each file.
    look
        Look of each picture, and of all together.

    Returns
    -------
    png
        PNG of at most `look.size` pixels a side.

    Raises
    ------
    SourceError
        A file cannot be drawn.
    """
    if look.show == "transfer":
        return _draw_transfer_function(files, look)
    pictures = []
    if len(files) == 1:
        file_options = look
    else:
        size = max(PICTURE_SIZE_RANGE[0], look.size // 2)
        file_options = replace(look, size=size, note="")
    for path, name in files:
        refuse_large_packed_file(path, name)
        try:
            if raster_pictures.is_picture_or_film(name):
                pictures.append(raster_pictures.draw_picture_or_film_frame(path, name, file_options))
                continue
            with open_product(path, name) as product:
                pictures.append(draw_product(product, file_options, name))
        except (ValueError, ArithmeticError, LookupError, TypeError, MemoryError, NotImplementedError) as fault:
            reason = " ".join(str(fault).split())
            reason = reason[:200] or type(fault).__name__
            raise SourceError(format_message("{name} cannot be drawn: {reason}", name, reason)) from fault
    if len(pictures) == 1:
        return pictures[0].body
    return raster_pictures.combine_pictures(pictures, [name for _, name in files], look)


def _draw_transfer_function(files: Sequence[tuple[Place, str]], look: PictureStyle) -> bytes:
    """Draw the calibrators of a night, from one or several OIFITS files."""
    calibrators: list[interferometry.CalibratorMeasurements] = []
    sizes = iter(look.diameters)
    diameters_by_star = {interferometry.normalize_star_name(star): next(sizes, 0.0) for star in look.stars}
    for path, name in files:
        refuse_large_packed_file(path, name)
        with open_product(path, name) as product:
            if not interferometry.is_oifits(product):
                raise SourceError(format_message("{name} is not an OIFITS file", name))
            calibrators += interferometry.read_calibrators(product, sizes, diameters_by_star)
    if look.stars and not calibrators:
        raise SourceError(
            format_message("the files contain none of the requested stars: {names}", ", ".join(look.stars)[:200])
        )
    sheet, description = interferometry.draw_transfer_function(calibrators, look)
    return _encode_picture(sheet, description, look, "Transfer function").body


def refuse_large_packed_file(path: Place, name: str) -> None:
    """Refuse compressed files that are too large when unpacked; raise `SourceError`."""
    kinds = {".gz": "gzip", ".bz2": "bz2", ".xz": "lzma"}
    module = kinds.get(path.suffix.lower())
    if module is None or (module == "gzip" and path.stat().st_size * _MAX_DEFLATE_RATIO < MAX_UNPACKED_BYTES):
        return
    total = 0
    try:
        with path.open("rb") as packed_file, import_module(module).open(packed_file) as file:
            while piece := file.read(1 << 20):
                total += len(piece)
                if total > MAX_UNPACKED_BYTES:
                    raise SourceError(
                        format_message("{name} is too large, so Hven cannot make a picture of the file", name)
                    )
    except (OSError, EOFError, ValueError) as fault:
        raise SourceError(format_message("{name} is damaged: {reason}", name, str(fault))) from None


def draw_product(product: OpenProductFile, look: PictureStyle, name: str) -> RenderedPicture:
    """Draw the content of a file.

    Parameters
    ----------
    product
        An open file.
    look
        Requested look.
    name
        Name of the file.

    Returns
    -------
    picture
        Picture of the requested part, or of the first that can be drawn.

    Raises
    ------
    SourceError
        The file has nothing that can be drawn, or reading it takes too long.
    """
    try:
        return _draw_best_part(product, look, name)
    except TimeLimitError as error:
        raise SourceError(
            format_message("{name} takes too long to read, so Hven cannot make a picture of the file", name),
            remedy="request a picture of a cut-out instead",
        ) from error


def _draw_best_part(product: OpenProductFile, look: PictureStyle, name: str) -> RenderedPicture:
    if look.part is None and interferometry.is_oifits(product):
        facts = _map_card_values((*_list_single_target_card(product), *product.cards))
        title = build_picture_title(facts, name)
        sheet, description = interferometry.draw_oifits(product, look, title)
        return _encode_picture(sheet, description, look, title)
    parts: Sequence[Part] = sorted(product.parts, key=_rank_part)
    if look.part is not None:
        requested_part = product.find_part(look.part)
        views_by_part = {array.source_part_index: array for array in product.arrays}
        parts = [views_by_part.get(requested_part.index, requested_part)]
    for part in parts:
        picture = _draw_part(product, part, look, name)
        if picture is not None:
            return picture
    raise SourceError(format_message("{name} contains nothing that Hven can draw", name))


def _draw_part(product: OpenProductFile, part: Part, look: PictureStyle, name: str) -> RenderedPicture | None:
    """Draw a part; return None if it cannot be drawn."""
    facts = _map_card_values((*part.cards, *product.cards))
    title = build_picture_title(facts, name)
    curve = None
    if isinstance(part, TablePart):
        curve = curves.create_table_curve(part)
    elif part.axes:
        dynamic_axes = curves.find_dynamic_spectrum_axes(part)
        if dynamic_axes is not None:
            sheet, description = curves.draw_dynamic_spectrum(part, dynamic_axes, look, title)
            return _encode_picture(sheet, description, look, title)
        curve = _find_array_curve(product, part, look)
        if curve is None and len(part.axes) > 1:
            return RenderedPicture(*image_pictures.draw_image(part, look, title, facts))
    if curve is None:
        return None
    sheet, description = curves.draw_curve(curve, look, title)
    return _encode_picture(sheet, description, look, title)


def _find_array_curve(product: OpenProductFile, array: ArrayPart, look: PictureStyle) -> curves.Curve | None:
    """Create the curve of an array with one long axis, or of a cube whose spectrum is requested."""
    kinds = {axis.kind for axis in array.axes}
    long_axes = [axis for axis in array.axes if axis.size > 1]
    if len(long_axes) == 1 and kinds.isdisjoint({"longitude", "latitude"}):
        for error_array in product.arrays:
            if error_array.role == "error" and error_array.shape == array.shape:
                return curves.create_array_curve(array, error_array)
        return curves.create_array_curve(array, None)
    if look.show == "spectrum" and any(axis.kind == "spectral" for axis in long_axes):
        return curves.create_cube_spectrum(array)
    if array.shape == (1,):
        return curves.create_array_curve(array, None)
    return None


def _rank_part(part: Part) -> int:
    """Rank a part: low ranks are drawn first.

    Errors, flags and parts that describe data come last, and before them what changes with time and two other axes.
    """
    if isinstance(part, TablePart):
        if part.role == "support":
            return 2
        return 0
    if part.source_part_index is not None:
        return 0
    is_cube = sum(axis.size > 1 for axis in part.axes) > 2
    kinds = {axis.kind for axis in part.axes}
    has_unplaced_times = is_cube and "time" in kinds and "longitude" not in kinds
    if part.role != "data":
        return 2
    return int(has_unplaced_times)


def _encode_picture(sheet: PictureCanvas, description: str, look: PictureStyle, title: str) -> RenderedPicture:
    metadata_texts = {"Title": title, "Description": description, "Copyright": look.note, "Software": "Hven"}
    return RenderedPicture(sheet.to_png(metadata_texts), description)


def _list_single_target_card(product: OpenProductFile) -> list[HeaderCard]:
    """Return the name of the target of an interferometer as a card, if there is only one target."""
    target_table = None
    for part in product.parts:
        if isinstance(part, TablePart) and part.name.upper() == "OI_TARGET":
            target_table = part
            break
    if target_table is None or target_table.row_count != 1:
        return []
    if "TARGET" not in [column.name for column in target_table.columns]:
        return []
    names: list[str] = []
    for batch in target_table.read_batches(0, 1):
        names += map(str, batch.column("TARGET").to_pylist())
    return [HeaderCard("OBJECT", name.strip()) for name in names]


def _map_card_values(cards: Sequence[HeaderCard]) -> dict[str, Any]:
    values_by_keyword: dict[str, Any] = {}
    for card in cards:
        if card.value not in {None, ""} and card.keyword not in {"", "COMMENT", "HISTORY"}:
            values_by_keyword.setdefault(card.keyword.upper(), card.value)
    return values_by_keyword


def build_picture_title(facts: Mapping[str, Any], name: str) -> str:
    """Build a title from a header: object, instrument, time; or else the name of the file."""

    def find_text(*keys: str) -> str:
        for key in keys:
            if str(facts.get(key) or "").strip():
                return re.sub(r"\s+", " ", str(facts[key]).strip())
        return ""

    instrument = find_text("INSTRUME", "DETECTOR")
    telescope = find_text("TELESCOP", "OBSRVTRY")
    instrument_text = telescope
    if instrument not in telescope:
        instrument_text = f"{telescope} {instrument}".strip()
    wavelength = facts.get("WAVELNTH")
    unit = find_text("WAVEUNIT")
    if isinstance(wavelength, int | float) and wavelength:
        channel = f"{wavelength:g} {_format_unit(unit)}".strip()
    else:
        channel = ""
    start_date = find_text("DATE-OBS", "DATE_OBS", "T_OBS")
    if ":" in start_date:
        start_hour = ""
    else:
        start_hour = find_text("TIME-OBS", "TIME_OBS")
    start_text = ""
    if start_date:
        date_and_hour = f"{start_date} {start_hour}".strip().replace("T", " ")
        start_text = re.sub(r"(\.\d{1,9})?Z?$", "", date_and_hour)
    object_name = find_text("OBJECT", "OBJ_ID")
    title_parts = [text for text in (object_name, instrument_text, channel, start_text) if text]
    if len(title_parts) > 1:
        return " · ".join(title_parts)
    return name


def _format_unit(word: str) -> str:
    unit_signs = {"ANGSTROM": "Å", "": "Å", "UM": "µm", "MICRON": "µm"}
    return unit_signs.get(word.upper(), word)


def draw_no_picture_sign(size: int, reason: str) -> bytes:
    """Draw a neutral sign that there is no picture; it is transparent, to fit light and dark pages.

    Parameters
    ----------
    size
        Pixels of the longer side.
    reason
        Reason in words.

    Returns
    -------
    png
        PNG with the reason as its text.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415  (only pictures need it)

    image_size = (size, max(1, round(size * 0.75)))
    image = Image.new("RGBA", image_size, (*SIGN_COLOUR, 0))
    middle = (image.width / 2, image.height / 2)
    half_height = min(image.size) * 0.15
    _draw_crossed_box(ImageDraw.Draw(image), middle, half_height, max(1, size // 160))
    return encode_png(image, {"Description": reason, "Software": "Hven"})


def _draw_crossed_box(pen: Any, middle: tuple[float, float], half_height: float, line_pixels: int) -> None:
    x, y = middle
    left, right = x - 1.4 * half_height, x + 1.4 * half_height
    top, bottom = y - half_height, y + half_height
    pen.rectangle([left, top, right, bottom], outline=SIGN_COLOUR, width=line_pixels)
    pen.line([(left, bottom), (right, top)], fill=SIGN_COLOUR, width=line_pixels)


def draw_refusal_message(size: int, reason: str) -> bytes:
    """Draw the reason why there is no picture.

    Below `MIN_WORDS_PIXELS`, where words are illegible, draw a neutral sign instead.

    Parameters
    ----------
    size
        Pixels of the longer side.
    reason
        Reason in words.

    Returns
    -------
    png
        PNG with the reason as its text, whatever it shows.
    """
    if size < MIN_WORDS_PIXELS:
        return draw_no_picture_sign(size, reason)
    sheet = PictureCanvas(size, max(1, round(size * 0.75)))
    width, height = sheet.size
    whole_sheet = [0, 0, width - 1, height - 1]
    sheet.pen.rectangle(whole_sheet, fill=(244, 245, 247), outline=SIGN_OUTLINE)
    half_height = min(width, height) * 0.1
    _draw_crossed_box(sheet.pen, (width / 2, height * 0.27), half_height, max(1, size // 160))
    lines = []
    line = ""
    for word in reason.split():
        if line and sheet.measure_text(f"{line} {word}") > width * 0.88:
            lines.append(line)
            line = word
        else:
            line = f"{line} {word}".strip()
    line_limit = max(1, int((height * 0.52) / (1.5 * sheet.letter_pixels)))
    visible_lines = [*lines, line]
    if len(visible_lines) > line_limit:
        visible_lines = [*visible_lines[: line_limit - 1], visible_lines[line_limit - 1] + " …"]
    for row, text in enumerate(visible_lines):
        y = height * 0.48 + row * 1.5 * sheet.letter_pixels
        shortened_text = sheet.shorten_text(text, width * 0.94)
        sheet.draw_text((width / 2, y), shortened_text, "ma", colour=(90, 96, 104))
    return encode_png(sheet.image, {"Description": reason, "Software": "Hven"})
