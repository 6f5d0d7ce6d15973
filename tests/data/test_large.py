"""Data larger than the memory: decoded in a stream, mapped, and kept on the host."""

from __future__ import annotations

import errno
import gc
import re
import shutil
import struct
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from condensery.condensation.api import condense
from condensery.condensation.configure import configure, plan_for
from condensery.condensation.loop import Condenser
from condensery.data import Data, LabelledSet, cache_folder, load
from condensery.data.labelled import fingerprint_of, measure
from condensery.data.pictures import Pictures, Splits, Wanted, decode
from condensery.data.stack import Item, stack_up
from condensery.data.store import File, Memory
from condensery.errors import DataError, UsageError
from condensery.runtime import devices
from condensery.selection import select_random
from condensery.sets.condensed import CondensedSet
from tests.conftest import tiny

LINUX = sys.platform == "linux"


def drawn(n: int, side: int, grey: range = range(0)) -> Pictures:
    """Random pictures, made when they are requested; some are grey."""

    def pick(rows: NDArray[np.int64]) -> Iterator[Item]:
        for row in rows:
            shape = (side, side) if row in grey else (side, side, 3)
            values = np.random.default_rng(int(row)).integers(0, 256, shape, dtype=np.uint8)
            yield f"{row}", ValueError("torn") if row == 5 else values

    return Pictures(np.arange(n, dtype=np.int64) % 4, pick)


@pytest.fixture
def chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small chunks, so that there are many."""
    monkeypatch.setattr("condensery.data.store.CHUNK", 2**15)


# Decoding -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("grey", [range(0), range(37), range(100), range(1)])
def test_a_file_holds_what_memory_does(tmp_path: Path, chunks: None, grey: range) -> None:
    # Grey pictures before the first in colour, within a chunk and over several.
    splits = Splits(drawn(100, 16, grey), drawn(40, 16, range(20)), None)
    held = decode(splits, "drawn", Wanted(), Memory())
    with File(tmp_path / "file") as store:
        written = decode(splits, "drawn", Wanted(), store)
    for split in ("train", "test"):
        a, b = getattr(held, split), getattr(written, split)
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert (a.mean, a.std, a.fingerprint) == (b.mean, b.std, b.fingerprint)
        assert len(a) == {"train": 99, "test": 39}[split]
    assert held.notes == written.notes


def test_decoding_needs_memory_for_a_chunk(tmp_path: Path, chunks: None) -> None:
    splits = Splits(drawn(400, 64), drawn(40, 64), None)
    size = 400 * 3 * 64 * 64

    def peak(store: Any) -> int:
        gc.collect()
        tracemalloc.start()
        stack_up(splits.train.pick(np.arange(400)), store, 400, None, None, "training")
        found = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return found

    assert peak(Memory()) > size  # and what is imported late is imported now
    with File(tmp_path / "file") as store:
        assert peak(store) < size / 10


@pytest.mark.parametrize("kind", [torch.uint8, torch.float32])
def test_pieces_change_neither_fingerprint_nor_normalisation(
    tmp_path: Path, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condensery.data.labelled._CHUNK", 500)
    values = torch.from_numpy(np.random.default_rng(0).normal(100, 50, (30, 2, 5, 7)))
    images = values.clamp(0, 255).to(kind)
    labels = torch.arange(30) % 3
    with File(tmp_path / "file") as store:
        store.begin(30)
        for part in images.split(11):
            store.add(part.numpy())
        kept = store.images()
        assert torch.equal(kept, images)
        assert measure(kept, store.parts) == measure(images)
        same = fingerprint_of(kept, labels, "abc", store.parts)
    assert same == fingerprint_of(images, labels, "abc")


def photos(root: Path, n: int = 6, side: int = 8) -> Path:
    rng = np.random.default_rng(0)
    for c, name in enumerate(("cat", "dog")):
        (root / name).mkdir(parents=True)
        for i in range(n):
            pixels = rng.integers(0, 256, (side, side, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{c}{i}.png")
    return root


def cache_file() -> Path:
    (file,) = (cache_folder() / "data").glob("*")
    return file


def test_the_cache_is_a_safetensors_file(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    data = load(photos(tmp_path / "set"))
    held = load_file(cache_file())
    for split in ("train", "test"):
        part: LabelledSet = getattr(data, split)
        assert torch.equal(held[f"{split}.images"], part.images)
        assert torch.equal(held[f"{split}.labels"], part.labels)
        assert fingerprint_of(part.images, part.labels, part.class_names) == part.fingerprint
        assert part.mean == measure(data.train.images)[0]


def test_a_full_disk_is_noticed_at_the_first_chunk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    data = load(photos(tmp_path / "set"))
    (note,) = [n for n in data.notes if "could not be kept in the cache" in n]
    assert "1.9 kB are needed but only 1.0 kB of disk space is free" in note
    assert not list((cache_folder() / "data").glob("*"))
    monkeypatch.setattr("condensery.data.store.physical_memory", lambda: 1500)
    with pytest.raises(DataError, match=r"need 1\.9 kB.* CONDENSERY_CACHE"):
        load(tmp_path / "set")


def test_a_file_that_cannot_even_be_closed_is_no_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is buffered does not fit on a full disk either."""

    closed = File.close

    def close(file: File) -> None:
        closed(file)
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1000))
    monkeypatch.setattr(File, "close", close)
    data = load(photos(tmp_path / "set"))
    assert any("could not be kept in the cache (1.9 kB are needed" in note for note in data.notes)


def test_mistakes_in_the_data_are_not_taken_for_the_cache(tmp_path: Path) -> None:
    root = photos(tmp_path / "set")
    (root / "cat" / "00.png").write_bytes(b"torn")
    for i in range(1, 6):
        (root / "cat" / f"0{i}.png").write_bytes(b"torn")
    with pytest.raises(DataError, match="class 'cat' can be read"):
        load(root)
    assert not list((cache_folder() / "data").glob("*"))


# Reading ------------------------------------------------------------------------------------------


def resident(file: Path) -> int:
    """Bytes of a mapped file that are in this process's memory."""
    text = Path("/proc/self/smaps").read_text(encoding="utf-8")
    found = re.findall(rf"{re.escape(file.name)}\n(?:.*\n)*?Rss: +(\d+) kB", text)
    assert found
    return 1024 * sum(map(int, found))


@pytest.mark.skipif(not LINUX, reason="/proc tells only Linux what is in memory")
def test_only_the_rows_that_are_used_are_read(tmp_path: Path) -> None:
    root = photos(tmp_path / "set", n=200, side=128)
    load(root)
    size = cache_file().stat().st_size
    assert size > 19_000_000
    data = load(root)
    assert resident(cache_file()) < size / 4
    taken = data.train.normalised(torch.tensor([3, 200]))
    assert resident(cache_file()) < size / 4
    assert torch.equal(taken, data.train.normalised()[[3, 200]])
    assert resident(cache_file()) > size / 2


@pytest.mark.skipif(not LINUX, reason="other systems may reserve memory for a mapping")
def test_a_file_larger_than_the_memory_can_be_mapped(tmp_path: Path) -> None:
    from condensery.data.store import mapped

    memory = devices.physical_memory()
    assert memory is not None
    file = tmp_path / "sparse"
    with file.open("wb") as handle:
        handle.truncate(4096 + 3 * memory)
    images = mapped(file, 4096, (3 * memory // 1000, 10, 10, 10), torch.uint8)
    assert int(images[-1].sum()) == 0
    images[-1] = 1  # into a copy of the page
    assert int(mapped(file, 4096, tuple(images.shape), torch.uint8)[-1].sum()) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has its own way to map")
def test_a_system_that_reserves_memory_maps_for_reading(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mmap

    make = mmap.mmap

    def strict(handle: int, **how: Any) -> mmap.mmap:
        if how["prot"] & mmap.PROT_WRITE:
            raise OSError(12, "Cannot allocate memory")
        return make(handle, **how)

    whole = load(photos(tmp_path / "set"))
    monkeypatch.setattr("condensery.data.store.mmap.mmap", strict)
    again = load(tmp_path / "set")
    assert torch.equal(again.train.normalised(), whole.train.normalised())
    assert again.notes == whole.notes


def test_a_header_that_lies_is_a_damaged_cache(tmp_path: Path) -> None:
    root = photos(tmp_path / "set")
    whole = load(root).train.images.clone()
    raw = bytearray(cache_file().read_bytes())
    for old, new in ((b"[9, 3, 8, 8]", b"[9, 3, 8, 9]"), (b'"F32"', b'"U16"'), (b"{", b"}")):
        spoilt = bytes(raw).replace(b"[10, 3, 8, 8]", b"[10, 3, 8, 9]").replace(old, new, 1)
        cache_file().write_bytes(spoilt)
        assert torch.equal(load(root).train.images, whole)
    cache_file().write_bytes(struct.pack("<Q", 2**62) + b"{}")
    assert torch.equal(load(root).train.images, whole)


# On the host --------------------------------------------------------------------------------------


def bytes_of(condensed: CondensedSet, folder: Path) -> bytes:
    return condensed.save(folder).read_bytes()


SMALL = {"supply.net": "convnet1:width=8"}
RUNS: dict[str, dict[str, Any]] = {
    "dm": SMALL,
    "gm_mdo": {**SMALL, "supply.steps": 2, "supply.cap": 1, "supply.validation": 8},
    "cafe": {**SMALL, "supply.step_cap": 2, "supply.epoch_cap": 1, "supply.query": 4},
    "idc": {**SMALL, "supply.steps": 2, "supply.images": 12, "supply.pretrain": 1},
}


@pytest.mark.parametrize("recipe", list(RUNS))
def test_images_on_the_host_give_the_same_bytes(
    recipe: str, tmp_path: Path, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(folder: str) -> bytes:
        made = condense(
            tiny_data, recipe, ipc=2, iterations=1, plan="exact", overrides=RUNS[recipe]
        )
        return bytes_of(made, tmp_path / folder)

    here = run("device")
    taken: list[bool] = []
    moving = LabelledSet._taken

    def watched(held: LabelledSet, rows: Any) -> Any:
        taken.append(held.on_host)
        return moving(held, rows)

    monkeypatch.setattr(LabelledSet, "_taken", watched)
    monkeypatch.setenv(devices.SHARE_VARIABLE, "0")
    assert run("host") == here
    assert taken
    assert all(taken)


def test_pools_selections_and_evaluation_from_the_host(
    tmp_path: Path, tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    from condensery.evaluation.api import evaluate
    from condensery.methods.pools.train import pool_settings, train_pool

    def everything(folder: str, number: int) -> tuple[Any, ...]:
        settings = pool_settings(tiny_data, "convnet1:width=8", epochs=1)
        pool = train_pool(tiny_data, settings, 1, tmp_path / folder, plan="exact")
        chosen = select_random(tiny_data, ipc=2)
        # Another number of networks each time: accuracies of the whole set are cached.
        rows = evaluate(
            [chosen, f"whole(epochs={number})"],
            tiny_data,
            network="convnet1:width=8",
            repeats=1,
            epochs=2,
            plan="exact",
        )
        return pool.snapshots, bytes_of(chosen, tmp_path / f"{folder}-set"), rows[0].accuracies

    here = everything("device", 2)
    monkeypatch.setenv(devices.SHARE_VARIABLE, "0")
    assert everything("host", 3) == here


def test_a_device_is_never_asked_for_rows(tiny_data: Data) -> None:
    # Nothing can be read from the meta device, so whatever waits for the device raises.
    from condensery.condensation.matching.draws import draw_mixed, draw_step
    from condensery.methods.formation import random_rows
    from condensery.methods.task import Task
    from condensery.training.trainer import Split, Subset

    train = tiny_data.train.to("meta", share=0)
    assert (train.device.type, train.index_device.type) == ("meta", "cpu")
    assert train.images is tiny_data.train.images
    task = Task.of(train, ipc=2, seed=0)
    assert task.device.type == "meta"
    config = configure(tiny_data, "dm", {"ipc": 2, **SMALL})
    plan = plan_for(tiny_data, config, "exact")
    augmentation = Condenser(tiny_data, config, plan).augmentation
    rows = draw_step(train, augmentation, task, 5, 0, 0).rows
    mixed = draw_mixed(train, 4, 0, "validation", 0, 0)
    for some in (*rows, mixed, random_rows(train, 2, 0).flatten()):
        assert some.device.type == "cpu"
        assert train.normalised(some).device.type == "meta"
        assert train.normalised(some).shape == (len(some), 1, 8, 8)
        assert train.labels_at(some).device.type == "meta"
    for data in (Split(train), Subset(train, mixed)):
        images, labels = data.take(torch.arange(3, device=data.index_device))
        assert (images.device.type, labels.device.type) == ("meta", "meta")


def test_what_fits_moves(tiny_data: Data, monkeypatch: pytest.MonkeyPatch) -> None:
    train = tiny_data.train
    gpu = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1000, 10**9))
    assert devices.fits(500, gpu)
    assert not devices.fits(501, gpu)
    assert devices.fits(900, gpu, share=0.9)
    assert train.nbytes == 28 * 64
    assert train.stays_on_host(gpu)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 28 * 64, 10**9))
    assert not train.stays_on_host(gpu)
    monkeypatch.setenv(devices.SHARE_VARIABLE, "0.4")
    assert train.stays_on_host(gpu)
    for wrong in ("half", "-1", "2", "nan"):
        monkeypatch.setenv(devices.SHARE_VARIABLE, wrong)
        with pytest.raises(UsageError, match="must be a number from 0 to 1"):
            devices.fits(1, gpu)


def test_whitening_what_cannot_fit_is_refused(
    tiny_data: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("condensery.data.whitening.physical_memory", lambda: 4 * 42 * 64 - 1)
    with pytest.raises(UsageError, match="--zca"):
        load(tiny_data, zca=True)
    monkeypatch.setattr("condensery.data.whitening.physical_memory", lambda: 4 * 42 * 64 * 2)
    load(tiny_data, zca=True)


def test_large_channels_show_their_constancy() -> None:
    data = tiny(channels=3)
    images = data.train.images.clone()
    images[:, 1] = 7
    made = load((images.numpy(), data.train.labels.numpy()))
    assert any("channel 1 is constant" in note for note in made.notes)
