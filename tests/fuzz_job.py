"""Damaged files by hypothesis, read under limits; started by ``test_fuzz``, in its own process."""

from __future__ import annotations

import random
import resource
import shutil
import sys
from pathlib import Path

import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from fuzzing import EDITS, ODD, VALUED, Watch, edited, make_seeds, outcome, readers, with_value

#: Bytes beyond what the process has before the first damaged file, and CPU-seconds in all.
ROOM, CPU = 2 * 2**30, 120

_PLAIN = st.one_of(
    st.sampled_from(ODD),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.recursive(st.none(), lambda below: st.lists(below, max_size=3), max_leaves=5),
)
_EDITS = st.lists(
    st.tuples(st.sampled_from(EDITS), st.floats(0, 1), st.integers(0, 2**64 - 1)),
    min_size=1,
    max_size=6,
)


def main(work: Path, examples: int) -> None:
    """Read this many files; raise for the first one that is neither read nor rejected."""
    torch.set_num_threads(1)
    data = make_seeds(work / "seeds")
    kinds = readers(work / "seeds", data)
    place, watch = work / "read", Watch(work)

    def check(name: str, raw: bytes) -> None:
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir()
        (place / name).write_bytes(raw)
        watch.on, watch.incidents = True, []
        found, why = outcome(kinds[name], place / name)
        watch.on = False
        assert found in ("read", "rejected"), f"{name}: {found}: {why}"
        assert not watch.incidents, f"{name}: {watch.incidents}"

    for name in kinds:
        check(name, (work / "seeds" / name).read_bytes())
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU, CPU))
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large]
    few = settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=checks,
        phases=(Phase.generate,),
    )

    @few
    @given(st.sampled_from(sorted(kinds)), _EDITS)
    def bytes_are_damaged(name: str, edits: list[tuple[str, float, int]]) -> None:
        check(name, edited((work / "seeds" / name).read_bytes(), edits))

    @few
    @given(st.sampled_from(VALUED), st.floats(0, 1), _PLAIN, st.booleans())
    def a_value_is_replaced(name: str, where: float, value: object, rename: bool) -> None:
        raw = (work / "seeds" / name).read_bytes()
        check(name, with_value(name, raw, where, value, rename=rename))

    random.seed(0)
    bytes_are_damaged()
    a_value_is_replaced()
    print(f"{2 * examples} files", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
