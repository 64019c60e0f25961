"""Build the HiPS of layers of planets and moons. Other packages read the layers: see `BODIES_POINT`."""

from __future__ import annotations

import fcntl
import hashlib
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from hven.ingest.api.runs import check_disk_space
from hven.model import plugins
from hven.model.deadlines import ProgressMonitor
from hven.model.errors import SourceError, UserError, format_message
from hven.plugins.hips import body_surveys
from hven.plugins.hips.surveys import (
    HipsSurvey,
    build_properties,
    check_survey_name,
    find_hips_survey,
    publish_survey_directory,
    read_file_state,
    write_survey_description_files,
)
from hven.services import collection_files

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hven.plugins.hips.body_surveys import BodyLayer
    from hven.services.face import ServiceContext
    from hven.site.auth import Principal

# a module of this point has `find_body_layer(context, principal, collection, layer_name) -> BodyLayer`
BODIES_POINT = "hips.bodies"
LAYOUT_VERSION = 1  # a change of the tiles begins a survey anew


def find_body_layer(context: ServiceContext, principal: Principal, collection: str, layer_name: str) -> BodyLayer:
    """Find a layer by the package that reads it.

    Raises
    ------
    UserError
        No package in use reads layers.
    HvenError
        There is no such layer, or it cannot be read.
    """
    for module in plugins.load_extensions(BODIES_POINT):
        layer: BodyLayer = module.find_body_layer(context, principal, collection, layer_name)
        return layer
    raise UserError(
        format_message("none of the plug-in packages in use reads layers of planets"),
        remedy=format_message("add the package maps to `plugins` in hven.toml"),
    )


def build_layer_survey(
    context: ServiceContext,
    principal: Principal,
    collection: str,
    layer_name: str,
    survey_name: str,
    *,
    title: str = "",
    order: int | None = None,
    progress: ProgressMonitor = ProgressMonitor(),  # noqa: B008  (it is frozen)
) -> HipsSurvey:
    """Build a HiPS from a layer of a planet, in the layer's colours; if it was interrupted before, continue it.

    Parameters
    ----------
    layer_name
        Name of the layer.
    survey_name
        Name; an earlier HiPS of that name is replaced.
    title
        Title; empty: that of the layer.
    order
        Order of the finest tiles; None for the one that matches the layer.
    progress
        Gets the progress.

    Raises
    ------
    ParamError
        The name or the order is invalid, or there is no such layer.
    UserError
        Another process builds it, or a package is missing.
    SourceError
        The raster cannot be read, or it has changed in the meantime.
    TooLargeError, StorageError
        It would have too many tiles; the disk has too little space for them.
    OperationCancelledError
        It was cancelled.
    """
    check_survey_name(survey_name)
    layer = find_body_layer(context, principal, collection, layer_name)
    file_row = collection_files.find_files(context, principal, collection, [layer.path]).get_row(layer.path)
    file_state = read_file_state(file_row)
    state = layer.compute_state()
    tile_sizes = body_surveys.choose_tiles(layer, order)
    finest_tiles = body_surveys.list_finest_tiles(layer, tile_sizes[0])
    check_disk_space(
        context.site, collection, body_surveys.estimate_bytes(tile_sizes, len(finest_tiles)), write_factor=1
    )
    texts = {"obs_description": layer.description, "obs_copyright": layer.licence, "obs_ack": layer.credit}
    properties = build_properties(context, collection, title or layer.title)
    properties |= {key: " ".join(str(text).split()) for key, text in texts.items() if text}
    collection_directory = context.site.settings.var_directory / "hips" / collection
    with _open_unfinished_survey(collection_directory, survey_name, (state, tile_sizes)) as directory:
        survey = body_surveys.write_body_survey(
            layer,
            directory,
            properties,
            tile_sizes=tile_sizes,
            finest_tiles=finest_tiles,
            progress=progress,
        )
        if layer.compute_state() != state:
            shutil.rmtree(directory, ignore_errors=True)
            raise SourceError(
                format_message("{path} has changed while the HiPS was built", layer.path),
                remedy=format_message("run `hven ingest {collection}`, and build the HiPS again", collection),
            )
        result = survey.properties, survey.used_images, survey.omitted_images, survey.tiles
        write_survey_description_files(directory, result, {}, {layer.path: file_state})
        publish_survey_directory(collection_directory, survey_name, directory)
    progress.report_progress(1.0)
    built_survey = find_hips_survey(context.site.settings, collection, survey_name)
    assert built_survey is not None  # noqa: S101  (it was written just now)
    return built_survey


@contextmanager
def _open_unfinished_survey(directory: Path, survey_name: str, state: tuple[Any, ...]) -> Iterator[Path]:
    """Open the directory of an unfinished survey, which a later command continues if it has the same state.

    Parameters
    ----------
    directory
        Directory of the surveys of a collection.
    state
        What the tiles depend on. Unfinished surveys of the same name with other states are removed.

    Yields
    ------
    path
        Directory of the survey. If it is still there in the end, the survey is not finished.

    Raises
    ------
    UserError
        Another process builds the survey.
    """
    directory.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256(repr((LAYOUT_VERSION, state)).encode()).hexdigest()[:16]
    unfinished_directory = directory / f"{survey_name}.{digest}.unfinished"
    with (directory / f"{survey_name}.lock").open("wb") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                format_message("another process is building the HiPS {name}", survey_name),
                remedy=format_message("wait until the other process has finished"),
            ) from None
        for path in directory.glob(f"{survey_name}.*.unfinished"):
            if path != unfinished_directory:
                shutil.rmtree(path, ignore_errors=True)
        unfinished_directory.mkdir(exist_ok=True)
        yield unfinished_directory
