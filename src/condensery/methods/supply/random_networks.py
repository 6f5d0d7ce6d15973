"""Random networks for any supply, and their modes."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd

from condensery import nets
from condensery.augment.draws import to_device
from condensery.methods.task import Task
from condensery.runtime.randomness import fork_rng

from .base import Context


def random_network(spec: str, task: Task, iteration: int) -> nn.Module:
    """The random network of an outer iteration, in the mode that matching uses."""
    with fork_rng(task.seed, "network", iteration):
        network = nets.build(spec, task.shape, task.classes)
    network = still(network.to(task.dtype).requires_grad_(False))
    placed: nn.Module = network._apply(lambda tensor: to_device(tensor, task.device))
    return placed


def still(network: nn.Module) -> nn.Module:
    """Training mode without dropout: that would only add noise that has no address."""
    network.train()
    for module in network.modules():
        if isinstance(module, _DropoutNd):
            module.eval()
    return network


@torch.no_grad()
def freeze_batch_norm(network: nn.Module, context: Context, a_class: int) -> None:
    """Batch statistics of some real images per class, then frozen (DC, appendix A).

    Class batches would differ from them in mean and variance, and so would the two branches.
    """
    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    images, _ = context.statistics(a_class).all()
    held = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0  # the statistics of this batch alone
    network(images)
    for norm, momentum in zip(norms, held, strict=True):
        norm.momentum = momentum
        norm.eval()
