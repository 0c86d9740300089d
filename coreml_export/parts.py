"""The parts of a model as they are exported: modules to trace, and what goes in and out of them.

The names, shapes and number formats are those of Apple's Swift package
(https://github.com/apple/ml-stable-diffusion), but for four inputs. ``timestep`` and ``time_ids``
are float32, which the readers give anyway: half precision would round their sines. For the same
reason the UNet of a latent consistency model has an input ``timestep_cond`` of its own, float32,
which those readers do not know. And UNets of inpainting models take nine channels.

LoRAs are no part of a module's weights while a model merely runs with them; they must have been
merged, see ``core.models.lora.merge_into``.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from core.coreml_folder import CONTROL_FOLDER, Layout, PartName, Tensor
from core.errors import InvalidRequest
from core.models.components import Components, TextTower
from core.sampling.conditioning import Conditioning, with_numbers
from core.sampling.text import TextEmbeddings
from core.sampling.towers import Vectors
from coreml_export.layouts import autoencoder, denoiser, text_encoder
from coreml_export.layouts.split_einsum import in_split_einsum
from coreml_export.layouts.words import numbers_of, taught

NO_NETS: Mapping[str, nn.Module] = MappingProxyType({})
NO_WORDS: Vectors = MappingProxyType({})

PROMPT = "a red circle on a blue square"
"""What parts are tried with; every tokenizer can spell it."""

_TIMESTEP = 951.0
"""The highest of 20 steps' as Stable Diffusion takes them: the sines of high ones are hardest."""

_GUIDANCE = 7.5

_TOWERS = {
    "text_encoder": PartName.TEXT_ENCODER,
    "text_encoder_2": PartName.TEXT_ENCODER_2,
}

Tensors = tuple[torch.Tensor, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A network to export.

    Attributes:
        name: A ``PartName``, or ``controlnet/NAME``.
        module: Takes the inputs in their order and gives one tensor, or a tuple of the outputs in
            their order; fp32, and its weights are the loaded model's own.
        inputs: What it takes.
        outputs: What it gives.
        examples: Gives plausible inputs, the same ones every time, fp32 whatever ``inputs`` say.
        reference: Computes the outputs from the same inputs with the model's own modules.
        fp32: Whether half precision does not do for it.
    """

    name: str
    module: nn.Module
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    examples: Callable[[], Tensors]
    reference: Callable[..., Tensors]
    fp32: bool = False


def named(tensors: Sequence[Tensor], values: Sequence[torch.Tensor]) -> dict[str, torch.Tensor]:
    """Give a part's inputs, or outputs, by their names."""
    return {tensor.name: value for tensor, value in zip(tensors, values, strict=True)}


def part_names(
    components: Components, *, control: bool = False, nets: Collection[str] = ()
) -> tuple[str, ...]:
    """Name the parts that ``parts_of`` gives of a model, in its order."""
    return (
        *(_TOWERS[tower.name] for tower in components.text_towers),
        PartName.CONTROLLED_UNET if control else PartName.UNET,
        *(f"{CONTROL_FOLDER}/{name}" for name in nets),
        PartName.VAE_DECODER,
        PartName.VAE_ENCODER,
    )


def parts_of(
    components: Components,
    *,
    layout: Layout,
    width: int,
    height: int,
    batch: int,
    only: Collection[str] = (),
    control: bool = False,
    nets: Mapping[str, nn.Module] = NO_NETS,
    words: Vectors = NO_WORDS,
) -> Iterator[Part]:
    """Make a model's parts, one after the other.

    Args:
        components: The model: fp32, on the CPU, LoRAs merged. It may keep only the part at work in
            memory; then a part's weights are there until the next part is asked for.
        layout: Of the UNet and the ControlNets.
        width: Of the pictures, in pixels.
        height: Likewise.
        batch: Of the UNet's and the ControlNets' inputs: 1, or 2 for both halves of guidance.
        only: Names of the parts to make; empty for all.
        control: Whether the UNet takes what ControlNets give. It is another part then.
        nets: ControlNets made for the UNet, by name.
        words: What the text encoders learn in addition; see ``numbers_of`` for their numbers.

    Raises:
        InvalidRequest: If ``only`` has a name that is none of the model's parts.
    """
    names = part_names(components, control=control, nets=nets)
    if unknown := sorted(set(only) - set(names)):
        raise InvalidRequest(
            "parts", f"has {unknown[0]}, which this model does not have; it has {', '.join(names)}."
        )
    maker = _Maker(components, layout, width, height, batch, words)
    for name in names:
        if not only or name in only:
            yield maker.make(name, nets)


@dataclass(frozen=True, slots=True)
class _Maker:
    """Makes the parts of one model in one size."""

    components: Components
    layout: Layout
    width: int
    height: int
    batch: int
    words: Vectors

    def make(self, name: str, nets: Mapping[str, nn.Module]) -> Part:
        match name:
            case PartName.TEXT_ENCODER | PartName.TEXT_ENCODER_2:
                towers = self.components.text_towers
                return self.text(next(tower for tower in towers if _TOWERS[tower.name] == name))
            case PartName.UNET | PartName.CONTROLLED_UNET:
                return self.unet(name)
            case PartName.VAE_DECODER:
                return self.decoder()
            case PartName.VAE_ENCODER:
                return self.encoder()
            case _:
                return self.control_net(name, nets[name.removeprefix(f"{CONTROL_FOLDER}/")])

    def text(self, tower: TextTower) -> Part:
        encoder = self._plain(tower.name, tower.encoder)
        before_last = self.components.identity.needs_size
        length = tower.tokenizer.model_max_length
        end = text_encoder.end_of(encoder, _spelled(tower, "")[1])
        if self.words:
            encoder = taught(tower, self.components, self.words, end=end)
        module = text_encoder.TextEncoder(
            encoder,
            end=end,
            length=length,
            uses_mask=self.components.text_uses_mask and not before_last,
            before_last=before_last,
        )
        config: Any = encoder.config
        pooled = config.hidden_size if module.projection is None else config.projection_dim
        return Part(
            name=_TOWERS[tower.name],
            module=module.eval(),
            inputs=(Tensor("input_ids", (1, length), "float32"),),
            outputs=(
                Tensor(
                    "hidden_embeds" if before_last else "last_hidden_state",
                    (1, length, config.hidden_size),
                    "float32",
                ),
                Tensor("pooled_outputs", (1, pooled), "float32"),
            ),
            examples=partial(self._text_examples, tower),
            reference=partial(_read_text, module, encoder),
        )

    def _text_examples(self, tower: TextTower) -> Tensors:
        """Spell the prompt, with learned words in the place of its first ones."""
        ids = _spelled(tower, PROMPT)
        count = len(tower.tokenizer(PROMPT, add_special_tokens=False).input_ids)
        learned = [n for word in numbers_of(self.components, self.words).values() for n in word]
        ids[1 : 1 + min(count, len(learned))] = learned[:count]
        return (torch.tensor([ids], dtype=torch.float32),)

    def unet(self, name: str) -> Part:
        told = self._conditions()
        unet: Any = self._plain("unet", self.components.unet)
        sample = self._sample(unet.config.in_channels)
        inputs = (sample, *self._time_and_text(told), *_others(told, guided=True))
        if name == PartName.CONTROLLED_UNET:
            shapes = denoiser.residual_shapes(unet, sample.shape)
            inputs += _residuals(shapes, "float16")
        others = [tensor.name for tensor in inputs[3:]]
        prediction = self._latents(self.batch, unet.config.out_channels)
        return Part(
            name=name,
            module=denoiser.Unet(
                self._laid_out(unet), others, channels_first=self._channels_first
            ).eval(),
            inputs=inputs,
            outputs=(Tensor("noise_pred", prediction, "float32"),),
            examples=partial(_examples, inputs, told),
            reference=_in_a_tuple(denoiser.Unet(unet, others, channels_first=False)),
        )

    def control_net(self, name: str, net: nn.Module) -> Part:
        told = self._conditions()
        config: Any = net.config
        sample = self._sample(config.in_channels)
        picture = Tensor("controlnet_cond", (self.batch, 3, self.height, self.width), "float16")
        inputs = (sample, *self._time_and_text(told), picture, *_others(told, guided=False))
        others = [tensor.name for tensor in inputs[4:]]
        return Part(
            name=name,
            module=denoiser.ControlNet(
                self._laid_out(net), others, channels_first=self._channels_first
            ).eval(),
            inputs=inputs,
            outputs=_residuals(denoiser.residual_shapes(net, sample.shape), "float32"),
            examples=partial(_examples, inputs, told),
            reference=_in_a_tuple(denoiser.ControlNet(net, others, channels_first=False)),
        )

    def decoder(self) -> Part:
        vae = self._vae()
        fp32 = self._vae_in_fp32(vae)
        z = Tensor("z", self._latents(1, vae.config.latent_channels), _format(fp32=fp32))
        scale = 1 / self.components.scaling_factor
        return Part(
            name=PartName.VAE_DECODER,
            module=autoencoder.Decoder(vae).eval(),
            inputs=(z,),
            outputs=(Tensor("image", (1, 3, self.height, self.width), "float32"),),
            examples=lambda: (_noise(z.shape) * scale,),
            reference=_in_a_tuple(lambda z: vae.decode(z, return_dict=False)[0]),
            fp32=fp32,
        )

    def encoder(self) -> Part:
        vae = self._vae()
        fp32 = self._vae_in_fp32(vae)
        x = Tensor("x", (1, 3, self.height, self.width), _format(fp32=fp32))
        moments = self._latents(1, 2 * vae.config.latent_channels)
        return Part(
            name=PartName.VAE_ENCODER,
            module=autoencoder.Encoder(vae).eval(),
            inputs=(x,),
            outputs=(Tensor("latent", moments, "float32"),),
            examples=lambda: (_noise(x.shape).tanh(),),
            reference=_in_a_tuple(lambda x: vae.encode(x).latent_dist.parameters),
            fp32=fp32,
        )

    @property
    def _channels_first(self) -> bool:
        return self.layout is Layout.SPLIT_EINSUM

    def _laid_out(self, net: nn.Module) -> nn.Module:
        return in_split_einsum(net) if self._channels_first else net

    def _plain(self, name: str, module: nn.Module) -> nn.Module:
        """Have a component in memory, as it is without LoRAs that are applied while it runs."""
        self.components.residence.bring(name)
        assert all(weights.dtype is torch.float32 for weights in module.parameters())
        assert not any("forward" in vars(part) for part in module.modules()), "LoRAs are not merged"
        return module

    def _vae(self) -> Any:
        vae: Any = self.components.vae
        return self._plain("vae", vae)

    def _vae_in_fp32(self, vae: Any) -> bool:
        """SDXL's overflows in half precision, except for those made anew that say they do not."""
        return self.components.identity.needs_size and vae.config.get("force_upcast", True)

    def _latents(self, batch: int, channels: int) -> tuple[int, ...]:
        scale = self.components.identity.vae_scale
        return batch, channels, self.height // scale, self.width // scale

    def _sample(self, channels: int) -> Tensor:
        return Tensor("sample", self._latents(self.batch, channels), "float16")

    def _time_and_text(self, told: Conditioning) -> tuple[Tensor, Tensor]:
        batch, length, width = told.text.shape
        return (
            Tensor("timestep", (batch,), "float32"),
            Tensor("encoder_hidden_states", (batch, width, 1, length), "float16"),
        )

    def _conditions(self) -> Conditioning:
        """Encode what a UNet is tried with: of a batch of two, one half is the empty prompt."""
        texts = TextEmbeddings(self.components).of(["", PROMPT][-self.batch :])
        told = with_numbers(
            texts,
            self.components.identity,
            size=(self.width, self.height),
            guidance_scales=[_GUIDANCE] * len(texts),
        )
        # A copy made outside of inference mode can be traced.
        return told.map(torch.clone)


def _read_text(module: text_encoder.TextEncoder, encoder: Any, input_ids: torch.Tensor) -> Tensors:
    """Read a text tower as ``core.sampling.towers.encode_tokens`` does."""
    ids = input_ids.long()
    mask = None
    if module.uses_mask:
        mask = (torch.arange(ids.shape[1]) <= (ids == module.end).int().argmax(-1)[:, None]).long()
    output = encoder(ids, attention_mask=mask, output_hidden_states=True)
    states = output.hidden_states[-2] if module.before_last else output.last_hidden_state
    pooled = output.pooler_output if module.projection is None else output.text_embeds
    return states, pooled


def _spelled(tower: TextTower, text: str) -> list[int]:
    """Give a text's numbers, begin, end and padding included."""
    length = tower.tokenizer.model_max_length
    tokens = tower.tokenizer(text, padding="max_length", truncation=True, max_length=length)
    return list(tokens.input_ids)


def _others(told: Conditioning, *, guided: bool) -> tuple[Tensor, ...]:
    """Describe what a network is told beside time and text."""
    tensors: list[Tensor] = []
    if told.sizes is not None and told.pooled is not None:
        tensors.append(Tensor("time_ids", tuple(told.sizes.shape), "float32"))
        tensors.append(Tensor("text_embeds", tuple(told.pooled.shape), "float16"))
    if guided and told.guidance is not None:
        tensors.append(Tensor("timestep_cond", tuple(told.guidance.shape), "float32"))
    return tuple(tensors)


def _residuals(shapes: Sequence[tuple[int, ...]], dtype: str) -> tuple[Tensor, ...]:
    return tuple(Tensor(f"{denoiser.RESIDUAL}{i}", shape, dtype) for i, shape in enumerate(shapes))


def _examples(inputs: Sequence[Tensor], told: Conditioning) -> Tensors:
    """Give plausible inputs of a network that reads time and text; what is not known is noise."""
    known = {
        "timestep": torch.full((len(told),), _TIMESTEP),
        "encoder_hidden_states": told.text.transpose(1, 2).unsqueeze(2),
        "time_ids": told.sizes,
        "text_embeds": told.pooled,
        "timestep_cond": told.guidance,
    }
    examples = []
    for i, tensor in enumerate(inputs):
        value = known.get(tensor.name)
        examples.append(_noise(tensor.shape, seed=i) if value is None else value)
    return tuple(examples)


def _noise(shape: Sequence[int], *, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _format(*, fp32: bool) -> str:
    return "float32" if fp32 else "float16"


def _in_a_tuple(compute: Callable[..., torch.Tensor | Tensors]) -> Callable[..., Tensors]:
    def computed(*inputs: torch.Tensor) -> Tensors:
        output = compute(*inputs)
        return output if isinstance(output, tuple) else (output,)

    return computed
