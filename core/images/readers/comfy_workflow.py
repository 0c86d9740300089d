"""ComfyUI's other graph, the one its window draws, put into the form of its API. Imports no torch.

There a node has its values in a row without names. The names are known here for the nodes that
come with ComfyUI; of others the values are lost and the links kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from core.images.loose_json import as_int, as_list, as_object, as_text
from core.images.readers.comfy_graph import LONGEST_KIND, MOST_NODES, Graph, Link, Node

_AFTER = "control_after_generate"
_VALUES = {
    "KSampler": ("seed", _AFTER, "steps", "cfg", "sampler_name", "scheduler", "denoise"),
    "KSamplerAdvanced": (
        "add_noise",
        "noise_seed",
        _AFTER,
        "steps",
        "cfg",
        "sampler_name",
        "scheduler",
        "start_at_step",
        "end_at_step",
        "return_with_leftover_noise",
    ),
    "SamplerCustom": ("add_noise", "noise_seed", _AFTER, "cfg"),
    "CLIPTextEncode": ("text",),
    "CLIPTextEncodeSDXL": (
        "width",
        "height",
        "crop_w",
        "crop_h",
        "target_width",
        "target_height",
        "text_g",
        "text_l",
    ),
    "CLIPSetLastLayer": ("stop_at_clip_layer",),
    "CheckpointLoaderSimple": ("ckpt_name",),
    "CheckpointLoader": ("config_name", "ckpt_name"),
    "UNETLoader": ("unet_name", "weight_dtype"),
    "LoraLoader": ("lora_name", "strength_model", "strength_clip"),
    "LoraLoaderModelOnly": ("lora_name", "strength_model"),
    "VAELoader": ("vae_name",),
    "RescaleCFG": ("multiplier",),
    "LatentUpscale": ("upscale_method", "width", "height", "crop"),
    "LatentUpscaleBy": ("upscale_method", "scale_by"),
    "EmptyLatentImage": ("width", "height", "batch_size"),
    "EmptySD3LatentImage": ("width", "height", "batch_size"),
    "LoadImage": ("image",),
    "KSamplerSelect": ("sampler_name",),
    "BasicScheduler": ("scheduler", "steps", "denoise"),
    "KarrasScheduler": ("steps", "sigma_max", "sigma_min", "rho"),
    "SDTurboScheduler": ("steps", "denoise"),
    "RandomNoise": ("noise_seed", _AFTER),
    "CFGGuider": ("cfg",),
    "PrimitiveNode": ("value",),
    "PrimitiveString": ("value",),
    "PrimitiveStringMultiline": ("value",),
    "PrimitiveInt": ("value",),
    "PrimitiveFloat": ("value",),
}
_NEVER, _BYPASSED = 2, 4
"""Modes of a node that is switched off, and of one that lets pass what comes in."""


def graph_of_workflow(workflow: Mapping[str, Any]) -> Graph:
    """Read such a graph; empty if it is none."""
    nodes = [as_object(node) for node in as_list(workflow.get("nodes"))]
    if len(nodes) > MOST_NODES:
        return {}
    links: dict[int, Link] = {}
    for link in as_list(workflow.get("links")):
        match link:
            case [int() as number, node, int() as output, *_] if isinstance(node, str | int):
                links[number] = Link(str(node), output)
    return {str(node.get("id")): _node(node, links) for node in nodes if node.get("mode") != _NEVER}


def _node(node: Mapping[str, Any], links: Mapping[int, Link]) -> Node:
    inputs: dict[str, Any] = {}
    kind = as_text(node.get("type"))[:LONGEST_KIND]
    values = node.get("widgets_values")
    if isinstance(values, dict):
        inputs |= values
    else:
        names = _VALUES.get(kind, ())
        inputs |= dict(zip(names, as_list(values), strict=False))
    for given in as_list(node.get("inputs")):
        slot = as_object(given)
        number = as_int(slot.get("link"))
        if number is not None and number in links:
            inputs[as_text(slot.get("name"))] = links[number]
    if node.get("mode") == _BYPASSED:
        return Node("Reroute", {k: v for k, v in inputs.items() if isinstance(v, Link)})
    return Node(kind, inputs)
