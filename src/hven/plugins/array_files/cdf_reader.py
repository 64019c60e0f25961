"""Extend cdflib's reader of CDF files: limits on time and memory, ranges of files, and caches.

The module imports cdflib, so it is only imported when a CDF is opened.
"""

from __future__ import annotations

import math
import zlib
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cdflib.cdfread
import numpy as np

from hven.formats.media.api import MAX_UNPACKED_BYTES, create_unpacked_size_error
from hven.model.errors import SourceError, format_message
from hven.plugins.array_files.cdf_types import NUMERIC_TYPES, find_numpy_type

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

    from hven.formats.media import Place

MAX_DIMENSIONS = 100
MAX_READS = 2_000_000  # of one request, which take a second or two
MAX_CACHED_BLOCK_BYTES = 64 << 20  # of decompressed blocks
MAX_BLOCK_BYTES = MAX_UNPACKED_BYTES // 4  # of one decompressed block
_VARIABLE_RECORDS = b"\0\0\0\x07"  # type of a record of uncompressed values
_Z_VARIABLE_RECORD = b"\0\0\0\x08"  # type of the record of a z variable


def _decompress_block(data: bytes) -> bytes:
    """Decompress a block in gzip, up to a limit."""
    unpacker = zlib.decompressobj(31)
    unpacked_bytes = unpacker.decompress(data, MAX_BLOCK_BYTES)
    if unpacker.unconsumed_tail:
        raise create_unpacked_size_error("a block of the file", MAX_BLOCK_BYTES)
    return unpacked_bytes


cdflib.cdfread.gzip_inflate = _decompress_block


class _ReadLimitedFile:
    """A file with a limit on the number of reads, which ends records that point in a circle."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.remaining_reads = MAX_READS
        self.seek = file.seek
        self.tell = file.tell
        self.close = file.close

    def read(self, size: int = -1) -> bytes:
        self.remaining_reads -= 1
        if self.remaining_reads < 0:
            raise SourceError(format_message("the records of the file refer to each other in a cycle"))
        return self.file.read(size)


class BoundedCdfReader(cdflib.cdfread.CDF):  # type: ignore[misc]
    """cdflib's reader of a file, which decompresses no more than a limit.

    Parameters
    ----------
    place
        The file; one on another server is read by ranges.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.variable_records: dict[int, Any] = {}  # by place
        self.block_spans: dict[int, Any] = {}  # places and records of the blocks of a variable, by its first index
        self.blocks: dict[int, tuple[int, bytes]] = {}
        self.attribute_records: dict[int, Any] = {}  # by place
        super().__init__(place if isinstance(place, Path) else "https://")

    def reset_read_limit(self) -> None:
        """Start to count reads anew, for another request."""
        self.counted.remaining_reads = MAX_READS

    @cached_property
    def variable_record_positions(self) -> dict[str, tuple[int, bool]]:
        """The place of the record of each variable, and whether it is a z variable.

        All are read once; cdflib goes through all records each time.
        """
        places: dict[str, tuple[int, bool]] = {}
        for first_place, count, is_z_variable in (
            (self._first_zvariable, self._num_zvariable, True),
            (self._first_rvariable, self._num_rvariable, False),
        ):
            place = first_place
            for _ in range(count):
                name, next_place = self._read_vdr_fast(place)
                places.setdefault(name.strip().lower(), (place, is_z_variable))
                place = next_place
        return places

    def _find_variable_record(self, variable: str) -> tuple[Any, bool]:
        """Find the record of a variable, and whether it is a z variable."""
        place, is_z_variable = self.variable_record_positions[variable.strip().lower()]
        if place not in self.variable_records:
            self.variable_records[place] = self._read_vdr(place)
        return self.variable_records[place], is_z_variable

    def _read_adr(self, position: int) -> Any:
        if position not in self.attribute_records:
            self.attribute_records[position] = super()._read_adr(position)
        return self.attribute_records[position]

    def vdr_info(self, variable: str) -> Any:
        """Return the record of a variable.

        Parameters
        ----------
        variable
            Name of the variable.
        """
        return self._find_variable_record(variable)[0]

    def varattsget(self, variable: str) -> dict[str, Any]:
        """Return the attributes of a variable.

        Parameters
        ----------
        variable
            Name of the variable.
        """
        variable_record, is_z_variable = self._find_variable_record(variable)
        return self._read_varatts(variable_record.variable_number, is_z_variable)

    def _read_varatts(self, number: int, z_variable: bool) -> dict[str, Any]:
        return self.attributes_by_variable.get((number, z_variable), {})

    @cached_property
    def attributes_by_variable(self) -> dict[tuple[int, bool], dict[str, Any]]:
        """The attributes of all variables, read in one pass; cdflib makes one pass for each variable."""
        attributes: dict[tuple[int, bool], dict[str, Any]] = {}
        attribute_place = self._first_adr
        for _ in range(self._num_att):
            attribute = self._read_adr(attribute_place)
            attribute_place = attribute.next_adr_loc
            if attribute.scope == 1:  # an attribute of the file
                continue
            for place, count, is_z_variable in (
                (attribute.first_z_entry, attribute.num_z_entry, True),
                (attribute.first_gr_entry, attribute.num_gr_entry, False),
            ):
                for number, value in self._iterate_attribute_entries(place, count):
                    attributes.setdefault((number, is_z_variable), {}).setdefault(attribute.name, value)
        return attributes

    def _iterate_attribute_entries(self, place: int, count: int) -> Iterator[tuple[int, Any]]:
        """Yield the entries of an attribute, after the numbers of their variables."""
        for _ in range(count):
            entry = self._read_aedr(place)
            value = entry.entry
            is_single = isinstance(value, np.ndarray) and len(value) == 1
            yield entry.entry_num, value[0] if is_single else value
            place = entry.next_aedr

    def _read_vardata(self, vdr_info: Any, startrec: int = 0, endrec: int | None = None, **further_options: Any) -> Any:
        """Read the bytes of the requested records only; cdflib reads all of their blocks each time."""
        last = vdr_info.max_rec if endrec is None else endrec
        is_plain = vdr_info.record_vary and not vdr_info.sparse
        if not is_plain or not 0 <= startrec <= last <= vdr_info.max_rec:
            return super()._read_vardata(vdr_info, startrec=startrec, endrec=endrec, **further_options)
        key = vdr_info.head_vxr
        if key not in self.block_spans:
            if self.cdfversion == 3:
                read_index = self._read_vxrs
            else:
                read_index = self._read_vxrs2
            self.block_spans[key] = read_index(key, [], [], [])
        sizes = [size for size, vary in zip(vdr_info.dim_sizes, vdr_info.dim_vary, strict=False) if vary]
        record_size = self._type_size(vdr_info.data_type, vdr_info.num_elements) * math.prod(sizes)
        parts = []
        for offset, block_first, block_last in zip(*self.block_spans[key], strict=True):
            if block_first <= last and block_last >= startrec:
                low = max(startrec, block_first) - block_first
                high = min(last, block_last) + 1 - block_first
                parts.append(self._read_block(key, offset, low * record_size, high * record_size))
        if len(parts) == 1:
            record_bytes = parts[0]
        else:
            record_bytes = b"".join(parts)
        record_count = last + 1 - startrec
        if len(record_bytes) != record_count * record_size:
            raise SourceError(format_message("{name} is truncated: it ends before its last value", self.place.name))
        if not sizes and vdr_info.num_elements == 1 and vdr_info.data_type in NUMERIC_TYPES:
            stored_type = np.dtype(find_numpy_type(vdr_info.data_type))
            return np.frombuffer(record_bytes, stored_type.newbyteorder(self._convert_option()))
        return self._read_data(record_bytes, vdr_info.data_type, record_count, vdr_info.num_elements, sizes)

    def _read_block(self, key: int, offset: int, begin: int, end: int) -> bytes:
        """Read a part of a block; a decompressed block is kept until the next one of its variable."""
        offset_bytes = 8 if self.cdfversion == 3 else 4
        self._f.seek(offset + offset_bytes)
        if self._f.read(4) == _VARIABLE_RECORDS:
            self._f.seek(offset + offset_bytes + 4 + begin)
            return bytes(self._f.read(end - begin))
        if self.blocks.get(key, (0, b""))[0] != offset:
            self.blocks.pop(key, None)
            cached_bytes = sum(len(data) for _, data in self.blocks.values())
            if cached_bytes > MAX_CACHED_BLOCK_BYTES:
                self.blocks.clear()
            if self.cdfversion == 3:
                decompress = self._read_vvr_block
            else:
                decompress = self._read_vvr_block2
            self.blocks[key] = (offset, decompress(offset))
        return self.blocks[key][1][begin:end]

    def _file_or_url_or_s3_handler(self, name: str, kind: str, method: int) -> Any:
        """Open the file without cdflib's access to other servers."""
        if isinstance(self.place, Path):
            return super()._file_or_url_or_s3_handler(name, kind, method)
        return self.place.open("rb")

    @property
    def _f(self) -> Any:
        return self.counted

    @_f.setter
    def _f(self, file: Any) -> None:
        self.counted = _ReadLimitedFile(file)

    def _uncompress_rle(self, data: bytes) -> Any:
        max_unpacked_bytes = len(data) + 255 * bytes(data).count(0)
        if max_unpacked_bytes > MAX_BLOCK_BYTES:
            raise create_unpacked_size_error("a block of the file", MAX_BLOCK_BYTES)
        return super()._uncompress_rle(data)

    def _check_dimension_count(self, offset: int) -> None:
        """Refuse a number of dimensions up to which cdflib would count for long."""
        self._f.seek(offset)
        if int.from_bytes(self._f.read(4), "big") > MAX_DIMENSIONS:
            raise SourceError(format_message("a variable has more than {most} dimensions", MAX_DIMENSIONS))

    def _read_gdr(self, byte_loc: int) -> Any:
        self._check_dimension_count(byte_loc + 56)
        descriptor_record = super()._read_gdr(byte_loc)
        self.end = int(descriptor_record.eof)
        return descriptor_record

    def _read_gdr2(self, byte_loc: int) -> Any:
        self._check_dimension_count(byte_loc + 36)
        descriptor_record = super()._read_gdr2(byte_loc)
        self.end = int(descriptor_record.eof)
        return descriptor_record

    def _read_vdr3(self, byte_loc: int) -> Any:
        self._f.seek(byte_loc + 8)
        if self._f.read(4) == _Z_VARIABLE_RECORD:
            self._check_dimension_count(byte_loc + 340)
        return super()._read_vdr3(byte_loc)

    def _read_vdr2(self, byte_loc: int) -> Any:
        self._f.seek(byte_loc + 4)
        if self._f.read(4) == _Z_VARIABLE_RECORD:
            dimensions_offset = 128 if self._post25 else 256
            self._check_dimension_count(byte_loc + dimensions_offset)
        return super()._read_vdr2(byte_loc)
