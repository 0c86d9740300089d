"""What is refused where weights are shared out; what is not is taught in ``test_processes.py``."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from accelerate import DistributedType, FullyShardedDataParallelPlugin

from core.errors import Unsupported
from core.training.config_parts import AdapterSettings, OptimiserName
from core.training.recipes.finetune import FullRecipe
from core.training.recipes.lora import LoraRecipe
from core.training.sharding import check_sharding

FULL = FullRecipe(train_text=False, rate=1e-5, text_rate=1e-5)
LORA = LoraRecipe(AdapterSettings(), train_text=False, rate=1e-4, text_rate=1e-5)


def sharding(**options):
    """What is read of an accelerator that shares weights out, as accelerate has it on GPUs."""
    plugin = FullyShardedDataParallelPlugin(**{"fsdp_version": 2} | options)
    state = SimpleNamespace(fsdp_plugin=plugin)
    return SimpleNamespace(distributed_type=DistributedType.FSDP, state=state, scaler=None)


def test_a_whole_model_may_be_shared_out():
    check_sharding(sharding(), FULL, OptimiserName.ADAMW)


@pytest.mark.parametrize(
    ("options", "recipe", "optimiser", "said"),
    [
        ({}, LORA, OptimiserName.ADAMW, "multi-GPU"),
        ({}, FULL, OptimiserName.ADAFACTOR, "adafactor does not work"),
        ({"cpu_offload": True}, FULL, OptimiserName.ADAMW, "on the GPUs"),
        ({"activation_checkpointing": True}, FULL, OptimiserName.ADAMW, "gradient checkpointing"),
    ],
)
def test_what_cannot_be_shared_out_is_refused(options, recipe, optimiser, said):
    with pytest.raises(Unsupported, match=said):
        check_sharding(sharding(**options), recipe, optimiser)
