"""What each reader of an exported folder takes for granted, by its source.

The Swift readers load what a Mac has compiled. Names, shapes and number formats are those of the
package then, and ``metadata.json`` tells them, and its operations. The files that are named here
lie below

- ``APPLE``: https://github.com/apple/ml-stable-diffusion/blob/main/swift/StableDiffusion
- ``MOCHI``: https://github.com/MochiDiffusion/MochiDiffusion/blob/main/Mochi%20Diffusion/Model
- ``FACE``: https://github.com/huggingface/swift-coreml-diffusers/blob/main/Diffusion/Common
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from core.models.catalog import SHIPPED
from coreml_export.interpreter.package import Package
from tests.coreml_export.conftest import Done, of_all_kinds, of_kinds

XL = ("sdxl", "sdxl-split")
OTHERS = ("sd1", "sd1-split", "sd1-led", "sd2", "sd2-split", "starter", "starter-split")

XL_INPUTS = {"time_ids", "text_embeds"}
FLOAT32 = 65568
"""The number format's code in ``FeatureTypes.proto`` of Core ML."""

OPSETS = {"CoreML6": "Ios16", "CoreML7": "Ios17", "CoreML8": "Ios18"}
"""Of programs, and what stands before the names of their operations once they are compiled."""


@dataclass(frozen=True)
class Model:
    """What Core ML tells of a model.

    Attributes:
        inputs: Shapes and number formats by name, in order.
        outputs: Likewise.
        operations: How many there are of each kind, named as ``metadata.json`` names them.
    """

    inputs: dict[str, tuple[tuple[int, ...], int]]
    outputs: dict[str, tuple[tuple[int, ...], int]]
    operations: Counter[str]


def model(done: Done, name: str) -> Model:
    specification = Package(done.folder / f"{name}.mlpackage").specification
    (function,) = specification.mlProgram.functions.values()
    block = function.block_specializations[function.opset]
    return Model(
        tensors(specification.description.input),
        tensors(specification.description.output),
        Counter(f"{OPSETS[function.opset]}.{operation.type}" for operation in block.operations),
    )


def tensors(features: Any) -> dict[str, tuple[tuple[int, ...], int]]:
    arrays = {feature.name: feature.type.multiArrayType for feature in features}
    return {name: (tuple(array.shape), array.dataType) for name, array in arrays.items()}


def unet_of(done: Done) -> str:
    return "ControlledUnet" if done.request.controls else "Unet"


def is_xl(done: Done) -> bool:
    return (done.folder / "TextEncoder2.mlpackage").exists()


def names_in(folder: Path) -> set[str]:
    return {path.stem for path in folder.glob("*.mlpackage")}


@of_kinds(*OTHERS)
def test_resources_of_apples_pipeline(done: Done) -> None:
    """``pipeline/StableDiffusionPipeline+Resources.swift`` in APPLE."""
    assert names_in(done.folder) == {"TextEncoder", unet_of(done), "VAEDecoder", "VAEEncoder"}
    assert (done.folder / "vocab.json").is_file()
    assert (done.folder / "merges.txt").is_file()
    if done.request.controls:
        assert names_in(done.folder / "controlnet") == {"CannyEdges"}


@of_kinds(*XL)
def test_resources_of_apples_pipeline_for_sdxl(done: Done) -> None:
    """``pipeline/StableDiffusionXL+Resources.swift`` in APPLE."""
    assert names_in(done.folder) == {
        "TextEncoder",
        "TextEncoder2",
        "Unet",
        "VAEDecoder",
        "VAEEncoder",
    }
    assert (done.folder / "vocab.json").is_file()
    assert (done.folder / "merges.txt").is_file()


@of_kinds(*OTHERS)
def test_apples_text_encoder(done: Done) -> None:
    """``pipeline/TextEncoder.swift`` in APPLE: gives the numbers of words as Float32, in one row,
    to the first input, whatever its name, and asks for ``last_hidden_state``."""
    encoder = model(done, "TextEncoder")
    ((shape, number),) = encoder.inputs.values()
    assert (shape, number) == ((1, 77), FLOAT32)
    states, number = encoder.outputs["last_hidden_state"]
    assert states[:2] == (1, 77)
    assert number == FLOAT32


@of_kinds(*XL)
def test_apples_text_encoders_for_sdxl(done: Done) -> None:
    """``pipeline/TextEncoderXL.swift`` and ``StableDiffusionXLPipeline.swift`` in APPLE: join the
    ``hidden_embeds`` of both, and take the ``pooled_outputs`` of the second."""
    encoders = [model(done, name) for name in ("TextEncoder", "TextEncoder2")]
    for encoder in encoders:
        assert list(encoder.inputs.values()) == [((1, 77), FLOAT32)]
    widths = [encoder.outputs["hidden_embeds"][0][-1] for encoder in encoders]
    unet = model(done, "Unet")
    assert unet.inputs["encoder_hidden_states"][0][1] == sum(widths)
    assert unet.inputs["text_embeds"][0][1:] == encoders[1].outputs["pooled_outputs"][0][1:]


@of_all_kinds
def test_apples_unet(done: Done) -> None:
    """``pipeline/Unet.swift`` in APPLE: gives these inputs by name, each in a batch of two, and
    takes the first output, whatever its name, so there must be one."""
    unet = model(done, unet_of(done))
    residuals = {name for name in unet.inputs if name.startswith("additional_residual_")}
    others = XL_INPUTS if is_xl(done) else set()
    assert set(unet.inputs) - residuals == {"sample", "timestep", "encoder_hidden_states"} | others
    assert bool(residuals) == bool(done.request.controls)
    assert all(shape[0] == 2 for shape, _ in unet.inputs.values())
    assert unet.inputs["timestep"] == ((2,), FLOAT32)
    assert unet.inputs["encoder_hidden_states"][0][2:] == (1, 77)
    ((noise, number),) = unet.outputs.values()
    assert noise == unet.inputs["sample"][0]
    assert number == FLOAT32


@of_all_kinds
def test_apples_decoder(done: Done) -> None:
    """``pipeline/Decoder.swift`` in APPLE: gives latents to the first input, by whatever name, and
    reads a picture of three channels, -1 to 1, from the first output."""
    decoder = model(done, "VAEDecoder")
    (latents, _), ((image, number),) = next(iter(decoder.inputs.values())), decoder.outputs.values()
    assert len(decoder.inputs) == 1
    assert latents == (1, *model(done, unet_of(done)).inputs["sample"][0][1:])
    width, height = done.manifest.sizes[0]
    assert (image, number) == ((1, 3, height, width), FLOAT32)


@of_all_kinds
def test_apples_encoder(done: Done) -> None:
    """``pipeline/Encoder.swift`` in APPLE: gives the picture to the first input, by whatever name,
    asks that it have the same shape, and draws from the mean and log variance of the one output:
    the halves of its channels."""
    encoder = model(done, "VAEEncoder")
    ((image, _),) = encoder.inputs.values()
    ((moments, number),) = encoder.outputs.values()
    width, height = done.manifest.sizes[0]
    assert image == (1, 3, height, width)
    channels, *sides = model(done, unet_of(done)).inputs["sample"][0][1:]
    assert moments == (1, 2 * channels, *sides)
    assert number == FLOAT32


@of_kinds("sd1-led")
def test_apples_control_net(done: Done) -> None:
    """``pipeline/ControlNet.swift`` in APPLE: gives these inputs by name, adds up what several give
    as raw Float32, and hands each output to the UNet under its name."""
    net = model(done, "controlnet/CannyEdges")
    unet = model(done, "ControlledUnet")
    width, height = done.manifest.sizes[0]
    assert set(net.inputs) == {"sample", "timestep", "encoder_hidden_states", "controlnet_cond"}
    assert net.inputs["controlnet_cond"][0] == (2, 3, height, width)
    for name in ("sample", "timestep", "encoder_hidden_states"):
        assert net.inputs[name] == unet.inputs[name]
    assert {number for _, number in net.outputs.values()} == {FLOAT32}
    taken = {name: shape for name, (shape, _) in unet.inputs.items() if "residual" in name}
    assert {name: shape for name, (shape, _) in net.outputs.items()} == taken


class BytePairs:
    """Reads both files as ``tokenizer/BPETokenizer+Reading.swift`` in APPLE does."""

    def __init__(self, folder: Path) -> None:
        self.numbers: dict[str, int] = json.loads((folder / "vocab.json").read_bytes())
        # A line counts once it has ended, and one that begins as a comment does not.
        *lines, _ = (folder / "merges.txt").read_bytes().split(b"\n")
        self.ranks: dict[tuple[str, str], int] = {}
        for rank, line in enumerate(lines):
            if line and not line.startswith(b"#"):
                first, second = line.decode().split(" ")
                self.ranks[first, second] = rank

    def numbers_of(self, text: str, count: int) -> list[int]:
        """Spell a text as ``tokenizer/BPETokenizer.swift`` in APPLE does."""
        pieces = [piece for word in text.strip().lower().split(" ") for piece in self.cut(word)]
        begin, end = "<|startoftext|>", "<|endoftext|>"
        tokens = [begin, *pieces, *[end] * (count - len(pieces) - 1)]
        return [self.numbers.get(token, self.numbers[end]) for token in tokens]

    def cut(self, word: str) -> list[str]:
        pieces = [*word[:-1], word[-1] + "</w>"]
        while known := [pair for pair in pairwise(pieces) if pair in self.ranks]:
            best, merged = min(known, key=self.ranks.__getitem__), []
            while pieces:
                size = 2 if tuple(pieces[:2]) == best else 1
                merged.append("".join(pieces[:size]))
                pieces = pieces[size:]
            pieces = merged
        return pieces


@of_all_kinds
def test_apples_tokenizer(done: Done) -> None:
    """The Swift tokenizer numbers a prompt as the model's own does."""
    from transformers import CLIPTokenizer

    source = SHIPPED.get(done.request.model, Path(done.request.model))
    own = CLIPTokenizer.from_pretrained(source / "tokenizer")
    reader = BytePairs(done.folder)
    for prompt in ("a red circle on a blue square", "two photos of CATS", "zebra"):
        expected = own(prompt).input_ids
        assert reader.numbers_of(prompt, len(expected)) == expected
    for word, numbers in done.manifest.model.get("words", {}).items():
        spelled = [word, *(f"{word}_{i}" for i in range(1, len(numbers)))]
        expected = [*own("a").input_ids[:-1], *numbers, *own("red").input_ids[1:]]
        assert reader.numbers_of(" ".join(["a", *spelled, "red"]), len(expected)) == expected


@of_all_kinds
def test_mochi_diffusion(done: Done) -> None:
    """``SDModel.swift`` in MOCHI: tells the layout, the family and the size by ``metadata.json``,
    and goes on to offer those ControlNets that have the same layout and size."""
    unet = model(done, unet_of(done))
    layout = "split-einsum" if unet.operations["Ios16.einsum"] else "original"
    assert layout == done.request.layout
    assert (set(unet.inputs) >= XL_INPUTS) == is_xl(done)
    assert "latent_image_embeddings" not in unet.inputs
    shape, _ = next(iter(model(done, "VAEEncoder").inputs.values()))
    assert (shape[3], shape[2]) == done.manifest.sizes[0]
    for net in done.request.controls and ("controlnet/CannyEdges",):
        assert bool(model(done, net).operations["Ios16.einsum"]) == (layout == "split-einsum")


@of_all_kinds
def test_swift_coreml_diffusers(done: Done) -> None:
    """``Pipeline/PipelineLoader.swift`` in FACE: opens a folder with Apple's pipeline and no
    ControlNets, named by the layout, so there must be a UNet that needs none."""
    found = names_in(done.folder)
    whole = {"Unet", "TextEncoder", "VAEDecoder"} <= found
    assert whole == (not done.request.controls)
    assert "SafetyChecker" not in found
