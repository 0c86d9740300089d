"""A training from its settings to a checked file: the course that all methods share."""

from __future__ import annotations

import dataclasses
import gc
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from core.device import (
    as_out_of_memory,
    dtype_of,
    free_memory,
    release_cached_memory,
    resolve_precision,
)
from core.errors import (
    CoreError,
    InvalidRequest,
    OutOfMemory,
    SaveFailed,
    TrainingDiverged,
    Unsupported,
)
from core.events import (
    Checkpointed,
    Engine,
    Loading,
    MemoryEstimate,
    Notice,
    Trained,
    TrainingEvent,
    TrainStep,
)
from core.folder_lock import alone_in
from core.models.catalog import resolve
from core.models.components import Components
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity, identify
from core.models.load import load, outline
from core.paths import expanded
from core.request import MemoryMode, Precision, TextToImage
from core.training.buckets import resolution_of
from core.training.checkpoint import State, read_checkpoint, write_checkpoint
from core.training.class_pictures import class_pictures
from core.training.config import DreamBooth, TextualInversion, TrainConfig
from core.training.dataset import Dataset
from core.training.defaults import usual_rate
from core.training.folder import Folder, check_begins
from core.training.material import compare_material, write_material
from core.training.optimisers import check_installed
from core.training.pictures import scanning
from core.training.presets import memory_needed
from core.training.processes import Processes, Stopped, told_of_change, told_of_launch
from core.training.recipes.choice import recipe_of
from core.training.record import metadata_of, trigger
from core.training.samples import Sampler, sample_request
from core.training.seal import seal
from core.training.self_check import Check, check_picture, check_tensors
from core.training.session import Diverged, Session, make_accelerator
from core.training.sharding import check_sharding, is_sharded
from core.training.showing import Example
from core.training.student import Student

_CPU = torch.device("cpu")
_HALVED = 0.5
_CHECK_STEPS = 12


@dataclass(frozen=True, slots=True)
class Place:
    """Where a training is done.

    Attributes:
        device: Where to compute.
        cache: Folder of what can be computed again: latents, texts, class pictures.
        engine: Makes pictures of the class, and the one that shows whether the result works.
        forget: Gives back what the engine holds, before the model that learns takes its place.
    """

    device: torch.device
    cache: Path
    engine: Engine
    forget: Callable[[], None]


def train(
    config: TrainConfig, place: Place, *, resume: bool = False
) -> Generator[TrainingEvent, None, None]:
    """Teach a model; see ``core.events.Trainer.train``.

    Raises:
        CoreError: When it cannot be carried out; the message names the last good checkpoint.
    """
    folder = Folder(expanded(Path(config.out)))
    check_begins(folder, config, resume=resume)
    try:
        yield from _Course(config, place, folder).run(resume=resume)
    except (RuntimeError, MemoryError) as error:
        if as_out_of_memory(error) is None:
            raise
        raise _with_last_good(
            OutOfMemory(
                "The device ran out of memory while learning; choose gradient checkpointing, a "
                "smaller batch or resolution, or a preset for less memory."
            ),
            folder,
        ) from error
    except CoreError as error:
        raise _with_last_good(error, folder) from error
    finally:
        gc.collect()
        release_cached_memory(place.device)


def _with_last_good(error: CoreError, folder: Folder) -> CoreError:
    """Say where the training can go on from."""
    steps = folder.steps()
    if not steps or isinstance(error, InvalidRequest):
        return error
    kept = f"{error} The training is kept up to step {steps[-1]} in {folder.checkpoint(steps[-1])}"
    if isinstance(error, SaveFailed):
        kept += "; resume it when files can be written there again"
    return type(error)(f"{kept}.")


class _Course:
    """One training on its way."""

    def __init__(self, config: TrainConfig, place: Place, folder: Folder) -> None:
        self._config = config
        self._place = place
        self._folder = folder
        self._begin = time.perf_counter()

    def run(self, *, resume: bool) -> Iterator[TrainingEvent]:
        """Look at the model, and go through all stages."""
        config = self._config
        identity = identify(resolve(config.model))
        check_teachable(identity)
        self._recipe = recipe_of(config, identity.family)
        check_installed(config.optimiser.name)
        self._recipe.check(outline(identity))
        precision = training_precision(config.precision, self._place.device)
        self._accelerator = make_accelerator(self._place.device, precision)
        self._is_main = self._accelerator.is_main_process
        self._processes = Processes(self._accelerator.num_processes)
        locks = self._place.cache / "training" / "locks"
        root = self._folder.root
        alone = alone_in(root, locks, work="training") if self._is_main else nullcontext()
        with self._processes.together(), alone:
            yield from self._stages(identity, precision, resume=resume)

    def _stages(
        self, identity: Identity, precision: Precision, *, resume: bool
    ) -> Iterator[TrainingEvent]:
        """Go through all stages, with the folder to itself."""
        config = self._config
        # What learns in full learns in fp32, whatever is computed in.
        self._dtype = dtype_of(Precision.FP32 if self._recipe.in_full else precision)
        self._side = resolution_of(config.data, identity)
        count = self._accelerator.num_processes
        yield from told_of_launch(count)
        check_sharding(self._accelerator, self._recipe, config.optimiser.name)
        yield from self._memory(identity, precision)
        self._fingerprints = Fingerprints.kept_in(self._place.cache)
        sha256 = self._fingerprints.of_model(identity.weights)
        self._examples = yield from self._scanned()
        material = self._folder.material_file
        if resume and self._folder.steps():
            yield from compare_material(material, sha256, self._examples)
        elif self._is_main:
            write_material(material, config.model, sha256, self._examples)
        if self._is_main:
            self._folder.write_config(config)
        self._prior = yield from self._class_pictures(identity, sha256)
        self._place.forget()
        state = None
        if resume:
            state = yield from self._latest()
            if state is None:
                yield Notice(message=f"{self._folder.root} holds no checkpoint; it begins anew.")
            else:
                yield from told_of_change(state.processes, count)
        elif self._is_main:
            self._folder.cut_log(0)
        factor = 1.0
        # A rate that was halved stays so, and one that was chosen anew is taken as it is.
        if state is not None and state.rate == usual_rate(config, identity.family):
            factor = state.rate_factor
        while True:
            try:
                yield from self._attempt(identity, state, factor)
                return
            except Diverged as diverged:
                self._forget(diverged.step)
                if factor < 1:
                    raise TrainingDiverged(
                        "The loss became no number again, with the learning rate halved already; "
                        "choose a lower learning rate, or fp32."
                    ) from None
            factor = _HALVED
            # The one before keeps its model, and the scaler of what diverged.
            self._accelerator.free_memory()
            self._accelerator = make_accelerator(self._place.device, precision)
            state = yield from self._latest()
            yield Notice(
                message="The loss became no number; the training goes on from "
                f"{'the beginning' if state is None else f'step {state.step}'} with half the "
                "learning rate."
            )

    def _forget(self, step: int) -> None:
        """Delete the checkpoint of a step that none could follow: none could from there again."""
        if self._is_main:
            shutil.rmtree(self._folder.checkpoint(step), ignore_errors=True)
        self._accelerator.wait_for_everyone()

    def _memory(self, identity: Identity, precision: Precision) -> Iterator[TrainingEvent]:
        """Say what it will take, before anything is read."""
        needed = memory_needed(self._config, identity, auto=precision).total
        free = free_memory(self._accelerator.device)
        yield MemoryEstimate(needed=needed, free=free, mode=MemoryMode.FULL)
        if needed > free:
            yield Notice(
                message="That is more than is free; choose a preset for less memory, or close "
                "other programs."
            )

    def _scanned(self) -> Generator[TrainingEvent, None, tuple[Example, ...]]:
        """Look through the pictures, and say what is left out."""
        config = self._config
        prompt = None
        if isinstance(config, DreamBooth):
            prompt = config.instance_prompt
        found = yield from scanning(config.data, prompt=prompt, resolution=self._side)
        for problem in found.problems:
            yield Notice(message=f"Left out: {problem.path} {problem.reason}")
        yield from found.notices
        captions = [one.caption for one in found.examples]
        replaced = sum(self._recipe.caption(text, 0) != text for text in captions)
        if replaced:
            yield Notice(
                message=f"{replaced} of {len(captions)} captions lack {trigger(config)!r}; "
                "sentences that say nothing else take their place."
            )
        return found.examples

    def _class_pictures(
        self, identity: Identity, sha256: str
    ) -> Generator[TrainingEvent, None, tuple[Example, ...]]:
        config = self._config
        if not isinstance(config, DreamBooth) or not config.class_prompt:
            return ()
        if not self._is_main:
            # Until they are there.
            self._processes.meet()
        found = yield from class_pictures(
            config, identity, sha256, self._place.engine, self._place.cache, self._side
        )
        if self._is_main:
            self._processes.meet()
        return found

    def _latest(self) -> Generator[TrainingEvent, None, State | None]:
        """Read the latest checkpoint that is whole; None where there is none."""
        state = None
        for step in reversed(self._folder.steps()):
            try:
                state = read_checkpoint(self._folder.checkpoint(step))
                break
            except CoreError as error:
                yield Notice(message=f"{error} It is deleted.")
                self._processes.meet()
                if self._is_main:
                    shutil.rmtree(self._folder.checkpoint(step), ignore_errors=True)
        if self._is_main:
            self._folder.cut_log(0 if state is None else state.step)
        return state

    def _attempt(
        self, identity: Identity, state: State | None, factor: float
    ) -> Iterator[TrainingEvent]:
        """Learn until the end, or until the loss is no number."""
        config, accelerator = self._config, self._accelerator
        yield Loading(what=f"the model {config.model}")
        components = load(
            identity,
            device=accelerator.device,
            dtype=self._dtype,
            fingerprints=self._fingerprints,
        )
        dataset = Dataset(
            self._examples,
            config.data,
            components,
            cache=self._place.cache / "training",
            seed=config.seed,
            batch_size=config.batch_size,
            resolution=self._side,
            prior=self._prior,
        )
        rank, processes = accelerator.process_index, accelerator.num_processes
        learns_text = isinstance(config, TextualInversion) or config.train_text
        yield from dataset.prepare(rank=rank, processes=processes, texts=not learns_text)
        self._processes.meet()
        session = Session(config, components, self._recipe, dataset, accelerator, state, factor)
        epochs = config.steps * config.accumulation / dataset.batches(processes)
        try:
            yield from self._learn(session, components)
        except (GeneratorExit, Stopped, CoreError) as reason:
            # The step that failed has changed nothing yet.
            is_failed = isinstance(reason, CoreError)
            with self._processes.parting(reason):
                # A process that is gone took its part of what was shared out with it.
                if not (self._processes.is_broken and is_sharded(accelerator)):
                    self._keep(session, usable=not (is_failed and self._recipe.in_full))
            raise
        written = self._written(session, epochs)
        if written is not None:
            base = _check_request(config, components, self._side)
            del session, components, dataset
            self._accelerator.free_memory()
            gc.collect()
            release_cached_memory(self._place.device)
            yield from self._finish(*written, base)

    def _learn(self, session: Session, components: Components) -> Iterator[TrainingEvent]:
        """Take step after step, with all that goes on beside."""
        config = self._config
        sampler = Sampler(self._place.cache)
        request = sample_request(config, components)
        if session.step == 0:
            yield from self._drawn(sampler, request, session)
        begin = time.perf_counter()
        while session.step < config.steps:
            with self._processes.exchanging():
                learned = session.learn(self._processes.meet)
            seconds = time.perf_counter() - begin
            if self._is_main:
                self._folder.log({"step": session.step, "loss": learned.loss, "rate": learned.rate})
            yield TrainStep(
                index=session.step,
                total=config.steps,
                loss=learned.loss,
                prior_loss=learned.prior_loss,
                learning_rate=learned.rate,
                seconds=seconds,
            )
            is_last = session.step == config.steps
            if is_last or (config.save_every and session.step % config.save_every == 0):
                self._keep(session, usable=not self._recipe.in_full)
                path = self._folder.checkpoint(session.step)
                yield Checkpointed(
                    step=session.step, path=path, usable=self._folder.usable(session.step)
                )
            if is_last or (config.samples.every and session.step % config.samples.every == 0):
                yield from self._drawn(sampler, request, session)
        self._processes.meet(last=True)

    def _drawn(
        self, sampler: Sampler, request: TextToImage | None, session: Session
    ) -> Iterator[TrainingEvent]:
        if request is not None:
            with session.with_result(self._accelerator.device) as student:
                if self._is_main:
                    yield from sampler.draw(request, student, self._folder, session.step)

    def _keep(self, session: Session, *, usable: bool) -> None:
        """Write a checkpoint, unless it is there; all processes have a hand in it."""
        state = session.state()
        with session.with_result(_CPU) if usable else nullcontext() as student:
            if self._is_main:
                self._write_checkpoint(state, student)

    def _write_checkpoint(self, state: State, student: Student | None) -> None:
        def write(folder: Path) -> None:
            assert student is not None
            made = folder / self._folder.usable_name(self._recipe.file_name)
            self._recipe.write(made, student.components, _weights(student), {})

        path = self._folder.checkpoint(state.step)
        if not path.exists():
            write_checkpoint(path, state, None if student is None else write)
        elif student is not None and self._folder.usable(state.step) is None:
            write(path)
        self._folder.keep_checkpoints(self._folder.steps()[-self._config.keep :])

    def _written(self, session: Session, epochs: float) -> tuple[Check, Path] | None:
        """Write what was learned where it is looked at before it is called done.

        Returns:
            What is known of it by now, and where it is; None on all processes but the main one.
        """
        with session.with_result(_CPU) as student:
            if not self._is_main:
                return None
            return self._write_result(session.initial, student, epochs)

    def _write_result(
        self, initial: Mapping[str, bytes], student: Student, epochs: float
    ) -> tuple[Check, Path]:
        check = Check()
        components, result = student.components, _weights(student)
        check_tensors(check, initial, result, self._config.steps)
        metadata = metadata_of(
            self._config,
            components,
            self._examples,
            folder=self._folder.root,
            width=self._side,
            epochs=epochs,
            processes=self._accelerator.num_processes,
            class_pictures=len(self._prior),
        )
        unchecked = self._folder.unchecked
        shutil.rmtree(unchecked, ignore_errors=True)
        made = unchecked / self._recipe.file_name
        self._recipe.write(made, components, result, metadata)
        self._recipe.write_others(unchecked, components, result, metadata)
        return check, made

    def _finish(self, check: Check, made: Path, base: TextToImage) -> Iterator[TrainingEvent]:
        """Look at what was made, and give it its name."""
        after = self._recipe.use(base, made)
        # A new word is held against what the model makes of its letters.
        before = dataclasses.replace(base, prompts=after.prompts)
        yield from check_picture(check, self._place.engine, before, after)
        for copy in {made, *self._folder.unchecked.rglob("*.safetensors")}:
            if made not in copy.parents:
                seal(copy, check.verdict)
        self._folder.take_over()
        path = self._folder.root / made.name
        yield Trained(
            path=path,
            is_sound=check.is_sound,
            verdict=check.verdict,
            steps=self._config.steps,
            seconds=time.perf_counter() - self._begin,
        )


def _weights(student: Student) -> dict[str, Tensor]:
    return {name: weights.data for name, weights in student.learned().items()}


def check_teachable(identity: Identity) -> None:
    """Refuse models that these methods would spoil.

    Raises:
        Unsupported: Saying what would do.
    """
    name = identity.path.name
    if identity.inpainting:
        raise Unsupported(
            f"{name} is an inpainting model, which is told of masks that a training has none of; "
            "teach the model that it was made of: LoRAs of that work with both."
        )
    if identity.guidance_embedding or identity.is_scored:
        raise Unsupported(
            f"{name} is a {'refiner' if identity.is_scored else 'distilled model'}; teach the "
            "model that it belongs to."
        )


def training_precision(precision: Precision, device: torch.device) -> Precision:
    """Give the number format to learn in; ``AUTO`` is fp32 on the CPU and bf16 where there is one.

    Raises:
        Unsupported: If the device cannot compute in it.
    """
    if precision is not Precision.AUTO:
        return resolve_precision(precision, device)
    return Precision.FP32 if device.type == "cpu" else half_precision(device)


def half_precision(device: torch.device) -> Precision:
    """Give the number format of half the size that a device learns in; fp32 if there is none."""
    try:
        return resolve_precision(Precision.BF16, device)
    except Unsupported:
        return Precision.FP16 if device.type == "cuda" else Precision.FP32


def _check_request(config: TrainConfig, components: Components, side: int) -> TextToImage:
    """Give the picture by which a result is held against the model it was made of."""
    identity = components.identity
    prompts = (*config.samples.prompts, trigger(config), "a picture")
    return TextToImage(
        model=config.model,
        prompts=(next(text for text in prompts if text),),
        steps=min(identity.defaults.steps, _CHECK_STEPS),
        guidance_scale=identity.defaults.guidance_scale,
        scheduler=identity.defaults.scheduler,
        width=side,
        height=side,
        seed=config.seed,
        batch_size=1,
    )
