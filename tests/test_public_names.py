"""What programs import."""

from __future__ import annotations

import condensery

NAMES = {
    "CondensedSet",
    "Comparison",
    "Condenser",
    "Data",
    "DataError",
    "LabelledSet",
    "Result",
    "UsageError",
    "__version__",
    "compare",
    "condense",
    "evaluate",
    "export",
    "load",
    "load_sets",
    "select",
    "select_forgetting",
    "select_forgetting_toneva",
    "select_herding",
    "select_k_center",
    "select_kmeans",
    "select_nearest",
    "select_random",
    "select_rded",
}


def test_public_names() -> None:
    assert set(condensery.__all__) == NAMES
    for name in NAMES:
        found = getattr(condensery, name)
        assert name == "__version__" or found.__name__ == name
