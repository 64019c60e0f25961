"""Tables whose rows are STAC items: which tables these are, and what their columns mean."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from hven.model.sky import bodies
from hven.model.table import ReferenceFrame, Table, find_begin_and_end_time_columns
from hven.plugins.stac.iau_bodies import find_frame_code

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hven.model.table import Column

# standard property -> column of EPN-TAP, column of ObsCore
TEXT_PROPERTIES = {
    "title": ("granule_gid", "obs_title"),
    "instruments": ("instrument_name", "instrument_name"),
    "platform": ("instrument_host_name", "facility_name"),
    "ssys:target_class": ("target_class", ""),
    "ssys:targets": ("target_name", ""),
    "sci:citation": ("bib_reference", "bib_reference"),
}
_REGION_TYPES = {"CIRCLE", "POLYGON", "REGION"}  # of ADQL
_BOX_COLUMNS = ("c1min", "c1max", "c2min", "c2max")


@dataclass(frozen=True)
class ItemTable:
    """A table of granules or observations, as a reader sees it.

    Attributes
    ----------
    table
        The table.
    is_epn
        Whether it is a table of EPN-TAP; otherwise it is one of ObsCore.
    has_all_regions
        Whether no row lacks a region.
    has_only_bodies
        Whether the positions of all rows are on bodies.
    has_all_ids
        Whether no row lacks an id.
    """

    table: Table
    is_epn: bool
    has_all_regions: bool = False
    has_only_bodies: bool = False
    has_all_ids: bool = False

    @property
    def id(self) -> str:
        """The id of the collection."""
        return self.table.qualified_name

    @property
    def prefix(self) -> str:
        """The prefix of properties that are columns."""
        return "epn:" if self.is_epn else "obscore:"

    @cached_property
    def columns_by_name(self) -> Mapping[str, Column]:
        """The columns that readers may see, by their names in lower case."""
        return {column.name.lower(): column for column in self.table.columns if not column.hidden}

    @cached_property
    def id_column(self) -> Column:
        """The column with the ids of the items."""
        name = "granule_uid" if self.is_epn else "obs_publisher_did"
        return self.columns_by_name[name]

    @property
    def has_unique_ids(self) -> bool:
        """Whether an id is that of one row."""
        return self.table.primary == (self.id_column.name,)

    @property
    def may_lack_ids(self) -> bool:
        """Whether rows may lack an id."""
        return not (self.has_all_ids or self.has_unique_ids or self.id_column.required)

    @cached_property
    def time_columns(self) -> tuple[Column, Column] | None:
        """The columns with the begin and the end of the observation; None if there are none."""
        begin, end = find_begin_and_end_time_columns(self.table)
        names = ("time_min", "time_max") if self.is_epn else ("t_min", "t_max")
        standard_columns = [self.columns_by_name[name] for name in names if name in self.columns_by_name]
        if len(standard_columns) == 2:
            begin, end = standard_columns
        if begin is None or end is None:
            return None
        return begin, end

    @cached_property
    def region_column(self) -> Column | None:
        """The column with footprints on a body."""
        column = self.columns_by_name.get("s_region")
        xtype = column.type.stored_xtype if column is not None and self.has_geometry else None
        return column if xtype is not None and xtype.adql in _REGION_TYPES else None

    @cached_property
    def box_columns(self) -> tuple[Column, Column, Column, Column] | None:
        """The columns with the least and largest longitudes and latitudes on a body."""
        if not self.has_geometry or not all(name in self.columns_by_name for name in _BOX_COLUMNS):
            return None
        west, east, south, north = (self.columns_by_name[name] for name in _BOX_COLUMNS)
        return west, east, south, north

    @cached_property
    def frame_type_column(self) -> Column | None:
        """The column that says of each row whether its position is one on a body."""
        return self.columns_by_name.get("spatial_frame_type")

    @cached_property
    def has_geometry(self) -> bool:
        """Whether items can have a geometry: positions on a body, not on the sky."""
        column = self.columns_by_name.get("c1min")
        if not self.is_epn or column is None:
            return False
        return "pos.eq" not in (column.ucd or "").lower()

    @cached_property
    def target_column(self) -> Column | None:
        """The column with the names of targets."""
        return self.columns_by_name.get("target_name")

    @cached_property
    def body_name(self) -> str | None:
        """The body on which all positions are, by the frame of the columns; None if rows have different ones."""
        frames: dict[str, ReferenceFrame] = {frame.id: frame for frame in self.table.frames}
        for name in ("c1min", "s_region"):
            column = self.columns_by_name.get(name)
            frame = frames.get(column.frame or "") if column is not None else None
            body = bodies.find_solar_system_body(frame.refposition or "") if frame is not None else None
            if body is not None:
                return body.name
        return None

    @cached_property
    def frame_code(self) -> str | None:
        """The code of the planetocentric frame of its body; None if rows have different bodies, or it has none."""
        return find_frame_code(self.body_name or "")

    @property
    def frame_uri(self) -> str | None:
        """The address by which the OGC names the frame of its geometries; its latitude comes first."""
        if self.frame_code is None or not self.has_geometry:
            return None
        return f"http://www.opengis.net/def/crs/IAU/2015/{self.frame_code.rpartition(':')[2]}"

    @cached_property
    def property_columns(self) -> Mapping[str, Column]:
        """The columns by the names that their values have in items: with the prefix, and by common names."""
        named_columns = {f"{self.prefix}{column.name}": column for column in self.columns_by_name.values()}
        for name, column_names in TEXT_PROPERTIES.items():
            column = self.columns_by_name.get(column_names[0 if self.is_epn else 1])
            if column is not None:
                named_columns[name] = column
        return named_columns

    def find_property_column(self, name: str) -> Column | None:
        """Find the column of a property.

        Parameters
        ----------
        name
            Name of a property of items, perhaps after ``properties.``, or of a column.

        Returns
        -------
        column
            None if there is no such property.
        """
        name = name.removeprefix("properties.")
        if name == "id":
            return self.id_column
        return self.property_columns.get(name) or self.columns_by_name.get(name.lower())


def find_item_table(table: Table) -> ItemTable | None:
    """Return a table as one of items; None if its rows are neither granules of EPN-TAP nor observations.

    Parameters
    ----------
    table
        The table, as its reader sees it.
    """
    names = {column.name.lower() for column in table.columns if not column.hidden}
    if {"granule_uid", "target_name"} <= names:
        return ItemTable(table, is_epn=True)
    if {"obs_publisher_did", "obs_collection", "s_ra", "s_dec"} <= names:
        return ItemTable(table, is_epn=False)
    return None
