"""kohya's sd-scripts: one plain text for each setting (``gen_img.py``). Imports no torch.

It shares the keyword ``prompt`` with ComfyUI, whose text is JSON.
"""

from __future__ import annotations

from core.images.foreign import Foreign
from core.images.loose_json import as_float, as_int, as_shown, json_object
from core.images.texts import Texts

_TAKEN = {"prompt", "negative-prompt", "steps", "scale", "sampler", "seed", "strength"}
_CHANGING = {"clip-prompt", "original-height", "original-width", "crop-top", "crop-left"}


def read(texts: Texts) -> Foreign | None:
    """Read its texts; None if the prompt stands alone or is JSON."""
    prompt = texts.get("prompt")
    if prompt is None or json_object(prompt) is not None or not {"steps", "seed"} & set(texts):
        return None
    return Foreign(
        source="sd-scripts",
        program="sd-scripts",
        prompt=prompt,
        negative_prompt=texts.get("negative-prompt", ""),
        steps=as_int(texts.get("steps")),
        sampler=texts.get("sampler", ""),
        guidance_scale=as_float(texts.get("scale")),
        seed=as_int(texts.get("seed")),
        strength=as_float(texts.get("strength")),
        unexpressed={key: as_shown(texts[key]) for key in sorted(_CHANGING & set(texts))},
    )
