"""Devices: how much fits, and copying without waiting."""

from __future__ import annotations

import math
import os

import torch
from torch import Tensor

from condensery.errors import UsageError

#: Share of a device's free memory that a split's images may take, where nothing else is said.
DEVICE_SHARE = 0.5
#: The environment variable that says otherwise.
SHARE_VARIABLE = "CONDENSERY_DEVICE_SHARE"


def physical_memory() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    if not hasattr(os, "sysconf"):
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def device_share() -> float:
    """The share of a device's free memory that images may take: ``$CONDENSERY_DEVICE_SHARE``.

    Raises:
        UsageError: when the variable is not a number from 0 to 1.
    """
    text = os.environ.get(SHARE_VARIABLE)
    if not text:
        return DEVICE_SHARE
    try:
        share = float(text)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise UsageError(f"{SHARE_VARIABLE} must be a number from 0 to 1, got '{text}'")
    return share


def fits(nbytes: int, device: torch.device, share: float | None = None) -> bool:
    """Whether so many bytes of images may move to a device.

    Args:
        nbytes: bytes.
        device: where to; on a GPU what is free there counts, elsewhere the machine's memory.
        share: of that memory; :func:`device_share` by default.
    """
    share = device_share() if share is None else share
    if device.type == "cuda":
        return nbytes <= share * torch.cuda.mem_get_info(device)[0]
    memory = physical_memory()
    return share > 0 if memory is None else nbytes <= share * memory


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor on a device, copied without making the host wait where it can be."""
    if device.type == "cuda" and values.device.type == "cpu":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
