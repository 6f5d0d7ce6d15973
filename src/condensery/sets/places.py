"""Where sets lie in a folder."""

from __future__ import annotations

from pathlib import Path

from condensery.errors import DataError

#: The file's name in a run folder.
FILE = "condensed.safetensors"


def set_file(path: Path) -> Path:
    """The file of a set: itself, or the one in a run folder."""
    if path.is_dir():
        file = path / FILE
        if not file.exists():
            raise DataError(f"{path} has no {FILE}: {_what_instead(path)}")
        return file
    if not path.exists():
        raise DataError(f"{path} does not exist; name a run folder or a .safetensors file")
    return path


def _what_instead(folder: Path) -> str:
    if (folder / "recipe.yaml").exists():
        return "the run is unfinished; finish it, or name a file in its checkpoints folder"
    if (folder / "0").is_dir():
        return f"it holds several sets; name one of them, such as {folder / '0'}"
    return "name the folder of a run, or a .safetensors file"


def places_of_sets(path: str | Path) -> list[Path]:
    """Where the sets of :func:`load_sets` lie; the path itself where it holds a single one."""
    folder = Path(path)
    if folder.is_dir() and not (folder / FILE).exists():
        numbered = sorted(
            (p for p in folder.iterdir() if p.name.isascii() and p.name.isdigit()),
            key=lambda p: int(p.name),
        )
        if numbered:
            return numbered
    return [folder]
