"""One picture: encoded bytes, a file or a PIL image in; grey or RGB pixels of 8 bits out."""

from __future__ import annotations

import importlib
import io
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from condensery.utils.reading import regular

if TYPE_CHECKING:
    from PIL import Image

PixelArray: TypeAlias = NDArray[np.uint8]
"""H×W (grey) or H×W×3 (RGB)."""

Content: TypeAlias = "bytes | Path | Image.Image | PixelArray | Exception"
"""Where one picture's pixels come from; an exception says why there are none."""

EXTENSIONS = frozenset(
    f".{kind}"
    for kind in (
        *("png", "jpg", "jpeg", "jpe", "jfif", "jp2", "gif", "webp", "bmp", "tif", "tiff"),
        *("ppm", "pgm", "pbm", "pnm", "tga", "avif", "heic", "heif"),
    )
)
"""File names that are taken for pictures in a folder."""

#: The formats of these files. Pillow knows others, some of which start programs; the last one has
#: no mark of its own and is tried last. HEIF is there where the pillow-heif library registers it.
_FORMATS = (
    *("PNG", "JPEG", "JPEG2000", "GIF", "WEBP", "BMP", "TIFF", "PPM", "AVIF", "HEIF", "TGA"),
)


#: Marks of HEIC files after their first eight bytes.
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_IN_MEMORY = 2**26  # bytes of a file up to which it is read before it is decoded


class UnreadableError(Exception):
    """A picture, or a recording, that cannot be decoded."""


def pixels(content: Content, size: int | None) -> PixelArray:
    """Decode one picture.

    EXIF orientation is applied, transparency composited over white, 16 bits are scaled to 8. With
    ``size`` the middle square is brought to size×size, which keeps the aspect: shorter side to
    ``size``, then centre crop.

    Raises:
        UnreadableError: when there is no picture in it.
    """
    from PIL import Image

    if isinstance(content, np.ndarray):
        return content
    if isinstance(content, Exception):
        raise UnreadableError(str(content)) from content
    if isinstance(content, Image.Image):
        return _guarded(content, size)
    try:
        source = io.BytesIO(content) if isinstance(content, bytes) else _opened(content)
        Image.init()
        if "HEIF" not in Image.OPEN:
            _register_heif(source)
        with Image.open(source, formats=[f for f in _FORMATS if f in Image.OPEN]) as image:
            return _guarded(image, size)
    except (UnreadableError, MemoryError):
        raise
    except Exception as error:  # the decoders raise errors of many kinds, bombs among them
        raise UnreadableError(str(error)) from error


def _opened(path: Path) -> io.BytesIO | Path:
    """A file's bytes, or the path of a large one.

    A box of a damaged JPEG 2000 file may claim gigabytes, for which reading from a file makes room
    before it finds that there are not so many; reading from memory does not.
    """
    if regular(path).stat().st_size > _IN_MEMORY:
        return path
    return io.BytesIO(path.read_bytes())


def _register_heif(source: io.BytesIO | Path) -> None:
    """Let Pillow read HEIC where the first such picture comes.

    Raises:
        UnreadableError: when pillow-heif, which does it, is not installed.
    """
    if isinstance(source, Path):
        with source.open("rb") as file:
            head = file.read(12)
    else:
        head = source.getvalue()[:12]
    if head[4:8] != b"ftyp" or head[8:12] not in _HEIF:
        return
    try:
        heif: Any = importlib.import_module("pillow_heif")
    except ImportError as error:
        raise UnreadableError("HEIC needs pillow-heif") from error
    heif.register_heif_opener()


def _guarded(image: Image.Image, size: int | None) -> PixelArray:
    try:
        if size is not None and image.format == "JPEG":
            # The decoder may skip frequencies that the reduction would throw away.
            image.draft(None, (2 * size, 2 * size))
        flat = flatten(image)
        return np.asarray(flat if size is None else _square(flat, size))
    except MemoryError:
        raise
    except Exception as error:  # as above
        raise UnreadableError(str(error)) from error


def flatten(image: Image.Image) -> Image.Image:
    """An upright, opaque image of mode ``L`` or ``RGB``."""
    image = _upright(image)
    if image.mode in ("L", "RGB") and "transparency" not in image.info:
        return image
    if image.mode.startswith("I") or image.mode == "F":
        return _eight_bits(image)
    grey = image.mode in ("1", "L", "LA", "La")
    if "A" in image.getbands() or "a" in image.getbands() or "transparency" in image.info:
        return _over_white(image, grey)
    return image.convert("L" if grey else "RGB")


def _upright(image: Image.Image) -> Image.Image:
    """Turned as its EXIF data say; where these are damaged it stays as it is."""
    from PIL import ImageOps

    image.load()  # what is wrong with the picture itself is an error
    try:
        return ImageOps.exif_transpose(image)
    except MemoryError:
        raise
    except Exception:  # a damaged directory of EXIF data raises errors of many kinds
        return image


def _eight_bits(image: Image.Image) -> Image.Image:
    """16 bits to 8, scaled; PIL's own conversion would clip everything above 255."""
    from PIL import Image

    values = np.asarray(image)
    if image.mode == "F" or values.min() < 0 or values.max() > 65535:
        raise ValueError(f"pixels of mode {image.mode} have no known range; pass float32 arrays")
    return Image.fromarray(np.rint(values / 257).astype(np.uint8))


def _over_white(image: Image.Image, grey: bool) -> Image.Image:
    from PIL import Image

    if image.mode == "1":
        image = image.convert("L")  # PIL has no way from 1 to LA
    layered = image.convert("LA" if grey else "RGBA")
    mode = "L" if grey else "RGB"
    white = Image.new(mode, image.size, "white")
    white.paste(layered.convert(mode), mask=layered.getchannel("A"))
    return white


def _square(image: Image.Image, size: int) -> Image.Image:
    from PIL import Image, ImageOps

    if image.size == (size, size):
        return image
    return ImageOps.fit(image, (size, size), method=Image.Resampling.BICUBIC)


def as_channels(array: PixelArray, channels: int) -> PixelArray:
    """H×W or H×W×3 → channels×H×W; colour becomes grey by ITU-R 601 luma."""
    if channels == 3:
        if array.ndim == 2:
            return np.broadcast_to(array, (3, *array.shape))
        return np.moveaxis(array, 2, 0)
    if array.ndim == 3:
        from PIL import Image

        array = np.asarray(Image.fromarray(array).convert("L"))
    return array[None]


def is_picture(value: Any) -> bool:
    """Whether a value is a PIL image, without importing PIL where nobody did."""
    return any(c.__module__ == "PIL.Image" for c in type(value).__mro__)
