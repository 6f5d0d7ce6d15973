"""Why a picture cannot be read, in a few words that help."""

from __future__ import annotations

import re

from condensery.utils.bounds import LINKS_VARIABLE

#: What a reader says → what it means and what helps.
_KNOWN = (
    (r"no known range", "floating numbers of no known range, so pass them as float32 arrays"),
    (r"exceeds limit of (\d+) pixels", "too many pixels to be safe, so make it smaller"),
    (
        r"pillow-heif",
        "HEIC, which needs the pillow-heif library: pip install 'condensery[heic]', or convert "
        "it to JPEG",
    ),
    (
        r"is a link out of",
        f"a link out of the folder; copy the file, or set {LINKS_VARIABLE}=1 if you made it",
    ),
    (r"No such file", "only its path is given, and there is no such file here"),
    (r"truncated|Truncated", "torn"),
)


def reason(complaint: str) -> str:
    """A reader's complaint in words, empty where it says nothing that helps.

    >>> reason("image file is truncated (3 bytes not processed)")
    'torn'
    """
    return next((words for known, words in _KNOWN if re.search(known, complaint)), "")
