"""The settings of the cluster, in the section ``[hats]`` of hven.toml."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class SparkSettings:
    """The Spark cluster that computes queries over many files."""

    spark: str | None = define_setting(
        None,
        (
            "address of Spark Connect, for example sc://host:15002; or $NAME, if the secret NAME contains the address. "
            "Default: no cluster; Hven then rejects queries that read more than near_bytes"
        ),
        pattern=r"^(\$[A-Za-z_][A-Za-z0-9_]*|sc://[^\s?#]+)$",
        example="'sc://host:15002', or '$NAME' of a secret if it contains a token",
        placed="the cluster of the rows",
    )
    at_once: int = define_setting(
        4, "maximum number of statements that each process runs in the cluster at once", ge=1, le=1000
    )


SPARK_SETTINGS = SettingsSection(
    name="hats",
    part="spark",
    settings_class=SparkSettings,
    example_text="""\
[hats]
spark = "sc://spark.uraniborg.example:15002"
at_once = 8
""",
)


def get_spark_settings(settings: Settings) -> SparkSettings:
    """Return the settings of the cluster."""
    spark_settings: SparkSettings = settings.brought.get(SPARK_SETTINGS.key, SparkSettings())
    return spark_settings
