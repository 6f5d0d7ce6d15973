"""Draws are addressed, independent and reproducible."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from condensery.runtime.randomness import fork_rng, stream


def test_every_part_of_the_address_counts() -> None:
    addresses = [
        (seed, purpose, iteration, step, group)
        for seed, purpose, iteration, step, group in itertools.product(
            (0, 1), ("a", "b"), (0, 1), (0, 1), (0, 1)
        )
    ]
    seen = {tuple(stream(*address).integers(2**63, size=4)) for address in addresses}
    assert len(seen) == len(addresses)


def test_a_draw_does_not_depend_on_what_was_drawn_before() -> None:
    wanted = stream(3, "x", 5, 1, 2).random(8)
    stream(3, "x", 5, 1, 1).random(10_000)
    np.testing.assert_array_equal(stream(3, "x", 5, 1, 2).random(8), wanted)


def test_neighbouring_streams_are_uncorrelated() -> None:
    draws = np.stack([stream(0, "x", i).standard_normal(4000) for i in range(6)])
    off_diagonal = np.corrcoef(draws) - np.eye(6)
    assert np.abs(off_diagonal).max() < 0.08  # five standard errors


@pytest.mark.parametrize("name", ["seed", "iteration", "step", "group"])
def test_addresses_out_of_range_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=name):
        stream(**{"seed": 0, "purpose": "x", **{name: -1}})  # type: ignore[arg-type]


def test_fork_rng_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with fork_rng(0, "network", 4):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with fork_rng(0, "network", 4):
        assert torch.equal(torch.rand(3), first)
    with fork_rng(0, "network", 5):
        assert not torch.equal(torch.rand(3), first)
