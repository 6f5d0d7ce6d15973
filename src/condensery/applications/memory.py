"""A condensed memory for training loops that other people wrote."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from condensery.data import Data, load
from condensery.errors import DataError, UsageError
from condensery.methods.formation import weights_of
from condensery.runtime.plan import Plan
from condensery.sets.about import About
from condensery.sets.condensed import CondensedSet

from .methods import Running, methods_of


class Held(Dataset[tuple[Tensor, int]]):
    """What a memory holds: images with black 0 and white 1, and labels as they were given."""

    def __init__(self, images: Tensor, labels: Tensor) -> None:
        self.images, self.labels = images, labels
        self.targets = labels.tolist()

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One image (C×H×W, float32) and its label."""
        return self.images[index], int(self.labels[index])


class Memory:
    """A memory that condenses, or selects, the images of new classes as they come.

    It fits replay loops that keep exemplars, and the shape of Avalanche's ``ExemplarsBuffer``
    (``buffer``, ``update``, ``resize``), with which it was not tested.

    Args:
        ipc: full-size images' worth of stored numbers of each class.
        method: a recipe, a selection, or a recipe's YAML file.
        iterations: outer iterations of each condensing; the recipe's by default.
        flip: whether augmentation may flip images horizontally.
        seed: of the first classes; each :meth:`add` has the next one.
        plan: ``auto``, ``exact``, a YAML file or a plan.
        device: torch device.
        threads: CPU threads.

    Raises:
        UsageError: for a method or value that does not exist.
    """

    def __init__(
        self,
        ipc: int,
        method: str = "dm",
        *,
        iterations: int | None = None,
        flip: bool = False,
        seed: int = 0,
        plan: str | Plan = "auto",
        device: str | None = None,
        threads: int | None = None,
    ) -> None:
        (self.method,) = methods_of([method], iterations)
        if self.method.kind == "set":
            raise UsageError(f"{method} is a made set; a memory needs a recipe or a selection")
        if ipc < 1:
            raise UsageError(f"ipc must be at least 1, got {ipc}")
        self.ipc, self.flip, self.seed = ipc, flip, seed
        self.running = Running(plan, device, threads)
        self.sets: list[CondensedSet] = []

    @property
    def classes(self) -> list[int]:
        """Labels that it holds, in the order in which they came."""
        return [int(name) for one in self.sets for name in one.about.class_names]

    @property
    def stored_bytes(self) -> int:
        """Size of what is stored."""
        return sum(one.stored_bytes for one in self.sets)

    def add(self, images: Any, labels: Any) -> CondensedSet:
        """Condense the images of new classes, and keep the result; nothing else is kept.

        Args:
            images: N×C×H×W, uint8, or floating with black 0 and white 1; all that is seen.
            labels: N whole numbers, of at least two classes.

        Returns:
            the set of these classes.

        Raises:
            DataError: for images that cannot be used, or classes that are held already.
        """
        data = self._data(images, labels)
        new = [int(name) for name in data.train.class_names]
        again = sorted(set(new) & set(self.classes))
        if again:
            raise DataError(
                f"class {again[0]} is in the memory already; give all images of a class at once"
            )
        if self.sets and data.train.shape != tuple(self.sets[0].images.shape[1:]):
            raise DataError(
                f"the memory holds images of {tuple(self.sets[0].images.shape[1:])}, got "
                f"{data.train.shape}; bring them to one size"
            )
        self.method.check(data, self.ipc)
        with tempfile.TemporaryDirectory(prefix="condensery-") as folder:
            place, seed = Path(folder) / "set", self.seed + len(self.sets)
            self.sets.append(self.method.make(data, self.ipc, seed, place, self.running))
        return self.sets[-1]

    def _data(self, images: Any, labels: Any) -> Data:
        # The test split is not used; without one, a part of the images would be set aside.
        return load((images, labels), test=(images, labels), flip=self.flip)

    def dataset(self) -> Held:
        """All that it holds, decoded; empty before the first :meth:`add`."""
        if not self.sets:
            return Held(torch.empty(0, 1, 1, 1), torch.empty(0, dtype=torch.int64))
        images = torch.cat([one.pixels() for one in self.sets])
        labels = []
        for one in self.sets:
            numbers = torch.tensor([int(name) for name in one.about.class_names])
            labels.append(numbers[one.labels])
        return Held(images, torch.cat(labels))

    def state_dict(self) -> dict[str, Any]:
        """Tensors, numbers and strings, for ``torch.save``; not the method's settings."""
        sets = []
        for one in self.sets:
            learned = {name: w.clone() for name, w in weights_of(one.formation).items()}
            about = one.about.dump()
            sets.append({"stored": one.stored.clone(), "about": about, "formation": learned})
        return {"method": self.method.label, "ipc": self.ipc, "seed": self.seed, "sets": sets}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore :meth:`state_dict`; what is added then is what would have been added before.

        Raises:
            UsageError: for the state of a memory with another method, budget or seed.
        """
        wanted = {"method": self.method.label, "ipc": self.ipc, "seed": self.seed}
        for name, value in wanted.items():
            if state.get(name) != value:
                raise UsageError(
                    f"this memory has {name} {value}, and the state {state.get(name)}; make the "
                    "memory with the same"
                )
        self.sets = [
            CondensedSet(
                torch.as_tensor(one["stored"]),
                About.parse(one["about"]),
                weights=dict(one["formation"]) or None,
            )
            for one in state["sets"]
        ]

    @property
    def buffer(self) -> Held:
        """:meth:`dataset`, by the name that Avalanche has for it."""
        return self.dataset()

    def update(self, strategy: Any, **_: Any) -> None:
        """Add the new classes of ``strategy.experience.dataset``, as Avalanche's plugins do."""
        taken = [item[:2] for item in strategy.experience.dataset]
        labels = torch.tensor([int(label) for _, label in taken])
        images = torch.stack([torch.as_tensor(image) for image, _ in taken])
        new = ~torch.isin(labels, torch.tensor(self.classes, dtype=torch.int64))
        if bool(new.any()):
            self.add(images[new], labels[new])

    def resize(self, strategy: Any, new_size: int) -> None:
        """Raise: what is condensed has its budget for good.

        Raises:
            UsageError: always, unless the size is what it is.
        """
        if new_size != self.ipc * len(self.classes):
            raise UsageError(
                f"a condensed memory keeps {self.ipc} images of each class and cannot be resized; "
                "make one with another ipc"
            )
