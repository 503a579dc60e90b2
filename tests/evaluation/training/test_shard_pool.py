"""What is held out of growing training material, and when there is too little of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dataflow.errors import ConfigError
from evaluation.training.shard_pool import ShardPool


def write(folder: Path, name: str, numbers: range) -> Path:
    """A shard whose pictures and texts say which ones they are."""
    path = folder / f"{name}.npz"
    images = np.array(numbers, np.uint8)[:, None, None].repeat(2, axis=2)
    np.savez(path, images=images, texts=np.array([f"T{n}" for n in numbers]))
    return path


def pool(folder: Path, held_out: int) -> ShardPool:
    return ShardPool(folder, task="reader", labels="texts", held_out=held_out)


def drawn(of: ShardPool, size: int = 200) -> set[int]:
    images, texts = of.batch(np.random.default_rng(0), size)
    assert images.shape == (size, 1, 2)
    numbers = images[:, 0, 0].tolist()
    assert texts.tolist() == [f"T{n}" for n in numbers]
    return set(numbers)


@pytest.mark.parametrize(
    ("shards", "held_out", "kept", "trained"),
    [
        ([range(4), range(4, 12)], 4, range(4), range(4, 12)),  # the whole of the first shard
        ([range(12)], 4, range(4), range(4, 12)),  # a part of the only one
        ([range(2), range(2, 12)], 4, range(2), range(2, 12)),  # shards of fewer pictures
    ],
)
def test_no_batch_has_a_picture_that_is_held_out(
    shards: list[range], held_out: int, kept: range, trained: range, tmp_path: Path
) -> None:
    for number, numbers in enumerate(shards):
        write(tmp_path, f"0001-{number:05d}", numbers)
    found = pool(tmp_path, held_out)
    images, texts = found.held_out()
    assert images[:, 0, 0].tolist() == list(kept)
    assert texts.tolist() == [f"T{n}" for n in kept]
    assert drawn(found) == set(trained)
    assert found.size == 12


@pytest.mark.parametrize("shards", [[], [range(4)], [range(3)]])
def test_too_little_is_told_by_what_is_left_and_not_by_pictures(
    shards: list[range], tmp_path: Path
) -> None:
    for number, numbers in enumerate(shards):
        write(tmp_path, f"0001-{number:05d}", numbers)
    with pytest.raises(ConfigError, match=r"leave nothing to train on(?s:.*)plate_shards reader"):
        pool(tmp_path, 4)


def test_shards_that_come_later_are_drawn_from_and_the_held_out_ones_stay(tmp_path: Path) -> None:
    write(tmp_path, "0002-00000", range(4))
    write(tmp_path, "0002-00001", range(4, 8))
    found = pool(tmp_path, 4)
    write(tmp_path, "0001-00000", range(8, 12))  # sorted before them
    write(tmp_path, "0001-00001.partial", range(12, 16))
    found.refresh()
    assert found.held_out()[0][:, 0, 0].tolist() == [0, 1, 2, 3]
    assert drawn(found) == {*range(4, 12)}


@pytest.mark.parametrize("damage", [b"", b"no archive"])
def test_what_is_no_shard_is_named(damage: bytes, tmp_path: Path) -> None:
    path = tmp_path / "0001-00000.npz"
    path.write_bytes(damage)
    with pytest.raises(ConfigError, match=r"0001-00000\.npz: --data: not a shard(?s:.*)delete it"):
        pool(tmp_path, 4)


def test_material_of_the_other_task_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "0001-00000", range(12))
    with pytest.raises(ConfigError, match="boxes"):
        ShardPool(tmp_path, task="finder", labels="boxes", held_out=4)
