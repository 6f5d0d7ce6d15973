"""Blocks and pieces cover every image once, and pieces add up to class means."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condensery.condensation.matching.layout import Batch, Layout, class_blocks, share_matrix
from condensery.methods.objectives.functional import weighted_mean_rows

SIZES = st.lists(st.integers(1, 20), min_size=1, max_size=12)
LIMIT = st.one_of(st.none(), st.integers(1, 60))


@given(SIZES, LIMIT)
def test_blocks_cover_the_classes_in_order(sizes: list[int], limit: int | None) -> None:
    blocks = class_blocks(sizes, limit)
    assert [c for block in blocks for c in block] == list(range(len(sizes)))
    for block in blocks:
        assert len(block) == 1 or limit is None or sum(sizes[c] for c in block) <= limit


@settings(deadline=None)
@given(SIZES, LIMIT, st.booleans(), st.booleans())
def test_pieces_add_up_to_class_means(
    sizes: list[int], limit: int | None, splittable: bool, fixed: bool
) -> None:
    layout = Layout.of(sizes, limit, splittable=splittable, fixed=fixed)
    values = torch.randn(sum(sizes), 5, dtype=torch.float64)
    start, found, shapes = 0, [], set()
    for block in layout.blocks:
        inside = layout.sizes_of(block)
        rows = values[start : start + sum(inside)]
        start += sum(inside)
        labels = torch.zeros(len(rows), dtype=torch.long)
        share = share_matrix(inside, torch.float64, torch.device("cpu"))
        pieces = layout.pieces(Batch(rows, labels, share))
        shapes |= {(tuple(p.images.shape), tuple(p.share.shape)) for p in pieces}
        if not splittable:
            assert len(pieces) == 1
        assert all(len(p.images) <= layout.piece for p in pieces)
        total = sum(weighted_mean_rows(p.images, p.share) for p in pieces)
        assert isinstance(total, torch.Tensor)
        found.append(total[: len(block)])
    expected = torch.stack([part.mean(0) for part in values.split(sizes)])
    torch.testing.assert_close(torch.cat(found), expected)
    if fixed:
        assert len(shapes) == 1, "compiled calls must all have one shape"


def test_small_classes_share_a_call_evenly() -> None:
    assert class_blocks([10] * 10, 64) == [range(0, 5), range(5, 10)]
    assert class_blocks([1] * 10, 32) == [range(10)]
    assert class_blocks([256] * 3, 32) == [range(1), range(1, 2), range(2, 3)]
    assert class_blocks([5, 5], None) == [range(1), range(1, 2)]


def test_the_whole_layout_is_one_call() -> None:
    layout = Layout.whole([3, 4])
    batch = Batch(torch.zeros(7, 1), torch.zeros(7), torch.zeros(2, 7))
    assert len(layout.pieces(batch)) == 1


def test_share_matrix_is_class_means() -> None:
    share = share_matrix([2, 3], torch.float64, torch.device("cpu"))
    assert share.sum(1).tolist() == pytest.approx([1, 1])
    assert share[0].tolist() == [0.5, 0.5, 0, 0, 0]
