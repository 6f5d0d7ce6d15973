"""The result: a condensed set, one file that people keep."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset

from condensery.config.build import build, settings_of
from condensery.config.schema import Choice
from condensery.errors import DataError, UsageError
from condensery.methods.formation import Formation, MultiFormation, weights_of
from condensery.methods.formation.multi import pack
from condensery.sets.about import FORMAT, FORMAT_8_BITS, About, Source
from condensery.sets.checks import WRONG, check_decoded
from condensery.sets.eight_bits import EightBits
from condensery.sets.opening import KEY, WEIGHTS, checked, opened
from condensery.sets.places import FILE, places_of_sets, set_file
from condensery.utils.files import whole_file

if TYPE_CHECKING:
    from PIL.Image import Image

#: Bytes of stored tensors from which on they are decoded class by class.
_LARGE = 64 * 2**20


def _decoded(formation: Formation, stored: Tensor) -> Tensor:
    """The training images; of a large set class by class, because decoding takes several times
    the memory of what it makes."""
    if stored.nbytes < _LARGE:
        return formation.decode(stored)
    first = formation.decode(stored[:1])
    out = first.new_empty(len(stored), *first.shape[1:])
    for c in range(len(stored)):
        out[c : c + 1] = formation.decode(stored[c : c + 1])
    return out


class CondensedSet(Dataset[tuple[Tensor, int]]):
    """A condensed set: a plain ``torch`` data set of decoded, normalised training images.

    Attributes:
        stored: classes × stored images × …, float32, as learned.
        images: N×C×H×W, decoded and normalised.
        labels: N, int64, sorted by class.
        about: where it comes from.
        eight: the stored numbers in 8 bits, where the set's file holds them so; otherwise None.
    """

    def __init__(
        self,
        stored: Tensor,
        about: About,
        formation: Formation | None = None,
        weights: dict[str, Tensor] | None = None,
        eight: EightBits | None = None,
    ) -> None:
        self.eight = eight
        self.stored = stored.detach().to(device="cpu", dtype=torch.float32).contiguous()
        self.about = about
        # A file may not name code to run: only built-in formations are built from its metadata.
        chosen: Formation = formation or build("formation", about.formation, foreign=False)
        self.formation = chosen.for_data(about.mean, about.std)
        learned = weights_of(self.formation) if weights is None else weights
        if learned:  # on the CPU, as everything in a set
            here = {name: w.detach().to("cpu", torch.float32) for name, w in learned.items()}
            self.formation.load_weights(here)  # type: ignore[attr-defined]
        with torch.no_grad():
            decoded = _decoded(self.formation, self.stored)
        self.images = decoded.flatten(0, 1).contiguous()
        self.labels = torch.arange(len(self.stored)).repeat_interleave(decoded.shape[1])

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        """One decoded, normalised image (C×H×W) and its label."""
        return self.images[index], int(self.labels[index])

    def __repr__(self) -> str:
        """One line: how much, of what, made by what."""
        from .showing import line

        return line(self)

    def _repr_html_(self) -> str:
        """For notebooks: the line, and the picture."""
        from .showing import page

        return page(self)

    @property
    def classes(self) -> tuple[str, ...]:
        """The names of its classes, in the order of the labels."""
        return self.about.class_names

    @property
    def ipc(self) -> int:
        """Its budget: full-size images' worth of stored numbers per class."""
        return self.about.ipc

    def picture(self, before: CondensedSet | None = None) -> Image:
        """All decoded images on a sheet, a row per class.

        Args:
            before: the set at the start of its run, to be drawn beside it.

        Raises:
            UsageError: where ``before`` shows other classes, or images of another number or size.
        """
        from .annotated import before_and_after
        from .picture import picture

        if before is not None:
            return before_and_after(before, self)

        return picture(self)

    def plot(self, title: str | None = None) -> Any:
        """A matplotlib figure with class names: :func:`condensery.sets.showing.figure`.

        Raises:
            UsageError: where matplotlib is not installed.
        """
        from .showing import figure

        return figure(self, title)

    @property
    def stored_bytes(self) -> int:
        """Size of the stored tensors, which the budget limits, and of what a formation learned."""
        held = self.stored.nbytes if self.eight is None else self.eight.nbytes
        return held + self.formation_bytes

    @property
    def formation_bytes(self) -> int:
        """Size of what the formation learned beside the stored tensors."""
        return sum(weight.nbytes for weight in weights_of(self.formation).values())

    @property
    def shrinkage(self) -> float:
        """How many times smaller than its source, image for image."""
        return self.about.source.images / (len(self.stored) * self.about.ipc)

    def pixels(self) -> Tensor:
        """Decoded images with black 0 and white 1, N×C×H×W, not clamped."""
        from .picture import unnormalised

        return unnormalised(self.images, self.about)

    def packed(self, factor: int) -> CondensedSet:
        """Its images shrunk afterwards, factor² into one stored image (IDC, table 6: IDC-I-post).

        The same storage as a multi-formation set's, and decoded as that is, but learned without
        knowing it. Spectrograms are shrunk along time alone, factor of them into one.

        Raises:
            UsageError: when the images are not whole ones, or cannot be divided among stored ones.
        """
        return pack_afterwards(self, factor)

    def in_eight_bits(self) -> CondensedSet:
        """This set as 8-bit numbers hold it: a quarter of the size.

        Each stored number becomes one of 256 between the least and the largest of its channel, so
        none is clipped, and none is off by more than 1/510 of that range. What a formation learned
        beside them stays float32. Parts and unions of such sets are float32 again.

        Returns:
            The set with its rounded images, whose :meth:`save` writes 8 bits.
        """
        if self.eight is not None:
            return self
        eight = EightBits.of(self.stored.flatten(0, 1))
        stored = eight.restored().unflatten(0, self.stored.shape[:2])
        return CondensedSet(stored, self.about, self.formation, eight=eight)

    @classmethod
    def concat(
        cls, sets: Sequence[CondensedSet], class_names: Sequence[str] | None = None
    ) -> CondensedSet:
        """The union of sets: classes of one name become one class, the others follow each other.

        Stored images of one class follow each other in the order of the sets. Where sets are
        normalised differently the union has the first one's normalisation.

        Args:
            sets: of one kind of formation, with images of one size.
            class_names: the order of the union's classes; that of their first appearance by
                default.

        Raises:
            UsageError: when there is no set, or ``class_names`` are not the sets' classes.
            DataError: for sets that one formation cannot decode, or classes of unequal size.
        """
        return join(list(sets), class_names)

    def of_classes(self, class_names: Sequence[str]) -> CondensedSet:
        """The part of a set that stands for some of its classes, numbered in the order given.

        Raises:
            DataError: for a class that the set does not have.
        """
        held = self.about.class_names
        lacking = next((name for name in class_names if name not in held), None)
        if lacking is not None:
            raise DataError(f"this set has no class '{lacking}'; its classes are {held}")
        stored = self.stored[[held.index(name) for name in class_names]]
        about = replace(self.about, class_names=tuple(class_names))
        return CondensedSet(stored, about, self.formation)

    def save(self, path: str | Path) -> Path:
        """Write one ``.safetensors`` file; the same set gives identical bytes."""
        target = Path(path)
        if target.suffix != ".safetensors":
            target = target / FILE
        tensors = {"stored": self.stored.flatten(0, 1)} if self.eight is None else {}
        tensors |= self.eight.tensors() if self.eight else {}
        tensors["labels"] = torch.arange(len(self.stored)).repeat_interleave(self.stored.shape[1])
        for name, weight in weights_of(self.formation).items():
            tensors[WEIGHTS + name] = weight.detach().cpu().float().contiguous()
        version = FORMAT if self.eight is None else FORMAT_8_BITS
        content = save(tensors, metadata={KEY: self.about.dump(version)})
        with whole_file(target) as temporary:
            temporary.write_bytes(content)
        return target

    @classmethod
    def load(cls, path: str | Path, formation: Formation | None = None) -> CondensedSet:
        """Open a file or a run folder. Opening runs no code from the file.

        Args:
            path: the ``.safetensors`` file, or the folder of a run.
            formation: the decoder of a set whose formation is not built in.

        Raises:
            DataError: when it is not a condensed set, is damaged, or is from a newer version.
        """
        file = set_file(Path(path))
        about, tensors = opened(file)
        found = [name for name in tensors if name.startswith(WEIGHTS)]
        weights = {name.removeprefix(WEIGHTS): tensors[name] for name in found}
        held, eight = checked(about, tensors, file)
        if formation is None and (held.dim() != 5 or held.shape[2] != len(about.mean)):
            raise DataError(
                f"{file} is damaged: {tuple(tensors['stored'].shape)} numbers are not images with "
                f"{len(about.mean)} channels"
            )
        if formation is None:
            check_decoded(held, about, file)
        try:
            condensed = cls(held, about, formation, weights or None, eight)
        except UsageError as error:
            raise DataError(f"{file} cannot be decoded: {error}") from error
        except WRONG as error:
            raise DataError(f"{file} is damaged: its formation cannot decode it") from error
        if condensed.images.shape[1] != len(about.mean):
            raise DataError(f"{file} is damaged: {len(about.mean)} means for its channels")
        return condensed


def pack_afterwards(condensed: CondensedSet, factor: int) -> CondensedSet:
    """:meth:`CondensedSet.packed`."""
    about, (classes, held) = condensed.about, condensed.stored.shape[:2]
    if len(condensed) != classes * held:
        raise UsageError(
            f"this set is already packed: {held} stored images per class make "
            f"{len(condensed) // classes}; pack a set of whole images"
        )
    if factor < 2:
        raise UsageError(f"the factor must be at least 2, got {factor}")
    along = "time" if about.config.get("sample_rate") else "area"
    each = factor if along == "time" else factor**2
    if held % each:
        raise UsageError(
            f"a factor of {factor} packs {each} images into one, and {held} images per class are "
            f"not a multiple of that; choose another factor, or condense a multiple of {each}"
        )
    unit = about.formation.settings.get("space") == "unit"
    settings = {"factor": factor, "along": along, "space": "unit" if unit else "normalised"}
    formation: MultiFormation = build("formation", Choice("multi_formation", settings))
    formation.check(*condensed.images.shape[2:])
    channels, height, width = condensed.images.shape[1:]
    images = condensed.pixels() if unit else condensed.images
    stored = pack(images, (channels, height, width), factor, along)
    chosen = Choice("multi_formation", settings_of(formation))
    method, ipc = f"{about.method}_post", max(1, about.ipc // each)
    config = {**about.config, "recipe": method, "formation": chosen.as_dict(), "ipc": ipc}
    config["packed"] = {"method": about.method, "ipc": about.ipc, "factor": factor}
    made = replace(about, method=method, formation=chosen, ipc=ipc, config=config)
    return CondensedSet(stored.unflatten(0, (classes, -1)), made)


def join(sets: list[CondensedSet], class_names: Sequence[str] | None) -> CondensedSet:
    """:meth:`CondensedSet.concat`."""
    if not sets:
        raise UsageError("there is no set to join; give at least one")
    first, known = sets[0].about, list(dict.fromkeys(n for s in sets for n in s.about.class_names))
    names = list(known if class_names is None else class_names)
    if sorted(names) != sorted(known):
        raise UsageError(f"class_names {names} are not the classes of the sets, {known}")
    for one in sets[1:]:
        if one.about.formation != first.formation or one.formation_bytes:
            raise DataError(
                f"a set of {one.about.method} is decoded otherwise than one of {first.method}; "
                "only sets of one formation, which learned nothing beside the images, can be joined"
            )
    aligned = [_renormalised(one, first) for one in sets]
    parts = {n: [s for s in aligned if n in s.about.class_names] for n in names}
    stored = [torch.cat([s.stored[s.about.class_names.index(n)] for s in parts[n]]) for n in names]
    if len({one.shape for one in stored}) > 1:
        sizes = {n: tuple(one.shape) for n, one in zip(names, stored, strict=True)}
        raise DataError(
            f"the classes of the union would differ in size ({sizes}); join sets of "
            "one budget and size, with the same classes or with different ones"
        )
    union = CondensedSet(torch.stack(stored), _about_all(sets, names), sets[0].formation)
    _check_union(union, parts)
    return union


def _renormalised(one: CondensedSet, like: About) -> CondensedSet:
    """A set under another normalisation, decoded to the same pixels."""
    about = one.about
    if (about.mean, about.std) == (like.mean, like.std):
        return one
    mean, std = (torch.tensor(v).view(-1, 1, 1) for v in (like.mean, like.std))
    own_mean, own_std = (torch.tensor(v).view(-1, 1, 1) for v in (about.mean, about.std))
    moved = (one.stored * own_std + own_mean - mean) / std
    told, pixels = replace(about, mean=like.mean, std=like.std), one.pixels()
    # What is stored on the scale of pixels stays; what is stored normalised moves.
    for stored in (moved, one.stored):
        tried = CondensedSet(stored, told)
        if torch.allclose(tried.pixels(), pixels, atol=1e-4):
            return tried
    raise DataError(
        f"a set of {about.method} cannot be brought to another normalisation; condense the sets "
        "of a union with one normalisation"
    )


def _about_all(sets: Sequence[CondensedSet], names: Sequence[str]) -> About:
    """What a union says of itself."""
    held = [one.about for one in sets]
    first = held[0]
    budget = sum(one.ipc for one in held if names[0] in one.class_names)
    prints = "".join(one.source.fingerprint for one in held)
    source = Source(
        name="+".join(dict.fromkeys(one.source.name for one in held)),
        fingerprint=hashlib.sha256(prints.encode()).hexdigest(),
        images=sum(one.source.images for one in held),
        bytes=sum(one.source.bytes for one in held),
    )
    return replace(
        first,
        method="+".join(dict.fromkeys(one.method for one in held)),
        ipc=budget,
        iterations=max(one.iterations for one in held),
        class_names=tuple(names),
        flip=all(one.flip for one in held),
        source=source,
        config={**first.config, "ipc": budget, "union": [o.source.fingerprint for o in held]},
    )


def _check_union(union: CondensedSet, parts: Mapping[str, Sequence[CondensedSet]]) -> None:
    """Raise if a formation makes other images of stored ones that lie beside others."""
    for number, (name, sets) in enumerate(parts.items()):
        made = [s.images[s.labels == s.about.class_names.index(name)] for s in sets]
        if not torch.equal(union.images[union.labels == number], torch.cat(made)):
            raise DataError(
                f"the stored images of class '{name}' are decoded by their place in the set, and "
                "cannot be joined; train on the sets' images instead"
            )


def load_sets(path: str | Path) -> list[CondensedSet]:
    """The set at a path, or all sets of a folder that holds several (``0``, ``1``, …)."""
    return [CondensedSet.load(place) for place in places_of_sets(path)]
