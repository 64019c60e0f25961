"""TAPRegExt 1.0: what our TAP understands and allows, said from the tables that also do it."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.sax.saxutils import escape, quoteattr

from hven import formats
from hven.adql.functions import NAME_RESOLVING_FUNCTIONS, QUERY_FUNCTIONS
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
#: What pyvo looks for before it searches a registry by place; of no service else, for validators do not know it.
REGISTRY_TABLE, KEYWORD_FEATURES = "rr.stc_spatial", ("ivo://org.gavo.dc/std/exts#extra-adql-keywords", ("MOC",))

# table -> the data model that it is of
DATA_MODELS = {"ivoa.obscore": ("ivo://ivoa.net/std/ObsCore#core-1.1", "ObsCore-1.1")}


def write_table_access(settings: Settings, tables: Collection[str] = ()) -> str:
    """Write the elements of ``tr:TableAccess`` after its interface.

    `tables` are the names of those that the reader sees.
    """
    limits = settings.limits
    jobs = settings.jobs
    keep, keep_hard = (round(days * 86400) for days in (jobs.keep_days, jobs.keep_days_hard))
    return (
        f"{''.join(f'<dataModel ivo-id={quoteattr(DATA_MODELS[name][0])}>{DATA_MODELS[name][1]}</dataModel>' for name in tables if name in DATA_MODELS)}"
        f"{_write_language(settings, REGISTRY_TABLE in tables)}{''.join(_write_output_formats())}{_write_upload_methods(limits.upload)}"
        f"<retentionPeriod><default>{keep}</default><hard>{keep_hard}</hard></retentionPeriod>"
        f"<executionDuration><default>{jobs.seconds}</default><hard>{jobs.seconds_hard}</hard></executionDuration>"
        f"{_write_output_limits(settings)}{_write_upload_limit(limits.upload)}"
    )


def describe_limits(settings: Settings) -> str:
    """Describe in words what the elements cannot: TAPRegExt 1.0 knows one executionDuration, which is that of jobs."""
    limits = settings.limits
    jobs = settings.jobs
    default, hard = settings.job_row_limits
    return (
        f"A synchronous query may run {limits.seconds:g} seconds and gives at most {limits.maxrec_hard} rows, {limits.maxrec_default} without MAXREC. "
        f"A job may run {jobs.seconds} seconds, or up to {jobs.seconds_hard} if EXECUTIONDURATION asks for it, "
        f"and gives at most {hard} rows, {default} without MAXREC. "
        f"A user, or an address, may have {jobs.queued} jobs that wait and run, further ones are HELD, and {jobs.open} that have not ended."
    )


def _write_output_limits(settings: Settings) -> str:
    """Write one limit where both modes share it; else one for each, as TAPRegExt 1.1 has them (``forMode``)."""
    sync = (settings.limits.maxrec_default, settings.limits.maxrec_hard)
    if settings.job_row_limits == sync:
        limits_by_mode = {"": sync}
    else:
        limits_by_mode = {' forMode="async"': settings.job_row_limits, ' forMode="sync"': sync}
    return "".join(
        f'<outputLimit{mode}><default unit="row">{default}</default><hard unit="row">{hard}</hard></outputLimit>'
        for mode, (default, hard) in limits_by_mode.items()
    )


def _write_upload_methods(byte_limit: int) -> str:
    return "".join(
        f'<uploadMethod ivo-id="{TAPREGEXT_ID}#upload-{method}"/>'
        for method in ("inline", "http", "https")
        if byte_limit
    )


def _write_upload_limit(byte_limit: int) -> str:
    if byte_limit:
        return f'<uploadLimit><default unit="byte">{byte_limit}</default><hard unit="byte">{byte_limit}</hard></uploadLimit>'
    return ""


def _write_language(settings: Settings, has_registry: bool) -> str:
    if resolver.can_resolve_names(settings):
        named = tuple(NAME_RESOLVING_FUNCTIONS.values())
    else:
        named = ()
    udfs = _write_features(
        f"{TAPREGEXT_ID}#features-udf",
        [(form, entry.doc) for entry in (*QUERY_FUNCTIONS.udfs, *named) for form in entry.declared_forms],
    )
    geometry = _write_features(
        f"{TAPREGEXT_ID}#features-adqlgeo",
        [(entry.name, None) for entry in QUERY_FUNCTIONS if entry.group == "geometry"],
    )
    other_features = "".join(
        _write_features(kind, [(form, None) for form in forms])
        for kind, forms in (*LANGUAGE_FEATURES, *([KEYWORD_FEATURES] if has_registry else []))
    )
    return (
        "<language><name>ADQL</name>"
        '<version ivo-id="ivo://ivoa.net/std/ADQL#v2.0">2.0</version><version ivo-id="ivo://ivoa.net/std/ADQL#v2.1">2.1</version>'
        "<description>ADQL 2.1. Extensions: CASE, %, bitwise operators, scalar subqueries, window functions with frames, elements of arrays, WITH RECURSIVE, MOC in CONTAINS and INTERSECTS, no FROM</description>"
        f"{geometry}{udfs}{other_features}</language>"
    )


def _write_features(feature_type: str, forms: Iterable[tuple[str, str | None]]) -> str:
    inside = "".join(
        f"<feature><form>{escape(form)}</form>{f'<description>{escape(text)}</description>' if text else ''}</feature>"
        for form, text in forms
    )
    if inside:
        return f"<languageFeatures type={quoteattr(feature_type)}>{inside}</languageFeatures>"
    return ""


def _write_output_formats() -> Iterable[str]:
    for fmt in formats.load_formats():
        aliases = "".join(f"<alias>{escape(alias)}</alias>" for alias in (fmt.name, *fmt.aliases))
        yield f"<outputFormat><mime>{escape(fmt.media_types[0])}</mime>{aliases}</outputFormat>"
        for media_type, ivoid in fmt.ivoids.items():  # the serialisations of VOTable have IVOIDs of their own
            yield f"<outputFormat ivo-id={quoteattr(ivoid)}><mime>{escape(media_type)}</mime></outputFormat>"
