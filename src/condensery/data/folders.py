"""A folder of class folders, of parquet or arrow files, or of tar files of samples."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from condensery.errors import DataError
from condensery.utils.bounds import LINKS_VARIABLE, leads_out
from condensery.utils.reading import text_of
from condensery.utils.tar_patterns import ENDING

from . import images, metadata, shards, sound
from .classes import Rows
from .pictures import Pictures, PictureSource, Splits
from .split_folders import ANNOTATIONS, split_files, split_folders
from .stack import Item
from .tables import file_table, splits_of

#: What is packed in a way that is not read.
ARCHIVES = (".zip", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
_TABLES = (".parquet", ".arrow")
# What operating systems, photo programs and network drives leave beside pictures.
_IGNORED = {
    "thumbs.db",
    "desktop.ini",
    "__macosx",
    "@eadir",
    "@__thumb",
    "lost+found",
    "$recycle.bin",
}


def source(root: Path, name: str) -> PictureSource:
    """Pictures or recordings in a folder, or in one ``.parquet``, ``.arrow`` or ``.tar`` file.

    Raises:
        DataError: when there is nothing in it to read.
    """
    if root.is_file():
        return of_files([root], root.parent, name)
    files = list(_walk(root, home := root.resolve()))
    tables = [f for f in files if _is_table(f)]
    tars = [f for f in files if f.suffix.lower() == ENDING]
    packed = tables or tars
    if packed and not _are_pictures(files):
        if away := next((f for f in packed if leads_out(f, home)), None):
            raise _away(away)
        return of_files(packed, root, name)
    if files and all(f.suffix.lower() in ARCHIVES for f in files):
        raise packed_away(files[0])
    if not files:
        raise DataError(f"folder '{root.name}' is empty; class folders of images are needed")
    return PictureSource(name, _fingerprint(files, root), lambda: _class_folders(root, files))


def of_files(files: Sequence[Path], root: Path, name: str) -> PictureSource:
    """What is in parquet or arrow files, or in tar files; their names tell the splits."""
    read = _shards if files[0].suffix.lower() == ENDING else _tables
    return PictureSource(name, _fingerprint(files, root), lambda: read(files, root))


def packed_away(path: Path) -> DataError:
    """The error for an archive of a kind that is not read."""
    how = f"unzip '{path.name}'" if path.suffix.lower() == ".zip" else f"unpack '{path.name}'"
    return DataError(
        f"'{path.name}' is an archive, which is not read as it is; {how} and name the folder that "
        "comes out"
    )


def _are_pictures(files: Sequence[Path]) -> bool:
    """Whether most files are pictures or recordings, and a table beside them an index."""
    loose = sum(f.suffix.lower() in images.EXTENSIONS | sound.EXTENSIONS for f in files)
    return loose > len(files) // 2


def _is_table(path: Path) -> bool:
    # The datasets library leaves cache-*.arrow files beside the ones that hold a saved set.
    return path.suffix.lower() in _TABLES and not path.name.startswith("cache-")


def _hidden(path: Path) -> bool:
    return path.name.startswith(".") or path.name.lower() in _IGNORED


def _walk(folder: Path, home: Path, seen: set[Path] | None = None) -> Iterator[Path]:
    """All files below a folder in a fixed order, hidden ones left out.

    Links are followed, but each real folder is entered once: a link may lead back up.

    Args:
        folder: where to start.
        home: the data folder, resolved.
        seen: real folders not to enter; those that are entered are added.

    Raises:
        DataError: for a folder that is a link out of the data folder.
    """
    seen = set() if seen is None else seen
    seen.add(folder.resolve())
    for path in sorted(folder.iterdir()):
        if _hidden(path):
            continue
        if not path.is_dir():
            yield path
        elif leads_out(path, home):
            raise DataError(
                f"folder '{path.name}' is a link out of '{home.name}'; copy what it names, or set "
                f"{LINKS_VARIABLE}=1 if you made the link"
            )
        elif path.resolve() not in seen:
            yield from _walk(path, home, seen)


def _fingerprint(files: Iterable[Path], root: Path) -> str:
    """From relative names and what the file system says of the files, which is cheap.

    A time of modification can be set, and many programs set it to one value; the number of a file
    and the time when that was last changed tell two files of one name, size and time apart.
    """
    digest = hashlib.sha256()
    for path in files:
        stat = path.stat()
        times = (stat.st_mtime_ns, stat.st_ctime_ns)
        entry = (path.relative_to(root).as_posix(), stat.st_size, *times, stat.st_dev, stat.st_ino)
        digest.update(repr(entry).encode())
    return digest.hexdigest()


def _tables(files: Sequence[Path], root: Path) -> Splits:
    """Parquet or arrow files."""
    train, test, notes = split_files(files, root)
    return splits_of(
        file_table(train, "the training split"),
        file_table(test, "the test split") if test else None,
        notes=notes,
    )


def _shards(files: Sequence[Path], root: Path) -> Splits:
    """Tar files of samples."""
    return shards.splits(*split_files(files, root))


def _class_folders(root: Path, files: Sequence[Path]) -> Splits:
    """One folder per class, under ``train`` and ``test`` or right here."""
    kinds = [f.suffix.lower() for f in files]
    # A few pictures among recordings do not make a data set, and the other way round.
    sounds = sum(k in sound.EXTENSIONS for k in kinds) > sum(k in images.EXTENSIONS for k in kinds)
    described = metadata.splits_in(root)
    if described is not None:
        return replace(described, recordings=sounds)
    kind = "recording" if sounds else "image"
    wanted = sound.EXTENSIONS if sounds else images.EXTENSIONS
    places = split_folders(root, _inside, lambda path: path.suffix.lower() in wanted)
    train = _Listing(places.train, places.classes, kind, root.resolve())
    notes = list(train.notes())
    left_out = [p.name for p in places.others]
    test: Pictures | None = None
    if places.test is not None:
        held = _Listing(places.test, _folders(places.test), kind, train.home, train.names)
        test, notes = held.pictures(), [*notes, *held.notes()]
    if left_out:
        notes.append(f"left out: {', '.join(left_out[:5])}{', …' * (len(left_out) > 5)}")
    return Splits(train.pictures(), test, train.names, tuple(notes), sounds)


def _folders(folder: Path) -> list[Path]:
    return [p for p in _inside(folder) if p.is_dir()]


def _class_name(folder: Path) -> str:
    """A folder's name as text, whatever bytes it has: caf\\xe9 where they are not UTF-8."""
    return folder.name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def _inside(folder: Path) -> list[Path]:
    """Folders and files in a fixed order, hidden ones left out."""
    return [p for p in sorted(folder.iterdir()) if not _hidden(p)]


class _Listing:
    """The class folders of one split."""

    def __init__(
        self,
        root: Path,
        folders: Sequence[Path],
        kind: str,
        home: Path,
        names: tuple[str, ...] | None = None,
    ) -> None:
        """List a split of images or recordings; another split may have fixed the classes."""
        self.root, self.kind, self.home = root, kind, home
        self.files: list[Path] = []
        self.labels: list[int] = []
        self.others: list[Path] = []
        loose = [p for p in _inside(root) if p.is_file()]
        if not folders:
            raise DataError(
                f"folder '{root.name}' has no class folders; put the {kind}s of each class into a "
                "folder that is named after it"
            )
        self.others += loose
        self.names = tuple(map(_class_name, folders)) if names is None else names
        if names is not None and (root / ANNOTATIONS).is_file():
            self.others.remove(root / ANNOTATIONS)
            self._take_annotated(root / "images", root / ANNOTATIONS)
            return
        seen = {root.resolve(), *(folder.resolve() for folder in folders)}
        for folder in folders:
            self._take(folder, seen, fixed=names is not None)

    def _take_annotated(self, folder: Path, annotations: Path) -> None:
        """Tiny-ImageNet's val: pictures in one folder, a line with name and class for each."""
        try:
            lines = text_of(annotations).splitlines()
        except (OSError, ValueError) as error:
            raise DataError(
                f"'{annotations}' cannot be read as text; unpack the archive again"
            ) from error
        for line in lines:
            name, label = [*line.split("\t"), ""][:2]
            if label not in self.names:
                raise DataError(
                    f"'{annotations.name}' gives the class '{label}' to '{name}', and there is no "
                    "such training class folder; unpack the archive again"
                )
            self.files.append(folder / Path(name).name)
            self.labels.append(self.names.index(label))

    def _take(self, folder: Path, seen: set[Path], *, fixed: bool) -> None:
        pictures: list[Path] = []
        wanted = images.EXTENSIONS if self.kind == "image" else sound.EXTENSIONS
        for path in _walk(folder, self.home, seen):
            (pictures if path.suffix.lower() in wanted else self.others).append(path)
        if not pictures and not fixed:
            raise DataError(
                f"class folder '{folder.name}' holds no {self.kind}s; add some or remove the folder"
            )
        name = _class_name(folder)
        if pictures and name not in self.names:
            raise DataError(
                f"class '{name}' has test {self.kind}s but no training {self.kind}s; "
                f"add training {self.kind}s or leave it out of the test split"
            )
        if pictures:
            self.labels += [self.names.index(name)] * len(pictures)
            self.files += pictures

    def notes(self) -> tuple[str, ...]:
        """What was neither an image nor, where they are wanted, a recording."""
        if not self.others:
            return ()
        shown = ", ".join(p.name for p in self.others[:5]) + ", …" * (len(self.others) > 5)
        return (f"left out, not {self.kind}s: {shown} ({len(self.others)} in all)",)

    def pictures(self) -> Pictures:
        """The images with their labels."""
        return Pictures(np.array(self.labels, dtype=np.int64), self._pick)

    def _pick(self, rows: Rows) -> Iterator[Item]:
        for row in rows:
            path = self.files[row]
            name = path.relative_to(self.root).as_posix()
            yield name, _away(path) if leads_out(path, self.home) else path


def _away(path: Path) -> DataError:
    return DataError(
        f"'{path.name}' is a link out of the data folder; copy the file, or set {LINKS_VARIABLE}=1 "
        "if you made the link"
    )


def picture_folders(root: Path) -> tuple[tuple[str, ...], list[tuple[Path, int]]] | None:
    """Class folders of pictures, and every picture with its class; None when it has none."""
    folders = [p for p in sorted(root.iterdir()) if p.is_dir() and not _hidden(p)]
    home = root.resolve()
    seen = {home, *(folder.resolve() for folder in folders)}
    files = [
        (path, number)
        for number, folder in enumerate(folders)
        for path in _walk(folder, home, seen)
        if path.suffix.lower() in images.EXTENSIONS
    ]
    if away := next((path for path, _ in files if leads_out(path, home)), None):
        raise _away(away)
    return (tuple(p.name for p in folders), files) if files else None
