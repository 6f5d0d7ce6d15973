"""Files as a stranger might make them, read as the library reads them, under watch.

``make_seeds`` writes one good file of every kind; ``edited`` damages its bytes and ``replaced`` one
of its values; ``read`` opens it and says what came of it; ``Watch`` notes what a file must never
cause.
"""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import struct
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml
from PIL import Image

from condensery import condense, load
from condensery.cli.show import show
from condensery.condensation.configure import resolved
from condensery.condensation.run_folder import RunFolder
from condensery.data import Data
from condensery.errors import DataError, ResourceError, UsageError, out_of_memory
from condensery.methods.pools.store import Pool, PoolSettings
from condensery.sets.foreign import open_foreign
from condensery.utils.checkpoint import Checkpoints, save_state

#: One change of bytes: what is done, where (0 … 1), and with which number.
Edit = tuple[str, float, int]
EDITS = ("set", "flip", "insert", "delete", "repeat", "cut", "word")
#: What a field may hold instead of what it should.
ODD: list[Any] = [
    *(None, True, False, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 10**299, 10**5000),
    *(0.5, -0.0, 1e308, float("nan"), float("inf"), "1e999", "0x10", "", "x", "\0", "~", "*a"),
    *("2024-02-30", "../../x", "/etc/passwd", "\n\x1b[31m", ">=", "<x", "none", "real", "pixels"),
    *("multi_formation", "fsrcnn", [], {}, [[]], [None], {"": None}, {"kind": None}, ["a", 1]),
    # Modules of the standard library that nothing here imports: a file must not either.
    *("this:s", "antigravity.geohash", "this:Net:width=3", {"kind": "this:Objective"}),
    *("x" * 10_000, [0] * 1000, "[deep]"),
]
#: What stands for ``"[deep]"`` in a file: more levels than any parser takes.
_DEEP = "[" * 20_000 + "]" * 20_000
#: What a file may name and none may import.
_CANARIES = ("this", "antigravity")
_LIBRARY = tuple(dict.fromkeys(map(os.path.realpath, (sys.prefix, sys.base_prefix))))


def make_seeds(folder: Path) -> Data:
    """One good file of each kind, in ``folder``; the data that sets are tested on."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 255, (24, 8, 8, 3), dtype=np.uint8)
    labels = np.arange(24) % 2
    folder.mkdir(parents=True)
    np.savez(folder / "arrays.npz", images=images, labels=labels, class_names=["a", "b"])
    np.savez_compressed(folder / "set.npz", images=images[:2], labels=labels[:2])
    data = load(folder / "arrays.npz", cache=False)
    pair = (torch.rand(2, 3, 8, 8), torch.arange(2))
    torch.save({"data": [pair], "accuracies": np.float64(1.5)}, folder / "set.pt")
    made = condense(data, "dm", ipc=1, iterations=0, threads=1)
    made.save(folder / "set.safetensors")
    (folder / "recipe.yaml").write_text(yaml.safe_dump(dict(made.about.config), sort_keys=False))
    _write_tables(folder, images, labels)
    for ending in ("png", "jpg", "gif", "bmp", "tif", "webp", "jp2", "ppm", "tga"):
        Image.fromarray(images[0]).save(folder / f"picture.{ending}")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(images[0]).save(folder / "turned.jpg", exif=exif)
    _write_wav(folder / "sound.wav", rng)
    facts = {"seconds": 1.5, "ended": None, "plan": {"name": "x", "threads": 1}, "sets": 1}
    more = {"evaluate_at": {"at": [1], "n": 1}, "loss_at_the_start": [1.0], "begun_ranks": 1}
    (folder / "run.json").write_text(json.dumps({**facts, **more}))
    save_state({"steps": 1, "stored": torch.zeros(2, 1), "a": {"b": [1, "x"]}}, folder / "state")
    _write_pool(folder, data)
    return data


def _write_tables(folder: Path, images: Any, labels: Any) -> None:
    from datasets import ClassLabel, Dataset, Features
    from datasets import Image as ImageFeature

    features = Features({"image": ImageFeature(), "label": ClassLabel(names=["a", "b"])})
    rows = {"image": [Image.fromarray(one) for one in images], "label": labels.tolist()}
    held = Dataset.from_dict(rows, features=features)
    pq.write_table(held.data.table, folder / "train.parquet")
    table = held.data.table
    with (
        pa.OSFile(str(folder / "train.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as out,
    ):
        out.write_table(table)


def _write_wav(path: Path, rng: np.random.Generator) -> None:
    from scipy.io import wavfile

    wavfile.write(path, 8000, rng.integers(-999, 999, 4000).astype(np.int16))


def _write_pool(folder: Path, data: Data) -> None:
    settings = PoolSettings(
        data=data.name,
        fingerprint=data.train.fingerprint,
        net="convnet1:width=4",
        shape=list(data.train.shape),
        classes=2,
        flip=True,
    )
    pool = Pool(folder, vars(settings), ())
    one = pool.keep({"w": torch.zeros(2)}, 0, 0, 1.0, 50.0)
    Pool(folder, vars(settings), (one,)).write()


def edited(raw: bytes, edits: Sequence[Edit]) -> bytes:
    """Bytes after some changes."""
    out = bytearray(raw)
    for what, where, number in edits:
        at = int(where * max(0, len(out) - 1))
        if what == "cut":
            del out[at:]
        elif what == "delete":
            del out[at : at + number % 64]
        elif what == "repeat":
            out[at:at] = out[at : at + number % 512]
        elif what == "insert":
            out[at:at] = number.to_bytes(8, "little", signed=False)[: 1 + number % 8]
        elif what == "word":
            out[at : at + 4] = struct.pack("<I", number % 2**32)
        elif out:
            out[at] = number % 256 if what == "set" else out[at] ^ (1 << number % 8)
    return bytes(out)


def replaced(tree: Any, where: float, value: Any, *, rename: bool = False) -> Any:
    """Nested values with one of them replaced, or its key."""
    out = copy.deepcopy(tree)
    places: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        pairs = node.items() if isinstance(node, dict) else enumerate(node)
        for key, below in list(pairs):
            places.append((node, key))
            if isinstance(below, (dict, list)):
                collect(below)

    collect(out)
    if not places:
        return value
    node, key = places[int(where * (len(places) - 1))]
    if rename and isinstance(node, dict):
        node[value if isinstance(value, str) else str(value)[:50]] = node.pop(key)
    else:
        node[key] = value
    return out


def _deepened(text: str) -> str:
    return text.replace('"[deep]"', _DEEP).replace("'[deep]'", _DEEP)


def with_value(name: str, raw: bytes, where: float, value: Any, *, rename: bool = False) -> bytes:
    """A file of plain values, or a set's metadata, with one value replaced."""

    def change(tree: Any) -> Any:
        return replaced(tree, where, value, rename=rename)

    sys.set_int_max_str_digits(0)
    try:
        if name.endswith(".json"):
            return _deepened(json.dumps(change(json.loads(raw)))).encode()
        if name.endswith(".yaml"):
            return _deepened(yaml.safe_dump(change(yaml.safe_load(raw)))).encode()
        (length,) = struct.unpack("<Q", raw[:8])
        header = json.loads(raw[8 : 8 + length])
        (key,) = header["__metadata__"]
        said = change(json.loads(header["__metadata__"][key]))
        header["__metadata__"][key] = _deepened(json.dumps(said))
        new = json.dumps(header).encode()
        return struct.pack("<Q", len(new)) + new + raw[8 + length :]
    finally:
        sys.set_int_max_str_digits(4300)


#: Files whose single values can be replaced.
VALUED = ("recipe.yaml", "run.json", "pool.json", "set.safetensors", "state")


def at_random(name: str, raw: bytes, rng: random.Random) -> bytes:
    """A file, damaged at random."""
    if name in VALUED and rng.random() < 0.7:
        value = rng.choice(ODD)
        return with_value(name, raw, rng.random(), value, rename=rng.random() < 0.1)
    count = rng.choice((1, 1, 2, 4, 8))
    edits = [(rng.choice(EDITS), rng.random(), rng.randrange(2**64)) for _ in range(count)]
    return edited(raw, edits)


def readers(seeds: Path, data: Data) -> dict[str, Callable[[Path], object]]:
    """What reads each kind of file: seed's name → reader of a file in a folder of its own."""
    pictures = [p.name for p in sorted(seeds.iterdir()) if p.stem in ("picture", "turned")]
    return {
        "recipe.yaml": lambda file: resolved(data, str(file)),
        "arrays.npz": lambda file: load(file, cache=False),
        "train.parquet": lambda file: load(file, cache=False),
        "train.arrow": lambda file: load(file, cache=False),
        "set.npz": lambda file: open_foreign(file, data),
        "set.pt": lambda file: open_foreign(file, data),
        "set.safetensors": _shown,
        "run.json": _run,
        "state": _state,
        "pool.json": lambda file: _pool(file, seeds),
        "sound.wav": lambda file: _in_folders(file, seeds),
        **dict.fromkeys(pictures, lambda file: _in_folders(file, seeds)),
    }


def _shown(file: Path) -> object:
    return show(
        SimpleNamespace(
            run=str(file), picture=None, before=False, plain=False, json=None, quiet=True
        )
    )


def _run(file: Path) -> object:
    folder = RunFolder(file.parent)
    return folder.facts(), folder.plan()


def _state(file: Path) -> object:
    file.rename(file.with_name("state.safetensors"))
    return Checkpoints(file.parent).load()


def _pool(file: Path, seeds: Path) -> object:
    shutil.copytree(seeds / "networks", file.parent / "networks")
    pool = Pool.read(file.parent)
    return pool.bands(), pool.fingerprint(), [pool.weights(one) for one in pool.snapshots[:3]]


def _in_folders(file: Path, seeds: Path) -> object:
    """A data set of two classes, in which one file of many is the damaged one."""
    good = seeds / file.name
    for name in ("a", "b"):
        folder = file.parent / "own" / name
        folder.mkdir(parents=True)
        for k in range(6):
            os.link(good, folder / f"{k}{file.suffix}")
    file.rename(file.parent / "own" / "a" / f"x{file.suffix}")
    return load(file.parent / "own", size=8, cache=False)


def outcome(read: Callable[[Path], object], file: Path) -> tuple[str, str]:
    """What came of reading a file: ``read``, ``rejected``, ``memory`` or ``traceback``; and why."""
    try:
        read(file)
    except (DataError, UsageError, ResourceError) as error:
        return "rejected", str(error)
    except Exception as error:
        kind = "memory" if out_of_memory(error) else "traceback"
        return kind, f"{type(error).__name__}: {error}"
    return "read", ""


#: What no file may cause, as Python's audit events name it.
_FORBIDDEN = ("subprocess.", "os.system", "os.exec", "os.posix_spawn", "os.fork", "os.startfile")
_NETWORK = ("socket.connect", "socket.getaddrinfo", "urllib.", "pickle.find_class", "code.__new__")
_CHANGES = ("os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.chmod")


class Watch:
    """Notes what starts, connects, or changes a file outside a folder, while it is on."""

    def __init__(self, work: Path) -> None:
        self.inside = os.path.realpath(work)
        self.on = False
        self.incidents: list[str] = []
        sys.addaudithook(self._note)  # which cannot be taken away again

    def _outside(self, path: Any) -> bool:
        text = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
        place = os.path.realpath(text)
        library = "__pycache__" in place and place.startswith(_LIBRARY)
        return (
            bool(text) and not place.startswith(self.inside) and place != os.devnull and not library
        )

    def _note(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.on:
            return
        bad = event.startswith((*_FORBIDDEN, *_NETWORK))
        if event == "import":
            bad = str(arguments[0]) in _CANARIES
        if event in _CHANGES:
            bad = any(map(self._outside, arguments[:2]))
        elif event == "open" and arguments[2] & (os.O_WRONLY | os.O_RDWR):
            bad = self._outside(arguments[0])
        if bad:
            self.incidents.append(f"{event} {arguments!r:.200}")
