"""The job type ``soda``: cut-outs, each combination of values one result (SODA 1.0 section 5), and all in one archive where that is asked for."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import JobDefinition
from hven.model.errors import HvenError, OperationCancelledError
from hven.services import cutouts
from hven.services._archive_layouts import ArchiveMember
from hven.services._checksums import CrcCache
from hven.services.archives import ARCHIVE_KINDS
from hven.services.collection_files import PIECE_BYTES
from hven.services.face import ServiceContext
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from hven.jobs import RunningJob
    from hven.model.params import RequestParams


def run_job(work: RunningJob) -> None:
    """Cut all that is asked for; of what cannot be cut, a result says why.

    Parameters
    ----------
    work
        The job.

    Raises
    ------
    HvenError
        Nothing could be cut.
    """
    context = ServiceContext.create_for_principal(work.site, work.principal, work.policies)
    cutout_requests = cutouts.parse_cutout_requests(work.params)
    table = work.params.read_one("TABLE")
    package = parse_value(work.params, cutouts.PACKAGE_PARAM)
    faults = 0
    every_public = True
    cuts: list[tuple[str, str]] = []  # of the results: the names that they have in a package
    for number, cutout_request in enumerate(cutout_requests, 1):
        share = round((number - 1) / len(cutout_requests), 4)
        work.report_progress(share=share)
        if len(cutout_requests) == 1:
            name = "result"
        else:
            name = f"cut{number}"
        try:
            original_file = cutouts.find_original_file(context, work.principal, cutout_request.row_identifier, table)
            work.record_tables([f"{original_file.collection}.files", *([table] if table else [])])
            every_public = every_public and original_file.is_public
            product, piece = cutouts.open_cutout(original_file, cutout_request, (cutout_request.row_identifier,))
        except HvenError as error:
            if len(cutout_requests) == 1:
                raise
            faults += 1
            _write_message(work, name, f"{cutouts.name_soda_error(error)}: {cutout_request.row_identifier}: {error}")
            if faults == len(cutout_requests):
                raise
            continue
        with product:
            if piece is None:
                _write_message(
                    work, name, f"Error: {cutout_request.row_identifier}: nothing of what was asked for is in it"
                )
                continue
            with work.write_result(name, media_type=piece.media_type, extension=".fits") as file:
                for chunk in piece.read_chunks():
                    if work.stopped.is_set():
                        raise OperationCancelledError("the job was stopped")
                    file.write(chunk)
        cuts.append((work.results[-1]["file"], f"{name}_{cutouts.make_file_stem(original_file.name)}.fits"))
    if every_public and not faults:  # a fault may tell of rows by the reader's rights
        work.mark_public()
    if package:
        _write_package(work, package, cuts)


def _write_package(work: RunningJob, archive_kind: str, cuts: Sequence[tuple[str, str]]) -> None:
    """Write an archive of the results, with what could not be cut."""
    names = dict(cuts)
    members = []
    for job_result in work.results:
        place = work.directory / job_result["file"]
        file_stat = place.stat()
        name = names.get(job_result["file"]) or f"{job_result['id']}{place.suffix}"
        members.append(
            ArchiveMember(f"cuts/{name}", file_stat.st_size, file_stat.st_mtime, "", partial(_read_range, place))
        )
    packing, media_type = ARCHIVE_KINDS[archive_kind]
    packed = packing(members, CrcCache())
    with work.write_result("package", media_type=media_type, extension=f".{archive_kind}") as file:
        for chunk in packed.write_range(0, packed.size):
            if work.stopped.is_set():
                raise OperationCancelledError("the job was stopped")
            if chunk is not None:  # None: the next takes a while
                file.write(chunk)


def _read_range(path: Path, start: int, stop: int) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        while start < stop and (piece := file.read(min(PIECE_BYTES, stop - start))):
            start += len(piece)
            yield piece


def _write_message(work: RunningJob, name: str, text: str) -> None:
    with work.write_result(name, media_type="text/plain; charset=utf-8", extension=".txt") as file:
        file.write(f"{text}\n".encode())


def check_params(params: RequestParams, _: Collection[str]) -> None:
    """Look at what is asked for.

    Parameters
    ----------
    params
        Of the job.

    Raises
    ------
    ParamError, TooLargeError
        A value is wrong, or there are too many.
    """
    cutouts.parse_cutout_requests(params)
    parse_value(params, cutouts.PACKAGE_PARAM)


JOB = JobDefinition(
    name="soda",
    title="Cut-outs",
    params=(*cutouts.CUTOUT_PARAMS, cutouts.PACKAGE_PARAM),
    run=run_job,
    check=check_params,
)
