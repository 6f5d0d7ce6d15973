"""Train one network on any set: tensors that live on the device, no loader, no host sync."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from torch.nn.modules.dropout import _DropoutNd

from condensery.augment.draws import to_device
from condensery.nets import chain
from condensery.runtime.distributed import ALONE, Ranks, share
from condensery.runtime.plan import Plan
from condensery.runtime.randomness import fork_rng, stream

from .augmenter import Augmenter
from .datasets import Split as Split
from .datasets import Subset as Subset
from .datasets import Tensors as Tensors
from .datasets import TrainingSet as TrainingSet
from .distillation import Teacher
from .losses import Losses, mixing
from .minibatches import batches, evenly, pieces_of, plain_targets
from .momentum_sgd import MomentumSGD
from .protocol import Protocol
from .step_blocks import Block
from .step_graph import StepGraph

#: Images that an accuracy takes at once where the plan has no chunks.
_WHOLE_CHECK = 256

#: Called with the rows of each mini-batch, and which of them were classified correctly before its
#: step.
BatchObserver = Callable[[Tensor, Tensor], None]

#: Called with the number of epochs that are done.
EpochObserver = Callable[[int], None]


class Trainer:
    """Trains networks of one architecture, one after another, by one protocol.

    Args:
        protocol: the constants.
        plan: device, pieces of a batch and whether to compile.
        flip: whether augmentation may flip images horizontally.
        seed: seed of shuffling and augmentation.
        purpose: what the draws are for, part of their address.
        dtype: type of the passes; weights keep theirs. Networks that mix examples ignore it.
        mean: normalisation of the images, for augmentations that change colours.
        std: normalisation.
        ranks: those that take a part of each mini-batch, and add up their gradients.
    """

    def __init__(
        self,
        protocol: Protocol,
        plan: Plan,
        *,
        flip: bool,
        seed: int,
        purpose: str = "training",
        dtype: torch.dtype | None = None,
        mean: Sequence[float] = (0.0,),
        std: Sequence[float] = (1.0,),
        ranks: Ranks = ALONE,
    ) -> None:
        self.ranks = ranks
        self.protocol = protocol
        self.plan = plan
        self.seed = seed
        self.purpose = purpose
        self.dtype = dtype
        self.augmented = Augmenter(protocol, flip, mean, std)
        self.losses = Losses(plan, dtype)
        self.after_epoch: EpochObserver | None = None
        """Told of epochs that are done, where steps are not recorded many epochs ahead."""
        self._graph: StepGraph | None = None

    def train(
        self,
        network: nn.Module,
        data: TrainingSet,
        network_index: int,
        *,
        set_index: int = 0,
        schedule: Callable[[int], float] | None = None,
        steps: int | None = None,
        teacher: Teacher | None = None,
    ) -> nn.Module:
        """Train a network in place, to the last epoch.

        From the weights that it has: a network that was trained before is trained on.

        Args:
            network: on the plan's device; left in evaluation mode.
            data: what to train on.
            network_index: which network it is; decides its shuffling and augmentation.
            set_index: which set it is trained on, the rest of the draws' address.
            schedule: learning rate by step, in place of the protocol's by epoch.
            steps: how many to take in all, in place of the protocol's epochs; the rate then drops
                at the protocol's fractions of them.
            teacher: an earlier network that it follows.
        """
        course, epochs = Course(self, network, teacher=teacher), range(self.protocol.epochs)
        if steps is not None:
            epochs = range(math.ceil(steps / course.steps_of(data)))
            schedule = schedule or partial(self.protocol.rate_in, steps=steps)
        place = (self.seed, self.purpose, network_index)
        rngs = (stream(*place, epoch, set_index) for epoch in epochs)
        with course.dropout("dropout", network_index, group=set_index):
            course.several_epochs(data, rngs, epochs, schedule, steps)
        if self._graph is not None:
            self._graph.release()
        return network.eval()

    def step(
        self,
        course: Course,
        batch: tuple[Tensor, Tensor],
        rng: np.random.Generator,
        full: int = 0,
    ) -> Tensor:
        """One SGD step; the batch goes through in pieces whose gradients add up.

        Every rank draws and augments the whole batch, and learns from its part of it.

        Args:
            course: the network.
            batch: images and labels.
            rng: of the augmentation.
            full: images of a full batch, of which this one may be a smaller, last one.

        Returns:
            which images were classified correctly before it, N; empty without an observer.
        """
        watched, teacher = course.watch is not None, course.teacher
        loss = self.losses.of(
            course.network,
            None if course.whole else self.dtype,
            watched=watched,
            distilled=None if teacher is None else teacher.how,
        )
        images, targets = self.augmented(*batch, [rng])
        if teacher is not None:
            targets = teacher.beside(images, targets)
        if self.recordable(course, len(images)):
            rate = float(course.optimizer.param_groups[0]["lr"])
            self.recorded_step(course, images, targets, rate)
            return images.new_empty(0, dtype=torch.bool)
        course.optimizer.zero_grad(set_to_none=True)
        right = [images.new_empty(0, dtype=torch.bool)]
        with torch.enable_grad():
            pieces = self.pieces(images, targets, course.whole, course.split, full)
            for piece, target in pieces:
                found = loss(course.weights, piece, target)
                if watched:
                    right.append(found[1])
                (found[0] if watched else found).backward()
        if course.split:
            slopes = [weight.grad for weight in course.network.parameters()]
            self.ranks.all_reduce_sum(*[slope for slope in slopes if slope is not None])
        course.optimizer.step()
        return torch.cat(right)[: len(images)]

    def recordable(self, course: Course, size: int) -> bool:
        """Whether a step is one call of known layers, with no observer and no teacher."""
        chunk = self.plan.chunk
        fits = chunk is None or size <= chunk
        watched = course.watch is not None or course.teacher is not None
        plain = course.layers and not watched and not course.whole
        return self.plan.graphs and fits and plain and self.ranks.alone

    def recorded_step(self, course: Course, images: Tensor, targets: Tensor, rate: float) -> None:
        """One SGD step on augmented images, replayed."""
        if self._graph is None:
            loss = self.losses.of(course.network, self.dtype)
            self._graph = StepGraph(loss, course.network, self.protocol)
        self._graph.step(course, self._laid_out(images, False), targets, rate)

    def pieces(
        self,
        images: Tensor,
        targets: Tensor,
        whole: bool,
        split: bool = False,
        full: int = 0,
    ) -> list[tuple[Tensor, Tensor]]:
        """A batch, or this rank's part of it, as the calls that take it, laid out for them.

        Args:
            images: of the batch.
            targets: of the batch.
            whole: whether one call takes all of it.
            split: whether each rank takes a part.
            full: images of a full batch, whose shape a smaller one is given where calls compile.
        """
        if split:
            images, targets = evenly(images, targets, self.ranks.world)[self.ranks.rank]
        chunk = None if whole else self.plan.chunk
        alike = self.plan.compile and not (whole or split)
        parts = pieces_of(images, targets, chunk, full if alike else 0)
        return [(self._laid_out(piece, whole), target) for piece, target in parts]

    def _laid_out(self, images: Tensor, whole: bool) -> Tensor:
        if self.plan.channels_last and not whole:
            return images.contiguous(memory_format=torch.channels_last)
        return images


class Course:
    """A network in training: its weights, their optimiser, an observer, and a teacher."""

    def __init__(
        self,
        trainer: Trainer,
        network: nn.Module,
        watch: BatchObserver | None = None,
        teacher: Teacher | None = None,
    ) -> None:
        protocol = trainer.protocol
        self.trainer, self.watch, self.teacher = trainer, watch, teacher
        self.network = network.train().requires_grad_(True)
        self.whole = mixing(network)
        self.layers = chain(network) is not None and not any(True for _ in network.buffers())
        """Whether it is a chain of known layers, which draw nothing and remember nothing."""
        drops = any(isinstance(m, _DropoutNd) and m.p > 0 for m in network.modules())
        self.split = not (trainer.ranks.alone or self.whole or drops)
        """Whether each rank takes a part of every batch."""
        self.weights = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        self.optimizer = MomentumSGD(network.parameters(), **protocol.sgd.arguments)
        self._steps = 0

    def dropout(
        self, purpose: str, iteration: int, step: int = 0, group: int = 0
    ) -> AbstractContextManager[None]:
        """Where a network draws from torch's own generators while it is trained."""
        if self.layers:
            return nullcontext()
        device = torch.device(self.trainer.plan.device)
        return fork_rng(self.trainer.seed, purpose, iteration, step, group, device=device)

    def epoch(
        self,
        data: TrainingSet,
        rng: np.random.Generator,
        epoch: int,
        schedule: Callable[[int], float] | None = None,
    ) -> None:
        """One pass over the set, at the rate of this epoch (or of each step)."""
        for _ in self.steps(data, rng, epoch, schedule):
            pass

    def steps(
        self,
        data: TrainingSet,
        rng: np.random.Generator,
        epoch: int,
        schedule: Callable[[int], float] | None = None,
    ) -> Iterator[int]:
        """:meth:`epoch` step by step; gives each step's number in the epoch when it is done."""
        protocol = self.trainer.protocol
        order = to_device(torch.from_numpy(rng.permutation(len(data))), data.index_device)
        self.network.train()
        full = min(protocol.batch, len(data))
        for step, rows in enumerate(batches(order, protocol.batch, self.whole)):
            rate = protocol.rate_at(epoch) if schedule is None else schedule(self._steps)
            self.optimizer.param_groups[0]["lr"] = rate
            right = self.trainer.step(self, data.take(rows), rng, full)
            if self.watch is not None:
                self.watch(rows, right)
            self._steps += 1
            yield step

    def several_epochs(
        self,
        data: TrainingSet,
        rngs: Iterable[np.random.Generator],
        epochs: Iterable[int],
        schedule: Callable[[int], float] | None = None,
        limit: int | None = None,
    ) -> None:
        """Epochs one after another; where steps are recorded, many are drawn and augmented at once.

        Args:
            data: what to train on.
            rngs: where each epoch's draws come from.
            epochs: their numbers, for the rate.
            schedule: learning rate by step, in place of the protocol's by epoch.
            limit: steps in all, after which the last epoch is broken off.
        """
        size = self.trainer.protocol.batch
        if not self._ahead(min(size, len(data))):
            for done, (rng, epoch) in enumerate(zip(rngs, epochs, strict=True), 1):
                for _ in self.steps(data, rng, epoch, schedule):
                    if self._steps == limit:
                        return
                if self.trainer.after_epoch is not None:
                    self.trainer.after_epoch(done)
            return
        self.network.train()
        block = self._block(data)
        for rng, epoch in zip(rngs, epochs, strict=True):
            for rows in np.split(
                order := rng.permutation(len(data)), range(size, len(order), size)
            ):
                if self._steps == limit:
                    break
                rate = self.trainer.protocol.rate_at(epoch)
                block.add(rows, rng, rate if schedule is None else schedule(self._steps))
                self._steps += 1
        block.finish()

    def _block(self, data: TrainingSet) -> Block:
        trainer = self.trainer
        return Block(data, trainer.augmented, partial(trainer.recorded_step, self))

    def _ahead(self, size: int) -> bool:
        trainer = self.trainer
        return trainer.recordable(self, size) and trainer.augmented.drawn_ahead

    def real_epochs(self, data: TrainingSet, numbers: range, address: tuple[int, int]) -> None:
        """Some passes over the real set at the protocol's first rate."""
        trainer = self.trainer
        for number in numbers:
            rng = stream(trainer.seed, f"{trainer.purpose}-real-epoch", *address, number)
            with self.dropout(f"{trainer.purpose}-real-epoch-dropout", *address, group=number):
                self.several_epochs(data, [rng], [0])
        self._alike()

    def some(self, data: TrainingSet, images: int, address: tuple[int, int]) -> None:
        """Steps on this many images of a set, drawn without replacement; all of a smaller one."""
        trainer = self.trainer
        rng = stream(trainer.seed, f"{trainer.purpose}-real", *address)
        rows = rng.choice(len(data), min(images, len(data)), replace=False)
        rate, size = trainer.protocol.rate_at(0), trainer.protocol.batch
        self.network.train()
        if self._ahead(min(size, len(rows))):
            block = self._block(data)
            for batch in np.split(rows, range(size, len(rows), size)):
                block.add(batch, rng, rate)
            block.finish()
            return
        picked = to_device(torch.from_numpy(rows), data.index_device)
        self.optimizer.param_groups[0]["lr"] = rate
        with self.dropout(f"{trainer.purpose}-real-dropout", *address):
            for part in batches(picked, trainer.protocol.batch, self.whole):
                trainer.step(self, data.take(part), rng)
        self._alike()

    def steps_of(self, data: TrainingSet) -> int:
        """Steps that an epoch on a set takes."""
        return len(batches(torch.arange(len(data)), self.trainer.protocol.batch, self.whole))

    def epochs(
        self, images: Tensor, labels: Tensor, numbers: range, address: tuple[int, int]
    ) -> None:
        """Some passes over a set at the protocol's first rate, without host synchronisation.

        Args:
            images: N×C×H×W, normalised.
            labels: N.
            numbers: of the passes, part of the address of their draws.
            address: iteration and step, the rest of it.
        """
        trainer, data = self.trainer, Tensors(images, labels)
        self.network.train()
        rngs = (stream(trainer.seed, trainer.purpose, *address, number) for number in numbers)
        if self._ahead(min(trainer.protocol.batch, len(data))):
            self.several_epochs(data, rngs, [0] * len(numbers))
            return
        for number, rng in zip(numbers, rngs, strict=True):
            with self.dropout(f"{trainer.purpose}-dropout", *address, group=number):
                self.epoch(data, rng, 0)
        self._alike()

    def _alike(self) -> None:
        """Networks that every rank trained by itself continue from rank 0's numbers."""
        if not (self.split or self.trainer.ranks.alone):
            held = [*self.network.state_dict().values(), *self.momenta().values()]
            self.trainer.ranks.broadcast(*held)

    @torch.no_grad()
    def loss(self, images: Tensor, labels: Tensor) -> Tensor:
        """Mean cross-entropy of a batch in evaluation mode, a scalar on the device."""
        function = self.trainer.losses.of(self.network, None, learning=False)
        ranks, targets = self.trainer.ranks, plain_targets(images, labels)
        pieces = self.trainer.pieces(images, targets, False, not ranks.alone)
        total = torch.stack([function(self.weights, *piece) for piece in pieces]).sum()
        ranks.all_reduce_sum(total)
        return total

    @torch.no_grad()
    def accuracy(self, data: TrainingSet) -> float:
        """Share of a set that is classified correctly in evaluation mode; one host sync."""
        trainer = self.trainer
        function = trainer.losses.hits(self.network)
        ranks = trainer.ranks
        own, most = share(len(data), ranks.rank, ranks.world), -(-len(data) // ranks.world)
        # Pieces of one shape: memory does not grow with the set.
        count = -(-most // (trainer.plan.chunk or _WHOLE_CHECK))
        size = -(-most // count)
        hits = []
        for rows in torch.arange(own.start, own.stop, device=data.index_device).split(size):
            images, labels = data.take(rows)
            targets, missing = plain_targets(images, labels), size - len(rows)
            images = pad(images, (0, 0) * 3 + (0, missing))
            targets = pad(targets, (0, 0, 0, missing))
            for piece in trainer.pieces(images, targets, False):
                hits.append(function(self.weights, *piece))
        total = torch.stack(hits).sum()
        ranks.all_reduce_sum(total)
        return int(total) / len(data)

    def momenta(self) -> dict[str, Tensor]:
        """SGD's momentum buffer of each parameter."""
        found = {
            name: self.optimizer.state[weight].get("momentum_buffer")
            for name, weight in self.network.named_parameters()
            if weight in self.optimizer.state
        }
        return {name: buffer for name, buffer in found.items() if buffer is not None}

    def load_momenta(self, momenta: dict[str, Tensor]) -> None:
        """Restore :meth:`momenta`."""
        for name, weight in self.network.named_parameters():
            if name in momenta:
                self.optimizer.state[weight]["momentum_buffer"] = momenta[name].to(weight).clone()
