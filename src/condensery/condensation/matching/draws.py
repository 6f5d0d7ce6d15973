"""The draws of one step: which real images, and how each class is augmented."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from condensery.augment import Draw, cat, fused, parse_strategy
from condensery.augment.draws import to_device
from condensery.data import LabelledSet
from condensery.methods.augmentation import Augmentation, SiameseOp, SiameseSequence
from condensery.methods.task import Task
from condensery.runtime.randomness import stream

#: Below this many images per class, augmenting many classes together is faster even on a CPU.
_TOGETHER_BELOW = 8


@dataclass(frozen=True)
class StepDraws:
    """Everything random about one step, as values, for some consecutive classes."""

    classes: range
    """Which ones; entry i of what follows belongs to the i-th of them."""
    rows: list[Tensor]
    """Real images of each class, positions in the training split, where it wants them."""
    augmentation: list[tuple[Draw, ...]]
    """The augmentation of each class, the same for its real and its synthetic batch."""
    synthetic: Tensor | None = None
    """Which training images of the synthetic set each class takes, k×n; all when None."""

    def with_synthetic(
        self, task: Task, decoded: int, taken: int, iteration: int, step: int
    ) -> StepDraws:
        """With so many of each class's synthetic images, drawn without replacement."""
        rows = [
            stream(task.seed, "synthetic-batch", iteration, step, c).choice(
                decoded, taken, replace=False
            )
            for c in self.classes
        ]
        picked = torch.from_numpy(np.sort(np.stack(rows), axis=1))
        return replace(self, synthetic=to_device(picked, task.device))


def draw_rows(
    train: LabelledSet,
    n: int,
    seed: int,
    purpose: str,
    iteration: int,
    step: int,
    classes: range | None = None,
) -> list[Tensor]:
    """``n`` images of every class, or of some, without replacement; all of a class with fewer."""
    out = []
    for c in range(train.classes) if classes is None else classes:
        members = train.host_index[c]
        if len(members) > n:
            rng = stream(seed, purpose, iteration, step, c)
            members = members[rng.choice(len(members), n, replace=False, shuffle=False)]
        out.append(members)
    # One copy for all classes.
    rows = to_device(torch.from_numpy(np.concatenate(out)), train.index_device)
    return list(rows.split([len(members) for members in out]))


def draw_mixed(
    train: LabelledSet, n: int, seed: int, purpose: str, iteration: int, step: int
) -> Tensor:
    """Positions of ``n`` images of any class without replacement; all of a smaller split."""
    rng = stream(seed, purpose, iteration, step)
    picked = torch.from_numpy(rng.choice(len(train), min(n, len(train)), replace=False))
    return to_device(picked, train.index_device)


def draw_step(
    train: LabelledSet,
    augmentation: Augmentation,
    task: Task,
    n: int,
    iteration: int,
    step: int,
    classes: range | None = None,
    rows: Sequence[Tensor] | None = None,
) -> StepDraws:
    """The draws of one pixel step, each addressed by iteration, step and class.

    Args:
        train: real images.
        augmentation: what is drawn for each class.
        task: the work.
        n: real images per class.
        iteration: an address of the draws.
        step: an address of the draws.
        classes: whose; those of all by default.
        rows: the real images of these classes, where they are not drawn at random.
    """
    classes = range(task.classes) if classes is None else classes
    if rows is None:
        rows = draw_rows(train, n, task.seed, "real-batch", iteration, step, classes)
    draws = [
        augmentation.draw(stream(task.seed, "augmentation", iteration, step, c)) for c in classes
    ]
    return StepDraws(classes, list(rows), draws)


def augment_classes(
    augmentation: Augmentation,
    images: Tensor,
    sizes: Sequence[int],
    draws: Sequence[tuple[Draw, ...]],
) -> Tensor:
    """Apply each class's draw to its images, which stand one class after another in ``images``.

    On a GPU, and for very small classes, classes that drew the same ops are done in one call.
    """
    if not any(draws):
        return images
    done = _in_one_kernel(augmentation, images, sizes, draws)
    if done is not None:
        return done
    together = len(sizes) > 1 and (images.is_cuda or max(sizes) < _TOGETHER_BELOW)
    if not together:
        parts = [
            augmentation.apply(part, draw)
            for part, draw in zip(images.split(list(sizes)), draws, strict=True)
        ]
        return parts[0] if len(parts) == 1 else torch.cat(parts)
    parts = list(images.split(list(sizes)))
    by_ops: dict[tuple[str, ...], list[int]] = {}
    for c, draw in enumerate(draws):
        by_ops.setdefault(tuple(d.op for d in draw), []).append(c)
    every: list[Tensor | None] = [None] * len(parts)
    for ops, members in by_ops.items():
        merged = tuple(
            cat([draws[c][i].expand(sizes[c]) for c in members]) for i in range(len(ops))
        )
        out = augmentation.apply(torch.cat([parts[c] for c in members]), merged)
        for c, part in zip(members, out.split([sizes[c] for c in members]), strict=True):
            every[c] = part
    return torch.cat([part for part in every if part is not None])


def _in_one_kernel(
    augmentation: Augmentation,
    images: Tensor,
    sizes: Sequence[int],
    draws: Sequence[tuple[Draw, ...]],
) -> Tensor | None:
    """The same in a launch for each op of a class, where kernels of our own may be used."""
    if not isinstance(augmentation, SiameseOp | SiameseSequence):
        return None
    strategy = parse_strategy(augmentation.strategy)
    if len({len(one) for one in draws}) > 1 or not fused.fits(images, strategy.ops, strategy):
        return None
    height, width = images.shape[2:]
    for step in range(len(draws[0])):
        rows = [fused.table_of(one[step], strategy, height, width) for one in draws]
        images = fused.augment(images, np.concatenate(rows), sizes)
    return images
