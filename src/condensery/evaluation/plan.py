"""The plan by which reported accuracies are taken."""

from __future__ import annotations

import dataclasses

from torch import nn

from condensery.nets import chain
from condensery.runtime.plan import Plan, cached_chunk
from condensery.runtime.torchrun import launched
from condensery.training import stacked

from .cell import Cell
from .processes import can_be_shared

#: Below this much work, in 32×32 images through the network, starting processes costs more than it
#: saves: a few seconds against the half minute that a core takes for these.
_PROCESSES_PAY = 20_000
#: The part of a 32×32 image's work that the smallest ones cost, and what a step costs beside its
#: images: two threads are no faster than one there.
_LEAST_PART, _STEP = 0.25, 8


def evaluation_plan(
    cell: Cell, asked: str | Plan, network: nn.Module, passes: float, steps: float
) -> Plan:
    """The plan of reported accuracies.

    On a CPU, networks of one thread, one process per core, are faster than several threads on one
    network, where the work is worth starting processes; compiled passes may be in bfloat16, which
    was measured to change no accuracy. On a GPU, where that was not measured, passes are in the
    full type; networks whose steps cannot be recorded are trained in one call. A plan of the user's
    own is obeyed. The choice does not depend on how many networks are requested.

    Args:
        cell: what is trained and tested.
        asked: the plan that was asked for.
        network: one of the networks.
        passes: images through the usual number of networks.
        steps: in which they are trained.
    """
    plan = dataclasses.replace(cell.plan, real_dtype=cell.plan.dtype)
    shape, classes = cell.data.train.shape, cell.data.train.classes
    on_gpu = asked == "auto" and plan.device != "cpu"
    if on_gpu:
        plan = dataclasses.replace(plan, update_dtype=plan.dtype, tf32=False)
    part = max(_LEAST_PART, shape[1] * shape[2] / 1024)
    large = passes * part + _STEP * steps >= _PROCESSES_PAY
    if launched() > 1:  # processes of their own share the networks already
        large = False
    if asked == "auto" and not on_gpu and large and plan.threads > 1 and can_be_shared(cell):
        chunk = cached_chunk(1, shape[1] * shape[2])
        return dataclasses.replace(plan, threads=1, processes=plan.threads, chunk=chunk)
    if not on_gpu and plan.networks == 1:
        return plan
    if on_gpu and plan.graphs and chain(network) is not None:
        # Replayed steps, one network after another, were measured to be faster.
        return plan
    # What a result says of its plan is true, so this is determined before.
    if not stacked.can_be_together(network, shape, classes, plan):
        return dataclasses.replace(plan, networks=1)
    most = plan.networks
    if on_gpu:
        images = max(min(cell.training.batch, size) for size in cell.sizes)
        most = stacked.how_many(network, shape, classes, images, plan.memory_gb)
    if most > 1:  # several networks have their channels one after another
        plan = dataclasses.replace(plan, networks=most, channels_last=False)
    return plan
