"""From a folder of exported parts to components: some of them torch's, if it lacks them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, TypeVar

import torch
from transformers import CLIPTokenizer

from core.compute_units import ComputeUnits
from core.errors import CoreError, ModelInvalid, PartNotLoaded
from core.events import Loading
from core.models import load
from core.models.clip_tokenizer.bundled import bundled_tokenizer
from core.models.components import Components
from core.models.exported import Exported, Package
from core.models.exported_control import ExportedControl
from core.models.exported_parts import (
    ExportedControlNet,
    ExportedTextEncoder,
    ExportedUNet,
    ExportedVae,
    PartRunner,
    Predictor,
)
from core.models.fingerprint import Fingerprints
from core.models.identify import Identity
from core.models.load_single_file import PAD_TOKENS
from core.models.reading import Readable, quietly
from core.models.replacement_vae import vae_weights
from core.models.residence import Residence

Open = Callable[[Package, ComputeUnits, str], Predictor]
"""Brings a part to the processors that are to run it, and takes one of its functions, or its usual
one (an empty name); see ``core.coreml.CoreML.open``."""

TIME_LIMIT = 15 * 60.0
"""Seconds that a part may take to be ready. The Neural Engine's compiler takes up to five minutes
for a UNet of Stable Diffusion (https://github.com/apple/ml-stable-diffusion/issues/292), and may
never come to an end (https://github.com/MochiDiffusion/MochiDiffusion/issues/304)."""

PERIOD = 1.0
"""Seconds between two words on how long it has been."""

_END = "<|endoftext|>"
_TEXT_LENGTH = 77

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """How the parts of a model are opened.

    Attributes:
        open: What opens them.
        units: What runs each part, by its name.
        function: Which of their functions; empty for the usual one.
        time_limit: Seconds that each may take.
        period: Seconds between two words on how long it has been.
    """

    open: Open
    units: Mapping[str, ComputeUnits]
    function: str = ""
    time_limit: float = TIME_LIMIT
    period: float = PERIOD


def load_exported(
    identity: Identity,
    way: Way,
    *,
    source: Identity | None,
    device: torch.device,
    dtype: torch.dtype,
    fingerprints: Fingerprints,
    vae: Path | None = None,
    one_at_a_time: bool = False,
) -> Generator[Loading, None, Components]:
    """Load an exported model; see ``core.models.load.load`` for what is not told here.

    Args:
        identity: The model.
        way: How its parts are opened.
        source: The torch model that gives what it lacks; None if it lacks nothing.
        device: Where the torch parts go.
        dtype: Their number format, and that of what is handed from part to part.
        fingerprints: The memory of hashes.
        vae: Another VAE, torch's.
        one_at_a_time: Whether only the part at work is in memory.

    Yields:
        ``Loading`` for each part, again and again while it takes long.

    Raises:
        ModelInvalid: If a file is missing or damaged, or the source is not the model it was.
        PartNotLoaded: If a part does not become ready, or not in time.
    """
    exported = identity.exported
    assert exported is not None
    residence = Residence(device, one_at_a_time=one_at_a_time)
    names = ("unet", *identity.text_encoders, "vae")
    lacking = [name for name in exported.lacking(names) if name != "vae" or vae is None]
    if lacking:
        assert source is not None
        _check_source(exported, source, fingerprints)
    modules: dict[str, Any] = {}
    for name in names:
        if exported.of(name) and not (name == "vae" and vae is not None):
            modules[name] = yield from _component(exported, name, way, residence)
    with quietly(), load.all_kept():
        like = identity if source is None else source
        modules |= load.modules_of(like, residence, dtype, lacking, vae=vae)
        tokenizers = {
            name: load.load_tokenizer(source, name)
            if source is not None and name in lacking
            else _tokenizer(identity, exported, name)
            for name in identity.text_encoders
        }
    return Components(
        identity=identity,
        sha256=fingerprints.of_model(identity.weights),
        vae_sha256=_vae_sha256(identity, source, vae, fingerprints),
        tokenizer=tokenizers.get("text_encoder"),
        text_encoder=modules.get("text_encoder"),
        text_uses_mask=bool(identity.configs.get("text_encoder", {}).get("use_attention_mask")),
        unet=modules["unet"],
        vae=modules["vae"],
        scaling_factor=float(identity.configs["vae"].get("scaling_factor", 1.0)),
        tiny_vae=None,
        tiny_scaling_factor=1.0,
        scheduler_config=identity.configs["scheduler"],
        device=device,
        dtype=dtype,
        residence=residence,
        tokenizer_2=tokenizers.get("text_encoder_2"),
        text_encoder_2=modules.get("text_encoder_2"),
    )


def _component(
    exported: Exported, name: str, way: Way, residence: Residence
) -> Generator[Loading, None, Any]:
    """Open a component's parts and give them to ``residence``."""
    runner = PartRunner(exported.of(name), partial(_opened, way))
    yield from _lodged(name, runner, way, residence)
    match name:
        case "unet":
            return ExportedUNet(runner)
        case "vae":
            encoder = None
            if exported.vae_encoder is not None:
                encoder = PartRunner([exported.vae_encoder], partial(_opened, way))
                yield from _lodged("vae_encoder", encoder, way, residence)
            return ExportedVae(runner, encoder)
        case _:
            return ExportedTextEncoder(runner, projects=name == "text_encoder_2")


def load_exported_control(
    name: str, control: ExportedControl, opener: Open, residence: Residence
) -> Generator[Loading, None, ExportedControlNet]:
    """Open a ControlNet.

    Args:
        name: What it is called among the model's parts.
        control: The ControlNet.
        opener: What opens it.
        residence: Where it works, beside the UNet, with which it takes turns at every step.

    Yields:
        ``Loading``, again and again while it takes long.

    Raises:
        PartNotLoaded: If it does not become ready, or not in time.
    """
    package = control.package
    way = Way(open=opener, units={package.name: control.units}, function=control.function)
    runner = PartRunner([package], partial(_opened, way))
    yield from _lodged(name, runner, way, residence, beside="unet")
    return ExportedControlNet(runner)


def _opened(way: Way, package: Package) -> Predictor:
    return way.open(package, way.units[package.name], way.function)


def _lodged(
    name: str, runner: PartRunner, way: Way, residence: Residence, *, beside: str = ""
) -> Generator[Loading, None, None]:
    parts = " and ".join(package.name for package in runner.packages)
    units = way.units[runner.packages[0].name]
    yield from in_background(
        runner.put_in,
        f"{parts} ({units})",
        limit=way.time_limit,
        period=way.period,
    )
    residence.lodge(name, runner, beside=beside)


class _Work(threading.Thread, Generic[T]):
    """A thread that keeps what comes out, and that nobody needs to wait for."""

    def __init__(self, work: Callable[[], T]) -> None:
        super().__init__(daemon=True)
        self._work = work
        self.results: list[T] = []
        self.error: BaseException | None = None

    def run(self) -> None:
        with ExitStack() as stack:
            stack.push(self._keep)
            self.results.append(self._work())

    def _keep(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        # coremltools raises Exception itself, and where it is raised nobody could hear of it.
        self.error = error
        return True


def in_background(
    work: Callable[[], T], what: str, *, limit: float, period: float = PERIOD
) -> Generator[Loading, None, T]:
    """Let a thread open something, and say how long it has been.

    The system cannot be stopped at it; a thread that is given up goes on and its result is lost.

    Args:
        work: What to do.
        what: Its name for people.
        limit: Seconds that it may take.
        period: Seconds between two words.

    Yields:
        ``Loading`` at the beginning, and then each period.

    Raises:
        PartNotLoaded: If it fails, or is not done in time.
        CoreError: That it raises itself.
    """
    thread, begin = _Work(work), time.monotonic()
    thread.start()
    yield Loading(what=what)
    while True:
        thread.join(period)
        seconds = time.monotonic() - begin
        if not thread.is_alive():
            break
        if seconds >= limit:
            raise PartNotLoaded(
                f"{what} was not ready after {limit / 60:.0f} minutes; choose other compute units "
                "(--compute-units cpu-gpu), or what it was made from."
            )
        yield Loading(what=what, seconds=seconds)
    if isinstance(thread.error, CoreError):
        raise thread.error
    if thread.error is not None:
        why = str(thread.error).partition("\n")[0] or type(thread.error).__name__
        raise PartNotLoaded(
            f"{what} cannot be loaded ({why}); choose other compute units (--compute-units cpu), "
            "or export the model again."
        ) from thread.error
    return thread.results[0]


def _check_source(exported: Exported, source: Identity, fingerprints: Fingerprints) -> None:
    """Refuse another model than the one that parts are missing of."""
    found = fingerprints.of_model(source.weights)
    if exported.source_sha256 and found != exported.source_sha256:
        raise ModelInvalid(
            f"{source.path} is not the model that {exported.folder} was made from any more; put it "
            "back, or export all parts."
        )


def _vae_sha256(
    identity: Identity, source: Identity | None, vae: Path | None, fingerprints: Fingerprints
) -> str:
    """Hash the VAE, by which what was learned of it is kept."""
    exported = identity.exported
    assert exported is not None
    if vae is not None:
        return fingerprints.of_model(vae_weights(vae))
    if not exported.of("vae"):
        assert source is not None
        return fingerprints.of_model(load.files_of(source, "vae"))
    if exported.vae_sha256:
        return exported.vae_sha256
    files = {name: path for name, path in identity.weights.items() if name.startswith("VAE")}
    return fingerprints.of_model(files)


def _tokenizer(identity: Identity, exported: Exported, name: str) -> Any:
    """Load the tokenizer of a text encoder: of the folder's files, or CLIP's own."""
    usual = PAD_TOKENS.get(identity.family, (_END, _END))
    pad = exported.pads.get(name) or usual[identity.text_encoders.index(name)]
    folder = exported.folder
    if not all((folder / file).is_file() for file in ("vocab.json", "merges.txt")):
        return bundled_tokenizer(pad)
    with Readable(folder / "vocab.json"):
        tokenizer = CLIPTokenizer.from_pretrained(
            folder, local_files_only=True, pad_token=pad, unk_token=_END, eos_token=_END
        )
    tokenizer.model_max_length = _TEXT_LENGTH
    return tokenizer
