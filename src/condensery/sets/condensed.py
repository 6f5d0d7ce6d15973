"""The result: a condensed set, one file that people keep."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor
from torch.utils.data import Dataset

from condensery.config.build import build, settings_of
from condensery.config.schema import Choice
from condensery.errors import DataError, UsageError
from condensery.methods.formation import Formation, MultiFormation, weights_of
from condensery.methods.formation.multi import pack
from condensery.utils.bounds import BYTES_VARIABLE, most_bytes
from condensery.utils.files import whole_file
from condensery.utils.reading import json_of, regular
from condensery.utils.text import size_text

if TYPE_CHECKING:
    from PIL.Image import Image

#: The version of the file format that this program writes; it reads this one and older ones.
FORMAT = 1
#: The file's name in a run folder.
FILE = "condensed.safetensors"
_KEY = "condensery"
_WEIGHTS = "formation."
#: What the decoded images of a file may take, and how many times what it stores beyond that: the
#: papers' formations make up to fourteen times as much.
MOST_DECODED, MOST_TIMES = 2**30, 64
#: The largest count in its metadata.
_MOST_COUNT = 2**63 - 1
#: The largest mean or std in it, which float32 holds.
_MOST_MEAN = 1e38
#: What decoding may raise on numbers that are not what the metadata claims.
_WRONG = (
    *(AttributeError, IndexError, KeyError, MemoryError, OverflowError),
    *(RuntimeError, TypeError, ValueError),
)


@dataclass(frozen=True)
class Source:
    """The training split that was condensed."""

    name: str
    """Name of the data set."""
    fingerprint: str
    """Of its content: images, labels and class names."""
    images: int
    """Number of its training images."""
    bytes: int
    """Their size in memory."""


@dataclass(frozen=True)
class About:
    """Everything about a condensed set that is not a tensor; the file's metadata."""

    method: str
    """The recipe, or the selection, that made it."""
    formation: Choice
    """How stored tensors become training images."""
    ipc: int
    """Budget: full-size images' worth of stored numbers per class."""
    seed: int
    """Random seed."""
    iterations: int
    """Outer iterations done."""
    class_names: tuple[str, ...]
    """One per class."""
    mean: tuple[float, ...]
    """Normalisation per channel, black 0 and white 1."""
    std: tuple[float, ...]
    """Normalisation per channel."""
    flip: bool
    """Whether training on it may flip images horizontally."""
    source: Source
    """What it stands for."""
    config: Mapping[str, Any]
    """The resolved configuration."""

    def dump(self) -> str:
        """One JSON string with sorted keys, so that the same set is the same bytes."""
        plain = {
            **self.__dict__,
            "formation": self.formation.as_dict(),
            "source": self.source.__dict__,
        }
        return json.dumps({"format": FORMAT, **plain}, sort_keys=True, ensure_ascii=False)

    @classmethod
    def parse(cls, text: str) -> About:
        """Back from :meth:`dump`; raises ValueError, KeyError or TypeError for anything else."""
        raw = json_of(text)
        version = raw.pop("format")
        if not isinstance(version, int) or version > FORMAT:
            raise DataError(
                f"it has format {version}, and this condensery reads up to {FORMAT}; upgrade it"
            )
        formation = dict(raw.pop("formation"))
        for name in ("class_names", "mean", "std"):
            raw[name] = tuple(float(x) if type(x) is int else x for x in raw[name])
        kind = str(formation.pop("kind"))
        about = cls(formation=Choice(kind, formation), source=Source(**raw.pop("source")), **raw)
        about.check()
        return about

    def check(self) -> None:
        """Raise if a value has the wrong type, as in a damaged or hostile file.

        Raises:
            TypeError: naming the field.
        """
        texts = (self.method, self.source.name, self.source.fingerprint, *self.class_names)
        whole = (self.ipc, self.seed, self.iterations, self.source.images, self.source.bytes)
        numbers = (*self.mean, *self.std)
        wrong = {
            "a name": any(not isinstance(text, str) for text in texts),
            "a count": any(type(n) is not int or not 0 <= n <= _MOST_COUNT for n in whole)
            or self.ipc < 1,
            "mean or std": any(not isinstance(x, float | int) for x in numbers)
            or not all(abs(x) <= _MOST_MEAN for x in numbers)
            or min(self.std, default=0) <= 0
            or len(self.mean) != len(self.std),
            "flip": not isinstance(self.flip, bool),
            "config": not isinstance(self.config, dict) or not _well_typed(self.config),
        }
        for what, is_wrong in wrong.items():
            if is_wrong:
                raise TypeError(f"{what} in its metadata is invalid")


def _well_typed(config: Mapping[str, Any]) -> bool:
    """Whether what a configuration says of reading the data is of the right types, or absent."""
    kinds = {"size": int, "channels": int, "sample_rate": int, "flip": bool, "zca": bool}
    kinds |= {"layout": str, "value_range": str}
    held = {name: config.get(name) for name in kinds}
    return all(value is None or type(value) is kinds[name] for name, value in held.items())


class CondensedSet(Dataset[tuple[Tensor, int]]):
    """A condensed set: a plain ``torch`` data set of decoded, normalised training images.

    Attributes:
        stored: classes × stored images × …, float32, as learned.
        images: N×C×H×W, decoded and normalised.
        labels: N, int64, sorted by class.
        about: where it comes from.
    """

    def __init__(
        self,
        stored: Tensor,
        about: About,
        formation: Formation | None = None,
        weights: dict[str, Tensor] | None = None,
    ) -> None:
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
            decoded = self.formation.decode(self.stored)
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

    def picture(self) -> Image:
        """All decoded images on a sheet, a row per class."""
        from .picture import picture

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
        return self.stored.nbytes + self.formation_bytes

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
        shape = (1, -1, 1, 1)
        std, mean = torch.tensor(self.about.std), torch.tensor(self.about.mean)
        return self.images * std.view(shape) + mean.view(shape)

    def packed(self, factor: int) -> CondensedSet:
        """Its images shrunk afterwards, factor² into one stored image (IDC, table 6: IDC-I-post).

        The same storage as a multi-formation set's, and decoded as that is, but learned without
        knowing it. Spectrograms are shrunk along time alone, factor of them into one.

        Raises:
            UsageError: when the images are not whole ones, or cannot be divided among stored ones.
        """
        return pack_afterwards(self, factor)

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
        labels = torch.arange(len(self.stored)).repeat_interleave(self.stored.shape[1])
        tensors = {"stored": self.stored.flatten(0, 1), "labels": labels}
        for name, weight in weights_of(self.formation).items():
            tensors[_WEIGHTS + name] = weight.detach().cpu().float().contiguous()
        content = save(tensors, metadata={_KEY: self.about.dump()})
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
        try:
            with safe_open(regular(file), framework="pt") as opened:
                about = About.parse((opened.metadata() or {})[_KEY])
                stored, labels = opened.get_tensor("stored"), opened.get_tensor("labels")
                found = [name for name in opened.keys() if name.startswith(_WEIGHTS)]  # noqa: SIM118
                weights = {name.removeprefix(_WEIGHTS): opened.get_tensor(name) for name in found}
        except OSError as error:
            raise DataError(f"{file} cannot be read: {error.strerror or error}") from error
        except DataError as error:
            raise DataError(f"{file} cannot be opened: {error}") from error
        except SafetensorError as error:
            raise DataError(f"{file} is not a condensed set, or it is damaged") from error
        except _WRONG as error:
            raise DataError(f"{file} is not a condensed set, or it is damaged: {error}") from error
        try:
            by_class = _by_class(stored, labels, about, file)
        except DataError:
            raise
        except _WRONG as error:  # numbers of an unusual type, or none at all
            raise DataError(
                f"{file} is damaged: its tensors are {stored.dtype} of shape "
                f"{tuple(stored.shape)} and {labels.dtype} of shape {tuple(labels.shape)}"
            ) from error
        if formation is None and (by_class.dim() != 5 or by_class.shape[2] != len(about.mean)):
            raise DataError(
                f"{file} is damaged: {tuple(stored.shape)} numbers are not images with "
                f"{len(about.mean)} channels"
            )
        if formation is None:
            _check_decoded(by_class, about, file)
        try:
            condensed = cls(by_class, about, formation, weights or None)
        except UsageError as error:
            raise DataError(f"{file} cannot be decoded: {error}") from error
        except _WRONG as error:
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


def _by_class(stored: Tensor, labels: Tensor, about: About, file: Path) -> Tensor:
    """Stored tensors indexed by class first, after checking that they are what they claim."""
    classes = len(about.class_names)
    fits = classes > 0 and stored.is_floating_point() and len(stored) % classes == 0
    if not fits or stored.numel() == 0 or stored.dim() < 2:
        raise DataError(f"{file} is damaged: {tuple(stored.shape)} numbers for {classes} classes")
    expected = torch.arange(classes).repeat_interleave(len(stored) // classes)
    if labels.shape != expected.shape or not bool((labels == expected).all()):
        raise DataError(f"{file} is damaged: its labels are not sorted runs of {classes} classes")
    if not bool(torch.isfinite(stored).all()):
        raise DataError(f"{file} is damaged: it holds values that are not finite")
    out: Tensor = stored.unflatten(0, (classes, -1))
    return out


def _check_decoded(stored: Tensor, about: About, file: Path) -> None:
    """Raise if a file's own formation would make far more of it than is reasonable.

    Raises:
        DataError: naming how much.
    """
    try:
        chosen = build("formation", about.formation, foreign=False)
        if hasattr(chosen, "check"):
            chosen.check(*stored.shape[-2:])
        images = len(stored) * chosen.decoded(stored.shape[1])
    except (UsageError, *_WRONG) as error:
        raise DataError(f"{file} cannot be decoded: {error}") from error
    wanted = images * math.prod(stored.shape[2:]) * 4
    most = max(most_bytes(MOST_DECODED), MOST_TIMES * stored.numel() * 4)
    if wanted > most:
        raise DataError(
            f"{file} would be decoded to {images} images, {size_text(wanted)}, out of proportion "
            f"to the {size_text(stored.nbytes)} that it stores (at most {size_text(most)}); get it "
            f"with a smaller formation.factor, or allow more with {BYTES_VARIABLE}"
        )


def set_file(path: Path) -> Path:
    """The file of a set: itself, or the one in a run folder."""
    if path.is_dir():
        file = path / FILE
        if not file.exists():
            raise DataError(f"{path} has no {FILE}: {_what_instead(path)}")
        return file
    if not path.exists():
        raise DataError(f"{path} does not exist; name a run folder or a .safetensors file")
    return path


def _what_instead(folder: Path) -> str:
    if (folder / "recipe.yaml").exists():
        return "the run is unfinished; finish it, or name a file in its checkpoints folder"
    if (folder / "0").is_dir():
        return f"it holds several sets; name one of them, such as {folder / '0'}"
    return "name the folder of a run, or a .safetensors file"


def load_sets(path: str | Path) -> list[CondensedSet]:
    """The set at a path, or all sets of a folder that holds several (``0``, ``1``, …)."""
    return [CondensedSet.load(place) for place in places_of_sets(path)]


def places_of_sets(path: str | Path) -> list[Path]:
    """Where the sets of :func:`load_sets` lie; the path itself where it holds a single one."""
    folder = Path(path)
    if folder.is_dir() and not (folder / FILE).exists():
        numbered = sorted(
            (p for p in folder.iterdir() if p.name.isascii() and p.name.isdigit()),
            key=lambda p: int(p.name),
        )
        if numbered:
            return numbered
    return [folder]
