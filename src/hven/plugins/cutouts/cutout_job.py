"""The job type ``soda``: cut-outs, each combination of values a result (SODA 1.0, section 5); also as an archive."""

from __future__ import annotations

import tarfile
import zipfile
from functools import partial
from typing import TYPE_CHECKING

from hven.jobs import JobDefinition
from hven.model.errors import HvenError, OperationCancelledError
from hven.plugins.cutouts import cutouts
from hven.services.face import ServiceContext
from hven.services.params import parse_value

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from hven.jobs import RunningJob
    from hven.model.params import RequestParams


def run_cutout_job(work: RunningJob) -> None:
    """Cut all files; a cut that fails has a result with the error.

    Parameters
    ----------
    work
        Running job.

    Raises
    ------
    HvenError
        Nothing could be cut.
    """
    context = ServiceContext.create_for_principal(work.site, work.principal, work.policies)
    cutout_requests = cutouts.parse_cutout_requests(work.params)
    table_name = work.params.read_one("TABLE")
    archive_kind = parse_value(work.params, cutouts.PACKAGE_PARAM)
    failure_count = 0
    are_all_public = True
    cuts: list[tuple[str, str]] = []  # file name of a result, and its name in the archive
    for number, cutout_request in enumerate(cutout_requests, 1):
        work.report_progress(share=round((number - 1) / len(cutout_requests), 4))
        row_identifier = cutout_request.row_identifier
        result_name = "result"
        if len(cutout_requests) != 1:
            result_name = f"cut{number}"
        try:
            original_file = cutouts.find_original_file_and_log_access(
                context, work.principal, row_identifier, table_name
            )
            read_tables = [f"{original_file.collection}.files"]
            if table_name:
                read_tables.append(table_name)
            work.record_result_tables(read_tables)
            are_all_public = are_all_public and original_file.is_public
            product, cutout = cutouts.open_cutout(original_file, cutout_request, (row_identifier,))
        except HvenError as error:
            failure_count += 1
            if len(cutout_requests) == 1:
                raise
            _write_text_result(work, result_name, f"{cutouts.get_soda_error_label(error)}: {row_identifier}: {error}")
            if failure_count == len(cutout_requests):
                raise
            continue
        with product:
            if cutout is None:
                message = f"Error: {row_identifier}: the file contains no part of the requested region"
                _write_text_result(work, result_name, message)
                continue
            with work.open_result_file(result_name, media_type=cutout.media_type, extension=".fits") as file:
                for chunk in cutout.read_chunks():
                    if work.stopped.is_set():
                        raise OperationCancelledError("the job was stopped")
                    file.write(chunk)
        archive_name = f"{result_name}_{cutouts.make_file_stem(original_file.name)}.fits"
        cuts.append((work.results[-1]["file"], archive_name))
    if are_all_public and not failure_count:  # an error may reveal rows that only this reader may see
        work.mark_results_public()
    if archive_kind:
        _write_cutout_archive(work, archive_kind, cuts)


def _write_cutout_archive(work: RunningJob, archive_kind: str, cuts: Sequence[tuple[str, str]]) -> None:
    """Write an archive of the results, errors included."""
    names = dict(cuts)
    members = []
    for job_result in work.results:
        path = work.directory / job_result["file"]
        members.append((path, f"cuts/{names.get(path.name) or job_result['id'] + path.suffix}"))
    media_type = cutouts.PACKAGE_MEDIA_TYPES[archive_kind]
    with work.open_result_file("package", media_type=media_type, extension=f".{archive_kind}") as file:
        if archive_kind == "zip":
            with zipfile.ZipFile(file, "w") as zip_archive:
                _add_members(work, members, zip_archive.write)
        else:
            with tarfile.open(fileobj=file, mode="w") as tar_archive:
                _add_members(work, members, partial(tar_archive.add, filter=_remove_owner))


def _add_members(
    work: RunningJob, members: Sequence[tuple[Path, str]], add_file: Callable[[Path, str], object]
) -> None:
    for path, name in members:
        if work.stopped.is_set():
            raise OperationCancelledError("the job was stopped")
        add_file(path, name)


def _remove_owner(tar_info: tarfile.TarInfo) -> tarfile.TarInfo:
    """Leave out the account of the server to which a file belongs, and its permissions."""
    return tar_info.replace(mtime=int(tar_info.mtime), mode=0o644, uid=0, gid=0, uname="", gname="")


def _write_text_result(work: RunningJob, result_name: str, text: str) -> None:
    with work.open_result_file(result_name, media_type="text/plain; charset=utf-8", extension=".txt") as file:
        file.write(f"{text}\n".encode())


def check_cutout_job_params(params: RequestParams, _: Collection[str]) -> None:
    """Check the parameters.

    Parameters
    ----------
    params
        Parameters of the job.

    Raises
    ------
    ParamError, TooLargeError
        A value is invalid, or there are too many.
    """
    cutouts.parse_cutout_requests(params)
    parse_value(params, cutouts.PACKAGE_PARAM)


JOB = JobDefinition(
    name="soda",
    title="Cut-outs",
    params=(*cutouts.CUTOUT_PARAMS, cutouts.PACKAGE_PARAM),
    run=run_cutout_job,
    check=check_cutout_job_params,
)
