"""Write CDF files (version 3.8, uncompressed): variables with records, and the attributes that ISTP needs.

The layout is that of the "CDF Internal Format Description": a descriptor record of the file (CDR), one of global facts
(GDR), one of each attribute (ADR) with its entries (AEDR), and one of each variable (VDR) with an index (VXR) and the
values (VVR). Numbers of records are big-endian, values little-endian (encoding IBMPC).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

MAGIC = bytes.fromhex("cdf30001 0000ffff")
VERSION, RELEASE, INCREMENT = 3, 8, 1
IBMPC_ENCODING = 6
ROW_MAJOR_FLAG, SINGLE_FILE_FLAG = 1, 2
RECORD_VARIANCE_FLAG, PAD_FLAG = 1, 2
GLOBAL_SCOPE, VARIABLE_SCOPE = 1, 2
CHARACTER_TYPE, INT4_TYPE, REAL4_TYPE, REAL8_TYPE, TT2000_TYPE = 51, 4, 21, 45, 33
LEAP_SECOND_TABLE_DATE = 20_170_101  # the last leap second that the times of the file can contain
NAME_BYTES, COPYRIGHT_BYTES = 256, 256
CDR_BYTES, GDR_BYTES, ADR_BYTES, VXR_BYTES = 312, 84, 324, 44
_TYPES = {"<i4": INT4_TYPE, "<f4": REAL4_TYPE, "<f8": REAL8_TYPE, "<i8": TT2000_TYPE}


@dataclass(frozen=True, slots=True, kw_only=True)
class CdfVariable:
    """A variable of a CDF file.

    Attributes
    ----------
    name
        Its name.
    values
        The values: the first dimension are records. Texts are arrays of bytes. 64-bit integers are times (TT2000).
    varies
        Whether the records differ; False: `values` has one record for all.
    attributes
        Its attributes: texts, or numbers of the type of the variable.
    """

    name: str
    values: npt.NDArray[np.generic]
    varies: bool = True
    attributes: Mapping[str, str | float | int] = field(default_factory=dict)


def write_cdf(global_attributes: Mapping[str, Sequence[str]], variables: Sequence[CdfVariable]) -> bytes:
    """Write a CDF file.

    Parameters
    ----------
    global_attributes
        Name -> entries.
    variables
        The variables, in order.

    Returns
    -------
    file
        The bytes of the file.
    """
    return _CdfFileBuilder(global_attributes, variables).to_bytes()


class _CdfFileBuilder:
    def __init__(self, global_attributes: Mapping[str, Sequence[str]], variables: Sequence[CdfVariable]) -> None:
        self._chunks: list[bytes] = []
        self._position = 0
        self._variables = variables
        self._append(MAGIC)
        cdr_offset, gdr_offset = self._reserve(CDR_BYTES), self._reserve(GDR_BYTES)
        variable_head = self._append_variables()
        attribute_head, attribute_count = self._append_attributes(global_attributes)
        self._fill(cdr_offset, _pack_cdr(gdr_offset))
        gdr = struct.pack(
            ">qiqqqqiiiiiqiii",
            GDR_BYTES,
            2,
            0,
            variable_head,
            attribute_head,
            self._position,
            0,
            attribute_count,
            -1,
            0,
            len(variables),
            0,
            0,
            LEAP_SECOND_TABLE_DATE,
            -1,
        )
        self._fill(gdr_offset, gdr)

    def to_bytes(self) -> bytes:
        """Return the bytes of the file."""
        return b"".join(self._chunks)

    def _append(self, chunk: bytes) -> int:
        """Append bytes, and return where they begin."""
        offset = self._position
        self._chunks.append(chunk)
        self._position += len(chunk)
        return offset

    def _reserve(self, byte_count: int) -> int:
        return self._append(bytes(byte_count))

    def _fill(self, offset: int, record: bytes) -> None:
        """Fill a reserved record."""
        position = 0
        for index, chunk in enumerate(self._chunks):
            if position == offset:
                self._chunks[index] = record
                return
            position += len(chunk)

    def _append_variables(self) -> int:
        """Append the variables, the last one first, and return where the first one begins."""
        following = 0
        for number in range(len(self._variables) - 1, -1, -1):
            variable = self._variables[number]
            values = np.ascontiguousarray(variable.values)
            body = values.tobytes()
            data_offset = self._append(struct.pack(">qi", 12 + len(body), 7) + body)
            last_record = len(values) - 1
            index_offset = 0
            if last_record >= 0:
                index = struct.pack(">qiqiiiiq", VXR_BYTES, 6, 0, 1, 1, 0, last_record, data_offset)
                index_offset = self._append(index)
            data_type, element_count = _find_type(values)
            sizes = values.shape[1:]
            pad = _write_pad_value(data_type, element_count)
            flags = PAD_FLAG | (RECORD_VARIANCE_FLAG if variable.varies else 0)
            dimensions = struct.pack(f">{2 * len(sizes)}i", *sizes, *([-1] * len(sizes)))
            name = variable.name.encode().ljust(NAME_BYTES, b"\0")
            byte_count = 8 + 4 + 8 + 4 + 4 + 8 + 8 + 7 * 4 + 8 + 4 + NAME_BYTES + 4 + len(dimensions) + len(pad)
            head = struct.pack(
                ">qiqiiqqiiiiiiiqi",
                byte_count,
                8,
                following,
                data_type,
                last_record,
                index_offset,
                index_offset,
                flags,
                0,
                0,
                -1,
                -1,
                element_count,
                number,
                -1,
                0,
            )
            following = self._append(head + name + struct.pack(">i", len(sizes)) + dimensions + pad)
        return following

    def _append_attributes(self, global_attributes: Mapping[str, Sequence[str]]) -> tuple[int, int]:
        """Append the attributes, and return where the first one begins, and their number."""
        variable_names = list(dict.fromkeys(name for variable in self._variables for name in variable.attributes))
        attributes = [(name, True) for name in global_attributes] + [(name, False) for name in variable_names]
        following = 0
        for number in range(len(attributes) - 1, -1, -1):
            name, is_global = attributes[number]
            if is_global:
                entries = [(index, *_pack_text(text)) for index, text in enumerate(global_attributes[name])]
            else:
                entries = [
                    (index, *_pack_entry(variable.attributes[name], variable))
                    for index, variable in enumerate(self._variables)
                    if name in variable.attributes
                ]
            entry_head = self._append_entries(entries, number, 5 if is_global else 9)
            if entries:
                last_entry = entries[-1][0]
            else:
                last_entry = -1
            global_part = (entry_head, GLOBAL_SCOPE, number, len(entries), last_entry)
            variable_part = (0, 0, -1)
            if not is_global:
                global_part = (0, VARIABLE_SCOPE, number, 0, -1)
                variable_part = (entry_head, len(entries), last_entry)
            record = struct.pack(">qiqqiiiiiqiii", ADR_BYTES, 4, following, *global_part, 0, *variable_part, -1)
            following = self._append(record + name.encode().ljust(NAME_BYTES, b"\0"))
        return following, len(attributes)

    def _append_entries(self, entries: Sequence[tuple[int, int, int, bytes]], attribute: int, record_type: int) -> int:
        following = 0
        for index, data_type, element_count, body in reversed(entries):
            string_count = 1 if data_type == CHARACTER_TYPE else 0
            head = struct.pack(
                ">qiqiiiiiiiii",
                56 + len(body),
                record_type,
                following,
                attribute,
                data_type,
                index,
                element_count,
                string_count,
                0,
                0,
                -1,
                -1,
            )
            following = self._append(head + body)
        return following


def _pack_cdr(gdr_offset: int) -> bytes:
    flags = ROW_MAJOR_FLAG | SINGLE_FILE_FLAG
    record = struct.pack(
        ">qiqiiiiiiiii", CDR_BYTES, 1, gdr_offset, VERSION, RELEASE, IBMPC_ENCODING, flags, 0, 0, INCREMENT, -1, -1
    )
    return record + b"Common Data Format (CDF)".ljust(COPYRIGHT_BYTES, b"\0")


def _find_type(values: npt.NDArray[np.generic]) -> tuple[int, int]:
    """Return CDF's number of a type, and the number of elements: characters of texts, else 1."""
    if values.dtype.kind == "S":
        return CHARACTER_TYPE, max(values.dtype.itemsize, 1)
    return _TYPES[values.dtype.newbyteorder("<").str], 1


def _write_pad_value(data_type: int, element_count: int) -> bytes:
    match data_type:
        case 51:
            return b" " * element_count
        case 33:
            return struct.pack("<q", -(2**63) + 1)
        case 4:
            return struct.pack("<i", -(2**31) + 1)
        case 21:
            return struct.pack("<f", -1e30)
    return struct.pack("<d", -1e30)


def _pack_text(text: str) -> tuple[int, int, bytes]:
    body = text.encode() or b" "
    return CHARACTER_TYPE, len(body), body


def _pack_entry(value: str | float, variable: CdfVariable) -> tuple[int, int, bytes]:
    """Pack the entry of an attribute of a variable: a text, or a number of the type of the variable."""
    if isinstance(value, str):
        return _pack_text(value)
    if variable.values.dtype.kind == "S":
        return _pack_text(str(value))
    data_type, _ = _find_type(variable.values)
    return data_type, 1, np.array([value], variable.values.dtype.newbyteorder("<")).tobytes()
