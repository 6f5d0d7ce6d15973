"""Sets in a notebook and on paper: a line, a page, a figure."""

from __future__ import annotations

import base64
import html
import io
from typing import Any

from condensery.utils.plotting import pyplot
from condensery.utils.text import plural, shape_text, size_text

from .picture import Drawn, picture, visible

#: The largest side of a picture that goes into a page or a figure, in pixels.
_SIDE = 1200
#: Inches of a figure for an image.
_INCHES = 0.8


def line(condensed: Drawn) -> str:
    """One line: how much, of what, made by what."""
    about = condensed.about
    each = f"{about.ipc} per class in {plural(len(about.class_names), 'class', 'classes')}"
    images = plural(len(condensed), "image")
    shape = shape_text(tuple(condensed.images.shape[1:]))
    return f"CondensedSet({images} of {shape}, {each}, by {about.method} from {about.source.name})"


def page(condensed: Drawn) -> str:
    """HTML for notebooks: the line, the size, and the picture."""
    sheet = picture(condensed)
    sheet.thumbnail((_SIDE, _SIDE))
    held = io.BytesIO()
    sheet.save(held, format="PNG")
    content = base64.b64encode(held.getvalue()).decode()
    about = condensed.about
    names = ", ".join(about.class_names[:20]) + (", …" if len(about.class_names) > 20 else "")
    size = f"{size_text(condensed.stored_bytes)} for {size_text(about.source.bytes)}"
    return (
        f"<div><p><code>{html.escape(line(condensed))}</code><br>{size}; rows: "
        f"{html.escape(names)}</p>"
        f'<img alt="the set, a row per class" src="data:image/png;base64,{content}"></div>'
    )


def figure(condensed: Drawn, title: str | None = None, *, most: int = 10) -> Any:
    """A matplotlib figure: a row per class with its name, at most ``most`` images of each.

    Spectrograms have a colour map; of recordings, low frequencies are at the bottom.

    Args:
        condensed: what is drawn.
        title: above it; by default what the set is.
        most: images of a class that are drawn, and classes.

    Raises:
        UsageError: where matplotlib is not installed.
    """
    plt = pyplot()
    about, pixels = condensed.about, visible(condensed).clamp(0, 1)  # one scale for all images
    classes = min(len(about.class_names), most)
    each = len(condensed) // len(about.class_names)
    shown = min(each, most)
    drawn, axes = plt.subplots(
        classes, shown, squeeze=False, figsize=(1.5 + _INCHES * shown, 0.6 + _INCHES * classes)
    )
    sound = about.config.get("sample_rate") is not None
    for row in range(classes):
        for column in range(shown):
            place, image = axes[row][column], pixels[row * each + column]
            one = image[0] if len(image) == 1 else image.permute(1, 2, 0)
            how = {"cmap": "magma", "origin": "lower"} if sound else {"cmap": "gray"}
            place.imshow(one.numpy(), interpolation="nearest", vmin=0, vmax=1, **how)
            place.set(xticks=[], yticks=[])
        axes[row][0].set_ylabel(about.class_names[row], rotation=0, ha="right", va="center")
    drawn.suptitle(title or f"{about.method}: {about.source.name}, {about.ipc} per class")
    drawn.tight_layout()
    return drawn
