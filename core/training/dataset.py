"""A training's pictures and captions as batches of latents and conditionings."""

from __future__ import annotations

import random
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.events import Notice, Prepared
from core.models.components import Components
from core.sampling.conditioning import Conditioning, joined
from core.sampling.noise import generators_of
from core.sampling.start import EncodedPicture
from core.training.buckets import Fit, cover, fit, make_buckets, step_of
from core.training.config_parts import Crop, DataSettings
from core.training.kept import KeptEncodings
from core.training.order import Order, Showing, derived
from core.training.showing import Example, View
from core.training.texts import most_tokens, tokens_of
from core.training.wording import shown_caption, with_trigger


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one process learns from in one forward pass.

    Attributes:
        latents: ``(B, 4, H/8, W/8)``, scaled, fp32, on the CPU.
        captions: B texts, as they are shown: with the trigger word, shuffled, or left out.
        seeds: Of everything else that is left to chance; see ``core.training.order.derived``.
        sizes: ``(B, 6)``, fp32, as in ``core.sampling.conditioning.Conditioning``: each picture's
            own height and width, top and left of its crop, the batch's height and width.
        masks: ``(B, 1, H/8, W/8)``, fp32, 0 to 1: how much of each latent is learned; None where
            masks are not used.
        is_prior: ``(B,) bool``: which are class pictures, by which a class is preserved.
    """

    latents: Tensor
    captions: tuple[str, ...]
    seeds: tuple[int, ...]
    sizes: Tensor
    masks: Tensor | None
    is_prior: Tensor

    def __len__(self) -> int:
        """Give B."""
        return len(self.latents)


@dataclass(frozen=True, slots=True)
class _Shown:
    """A showing with all that is decided about it."""

    latents: Tensor
    caption: str
    seed: int
    sizes: tuple[int, ...]
    mask: Tensor | None
    is_prior: bool


class Dataset:
    """Pictures to learn from, in the order of a seed.

    Latents are kept as their distribution, from which each showing draws anew, so that a training
    with a cache and one without learn from the same numbers.
    """

    def __init__(
        self,
        examples: Sequence[Example],
        settings: DataSettings,
        components: Components,
        *,
        cache: Path,
        seed: int,
        batch_size: int,
        resolution: int,
        prior: Sequence[Example] = (),
    ) -> None:
        """Use the pictures that ``core.training.pictures.scan`` found.

        Args:
            examples: The pictures; at least one.
            settings: How they are shown.
            components: The model that is taught.
            cache: Folder of latents and encoded texts, if the settings want one.
            seed: Of the order, and of each showing.
            batch_size: Pictures of one forward pass on one process, class pictures aside.
            resolution: See ``core.training.buckets.resolution_of``.
            prior: Class pictures; as many of them are added to each batch as it holds others.

        Raises:
            InvalidRequest: If the resolution is too small for the model.
        """
        self._settings = settings
        self._components = components
        self._seed = seed
        self._batch_size = batch_size
        self._examples = tuple(examples)
        self._prior = tuple(prior)
        shapes = make_buckets(resolution, step_of(components.identity), square=not settings.buckets)
        self._fits = [fit(one.width, one.height, shapes) for one in self._examples]
        self._shapes = sorted({one.bucket for one in self._fits})
        self._kept = KeptEncodings(components, settings, cache)
        self._orders: dict[int, tuple[Order, Order | None]] = {}

    def batches(self, processes: int = 1) -> int:
        """Count the batches of an epoch, in which every picture is shown once at least."""
        return self._order(processes)[0].batches

    def prepare(
        self, *, rank: int = 0, processes: int = 1, texts: bool = True
    ) -> Generator[Prepared | Notice, None, None]:
        """Compute what can be computed before, if it is to be kept.

        Args:
            rank: Which of the processes this is; each computes its share.
            processes: How many there are.
            texts: Whether texts are wanted too: not where the text encoders learn.

        Yields:
            How far it is, and what should be known.

        Raises:
            CoreError: If a picture has gone, the model is damaged, or the disk is full.
        """
        yield from self._told()
        if not self._settings.cache:
            return
        work = list(self._fixed())[rank::processes]
        for number, (example, view) in enumerate(work, 1):
            self._kept.picture(example, view)
            yield Prepared(what="latents", index=number, total=len(work))
        if self._kept.fell_back:
            yield Notice(
                message="The VAE overflowed in fp16 on some pictures; they were encoded in fp32."
            )
        captions = self._captions()[rank::processes] if texts else []
        for number, caption in enumerate(captions, 1):
            self._kept.text(caption)
            yield Prepared(what="captions", index=number, total=len(captions))

    def batch(self, step: int, *, rank: int = 0, processes: int = 1) -> Batch:
        """Give what a process learns from in a forward pass.

        Args:
            step: Forward passes before it, from 0 on.
            rank: Which of the processes.
            processes: How many there are; together they see what one would see whose batch is as
                many times larger.

        Raises:
            DatasetInvalid: If a picture has gone.
            ModelInvalid: If the VAE's answer is not finite.
        """
        order, prior = self._order(processes)
        mine = slice(rank * self._batch_size, (rank + 1) * self._batch_size)
        showings = order.batch_of(step)[mine]
        shape = self._fits[showings[0].example].bucket
        shown = [
            self._shown(self._examples[one.example], self._fits[one.example], one)
            for one in showings
        ]
        for one in () if prior is None else prior.batch_of(step)[mine]:
            example = self._prior[one.example]
            to_shape = cover(example.width, example.height, shape)
            shown.append(self._shown(example, to_shape, one, is_prior=True))
        return _stacked(shown)

    def texts(self, captions: Sequence[str]) -> Conditioning:
        """Encode captions, or remember them.

        Returns:
            A batch of as many, on the model's device in its number format, without gradients.

        Raises:
            ModelInvalid: If an encoder's answer is not finite.
        """
        together = joined([self._kept.text(caption) for caption in captions])
        return together.map(lambda values: values.to(self._components.device))

    def _order(self, processes: int) -> tuple[Order, Order | None]:
        """Give the order of the pictures, and of the class pictures."""
        if processes not in self._orders:
            size = self._batch_size * processes
            groups = [self._shapes.index(one.bucket) for one in self._fits]
            repeats = [example.repeats for example in self._examples]
            order = Order(groups, repeats, batch=size, seed=self._seed)
            prior = None
            if self._prior:
                count = len(self._prior)
                seed = derived(self._seed, "prior")
                prior = Order([0] * count, [1] * count, batch=size, seed=seed)
            self._orders[processes] = order, prior
        return self._orders[processes]

    def _shown(
        self, example: Example, to_shape: Fit, showing: Showing, *, is_prior: bool = False
    ) -> _Shown:
        chance = random.Random(derived(showing.seed, "crop"))
        view = View(
            fit=to_shape,
            crop=to_shape.crop(self._settings.crop, chance),
            # Of two pictures one begins mirrored, and then every other showing of each is.
            flip=self._settings.flip and (showing.count + showing.example) % 2 == 1,
            background=self._settings.background,
        )
        encoded = self._kept.picture(example, view)
        picture = EncodedPicture(encoded["mean"], encoded["std"], self._components.scaling_factor)
        caption = example.caption
        if not is_prior:
            chance = random.Random(derived(showing.seed, "caption"))
            caption = shown_caption(caption, self._settings, chance)
        width, height = to_shape.bucket
        left, top = view.corner
        return _Shown(
            latents=picture.sample(generators_of([derived(showing.seed, "latents")])),
            caption=caption,
            seed=showing.seed,
            sizes=(example.height, example.width, top, left, height, width),
            mask=encoded.get("mask"),
            is_prior=is_prior,
        )

    def _fixed(self) -> Generator[tuple[Example, View], None, None]:
        """Give all ways of showing that come again."""
        ways = list(zip(self._examples, self._fits, strict=True))
        ways += [
            (one, cover(one.width, one.height, shape))
            for one in self._prior
            for shape in self._shapes
        ]
        for example, at in ways:
            if at.is_fixed(self._settings.crop):
                crop = at.crop(Crop.CENTRE, random.Random(0))
                for flip in (False, True) if self._settings.flip else (False,):
                    yield (
                        example,
                        View(fit=at, crop=crop, flip=flip, background=self._settings.background),
                    )

    def _captions(self) -> list[str]:
        """List the captions that will be shown, as far as they are known before."""
        settings = self._settings
        said = [example.caption for example in self._prior]
        if not settings.shuffle_tags:
            said += [with_trigger(one.caption, settings.trigger) for one in self._examples]
        if settings.caption_dropout:
            said.append("")
        return list(dict.fromkeys(said))

    def _told(self) -> Generator[Notice, None, None]:
        """Say what becomes of captions and crops."""
        most = most_tokens(self._components)
        said = [with_trigger(one.caption, self._settings.trigger) for one in self._examples]
        said += [example.caption for example in self._prior]
        long = sum(len(tokens_of(self._components, one)) > most for one in set(said))
        if long:
            yield Notice(
                message=f"{long} of {len(set(said))} captions have more than {most} tokens; the "
                "text encoder reads no more of them."
            )
        if self._settings.crop is Crop.RANDOM and self._settings.cache:
            moved = sum(not one.is_fixed(Crop.RANDOM) for one in self._fits)
            if moved:
                yield Notice(
                    message=f"{moved} of {len(self._fits)} pictures are cropped anew at every "
                    "showing and encoded each time, which is slower; crop at the centre to encode "
                    "them once."
                )


def _stacked(shown: Sequence[_Shown]) -> Batch:
    masks = None
    if any(one.mask is not None for one in shown):
        height, width = shown[0].latents.shape[2:]
        whole = torch.ones(1, 1, height, width)
        masks = torch.cat([whole if one.mask is None else one.mask for one in shown])
    return Batch(
        latents=torch.cat([one.latents for one in shown]),
        captions=tuple(one.caption for one in shown),
        seeds=tuple(one.seed for one in shown),
        sizes=torch.tensor([one.sizes for one in shown], dtype=torch.float32),
        masks=masks,
        is_prior=torch.tensor([one.is_prior for one in shown]),
    )
