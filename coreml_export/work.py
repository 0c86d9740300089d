"""An export as it is done, in a process of its own: from the model's files to the folder."""

from __future__ import annotations

import gc
import hashlib
import json
import platform
import shutil
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import psutil

from core.about import APP_NAME
from core.about import version as own_version
from core.coreml_folder import CONTROL_FOLDER, SUFFIXES, ExportFormat, Manifest, PartRecord
from core.errors import InvalidRequest, OutOfMemory
from core.events import Notice
from core.files import replace_file
from core.models import catalog
from core.models.copying import check_room
from core.models.families import distilled_steps
from core.models.library import Library
from core.models.taught import lora_teaching
from core.models.writing.folder import merges_text
from core.paths import Profile
from core.sampling import linear_preview
from coreml_export import coreai, package
from coreml_export.events import Exported, ExportEvent, Needs, PartWritten, Stage, StageBegan
from coreml_export.folder import ExportFolder, size_of
from coreml_export.parts import Part, parts_of
from coreml_export.plan import (
    PartPlan,
    Planned,
    disk_needed,
    memory_needed,
    plan,
    target_of,
)
from coreml_export.request import ExportRequest
from coreml_export.source import Source, open_source
from coreml_export.tokenizer_files import can_be_spelled, spellings

RECIPE = 1
"""Number of this way to make parts; those of another one are made anew."""

VERSION_KEY = "com.github.apple.ml-stable-diffusion.version"
"""Under which Apple's converter writes its version, so that readers can tell what they have."""

RECIPE_KEY = "stepwise.recipe"

_TOOLS = {
    ExportFormat.COREML: ("coremltools",),
    ExportFormat.COREAI: ("coreai-core", "coreai-torch"),
}
_WRITERS = {ExportFormat.COREML: package.write, ExportFormat.COREAI: coreai.write}
_LIBRARIES = ("torch", "diffusers", "transformers")


def export_here(
    profile: Profile, request: ExportRequest
) -> Generator[ExportEvent | Planned | StageBegan, None, None]:
    """Export a model in this process; see ``coreml_export.export.export``.

    Args:
        profile: Where the user's files are known.
        request: What to export; its folder has been looked at and is this export's alone.

    Yields:
        What happens; where it stands is for the caller to reckon.

    Raises:
        CoreError: If it cannot be done; finished parts are kept.
    """
    began = time.monotonic()
    # What coremltools leaves in temporary folders goes with the unfinished parts.
    folder = ExportFolder(Path(request.out), SUFFIXES[request.format])
    tempfile.tempdir = str(folder.unfinished)
    library = Library(profile)
    catalog.use_shelf(library)
    try:
        source = yield from open_source(request, library, profile.cache)
        work = _Work(source, folder, profile.cache, compiles=platform.system() == "Darwin")
        yield from work.run()
    except MemoryError as error:
        raise OutOfMemory(
            "The memory is used up; close other programs and export again, finished parts are kept."
        ) from error
    yield Exported(folder=folder.root, manifest=work.manifest(), seconds=time.monotonic() - began)


class _Work:
    """The parts of an export, made one after the other."""

    def __init__(
        self, source: Source, folder: ExportFolder, cache: Path, *, compiles: bool
    ) -> None:
        identity = source.components.identity
        request = source.request
        if not request.sizes:
            request = replace(request, sizes=((identity.width, identity.height),))
        self._source, self._request, self._folder, self._cache = source, request, folder, cache
        loras = [Path(use.path) for use in request.loras]
        self._teaching = lora_teaching(identity.distillation, loras)
        nets = {name: file.parameters for name, file in source.controls.items()}
        self._every = plan(replace(request, parts=()), identity, nets, compiles=compiles)
        self._asked = plan(request, identity, nets, compiles=compiles)
        self._records = self._kept()

    def run(self) -> Iterator[ExportEvent | Planned | StageBegan]:
        """Make what is not there yet."""
        made = [part for part in self._asked if not self._names(part) <= self._records.keys()]
        yield Planned(tuple(made))
        if made:
            yield self._needs(made)
            remedy = "choose a folder on another disk"
            check_room(self._folder.root, disk_needed(made), remedy=remedy)
        self._forget_stale()
        self._folder.note(self.manifest())
        self._write_vocabulary()
        self._write_settings()
        yield from self._notices()
        for part in self._asked:
            if part in made:
                yield from self._make(part)
            else:
                for name in sorted(self._names(part)):
                    yield self._written(name, kept=True)

    def manifest(self) -> Manifest:
        """Say what the folder holds now."""
        source, request, teaching = self._source, self._request, self._teaching
        components, identity = source.components, source.components.identity
        order = {name: at for at, part in enumerate(self._every) for name in self._names(part)}
        return Manifest(
            format=request.format,
            layout=request.layout,
            family=str(identity.family),
            source=request.model,
            source_sha256=components.sha256,
            licence=source.licence,
            sizes=request.sizes,
            batch=request.batch,
            target=target_of(request),
            compression=str(request.compression),
            loras=tuple((use.path, use.weight) for use in request.loras),
            words=tuple(source.vocabulary.words),
            vae=request.vae,
            control=bool(request.controls),
            versions={"stepwise": own_version()}
            | {name: version(name) for name in (*_TOOLS[request.format], *_LIBRARIES)},
            model={
                "configs": identity.configs,
                "parameters": identity.parameters,
                "distillation": str(teaching.how if teaching else identity.distillation),
                "is_guess": teaching is not None or identity.is_guess,
                "steps": distilled_steps(teaching.source if teaching else identity.path),
                "scaling_factor": components.scaling_factor,
                "vae_sha256": components.vae_sha256,
                "pads": {
                    tower.name: str(getattr(tower.tokenizer, "pad_token", ""))
                    for tower in components.text_towers
                },
                "words": {word: list(of) for word, of in source.vocabulary.words.items()},
            },
            parts=tuple(
                sorted(self._records.values(), key=lambda record: order.get(record.name, 0))
            ),
            request=request.to_json(),
        )

    def _make(self, part: PartPlan) -> Iterator[ExportEvent | StageBegan]:
        began = time.monotonic()
        with ExitStack() as stack:
            scratch = self._folder.unfinished / "part"
            scratch.mkdir()
            stack.callback(shutil.rmtree, scratch, ignore_errors=True)
            write = _WRITERS[self._request.format]
            written = yield from self._staged(
                part, write(self._parts(part), scratch, self._way(part))
            )
            seconds = (time.monotonic() - began) / len(written)
            for one in written:
                yield from self._place(part, one, seconds)
        gc.collect()

    def _place(
        self, part: PartPlan, made: package.Written, seconds: float
    ) -> Iterator[ExportEvent]:
        """Put a package where it belongs, and then note it."""
        comparison = made.comparison
        self._records.pop(made.name, None)
        self._folder.note(self.manifest())
        self._folder.forget([made.name])
        self._folder.take(made.path, self._folder.package(made.name))
        if made.compiled is not None:
            self._folder.take(made.compiled, self._folder.compiled(made.name))
        self._records[made.name] = PartRecord(
            name=made.name,
            inputs=made.inputs,
            outputs=made.outputs,
            bytes=size_of(self._folder.package(made.name)),
            inputs_sha256=self._sha256(part),
            compression=str(part.compression),
            psnr={} if comparison is None else comparison.psnr,
            seconds=round(seconds, 1),
        )
        self._folder.note(self.manifest())
        yield self._written(made.name, kept=False)
        if comparison is not None and comparison.doubts:
            yield Notice(
                message=f"{made.name} {comparison.doubts}; look at its pictures before you rely on "
                "it, or leave this part to torch."
            )

    def _staged(
        self, part: PartPlan, stages: Generator[Stage, None, tuple[package.Written, ...]]
    ) -> Generator[StageBegan, None, tuple[package.Written, ...]]:
        with closing(stages):
            while True:
                try:
                    stage = next(stages)
                except StopIteration as done:
                    written: tuple[package.Written, ...] = done.value
                    return written
                yield StageBegan(part=part.name, stage=stage)

    def _parts(self, part: PartPlan) -> Iterator[Part]:
        """Give a part in each size."""
        nets = {}
        if part.name.startswith(f"{CONTROL_FOLDER}/"):
            name = part.name.removeprefix(f"{CONTROL_FOLDER}/")
            nets[name] = self._source.net(name)
        for width, height in self._sizes(part):
            yield from parts_of(
                self._source.components,
                layout=self._request.layout,
                width=width,
                height=height,
                batch=self._request.batch,
                only=(part.name,),
                control=bool(self._request.controls),
                nets=nets,
                words=self._source.words,
            )

    def _way(self, part: PartPlan) -> package.Way:
        description = {
            "author": f"{self._request.model}, converted by {APP_NAME}",
            "license": self._source.licence,
            "version": own_version(),
            "description": f"{part.name} of {self._request.model} for Stable Diffusion.",
            VERSION_KEY: f"{APP_NAME} {own_version()}",
            RECIPE_KEY: json.dumps(self._recipe(part)),
        }
        return package.Way(
            plan=part,
            sizes=self._sizes(part),
            target=target_of(self._request),
            metadata=description,
            chunk=self._is_split(part),
            check=self._request.check,
            scheduler_config=self._source.components.scheduler_config,
            release=self._source.components.residence.clear,
        )

    def _sizes(self, part: PartPlan) -> tuple[tuple[int, int], ...]:
        return self._request.sizes[: part.sizes]

    def _is_split(self, part: PartPlan) -> bool:
        return self._request.chunk and part.component == "unet"

    def _names(self, part: PartPlan) -> set[str]:
        """Give the names of the packages that a part becomes."""
        if self._is_split(part):
            return {f"{part.name}{half}" for half in package.HALVES}
        return {part.name}

    def _recipe(self, part: PartPlan) -> dict[str, Any]:
        """Say all that a part is made of; what does not change it is left out."""
        request, source = self._request, self._source
        recipe: dict[str, Any] = {
            "recipe": RECIPE,
            **{name: version(name) for name in _TOOLS[request.format]},
            "format": str(request.format),
            "target": target_of(request),
            "sizes": self._sizes(part),
            "compression": str(part.compression),
            "sha256": source.component_sha256.get(part.component)
            or source.control_sha256[part.name.removeprefix(f"{CONTROL_FOLDER}/")],
            "config": source.components.identity.configs.get(part.component, {}),
        }
        if part.component.startswith("text_encoder"):
            recipe["sizes"] = ()
            recipe["words"] = [(use.sha256, use.token) for use in request.embeddings]
        if part.component in ("", "unet"):
            recipe |= {"layout": str(request.layout), "batch": request.batch}
            recipe["chunk"] = self._is_split(part)
        if part.component not in ("", "vae"):
            recipe["loras"] = [(use.sha256, use.weight, use.text_weight) for use in request.loras]
        return recipe

    def _sha256(self, part: PartPlan) -> str:
        text = json.dumps(self._recipe(part) | {"name": part.name}, sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _kept(self) -> dict[str, PartRecord]:
        """Find what an earlier export left that this one would make alike."""
        before = self._folder.manifest()
        if before is None:
            return {}
        wanted = {name: self._sha256(part) for part in self._every for name in self._names(part)}
        asked = {name: part for part in self._asked for name in self._names(part)}
        same = {
            record.name: record
            for record in before.parts
            if record.inputs_sha256 == wanted.get(record.name)
            and self._folder.has(record)
            and (record.name not in asked or _is_known(record, asked[record.name]))
        }
        others = [
            record.name
            for record in before.parts
            if self._request.parts and record.name not in same and record.name not in asked
        ]
        if others:
            raise InvalidRequest(
                "parts",
                f"leaves {', '.join(others)} in {self._folder.root}, made from something else or "
                "in another way; choose another folder, or export all parts.",
            )
        return same

    def _forget_stale(self) -> None:
        """Remove what this export has no use for, such as a whole UNet where it makes halves."""
        before = self._folder.manifest()
        wanted = {name for part in self._every for name in self._names(part)}
        stale = [record.name for record in before.parts] if before is not None else []
        self._folder.forget([name for name in stale if name not in wanted])

    def _write_vocabulary(self) -> None:
        vocabulary = self._source.vocabulary
        numbers = json.dumps(vocabulary.numbers, ensure_ascii=False)
        replace_file(self._folder.root / "vocab.json", numbers.encode())
        replace_file(self._folder.root / "merges.txt", merges_text(vocabulary.pairs).encode())

    def _write_settings(self) -> None:
        """Write what else a model brings along: good settings, and the colours of its previews."""
        good = self._teaching.defaults if self._teaching else catalog.card(self._request.model)
        settings = {
            "steps": good.steps,
            "guidance_scale": good.guidance_scale,
            "scheduler": str(good.scheduler),
        }
        text = json.dumps({"defaults": settings}, indent=2) + "\n"
        replace_file(self._folder.root / catalog.SETTINGS_FILE, text.encode())
        colours = linear_preview.find_or_fit(self._source.components, self._cache)
        linear_preview.write(colours, self._folder.root / linear_preview.FILE_NAME)

    def _notices(self) -> Iterator[Notice]:
        vocabulary = self._source.vocabulary
        for word, numbers in vocabulary.words.items():
            if not can_be_spelled(word):
                yield Notice(message=f"Other apps cannot spell the word {word!r}; {APP_NAME} can.")
            elif len(numbers) > 1:
                yield Notice(
                    message=f"The word {word} has {len(numbers)} vectors; in other apps write "
                    f"{' '.join(spellings(word, len(numbers)))} for it."
                )

    def _needs(self, made: list[PartPlan]) -> Needs:
        free = shutil.disk_usage(self._folder.unfinished).free
        return Needs(
            parts=tuple(part.name for part in made),
            disk=disk_needed(made),
            free_disk=free,
            memory=memory_needed(made),
            free_memory=psutil.virtual_memory().available,
            target=target_of(self._request),
        )

    def _written(self, name: str, *, kept: bool) -> PartWritten:
        return PartWritten(path=self._folder.package(name), record=self._records[name], kept=kept)


def _is_known(record: PartRecord, part: PartPlan) -> bool:
    """Whether a part was checked, if it is to be."""
    return bool(record.psnr) or Stage.CHECK not in part.stages
