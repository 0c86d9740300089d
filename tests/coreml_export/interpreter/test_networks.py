"""Networks of the kinds that are exported, in fp16, held against torch."""

import pytest
import torch
from torch import nn

from coreml_export.interpreter.program import Arithmetic, Program
from coreml_export.interpreter.psnr import psnr


class Block(nn.Module):
    """What a UNet is made of: a residual block, a transformer, and both ways of resizing."""

    def __init__(self):
        import diffusers.models.attention
        import diffusers.models.downsampling
        import diffusers.models.resnet
        import diffusers.models.upsampling

        super().__init__()
        models = diffusers.models
        self.resnet = models.resnet.ResnetBlock2D(
            in_channels=4, out_channels=8, temb_channels=6, groups=2
        )
        self.down = models.downsampling.Downsample2D(8, use_conv=True)
        self.transformer = models.attention.BasicTransformerBlock(
            dim=8, num_attention_heads=2, attention_head_dim=4, cross_attention_dim=5
        )
        self.up = models.upsampling.Upsample2D(8, use_conv=True)

    def forward(self, sample, time, text):
        hidden = self.down(self.resnet(sample, time))
        batch, channels, height, width = hidden.shape
        tokens = hidden.permute(0, 2, 3, 1).reshape(batch, height * width, channels)
        tokens = self.transformer(tokens, encoder_hidden_states=text)
        hidden = tokens.reshape(batch, height, width, channels).permute(0, 3, 1, 2)
        return self.up(hidden.contiguous())


class Text(nn.Module):
    """A text encoder as it is exported: numbers of words in fp32, two results."""

    def __init__(self):
        import transformers

        super().__init__()
        self.encoder = transformers.CLIPTextModelWithProjection(
            transformers.CLIPTextConfig(
                vocab_size=60,
                bos_token_id=58,
                eos_token_id=59,
                hidden_size=16,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=2,
                projection_dim=12,
                hidden_act="gelu",
            )
        )

    def forward(self, input_ids):
        made = self.encoder(input_ids.to(torch.int32), output_hidden_states=True)
        return made.hidden_states[-2], made.text_embeds


def seeded(network):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return network().eval()


@pytest.mark.parametrize("target", [pytest.param("iOS16", marks=pytest.mark.slow), "iOS18"])
def test_a_block_of_a_unet(convert, save, target):
    block = seeded(Block)
    drawn = torch.Generator().manual_seed(1)
    shapes = {"sample": (2, 4, 8, 8), "time": (2, 6), "text": (2, 7, 5)}
    inputs = {name: torch.randn(shape, generator=drawn) for name, shape in shapes.items()}
    program = Program.read(save(convert(block, inputs, target=target)))
    with torch.no_grad():
        expected = block(*inputs.values())
    for arithmetic, at_least in ((Arithmetic.FP32, 65), (Arithmetic.FP16, 55)):
        (result,) = program.run(inputs, arithmetic=arithmetic).values()
        assert psnr(expected, result) > at_least


@pytest.mark.slow
def test_a_text_encoder(convert, save):
    encoder = seeded(Text)
    ids = torch.tensor([[58, 3, 17, 41, 59] + [59] * 72]).float()
    program = Program.read(save(convert(encoder, {"input_ids": ids})))
    with torch.no_grad():
        expected = encoder(ids)
    execution = program.execute({"input_ids": ids}, arithmetic=Arithmetic.FP16)
    assert execution.first_non_finite is None
    for wanted, rounded, exact in zip(
        expected, execution.outputs.values(), program.run({"input_ids": ids}).values(), strict=True
    ):
        assert psnr(wanted, exact) > 65
        assert psnr(wanted, rounded) > 55
