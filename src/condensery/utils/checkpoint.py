"""A run's state as one file: tensors, plain values, and a checksum over both; the last two kept."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from condensery.errors import DataError, UsageError

from .files import sync_folder, whole_file
from .reading import json_of, regular

_KEY = "condensery-state"
#: What a file raises whose values are not what they should be.
_WRONG = (ValueError, TypeError, AttributeError, ArithmeticError)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}


def save_state(state: dict[str, Any], path: Path) -> None:
    """Write nested dictionaries of tensors and JSON values, whole."""
    tensors: dict[str, Tensor] = {}
    values = _split(state, "", tensors)
    text = json.dumps({"sha256": _digest(values, tensors), "state": values}, sort_keys=True)
    content = save(tensors, {_KEY: text})
    with whole_file(path) as temporary:
        temporary.write_bytes(content)


def load_state(path: Path) -> dict[str, Any]:
    """What :func:`save_state` wrote.

    Raises:
        DataError: when the file is damaged.
    """
    try:
        with safe_open(regular(path), framework="pt") as opened:
            held = json_of((opened.metadata() or {})[_KEY])
            tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
        if held["sha256"] != _digest(held["state"], tensors):
            raise DataError("its checksum is wrong")
        values: dict[str, Any] = held["state"]
        for name, tensor in tensors.items():
            *folders, last = name.split("/")
            below = values
            for folder in folders:
                below = below[folder]
            below[last] = tensor
    except (OSError, SafetensorError, RuntimeError, LookupError, *_WRONG) as error:
        raise DataError(
            f"checkpoint {path} is damaged ({error}); remove it to start this run again"
        ) from error
    return values


@dataclass(frozen=True)
class Every:
    """How often a run is checkpointed."""

    seconds: float | None = 60.0
    """By time."""
    iterations: int | None = None
    """By outer iterations."""
    steps: int | None = None
    """By pixel steps."""
    asked: bool = False
    """Whether someone requested it; otherwise checkpoints that take long come more rarely."""

    @classmethod
    def parse(cls, text: str | None) -> Every:
        """``60s``, ``5m``, ``1h``, ``200it`` (outer iterations) or ``50steps``.

        Raises:
            UsageError: for anything else.
        """
        if text is None:
            return cls()
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(s|m|h|it|steps?)\s*", text)
        number, unit = (float(found[1]), found[2]) if found else (0.0, "")
        if unit in _UNITS and number > 0:
            return cls(seconds=number * _UNITS[unit], asked=True)
        if unit and number >= 1 and number == int(number):
            if unit == "it":
                return cls(seconds=None, iterations=int(number), asked=True)
            return cls(seconds=None, steps=int(number), asked=True)
        raise UsageError(
            f"--checkpoint-every must be a time or a number of iterations or steps, such as 60s, "
            f"10m, 200it or 500steps, got {text!r}"
        )


class Checkpoints:
    """The last two states of a run in its folder; a damaged one falls back on the one before.

    Args:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        self._next = folder / "state-next.safetensors"
        self.newest = folder / "state.safetensors"
        self.before = folder / "state-before.safetensors"

    @property
    def files(self) -> list[Path]:
        """Those that are there, newest first; a kill between two renames leaves the next one."""
        return [p for p in (self._next, self.newest, self.before) if p.exists()]

    def save(self, state: dict[str, Any]) -> None:
        """Write a state; whenever this is killed, the state before can be read."""
        save_state(state, self._next)
        if self.newest.exists():
            self.newest.replace(self.before)
        self._next.replace(self.newest)
        sync_folder(self.newest.parent)

    def load(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest state that is whole, None where there is none, and notes on damaged ones.

        Raises:
            DataError: when there are states, and all of them are damaged.
        """
        notes: list[str] = []
        complaints: list[DataError] = []
        for file in self.files:
            try:
                state = load_state(file)
            except DataError as error:
                complaints.append(error)
                notes.append(f"checkpoint {file} is damaged; resuming from the previous one")
            else:
                return state, notes
        if complaints:
            raise complaints[0]
        return None, []

    def prune(self) -> None:
        """Remove the state before the newest one, if that is whole."""
        if not self.before.exists():
            return
        try:
            load_state(self.newest)
        except DataError:
            return
        self.before.unlink()

    def remove(self) -> None:
        """Remove all of them."""
        for file in self.files:
            file.unlink()


def _digest(values: dict[str, Any], tensors: dict[str, Tensor]) -> str:
    """SHA-256 over the values and over every tensor's name, type, shape and bytes."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(repr((name, str(tensor.dtype), tuple(tensor.shape))).encode())
        if tensor.numel():
            digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def _split(tree: dict[str, Any], prefix: str, tensors: dict[str, Tensor]) -> dict[str, Any]:
    """The values of a tree; its tensors go into ``tensors`` under their path."""
    values: dict[str, Any] = {}
    for name, item in tree.items():
        if isinstance(item, Tensor):
            tensors[prefix + name] = item.detach().cpu().contiguous()
        elif isinstance(item, dict):
            values[name] = _split(item, f"{prefix}{name}/", tensors)
        else:
            values[name] = item
    return values
