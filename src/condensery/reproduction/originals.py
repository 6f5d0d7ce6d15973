"""Whether data are those that the papers used, by their content.

A name does not say it: a copy may have been compressed or resized again. Nothing here imports
torch.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from condensery.data import Data, LabelledSet

#: Images that are looked at together.
_CHUNK = 4096

#: The content of original data sets, by name and split. Each digest is :func:`content_of` the split
#: as :func:`condensery.load` reads it by its name, without ``size`` or ``channels``, from lossless
#: copies: of ``mnist`` the PNG files of rasbt/mnist-pngs (60,000 and 10,000 images of 28×28, the
#: published counts, mean and std), of ``usps`` the 7,291 and 2,007 images of 16×16 whose values
#: were rounded to the nearest of 8 bits. What is not listed was never compared: of ``cifar10`` and
#: others no lossless copy was at hand.
ORIGINALS: Mapping[str, Mapping[str, str]] = {
    "mnist": {
        "train": "c985793ac2a4cf2942a60fef83adf588f7fda137f3487e209b5714282c0dcac6",
        "test": "215cbba33cad818dc3f8e42baa8090580fa221d35608d5660efd9959d42baa43",
    },
    "usps": {
        "train": "049727a3322bf8a46cb5143011230cf116f2c4efc1163dd3855dac83db8d5457",
        "test": "1a64018d4008712e861e4aa885c294a7ba30e8f6b69adda9d35ba30fc9ca9925",
    },
}

NOT_COMPARED = "on data that were not compared with the original"
OTHER_CONTENT = "on data that differ from the original"


def content_of(split: LabelledSet) -> str:
    """SHA-256 of a split's images with their labels, whatever order they are in.

    Unlike a fingerprint it knows neither the order nor the names of classes, which copies of one
    data set choose as they like.
    """
    labels, each = split.labels.tolist(), list[bytes]()
    for first in range(0, len(split), _CHUNK):
        images = split.images[first : first + _CHUNK].cpu().numpy()
        for label, image in zip(labels[first : first + _CHUNK], images, strict=True):
            each.append(hashlib.sha256(label.to_bytes(8, "little") + image.tobytes()).digest())
    head = (str(split.images.dtype), tuple(split.images.shape))
    return hashlib.sha256(repr(head).encode() + b"".join(sorted(each))).hexdigest()


def contents(data: Data) -> dict[str, str]:
    """:func:`content_of` of both splits."""
    return {"train": content_of(data.train), "test": content_of(data.test)}


def departure(name: str, found: object) -> str | None:
    """How data depart from the original, in words; None where they are the original.

    Args:
        name: of the data set that is wanted.
        found: contents by split, as :func:`contents` gives them; anything else is unknown.
    """
    original = ORIGINALS.get(name)
    if original is None or not isinstance(found, Mapping) or not {*original} <= {*found}:
        return NOT_COMPARED
    return None if all(found[s] == original[s] for s in original) else OTHER_CONTENT
