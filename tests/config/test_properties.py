"""Properties over drawn inputs: settings, files and formations."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from condensery import CondensedSet, DataError, UsageError
from condensery.condensation.configure import configure
from condensery.config.compare import first_difference
from condensery.config.recipes import recipe_names
from condensery.config.schema import Choice, RunConfig
from condensery.data import Data
from condensery.methods.formation import MultiFormation
from condensery.methods.task import Task
from condensery.sets.about import About, Source
from condensery.utils.checkpoint import load_state, save_state
from condensery.utils.files import safe_names
from tests.conftest import tiny

SOON = settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
DATA = tiny()

#: What YAML can hold where a value is expected.
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=True, allow_infinity=True)
    | st.text(max_size=12),
    lambda below: (
        st.lists(below, max_size=3) | st.dictionaries(st.text(max_size=5), below, max_size=3)
    ),
    max_leaves=4,
)


def _fields(data: Data) -> list[str]:
    """Every setting that some recipe has."""
    found: set[str] = set()
    for name in recipe_names():
        for field, value in configure(data, name).as_dict().items():
            found |= {f"{field}.{key}" for key in value} if isinstance(value, dict) else {field}
    return sorted(found)


@SOON
@given(recipe=st.sampled_from(recipe_names()), field=st.sampled_from(_fields(DATA)), value=VALUES)
def test_any_value_of_any_setting_is_taken_or_refused(recipe: str, field: str, value: Any) -> None:
    try:
        config = configure(DATA, recipe, {field: value})
    except (UsageError, DataError):
        return
    written = yaml.safe_load(config.dump())
    assert first_difference(written, config.as_dict()) is None


@SOON
@given(
    recipe=st.sampled_from(recipe_names()),
    ipc=st.integers(1, 500),
    seed=st.integers(0, 2**63 - 1),
    iterations=st.integers(0, 10**7),
)
def test_a_written_recipe_says_the_same_again(
    recipe: str, ipc: int, seed: int, iterations: int
) -> None:
    given_ = {"ipc": ipc, "seed": seed, "iterations": iterations}
    config = configure(DATA, recipe, given_)
    again = configure(DATA, yaml.safe_load(config.dump()))
    assert again == config
    assert isinstance(again, RunConfig)


#: Names are stored in UTF-8.
NAMES = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=6)
TENSORS = st.builds(
    lambda shape, dtype, seed: torch.randint(
        0, 2, shape, generator=torch.Generator().manual_seed(seed)
    ).to(dtype),
    st.lists(st.integers(0, 3), max_size=4).map(tuple),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.bool]),
    st.integers(0, 2**31),
)
PLAIN = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**53), 2**53),
    st.text(max_size=5),
    st.floats(allow_nan=False),
    st.lists(st.integers(-9, 9), max_size=3),
)
STATES = st.recursive(
    st.dictionaries(NAMES, TENSORS | PLAIN, max_size=4),
    lambda below: st.dictionaries(NAMES, below, max_size=3),
    max_leaves=4,
)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, torch.Tensor):
        return isinstance(b, torch.Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_same(a[k], b[k]) for k in a)
    return bool(a == b)


@SOON
@given(state=STATES)
def test_states_come_back_as_they_were(state: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.safetensors"
        save_state(state, file)
        first = file.read_bytes()
        assert _same(load_state(file), state)
        save_state(state, file)
        assert file.read_bytes() == first


@SOON
@given(state=STATES, where=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_damaged_state_is_noticed(state: dict[str, Any], where: float, bit: int) -> None:
    """Any flipped bit is noticed, or it changes nothing (a space in the header's padding)."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "s.safetensors"
        save_state(state, file)
        content = bytearray(file.read_bytes())
        content[int(where * len(content))] ^= 1 << bit
        file.write_bytes(content)
        try:
            found = load_state(file)
        except DataError:
            return
        assert _same(found, state)


@SOON
@given(
    classes=st.integers(1, 4),
    ipc=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    side=st.integers(4, 9),
    names=st.data(),
)
def test_condensed_sets_come_back_as_they_were(
    classes: int, ipc: int, channels: int, side: int, names: st.DataObject
) -> None:
    found = names.draw(st.lists(st.text(max_size=8), min_size=classes, max_size=classes))
    stored = torch.randn(classes, ipc, channels, side, side)
    about = About(
        method="dm",
        formation=Choice("pixels", {"start_from": "real"}),
        ipc=ipc,
        seed=3,
        iterations=0,
        class_names=tuple(found),
        mean=(0.5,) * channels,
        std=(0.25,) * channels,
        flip=True,
        source=Source("x", "0" * 64, 9, 99),
        config={},
    )
    with tempfile.TemporaryDirectory() as folder:
        condensed = CondensedSet(stored, about)
        file = condensed.save(Path(folder) / "c")
        again = CondensedSet.load(file)
        assert again.about == about
        assert torch.equal(again.stored, stored)
        assert torch.equal(again.images, condensed.images)


@SOON
@given(names=st.lists(st.text(max_size=20), min_size=1, max_size=12))
def test_safe_names_are_safe(names: list[str]) -> None:
    found = safe_names(names)
    assert len({name.casefold() for name in found}) == len(names)
    for name in found:
        assert name
        assert Path(name).name == name
        assert name not in (".", "..")
        assert len(name.encode()) < 120


@SOON
@given(
    side=st.integers(6, 14),
    factor=st.integers(1, 3),
    channels=st.sampled_from([1, 3]),
    level=st.floats(0.05, 0.95),
)
def test_a_flat_image_survives_packing(side: int, factor: int, channels: int, level: float) -> None:
    """Whatever the grid, what is the same everywhere is the same everywhere after decoding."""
    data = tiny((12, 12), channels, side)
    flat = torch.full_like(data.train.images, round(255 * level))
    train = type(data.train).of(
        flat, data.train.labels, data.train.class_names, "flat", mean=(0.0,) * channels,
        std=(1.0,) * channels,
    )  # fmt: skip
    made = MultiFormation(factor=factor, space="unit").for_data(train.mean, train.std)
    task = Task.of(train, ipc=1, seed=0, flip=False, dtype=torch.float32)
    stored = made.start(task, train)
    assert stored.shape == (2, 1, channels, side, side)
    decoded = made.decode(stored)
    assert decoded.shape[1] == factor * factor
    assert torch.allclose(decoded, torch.tensor(round(255 * level) / 255), atol=1e-5)


def test_the_fields_are_many() -> None:
    assert len(_fields(DATA)) > 50


@pytest.mark.parametrize("recipe", recipe_names())
def test_every_recipe_resolves_to_what_it_writes(recipe: str) -> None:
    config = configure(DATA, recipe)
    assert configure(DATA, yaml.safe_load(config.dump())) == config
