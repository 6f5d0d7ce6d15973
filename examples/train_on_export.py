"""Train on an exported set with PyTorch alone: nothing of this library is imported.

condensery export runs/photos --to npz --out photos
python examples/train_on_export.py photos.npz
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from torch import nn


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", help="what export --to npz wrote")
    parser.add_argument("--epochs", type=int, default=300)
    given = parser.parse_args()

    held = np.load(given.file)
    mean, std = (held[name].reshape(1, -1, 1, 1) for name in ("mean", "std"))
    images = torch.tensor((held["images"] - mean) / std)
    labels = torch.tensor(held["labels"])
    names = held["class_names"]

    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(images.shape[1], 64, 3, padding=1),
        nn.GroupNorm(64, 64),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(64, 64, 3, padding=1),
        nn.GroupNorm(64, 64),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(64 * 16, len(names)),
    )
    optimizer = torch.optim.SGD(network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)
    for _ in range(given.epochs):
        for rows in torch.randperm(len(images)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
    network.eval()
    with torch.no_grad():
        right = (network(images).argmax(1) == labels).float().mean().item()
    print(f"{len(images)} images of {len(names)} classes: {100 * right:.1f} % of them learned")
    # New pictures go through the same normalisation: (pixels / 255 - mean) / std.


if __name__ == "__main__":
    main()
