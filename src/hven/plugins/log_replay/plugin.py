"""What this package adds: the verb ``hven replay``."""

from __future__ import annotations

from hven.model.plugins import CommandLineVerb, PluginPackage

PLUGIN = PluginPackage(
    name="log_replay",
    title="Compare a service with the one that it replaces, by the requests in a log",
    verbs={
        "replay": CommandLineVerb(
            function="hven.plugins.log_replay.replay_verb:repeat_logged_requests",
            after="check",
            examples=(
                "hven replay access.log --against http://127.0.0.1:8080",
                "hven replay web.log --against http://127.0.0.1:8080 --old https://dc.example.org --page report.html",
                "hven replay access.log --against http://127.0.0.1:8080 --prefix /old --limit 100 --rate 5 --json",
                "hven replay access.log --model model.json",
            ),
        ),
    },
)
