"""The command line with a model's weights shared out by accelerate's FSDP, on the CPU.

accelerate offers FSDP on GPUs alone, though torch has it everywhere; its own switch is set here.
"""

from __future__ import annotations

import sys

from accelerate import DistributedType, FullyShardedDataParallelPlugin

from core import cli
from core.training import loop
from core.training.session import make_accelerator


def make_sharding(device, precision):
    accelerator = make_accelerator(device, precision)
    # The blocks each by itself, as on a GPU where the whole does not fit.
    accelerator.state.fsdp_plugin = FullyShardedDataParallelPlugin(
        fsdp_version=2,
        cpu_ram_efficient_loading=True,
        auto_wrap_policy="transformer_based_wrap",
        transformer_cls_names_to_wrap=["BasicTransformerBlock", "ResnetBlock2D"],
    )
    accelerator.state.distributed_type = DistributedType.FSDP
    return accelerator


if __name__ == "__main__":
    loop.make_accelerator = make_sharding
    sys.exit(cli.main())
