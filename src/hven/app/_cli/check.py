"""``hven check``: find all faults of settings, descriptors and job types before anything is published."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from pkgutil import resolve_name
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hven import adql, descriptor
from hven.app._cli import metadata_score
from hven.app._cli.context import load_site_settings, print_json
from hven.engines import load_engine_record
from hven.ingest.sampling import find_sample_faults
from hven.ingest.source_checks import find_source_faults
from hven.model import plugins
from hven.model.errors import Fault, NotFoundError, TextPlace, UsageError, UserError
from hven.model.settings import (
    SETTINGS_FILE,
    find_exposed_file_faults,
    find_missing_portal_item_faults,
    find_unavailable_section_faults,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hven.model.resource import CollectionSpec
    from hven.model.settings import Settings
    from hven.model.table import RowAccessPolicy

# checks that many sites do not need: each is imported when it is run, because that takes half of the time of a check
JOB_TYPE_CHECK = "hven.jobs.type_catalogue:find_disabled_job_type_faults"
STATE_CHECK = "hven.site.state_faults:find_state_faults"
PUBLISHED_ROWS_CHECK = "hven.app._cli.published_checks:check_published_collections"


def check(
    context: typer.Context,
    *,
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="One collection (default: all).")] = None,
    run_descriptor_tests: Annotated[
        bool, typer.Option("--tests", help="Also run the descriptors' tests on the published rows.")
    ] = False,
    run_example_queries: Annotated[
        bool, typer.Option("--run-examples", help="Also run the example queries on the published rows.")
    ] = False,
    follow_links: Annotated[
        bool, typer.Option("--links", help="Also follow the links in published rows, to this site and to others.")
    ] = False,
    destination: Annotated[
        str | None, typer.Option("--for", metavar="WORD", help="Also list what a delivery lacks: cds or mrt.")
    ] = None,
    score_metadata: Annotated[
        bool,
        typer.Option("--metadata", help="Score how well each collection is described, and show the lines to add."),
    ] = False,
    min_score: Annotated[
        int | None,
        typer.Option(
            "--least",
            metavar="N",
            min=0,
            max=100,
            help=("With --metadata: fail if the score of a collection is below N."),
        ),
    ] = None,
    subjects: Annotated[
        Path | None,
        typer.Option(
            "--subjects", metavar="FILE", help="With --metadata: check the subjects against this list of terms."
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")] = False,
) -> None:
    """Check hven.toml, descriptors and job types; report all faults."""
    if not score_metadata:
        _refuse_score_options({"--subjects": subjects, "--least": min_score})
    terms = None if subjects is None else descriptor.read_subject_terms(subjects)
    site_settings = load_site_settings(context)
    names = _list_collection_names(site_settings, name)
    plugin_faults = [Fault(message=error.message, remedy=error.remedy) for error in plugins.find_plugin_faults()]
    findings = _CheckFindings(faults=plugin_faults)
    if not plugin_faults:  # with a faulty plug-in, nothing else can be trusted
        findings.names = names
        if name is None:
            _check_plugin_packages(site_settings, findings)
    for collection_name in findings.names:
        _check_collection(site_settings, collection_name, findings)
    findings.faults += _find_default_engine_faults(site_settings, name, findings.resources)
    findings.faults += _find_site_faults(site_settings, name)
    findings.faults += _find_faults_across_collections(site_settings, name, findings.resources)
    if not findings.has_errors:
        findings.faults += _check_panes_and_published_rows(
            context,
            findings.names,
            run_descriptor_tests=run_descriptor_tests,
            run_example_queries=run_example_queries,
            follow_links=follow_links,
            destination=destination,
        )
    scores: list[metadata_score.Scored] = []
    if score_metadata and findings.resources:
        scores = metadata_score.score_collection_metadata(context, findings.resources)
    if terms is not None:
        for resource in findings.resources:
            findings.faults += descriptor.find_subject_faults(resource, site_settings, terms)
    if not as_json:
        _print_findings(findings, scores)
    elif score_metadata:
        print_json({"faults": findings.faults_to_json(), "collections": metadata_score.metadata_scores_to_json(scores)})
    else:
        print_json(findings.faults_to_json())
    is_score_too_low = any(score.total < (min_score or 0) for score, _ in scores)
    if findings.has_errors or is_score_too_low:
        raise typer.Exit(1)


def _check_panes_and_published_rows(context: typer.Context, collections: list[str], **options: Any) -> list[Fault]:
    """Check the panes, and what the options ask of the published rows; without either, no site is opened."""
    panes = plugins.load_plugin_records("panes").values()  # a faulty one was an error before
    if not panes and not any(options.values()):
        return []
    return resolve_name(PUBLISHED_ROWS_CHECK)(context, panes, collections, **options)  # type: ignore[no-any-return]


def _refuse_score_options(options: dict[str, Path | int | None]) -> None:
    for option, value in options.items():
        if value is not None:
            raise UsageError(f"{option} needs --metadata", remedy=f"run `hven check --metadata {option} {value}`")


@dataclass(slots=True, kw_only=True)
class _CheckFindings:
    """The findings of ``hven check``.

    Attributes
    ----------
    names
        Collections that are checked.
    resources
        Collections without errors.
    engines, dates
        Lines to print about engines and about embargoes.
    policies
        Qualified table name -> who may see its rows and files.
    """

    faults: list[Fault]
    names: list[str] = field(default_factory=list)
    resources: list[CollectionSpec] = field(default_factory=list)
    engines: list[str] = field(default_factory=list)
    dates: list[str] = field(default_factory=list)
    policies: dict[str, RowAccessPolicy] = field(default_factory=dict)

    @property
    def has_errors(self) -> bool:
        return any(fault.severity == "error" for fault in self.faults)

    def faults_to_json(self) -> list[dict[str, Any]]:
        """Return the faults in the form of the JSON output."""
        return [
            {**asdict(fault.place), "severity": fault.severity, "message": fault.message, "remedy": fault.remedy}
            for fault in self.faults
        ]


def _list_collection_names(settings: Settings, name: str | None) -> list[str]:
    """Return the collection that the user names, or all that have a descriptor.

    Raises
    ------
    NotFoundError
        The collection has no descriptor.
    """
    if name is None:
        return settings.list_collections()
    path = settings.locate_descriptor(name)
    if not path.is_file():
        raise NotFoundError(f"there is no descriptor {path}", remedy=f"create it with `hven new {name} --from FILE`")
    return [name]


def _check_plugin_packages(settings: Settings, findings: _CheckFindings) -> None:
    for package in plugins.list_plugin_packages():
        for fact in plugins.find_package_faults(package, settings):
            if isinstance(fact, str):
                findings.engines.append(fact)
            else:
                findings.faults.append(fact)


def _check_collection(settings: Settings, name: str, findings: _CheckFindings) -> None:
    """Check a descriptor and, if it has no error, its sources."""
    path = settings.locate_descriptor(name)
    resource, collection_faults = descriptor.check_and_read_descriptor(path, settings)
    if resource is not None and not any(fault.severity == "error" for fault in collection_faults):
        findings.resources.append(resource)
        source_faults = list(find_source_faults(resource, path.parent, settings))
        reported_places = {fault.place for fault in source_faults}
        sample_faults = find_sample_faults(resource, path.parent, settings)
        # a server that cannot be reached is reported once, by the first of the two
        collection_faults += [fault for fault in sample_faults if fault.place not in reported_places]
        collection_faults += source_faults
        for spec in resource.tables:
            table_name = spec.table.qualified_name
            if spec.embargo is not None:
                findings.dates.append(f"{table_name}: a row is released {spec.embargo.describe()}")
            if spec.table.policy is not None:
                findings.policies[table_name] = spec.table.policy
        if resource.engine is not None:
            collection_faults += _find_engine_faults(resource.engine, resource.path, settings)
    findings.faults += collection_faults


def _find_default_engine_faults(
    settings: Settings, collection_name: str | None, resources: Sequence[CollectionSpec]
) -> Iterator[Fault]:
    """Yield why no ingest could open the engine of the site, if collections use it."""
    if all(resource.engine is not None for resource in resources):
        return
    # a check of the whole site reports a disabled engine among the settings that cannot be applied
    if collection_name is not None or plugins.find_disabled_plugin_error("engines", settings.engine) is None:
        yield from _find_engine_faults(settings.engine, settings.directory / SETTINGS_FILE, settings)


def _find_engine_faults(name: str, file: Path, settings: Settings) -> Iterator[Fault]:
    """Yield why no ingest could open the engine that a file names; the database itself is not asked."""
    text = file.read_text(encoding="utf-8-sig")
    key = re.search(r"^engine\s*[:=]", text, re.MULTILINE)  # none: an include or the environment has it
    line = text.count("\n", 0, key.start()) + 1 if key else None
    place = TextPlace(file=str(file), line=line)
    try:
        record = load_engine_record(name)
        for section in record.settings:
            plugins.require_modules(f"the engine {name}", *section.required_modules)
    except UserError as error:
        yield Fault(message=error.message, place=place, remedy=error.remedy)
        return
    problem = record.lacks(settings)
    if problem:
        yield Fault(message=problem, place=place, remedy=record.remedy)


def _find_site_faults(settings: Settings, name: str | None) -> Iterator[Fault]:
    """Yield faults of hven.toml, and files that readers could fetch although they should not."""
    if name is not None:
        yield from find_exposed_file_faults(settings.directory)
        return
    if settings.job_types_directory.is_dir():
        yield from resolve_name(JOB_TYPE_CHECK)(settings)
    if settings.defaults and not settings.list_collections():  # with descriptors, these report the faults
        text = b"collection: example\ntitle: Example\ntables: {}\n"
        defaults_faults = descriptor.check_descriptor(settings.locate_descriptor("example"), settings, data=text)
        yield from (fault for fault in defaults_faults if fault.place.file == SETTINGS_FILE)
    yield from find_unavailable_section_faults(settings)
    yield from find_missing_portal_item_faults(settings)
    yield from find_exposed_file_faults(settings.directory, settings.var_directory, settings.data_directory)


def _find_faults_across_collections(
    settings: Settings, collection_name: str | None, resources: Sequence[CollectionSpec]
) -> Iterator[Fault]:
    """Yield faults that only show across collections: identifiers, paths, and the system state."""
    other_resources = []
    if collection_name is not None and any(map(_are_site_unique_identifiers_required, resources)):
        other_resources = _read_other_descriptors(settings, collection_name)
    yield from descriptor.find_identifier_conflicts(resources, settings, other_resources)
    yield from descriptor.find_package_key_conflicts(resources, other_resources)
    if settings.var_directory.is_dir():
        for fault in resolve_name(STATE_CHECK)(settings):
            if collection_name is None or str(fault.place.file).endswith(f"/{collection_name}.yaml"):
                yield fault


def _are_site_unique_identifiers_required(resource: CollectionSpec) -> bool:
    """Return whether identifiers of a collection must differ from those of the others."""
    return resource.registration is not None or any(spec.span_places for spec in resource.tables)


def _read_other_descriptors(settings: Settings, collection_name: str) -> list[CollectionSpec]:
    other_resources = []
    for name in settings.list_collections():
        if name != collection_name:
            other_resource = descriptor.check_and_read_descriptor(settings.locate_descriptor(name), settings)[0]
            if other_resource is not None:
                other_resources.append(other_resource)
    return other_resources


def _print_findings(findings: _CheckFindings, scores: Sequence[metadata_score.Scored]) -> None:
    for fault in findings.faults:
        prefix = "" if fault.severity == "error" else "warning: "
        print(f"{prefix}{fault}")
    for line in [*findings.engines, *findings.dates]:
        print(line)
    for table, policy in findings.policies.items():
        _print_row_policy(table, policy)
    metadata_score.print_metadata_scores(scores)
    error_count = sum(fault.severity == "error" for fault in findings.faults)
    descriptor_count = _format_count(len(findings.names), "descriptor")
    warning_count = _format_count(len(findings.faults) - error_count, "warning")
    print(f"{descriptor_count}: {_format_count(error_count, 'error')}, {warning_count}")


def _print_row_policy(table: str, policy: RowAccessPolicy) -> None:
    """Print who may see the rows of a table, and who may download their files."""
    rules = {
        "rows are visible to": policy.rows,
        "the existence of files is visible to": policy.files,
        "files can be downloaded by": policy.take,
    }
    for rule_text, condition_text in rules.items():
        if condition_text is not None:
            readers = adql.describe_row_policy(adql.parse_condition(condition_text))
            print(f"{table}: {rule_text} {'; '.join(readers)}")


def _format_count(number: int, word: str) -> str:
    if number == 1:
        return f"1 {word}"
    return f"{number} {word}s"
