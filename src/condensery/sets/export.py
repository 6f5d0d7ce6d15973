"""A condensed set in formats that need nothing of this library."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from condensery.config.schema import Choice
from condensery.data import metadata
from condensery.data.spectrograms import MOST_RATE
from condensery.data.tables import split_of
from condensery.errors import UsageError, unknown_name
from condensery.methods.formation import weights_of
from condensery.utils.extras import needed
from condensery.utils.files import safe_names, whole_file, whole_folder

from .condensed import CondensedSet
from .picture import fits_eight_bits
from .sound import ITERATIONS, griffin_lim

FORMATS = ("images", "npz", "parquet", "wav")


def export(
    condensed: CondensedSet,
    to: str,
    out: str | Path,
    *,
    stored: bool = False,
    iterations: int | None = None,
    seed: int | None = None,
) -> Path:
    """Write a condensed set as plain data.

    Args:
        condensed: the set.
        to: ``npz``, ``images`` (PNG class folders), ``parquet``, or of spectrograms ``wav`` (class
            folders of sound, 16 bits, by Griffin-Lim).
        out: where; the format's ending is added to a file's name when it has none.
        stored: with ``npz``, the stored tensors instead of the decoded images.
        iterations: with ``wav``, of Griffin-Lim; 100 by default.
        seed: with ``wav``, where the first phases come from; 0 by default.

    Returns:
        The file or folder that was written.

    Raises:
        UsageError: when the format does not exist or the place is taken.
    """
    if to not in FORMATS:
        raise unknown_name("export format", to, FORMATS)
    if stored and to != "npz":
        raise UsageError("--stored needs --to npz: only npz keeps stored tensors")
    if to != "wav" and (iterations, seed) != (None, None):
        raise UsageError("--iterations and --seed of export need --to wav")
    path = Path(out)
    if not path.name:
        raise UsageError(f"--out '{out}' is not a valid name")
    if to == "wav":
        return _sounds(condensed, path, ITERATIONS if iterations is None else iterations, seed or 0)
    if to != "npz":
        _check_eight_bits(condensed, to)
    if to == "images":
        return _images(condensed, path)
    if path.suffix != f".{to}":
        path = path.with_name(f"{path.name}.{to}")
    if path.exists():
        raise UsageError(f"{path} already exists; choose another --out or remove it")
    if to == "npz":
        _npz(condensed, path, stored)
    else:
        _parquet(condensed, path)
    return path


def _check_eight_bits(condensed: CondensedSet, to: str) -> None:
    channels = condensed.images.shape[1]
    if channels not in (1, 3):
        raise UsageError(f"--to {to} holds grey or RGB pictures, not {channels} channels; use npz")
    if not fits_eight_bits(condensed):
        raise UsageError(f"--to {to} holds values from 0 to 1 in 8 bits, not this scale; use npz")


def rounded(condensed: CondensedSet) -> Tensor:
    """The pixels as 8 bits hold them, clamped and rounded, N×C×H×W uint8."""
    return (condensed.pixels().clamp(0, 1) * 255).round().byte()


def _npz(condensed: CondensedSet, path: Path, stored: bool) -> None:
    about = condensed.about
    content: dict[str, Any] = {
        "class_names": np.array(about.class_names, dtype=np.str_),
        "mean": np.array(about.mean, dtype=np.float32),
        "std": np.array(about.std, dtype=np.float32),
    }
    if stored:
        flat = condensed.stored.flatten(0, 1)
        content["stored"] = flat.numpy()
        per_class = condensed.stored.shape[1]
        content["labels"] = np.repeat(np.arange(len(condensed.stored)), per_class)
        content["decode"] = np.array(_how_to_decode(condensed), dtype=np.str_)
        for name, weight in weights_of(condensed.formation).items():
            content[f"formation.{name}"] = weight.detach().numpy()
    else:
        content["images"] = condensed.pixels().numpy()
        content["labels"] = condensed.labels.numpy()
    with whole_file(path) as temporary:
        np.savez_compressed(temporary, **content)


def _parts_of(condensed: CondensedSet) -> str:
    """How many of a class's stored images are cut by which factor."""
    parts = condensed.formation.parts(condensed.stored.shape[1])  # type: ignore[attr-defined]
    return ", ".join(f"{count} by factor {factor}" for factor, count in parts)


def _how_to_decode(condensed: CondensedSet) -> str:
    formation = condensed.about.formation
    if formation.kind == "pixels":
        return "training image = stored; black-to-white pixels = stored * std + mean"
    settings = dict(formation.settings)
    start = "stored" if settings.get("space") == "normalised" else "(stored - mean) / std"
    if formation.kind not in ("multi_formation", "fsrcnn"):
        return f"by condensery.CondensedSet.load alone; formation {formation.as_dict()}"
    if settings.get("chroma") == "half":
        return _how_to_decode_chroma(formation)
    text = (
        f"x = {start}; its tiles are the training images, image by image in reading order, each "
        "upsampled to full size (bilinear, corners not aligned); a side of n pixels is cut at "
        f"floor(i*n/factor + 1/2), i = 0 ... factor; formation {formation.as_dict()}"
    )
    if formation.kind == "fsrcnn":
        text += (
            "; to that is added a network's output on the tile: convolutions first, shrink, middle "
            "and expand, each with bias and PReLU slope, and last, a transposed convolution with "
            "stride factor, padding 4 and output padding factor - 1 (arrays formation.*)"
        )
    elif settings.get("mode") == "multi_scale":
        text += "; the same for every factor from 1 to factor, one after the other"
    elif settings.get("mode") == "bounded":
        text += "; before them the stored images whole, and no more than bound in all per class"
    elif settings.get("mode") == "partitioned":
        text += f"; of each class's stored images in order {_parts_of(condensed)}"
    if settings.get("along") == "time":
        text += "; only the last axis is cut"
    return text


def _how_to_decode_chroma(formation: Choice) -> str:
    unit = formation.settings.get("space") == "unit"
    sums = (
        "red + green + blue = 3 l, red - blue = 2 (a - 1/2), 2 green - red - blue = 4 (b - 1/2), "
        "from black 0 to white 1; x = (pixel - mean) / std"
        if unit
        else "red + green + blue = 3^(1/2) l, red - blue = 2^(1/2) a, 2 green - red - blue = "
        "6^(1/2) b, normalised"
    )
    return (
        "2*factor^2 training images to a stored one: planes 0 and 1 are cut into factor*factor "
        "tiles of luma l, plane by plane in reading order; plane 2 into 2*factor*2*factor tiles, "
        "two for each image in that order, chroma a and b; a side of n pixels is cut at "
        "floor(i*n/parts + 1/2), i = 0 ... parts; each tile is upsampled to full size (bilinear, "
        f"corners not aligned); then {sums}; formation {formation.as_dict()}"
    )


def _pictures(condensed: CondensedSet) -> list[bytes]:
    from PIL import Image

    out = []
    for pixels in rounded(condensed).permute(0, 2, 3, 1).numpy():
        buffer = io.BytesIO()
        plain = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
        Image.fromarray(plain).save(buffer, format="PNG")
        out.append(buffer.getvalue())
    return out


def _images(condensed: CondensedSet, folder: Path) -> Path:
    return _class_folders(condensed, _pictures(condensed), folder, "png")


def _class_folders(
    condensed: CondensedSet, contents: Sequence[bytes], folder: Path, ending: str
) -> Path:
    """A folder per class, and in it a file for each of its training images.

    Where every class has a name as splits have (train, test), a list beside the folders says that
    they are classes.
    """
    names = safe_names(condensed.about.class_names)
    counts = [0] * len(names)
    listed: list[tuple[str, str]] = []
    with whole_folder(folder) as temporary:
        for label, content in zip(condensed.labels.tolist(), contents, strict=True):
            target = temporary / names[label]
            target.mkdir(exist_ok=True)
            file = target / f"{counts[label]:05d}.{ending}"
            file.write_bytes(content)
            counts[label] += 1
            listed.append((f"{names[label]}/{file.name}", names[label]))
        if all(split_of(name) is not None for name in names):
            metadata.write(temporary, listed)
    return folder


def _sounds(condensed: CondensedSet, folder: Path, iterations: int, seed: int) -> Path:
    """Every training image as sound; what exceeds 16 bits is scaled down."""
    from scipy.io import wavfile

    config = condensed.about.config
    rate = config.get("sample_rate", 0)
    _, channels, height, width = condensed.images.shape
    sound = isinstance(rate, int) and 1000 <= rate <= MOST_RATE and channels == 1
    if not sound or height != width or config.get("zca") is True:
        what = "whitened spectrograms" if config.get("zca") is True else "pictures"
        raise UsageError(
            f"--to wav turns spectrograms of recordings into sound, and this set holds {what}; "
            "use another --to"
        )
    if iterations < 1 or seed < 0:
        raise UsageError("--iterations must be at least 1, and --seed at least 0")
    contents = []
    for x in griffin_lim(condensed.pixels(), rate, seed, iterations):
        loudest = max(1.0, float(x.abs().max()))
        buffer = io.BytesIO()
        wavfile.write(buffer, rate, (x / loudest * 32767).round().short().numpy())
        contents.append(buffer.getvalue())
    return _class_folders(condensed, contents, folder, "wav")


def _parquet(condensed: CondensedSet, path: Path) -> None:
    hub = needed("datasets", "hub", "writing parquet")
    hub.disable_progress_bars()
    names = list(condensed.about.class_names)
    features = hub.Features({"image": hub.Image(), "label": hub.ClassLabel(names=names)})
    rows = {
        "image": [{"bytes": png, "path": None} for png in _pictures(condensed)],
        "label": condensed.labels.tolist(),
    }
    with whole_file(path) as temporary:
        hub.Dataset.from_dict(rows, features=features).to_parquet(temporary)
