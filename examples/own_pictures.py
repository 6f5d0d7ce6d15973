"""Condense a folder of your own pictures, and compare with random images and with all of them.

    python examples/own_pictures.py ./photos --size 64 --iterations 300

The folder holds one folder of pictures per class. Without one, the script writes digits that come
with scikit-learn into a temporary folder, so that it runs anywhere.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from PIL import Image
from sklearn.datasets import load_digits

from condensery import condense, evaluate, load, select


def write_digits(folder: Path) -> Path:
    """Write the pictures of scikit-learn's digits as ``folder/CLASS/NUMBER.png``."""
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images, digits.target, strict=True)):
        place = folder / str(label)
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 255 / 16).astype("uint8")).save(place / f"{number:04}.png")
    return folder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--size", type=int, help="side in pixels that pictures are brought to")
    parser.add_argument("--ipc", type=int, default=1, help="images per class")
    parser.add_argument("--iterations", type=int, default=60)
    parser.add_argument("--epochs", type=int, default=100)
    given = parser.parse_args()

    with tempfile.TemporaryDirectory() as temporary:
        folder = given.folder or write_digits(Path(temporary))
        data = load(str(folder), size=given.size)
    for note in data.notes:
        print("note:", note)

    started = time.monotonic()
    condensed = condense(data, "dm", ipc=given.ipc, iterations=given.iterations)
    minutes = (time.monotonic() - started) / 60
    drawn = select(data, "random", ipc=given.ipc)

    print(f"{data.train.classes} classes, {len(data.train.labels)} training images")
    for name, images in (("random", drawn), ("condensed", condensed)):
        (row,) = evaluate(images, data, repeats=3, epochs=given.epochs)
        print(f"{name:<10} {len(images):>5} images  {row.mean:.1f} ± {row.std:.1f} % (n={row.n})")
    print(f"condensing took {minutes:.1f} minutes; accuracies under protocol {row.protocol}")


if __name__ == "__main__":
    main()
