"""Tar files of samples, as webdataset writes them: ``KEY.jpg`` beside ``KEY.cls`` or ``KEY.json``.

Nothing is unpacked to the disk, and of what may hold code nothing is opened.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from condensery.errors import DataError
from condensery.utils.bounds import most_bytes
from condensery.utils.reading import json_of

from . import images, sound
from .classes import Rows
from .metadata import numbers_or_names
from .pictures import Pictures, Splits
from .stack import Item
from .tables import LABELS
from .tar_files import Member, members

#: Bytes of a label, of a sample's JSON, and of a picture or recording.
_MOST_LABEL, _MOST_JSON, _MOST_CONTENT = 1000, 2**20, 2**26
#: Kinds of members that Python would unpickle.
_CODE = {"pyd", "pth", "pt", "pkl", "pickle"}
_LABEL_KINDS = ("cls", "json")
_PICTURES = {ending.removeprefix(".") for ending in images.EXTENSIONS}
_SOUNDS = {ending.removeprefix(".") for ending in sound.EXTENSIONS}


def splits(train: Sequence[Path], test: Sequence[Path] | None, notes: Sequence[str]) -> Splits:
    """The samples of both splits, whose contents stay in the files.

    Raises:
        DataError: for a file that is no tar, and for samples that are no picture with a label.
    """
    first = _Samples.of(train)
    kind = "recording" if first.recordings else "image"
    held = None if test is None else _Samples.of(test)
    told = [*notes, *first.notes(kind), *(held.notes(kind) if held else ())]
    second = None if held is None else held.pictures(first.recordings)
    return Splits(first.pictures(first.recordings), second, None, tuple(told), first.recordings)


@dataclass
class _Samples:
    """The samples of a split, in the order of its files."""

    keys: list[str] = field(default_factory=list)
    contents: list[dict[str, Member]] = field(default_factory=list)
    """Kind of picture or recording → where it lies, of each sample."""
    labels: list[str] = field(default_factory=list)
    code: Counter[str] = field(default_factory=Counter)
    others: Counter[str] = field(default_factory=Counter)
    bare: list[str] = field(default_factory=list)
    """Samples without a picture or recording."""

    @classmethod
    def of(cls, shards: Sequence[Path]) -> _Samples:
        """Read the heads and the labels of some files."""
        made = cls()
        for shard in shards:
            by_key: dict[str, dict[str, Member]] = {}
            for name, member in members(shard):
                made._sort(name, member, by_key)
            for key, held in by_key.items():
                made._add(key, held)
        if not made.keys:
            raise DataError(
                f"'{shards[0].name}' holds no samples; a picture KEY.jpg with its class in KEY.cls "
                "or KEY.json is needed (unpack archives of another kind, and name the folder)"
            )
        return made

    def _sort(self, name: str, member: Member, by_key: dict[str, dict[str, Member]]) -> None:
        """Put a member to its sample, or count it."""
        found = re.fullmatch(r"((?:.*/)?[^./]+)\.([^/]+)", name, re.DOTALL)
        kind = found[2].lower() if found else ""
        if kind.rpartition(".")[2] in _CODE:
            self.code[f".{kind}"] += 1
        elif found and kind in (*_LABEL_KINDS, *_PICTURES, *_SOUNDS):
            held = by_key.setdefault(found[1], {})
            if kind in held:
                raise DataError(
                    f"'{member.shard.name}' holds two files called '{name}'; every sample needs a "
                    "key of its own"
                )
            held[kind] = member
        else:
            self.others[f".{kind}" if kind else name.rpartition("/")[2]] += 1

    def _add(self, key: str, held: dict[str, Member]) -> None:
        labels = {kind: held.pop(kind) for kind in _LABEL_KINDS if kind in held}
        if not held:
            self.bare.append(key)
            return
        shard = next(iter(held.values())).shard
        label = _label(labels, f"sample '{key}' of '{shard.name}'")
        self.keys.append(key)
        self.contents.append(held)
        self.labels.append(label)

    @property
    def recordings(self) -> bool:
        """Whether most samples hold sound and no picture."""
        return sum(not held.keys() & _PICTURES for held in self.contents) > len(self.keys) // 2

    def notes(self, kind: str) -> list[str]:
        """What was left out."""
        out = []
        if self.code:
            out.append(f"left out, as it may hold code: {_counted(self.code)}")
        if self.others:
            out.append(f"left out, neither {kind}s nor labels: {_counted(self.others)}")
        if self.bare:
            shown = ", ".join(self.bare[:5]) + ", …" * (len(self.bare) > 5)
            out.append(f"left out, labels without {kind}s: {shown} ({len(self.bare)} in all)")
        return out

    def pictures(self, recordings: bool) -> Pictures:
        """The samples with their labels."""
        wanted = _SOUNDS if recordings else _PICTURES

        def pick(rows: Rows) -> Iterator[Item]:
            for row in rows:
                found = self.contents[row]
                kind = next((kind for kind in sorted(found) if kind in wanted), None)
                yield self.keys[row], _content(None if kind is None else found[kind])

        return Pictures(numbers_or_names(self.labels), pick)


def _content(member: Member | None) -> bytes | Exception:
    if member is None:
        return ValueError("of another kind than most samples")
    try:
        return member.content(most_bytes(_MOST_CONTENT), "it")
    except (DataError, OSError) as error:
        return error


def _label(labels: dict[str, Member], where: str) -> str:
    """A sample's label as text."""
    if "cls" in labels:
        raw = labels["cls"].content(_MOST_LABEL, f"the label of {where}")
        if text := raw.decode("utf-8", "replace").strip():
            return text
    if "json" in labels:
        raw = labels["json"].content(_MOST_JSON, f"the JSON of {where}")
        try:
            value = json_of(raw)
        except ValueError as error:
            raise DataError(f"the JSON of {where} cannot be read ({error})") from error
        held = value if isinstance(value, dict) else {}
        said = next((held[name] for name in ("cls", *LABELS) if name in held), None)
        if isinstance(said, (int, str)) and not isinstance(said, bool) and str(said).strip():
            return str(said).strip()
    raise DataError(
        f"{where} has no label; put its class into KEY.cls, or under 'label' into KEY.json, or "
        "unpack archives of class folders and name the folder"
    )


def _counted(kinds: Counter[str]) -> str:
    """Kinds with how many there are.

    >>> _counted(Counter({".txt": 3, ".md": 1}))
    '3 × .txt, 1 × .md'
    """
    shown = ", ".join(f"{count} × {kind}" for kind, count in kinds.most_common(5))
    return shown + ", …" * (len(kinds) > 5)
