"""Pictures of sets with a scale, and with many classes in several columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from condensery.data.spectrograms import HOP, SIDE
from condensery.errors import UsageError
from condensery.utils.files import whole_file
from condensery.utils.text import plural

from .picture import GAP, LARGEST, MOST_COLUMNS, MOST_ROWS, Drawn, bare_picture, labelled

if TYPE_CHECKING:
    from PIL.Image import Image

#: A page is at most so many times as high as wide, where its classes allow it.
_TALL = 1.5
#: Pixels between two columns of classes, and of a line of words.
_GUTTER, _LINE = 12, 16


def annotated(condensed: Drawn) -> Image:
    """The decoded images with class names, a title and a scale.

    Many classes stand in several columns. The bar below is as long as an image is wide; of
    recordings the words beside it say seconds and hertz.
    """
    from PIL import Image as Pillow
    from PIL import ImageDraw, ImageFont

    about = condensed.about
    sheet = bare_picture(condensed)
    blocks = _blocks(sheet, about.class_names)
    title = f"{about.method}: {about.source.name}, {about.ipc} per class"
    if len(about.class_names) > MOST_ROWS:
        title += f", {MOST_ROWS} of {len(about.class_names)} classes"
    font = ImageFont.load_default()
    each = len(condensed) // len(condensed.stored)
    bar, scale = round((sheet.width - GAP) / min(each, MOST_COLUMNS)) - GAP, scale_of(condensed)
    width = sum(block.width + _GUTTER for block in blocks) - _GUTTER
    width = max(width, bar + 20 + int(font.getlength(scale)), 8 + 6 * len(title))
    height = max(block.height for block in blocks)
    page = Pillow.new(blocks[0].mode, (width, height + _LINE), "white")
    left = 0
    for block in blocks:
        page.paste(block, (left, 0))
        left += block.width + _GUTTER
    draw = ImageDraw.Draw(page)
    draw.text((4, 2), _latin(title), fill="black", font=font)
    middle = height + _LINE // 2 - 1
    draw.line((4, middle, 4 + bar, middle), fill="black")
    for end in (4, 4 + bar):
        draw.line((end, middle - 3, end, middle + 3), fill="black")
    draw.text((12 + bar, middle), scale, fill="black", font=font, anchor="lm")
    return page


def before_and_after(start: Drawn, end: Drawn) -> Image:
    """The start of a run beside its end: the same classes and places in both.

    Its longer side has about :data:`condensery.sets.picture.LARGEST` pixels at most.

    Raises:
        UsageError: for sets that do not show as many images of the same size.
    """
    from PIL import Image as Pillow

    about = end.about
    if start.images.shape != end.images.shape or start.about.class_names != about.class_names:
        raise UsageError(
            "the set before and the one after differ in classes, or in number or size of images; "
            "take both from one run"
        )
    half = LARGEST // 2
    words = plural(about.iterations, "iteration")
    title = f"{about.method}: {about.source.name}, {about.ipc} per class"
    sheets = [bare_picture(one) for one in (start, end)]
    for sheet in sheets:
        sheet.thumbnail((half, LARGEST))
    names = about.class_names[:MOST_ROWS]
    before = labelled(sheets[0], f"{title}: {_when(start)}", names)
    after = labelled(sheets[1], f"after {words}", [""] * len(names))
    page = Pillow.new(before.mode, (before.width + _GUTTER + after.width, before.height), "white")
    page.paste(before, (0, 0))
    page.paste(after, (before.width + _GUTTER, 0))
    return page


def _when(start: Drawn) -> str:
    done = start.about.iterations
    return f"after {plural(done, 'iteration')}" if done else "start"


def scale_of(condensed: Drawn) -> str:
    """What an image spans: pixels, or seconds and hertz of a recording.

    A spectrogram has 128 frames, one for 128 samples, of which the recording fills the first
    second, and frequencies up to half the sample rate.
    """
    height, width = condensed.images.shape[-2:]
    rate = condensed.about.config.get("sample_rate")
    if not isinstance(rate, int) or rate <= 0:
        return f"{width} px" if width == height else f"{width} px wide, {height} px high"
    return f"{HOP * SIDE / rate:.3g} s (sound: the first 1 s), bottom to top 0 to {rate / 2:g} Hz"


def save_annotated(
    condensed: Drawn, path: Path, *, plain: bool = False, before: Drawn | None = None
) -> None:
    """Write the picture as PNG.

    Args:
        condensed: what is drawn.
        path: of the file.
        plain: without names, title and scale.
        before: the set at its start, to be drawn beside it.
    """
    if before is not None:
        made = before_and_after(before, condensed)
    else:
        made = (bare_picture if plain else annotated)(condensed)
    with whole_file(path) as temporary:
        made.save(temporary, format="PNG")


def _blocks(sheet: Image, classes: Sequence[str]) -> list[Image]:
    """The sheet in as many columns of classes as make a page that can be looked at."""
    names = [_latin(name) for name in classes[:MOST_ROWS]]
    count = 1
    while True:
        each = -(-len(names) // count)
        made = []
        for first in range(0, len(names), each):
            held = names[first : first + each]
            top, bottom = (
                round(row * sheet.height / len(names)) for row in (first, first + len(held))
            )
            made.append(labelled(sheet.crop((0, top, sheet.width, bottom)), "", held))
        if each <= 10 or made[0].height <= _TALL * sum(block.width + _GUTTER for block in made):
            return made
        count += 1


def _latin(text: str) -> str:
    """Letters that the plain font has."""
    return text.encode("latin-1", "replace").decode("latin-1")
