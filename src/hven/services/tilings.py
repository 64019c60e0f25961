"""Tables as tiles of the sky, as one reader sees them: HATS catalogues whose partitions are made when they are asked for, and kept in ``var/tiles``.

What is read of a table is a *state* of it: a snapshot, and which of its rows and columns this reader sees. All files of a catalogue are of one state, which
stands in their address: who reads while another snapshot is published, or while their rights change, is told so (410), and never gets a mixture. A file
depends on nothing but its state, its pixel and what is asked of it: whoever makes it again makes the same bytes (docs/decisions/023-hats.md).

Common
------
around, who
    The site and the reader.
order, pixel
    HEALPix order and nested index.
ranges
    Cells of order 29, half-open, sorted, disjoint, shape (n, 2).
"""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from hven import __version__, adql, query
from hven.engines import Snapshot
from hven.formats import End, Head, votable
from hven.formats import hats_layout as hats
from hven.model import Cache, literal
from hven.model.errors import Gone, NotFound, ParamError, TooLarge, say
from hven.model.sky import Moc, healpix
from hven.services._tiles import shelf
from hven.services.address import table_named
from hven.site import blind
from hven.site.auth import ANONYMOUS, masks, row_filters, scope_of, visible
from hven.site.past import refuse

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from hven.model.table import Column, Table
    from hven.services.face import Surroundings
    from hven.site import Holdings, Published
    from hven.site.auth import Reader, Scope

    Ranges = npt.NDArray[np.int64]

MADE = 1  # changes with how files are made
FEWEST, PARTITIONS = 65_536, 1_000  # rows that a partition may have at least, and into how many a table is divided
HELD = 64 << 20  # bytes of the rows of a partition, about
MOST = 4_000_000  # rows of a partition of the finest order
GROUP = 8_192  # rows of a row group
COVER = 16  # order of the cells by which rows are asked for, where those of a partition are not finer
FIRST, FINER, FINEST = (
    7,
    4,
    19,
)  # rows are counted by cells of the first order, where there are many by finer ones, up to the last
DEEPEST = 8  # order of the pixels for which rows are counted, where an engine may not read all of them at once
FEW = 256  # cells with rows: where there are no more, rows are counted more finely
MAPPED = 1_024, 16_384  # cells of the map of where there are rows
MAP = 10  # its finest order: LSDB makes an array of all cells of it
SMALL = 5_000_000  # rows of a table that has a margin and an index of its key: all its rows are read for these
MARGIN, INDEX = "margin", "index"  # what else there is of a state, beside its rows
INDEXES = "index.parquet"  # in the directory `dataset` of an index
AROUND, ARCSECONDS = (
    13,
    10.0,
)  # order of cells, and how far beyond its pixel a margin reaches at least by their neighbours
NARROW = 7  # orders that these cells may be finer than the pixel
PIXELS = 1_000  # of a table that has a margin
OWN = f"{hats.CELL}_own"  # a column of the table that has the name of the cells
READER = "~"  # in the name of a state: behind it, which rows and columns the reader saw
LAYOUTS = 64 << 20  # bytes of what is remembered of layouts
_STATE = re.compile(rf"(\d{{8}}T\d{{6,}}-[0-9a-f]+)(~[0-9a-f]{{16}})?(?:\.({MARGIN}|{INDEX}))?")
_TERM = re.compile(rf"\s*{hats.CELL}\s*(==|=|>=|<=|>|<)\s*(\d{{1,19}})\s*")
_CELLS = "hven cells"  # beside the columns of a table


class Layout(NamedTuple):
    """How a state is divided.

    Attributes
    ----------
    pixels
        Order and pixel of each partition, in the order of their cells; and its rows.
    cells, order
        Those of an order in which there are rows.
    sky
        Rows in each cell of `hats_layout.SKYMAP_ORDER`.
    without
        Rows that have no position, and are in no partition.
    margin
        Rows of all margins; negative: there are none.
    """

    pixels: Mapping[tuple[int, int], int]
    cells: Ranges
    order: int
    sky: Ranges
    without: int
    margin: int

    @property
    def rows(self) -> int:
        """Of all partitions."""
        return int(self.sky.sum())


@dataclass(frozen=True, kw_only=True)
class Tiling:
    """A state of a table, as its reader sees it.

    Attributes
    ----------
    published
        The table with its snapshot.
    holdings
        In which it is.
    scope, filtered
        What the reader sees of it; whether that is not all.
    part
        `MARGIN`, `INDEX`, or empty: the rows.
    """

    around: Surroundings
    who: Reader
    published: Published
    snapshot: Snapshot
    holdings: Holdings
    scope: Scope
    filtered: bool
    part: str = ""

    @property
    def table(self) -> Table:
        """The table, with its columns of then."""
        return self.published.table

    @property
    def name(self) -> str:
        """What the state is called in addresses."""
        return f"{self.snapshot.id}{READER}{self.scope.key}" if self.filtered else self.snapshot.id

    @property
    def columns(self) -> tuple[tuple[str, Column], ...]:
        """The columns that are given, by their names in files."""
        shown = (one for one in self.table.columns if not one.hidden or one.name in (self.table.position or ()))
        return tuple((OWN if one.name == hats.CELL else one.name, one) for one in shown)

    @property
    def schema(self) -> pa.Schema:
        """Of all partitions."""
        return hats.stored(pa.schema([pa.field(name, one.type.arrow) for name, one in self.columns]))

    def key(self, *more: object) -> str:
        """Name what is made of this state, and depends on nothing else."""
        columns = [(name, one.type) for name, one in self.columns]
        said = MADE, __version__, pa.__version__, self.table.qualified, self.snapshot.id, self.scope.key, columns, *more
        return hashlib.sha256(repr(said).encode()).hexdigest()[:40]

    @property
    def small(self) -> bool:
        """Whether all rows can be read for what tells of them."""
        return self.snapshot.rows <= SMALL

    @property
    def indexed(self) -> Column | None:
        """The key, if it can have an index of HATS."""
        key = self.table.primary
        found = next((one for name, one in self.columns if key == (one.name,) and name == one.name), None)
        fits = (
            found is not None and (found.type.is_integer or found.type.is_string) and re.fullmatch(r"\w+", found.name)
        )
        return found if fits and self.small and self.snapshot.rows else None

    def layout(self) -> Layout:
        """Return how it is divided: counted once, and kept."""
        known: Cache[Layout] = self.around.site.kept(_layouts)
        key = self.key("layout")
        found = known.find(key)
        if found is None:
            with np.load(shelf(self.around).made(f"{key}.npz", self._count)) as kept:
                pixels = {(order, pixel): rows for order, pixel, rows in kept["pixels"].tolist()}
                found = Layout(pixels, kept["cells"], kept["order"].item(), kept["sky"], kept["without"].item(), kept["margin"].item())  # fmt: skip
            known.keep(key, found, found.cells.nbytes + found.sky.nbytes + 200 * len(pixels))
        return found

    @property
    def _kept(self) -> Mapping[tuple[int, int], Path] | None:
        """The partitions that the engine has as files, if this reader may have them as they are."""
        whole = not self.filtered and [name for name, _ in self.columns] == [one.name for one in self.table.columns]
        return self.around.site.engines.of(self.snapshot).partitions(self.snapshot) if whole else None

    @property
    def _most(self) -> int:
        """Rows of a partition: many for large tables, so that there are not too many partitions, and few where rows are large."""
        rows = max(self.snapshot.rows, 1)
        wide = max(self.snapshot.bytes // rows, 8 * len(self.columns))
        return max(min(rows // PARTITIONS, hats.MOST_ROWS, HELD // wide), min(FEWEST, HELD // wide), 1)

    def _count(self, file: Path) -> None:
        """Count the rows of cells: of an order, then of finer ones where there are many rows, or few cells."""
        order, most = 29 if self.small else FIRST, self._most
        starts, counts = self._each() if self.small else self._grouped(order)
        while not self.small and 0 < len(starts) <= FEW and order < FINEST - FINER:
            order += FINER
            starts, counts = self._grouped(order)
        finer = order
        while finer < FINEST and (busy := counts > most).any():
            wide, finer = 1 << 2 * (29 - finer), min(finer + FINER, FINEST)
            cells = healpix.merge(np.stack([starts[busy], starts[busy] + wide], axis=1))
            more, amounts = self._grouped(finer, cells)
            starts, counts = np.concatenate([starts[~busy], more]), np.concatenate([counts[~busy], amounts])
        sort = np.argsort(starts)
        starts, counts = starts[sort], counts[sort]
        sums = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

        def before(cells: Ranges) -> Ranges:
            found: Ranges = sums[starts.searchsorted(cells)]
            return found

        kept = [(*one, int(np.diff(before(np.array(hats.cells_of(*one))))[0])) for one in self._kept or ()]
        pixels = kept or hats.divided(before, most, FINEST)
        margin = -1
        if self.small and len(pixels) <= PIXELS:
            margin = sum(int(np.diff(before(_beyond(at, pixel))).sum()) for at, pixel, _ in pixels)
        order, wanted_ = min(order, MAP), int(np.clip(self.snapshot.rows // 512, *MAPPED))
        while len(cells := _apart(starts >> 2 * (29 - order))) > wanted_ and order:
            order -= 1
        sky = np.bincount(starts >> 2 * (29 - hats.SKYMAP_ORDER), counts, 12 << 2 * hats.SKYMAP_ORDER).astype(np.int64)
        every = self._ask("SELECT COUNT(*) AS n FROM {table}")["n"][0].as_py()
        body = io.BytesIO()
        np.savez_compressed(body, pixels=np.array(pixels, np.int64).reshape(-1, 3), cells=cells, order=order, sky=sky, without=every - sky.sum(), margin=margin)  # fmt: skip
        file.write_bytes(body.getvalue())

    def _each(self) -> tuple[Ranges, Ranges]:
        """Read where each row is: of a table that is not large, quicker than to have its engine count."""
        lon, lat = self.table.position or ("", "")
        found = self._in_pieces("SELECT {lon}, {lat} FROM {table} WHERE")
        cells = healpix.index(29, *(found[name].cast(pa.float64()).to_numpy() for name in (lon, lat)))
        return cells, np.ones(len(cells), np.int64)

    def _grouped(self, order: int, ranges: Ranges | None = None) -> tuple[Ranges, Ranges]:
        cell = f"IVO_HEALPIX_INDEX({order}, {{lon}}, {{lat}}) AS c, COUNT(*) AS n"
        rows = self._in_pieces(f"SELECT {cell} FROM {{table}} WHERE", " GROUP BY 1", ranges, order)
        cells, counts = (np.asarray(rows[name], np.int64) for name in ("c", "n"))
        return cells << 2 * (29 - order), counts

    def _in_pieces(
        self,
        text: str,
        end: str = "",
        ranges: Ranges | None = None,
        order: int = 0,
        at: int = 0,
        pixels: Sequence[int] = range(12),
    ) -> pa.Table:
        """Ask for all rows in some cells of an order; where an engine may not read so much at once, for those of pixels, of finer and finer orders."""
        where = "{lon} IS NOT NULL AND {lat} IS NOT NULL" if ranges is None else _inside(ranges, order)
        try:
            return self._ask(f"{text} {where}{end}")
        except TooLarge:
            if at > DEEPEST:
                raise
        whole = np.array([[0, healpix.CELLS]]) if ranges is None else ranges
        pieces = [(pixel, healpix.intersect(whole, np.array([hats.cells_of(at, pixel)]))) for pixel in pixels]
        return pa.concat_tables([
            self._in_pieces(text, end, piece, max(order, at), at + 1, range(4 * pixel, 4 * pixel + 4)) for pixel, piece in pieces if len(piece)
        ])  # fmt: skip

    def _ask(self, text: str, most: int = 2**40, *columns: Column) -> pa.Table:
        """Ask the table, by the road of all queries."""
        lon, lat = map(adql.quote, self.table.position or ("", ""))
        table = ".".join(adql.quote(part) for part in (self.table.schema, self.table.name))
        text = text.format(table=table, lon=lon, lat=lat, columns=", ".join(adql.quote(one.name) for one in columns))
        with query.run(text, self.who, site=self.around.site, policies=self.around.policies, holdings=self.holdings, maxrec=most, most=most) as result:  # fmt: skip
            rows = result.table()
            if result.overflow:
                raise TooLarge(
                    say("a partition has more than {most:,} rows at one place", most), remedy="ask for them by TAP"
                )
        return rows

    def file(self, order: int, pixel: int, *, columns: str | None = None, filters: str | None = None) -> tuple[str, Path]:  # fmt: skip
        """Return the file of a partition, or of what is wanted of it, and a name that is these bytes' alone; of a margin, what lies around the pixel.

        Parameters
        ----------
        columns
            Names with commas between; if there is one that is not known, all.
        filters
            As LSDB writes them: conditions with ``,`` between that all hold, several such with ``;`` between of which one holds. Those of the
            cells are heeded; whoever sends them applies all of them to what comes.

        Raises
        ------
        NotFound
            There is no such partition.
        """
        if (order, pixel) not in self.layout().pixels:
            raise NotFound(say("there is no partition {path}", hats.partition_path(order, pixel)), remedy="partition_info.csv lists them")  # fmt: skip
        mine = np.array([hats.cells_of(order, pixel)])
        every = [name for name, _ in self.columns]
        asked = set((columns or "").split(",")) - {hats.CELL}
        names = [name for name in every if name in asked] if columns and asked <= {*every} else every
        ranges = _beyond(order, pixel) if self.part == MARGIN else mine
        if filters:
            ranges = healpix.intersect(ranges, wanted(filters))
        if not self.part and names == every and np.array_equal(ranges, mine) and self._kept is not None:
            return self.key(order, pixel), self._kept[order, pixel]
        key = self.key(order, pixel, names, ranges.tolist())
        return key, shelf(self.around).made(
            f"{key}.parquet", lambda file: self._write(file, ranges, names, max(order, COVER))
        )

    def _write(self, file: Path, ranges: Ranges, names: Sequence[str], finest: int) -> None:
        """Write rows in the order of their cells, and within one of what else tells them apart."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        lon, lat = self.table.position or ("", "")
        known = dict(self.columns)
        asked = {known[name].name: known[name] for name in names}
        asked |= {one.name: one for one in self.table.columns if one.name in {lon, lat, *self.table.primary}}
        schema = pa.schema([item for item in self.schema if item.name in {hats.CELL, *names}])
        rows = schema.empty_table()
        if len(ranges):
            edges = int(np.bitwise_or.reduce(ranges, None))
            order = min(finest, 29 - ((edges & -edges).bit_length() - 1) // 2)
            cover = _inside(healpix.degrade(ranges, order), order)
            found = self._ask(f"SELECT {{columns}} FROM {{table}} WHERE {cover}", MOST, *asked.values())
            places = (found[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
            cells = healpix.index(29, *places)
            # what a database takes for inside at the border of a cell is asked again here, as the cells are numbered here
            inside = healpix.within(ranges, cells)
            arrays = [literal.storage(found[one.name], one.type) for one in asked.values()]
            every = pa.table([pa.array(cells), *arrays], names=[_CELLS, *asked]).filter(pa.array(inside))
            apart = self.table.primary or [
                item.name for item in every.schema.remove(0) if not pa.types.is_nested(item.type)
            ]
            every = every.take(pc.sort_indices(every, [(name, "ascending") for name in (_CELLS, *apart)]))
            rows = pa.table([every[_CELLS], *(every[known[name].name] for name in names)], schema=schema)
        with pq.ParquetWriter(file, schema, **hats.WRITING) as writer:
            writer.write_table(rows, row_group_size=GROUP)

    # --- what tells of it ---

    def map(self) -> bytes:
        """Write where there are rows (``point_map.fits``): LSDB asks for these cells of a partition alone."""
        return hats.sparse_map(self.layout().cells, self.layout().order)

    def skymap(self) -> bytes:
        """Write how many rows there are in each cell (``skymap.fits``)."""
        return hats.skymap(self.layout().sky)

    def partitions(self) -> bytes:
        """Write ``partition_info.csv``."""
        return hats.write_partitions(self.layout().pixels)

    def common(self) -> bytes:
        """Write ``_common_metadata``, with what the columns mean."""
        if self.part == INDEX:
            return hats.common_metadata(self._index_schema)
        told = votable.metadata(Head(columns=[one for _, one in self.columns], frames=self.table.frames, name=self.table.name), End())  # fmt: skip
        return hats.common_metadata(self.schema, told.encode())

    def collection(self) -> bytes:
        """Write ``collection.properties``, which names a state and what there is of it."""
        lines = ["#HATS Collection", f"obs_collection={self.table.qualified}", f"hats_primary_table_url={self.name}"]
        if self.layout().margin >= 0:
            lines += [f"{key}_margin{'s' * (key == 'all')}={self.name}.{MARGIN}" for key in ("all", "default")]
        if self.indexed is not None:
            lines += [f"all_indexes={self.indexed.name} {self.name}.{INDEX}", f"default_index={self.indexed.name}"]
        return "\n".join([*lines, ""]).encode()

    def properties(self) -> bytes:
        """Write ``hats.properties``."""
        found = self.layout()
        resource = blind(self.holdings, self.who).resources.get(self.table.schema)
        told: dict[str, str | None] = {"obs_title": self.table.title, "obs_description": self.table.description}
        if resource is not None:
            told = {"obs_title": self.table.title or resource.title, "obs_description": self.table.description or resource.description, "obs_copyright": resource.licence, "obs_ack": resource.citation}  # fmt: skip
            told |= {"obs_copyright_url": resource.licence_url, "bib_reference": resource.bibcode, "hats_creator": "; ".join(one.name for one in resource.creators)}  # fmt: skip
        told = {key: " ".join(str(value).split()) for key, value in told.items() if value}
        told |= {"hven_snapshot": self.name, "hven_rows_without_position": str(found.without)}
        if self.part:
            told |= {"dataproduct_type": self.part, "hats_primary_table_url": self.name}
        if self.part == MARGIN:
            told["hats_margin_threshold"] = str(ARCSECONDS)
        if self.part == INDEX and self.indexed is not None:
            none = dict.fromkeys(("hats_col_ra", "hats_col_dec", "hats_col_healpix", "hats_col_healpix_order", "hats_order", "hats_skymap_order"))  # fmt: skip
            told |= {"hats_index_column": self.indexed.name, **none}
        return hats.write_properties(
            f"{self.table.qualified}_{self.part}".rstrip("_"),
            rows=found.margin if self.part == MARGIN else found.rows,
            position=self.table.position or ("", ""),
            order=max((order for order, _ in found.pixels), default=0),
            sky=sum(1 / (12 << 2 * order) for order, _ in found.pixels),
            made=self.published.updated[:16],
            more=told,
        )

    # --- the index of the key ---

    @property
    def _index_schema(self) -> pa.Schema:
        assert self.indexed is not None  # noqa: S101  (or it has no index)
        key = pa.field(self.indexed.name, self.indexed.type.arrow)
        return pa.schema([key, *(pa.field(name, pa.int64()) for name in ("Norder", "Dir", "Npix"))])

    def index(self) -> tuple[str, Path]:
        """Return the file that has for each value of the key the partition that has its row, and a name that is these bytes' alone."""
        key = self.key(INDEX)
        return key, shelf(self.around).made(f"{key}.parquet", self._write_index)

    def _write_index(self, file: Path) -> None:
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        assert self.indexed is not None  # noqa: S101  (or it has no index)
        pixels = np.array(list(self.layout().pixels), np.int64).reshape(-1, 2)
        firsts = pixels[:, 1] << 2 * (29 - pixels[:, 0])
        lon, lat = self.table.position or ("", "")
        columns = [one for one in self.table.columns if one.name in {self.indexed.name, lon, lat}]
        found = self._ask(
            "SELECT {columns} FROM {table} WHERE {lon} IS NOT NULL AND {lat} IS NOT NULL", SMALL, *columns
        )
        places = (found[name].cast(pa.float64()).to_numpy() for name in (lon, lat))
        at = firsts.searchsorted(healpix.index(29, *places), "right") - 1
        orders, numbers = pixels[at].T
        arrays = [
            literal.storage(found[self.indexed.name], self.indexed.type),
            orders,
            numbers // 10_000 * 10_000,
            numbers,
        ]
        rows = pa.table(arrays, schema=self._index_schema).sort_by(self.indexed.name)
        with pq.ParquetWriter(file, rows.schema, **hats.WRITING) as writer:
            writer.write_table(rows, row_group_size=GROUP)

    def index_metadata(self) -> bytes:
        """Write ``_metadata`` of the index, by which clients find the row groups that they read."""
        import pyarrow.parquet as pq  # noqa: PLC0415  (slow to load, asked by few)

        found = pq.read_metadata(self.index()[1])
        found.set_file_path(INDEXES)
        body = io.BytesIO()
        found.write_metadata_file(body)
        return body.getvalue()


def _apart(cells: Ranges) -> Ranges:
    """Return each number of an ascending list once."""
    return cells[np.append(True, cells[1:] != cells[:-1])] if len(cells) else cells


def _layouts() -> Cache[Layout]:
    return Cache(LAYOUTS)


def _inside(ranges: Ranges, order: int) -> str:
    """Write a condition that rows in these cells meet."""
    return f"1 = CONTAINS(POINT({{lon}}, {{lat}}), MOC('{Moc(ranges, order)}'))"


def _beyond(order: int, pixel: int) -> Ranges:
    """Return what lies around a pixel."""
    mine = np.array([hats.cells_of(order, pixel)])
    return healpix.intersect(healpix.neighbourhood(mine, min(AROUND, order + NARROW)), healpix.invert(mine))


def wanted(filters: str) -> Ranges:
    """Read which cells conditions leave, at least: what else they say is passed over.

    Parameters
    ----------
    filters
        As of `Tiling.file`.
    """
    spans = []
    for each in filters.split(";"):
        low, high = 0, healpix.CELLS
        for sign, number in (term.groups() for one in each.split(",") if (term := _TERM.fullmatch(one))):
            at = min(int(number), healpix.CELLS)
            if sign in {"=", "==", ">=", ">"}:
                low = max(low, at + (sign == ">"))
            if sign in {"=", "==", "<=", "<"}:
                high = min(high, at + (sign != "<"))
        if low < high:
            spans.append((low, high))
    return healpix.merge(np.array(spans, np.int64).reshape(-1, 2))


def applies(table: Table) -> bool:
    """Serve stored tables with positions."""
    return table.position is not None and table.view is None and table.owner is None


def table_of(around: Surroundings, who: Reader, text: str, holdings: Holdings) -> Table:
    """Find the table that an address means: a collection's is its main one, `main` or the first with positions.

    Raises
    ------
    NotFound
        There is none, or it cannot be divided.
    """
    catalogue = holdings.catalogue(who, around.policies)
    own = [one for schema in catalogue.schemas if schema.name == text for one in schema.tables]
    table = next((one for one in own if one.name == "main" and applies(one)), None) or next(filter(applies, own), None)
    if table is None:
        table = own[0] if own and "." not in text else table_named(text, catalogue)
    if table.position is None:
        raise NotFound(
            say("{table} has no positions by which it could be divided", table.qualified), remedy="ask it by TAP"
        )
    return table


def tiling(around: Surroundings, who: Reader, text: str, state: str | None = None) -> Tiling:
    """Find a state of a table.

    Parameters
    ----------
    text
        A table as in an address, or a collection.
    state
        Its name; None: what is published now. Of who sees some rows only, a snapshot's is that of what they see of it.

    Raises
    ------
    NotFound
        There is no such table, or it has no states.
    Gone
        The state is not kept any more, or it is not what this reader sees now.
    """
    holdings = around.site.current()
    table = table_of(around, who, text, holdings)
    found = holdings.published.get(table.qualified)
    named = _STATE.fullmatch(state or "")
    if state is not None and named is None:
        raise NotFound(
            say("{table} has no {path}", table.qualified, state[:80]), remedy="collection.properties names its state"
        )
    if named is not None and (found is None or _id(found) != named[1]):
        try:
            past = around.site.as_of(named[1], who, around.policies)
        except ParamError:
            raise _gone(table, named[0]) from None
        holdings, found = past.holdings, past.holdings.published.get(table.qualified)
        if found is None:
            raise refuse(past, table.qualified)
        if _id(found) != named[1] or not applies(found.table):
            raise _gone(table, named[0])
    if found is None or not isinstance(found.relation, Snapshot) or not applies(found.table):
        raise NotFound(say("{table} has no states that could be read file by file: it is no stored table", table.qualified), remedy="ask it by TAP")  # fmt: skip
    filters = row_filters([found.table], who, around.policies)
    whole = found.table.policy is None and visible(found.table, ANONYMOUS, around.policies)
    private = [] if whole else [table.qualified]
    scope = scope_of(filters, private, masks([found.table], who))
    made = Tiling(around=around, who=who, published=found, snapshot=found.relation, holdings=holdings, scope=scope, filtered=bool(filters), part=(named and named[3]) or "")  # fmt: skip
    if named is not None and named[2] and made.name != named[1] + named[2]:
        message = say("what you see of {table} is not what {state} has", table.qualified, named[0])
        raise Gone(message, remedy="open the catalogue anew")
    return made


def _id(found: Published) -> str | None:
    return found.relation.id if isinstance(found.relation, Snapshot) else None


def _gone(table: Table, state: str) -> Gone:
    return Gone(say("{table} as of {state} is not kept any more", table.qualified, state), remedy="open the catalogue anew; a release keeps a state for good")  # fmt: skip


__all__ = ["INDEX", "INDEXES", "MARGIN", "Layout", "Tiling", "applies", "table_of", "tiling", "wanted"]
