"""Which folders beside each other are splits, and which are classes; and which files are."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from condensery.errors import DataError

from .tables import split_of

#: The file in which Tiny-ImageNet names the class of each picture of val/images.
ANNOTATIONS = "val_annotations.txt"
#: Tells whether a file is a picture (or a recording).
Wanted = Callable[[Path], bool]
#: Folders and files inside a folder, hidden ones left out.
Inside = Callable[[Path], Sequence[Path]]


@dataclass(frozen=True)
class SplitFolders:
    """Where the class folders of each split are."""

    train: Path
    """The folder of the training class folders."""
    classes: tuple[Path, ...]
    """The training class folders."""
    test: Path | None
    others: tuple[Path, ...] = ()
    """Folders beside these."""


def split_folders(root: Path, inside: Inside, wanted: Wanted) -> SplitFolders:
    """Tell splits from classes: by their names, and by what is in them and beside them.

    A folder is a split where its name has a word for one (``train2017``, ``seg_test``) and it holds
    class folders; where it holds pictures, as a class does, it is a class among others.

    Raises:
        DataError: when names and contents contradict each other; it names the folders.
    """
    root = _unwrapped(root, inside)
    folders = [p for p in inside(root) if p.is_dir()]
    named = {p: s for p in folders if (s := split_of(p.name)) is not None}
    held = {p for p in named if _holds_classes(p, inside, wanted)}
    classes = [p for p in folders if p not in held]
    plain = [p for p in classes if p not in named]
    train = _only([p for p in named if named[p] == "train" and p in held])
    tests = [_only([p for p in held if named[p] == s]) for s in ("test", "validation")]
    if train is None:
        return _beside_classes(root, folders, plain, next(filter(None, tests), None), inside)
    within = _unwrapped(train, inside)
    of_train = tuple(p for p in inside(within) if p.is_dir())
    found = [_unwrapped(p, inside) for p in tests if p is not None]
    labelled = [p for p in found if _is_labelled(p, of_train, inside)]
    test = next(iter(labelled or found), None)
    if test is None and not train.name.isalpha():
        # 'train-ticket' may well be a class.
        for beside in classes:
            if any(wanted(p) for p in inside(beside)):
                raise _either(train, beside)
    used = {train, test} | {p for p in tests if p is not None and test and test.is_relative_to(p)}
    return SplitFolders(within, of_train, test, tuple(p for p in folders if p not in used))


def _beside_classes(
    root: Path, folders: list[Path], plain: list[Path], test: Path | None, inside: Inside
) -> SplitFolders:
    """Class folders in ``root`` itself, and perhaps a test split beside them."""
    if folders and not plain:
        names = " and ".join(f"'{p.name}'" for p in folders[:3])
        raise DataError(
            f"{names} in '{root.name}' {'are' if len(folders) > 1 else 'is'} named as a split, and "
            "there are no training class folders; put a folder for each class into a folder train"
        )
    if test is None:
        return SplitFolders(root, tuple(folders), None)
    within = _unwrapped(test, inside)
    classes = tuple(p for p in folders if p != test)
    strange = {p.name for p in inside(within) if p.is_dir()} - {p.name for p in classes}
    if strange:
        raise _either(test, plain[0])
    return SplitFolders(root, classes, within)


def _is_labelled(test: Path, classes: Sequence[Path], inside: Inside) -> bool:
    """Whether a test split names its classes: by folders, or as Tiny-ImageNet does in a file."""
    if (test / ANNOTATIONS).is_file():
        return True
    return bool({p.name for p in inside(test)} & {p.name for p in classes})


def _unwrapped(folder: Path, inside: Inside) -> Path:
    """The innermost of folders that hold one folder of folders and nothing else."""
    while True:
        found = list(inside(folder))
        if len(found) != 1 or not found[0].is_dir():
            return folder
        within = [p for p in inside(found[0]) if p.is_dir()]
        if len(within) < 2:
            return folder
        folder = found[0]


def _holds_classes(folder: Path, inside: Inside, wanted: Wanted) -> bool:
    """Whether there are folders in it, and no pictures beside them."""
    found = inside(folder)
    return any(p.is_dir() for p in found) and not any(p.is_file() and wanted(p) for p in found)


def _only(candidates: list[Path]) -> Path | None:
    """The one folder for a split: that which is named by the bare word, if there are several."""
    exact = [p for p in candidates if re.fullmatch(r"[A-Za-z]+", p.name)]
    chosen = exact or candidates
    if len(chosen) > 1:
        names = " and ".join(f"'{p.name}'" for p in chosen[:2])
        raise DataError(f"folders {names} are both named after the same split; keep one of them")
    return chosen[0] if chosen else None


def _either(split: Path, beside: Path) -> DataError:
    return DataError(
        f"folder '{split.name}' is named and built as a split, but '{beside.name}' beside it holds "
        f"a class; put all class folders into train, or rename '{split.name}' if it is a class"
    )


def split_files(
    files: Sequence[Path], root: Path
) -> tuple[list[Path], list[Path] | None, tuple[str, ...]]:
    """Files of the training and of the test split: their names, or their folders', tell which.

    Returns:
        Those of training, those for testing if there are any, and notes.

    Raises:
        DataError: when there are several, and none is for training.
    """
    by_split: dict[str | None, list[Path]] = {}
    for path in files:
        relative = path.relative_to(root)
        split = split_of(path.stem) or split_of(" ".join(relative.parts[:-1]))
        by_split.setdefault(split, []).append(path)
    notes: list[str] = []
    unnamed = by_split.pop(None, [])
    if "train" not in by_split:
        if not unnamed:
            if len(files) > 1:
                raise DataError(
                    f"folder '{root.name}' has no training files; name them "
                    f"train-*{files[0].suffix.lower()}"
                )
            # One file is the whole data set, whatever it is called.
            unnamed = by_split.pop(next(iter(by_split)))
            notes.append(f"'{unnamed[0].name}' is the only file, so it was taken for training")
        by_split["train"] = unnamed
    elif unnamed:
        notes.append(f"left out, in no known split: '{unnamed[0].name}' ({len(unnamed)} in all)")
    test = by_split.get("test") or by_split.get("validation")
    if "test" in by_split and "validation" in by_split:
        notes.append("left out: the validation split")
    return by_split["train"], test, tuple(notes)
