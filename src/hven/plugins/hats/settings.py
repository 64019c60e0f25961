"""The settings of this package in hven.toml.

``[hats]`` names the roots of catalogues; a package with a cluster adds the settings of the cluster. ``[files]`` limits
the partitions that the service keeps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hven.model.settings import SettingsSection, define_setting

if TYPE_CHECKING:
    from hven.model.settings import Settings

DEFAULT_LOCAL_BYTES = 512 * 1024**2


@dataclass(frozen=True, slots=True, kw_only=True)
class HatsSettings:
    """The engine ``hats``: tables as HEALPix-partitioned Parquet."""

    roots: tuple[str, ...] = define_setting(
        (),
        "directories of catalogues; all machines of a cluster need the same paths. Hven writes new snapshots below the "
        "first directory",
    )
    near_bytes: int = define_setting(
        DEFAULT_LOCAL_BYTES,
        "maximum number of bytes that a query can read from files on this server. Default: 512 MB",
        ge=0,
        size=True,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class PartitionSettings:
    """Partitions of tables that are read as HATS."""

    partitions: int = define_setting(
        4 * 1024**3,
        "maximum total size in bytes of the partitions in var/tiles. Hven creates these partitions for clients that "
        "read tables as HATS, and deletes the least recently used partitions first",
        ge=1024**2,
        size=True,
    )


HATS_SECTION = SettingsSection(
    name="hats",
    settings_class=HatsSettings,
    doc="the engine hats, for tables that outgrow one machine",
    previous_setting="data",
    example_text="""\
[hats]
roots = ["/cluster/catalogues"]
near_bytes = "2 GB"
""",
)
PARTITION_SETTINGS = SettingsSection(
    name="files",
    part="hats",
    settings_class=PartitionSettings,
    example_text="""\
[files]
partitions = "50 GiB"
""",
)


def get_hats_settings(settings: Settings) -> HatsSettings:
    """Return ``[hats]``."""
    hats_settings: HatsSettings = settings.brought.get("hats", HatsSettings())
    return hats_settings


def get_partition_settings(settings: Settings) -> PartitionSettings:
    """Return the settings of this package in ``[files]``."""
    partition_settings: PartitionSettings = settings.brought.get(PARTITION_SETTINGS.key, PartitionSettings())
    return partition_settings
