"""Why a picture cannot be read, in a few words that help."""

from __future__ import annotations

import re

#: What a reader says → what it means and what helps.
_KNOWN = (
    (r"no known range", "floating numbers of no known range, so pass them as float32 arrays"),
    (r"exceeds limit of (\d+) pixels", "too many pixels to be safe, so make it smaller"),
    (r"cannot identify image file .*\.hei[cf]", "HEIC, which is not read, so convert it to JPEG"),
    (r"No such file", "only its path is given, and there is no such file here"),
    (r"truncated|Truncated", "torn"),
)


def reason(complaint: str) -> str:
    """A reader's complaint in words, empty where it says nothing that helps.

    >>> reason("image file is truncated (3 bytes not processed)")
    'torn'
    """
    return next((words for known, words in _KNOWN if re.search(known, complaint)), "")
