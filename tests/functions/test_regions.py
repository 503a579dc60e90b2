from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dataflow.functions._regions import (
    MERGE_OVERLAP,
    MaskRegion,
    clean_mask,
    find_regions,
    merge_overlapping,
)

regions = st.builds(
    lambda x, y, w, h, fill: MaskRegion(x=x, y=y, w=w, h=h, pixels=max(1, int(w * h * fill))),
    st.integers(0, 200),
    st.integers(0, 200),
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(0.1, 1.0),
)


@given(st.lists(regions, max_size=12))
def test_merging_conserves_pixels_and_leaves_no_pair_to_merge(parts: list[MaskRegion]) -> None:
    merged = merge_overlapping(parts)
    assert sum(r.pixels for r in merged) == sum(r.pixels for r in parts)
    for i, one in enumerate(merged):
        for other in merged[i + 1 :]:
            assert one.shared(other) < MERGE_OVERLAP
            assert not one.stacked(other)


@given(st.lists(regions, max_size=8), st.randoms(use_true_random=False))
def test_merging_does_not_depend_on_the_order(parts: list[MaskRegion], random: object) -> None:
    shuffled = list(parts)
    random.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis hands out random.Random
    assert merge_overlapping(shuffled) == merge_overlapping(parts)


@given(st.lists(regions, max_size=8))
def test_every_part_lies_within_a_merged_region(parts: list[MaskRegion]) -> None:
    merged = merge_overlapping(parts)
    for part in parts:
        assert any(
            m.x <= part.x
            and m.y <= part.y
            and part.x + part.w <= m.x + m.w
            and part.y + part.h <= m.y + m.h
            for m in merged
        )


def test_a_bonnet_and_a_roof_are_one_thing_but_two_cars_in_a_queue_are_two() -> None:
    roof = MaskRegion(x=12, y=0, w=40, h=14, pixels=500)
    bonnet = MaskRegion(x=10, y=18, w=44, h=16, pixels=600)
    assert len(merge_overlapping([roof, bonnet])) == 1
    ahead = MaskRegion(x=10, y=0, w=40, h=34, pixels=1200)
    behind = MaskRegion(x=10, y=38, w=44, h=36, pixels=1400)
    assert len(merge_overlapping([ahead, behind])) == 2


def test_specks_go_and_gaps_close() -> None:
    mask = np.zeros((120, 200), np.uint8)
    mask[5::17, 5::17] = 255  # isolated pixels
    mask[40:80, 60:90] = 255
    mask[40:80, 93:120] = 255  # a gap of three pixels: the window of one vehicle
    found = find_regions(mask, min_area_px=50, max_regions=5, close_fraction=0.03)
    assert [(r.x, r.y, r.w, r.h) for r in found] == [(60, 40, 60, 40)]


def test_a_thing_at_the_border_does_not_grow_along_it() -> None:
    mask = np.zeros((120, 200), np.uint8)
    mask[100:120, 60:90] = 255
    mask[100:120, 140:170] = 255
    cleaned = clean_mask(mask, close_fraction=0.05)
    assert not cleaned[:, 95:135].any()


def test_the_largest_regions_are_kept() -> None:
    mask = np.zeros((100, 300), np.uint8)
    for index, side in enumerate((10, 20, 30, 40)):
        mask[10 : 10 + side, 10 + 70 * index : 10 + 70 * index + side] = 255
    found = find_regions(mask, min_area_px=50, max_regions=2, close_fraction=0)
    assert [r.w for r in found] == [40, 30]
