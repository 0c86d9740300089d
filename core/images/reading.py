"""Start pictures: any picture a person may have, as the pixels that a run starts from.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from core.errors import InvalidRequest
from core.events import Pixels

FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF")
"""What is opened. Pillow knows more, some of which run other programs (EPS)."""

LARGEST = 89_478_485
"""Pixels above which a picture is refused before it is decoded: Pillow's own default limit."""

BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    EOFError,
    LookupError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's readers raise on damaged files, by the look of them and of its own ``open``."""


def read_start_image(path: Path, width: int, height: int) -> Pixels:
    """Read a picture, upright and opaque, scaled and cropped to cover a size.

    The camera's orientation is applied, transparency is laid over white, greys, palettes, CMYK,
    16 bits and other colour spaces become 8-bit sRGB. The picture is scaled with a Lanczos filter
    until it covers the size; what stands over is cut off evenly on both sides. The first frame of
    several is taken.

    Args:
        path: A picture of one of ``FORMATS``.
        width: In pixels, at least 1.
        height: In pixels, at least 1.

    Returns:
        ``(H, W, 3) uint8``.

    Raises:
        InvalidRequest: Of ``init_image``, if there is no such file or it is no whole picture, or
            one so large that decoding it could exhaust the memory.
    """
    return np.array(fit(read_picture(path, field="init_image"), width, height))


def read_picture(path: Path, *, field: str) -> Image.Image:
    """Read a picture, upright and opaque, in 8-bit sRGB, at its own size.

    Raises:
        InvalidRequest: Of ``field``, as ``read_start_image``.
    """
    with open_picture(path, field=field) as picture:
        return opaque_rgb(ImageOps.exif_transpose(picture))


def size_of(path: Path, *, field: str) -> tuple[int, int]:
    """Read a picture's width and height, upright, without decoding its pixels.

    Raises:
        InvalidRequest: Of ``field``, if it cannot be opened.
    """
    with open_picture(path, field=field) as picture:
        # Orientations 5 to 8 lie on their side (EXIF 2.3, tag 0x0112).
        sideways = picture.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
        return (picture.height, picture.width) if sideways else picture.size


def fit(image: Image.Image, width: int, height: int) -> Image.Image:
    """Scale a picture with a Lanczos filter to cover a size, and crop what stands over evenly."""
    return ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS)


def sha256_of(path: Path, *, field: str = "init_image") -> str:
    """Hash a picture's file.

    Returns:
        SHA-256 of its bytes, 64 hex digits.

    Raises:
        InvalidRequest: Of ``field``, if it cannot be read.
    """
    check_is_file(path, field=field)
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise unreadable(path, field, error) from error


@contextmanager
def open_picture(path: Path, *, field: str) -> Iterator[Image.Image]:
    """Open a picture that may be anything; it is decoded when its pixels are first asked for.

    Args:
        path: A file of one of ``FORMATS``.
        field: The setting that an error names.

    Raises:
        InvalidRequest: As it cannot be opened, or decoded within the ``with``.
    """
    check_is_file(path, field=field)
    # Pillow refuses by itself only what is twice above its pixel limit and warns of the rest
    # (https://pillow.readthedocs.io/en/stable/reference/Image.html#PIL.Image.open); damaged EXIF
    # data warns too, and does not matter here.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            with Image.open(path, formats=FORMATS) as picture:
                yield picture
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise InvalidRequest(
                field, f"{path} has more than {LARGEST // 10**6} million pixels; scale it down."
            ) from error
        except UnidentifiedImageError as error:
            raise InvalidRequest(
                field, f"{path} is not a picture that can be read; save it as PNG or JPEG first."
            ) from error
        except BROKEN as error:
            raise InvalidRequest(
                field, f"{path} cannot be read to the end ({error}); save it anew as PNG or JPEG."
            ) from error


def check_is_file(path: Path, *, field: str) -> None:
    """Refuse what is no ordinary file; opening a pipe would wait for ever.

    Raises:
        InvalidRequest: Naming ``field``.
    """
    try:
        if path.is_file():
            return
        exists = path.exists()
    except OSError as error:
        raise unreadable(path, field, error) from error
    what = "is not a file" if exists else "does not exist"
    raise InvalidRequest(field, f"{path} {what}; give the path of a picture.")


def unreadable(path: Path, field: str, error: OSError) -> InvalidRequest:
    """Say in one sentence why a file cannot be opened."""
    reason = error.strerror or error
    return InvalidRequest(field, f"{path} cannot be opened ({reason}); choose another file.")


def opaque_rgb(image: Image.Image, background: str = "white") -> Image.Image:
    """Give the picture as 8-bit sRGB, what is transparent laid over a colour."""
    profile: bytes | None = image.info.get("icc_profile")
    if image.mode.startswith("I"):
        # 16-bit greys; Pillow's own conversion would clip instead of scale them.
        greys = np.clip(np.asarray(image, dtype=np.int32), 0, 65535)
        return Image.fromarray(((greys + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, background), rgba)
    if image.mode != "CMYK":
        image = image.convert("RGB")
    return _in_srgb(image, profile).convert("RGB")


def _in_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Bring colours of another space, such as a phone's Display P3, into sRGB.

    A profile that is damaged or for other kinds of pixels changes nothing.
    """
    if not profile:
        return image
    try:
        source = ImageCms.ImageCmsProfile(BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(image, source, target, outputMode="RGB") or image
    except (ImageCms.PyCMSError, OSError, ValueError):
        return image
