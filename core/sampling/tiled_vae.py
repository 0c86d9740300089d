"""The VAE in tiles: large pictures in bounded memory, without seams.

A tile by itself differs from the same part of the whole picture for three reasons, and each has its
remedy here:

- Group norms take mean and variance of what they see, so that a tile of clear sky comes out in
  another colour. All tiles get the same statistics, measured beforehand on patches that are spread
  over the picture and normed together.
- Attention in the middle sees the whole picture. What works at the size of the latents (1/64 of the
  pixels), attention included, is computed for the whole picture at once.
- Convolutions reach beyond a tile's edge. A tile is computed with a margin wider than they reach,
  and the margin thrown away; so nothing is left to be blended.

Only the statistics are an estimate: given the true ones, the picture is the untiled one. With the
starter's VAE a smooth picture of 1024 x 1024 comes out within 0.7/255 on average; tiles that keep
their own statistics and are blended come within 7.8/255.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch import Tensor, nn

TILE = 64
"""Side of a tile, in latents; with its margins it takes the memory of a 640 x 640 picture."""

MARGIN = 8
"""Latents around a tile. Stable Diffusion's decoder reaches 6.5 far from where tiles begin."""

PATCH = 24
"""Side of a patch that is measured, in latents; of it the outer ``PATCH_MARGIN`` do not count."""

PATCH_MARGIN = 6
GRID = 6
"""Patches on a side of the picture. They are measured in four groups, each spread over it."""

ROUNDS = 2
"""Times that they are measured: at first each group by its own statistics, then by those of all."""

QUERIES = 4096
"""Pixels whose attention is computed at once, where attention matrices are held in full."""

Compute = Callable[[Tensor], Tensor]
Moments = tuple[Tensor, Tensor]
"""Mean and mean square of each group of channels: ``(1, G, 1)``, fp32."""


def is_large(picture: Tensor, scale: int) -> bool:
    """Whether pixels (or, with a scale of 1, latents) ``(B, C, H, W)`` are more than one tile."""
    return max(picture.shape[-2:]) > (TILE + 2 * MARGIN) * scale


@torch.inference_mode()
def decode(vae: Any, latents: Tensor, scale: int) -> Tensor:
    """Decode large latents.

    Args:
        vae: diffusers' ``AutoencoderKL``.
        latents: ``(B, 4, H/8, W/8)``, unscaled, on the VAE's device.
        scale: Pixels of a latent's side.

    Returns:
        ``(B, 3, H, W)``, fp32, on the CPU, about -1 to 1.
    """
    decoder = vae.decoder
    first, *others = decoder.up_blocks
    enlarge = nn.Sequential(*(first.upsamplers or ()), *others)
    finish = nn.Sequential(decoder.conv_norm_out, decoder.conv_act, decoder.conv_out)

    def begin(picture: Tensor) -> Tensor:
        if vae.config.use_post_quant_conv:
            picture = vae.post_quant_conv(picture)
        features: Tensor = decoder.mid_block(decoder.conv_in(picture))
        for resnet in first.resnets:
            features = resnet(features, None)
        return features

    pictures = []
    for picture in latents.split(1):
        with _attention_in_chunks(decoder.mid_block):
            features = begin(picture)  # (1, C, H/8, W/8)
        tail = nn.Sequential(enlarge, finish)
        pictures.append(_in_tiles(tail, features, reads=1, writes=scale, to="cpu"))
    return torch.cat(pictures)


@torch.inference_mode()
def encode(vae: Any, picture: Tensor, scale: int) -> DiagonalGaussianDistribution:
    """Encode a large picture.

    Args:
        vae: diffusers' ``AutoencoderKL``.
        picture: ``(1, 3, H, W)``, -1 to 1, on the VAE's device.
        scale: Pixels of a latent's side.

    Returns:
        The distribution over ``(1, 4, H/8, W/8)``, unscaled.
    """
    encoder = vae.encoder
    *others, last = encoder.down_blocks
    reduce = nn.Sequential(encoder.conv_in, *others)
    features = _in_tiles(reduce, picture, reads=scale, writes=1, to=picture.device)
    with _attention_in_chunks(encoder.mid_block):
        features = encoder.mid_block(last(features))
    moments = encoder.conv_out(encoder.conv_act(encoder.conv_norm_out(features)))
    if vae.config.use_quant_conv:
        moments = vae.quant_conv(moments)
    return DiagonalGaussianDistribution(moments)


def _in_tiles(
    compute: nn.Module, source: Tensor, *, reads: int, writes: int, to: str | torch.device
) -> Tensor:
    """Compute a part of the VAE tile by tile.

    Args:
        compute: The part.
        source: ``(1, C, h * reads, w * reads)`` for ``h`` x ``w`` latents.
        reads: Side of a latent in the source.
        writes: Side of a latent in the result.
        to: Where the result is gathered; on the CPU in fp32.

    Returns:
        ``(1, C', h * writes, w * writes)``.
    """
    height, width = source.shape[-2] // reads, source.shape[-1] // reads
    norms = _SharedNorms(compute)
    for _ in range(ROUNDS):
        for patches, counts in _patch_groups(source, reads):
            with norms.measuring(counts):
                compute(patches)
        norms.settle()
    result: Tensor | None = None
    with norms.applied():
        for top in range(0, height, TILE):
            for left in range(0, width, TILE):
                rows, kept_rows = _span(top, height)
                columns, kept_columns = _span(left, width)
                tile = compute(source[..., _times(rows, reads), _times(columns, reads)])
                tile = tile[..., _times(kept_rows, writes), _times(kept_columns, writes)]
                if result is None:
                    dtype = torch.float32 if to == "cpu" else tile.dtype
                    shape = (1, tile.shape[1], height * writes, width * writes)
                    result = torch.empty(shape, dtype=dtype, device=to)
                bottom, right = min(top + TILE, height), min(left + TILE, width)
                place = (slice(top, bottom), slice(left, right))
                result[..., _times(place[0], writes), _times(place[1], writes)] = tile
    assert result is not None, source.shape
    return result


def _span(start: int, limit: int) -> tuple[slice, slice]:
    """Give what a tile reads of one axis, in latents, and what of that is kept."""
    end = min(start + TILE, limit)
    first, last = max(start - MARGIN, 0), min(end + MARGIN, limit)
    return slice(first, last), slice(start - first, end - first)


def _times(span: slice, factor: int) -> slice:
    return slice(span.start * factor, span.stop * factor)


def _patch_groups(source: Tensor, reads: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Give patches to be measured together, and how much each of their pixels counts.

    Yields:
        ``(P, C, PATCH * reads, PATCH * reads)`` and ``(P, 1, PATCH, PATCH)``: 0 where the patch's
        own edge is felt, elsewhere the area that a latent stands for.
    """
    rows, columns = (_patch_spans(side // reads) for side in source.shape[-2:])
    for group in range(4):
        patches, counts = [], []
        for down, row_counts in rows[group // 2 :: 2]:
            for across, column_counts in columns[group % 2 :: 2]:
                patches.append(source[..., _times(down, reads), _times(across, reads)])
                counts.append(torch.outer(row_counts, column_counts)[None, None])
        yield torch.cat(patches), torch.cat(counts).to(source.device)


def _patch_spans(limit: int) -> list[tuple[slice, Tensor]]:
    """Spread the patches over an axis of so many latents, from edge to edge.

    Returns:
        Where each lies, and ``(PATCH,)``, what each of its latents counts: together they count for
        the whole axis, what lies between two patches to either's half.
    """
    if limit <= PATCH:
        # One patch is the whole axis and feels no edge. Both halves of the groups measure it.
        return [(slice(0, limit), torch.full((limit,), 0.5))] * 2
    size = PATCH
    starts = [round(i * (limit - size) / (GRID - 1)) for i in range(GRID)]
    firsts = [0, *(start + PATCH_MARGIN for start in starts[1:])]
    lasts = [*(start + size - PATCH_MARGIN for start in starts[:-1]), limit]
    between = [(last + first) / 2 for last, first in zip(lasts, firsts[1:], strict=False)]
    borders = [0.0, *between, float(limit)]
    spans = []
    for i, (start, first, last) in enumerate(zip(starts, firsts, lasts, strict=True)):
        counts = torch.zeros(size)
        counts[first - start : last - start] = (borders[i + 1] - borders[i]) / (last - first)
        spans.append((slice(start, start + size), counts))
    return spans


class _SharedNorms:
    """Gives the group norms of a module statistics that are not those of their input alone."""

    def __init__(self, module: nn.Module) -> None:
        self._norms = [part for part in module.modules() if isinstance(part, nn.GroupNorm)]
        self._measured: dict[nn.GroupNorm, list[Moments]] = {norm: [] for norm in self._norms}
        self._settled: dict[nn.GroupNorm, Moments] = {}

    @contextmanager
    def measuring(self, counts: Tensor) -> Iterator[None]:
        """Measure all patches of a group as one picture; norm by what is settled, or by that."""

        def measured(norm: nn.GroupNorm, values: Tensor) -> Tensor:
            moments = _moments(norm, values, counts)
            self._measured[norm].append(moments)
            return _normed(norm, values, self._settled.get(norm, moments))

        with self._replaced(measured):
            yield

    def settle(self) -> None:
        """Take the mean of what was measured since the last time."""
        for norm, found in self._measured.items():
            means, squares = zip(*found, strict=True)
            self._settled[norm] = (torch.stack(means).mean(0), torch.stack(squares).mean(0))
            found.clear()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Norm by what is settled."""
        with self._replaced(lambda norm, values: _normed(norm, values, self._settled[norm])):
            yield

    @contextmanager
    def _replaced(self, forward: Callable[[nn.GroupNorm, Tensor], Tensor]) -> Iterator[None]:
        for norm in self._norms:
            # On the instance, over the class's own, which comes back when it is taken away.
            norm.__dict__["forward"] = partial(forward, norm)
        try:
            yield
        finally:
            for norm in self._norms:
                del norm.__dict__["forward"]


def _moments(norm: nn.GroupNorm, values: Tensor, counts: Tensor) -> Moments:
    """Measure ``(P, C, h, w)`` where ``(P, 1, ., .)`` counts, at any scale."""
    weights = F.interpolate(counts, size=values.shape[-2:])
    grouped = values.float().unflatten(1, (norm.num_groups, -1))  # (P, G, C/G, h, w)
    weighted = grouped * weights[:, :, None]
    total = weights.sum() * grouped.shape[2]
    mean = weighted.sum(dim=(0, 2, 3, 4)) / total
    square = (weighted * grouped).sum(dim=(0, 2, 3, 4)) / total
    return mean[None, :, None], square[None, :, None]


def _normed(norm: nn.GroupNorm, values: Tensor, moments: Moments) -> Tensor:
    """Group normalisation (Wu & He 2018, arXiv:1803.08494) by given statistics."""
    mean, square = moments
    deviation = (square - mean**2).clamp(min=0).add(norm.eps).rsqrt()  # (1, G, 1)
    channels = (1, norm.num_groups, norm.num_channels // norm.num_groups)
    factor = deviation * norm.weight.float().view(channels)
    offset = norm.bias.float().view(channels) - mean * factor
    shape = (1, norm.num_channels, 1, 1)
    # One multiplication and one addition, in the number format of the values.
    return torch.addcmul(
        offset.reshape(shape).to(values.dtype), values, factor.reshape(shape).to(values.dtype)
    )


@contextmanager
def _attention_in_chunks(block: Any) -> Iterator[None]:
    """Let a middle block's attention hold a part of its matrix at a time."""
    attentions = [attention for attention in block.attentions if attention is not None]
    before = [attention.processor for attention in attentions]
    for attention in attentions:
        attention.processor = _Chunked()
    try:
        yield
    finally:
        for attention, processor in zip(attentions, before, strict=True):
            attention.processor = processor


class _Chunked:
    """diffusers' attention over the pixels of ``(B, C, h, w)``, some queries at a time."""

    def __call__(
        self,
        attention: Any,
        values: Tensor,
        encoder_hidden_states: None = None,
        attention_mask: None = None,
        temb: None = None,
    ) -> Tensor:
        # The names are diffusers'; a VAE gives none of the last three.
        assert (encoder_hidden_states, attention_mask, temb) == (None, None, None)
        batch, channels, height, width = values.shape
        tokens = attention.group_norm(values.flatten(2)).transpose(1, 2)  # (B, h * w, C)
        heads = (batch, -1, attention.heads, channels // attention.heads)
        query, key, value = (
            to(tokens).view(heads).transpose(1, 2)
            for to in (attention.to_q, attention.to_k, attention.to_v)
        )  # (B, heads, h * w, C / heads)
        attended = torch.cat(
            [
                F.scaled_dot_product_attention(part, key, value)
                for part in query.split(QUERIES, dim=2)
            ],
            dim=2,
        )
        joined = attended.transpose(1, 2).reshape(batch, height * width, channels)
        result = attention.to_out[0](joined).transpose(1, 2).reshape(values.shape)
        return torch.as_tensor((result + values) / attention.rescale_output_factor)
