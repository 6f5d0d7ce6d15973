"""One recording: encoded bytes or a file in; one channel of samples in −1 … 1 out."""

from __future__ import annotations

import io
import struct
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from condensery.errors import DataError
from condensery.utils.reading import regular

from .images import Content, UnreadableError

Samples = NDArray[np.float64]
"""One channel, −1 … 1; floating formats may go beyond."""

EXTENSIONS = frozenset(
    f".{kind}"
    for kind in ("wav", "wave", "flac", "ogg", "oga", "opus", "mp3", "aif", "aiff", "au", "m4a")
)
"""File names that are taken for recordings in a folder."""

_WAV = (b"RIFF", b"RIFX", b"RF64")
_OTHERS = {
    b"fLaC": "FLAC",
    b"OggS": "Ogg",
    b"FORM": "AIFF",
    b".snd": "AU",
    b"ID3": "MP3",
    b"\xff\xfb": "MP3",
    b"\xff\xf3": "MP3",
    b"\xff\xf2": "MP3",
}
_CODECS = {0x02: "ADPCM", 0x06: "A-law", 0x07: "mu-law", 0x11: "IMA ADPCM", 0x55: "MP3"}
_PLAIN = (0x01, 0x03)  # integers and floating numbers, which scipy reads
_EXTENSIBLE = 0xFFFE
_OPEN_END = 0x7FFF0000  # programs that write to a pipe declare such a length, or a larger one
_RATES = (1000, 768_000)


def samples(content: Content, name: str) -> tuple[Samples, int]:
    """Decode one recording; channels are averaged.

    Args:
        content: encoded bytes, a path, or an exception that says that there is nothing.
        name: what messages call it.

    Returns:
        The samples, and how many of them make a second.

    Raises:
        UnreadableError: when there is no sound in it.
        DataError: when it is of a kind that cannot be decoded here, with the remedy.
    """
    if isinstance(content, Exception):
        raise UnreadableError(str(content)) from content
    try:
        raw = content if isinstance(content, bytes) else _bytes(content)
    except OSError as error:
        raise UnreadableError(error.strerror or "cannot be opened") from error
    if not raw:
        raise UnreadableError("empty")
    x, rate = _decoded(raw, name)
    if not x.size:
        raise UnreadableError("no samples")
    if not _RATES[0] <= rate <= _RATES[1]:
        raise UnreadableError(f"{rate} samples per second, by its header")
    mono = x.mean(axis=1) if x.ndim == 2 else x
    if not np.isfinite(mono).all():
        raise UnreadableError("NaN or an infinite value")
    return mono, rate


def _bytes(content: Any) -> bytes:
    raw: bytes = regular(content).read_bytes()
    return raw


def _decoded(raw: bytes, name: str) -> tuple[NDArray[np.float64], int]:
    """Samples, n or n×channels, and their rate."""
    if raw.startswith(_WAV):
        codec = _codec(raw)
        if codec in (None, *_PLAIN):
            return _wav(raw)
        kind = f"a WAV file of codec {_CODECS.get(codec or 0, f'0x{codec:04x}')}"
    else:
        kind = next((k for magic, k in _OTHERS.items() if raw.startswith(magic)), "")
        if not kind and raw[4:8] == b"ftyp":
            kind = "MP4"
        if not kind:
            raise UnreadableError("no recording")
    return _by_soundfile(raw, name, kind)


def _codec(raw: bytes) -> int | None:
    """The format tag of a WAV file; nothing where there is none."""
    order = ">H" if raw.startswith(b"RIFX") else "<H"
    at = raw.find(b"fmt ", 12)
    if at < 0:
        return None
    try:
        (tag,) = struct.unpack_from(order, raw, at + 8)
        if tag == _EXTENSIBLE:
            (tag,) = struct.unpack_from(order, raw, at + 32)
    except struct.error:
        return None
    return int(tag)


def _wav(raw: bytes) -> tuple[NDArray[np.float64], int]:
    from scipy.io import wavfile

    declared = int.from_bytes(raw[4:8], "little") + 8
    # A file may lack the byte that makes its length even.
    if raw.startswith(b"RIFF") and len(raw) + 1 < declared < _OPEN_END:
        raise UnreadableError("torn")
    try:
        with warnings.catch_warnings():
            # Remarks on chunks that hold no sound would say nothing that a reader could act on.
            warnings.simplefilter("ignore")
            rate, x = wavfile.read(io.BytesIO(raw))
    except MemoryError:
        raise
    except Exception as error:  # scipy raises errors of many kinds for a damaged file
        raise UnreadableError("damaged") from error
    if x.dtype == np.uint8:
        return (x.astype(np.float64) - 128) / 128, int(rate)
    if x.dtype.kind == "i":
        # Fewer bits than the type has are on its left.
        return x.astype(np.float64) / 2.0 ** (8 * x.dtype.itemsize - 1), int(rate)
    return x.astype(np.float64), int(rate)


def _by_soundfile(raw: bytes, name: str, kind: str) -> tuple[NDArray[np.float64], int]:
    """Everything but plain WAV files, with an optional library."""
    try:
        import soundfile
    except (ImportError, OSError) as error:  # the second where the library it needs is missing
        raise DataError(
            f"'{name}' is {kind}, which needs the soundfile library: pip install soundfile, or "
            "convert the recordings to 16-bit PCM WAV"
        ) from error
    try:
        x, rate = soundfile.read(io.BytesIO(raw), dtype="float64")
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        if kind == "MP4" or kind.startswith("a WAV"):
            raise DataError(
                f"'{name}' is {kind}, which cannot be decoded; convert the recordings to 16-bit "
                "PCM WAV"
            ) from error
        raise UnreadableError("damaged") from error
    return np.asarray(x, dtype=np.float64), int(rate)
