"""What this package adds: a cache of answers to queries, and the section ``[result_cache]``."""

from __future__ import annotations

from hven.model.plugins import PluginPackage

PLUGIN = PluginPackage(
    name="result_cache",
    title="Repeat answers to equal queries instead of computing them again",
    settings={"result_cache": "hven.plugins.result_cache.settings:CACHE_SECTION"},
    answer_cache="hven.plugins.result_cache.result_cache:ResultCache",
    counters={
        "result_cache_hits_total": "Answers that the result cache repeated, also those with status 304.",
        "result_cache_misses_total": "Answers that were computed because the result cache did not have them.",
    },
)
