"""The processes that share a run: which classes are whose, and what they tell each other.

Started by ``torchrun``, every process (a *rank*) runs the same command. The run's classes are split
over them, and they exchange class statistics and sums, never images. :data:`ALONE` is the form of
one process, which does nothing at all, so that the code that uses it has one path.
"""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.rendezvous import rendezvous
from torch.nn.functional import pad

from condensery.errors import DataError, RanksError, UsageError

from .torchrun import launched, launched_here, number

T = TypeVar("T")

#: How long a rank that is alive may keep the others waiting, for instance while it compiles. One
#: that has died is noticed by its closed connections, or by torchrun, within seconds.
_PATIENCE = timedelta(minutes=30)
#: Reading a data set for the first time may take hours.
_READING = timedelta(days=2)
#: The rank that sets it first reports the error to the user.
_SPOKEN = "condensery-spoken"


def share(total: int, rank: int, world: int) -> range:
    """A rank's part of this many things: consecutive, and larger than another's by one at most.

    >>> [share(10, rank, 4) for rank in range(4)]
    [range(0, 2), range(2, 5), range(5, 7), range(7, 10)]
    """
    return range(rank * total // world, (rank + 1) * total // world)


@dataclass
class Ranks:
    """This process among those that share a run.

    Every method that tells or asks something is *collective*: all ranks call it, in the same order.
    """

    rank: int = 0
    """Which one this is."""
    world: int = 1
    """How many there are."""
    local: int = 0
    """Which one this is on its machine."""
    machine: int = 0
    """Number of its machine."""
    machines: int = 1
    """How many machines there are."""
    traffic: float = 0.0
    """Bytes that this rank has received in steps, counted from the shapes of what is exchanged
    (a sum over N ranks of b bytes by 2·b·(N − 1)/N). What is gathered for files is left out."""
    _store: Any = field(default=None, repr=False)
    _turn: int = 0

    @property
    def first(self) -> bool:
        """Whether this one writes files and talks to the user."""
        return self.rank == 0

    @property
    def alone(self) -> bool:
        """Whether there are no others."""
        return self.world == 1

    def owned(self, classes: int) -> range:
        """The classes whose pixels this rank learns.

        Raises:
            UsageError: for more ranks than classes.
        """
        if self.world > classes:
            raise UsageError(
                f"{classes} classes cannot be split over {self.world} processes; use "
                f"--nproc-per-node and --nnodes for {classes} processes at most"
            )
        return share(classes, self.rank, self.world)

    def gather(self, part: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows of all ranks, one rank after another.

        Args:
            part: this rank's.
            counts: how many rows each rank has.
        """
        if self.alone:
            return part

        most = max(counts)
        room = part.new_empty((self.world, most, *part.shape[1:]))
        mine = part.detach().contiguous()
        if len(part) < most:  # every rank sends equally many
            mine = torch.cat([mine, mine.new_zeros((most - len(part), *part.shape[1:]))])
        self._call(lambda: dist.all_gather(list(room.unbind(0)), mine))
        self.traffic += room.nbytes * (1 - 1 / self.world)
        if min(counts) == most:
            return room.flatten(0, 1)
        return torch.cat([one[:n] for one, n in zip(room, counts, strict=True)])

    def gather_classes(self, part: Tensor, classes: int) -> Tensor:
        """A row of each class from the rows of each rank's own classes."""
        return self.gather(part, [len(share(classes, r, self.world)) for r in range(self.world)])

    def all_reduce_sum(self, *parts: Tensor) -> None:
        """Replace tensors of one type by their sums over ranks, the same bytes on each."""
        if self.alone or not parts:
            return

        flat = torch.cat([part.detach().reshape(-1) for part in parts])
        self._call(lambda: dist.all_reduce(flat))
        self.traffic += 2 * flat.nbytes * (1 - 1 / self.world)
        for part, total in zip(parts, flat.split([p.numel() for p in parts]), strict=True):
            part.detach().copy_(total.view_as(part))

    def all_reduce_max(self, *numbers: int) -> tuple[int, ...]:
        """The largest that any rank has of each number; hosts tell it, and wait for no GPU."""
        if self.alone:
            return numbers

        told = torch.tensor(numbers)
        self._call(lambda: dist.all_reduce(told, op=dist.ReduceOp.MAX))
        self.traffic += 2 * told.nbytes * (1 - 1 / self.world)
        return tuple(told.tolist())

    def any(self, here: bool) -> bool:
        """Whether it is so on any rank."""
        return bool(self.all_reduce_max(int(here))[0])

    def broadcast(self, *parts: Tensor) -> None:
        """Replace tensors by what the first rank has."""
        if self.alone:
            return

        for part in parts:
            held = part.detach()
            whole = held.contiguous()
            self._call(lambda whole=whole: dist.broadcast(whole, 0))  # type: ignore[misc]
            held.copy_(whole)
            self.traffic += whole.nbytes if self.rank else 0

    def broadcast_object(self, value: Any) -> Any:
        """What the first rank has, plain JSON values."""
        if self.alone:
            return value

        text = json.dumps(value).encode() if self.first else b""
        size = torch.tensor([len(text)])
        self._call(lambda: dist.broadcast(size, 0))
        told = torch.zeros(int(size), dtype=torch.uint8)
        told[: len(text)] = torch.frombuffer(bytearray(text or b" "), dtype=torch.uint8)[
            : len(text)
        ]
        self._call(lambda: dist.broadcast(told, 0))
        return json.loads(bytes(told.numpy()).decode())

    def gather_objects(self, value: Any) -> list[Any]:
        """What every rank has, plain JSON values, in the order of the ranks."""
        if self.alone:
            return [value]

        text = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8)
        sizes = [torch.zeros(1, dtype=torch.int64) for _ in range(self.world)]
        self._call(lambda: dist.all_gather(sizes, torch.tensor([len(text)])))
        most = max(int(size) for size in sizes)
        room = [torch.zeros(most, dtype=torch.uint8) for _ in range(self.world)]
        self._call(lambda: dist.all_gather(room, pad(text, (0, most - len(text)))))
        pairs = zip(room, sizes, strict=True)
        return [json.loads(bytes(told[: int(size)].numpy()).decode()) for told, size in pairs]

    def agree(self, value: Any, otherwise: str) -> None:
        """Raise if a value is not the same on all ranks.

        Raises:
            DataError: on every rank, saying ``otherwise``.
        """
        if self.any(self.broadcast_object(value) != value):
            raise DataError(otherwise)

    def whole(self, part: Tensor, classes: int, *, everywhere: bool) -> Tensor | None:
        """A row of each class, for files: on the host, so that no device has to hold them all.

        Args:
            part: the rows of this rank's classes.
            classes: how many there are.
            everywhere: whether every rank gets them, or the first alone; the others get None.
        """
        if self.alone:
            return part.detach().clone()

        kept = []
        for rank in range(self.world):
            rows = len(share(classes, rank, self.world))
            mine = rank == self.rank
            piece = part.detach().contiguous() if mine else part.new_empty(rows, *part.shape[1:])
            self._call(lambda piece=piece, rank=rank: dist.broadcast(piece, rank))  # type: ignore[misc]
            if everywhere or self.first:
                kept.append(piece.cpu())
        return torch.cat(kept) if kept else None

    def local_rank_first(self, work: Callable[[], T]) -> T:
        """Do some work on one rank of each machine first, and on the others when it is done."""
        if self.alone:
            return work()
        self._turn += 1
        found = work() if self.local == 0 else None
        if self.local == 0:
            self._store.set(f"condensery-done-{self._turn}-{self.machine}", "1")
        keys = [f"condensery-done-{self._turn}-{machine}" for machine in range(self.machines)]
        self._call(lambda: self._store.wait(keys, _READING))
        return work() if self.local else found  # type: ignore[return-value]

    def on_rank_zero(self, work: Callable[[], T]) -> T | None:
        """Do some work, however long it takes, on the first rank alone; None on the others."""
        if self.alone:
            return work()
        self._turn += 1
        key = f"condensery-turn-{self._turn}"
        found = work() if self.first else None
        if self.first:
            self._store.set(key, "1")
        else:
            self._call(lambda: self._store.wait([key], _READING))
        return found

    def meet(self) -> None:
        """Until every rank has come here, however long the slowest one works before it does."""
        if self.alone:
            return
        self._turn += 1
        keys = [f"condensery-turn-{self._turn}-{rank}" for rank in range(self.world)]
        self._store.set(keys[self.rank], "1")
        self._call(lambda: self._store.wait(keys, _READING))

    def wait(self) -> None:
        """Until every rank has come here."""
        self.any(False)

    def speaks(self) -> bool:
        """Whether this rank is the first to fail, and tells the user why; not collective."""
        if self.alone:
            return True
        try:
            return bool(self._store.add(_SPOKEN, 1) == 1)
        except RuntimeError:  # the store is gone with the rank that had it
            return True

    def _call(self, what: Callable[[], Any]) -> None:
        """Carry out a collective call.

        Raises:
            RanksError: when another rank is gone.
        """
        try:
            what()
        except RuntimeError as error:
            raise RanksError(
                f"another process of this job has ended or does not respond ({_reason(error)}), so "
                "this one ends too; run the same command again to continue from the last "
                "checkpoint, with any number of processes"
            ) from error


def _reason(error: Exception) -> str:
    """The first sentence of what torch says, without the place in its source."""
    text = re.sub(r"^\[\S+\]\s*", "", (str(error) or type(error).__name__).splitlines()[0])
    return text.partition(". ")[0][:150]


#: One process.
ALONE = Ranks()


def join() -> Ranks:
    """Meet the other processes that torchrun has started; :data:`ALONE` without them.

    On GPUs each process takes the one of its number on its machine and tensors travel by NCCL;
    elsewhere, and where processes share a GPU, by gloo.
    """
    if launched() == 1:
        return ALONE
    local, here = number("LOCAL_RANK", number("RANK", 0)), launched_here()
    backend = "gloo"
    if torch.cuda.is_available():
        devices = torch.cuda.device_count()
        torch.cuda.set_device(local % devices)
        if here <= devices:
            backend = "cpu:gloo,cuda:nccl"
    store, rank, world = next(rendezvous("env://", timeout=_PATIENCE))
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=_PATIENCE)
    machine, machines = number("GROUP_RANK", 0), number("GROUP_WORLD_SIZE", 1)
    return Ranks(rank, world, local, machine, machines, _store=store)


@contextmanager
def joined() -> Iterator[Ranks]:
    """The ranks of this command. When some fail, the first one to do so tells the user."""
    ranks = join()
    try:
        yield ranks
    except Exception as error:
        if not ranks.alone:  # torchrun ends the others with SIGTERM: not before the sentence is out
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if ranks.speaks():
            raise
        raise SystemExit(2 if isinstance(error, UsageError) else 1) from None
    if not ranks.alone:
        dist.destroy_process_group()


def check_device(device: str | None, ranks: Ranks) -> None:
    """Raise if all processes of a machine would share one GPU.

    Raises:
        UsageError: naming the option.
    """
    if device is not None and device.startswith("cuda:") and not ranks.alone:
        raise UsageError(
            f"--device {device} would put every process on one GPU; use --device cuda to give each "
            "its own"
        )
