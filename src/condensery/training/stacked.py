"""Several networks that are trained in one call, each as if it were alone: for GPUs.

A network on a small set is too little work for a GPU: its time goes into starting kernels. So the
weights of K networks are stacked, and ``torch.vmap`` makes each layer one call for all of them (a
convolution becomes a grouped one). Each has its own initialisation, order and augmentation, from
the same addresses as when it is trained alone, and SGD works on each weight by itself: accuracies
are those of networks trained one after another, but for the order of float sums.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import stack_module_state
from torch.nn.modules.dropout import _DropoutNd

from condensery.augment.draws import to_device
from condensery.nets.sizes import Shape
from condensery.runtime.kernels import fused
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import stream

from .datasets import TrainingSet
from .losses import Loss, loss_of, mixing
from .minibatches import batches, evenly, plain_targets, several
from .momentum_sgd import MomentumSGD
from .trainer import Trainer

#: The largest number of networks in one call: as many as the papers average over.
LARGEST = 20
#: How far a network's gradient may lie from that of the network alone, relatively.
_TOLERANCE = 1e-3


class StackedNetworks:
    """Networks of one architecture with their weights stacked, and their optimiser.

    Args:
        trainer: how they are trained.
        networks: on the plan's device; changed in place by :meth:`train`.
    """

    def __init__(self, trainer: Trainer, networks: Sequence[nn.Module]) -> None:
        self.trainer, self.networks = trainer, list(networks)
        self.loss = trainer.losses.of_several(networks[0])
        weights, buffers = stack_module_state(self.networks)
        self.weights = {name: w.detach().requires_grad_() for name, w in weights.items()}
        self.buffers = buffers
        protocol = trainer.protocol
        self.optimizer = MomentumSGD(self.weights.values(), **protocol.sgd.arguments)

    def train(
        self,
        data: TrainingSet,
        network_indices: Sequence[int],
        *,
        set_index: int = 0,
        schedule: Callable[[int], float] | None = None,
        steps: int | None = None,
    ) -> None:
        """Train all networks to the last epoch, and leave them in evaluation mode.

        Args:
            data: what each of them is trained on.
            network_indices: which networks they are; decide their shuffling and augmentation.
            set_index: which set they are trained on, the rest of the draws' address.
            schedule: learning rate by step, in place of the protocol's by epoch.
            steps: how many to take in all, as of :meth:`Trainer.train`.
        """
        trainer, protocol = self.trainer, self.trainer.protocol
        epochs, done = protocol.epochs, 0
        if steps is not None:
            epochs = math.ceil(steps / math.ceil(len(data) / protocol.batch))
            schedule = schedule or partial(protocol.rate_in, steps=steps)
        for epoch in range(epochs):
            address = [(index, epoch, set_index) for index in network_indices]
            rngs = [stream(trainer.seed, trainer.purpose, *one) for one in address]
            orders = np.stack([rng.permutation(len(data)) for rng in rngs])
            order = to_device(torch.from_numpy(orders.T.copy()), data.index_device)
            for rows in batches(order, protocol.batch, False):
                if done == steps:
                    break
                rate = protocol.rate_at(epoch) if schedule is None else schedule(done)
                self.step(data, rows, rngs, rate)
                done += 1
            if trainer.after_epoch is not None:
                trainer.after_epoch(epoch + 1)
        self._hand_back()

    def step(
        self, data: TrainingSet, rows: Tensor, rngs: Sequence[np.random.Generator], rate: float
    ) -> None:
        """One SGD step of every network.

        Args:
            data: what they are trained on.
            rows: N×K, each network's mini-batch.
            rngs: K generators, where the augmentation of each comes from.
            rate: learning rate.
        """
        size, count = rows.shape
        images, labels = data.take(rows.T.reshape(-1))
        images, targets = self.trainer.augmented(images, labels, rngs)
        # Rows first, networks second, so that a mini-batch is cut like that of one network.
        shape = images.shape[1:]
        images = images.view(count, size, *shape).transpose(0, 1)
        targets = targets.view(count, size, -1).transpose(0, 1)
        self.optimizer.param_groups[0]["lr"] = rate
        self.optimizer.zero_grad(set_to_none=True)
        with torch.enable_grad(), fused(False):  # vmap cannot follow kernels of our own
            for piece, target in self._pieces(images, targets):
                self.loss({**self.weights, **self.buffers}, piece, target).backward()
        self.optimizer.step()

    def _pieces(self, images: Tensor, targets: Tensor) -> list[tuple[Tensor, Tensor]]:
        """The mini-batches in as few calls as the plan's chunk allows for all networks."""
        chunk = self.trainer.plan.chunk
        most = len(images) if chunk is None else max(1, chunk // images.shape[1])
        if len(images) <= most:
            return [(images, targets)]
        return evenly(images, targets, -(-len(images) // most))

    @torch.no_grad()
    def _hand_back(self) -> None:
        for number, network in enumerate(self.networks):
            for name, weight in network.named_parameters():
                weight.copy_(self.weights[name][number])
            network.eval()


def can_be_together(network: nn.Module, shape: Shape, classes: int, plan: Plan) -> bool:
    """Whether networks of an architecture come to the same when they are trained in one call.

    Not where examples are mixed (batch norm) or dropped out at random, nor where the network
    changes a buffer in training, nor where ``torch.vmap`` cannot follow its code: two networks
    with different weights are tried on the plan's device, together and alone.

    Args:
        network: one of them; not changed.
        shape: C, H, W of an image.
        classes: number of classes.
        plan: where they will be trained.
    """
    network = copy.deepcopy(network).to(plan.device).train()
    drops = any(isinstance(m, _DropoutNd) and m.p > 0 for m in network.modules())
    if mixing(network) or drops:
        return False
    try:
        with plan.applied(), fused(False), warnings.catch_warnings():
            warnings.simplefilter("error")  # such as that of a layer that is done one by one
            return _agree(network, _Trial(network, shape, classes))
    except Exception:  # whatever torch or the network's own code raises: one by one works
        return False


class _Trial:
    """Two networks of one architecture, the second with halved weights, and two images each."""

    def __init__(self, network: nn.Module, shape: Shape, classes: int) -> None:
        named = dict(network.named_parameters())
        pairs = {name: torch.stack([w.detach(), w.detach() / 2]) for name, w in named.items()}
        self.weights = {name: w.requires_grad_() for name, w in pairs.items()}
        held = {name: torch.stack([b, b]) for name, b in network.named_buffers()}
        self.buffers = held
        first = next(network.parameters())
        images = torch.randn(2, 2, *shape, generator=torch.Generator().manual_seed(0))
        self.images = images.to(first)
        targets = plain_targets(images[0], torch.arange(2) % classes).to(first)
        self.targets = torch.stack([targets] * 2, 1)

    def together(self, loss: Loss) -> Tensor:
        """The sum of both losses, in one call."""
        weights = {**self.weights, **self.buffers}
        return several(loss)(weights, self.images.transpose(0, 1), self.targets)


def _agree(network: nn.Module, trial: _Trial) -> bool:
    """Whether gradients are the same in both ways, and buffers stay what they are."""
    loss, before = loss_of(network, None), copy.deepcopy(trial.buffers)
    weights = list(trial.weights.values())
    found = torch.autograd.grad(trial.together(loss), weights, materialize_grads=True)
    for number in range(2):
        alone = {name: w[number].detach().requires_grad_() for name, w in trial.weights.items()}
        buffers = {name: b[number].clone() for name, b in before.items()}
        value = loss({**alone, **buffers}, trial.images[number], trial.targets[:, number])
        wanted = torch.autograd.grad(value, list(alone.values()), materialize_grads=True)
        there = torch.cat([slope.flatten() for slope in wanted])
        here = torch.cat([slope[number].flatten() for slope in found])
        if not (here - there).norm() <= _TOLERANCE * there.norm():
            return False
        if any(not torch.equal(b, before[name][number]) for name, b in buffers.items()):
            return False
    return all(torch.equal(b, before[name]) for name, b in trial.buffers.items())


def how_many(network: nn.Module, shape: Shape, classes: int, batch: int, memory_gb: float) -> int:
    """How many networks fit one call, at most :data:`LARGEST`.

    Args:
        network: one of them, that :func:`can_be_together` is true of.
        shape: C, H, W of an image.
        classes: number of classes.
        batch: images of each network's mini-batch.
        memory_gb: what the call may take.
    """
    weights = sum(w.numel() * w.element_size() for w in network.parameters())
    # The networks, their stack, slopes and momenta; what is kept for the way back, and half as
    # much again for the way itself, where a layer's input and output are there at a time.
    one = 4 * weights + 1.5 * batch * saved_bytes(network, shape, classes)
    return max(1, min(LARGEST, int(memory_gb * 1e9 / one)))


def saved_bytes(network: nn.Module, shape: Shape, classes: int) -> int:
    """What autograd keeps of one image until the way back, when networks are trained together."""
    network = copy.deepcopy(network).train()
    trial = _Trial(network, shape, classes)
    weights = {w.untyped_storage().data_ptr() for w in trial.weights.values()}
    seen: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.enable_grad(), torch.autograd.graph.saved_tensors_hooks(keep, lambda held: held):
        kept = trial.together(loss_of(network, None))
    del kept
    return sum(seen.values()) // 4  # two networks with two images each
