"""What was read, in words and as JSON."""

from __future__ import annotations

from typing import Any

from condensery.utils.text import size_text

from .labelled import Data, LabelledSet


def as_json(data: Data) -> dict[str, Any]:
    """The facts of a data set, ready for ``json.dumps``."""
    train, test = data.train, data.test
    channels, height, width = train.shape
    return {
        "name": data.name,
        "data": data.spec,
        "train": _split(train),
        "test": _split(test),
        "classes": train.classes,
        "class_names": list(train.class_names),
        "channels": channels,
        "height": height,
        "width": width,
        "rate": data.rate,
        "layout": data.layout,
        "range": None if data.value_range is None else str(data.value_range),
        "zca": data.zca,
        "dtype": str(train.images.dtype).removeprefix("torch."),
        "bytes": train.nbytes,
        "file_bytes": data.file_bytes,
        "mean": list(train.mean),
        "std": list(train.std),
        "normalisation": "published" if data.published else "measured",
        "flip": data.flip,
        "net": data.net,
        "notes": list(data.notes),
    }


def _split(part: LabelledSet) -> dict[str, Any]:
    return {
        "images": len(part),
        "counts": list(part.counts),
        "bytes": part.nbytes,
        "fingerprint": part.fingerprint,
    }


def describe(data: Data) -> list[str]:
    """The facts of a data set, a line each."""
    train, test = data.train, data.test
    channels, height, width = train.shape
    names = ", ".join(train.class_names[:10]) + ", …" * (train.classes > 10)
    how = "published" if data.published else "measured on training"
    sound = [f"recordings: one second each, {data.rate} samples per second"] if data.rate else []
    return [
        f"data: {data.name}" + (f" ({data.spec})" if data.spec != data.name else ""),
        f"train: {_counted(train)}",
        f"test: {_counted(test)}",
        f"classes: {train.classes} ({names})",
        *sound,
        f"images: {width}×{height} pixels, {_channels(channels)}, "
        f"{str(train.images.dtype).removeprefix('torch.')}",
        *_said(data),
        f"size when decoded: train {size_text(train.nbytes)}, test {size_text(test.nbytes)}",
        *([f"size of the files: {size_text(data.file_bytes)}"] if data.file_bytes else []),
        f"normalisation: mean {_numbers(train.mean)}, std {_numbers(train.std)} ({how})",
        f"flip: {'yes' if data.flip else 'no'}",
        f"default network: {data.net}",
        *(f"note: {note}" for note in data.notes),
    ]


def _said(data: Data) -> list[str]:
    """What was requested of arrays."""
    parts = [f"range: {data.value_range} (black and white)"] if data.value_range else []
    parts += [f"layout: {data.layout}"] if data.layout else []
    return [", ".join(parts)] if parts else []


def _counted(part: LabelledSet) -> str:
    least, most = min(part.counts), max(part.counts)
    each = f"{least}" if least == most else f"{least} to {most}"
    return f"{len(part)} images, {each} per class"


def _channels(n: int) -> str:
    return {1: "grey", 3: "colour"}.get(n, f"{n} channels")


def _numbers(values: tuple[float, ...]) -> str:
    return " ".join(f"{v:.4f}" for v in values)
