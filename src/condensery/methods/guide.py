"""The network by whose embeddings some images stand for their class (DREAM)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from condensery import nets
from condensery.data import LabelledSet
from condensery.nets.sizes import first_padding, halvings
from condensery.runtime.devices import to_device
from condensery.runtime.randomness import fork_rng, stream

from .clusters import k_means
from .task import Task

#: Most images of a class that are clustered together: of a larger one a random part.
_MOST = 10_000
#: Images that are embedded together.
_ROWS = 256


@dataclass(frozen=True)
class Guide:
    """One fixed network, and the images that lie nearest to centroids of what it sees.

    A pool's network where the supply has one, and a ConvNet that was never trained otherwise. Being
    fixed, what it chooses follows from the seed and an address alone, like any other draw.
    """

    network: nn.Module
    train: LabelledSet
    seed: int
    dtype: torch.dtype

    @classmethod
    def of(cls, task: Task, train: LabelledSet) -> Guide:
        """The supply's own network, or a random one of the task's seed."""
        network = task.guide
        if network is None:
            with fork_rng(task.seed, "guide"):
                network = nets.build(_convnet(train.shape), train.shape, train.classes)
        network = network.to(device=task.device, dtype=task.dtype).eval()
        return cls(network, train, task.seed, task.dtype)

    def nearest(
        self, c: int, n: int, purpose: str, number: int = 0, *, of: int = _MOST, rounds: int = 300
    ) -> Tensor:
        """Images of a class nearest to n centroids, each of them once; all of a smaller class.

        Args:
            c: the class.
            n: how many.
            purpose: what they are for, part of the draws' address.
            number: which draw of them, the rest of it.
            of: images of the class that are clustered, a random part of more.
            rounds: most rounds of k-means.

        Returns:
            positions in the training split, on its ``index_device``.
        """
        members = torch.from_numpy(self.train.host_index[c])
        if len(members) > n:
            rng = stream(self.seed, purpose, number, group=c)
            most = max(n, min(of, len(members)))
            members = members[torch.from_numpy(rng.permutation(len(members))[:most])]
            seed = int(rng.integers(2**32))
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # fewer distinct images than centroids
                members = members[k_means(self._features(members), n, seed, rounds).cpu()]
        return to_device(members, self.train.index_device)

    @torch.no_grad()
    def _features(self, rows: Tensor) -> Tensor:
        parts = to_device(rows, self.train.index_device).split(_ROWS)
        return torch.cat(
            [
                nets.embed(self.network, self.train.normalised(part, dtype=self.dtype)).cpu()
                for part in parts
            ]
        )


def _convnet(shape: tuple[int, int, int]) -> str:
    """A ConvNet whose last map has some four pixels a side.

    >>> _convnet((3, 32, 32)), _convnet((1, 8, 8)), _convnet((3, 96, 96))
    ('convnet3:width=64', 'convnet1:width=64', 'convnet4:width=64')
    """
    return f"convnet{max(1, halvings(first_padding(shape)[1]) - 2)}:width=64"
