"""A model while it learns: one module that sees noised latents and says what it sees in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from core.models.components import Components, TextTower
from core.sampling.conditioning import Conditioning
from core.training.texts import encode


class Student(nn.Module):
    """The UNet, and what else learns beside it, behind one ``forward``.

    That is what lets several processes share the work: they exchange the gradients of one module.

    Attributes:
        components: The model that it is of.
        unet: The UNet.
        towers: The text encoders that learn, by their names; empty where texts come encoded.
        words: Vectors ``(n, D)`` of a new word by the text encoder that reads them, or empty.
    """

    def __init__(
        self,
        components: Components,
        *,
        learns_text: bool = False,
        words: tuple[str, nn.ParameterDict] | None = None,
    ) -> None:
        """Take a loaded model in.

        Args:
            components: The model.
            learns_text: Whether its text encoders learn, or a word that they read does.
            words: The new word and its vectors, if one is learned.
        """
        super().__init__()
        self.components = components
        self._learns_text = learns_text
        self._word = "" if words is None else words[0]
        self.unet = components.unet
        towers = {tower.name: tower.encoder for tower in components.text_towers}
        self.towers = nn.ModuleDict(towers if learns_text else {})
        self.words = nn.ParameterDict() if words is None else words[1]

    @property
    def learns_text(self) -> bool:
        """Whether texts mean something else after each step."""
        return self._learns_text

    @property
    def vectors(self) -> dict[str, dict[str, Tensor]]:
        """The new word's vectors, as the sampling code takes them; empty without one."""
        if not self._word:
            return {}
        return {self._word: dict(self.words.items())}

    def learned(self) -> dict[str, nn.Parameter]:
        """Give what learns, by name."""
        return {name: weights for name, weights in self.named_parameters() if weights.requires_grad}

    def forward(
        self,
        latents: Tensor,
        timesteps: Tensor,
        captions: Sequence[str],
        texts: Conditioning | None,
        sizes: Tensor,
    ) -> Tensor:
        """Predict.

        Args:
            latents: ``(B, C, H/8, W/8)``, on the model's device, in its number format.
            timesteps: ``(B,)``, int64.
            captions: One for each.
            texts: The same, encoded; None where they are to be encoded here.
            sizes: ``(B, 6)``, see ``Conditioning.sizes``; read by models that are told.

        Returns:
            ``(B, C, H/8, W/8)``.
        """
        told = encode(self.components, captions, vectors=self.vectors) if texts is None else texts
        conditions: dict[str, Any] = {}
        if self.components.identity.needs_size:
            conditions["added_cond_kwargs"] = {"text_embeds": told.pooled, "time_ids": sizes}
        prediction: Tensor = self.unet(
            latents,
            timesteps,
            encoder_hidden_states=told.text.to(latents.dtype),
            return_dict=False,
            **conditions,
        )[0]
        return prediction


def keep_fewer_activations(student: Student) -> None:
    """Compute activations again on the way back instead of keeping them (arXiv:1604.06174)."""
    unet: Any = student.unet
    unet.enable_gradient_checkpointing()
    towers: Any = student.towers.values()
    for tower in towers:
        # Its name up to transformers 5.22 is the second one.
        name = "activation_checkpointing_enable"
        enable = getattr(tower, name, None) or tower.gradient_checkpointing_enable
        enable({"use_reentrant": False})


def unread(components: Components, tower: TextTower) -> re.Pattern[str] | None:
    """Give the names of a text encoder's parts that cannot learn: nobody reads their output.

    SDXL's UNet reads the states before the last layer, and of its first encoder nothing else.
    """
    if not components.identity.needs_size or hasattr(tower.encoder, "text_projection"):
        return None
    config: Any = tower.encoder.config
    last = rf"encoder\.layers\.{config.num_hidden_layers - 1}"
    return re.compile(rf"(^|\.)({last}|final_layer_norm)\.")


def freeze(modules: Sequence[nn.Module]) -> None:
    """Let no weight of these learn."""
    for module in modules:
        module.requires_grad_(requires_grad=False)


def in_full_precision(weights: Sequence[nn.Parameter]) -> None:
    """Bring weights that learn to fp32: steps are smaller than half precision can tell apart."""
    for one in weights:
        one.data = one.data.to(torch.float32)
