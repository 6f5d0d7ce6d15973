"""What is not Python travels with the package."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
FOLDERS = {
    "config/recipe_files": ".yaml",
    "training/protocol_files": ".yaml",
    "reproduction/published_numbers": ".csv",
    "config": ".yaml",
    "cli": ".json",
    "reports/templates": ".html",
}


def test_the_wheel_has_every_recipe_protocol_and_table(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as held:
        names = held.namelist()
    assert "condensery/py.typed" in names
    assert not [name for name in names if name.startswith("tests/")]
    counts = []
    for folder, ending in FOLDERS.items():
        own = {p.name for p in (ROOT / "src/condensery" / folder).glob(f"*{ending}")}
        start = f"condensery/{folder}/"
        below = [n.removeprefix(start) for n in names if n.startswith(start)]
        assert {name for name in below if name.endswith(ending) and "/" not in name} == own, folder
        counts.append(len(own))
    assert counts == [21, 5, 5, 3, 1, 1]
