"""TAPRegExt 1.0: the features and limits of TAP, from the tables and settings that implement them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hven import formats
from hven.adql.functions import NAME_RESOLVING_FUNCTIONS, QUERY_FUNCTIONS
from hven.formats import escape_xml, quote_attribute
from hven.query import resolver

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

    from hven.model.settings import Settings

TAPREGEXT_ID = "ivo://ivoa.net/std/TAPRegExt"
# feature types of ADQL 2.1 section 4 are lower case
LANGUAGE_FEATURES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("ivo://ivoa.net/std/tapregext#features-adql-string", ("LOWER", "UPPER", "ILIKE")),
    ("ivo://ivoa.net/std/tapregext#features-adql-common-table", ("WITH",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-sets", ("UNION", "EXCEPT", "INTERSECT")),
    ("ivo://ivoa.net/std/tapregext#features-adql-type", ("CAST",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-conditional", ("COALESCE",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-unit", ("IN_UNIT",)),
    ("ivo://ivoa.net/std/tapregext#features-adql-offset", ("OFFSET",)),
)
# pyvo checks for these before it searches a registry by position; only such services have them, because validators do
# not know them
REGISTRY_TABLE = "rr.stc_spatial"
KEYWORD_FEATURES = ("ivo://org.gavo.dc/std/exts#extra-adql-keywords", ("MOC",))
LANGUAGE_DESCRIPTION = (
    "ADQL 2.1. Extensions: CASE, %, bitwise operators, scalar subqueries, window functions with frames, array "
    "elements, WITH RECURSIVE, MOC in CONTAINS and INTERSECTS, no FROM"
)

# table -> IVOID and name of its data model
DATA_MODELS = {"ivoa.obscore": ("ivo://ivoa.net/std/ObsCore#core-1.1", "ObsCore-1.1")}


def write_table_access_xml(settings: Settings, tables: Collection[str] = ()) -> str:
    """Write the elements of ``tr:TableAccess`` after its interface.

    `tables` are the names of the tables that the reader sees.
    """
    limits = settings.limits
    jobs = settings.jobs
    default_seconds = round(jobs.keep_days * 86400)
    hard_seconds = round(jobs.keep_days_hard * 86400)
    data_models = [DATA_MODELS[name] for name in tables if name in DATA_MODELS]
    parts = [f"<dataModel ivo-id={quote_attribute(ivoid)}>{name}</dataModel>" for ivoid, name in data_models]
    parts.append(_write_adql_language_xml(settings, REGISTRY_TABLE in tables))
    parts += _write_output_formats()
    parts.append(_write_upload_methods(limits.upload))
    parts.append(f"<retentionPeriod><default>{default_seconds}</default><hard>{hard_seconds}</hard></retentionPeriod>")
    parts.append(
        f"<executionDuration><default>{jobs.seconds}</default><hard>{jobs.seconds_hard}</hard></executionDuration>"
    )
    parts.append(_write_output_limits(settings))
    parts.append(_write_upload_limit(limits.upload))
    return "".join(parts)


def describe_tap_limits(settings: Settings) -> str:
    """Describe limits that the elements cannot: TAPRegExt 1.0 has one executionDuration, that of jobs."""
    limits = settings.limits
    jobs = settings.jobs
    default, hard = settings.job_row_limits
    return (
        f"A synchronous query may run {limits.seconds:g} seconds and returns at most {limits.maxrec_hard} rows "
        f"({limits.maxrec_default} without MAXREC). "
        f"A job may run {jobs.seconds} seconds, or up to {jobs.seconds_hard} if EXECUTIONDURATION requests it, "
        f"and returns at most {hard} rows ({default} without MAXREC). "
        f"A user or an address may have {jobs.queued} waiting and running jobs; further jobs are HELD. "
        f"At most {jobs.open} jobs of a user may be unfinished."
    )


def _write_output_limits(settings: Settings) -> str:
    """Write one limit if both modes have the same; else one for each, as in TAPRegExt 1.1 (``forMode``)."""
    sync_limits = (settings.limits.maxrec_default, settings.limits.maxrec_hard)
    limits_by_mode = {"": sync_limits}
    if settings.job_row_limits != sync_limits:
        limits_by_mode = {' forMode="async"': settings.job_row_limits, ' forMode="sync"': sync_limits}
    return "".join(
        f'<outputLimit{mode}><default unit="row">{default}</default><hard unit="row">{hard}</hard></outputLimit>'
        for mode, (default, hard) in limits_by_mode.items()
    )


def _write_upload_methods(byte_limit: int) -> str:
    if not byte_limit:
        return ""
    methods = ("inline", "http", "https")
    return "".join(f'<uploadMethod ivo-id="{TAPREGEXT_ID}#upload-{method}"/>' for method in methods)


def _write_upload_limit(byte_limit: int) -> str:
    if not byte_limit:
        return ""
    return (
        f'<uploadLimit><default unit="byte">{byte_limit}</default><hard unit="byte">{byte_limit}</hard></uploadLimit>'
    )


def _write_adql_language_xml(settings: Settings, has_registry: bool) -> str:
    user_functions = [*QUERY_FUNCTIONS.udfs]
    if resolver.can_resolve_names(settings):
        user_functions += NAME_RESOLVING_FUNCTIONS.values()
    user_function_forms: list[tuple[str, str | None]] = []
    for function in user_functions:
        user_function_forms += [(form, function.doc) for form in function.declared_forms]
    geometry_forms = [(function.name, None) for function in QUERY_FUNCTIONS if function.group == "geometry"]
    other_features = [*LANGUAGE_FEATURES]
    if has_registry:
        other_features.append(KEYWORD_FEATURES)
    parts = [
        "<language><name>ADQL</name>",
        '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version>',
        '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>',
        f"<description>{LANGUAGE_DESCRIPTION}</description>",
        _write_language_features_xml(f"{TAPREGEXT_ID}#features-adqlgeo", geometry_forms),
        _write_language_features_xml(f"{TAPREGEXT_ID}#features-udf", user_function_forms),
    ]
    parts += [
        _write_language_features_xml(feature_type, [(form, None) for form in forms])
        for feature_type, forms in other_features
    ]
    parts.append("</language>")
    return "".join(parts)


def _write_language_features_xml(feature_type: str, forms: Iterable[tuple[str, str | None]]) -> str:
    elements = []
    for form, description in forms:
        content = f"<form>{escape_xml(form)}</form>"
        if description:
            content += f"<description>{escape_xml(description)}</description>"
        elements.append(f"<feature>{content}</feature>")
    if not elements:
        return ""
    return f"<languageFeatures type={quote_attribute(feature_type)}>{''.join(elements)}</languageFeatures>"


def _write_output_formats() -> Iterable[str]:
    for output_format in formats.load_formats():
        aliases = "".join(
            f"<alias>{escape_xml(alias)}</alias>" for alias in (output_format.name, *output_format.aliases)
        )
        yield f"<outputFormat><mime>{escape_xml(output_format.media_types[0])}</mime>{aliases}</outputFormat>"
        for media_type, ivoid in output_format.ivoids.items():  # the serialisations of VOTable have their own IVOIDs
            yield f"<outputFormat ivo-id={quote_attribute(ivoid)}><mime>{escape_xml(media_type)}</mime></outputFormat>"
