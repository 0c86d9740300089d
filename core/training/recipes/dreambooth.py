"""DreamBooth (Ruiz et al. 2022, arXiv:2208.12242): a rare word and a class for one thing.

What learns is the whole model or adapters on it, as with the other methods. Its own are the loss
that preserves the class (section 3.2), on pictures that the model makes of it before it learns, and
that all pictures of the thing have one caption.
"""

from __future__ import annotations

from core.training.config import DreamBooth
from core.training.recipe import Recipe
from core.training.recipes.finetune import FullRecipe
from core.training.recipes.lora import LoraRecipe


def dreambooth_recipe(config: DreamBooth, *, rate: float, text_rate: float) -> Recipe:
    """Choose what learns."""
    if config.adapter is None:
        return FullRecipe(
            train_text=config.train_text,
            rate=rate,
            text_rate=text_rate,
            single_file=config.single_file,
        )
    return LoraRecipe(config.adapter, train_text=config.train_text, rate=rate, text_rate=text_rate)
