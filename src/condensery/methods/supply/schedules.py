"""How often the pixels and the network take turns (DC, appendix A; the authors' programs)."""

from __future__ import annotations

#: Images per class → pixel steps per network (T) and epochs on the synthetic set after each (ζ).
PUBLISHED: dict[int, tuple[int, int]] = {
    1: (1, 1),
    10: (10, 50),
    20: (20, 25),
    30: (30, 20),
    40: (40, 15),
    50: (50, 10),
    100: (50, 10),
}
#: From here on nothing changes.
_LAST = max(PUBLISHED)


def fixed_schedule(ipc: int) -> tuple[int, int]:
    """T and ζ for a budget; between two published ones they are interpolated on a straight line.

    >>> fixed_schedule(10), fixed_schedule(15), fixed_schedule(500)
    ((10, 50), (15, 38), (50, 10))
    """
    ipc = min(ipc, _LAST)
    if ipc in PUBLISHED:
        return PUBLISHED[ipc]
    low = max(known for known in PUBLISHED if known < ipc)
    high = min(known for known in PUBLISHED if known > ipc)
    part = (ipc - low) / (high - low)
    steps, epochs = (
        round(a + part * (b - a)) for a, b in zip(PUBLISHED[low], PUBLISHED[high], strict=True)
    )
    return steps, epochs


def is_published(ipc: int) -> bool:
    """Whether the papers or their programs give a schedule for this budget."""
    return ipc in PUBLISHED or ipc > 50  # from 50 on the table stays as it is
