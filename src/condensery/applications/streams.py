"""What a continual learner meets: steps of new classes, or tasks with the same classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from condensery.data import Data, LabelledSet
from condensery.data.parts import numbered, of_classes, rows_of_classes, taken
from condensery.errors import DataError, UsageError
from condensery.runtime.randomness import stream
from condensery.utils.text import shape_text

#: Test images of each task (DC, appendix A).
TASK_TEST = 2000

Match = Literal["name", "order"]


@dataclass(frozen=True, eq=False)
class Stream:
    """Steps in one order."""

    seed: int
    """What the order, the memories and the networks are drawn by."""
    steps: tuple[Data, ...]
    """What each step may see."""
    names: tuple[tuple[str, ...], ...]
    """What is new in each step: class names, or the task's name."""
    heads: tuple[int, ...]
    """Classes that are known after each step."""
    class_names: tuple[str, ...]
    """All classes, in the order of the labels."""
    tests: tuple[LabelledSet, ...]
    """Test images of each step, with labels among all classes."""


def class_stream(data: Data, steps: int, seed: int) -> Stream:
    """Classes split evenly into steps, in an order drawn by the seed (DM, section 3.5).

    Labels are places in that order, so that the classes of later steps have later numbers.

    Raises:
        UsageError: for fewer than two steps, or steps of fewer than two classes.
    """
    classes = data.train.classes
    if steps < 2 or 2 * steps > classes:
        least = "at least 2 steps are needed" if steps < 2 else "a step needs at least two classes"
        raise UsageError(
            f"--steps {steps} does not fit the {classes} classes of {data.name}: {least}; choose 2 "
            f"to {classes // 2}"
            if classes >= 4
            else f"{data.name} has {classes} classes, and two steps need at least 4"
        )
    order = [int(c) for c in stream(seed, "class-order").permutation(classes)]
    groups = [[int(c) for c in group] for group in np.array_split(order, steps)]
    test = numbered(data.test, order, data.test.mean, data.test.std)
    ends = np.cumsum([len(group) for group in groups]).tolist()
    tests = []
    for group, end in zip(groups, ends, strict=True):
        tests.append(taken(test, rows_of_classes(test, range(end - len(group), end))))
        if not len(tests[-1]):
            raise DataError(
                f"the test split of {data.name} has no images of a step's classes; choose another "
                "--seed, fewer --steps, or a data set with a fuller test split"
            )
    names = data.train.class_names
    return Stream(
        seed=seed,
        steps=tuple(of_classes(data, group) for group in groups),
        names=tuple(tuple(names[c] for c in group) for group in groups),
        heads=tuple(ends),
        class_names=tuple(names[c] for c in order),
        tests=tuple(tests),
    )


def together(tasks: Sequence[Data], match: Match = "name") -> list[Data]:
    """Data sets with one size of images and one list of classes, that of the first.

    Args:
        tasks: at least two.
        match: whether classes are matched by name, or by their order.

    Raises:
        UsageError: when sizes or numbers of channels differ.
        DataError: when classes cannot be matched.
    """
    first = tasks[0]
    out = [first]
    for one in tasks[1:]:
        if one.train.shape != first.train.shape:
            raise UsageError(
                f"{first.name} has images of {shape_text(first.train.shape)} and {one.name} of "
                f"{shape_text(one.train.shape)}; bring them together, such as with --size 32 "
                "--channels 3"
            )
        out.append(_matched(one, first, match))
    return out


def _matched(one: Data, first: Data, match: Match) -> Data:
    own, names = one.train.class_names, first.train.class_names
    if len(own) != len(names):
        raise DataError(
            f"{first.name} has {len(names)} classes and {one.name} has {len(own)}; tasks need the "
            "same classes"
        )
    if match == "order":
        train, test = (replace(part, class_names=names) for part in (one.train, one.test))
        return replace(one, train=train, test=test)
    if sorted(own) != sorted(names):
        raise DataError(
            f"the classes of {one.name} ({_few(own)}) are not those of {first.name} "
            f"({_few(names)}); --match order takes them as the same, the first for the first"
        )
    return one if own == names else of_classes(one, [own.index(name) for name in names])


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + ", …" * (len(names) > 5)


def task_stream(tasks: Sequence[Data], seed: int) -> Stream:
    """Tasks with one list of classes, in the order given (DC, section 3.2).

    Each is tested on 2000 random images of its test split, or on all of a smaller one.

    Args:
        tasks: what :func:`together` gave.
        seed: draws the test images.
    """
    names = tasks[0].train.class_names
    tests = []
    for number, one in enumerate(tasks):
        order = stream(seed, "task-test", group=number).permutation(len(one.test))[:TASK_TEST]
        tests.append(taken(one.test, torch.from_numpy(np.sort(order))))
    return Stream(
        seed=seed,
        steps=tuple(tasks),
        names=tuple((one.name,) for one in tasks),
        heads=(len(names),) * len(tasks),
        class_names=names,
        tests=tuple(tests),
    )


def seen(tests: Sequence[LabelledSet]) -> LabelledSet:
    """Several test sets as one, one after another; the head has a place for every class."""
    images = torch.cat([one.images for one in tests])
    labels = torch.cat([one.labels for one in tests])
    first = tests[0]
    return LabelledSet.of(
        images, labels, first.class_names, first.name, mean=first.mean, std=first.std
    )
