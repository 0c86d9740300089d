"""Which recipe a training is done by."""

from __future__ import annotations

from typing import assert_never

from core.models.families import Family
from core.training.config import DreamBooth, Finetune, LoraTraining, TextualInversion, TrainConfig
from core.training.defaults import usual_rate, usual_text_rate
from core.training.recipe import Recipe
from core.training.recipes.dreambooth import dreambooth_recipe
from core.training.recipes.finetune import FullRecipe
from core.training.recipes.lora import LoraRecipe
from core.training.recipes.textual_inversion import TextualInversionRecipe


def recipe_of(config: TrainConfig, family: Family) -> Recipe:
    """Choose the recipe, with learning rates that suit a model of this family."""
    rate, text_rate = usual_rate(config, family), usual_text_rate(config, family)
    match config:
        case LoraTraining():
            return LoraRecipe(
                config.adapter, train_text=config.train_text, rate=rate, text_rate=text_rate
            )
        case TextualInversion():
            return TextualInversionRecipe(
                token=config.token,
                init_word=config.init_word,
                vectors=config.vectors,
                rate=rate,
            )
        case DreamBooth():
            return dreambooth_recipe(config, rate=rate, text_rate=text_rate)
        case Finetune():
            return FullRecipe(
                train_text=config.train_text,
                rate=rate,
                text_rate=text_rate,
                single_file=config.single_file,
            )
        case unknown:
            assert_never(unknown)
