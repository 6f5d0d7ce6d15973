"""How the work runs on this device: a small value that nothing else needs to know about."""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch

from condensery.config.build import make
from condensery.config.recipes import read_yaml
from condensery.errors import UsageError

from .compile import compiled
from .kernels import fused
from .processors import default_threads as default_threads
from .processors import processors as processors

#: 32 images of 32×32 to a thread keep a ConvNet's activations in its core's cache.
_CACHE_PIXELS = 32 * 32 * 32
#: More threads than that share a chunk unevenly, and memory is bounded by it.
_SHARING = 8
#: On a GPU a chunk only bounds memory.
_GPU_PIXELS = 8192 * 32 * 32
#: Below this many 32×32 images through the network, compiling costs more than it saves.
COMPILE_PAYS = 200_000


#: 32×32 images that a CPU's thread takes through a ConvNet in a minute, about.
_A_MINUTE = 50_000
#: Threads that make compiling pay sooner.
_COMPILING = 2


#: Threads, processes or networks of a plan: more than any machine has use for.
_MOST = 1024


@dataclass(frozen=True, kw_only=True)
class Plan:
    """An execution plan; the mathematics is the same under every plan."""

    name: str = "custom"
    """What the plan is called."""
    device: str = "cpu"
    """Torch device that holds data, networks and stored tensors."""
    dtype: Literal["float32", "float64"] = "float32"
    """Type of the stored tensors, the weights and the synthetic branch."""
    real_dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Type of the real branch, which needs no gradient to its pixels."""
    chunk: int | None = None
    """Images a network call; null takes one class at a time, whole."""
    together: bool = False
    """Whether one call takes the gradients of many classes: for GPUs, and calls of fixed shape."""
    compile: bool = False
    """Whether the network calls are compiled."""
    graphs: bool = False
    """Whether network calls and training steps are recorded as CUDA graphs, and layers fused."""
    channels_last: bool = False
    """Whether images and weights are laid out with channels last."""
    tf32: bool = False
    """Whether float32 convolutions may use TF32 on a GPU; matrix products never do."""
    threads: int = 1
    """CPU threads."""
    update_dtype: Literal["float32", "float64", "bfloat16"] = "float32"
    """Type of the passes that train the matching networks; weights stay ``dtype``."""
    processes: int = 1
    """Processes that networks are evaluated in, each with ``threads``; condensing takes one."""
    networks: int = 1
    """Networks that one call trains when sets are evaluated: for GPUs; condensing takes one."""
    memory_gb: float = 4.0
    """What the statistics that are kept within a step may take, and as much again the graphs;
    beyond it, classes are computed again."""

    def __post_init__(self) -> None:
        if self.chunk is not None and self.chunk < 1:
            raise UsageError(f"plan.chunk must be at least 1 or null, got {self.chunk}")
        for name in ("threads", "processes", "networks"):
            if getattr(self, name) < 1:
                raise UsageError(f"plan.{name} must be at least 1, got {getattr(self, name)}")
            if getattr(self, name) > _MOST:
                raise UsageError(f"plan.{name} must be at most {_MOST}, got {getattr(self, name)}")
        if self.processes > 1 and self.networks > 1:
            raise UsageError(
                "plan.processes and plan.networks are alternatives; leave one of them at 1"
            )
        if self.together and not (self.compile or self.graphs):
            raise UsageError(
                "plan.together needs plan.compile or plan.graphs: "
                "eager code takes one class at a time"
            )
        if self.graphs and not self.device.startswith("cuda"):
            raise UsageError("plan.graphs needs a CUDA device: use --device cuda, or leave it out")
        if not self.memory_gb > 0:
            raise UsageError(f"plan.memory_gb must be positive, got {self.memory_gb}")
        _check_device(self.device)
        for name in ("real_dtype", "update_dtype"):
            if self.dtype == "float64" and getattr(self, name) != "float64":
                raise UsageError(f"plan.{name} must be float64 when plan.dtype is float64")

    @property
    def torch_dtype(self) -> torch.dtype:
        """Type of the stored tensors."""
        return getattr(torch, self.dtype)  # type: ignore[no-any-return]

    @property
    def torch_update_dtype(self) -> torch.dtype:
        """Type of the passes that train networks."""
        return getattr(torch, self.update_dtype)  # type: ignore[no-any-return]

    @property
    def torch_real_dtype(self) -> torch.dtype:
        """Type of the real branch."""
        return getattr(torch, self.real_dtype)  # type: ignore[no-any-return]

    def describe(self) -> str:
        """One line for people, and for the ``plan`` field of results."""
        parts = [
            self.device,
            f"{self.processes} processes" if self.processes > 1 else "",
            f"up to {self.networks} networks together" if self.networks > 1 else "",
            f"{self.threads} thread{'s' if self.threads > 1 else ''}"
            if self.device == "cpu"
            else "",
            self.dtype,
            f"real branch {self.real_dtype}" if self.real_dtype != self.dtype else "",
            f"training {self.update_dtype}" if self.update_dtype != self.dtype else "",
            f"chunks of {self.chunk}" if self.chunk else "class by class",
            "classes together" if self.together else "",
            "compiled" if self.compile else "eager",
            "CUDA graphs" if self.graphs else "",
            "channels last" if self.channels_last else "",
            "tf32" if self.tf32 else "",
        ]
        return f"{self.name} ({', '.join(p for p in parts if p)})"

    def as_dict(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Torch's global switches set as the plan says, and put back afterwards.

        Raises:
            UsageError: where it compiles, and there is no compiler.
        """
        if self.compile and self.device == "cpu" and not _has_cxx():
            raise UsageError(
                "the plan compiles, and this machine has no C++ compiler (g++ or clang++); install "
                "one, or leave --plan.compile out (a run that was started compiled needs one)"
            )
        threads = torch.get_num_threads()
        torch.set_num_threads(self.threads)
        # Upsampling and class means are products that must not be rounded.
        precision = _product_precision("highest")
        try:
            if self.device.startswith("cuda"):
                with (
                    fused(self.graphs),
                    torch.backends.cudnn.flags(
                        enabled=True,
                        benchmark=False,
                        deterministic=True,  # the same seed and plan give bit-identical results
                        allow_tf32=self.tf32,
                    ),
                ):
                    yield
            else:
                yield
        finally:
            torch.set_num_threads(threads)
            _product_precision(precision)


def _product_precision(wanted: str) -> str:
    """Set the precision of float32 matrix products; what it was before."""
    with warnings.catch_warnings():
        # Torch 2.9 and later warn of this interface, and have no other for all devices at once.
        warnings.simplefilter("ignore")
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision(wanted)
    return before


def default_device() -> str:
    """The first CUDA device where there is one, the CPU otherwise."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def _has_cxx() -> bool:
    """Whether there is what compiles on a CPU."""
    return any(map(shutil.which, (os.environ.get("CXX", "g++"), "g++", "clang++")))


@cache
def has_compiler(device: str) -> bool:
    """Whether ``torch.compile`` works here, determined by compiling a sum.

    It needs a C++ compiler with its headers on a CPU, and Triton on a GPU.
    """
    if not device.startswith("cuda") and not _has_cxx():
        return False

    def line(x: torch.Tensor) -> torch.Tensor:
        return x * 2 + 1

    try:
        return float(compiled(line)(torch.ones(8, device=device)).sum()) == 24.0
    except Exception:  # whatever a broken tool chain raises, eager works
        return False


@cache
def fast_bfloat16(device: str) -> bool:
    """Whether bfloat16 convolutions beat float32 ones clearly: the device has units for them.

    Asked of the hardware, never timed: a plan decides the bytes of a result, and must not depend
    on what else runs.
    """
    if device.startswith("cuda"):
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    units = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name, bool)()) for name in units)


def exact_plan(device: str = "cpu", threads: int | None = None, dtype: str = "float32") -> Plan:
    """The reference that every other plan is compared with: eager, one class at a time."""
    given = {
        "name": "exact",
        "device": device,
        "dtype": dtype,
        "real_dtype": dtype,
        "update_dtype": dtype,
        "threads": threads or default_threads(),
    }
    plan: Plan = make(Plan, given, "plan")
    return plan


def automatic(device: str, threads: int, shape: tuple[int, int, int], images: float) -> Plan:
    """The plan for a device and an amount of work.

    Args:
        device: torch device.
        threads: CPU threads.
        shape: C, H, W of an image.
        images: images that will pass through the network, gradients counted twice.
    """
    pixels = shape[1] * shape[2]
    gpu = device.startswith("cuda")
    chunk = max(4, _GPU_PIXELS // pixels) if gpu else cached_chunk(threads, pixels)
    pays = images * pixels / 1024 >= COMPILE_PAYS
    compiles = pays and not gpu and has_compiler(device)
    half = fast_bfloat16(device)
    return Plan(
        name="auto",
        device=device,
        real_dtype="bfloat16" if half else "float32",
        update_dtype="bfloat16" if half and compiles else "float32",
        chunk=chunk,
        together=gpu,
        # Recorded calls need no compiling, which costs more on a GPU than most runs.
        compile=compiles,
        graphs=gpu,
        # Eager instance norm has a slow path for channels-last maps.
        channels_last=compiles,
        tf32=gpu,
        threads=threads,
        memory_gb=_memory_gb(device),
    )


def cached_chunk(threads: int, pixels: int) -> int:
    """Images of so many pixels that go through a network together on some threads of a CPU.

    >>> cached_chunk(2, 32 * 32)
    64
    """
    return max(4, _CACHE_PIXELS * min(threads, _SHARING) // pixels)


def _memory_gb(device: str) -> float:
    """A quarter of the device's memory, in whole GB, at least 1."""
    if device.startswith("cuda"):
        total = torch.cuda.get_device_properties(device).total_memory
    elif hasattr(os, "sysconf"):
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    else:
        return 2.0
    return float(max(1, min(int(total / 4 / 2**30), 4 if device == "cpu" else 64)))


def passes_in(
    minutes: float | None, images: float, shape: tuple[int, int, int], threads: int | None
) -> float:
    """The images that pass through a network in a time on a CPU, and no more than there are.

    A plan is made for these: a run of a few minutes had better not compile for one of them. It
    is a rule about machines in general, so that a plan does not depend on the load.

    Args:
        minutes: the time; no limit where it is None.
        images: that there are.
        shape: C, H, W of an image.
        threads: CPU threads; those of a plan by default.
    """
    if minutes is None:
        return images
    each = _A_MINUTE * 1024 / (shape[1] * shape[2])
    # Compiling takes as long however many threads there are: more make it pay no sooner.
    return min(images, minutes * each * min(threads or default_threads(), _COMPILING))


def choose_plan(
    plan: str | Plan,
    *,
    shape: tuple[int, int, int],
    images: float,
    device: str | None = None,
    threads: int | None = None,
) -> Plan:
    """``auto``, ``exact``, a YAML file of :class:`Plan` fields, or a plan itself."""
    if isinstance(plan, Plan):
        return plan
    if threads is not None and threads < 1:
        raise UsageError(f"--threads must be at least 1, got {threads}")
    if threads is not None and threads > _MOST:
        raise UsageError(f"--threads must be at most {_MOST}, got {threads}")
    where = device or default_device()
    _check_device(where)
    cores = threads or default_threads()
    if plan == "auto":
        return automatic(where, cores, shape, images)
    if plan == "exact":
        return exact_plan(where, cores)
    if Path(plan).suffix in (".yaml", ".yml"):
        given = {"name": Path(plan).stem, "device": where, "threads": cores}
        flags = {"device": device, "threads": threads}
        typed = {name: value for name, value in flags.items() if value is not None}
        content = {**given, **read_yaml(Path(plan), "plan"), **typed}
        return make(Plan, content, "plan")  # type: ignore[no-any-return]
    raise UsageError(f"--plan must be auto, exact or a .yaml file, got '{plan}'")


#: Devices that people name otherwise, or that are not supported.
_OTHER_WORDS = {
    "gpu": "an NVIDIA GPU is called cuda",
    "mps": "Apple's GPUs are not; use cpu",
    "metal": "Apple's GPUs are not; use cpu",
    "tpu": "use cpu, cuda or cuda:N",
}


def check_place(plan: str | Plan, device: str | None, threads: int | None) -> None:
    """Raise if a plan cannot be run here, before any data are read.

    Raises:
        UsageError: naming the option.
    """
    choose_plan(plan, shape=(1, 8, 8), images=0.0, device=device, threads=threads)


def _check_device(device: str) -> None:
    """Raise if plans are not made for a device, or it is not available."""
    found = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if found is None:
        known_as = _OTHER_WORDS.get(device.lower(), "use cpu, cuda or cuda:N")
        raise UsageError(f"device '{device}' is not supported; {known_as}")
    if device != "cpu" and int(found[1] or 0) >= torch.cuda.device_count():
        raise UsageError(f"device '{device}' is not available here; use --device cpu")
