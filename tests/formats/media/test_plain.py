"""Windows of arrays that lie in files as they are: what numpy reads of the same bytes, wherever a window lies; a file that ends early is told."""

from __future__ import annotations

import random

import numpy as np
import pytest

from hven.formats.media import _window_reads

SHAPES = ((7,), (5, 9), (6, 5, 4), (3, 4, 5, 6), (2, 300, 400))


@pytest.mark.parametrize("near", [1, 100, _window_reads.MAX_GAP_BYTES])
def test_windows_equal_what_numpy_reads(tmp_path, monkeypatch, near):
    monkeypatch.setattr(_window_reads, "MAX_GAP_BYTES", near)
    chance = random.Random(near)
    for shape in SHAPES:
        whole = np.random.default_rng(1).integers(-30_000, 30_000, shape).astype(chance.choice([">i2", ">f4", ">f8"]))
        path = tmp_path / "flat"
        path.write_bytes(b"head" + whole.tobytes())
        with path.open("rb") as file:
            for _ in range(20):
                ends = [sorted(chance.choices(range(size + 1), k=2)) for size in shape]
                window = tuple(
                    slice(a, b) if chance.random() < 0.7 else slice(0, size)
                    for (a, b), size in zip(ends, shape, strict=True)
                )
                steps = _window_reads.compute_strides(shape, whole.dtype)
                found = _window_reads.read_window(file, 4, steps, whole.dtype, window)
                assert found.dtype == whole.dtype
                assert np.array_equal(found, whole[window])
                # the same bytes with their axes in another order, as of cubes by lines
                turn = chance.sample(range(len(shape)), len(shape))
                others = [window[at] for at in turn]
                found = _window_reads.read_window(file, 4, [steps[at] for at in turn], whole.dtype, others)
                assert np.array_equal(found, whole[window].transpose(turn))


def test_a_file_that_ends_early_is_told(tmp_path):
    path = tmp_path / "short"
    path.write_bytes(np.arange(10, dtype=">f4").tobytes())
    with path.open("rb") as file, pytest.raises(OSError, match="ends before"):
        _window_reads.read_window(file, 0, (16, 4), np.dtype(">f4"), (slice(0, 4), slice(1, 2)))
