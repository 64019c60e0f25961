"""The bytes of the files that make up a descriptor: as they are on the disk, or as they were at an earlier reading."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PARSED_SUFFIXES = (".yaml", ".yml", ".py")  # files whose text is parsed; of other files only the checksum matters


@dataclass(frozen=True, slots=True)
class DescriptorFileContent:
    """One file at one time.

    Attributes
    ----------
    sha256
        SHA-256 of its bytes.
    data
        Its bytes; None for a file that a descriptor names and does not parse.
    """

    sha256: str
    data: bytes | None = None


@dataclass(frozen=True, slots=True)
class DescriptorFileReader:
    """Reads files for a descriptor. A file in `states` is taken from there, any other from the disk.

    Attributes
    ----------
    states
        States by path.
    """

    states: Mapping[Path, DescriptorFileContent] = field(default_factory=dict)

    @classmethod
    def with_replaced_file(cls, path: Path, data: bytes) -> DescriptorFileReader:
        """Return the files of the disk with other bytes in the place of one of them.

        Parameters
        ----------
        path
            Path of that file.
        data
            What it is to hold.
        """
        return cls({_normalize_path(path): DescriptorFileContent(hashlib.sha256(data).hexdigest(), data)})

    def find_replacement_content(self, path: Path) -> DescriptorFileContent | None:
        """Return the state that replaces a file; None: the disk has it.

        Parameters
        ----------
        path
            Path of the file.
        """
        if self.states:
            return self.states.get(_normalize_path(path))
        return None

    def is_file(self, path: Path) -> bool:
        """Return whether there is such a file; a name that no file can have is none.

        Parameters
        ----------
        path
            Path of the file.
        """
        # a name too long, or with a NUL, is none
        return self.find_replacement_content(path) is not None or os.path.isfile(path)  # noqa: PTH113

    def read_bytes(self, path: Path) -> bytes:
        """Read a file.

        Parameters
        ----------
        path
            Path of the file.

        Returns
        -------
        data
            Its bytes.

        Raises
        ------
        OSError
            It cannot be read.
        """
        state = self.find_replacement_content(path)
        if state is None or state.data is None:
            return path.read_bytes()
        return state.data

    def compute_sha256(self, path: Path) -> str:
        """Compute the checksum of a file.

        Parameters
        ----------
        path
            Path of the file.

        Returns
        -------
        sha256
            SHA-256 in hexadecimal digits.

        Raises
        ------
        OSError
            It cannot be read.
        """
        state = self.find_replacement_content(path)
        if state is None:
            return hashlib.sha256(path.read_bytes()).hexdigest()
        return state.sha256


def _normalize_path(path: Path) -> Path:
    return Path(os.path.normpath(path))
