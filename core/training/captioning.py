"""Captions for a folder of pictures, written beside them. Imports no torch until it begins."""

from __future__ import annotations

import time
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

from core.errors import DatasetInvalid, InvalidRequest
from core.events import Loading
from core.images.reading import read_picture
from core.models.names import Resolver, no_names
from core.training.caption_events import Captioned, CaptionEvent, CaptionsDone, PassedOver
from core.training.caption_models import find_captioner
from core.training.caption_request import CaptionRequest
from core.training.captions import (
    caption_path,
    picture_folders,
    picture_paths,
    read_caption,
    write_caption,
)

if TYPE_CHECKING:
    from PIL import Image

    from core.training.captioner import Captioner


def write_captions(
    request: CaptionRequest, named: Resolver = no_names
) -> Generator[CaptionEvent, None, None]:
    """Write a caption beside each picture of a folder; the last event is ``CaptionsDone``.

    Each is on the disk, whole, before its event comes; closing the iterator loses none. The model
    is loaded when the first picture needs it.

    Args:
        request: What to do.
        named: Knows the names of captioners in the library.

    Raises:
        DatasetInvalid: If the folder has no picture, or none that can be read.
        InvalidRequest: If no model is named, or the prefix is too long.
        ModelMissing: If the model is not on this machine.
        ModelInvalid: If its files are damaged or not those of a captioner.
        UnsafeFile: If its weights are a pickle that asks for more than tensors.
        Unsupported: If this machine has no such device.
        OutOfMemory: If the device has not enough for it.
        SaveFailed: If a caption cannot be written.
    """
    began = time.monotonic()
    pictures = [path for place in picture_folders(request.folder) for path in picture_paths(place)]
    if not pictures:
        raise DatasetInvalid(f"{request.folder} holds no pictures; give the folder that does.")
    model = find_captioner(request.model, named)
    captioner: Captioner | None = None
    owners: dict[Path, Path] = {}
    written, reasons = 0, []
    for index, picture in enumerate(pictures, 1):
        total, start = len(pictures), time.monotonic()
        try:
            found = _look_at(picture, owners, overwrite=request.overwrite)
        except (InvalidRequest, DatasetInvalid) as error:
            reasons.append(error.reason if isinstance(error, InvalidRequest) else str(error))
            yield PassedOver(picture=picture, reason=reasons[-1], index=index, total=total)
            continue
        if isinstance(found, str):
            caption = found
        else:
            if captioner is None:
                yield Loading(what=f"the captioner {request.model}")
                captioner = _load(model, request)
                start = time.monotonic()
            caption = request.settings.finished(captioner.describe(found, request.settings))
            write_caption(picture, caption)
            written += 1
        yield Captioned(
            picture=picture,
            path=caption_path(picture),
            caption=caption,
            kept=isinstance(found, str),
            index=index,
            total=total,
            seconds=time.monotonic() - start,
        )
    if len(reasons) == len(pictures):
        raise DatasetInvalid(
            f"None of the pictures in {request.folder} can be used ({len(reasons)}); the first: "
            f"{reasons[0]}"
        )
    yield CaptionsDone(
        written=written,
        kept=len(pictures) - written - len(reasons),
        passed_over=len(reasons),
        seconds=time.monotonic() - began,
    )


def _look_at(picture: Path, owners: dict[Path, Path], *, overwrite: bool) -> str | Image.Image:
    """Give the caption that a picture has and keeps, or else the picture, to write one for.

    Args:
        picture: Its file.
        owners: The captions seen so far with their pictures; it is added.
        overwrite: Whether no caption is kept.

    Raises:
        DatasetInvalid: Its caption is another picture's too, or is no text.
        InvalidRequest: It cannot be read.
    """
    path = caption_path(picture)
    other = owners.setdefault(path, picture)
    if other != picture:
        raise DatasetInvalid(
            f"{picture} would share {path.name} with {other.name}; rename one of the two."
        )
    if not overwrite and (caption := read_caption(picture)):
        return caption
    return read_picture(picture, field="picture")


def _load(model: Path, request: CaptionRequest) -> Captioner:
    from core.device import resolve_device
    from core.models.torchvision_import import mend_torchvision

    mend_torchvision()
    from core.training.captioner import load_captioner

    return load_captioner(model, resolve_device(request.device))
