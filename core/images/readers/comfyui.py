"""ComfyUI: the graph of nodes that made the picture. Imports no torch.

PNG has the graph as it ran under ``prompt`` and as it was drawn under ``workflow``; WebP has both
in EXIF texts that begin with the same words (``comfy_extras/nodes_images.py``). The settings are
those of the sampler that began from an empty latent or a picture; samplers behind it are passes
over its result. One that does the same once more to the latents made larger is a second pass.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass

from core.images import exif_text
from core.images.foreign import Foreign, UsedEmbedding, UsedLora, UsedSecondPass
from core.images.loose_json import as_float, as_int, as_object, as_shown, as_text, json_object
from core.images.notations import Notation, embeddings_in
from core.images.readers.comfy_graph import (
    FARTHEST,
    Graph,
    Link,
    Node,
    read_graph,
    upstream,
    value_of,
)
from core.images.readers.comfy_workflow import graph_of_workflow
from core.images.texts import Texts

_LATENT = ("latent_image", "latent", "samples", "optional_latent")
_MODEL_INPUTS = ("model", "model1", "basic_pipe", "guider", "lora_stack", "")
_MOST_ENDS = 32
"""Nodes that keep or show a picture, of which the first ones are asked."""

_MODEL_NAMES = ("ckpt_name", "unet_name", "model_name", "base_ckpt_name")
_TEXT_INPUTS = ("text", "text_g", "text_l", "t5xxl", "clip_l", "prompt", "string", "wildcard_text")
_CONDITIONING = re.compile(r"(?i)(conditioning|cond|positive|negative|guider|text|string).*|")
_UNDERSTOOD = re.compile(
    r"KSampler.*|SamplerCustom.*|CLIPTextEncode(SDXL)?|CheckpointLoader(Simple)?|UNETLoader|"
    r"LoraLoader(ModelOnly)?|Power Lora Loader.*|VAELoader|VAEDecode.*|Empty.*LatentImage|"
    r"LoadImage|VAEEncode|SaveImage|PreviewImage|SaveAnimated\w+|BasicScheduler|KarrasScheduler|"
    r"SDTurboScheduler|RandomNoise|CFGGuider|BasicGuider|Reroute.*|Primitive.*|CLIPSetLastLayer|"
    r"RescaleCFG|Note|CLIPLoader|DualCLIPLoader|ConditioningZeroOut|LatentUpscale.*|"
    r".*(Text|String|Seed|Number|Int|Float)\w*( \(\w+\))?"
)


def read(texts: Texts) -> Foreign | None:
    """Read a graph in any of its places; None if there is none, or it has no sampler."""
    for place in ("prompt", exif_text.MODEL, exif_text.MAKE, exif_text.IMAGE_DESCRIPTION):
        values = json_object(_after("prompt", texts.get(place, "")))
        if values is not None and (found := _foreign(read_graph(values))):
            return found
    both = json_object(texts.get(exif_text.USER_COMMENT)) or {}
    if (graph := read_graph(as_object(both.get("prompt")))) and (found := _foreign(graph)):
        return found
    drawn = [texts.get(place, "") for place in ("workflow", exif_text.MAKE, exif_text.MODEL)]
    for values in [*(json_object(_after("workflow", text)) for text in drawn), both]:
        workflow = as_object((values or {}).get("workflow")) or values or {}
        if found := _foreign(graph_of_workflow(workflow)):
            return found
    return None


def _after(word: str, text: str) -> str:
    return text.removeprefix(f"{word}:").removeprefix(word.capitalize() + ":")


@dataclass(frozen=True, slots=True)
class _Pass:
    """A sampler and what feeds it.

    Attributes:
        name: The node's name in the graph.
        node: The sampler.
        latent: What it starts from.
    """

    name: str
    node: Node
    latent: Link | None


def _is_sampler(node: Node) -> bool:
    if node.kind.startswith(("KSampler", "SamplerCustom")) and node.kind != "KSamplerSelect":
        return True
    return {"steps", "sampler_name", "positive", "negative"} <= set(node.inputs)


def _foreign(graph: Graph) -> Foreign | None:
    passes = _passes(graph)
    if not passes:
        return None
    first = passes[-1]
    guider = _linked(graph, first.node, "guider") or first.node
    sigmas = _linked(graph, first.node, "sigmas") or first.node
    positive = guider.link("positive") or guider.link("conditioning")
    prompts, understood = _texts(graph, positive)
    negatives, negative_understood = _texts(graph, guider.link("negative"))
    model_link = guider.link("model") or first.node.link("model")
    model, clip_skip, loras = _model(graph, model_link)
    width, height, picture, vae_kind = _start(graph, first.latent)
    denoise = as_float(value_of(graph, sigmas, "denoise"))
    second_pass = _second_pass(graph, passes)
    further = {} if second_pass else _further_passes(graph, passes)
    return Foreign(
        source="comfyui",
        program="ComfyUI",
        prompt=", ".join(prompts),
        negative_prompt=", ".join(negatives),
        notation=Notation.COMFYUI,
        steps=as_int(value_of(graph, sigmas, "steps")),
        sampler=as_text(_sampler_name(graph, first.node)),
        schedule=_schedule(graph, sigmas),
        guidance_scale=_guidance(graph, first.node, guider),
        guidance_rescale=_rescale(graph, model_link),
        seed=as_int(_seed(graph, first.node)),
        width=width,
        height=height,
        strength=denoise if picture or vae_kind else None,
        start_picture=picture,
        model=model,
        vae=_vae(graph),
        clip_skip=clip_skip,
        loras=loras,
        embeddings=tuple(
            UsedEmbedding(name=name)
            for name in embeddings_in(Notation.COMFYUI, *prompts, *negatives)
        ),
        second_pass=second_pass,
        unexpressed=further | _others(graph, first),
        notes=tuple(_notes(prompts, negatives, understood=understood and negative_understood)),
    )


def _passes(graph: Graph) -> list[_Pass]:
    """Give the samplers of the chain that made the picture, the last one first."""
    ends = [name for name, node in graph.items() if _is_end(node)]
    ends.sort(key=lambda name: not graph[name].kind.startswith("Save"))
    for end in ends[:_MOST_ENDS]:
        for name, node in upstream(graph, Link(end, 0)):
            if _is_sampler(node):
                return _chain(graph, name, node)
    samplers = [(name, node) for name, node in graph.items() if _is_sampler(node)]
    return _chain(graph, *samplers[-1]) if samplers else []


def _is_end(node: Node) -> bool:
    return re.match(r"(?i)save|preview|image ?save", node.kind) is not None


def _chain(graph: Graph, name: str, node: Node) -> list[_Pass]:
    passes = [_Pass(name, node, _latent(node))]
    seen = {name}
    for _ in range(FARTHEST):
        before = next(
            (
                (other, found)
                for other, found in upstream(graph, passes[-1].latent, _feeds_latent)
                if _is_sampler(found) and other not in seen
            ),
            None,
        )
        if before is None:
            break
        seen.add(before[0])
        passes.append(_Pass(*before, _latent(before[1])))
    return passes


def _latent(node: Node) -> Link | None:
    return next((link for name in _LATENT if (link := node.link(name))), None)


def _feeds_latent(name: str) -> bool:
    return name in (*_LATENT, "pixels", "image", "images", "latent1", "samples_to", "")


def _linked(graph: Graph, node: Node, name: str) -> Node | None:
    link = node.link(name)
    return graph.get(link.node) if link else None


def _sampler_name(graph: Graph, node: Node) -> object:
    chosen = _linked(graph, node, "sampler")
    return value_of(graph, chosen or node, "sampler_name")


def _schedule(graph: Graph, sigmas: Node) -> str:
    if sigmas.kind == "KarrasScheduler":
        return "karras"
    return as_text(value_of(graph, sigmas, "scheduler"))


def _seed(graph: Graph, node: Node) -> object:
    noise = _linked(graph, node, "noise")
    return value_of(graph, noise or node, "seed", "noise_seed")


def _guidance(graph: Graph, sampler: Node, guider: Node) -> float | None:
    if guider.kind == "BasicGuider":
        return 1.0  # It has no negative half.
    return as_float(value_of(graph, guider, "cfg") or value_of(graph, sampler, "cfg"))


def _rescale(graph: Graph, model: Link | None) -> float | None:
    """Give the share of a node that rescales guidance, between the model and the sampler."""
    feeding = upstream(graph, model, lambda name: name in _MODEL_INPUTS)
    node = next((node for _, node in feeding if node.kind == "RescaleCFG"), None)
    return None if node is None else as_float(value_of(graph, node, "multiplier"))


def _texts(graph: Graph, start: Link | None) -> tuple[list[str], bool]:
    """Give the texts that feed a conditioning, and whether each could be read.

    A ControlNet takes both halves and gives both: its outputs are followed to their own inputs.
    """
    found: dict[str, None] = {}
    understood = True
    waiting = [start] if start else []
    seen: set[Link] = set()
    for link in waiting:
        node = graph.get(link.node)
        if node is None or link in seen or len(seen) > FARTHEST:
            continue
        seen.add(link)
        if node.kind == "ConditioningZeroOut":
            continue
        both = {"positive", "negative"} <= set(node.inputs)
        if both:
            half = node.link("negative" if link.output == 1 else "positive")
            waiting += [half] if half else []
            continue
        texts = [as_text(value_of(graph, node, name)) for name in _TEXT_INPUTS]
        said = list(dict.fromkeys(text for text in texts if text.strip()))
        found |= dict.fromkeys(said)
        has_text = any(name in node.inputs for name in _TEXT_INPUTS)
        if has_text:
            understood &= bool(said) or node.inputs.get("text") == ""
        else:
            waiting += [up for name, up in node.links().items() if _CONDITIONING.fullmatch(name)]
    return list(found), understood


def _model(graph: Graph, start: Link | None) -> tuple[str, int | None, tuple[UsedLora, ...]]:
    """Give the model's name, CLIP skip, and the LoRAs between it and the sampler."""
    model = ""
    loras: list[UsedLora] = []
    for _name, node in upstream(graph, start, lambda name: name in _MODEL_INPUTS):
        model = model or as_text(value_of(graph, node, *_MODEL_NAMES))
        loras += _loras(graph, node)
    layers = (
        as_int(value_of(graph, node, "stop_at_clip_layer"))
        for node in graph.values()
        if node.kind == "CLIPSetLastLayer"
    )
    layer = next((number for number in layers if number is not None), None)
    return model, None if layer is None else -layer, tuple(reversed(loras))


def _loras(graph: Graph, node: Node) -> Iterator[UsedLora]:
    name = as_text(value_of(graph, node, "lora_name"))
    if name and name != "None":
        weight = value_of(graph, node, "strength_model", "lora_wt", "strength")
        text_weight = value_of(graph, node, "strength_clip", "clip_str")
        yield from _lora(name, weight, 0 if node.kind == "LoraLoaderModelOnly" else text_weight)
    for key, value in node.inputs.items():
        entry = as_object(value) if key.lower().startswith("lora_") else {}
        if (name := as_text(entry.get("lora"))) and entry.get("on") is True:
            yield from _lora(name, entry.get("strength"), entry.get("strengthTwo"))


def _lora(name: str, weight: object, text_weight: object) -> Iterator[UsedLora]:
    """Give a LoRA, unless it has no weight in either part of the model."""
    unet, text = as_float(weight), as_float(text_weight)
    unet = 1.0 if unet is None else unet
    if unet != 0 or text not in (None, 0):
        yield UsedLora(name=name, weight=unet, text_weight=None if text == unet else text)


def _start(graph: Graph, latent: Link | None) -> tuple[int | None, int | None, str, bool]:
    """Give the size of the empty latent, or the start picture's name and that there is one."""
    encoded = False
    for _name, node in upstream(graph, latent, _feeds_latent):
        if node.kind.startswith("Empty"):
            return (
                as_int(value_of(graph, node, "width")),
                as_int(value_of(graph, node, "height")),
                "",
                False,
            )
        encoded |= node.kind.startswith("VAEEncode")
        if node.kind.startswith("LoadImage"):
            return None, None, as_text(value_of(graph, node, "image")), True
    return None, None, "", encoded


def _vae(graph: Graph) -> str:
    names = (value_of(graph, n, "vae_name") for n in graph.values() if n.kind == "VAELoader")
    return next((as_text(name) for name in names if name), "")


def _second_pass(graph: Graph, passes: list[_Pass]) -> UsedSecondPass | None:
    """Read the second of two passes, if it is the first one again over its latents made larger."""
    if len(passes) != 2:
        return None
    second, first = passes
    larger = graph.get(second.latent.node) if second.latent else None
    source = larger.link("samples") if larger else None
    if larger is None or source is None or source.node != first.name:
        return None
    strength = as_float(value_of(graph, second.node, "denoise"))
    if not _is_repeated(graph, first.node, second.node) or not strength or not 0 < strength <= 1:
        return None
    steps = as_int(value_of(graph, second.node, "steps"))
    by_size = larger.kind == "LatentUpscale"
    width, height = (
        as_int(value_of(graph, larger, name)) if by_size else None for name in ("width", "height")
    )
    scale = as_float(value_of(graph, larger, "scale_by"))
    if not (width and height) and (larger.kind != "LatentUpscaleBy" or scale is None):
        return None
    return UsedSecondPass(
        scale=None if by_size else scale,
        width=width,
        height=height,
        # ComfyUI's steps are those that are run, ours those of a whole run.
        steps=None if steps is None else math.ceil(steps / strength),
        strength=strength,
        upscaler="Latent",
    )


def _is_repeated(graph: Graph, first: Node, second: Node) -> bool:
    """Whether a pass has the settings of the one before, its seed, steps and strength aside."""
    named = (first.kind, second.kind) == ("KSampler", "KSampler")
    links = ("model", "positive", "negative")
    values = ("cfg", "sampler_name", "scheduler")
    return (
        named
        and all(first.link(name) == second.link(name) for name in links)
        and all(value_of(graph, first, name) == value_of(graph, second, name) for name in values)
    )


def _further_passes(graph: Graph, passes: list[_Pass]) -> dict[str, str]:
    """Say what samplers did to the result of the first one."""
    said = {}
    for number, done in enumerate(reversed(passes[:-1]), 2):
        names = ("steps", "cfg", "sampler_name", "scheduler", "denoise", "start_at_step")
        values = {name: value_of(graph, done.node, name) for name in names}
        words = [f"{name} {value}" for name, value in values.items() if value is not None]
        said[f"Pass {number}"] = as_shown(", ".join(words) or done.node.kind)
    return said


def _others(graph: Graph, first: _Pass) -> dict[str, str]:
    """Name the nodes that fed the first sampler and are not understood."""
    feeding = upstream(graph, Link(first.name, 0))
    kinds = sorted({node.kind for _, node in feeding if not _UNDERSTOOD.fullmatch(node.kind)})
    return {"Nodes": as_shown(", ".join(kinds))} if kinds else {}


def _notes(prompts: list[str], negatives: list[str], *, understood: bool) -> Iterator[str]:
    if len(prompts) > 1 or len(negatives) > 1:
        yield "Several texts were combined in the graph; they are joined by commas here."
    if not understood:
        yield "A prompt is put together by nodes that cannot be read; part of it may be missing."
