"""Draws products: what a file holds becomes a PNG that says what it shows; what cannot be drawn is said by one, too."""

from __future__ import annotations

import re
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any

from hven.formats.media import HeaderCard, TablePart, detect_medium, open_product
from hven.formats.pictures import _curves as curves
from hven.formats.pictures import _image_pictures as image_pictures
from hven.formats.pictures import _interferometry as interferometry
from hven.formats.pictures import _raster_pictures as raster_pictures
from hven.formats.pictures._appearance import PICTURE_SIZE_RANGE
from hven.formats.pictures._canvas import PictureCanvas, RenderedPicture, encode_png
from hven.model.errors import SourceError, TimeLimitError, format_message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hven.formats.media import Part, Place, Product
    from hven.formats.pictures._appearance import Look

MAX_UNPACKED_BYTES = 512 << 20  # bytes of a packed file that is drawn
SIGN_COLOUR, SIGN_OUTLINE = (150, 157, 168), (205, 209, 215)
MIN_WORDS_PIXELS = 300  # of the longer side of a picture that has words
_MAX_DEFLATE_RATIO = 1032  # times as much deflate can say in a byte


def is_drawable(path: str) -> bool:
    """Return whether a file may be drawn, by its name.

    Parameters
    ----------
    path
        Of the file.
    """
    extension = path.lower().rpartition(".")[2]
    return (
        detect_medium(path) is not None
        or extension in raster_pictures.RASTER_FORMATS
        or (extension in raster_pictures.FILM_MEDIA_TYPES and raster_pictures.can_read_films())
    )


def draw_files(files: Sequence[tuple[Place, str]], look: Look) -> bytes:
    """Draw files, several beside one another.

    Parameters
    ----------
    files
        Each with its name.
    look
        As each, and all together, are to look.

    Returns
    -------
    png
        Of at most `look.size` pixels a side.

    Raises
    ------
    SourceError
        One cannot be drawn.
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
                pictures.append(raster_pictures.draw_still(path, name, file_options))
                continue
            with open_product(path, name) as product:
                pictures.append(draw_product(product, file_options, name))
        except (ValueError, ArithmeticError, LookupError, TypeError, MemoryError, NotImplementedError) as fault:
            reason = " ".join(str(fault).split())[:200] or type(fault).__name__
            raise SourceError(format_message("{name} cannot be drawn: {reason}", name, reason)) from fault
    if len(pictures) == 1:
        return pictures[0].body
    return raster_pictures.combine_pictures(pictures, [name for _, name in files], look)


def _draw_transfer_function(files: Sequence[tuple[Place, str]], look: Look) -> bytes:
    """Draw the calibrators of a night, of one OIFITS file or several."""
    calibrators: list[interferometry.Calibrator] = []
    sizes = iter(look.diameters)
    diameters_by_star = {interferometry.normalize_star_name(star): next(sizes, 0.0) for star in look.stars}
    for path, name in files:
        refuse_large_packed_file(path, name)
        with open_product(path, name) as product:
            if not interferometry.is_oifits(product):
                raise SourceError(format_message("{name} is no OIFITS file", name))
            calibrators += interferometry.read_calibrators(product, sizes, diameters_by_star)
    if look.stars and not calibrators:
        raise SourceError(format_message("no star of these names: {names}", ", ".join(look.stars)[:200]))
    sheet, description = interferometry.draw_transfer_function(calibrators, look)
    return _create_picture(sheet, description, look, "Transfer function").body


def refuse_large_packed_file(path: Place, name: str) -> None:
    """Refuse packed files that are too large when they are unpacked; raises `SourceError`."""
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
                    raise SourceError(format_message("{name} is too large to be unpacked for a picture", name))
    except (OSError, EOFError, ValueError) as fault:
        raise SourceError(format_message("{name} is damaged: {reason}", name, str(fault))) from None


def draw_product(product: Product, look: Look, name: str) -> RenderedPicture:
    """Draw what a file holds.

    Parameters
    ----------
    product
        An open file.
    look
        As it is to look.
    name
        Of the file.

    Returns
    -------
    picture
        Of the part that is asked for; else of the first that can be drawn.

    Raises
    ------
    SourceError
        It has nothing that can be drawn, or reading it takes too long.
    """
    try:
        return _draw_first_part(product, look, name)
    except TimeLimitError as error:
        raise SourceError(
            format_message("{name} takes too long to be read for a picture", name), remedy="cut out a part of it"
        ) from error


def _draw_first_part(product: Product, look: Look, name: str) -> RenderedPicture:
    if look.part is None and interferometry.is_oifits(product):
        facts = _map_card_values((*_list_target_cards(product), *product.cards))
        return _create_picture(
            *interferometry.draw_oifits(product, look, build_title(facts, name)), look, build_title(facts, name)
        )
    if look.part is None:
        requested_part = None
    else:
        requested_part = product.find_part(look.part)
    ordered_parts = sorted(product.parts, key=_rank_part)
    views_by_part = {array_or_axis.source_part_index: array_or_axis for array_or_axis in product.arrays}
    for part in (
        [views_by_part.get(requested_part.index, requested_part)] if requested_part is not None else ordered_parts
    ):
        facts = _map_card_values((*part.cards, *product.cards))
        title = build_title(facts, name)
        if isinstance(part, TablePart):
            curve = curves.take_table_curve(part)
            if curve is not None:
                return _create_picture(*curves.draw_curve(curve, look, title), look, title)
            continue
        if not part.axes:
            continue
        dynamic_axes = curves.find_dynamic_spectrum_axes(part)
        if dynamic_axes is not None:
            return _create_picture(*curves.draw_dynamic_spectrum(part, dynamic_axes, look, title), look, title)
        if sum(axis.size > 1 for axis in part.axes) == 1 and not {"longitude", "latitude"} & {
            array_or_axis.kind for array_or_axis in part.axes
        }:
            errors = next(
                (
                    array_or_axis
                    for array_or_axis in product.arrays
                    if array_or_axis.role == "error" and array_or_axis.shape == part.shape
                ),
                None,
            )
            return _create_picture(*curves.draw_curve(curves.take_array_curve(part, errors), look, title), look, title)
        if look.show == "spectrum" and any(
            array_or_axis.kind == "spectral" and array_or_axis.size > 1 for array_or_axis in part.axes
        ):
            return _create_picture(*curves.draw_curve(curves.take_cube_curve(part), look, title), look, title)
        if len(part.axes) > 1:
            return RenderedPicture(*image_pictures.draw_image(part, look, title, facts))
        if part.shape == (1,):
            return _create_picture(*curves.draw_curve(curves.take_array_curve(part, None), look, title), look, title)
    raise SourceError(format_message("{name} has nothing that can be drawn", name))


def _rank_part(part: Part) -> int:
    """Tell what is drawn if there is nothing better.

    Errors, flags and what describes data, and what changes with time and two things more.
    """
    if isinstance(part, TablePart):
        return 2 if part.role == "support" else 0
    if part.source_part_index is not None:
        return 0
    is_cube = sum(axis.size > 1 for axis in part.axes) > 2
    has_unplaced_times = (
        is_cube
        and any(axis.kind == "time" for axis in part.axes)
        and all(axis.kind != "longitude" for axis in part.axes)
    )
    if part.role != "data":
        return 2
    return int(has_unplaced_times)


def _create_picture(sheet: PictureCanvas, description: str, look: Look, title: str) -> RenderedPicture:
    return RenderedPicture(
        sheet.to_png({"Title": title, "Description": description, "Copyright": look.note, "Software": "Hven"}),
        description,
    )


def _list_target_cards(product: Product) -> list[HeaderCard]:
    """Return the name of an interferometer's target, if there is one alone."""
    target_table = next(
        (part for part in product.parts if isinstance(part, TablePart) and part.name.upper() == "OI_TARGET"), None
    )
    if (
        target_table is None
        or target_table.row_count != 1
        or "TARGET" not in [column.name for column in target_table.columns]
    ):
        return []
    names = [str(name) for batch in target_table.read_batches(0, 1) for name in batch.column("TARGET").to_pylist()]
    return [HeaderCard("OBJECT", name.strip()) for name in names]


def _map_card_values(cards: Sequence[HeaderCard]) -> dict[str, Any]:
    values_by_keyword: dict[str, Any] = {}
    for card in cards:
        if card.value not in {None, ""} and card.keyword not in {"", "COMMENT", "HISTORY"}:
            values_by_keyword.setdefault(card.keyword.upper(), card.value)
    return values_by_keyword


def build_title(facts: Mapping[str, Any], name: str) -> str:
    """Make a title of a header: what, by what, when; else the file's name."""

    def find_text(*keys: str) -> str:
        first_text = next((str(facts[key]).strip() for key in keys if str(facts.get(key) or "").strip()), "")
        return re.sub(r"\s+", " ", first_text)

    instrument = find_text("INSTRUME", "DETECTOR")
    telescope = find_text("TELESCOP", "OBSRVTRY")
    instrument_text = " ".join(
        text_part for text_part in (telescope, "" if instrument in telescope else instrument) if text_part
    )
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
    if start_date:
        start_text = re.sub(r"(\.\d{1,9})?Z?$", "", f"{start_date} {start_hour}".strip().replace("T", " "))
    else:
        start_text = ""
    title_parts = [
        text_part for text_part in (find_text("OBJECT", "OBJ_ID"), instrument_text, channel, start_text) if text_part
    ]
    if len(title_parts) > 1:
        return " · ".join(title_parts)
    return name


def _format_unit(word: str) -> str:
    return {"ANGSTROM": "Å", "": "Å", "UM": "µm", "MICRON": "µm"}.get(word.upper(), word)


def draw_no_picture_sign(size: int, reason: str) -> bytes:
    """Draw a neutral sign that there is no picture, on no ground: it fits light and dark pages.

    Parameters
    ----------
    size
        Pixels of its longer side.
    reason
        In words.

    Returns
    -------
    png
        With the words as its text.
    """
    from PIL import Image, ImageDraw  # noqa: PLC0415  (loaded where pictures are asked for)

    image = Image.new("RGBA", (size, max(1, round(size * 0.75))), (*SIGN_COLOUR, 0))
    middle = (image.width / 2, image.height / 2)
    _draw_crossed_box(ImageDraw.Draw(image), middle, min(image.size) * 0.15, max(1, size // 160))
    return encode_png(image, {"Description": reason, "Software": "Hven"})


def _draw_crossed_box(pen: Any, middle: tuple[float, float], half_height: float, line_pixels: int) -> None:
    x, y = middle
    box = [x - 1.4 * half_height, y - half_height, x + 1.4 * half_height, y + half_height]
    pen.rectangle(box, outline=SIGN_COLOUR, width=line_pixels)
    pen.line([(box[0], box[3]), (box[2], box[1])], fill=SIGN_COLOUR, width=line_pixels)


def draw_refusal(size: int, reason: str) -> bytes:
    """Draw why there is no picture.

    Below `MIN_WORDS_PIXELS`, where nobody could read it, a neutral sign that there is none.

    Parameters
    ----------
    size
        Pixels of its longer side.
    reason
        In words.

    Returns
    -------
    png
        With the words as its text, whatever it shows.
    """
    if size < MIN_WORDS_PIXELS:
        return draw_no_picture_sign(size, reason)
    sheet = PictureCanvas(size, max(1, round(size * 0.75)))
    width, height = sheet.size
    sheet.pen.rectangle([0, 0, width - 1, height - 1], fill=(244, 245, 247), outline=SIGN_OUTLINE)
    _draw_crossed_box(sheet.pen, (width / 2, height * 0.27), min(width, height) * 0.1, max(1, size // 160))
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
        sheet.draw_text((width / 2, y), sheet.shorten_text(text, width * 0.94), "ma", colour=(90, 96, 104))
    return encode_png(sheet.image, {"Description": reason, "Software": "Hven"})
