"""Takes the window's pictures: ``python -m tests.desktop.screenshots FOLDER [NAME ...]``.

Runs without a display. The engine is the scripted one unless ``--real`` is given.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from PIL import Image
from PySide6.QtCore import QElapsedTimer, QEventLoop, QMimeData, QPoint, Qt, QUrl
from PySide6.QtGui import QDragEnterEvent
from PySide6.QtWidgets import QApplication, QWidget

from core.compute_units import ComputeUnits
from core.coreml_folder import MANIFEST, PartName, PartRecord
from core.errors import CoreError, ExportFailed, NeedsExport, OutOfMemory
from core.models.library import Library
from core.models.library_events import Progress, Task
from core.paths import Profile
from core.request_parts import LoraUse
from core.training.config import Method
from coreml_export.request import CONTROL_PART, Compression, ExportRequest, Packing
from desktop.app import make_engine
from desktop.conversion import Conversion
from desktop.jobs import JobQueue
from desktop.library_work import Begun
from desktop.library_worker import Downloads
from desktop.settings import CreateSettings, SettingsStore
from desktop.shelf import Shelf
from desktop.shelf_snapshot import Transfer, TransferState, Work
from desktop.studio import Workshop
from desktop.theme import Theme, ThemeMode
from desktop.training import Phase
from desktop.widgets.main_window import CREATE, MODELS, TRAIN, MainWindow
from desktop.widgets.model_rows import Show
from desktop.worker import EngineWorker
from tests.desktop.fake_engine import FakeEngine, disc
from tests.desktop.fake_export import FakeExporter, manifest_of
from tests.desktop.shelf_files import fill_library
from tests.fixtures.packages import UNET_INPUTS, write_foreign

PROMPT = "a blue star on a yellow background"


class Scene:
    """A window with an engine of its own, in a profile that is thrown away."""

    def __init__(self, theme: ThemeMode, width: int, height: int, *, real: bool = False) -> None:
        self._folder = tempfile.TemporaryDirectory()
        self.profile = profile = Profile(root=Path(self._folder.name))
        app = QApplication.instance()
        assert isinstance(app, QApplication)
        self.store = SettingsStore(profile.settings_file)
        self.engine = FakeEngine()
        self.child = make_engine(profile)
        shown: Workshop = self.child if real else self.engine
        self.worker = EngineWorker(lambda: shown)
        self.jobs = JobQueue(self.worker, profile.pictures)
        self.shelf = Shelf(Library(profile), Downloads(profile))
        self.exporter = FakeExporter()
        self.conversion = Conversion(self.exporter, {})
        self.window = MainWindow(
            profile, self.store, Theme(app, theme), self.jobs, self.shelf, self.conversion
        )
        self.window.page.results.banner.hide()
        self.window.resize(width, height)
        self.window.show()
        self.worker.start()
        self.shelf.start()

    def set(self, **changes: object) -> None:
        values = dataclasses.replace(self.window.panel.values(), **changes)
        self.window.panel.set_values(values)
        self.window.page.results.banner.hide()

    def run(self, until: Callable[[], bool], seconds: float = 120) -> None:
        wait_until(until, seconds)

    def finish(self) -> None:
        self.run(lambda: self.jobs.snapshot.is_idle)

    def grab(self, path: Path) -> None:
        wait_until(lambda: False, 0.3)
        self.shown().grab().save(str(path))
        sys.stdout.write(f"{path}\n")

    def shown(self) -> QWidget:
        """The dialogue if there is one, else the window."""
        dialogue = self.window.models.convert_dialog
        return self.window if dialogue is None or not dialogue.isVisible() else dialogue

    def close(self) -> None:
        self.engine.gate.set()
        self.window.close()
        self.worker.close()
        self.worker.wait()
        self.child.close()
        self.exporter.gate.set()
        self.conversion.close()
        self.shelf.close()
        self.window.deleteLater()
        self._folder.cleanup()


def save_disc(path: Path, index: int) -> None:
    Image.fromarray(disc(160, 128 + 32 * (index % 3), index, 1.0)).save(path)


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    clock = QElapsedTimer()
    clock.start()
    while not condition() and clock.elapsed() < 1000 * seconds:
        QApplication.processEvents(QEventLoop.ProcessEventsFlag.AllEvents, 20)


def empty(scene: Scene) -> None:
    scene.set(width=512, height=512)


def running(scene: Scene) -> None:
    results(scene)
    scene.set(prompt=PROMPT, count=1, width=512, height=512)
    run_to_the_middle(scene)


def run_to_the_middle(scene: Scene) -> None:
    """Leave a run after 12 of its 20 steps."""
    scene.engine.stop_at = 12
    scene.engine.gate.clear()
    scene.engine.step_seconds = 0.2
    scene.window.page.generate()
    bar = scene.window.page.results.run_bar
    scene.run(lambda: "Step 12" in bar.text.accessibleName())


def four(scene: Scene) -> None:
    results(scene)
    scene.set(prompt="four discs of four colours", count=4)
    run_to_the_middle(scene)
    scene.window.page.generate()
    scene.window.page.generate()


def results(scene: Scene) -> None:
    for count, prompt in ((4, "discs"), (3, "more discs"), (1, PROMPT)):
        scene.set(prompt=prompt, count=count, steps=20, width=512, height=512)
        scene.window.page.generate()
    scene.finish()


def grid(scene: Scene) -> None:
    scene.set(prompt="discs of four colours", count=4, width=512, height=512)
    scene.window.page.generate()
    scene.finish()


def start(scene: Scene) -> None:
    results(scene)
    scene.window.page.results.picture.start.trigger()
    scene.window.panel.fold.set_open(shown=True)
    scene.set(guidance_scale=1.0)


def failed(scene: Scene, why: CoreError) -> None:
    results(scene)
    scene.engine.error = why
    scene.window.page.generate()
    scene.finish()


def error(scene: Scene) -> None:
    message = (
        "A picture of 2048 x 2048 needs 14 GB and 6 GB are free; make it smaller or take fp16."
    )
    failed(scene, OutOfMemory(message))


def lacking(scene: Scene) -> None:
    """Show a converted model that would have to be converted again."""
    message = "The weights of an exported model are fixed; export it again with this LoRA."
    failed(scene, NeedsExport("loras", message))


def units_elsewhere(scene: Scene) -> None:
    """Show a Core ML model that does not run on this system, if that is no Mac."""
    folder = write_foreign(scene.profile.root / "dreamy-v3-coreml", UNET_INPUTS)
    scene.set(model=str(folder), prompt=PROMPT)
    scene.window.panel.fold.set_open(shown=True)


def units(scene: Scene) -> None:
    """Show what runs a Core ML model, as a Mac shows it."""
    units_elsewhere(scene)
    models = scene.window.panel.model
    assert models.card is not None
    usual = dict.fromkeys(models.card.usual_units, ComputeUnits.CPU_ANE)
    models.chosen.emit(dataclasses.replace(models.card, usual_units=usual, units_refused=""))


def units_each(scene: Scene) -> None:
    units(scene)
    scene.window.panel.advanced.units.set_value("cpu-ane,VAEDecoder=cpu-gpu,VAEEncoder=cpu-gpu")


def library(scene: Scene) -> None:
    """Show a library of a few models, with a LoRA chosen."""
    fill_library(scene.profile)
    scene.window.shell.show_page(MODELS)
    scene.run(lambda: len(scene.shelf.snapshot.models) > 5)
    scene.window.models.panel.list.turn_to("model ink-wash")


def starter_alone(scene: Scene) -> None:
    scene.window.shell.show_page(MODELS)
    scene.run(lambda: bool(scene.shelf.snapshot.models))


def missing(scene: Scene) -> None:
    library(scene)
    scene.window.models.panel.list.turn_to("model dreamy-v3")


def unsampled(scene: Scene) -> None:
    library(scene)
    scene.window.models.panel.list.turn_to("model fill-in")


def downloading(scene: Scene) -> None:
    """Show a download under way, another one that waits, and files being added."""
    library(scene)
    shelf = scene.shelf
    progress = Progress(
        task=Task.DOWNLOAD, what="unet", done=512 * 10**6, total=1380 * 10**6, speed=11.4e6
    )
    transfers = {
        "bk-sdm-small": Transfer(TransferState.RUNNING, progress),
        "sd-2.1": Transfer(TransferState.WAITING),
    }
    offers = tuple(
        dataclasses.replace(
            offer,
            transfer=transfers.get(offer.model.id),
            arrived=310 * 10**6 if offer.model.id == "bk-sdm-tiny" else 0,
        )
        for offer in shelf.snapshot.offers
    )
    begun = Begun(Path("realistic-vision.safetensors"), 2, 5)
    reading = Progress(
        task=Task.HASH,
        what="realistic-vision.safetensors",
        done=1_320_000_000,
        total=2_130_000_000,
        speed=480e6,
    )
    snapshot = dataclasses.replace(shelf.snapshot, offers=offers, work=Work(begun, reading))
    shelf.changed.emit(snapshot)
    scene.window.models.panel.list.turn_to("offer bk-sdm-small")


def offered(scene: Scene) -> None:
    library(scene)
    scene.window.models.panel.list.turn_to("offer sdxl")


def refused(scene: Scene) -> None:
    """Show what becomes of files that are no models."""
    library(scene)
    broken = scene.profile.root / "holiday.safetensors"
    broken.write_bytes(b"<html>Not found</html>")
    scene.window.models.add((broken,))
    banner = scene.window.models.banner
    scene.run(banner.isVisible, 20)


def nothing_found(scene: Scene) -> None:
    library(scene)
    scene.window.models.panel.show_kind.set_value(Show.CONTROLNET)


def dropping(scene: Scene) -> None:
    library(scene)
    mime = QMimeData()
    mime.setUrls([QUrl.fromLocalFile(str(scene.profile.root / "a.safetensors"))])
    scene.window.models.dragEnterEvent(
        QDragEnterEvent(
            QPoint(90, 90),
            Qt.DropAction.CopyAction,
            mime,
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.NoModifier,
        )
    )


def convert(scene: Scene) -> None:
    """Show the choices for a model of the library."""
    library(scene)
    page = scene.window.models
    page.panel.list.turn_to("model stable-diffusion-v1-5")
    page.convert(page.details.row)
    scene.run(lambda: bool(page.convert_dialog.form.package_size.text()))


def convert_all(scene: Scene) -> None:
    """Show all choices, with what they say where they are not as they are by default."""
    convert(scene)
    form = scene.window.models.convert_dialog.form
    form.compression.packing.set_value(Packing.MIXED)
    form.sizes.add.click()
    for fold in (form.baked, form.more):
        fold.set_open(shown=True)
    next(iter(form.loras.boxes.values())).setChecked(True)
    scene.window.models.convert_dialog.resize(560, 1240)
    scene.run(lambda: "macOS 15" in form.package_size.text())


def convert_again(scene: Scene) -> None:
    """Show what is offered after a restart for a conversion that was stopped."""
    library(scene)
    paths = {row.name: str(row.path) for row in scene.shelf.snapshot.models}
    request = ExportRequest(
        model="stable-diffusion-v1-5",
        out=str(scene.profile.models / "ink-for-mac"),
        sizes=((512, 512),),
        compression=Compression(Packing.INT8),
        loras=(LoraUse(path=paths["ink-wash"]), LoraUse(path="grainy.safetensors")),
        controls=(paths["scribble"],),
        parts=(PartName.UNET, PartName.TEXT_ENCODER, PartName.VAE_DECODER, CONTROL_PART),
    )
    written = PartRecord(
        name=PartName.CONTROLLED_UNET,
        inputs=(),
        outputs=(),
        bytes=870_000_000,
        inputs_sha256="",
        compression="int8",
        psnr={},
        seconds=300.0,
    )
    Path(request.out).mkdir(parents=True)
    Path(request.out, MANIFEST).write_text(manifest_of(request, written).to_json())
    page = scene.window.models
    page.panel.list.turn_to("model stable-diffusion-v1-5")
    page.convert(page.details.row)
    form = page.convert_dialog.form
    for fold in (form.baked, form.more):
        fold.set_open(shown=True)
    page.convert_dialog.resize(560, 1140)
    scene.run(lambda: bool(form.package_size.text()), 20)


def converting(scene: Scene) -> None:
    """Show a conversion at its second part."""
    scene.exporter.stop_at = 2
    scene.exporter.gate.clear()
    convert(scene)
    scene.window.models.convert_dialog.form.start.click()
    scene.run(lambda: scene.conversion.snapshot.share == 0.55)


def converting_aside(scene: Scene) -> None:
    converting(scene)
    scene.window.models.convert_dialog.close()


def convert_stopped(scene: Scene) -> None:
    converting(scene)
    scene.conversion.stop()
    scene.exporter.gate.set()
    scene.run(lambda: not scene.conversion.snapshot.phase.is_busy)


def convert_failed(scene: Scene) -> None:
    scene.exporter.error = ExportFailed(
        "The UNet cannot be converted: its layer mid_block.attentions.0 is of a kind that Core ML "
        "has no operation for; export the other parts alone."
    )
    convert(scene)
    scene.window.models.convert_dialog.form.start.click()
    scene.run(lambda: bool(scene.conversion.snapshot.message))


def converted(scene: Scene) -> None:
    convert(scene)
    scene.window.models.convert_dialog.form.start.click()
    scene.run(lambda: scene.conversion.snapshot.exported is not None)


def picture_set(scene: Scene) -> Path:
    """Write a folder of pictures as people have them, with a few that cannot be learned from."""
    folder = scene.profile.root / "my pictures" / "moons"
    folder.mkdir(parents=True)
    captions = (
        "a moonling on a blue ground, seen from the front, soft light",
        "a moonling beside a window, evening",
        "a yellow moonling, from above, soft light",
        "a moonling in the garden, close",
        "",
        "a small moonling far away, evening, soft light",
        "two moonlings, from the front",
    )
    for index, caption in enumerate(captions):
        path = folder / f"moon-{index + 1}.png"
        save_disc(path, index)
        if caption:
            path.with_suffix(".txt").write_text(caption)
    (folder / "notes.pdf").write_bytes(b"%PDF")
    (folder / "broken.jpg").write_bytes(b"no picture")
    return folder


def train_empty(scene: Scene) -> None:
    scene.window.shell.show_page(TRAIN)


def train_pictures(scene: Scene) -> None:
    train_empty(scene)
    page = scene.window.train
    page.take_folder(picture_set(scene))
    scene.run(lambda: bool(page.folder.snapshot.pictures) and not page.folder.snapshot.is_reading)
    page.pictures.problems.set_open(shown=True)
    page.pictures.grid.setCurrentIndex(page.pictures.rows.index(2))


def train_editing(scene: Scene) -> None:
    train_pictures(scene)
    grid = scene.window.train.pictures.grid
    grid.edit(grid.currentIndex())
    scene.window.train.pictures.tools.old.setText("soft light")


def train_settings(scene: Scene) -> None:
    """Show the settings of DreamBooth with the folds open."""
    train_pictures(scene)
    panel = scene.window.train.panel
    panel.method.set_value(Method.DREAMBOOTH)
    for fold in panel.form.folds.values():
        fold.set_open(shown=True)


def begin_training(scene: Scene, *, steps: int, until: int) -> None:
    train_pictures(scene)
    page = scene.window.train
    page.pictures.problems.set_open(shown=False)
    page.panel.set_values(
        dataclasses.replace(
            page.panel.values(),
            values={
                "steps": steps,
                "data.trigger": "moonling",
                "save_every": 100,
                "samples.every": 60,
                "samples.prompts": (
                    "a moonling on a white background",
                    "two moonlings side by side, in the style of a woodcut",
                    "a yellow moonling",
                ),
            },
        )
    )
    scene.engine.stop_at = until
    scene.engine.gate.clear()
    scene.engine.step_seconds = 0.001
    page.panel.press()
    scene.run(lambda: page.training.snapshot.step >= until)


def training(scene: Scene) -> None:
    begin_training(scene, steps=400, until=290)


def train_paused(scene: Scene) -> None:
    training(scene)
    page = scene.window.train
    page.training.pause()
    scene.engine.gate.set()
    scene.run(lambda: page.training.snapshot.phase is Phase.PAUSED)


def train_finished(scene: Scene) -> None:
    begin_training(scene, steps=240, until=240)
    scene.engine.gate.set()
    scene.run(lambda: scene.window.train.training.snapshot.phase is Phase.FINISHED)
    scene.window.train.progress.log_fold.set_open(shown=True)


def train_viewer(scene: Scene) -> None:
    train_finished(scene)
    progress = scene.window.train.progress
    progress.table.chosen.emit(scene.window.train.training.snapshot.shots[7])


def train_failed(scene: Scene) -> None:
    scene.engine.error = OutOfMemory(
        "Learning needs 9.2 GB and 6 GB are free; choose a smaller batch or save memory."
    )
    train_pictures(scene)
    scene.window.train.panel.press()
    scene.run(lambda: scene.window.train.training.snapshot.phase is Phase.FAILED)


def waiting_for_training(scene: Scene) -> None:
    training(scene)
    scene.window.shell.show_page(CREATE)
    scene.set(prompt=PROMPT, width=512, height=512)
    scene.window.page.generate()


SCENES: dict[str, tuple[Callable[[Scene], None], ThemeMode, int, int]] = {
    "empty-dark": (empty, ThemeMode.DARK, 1180, 800),
    "empty-light": (empty, ThemeMode.LIGHT, 1180, 800),
    "running-dark": (running, ThemeMode.DARK, 1180, 800),
    "running-light": (running, ThemeMode.LIGHT, 1180, 800),
    "four-dark": (four, ThemeMode.DARK, 1180, 800),
    "grid-light": (grid, ThemeMode.LIGHT, 1180, 800),
    "results-dark": (results, ThemeMode.DARK, 1180, 800),
    "results-light": (results, ThemeMode.LIGHT, 1180, 800),
    "start-dark": (start, ThemeMode.DARK, 1180, 860),
    "start-light": (start, ThemeMode.LIGHT, 1180, 860),
    "error-dark": (error, ThemeMode.DARK, 1180, 800),
    "error-light": (error, ThemeMode.LIGHT, 1180, 800),
    "lacking-dark": (lacking, ThemeMode.DARK, 1180, 800),
    "units-dark": (units, ThemeMode.DARK, 1180, 980),
    "units-light": (units, ThemeMode.LIGHT, 1180, 980),
    "units-each-dark": (units_each, ThemeMode.DARK, 1180, 1240),
    "units-each-light": (units_each, ThemeMode.LIGHT, 1180, 1240),
    "units-elsewhere-dark": (units_elsewhere, ThemeMode.DARK, 1180, 980),
    "models-dark": (library, ThemeMode.DARK, 1180, 800),
    "models-light": (library, ThemeMode.LIGHT, 1180, 800),
    "models-starter-dark": (starter_alone, ThemeMode.DARK, 1180, 800),
    "models-starter-light": (starter_alone, ThemeMode.LIGHT, 1180, 800),
    "models-missing-dark": (missing, ThemeMode.DARK, 1180, 800),
    "models-unsampled-light": (unsampled, ThemeMode.LIGHT, 1180, 800),
    "models-downloading-dark": (downloading, ThemeMode.DARK, 1180, 800),
    "models-downloading-light": (downloading, ThemeMode.LIGHT, 1180, 800),
    "models-offered-dark": (offered, ThemeMode.DARK, 1180, 800),
    "models-refused-light": (refused, ThemeMode.LIGHT, 1180, 800),
    "models-nothing-dark": (nothing_found, ThemeMode.DARK, 1180, 800),
    "models-dropping-dark": (dropping, ThemeMode.DARK, 1180, 800),
    "models-narrow-dark": (library, ThemeMode.DARK, 740, 600),
    "models-wide-light": (library, ThemeMode.LIGHT, 1920, 1000),
    "train-empty-dark": (train_empty, ThemeMode.DARK, 1180, 800),
    "train-empty-light": (train_empty, ThemeMode.LIGHT, 1180, 800),
    "train-pictures-dark": (train_pictures, ThemeMode.DARK, 1180, 800),
    "train-pictures-light": (train_pictures, ThemeMode.LIGHT, 1180, 800),
    "train-editing-dark": (train_editing, ThemeMode.DARK, 1180, 800),
    "train-settings-light": (train_settings, ThemeMode.LIGHT, 1180, 2100),
    "train-running-dark": (training, ThemeMode.DARK, 1180, 800),
    "train-running-light": (training, ThemeMode.LIGHT, 1180, 800),
    "train-paused-dark": (train_paused, ThemeMode.DARK, 1180, 800),
    "train-finished-dark": (train_finished, ThemeMode.DARK, 1180, 860),
    "train-finished-light": (train_finished, ThemeMode.LIGHT, 1180, 860),
    "train-viewer-dark": (train_viewer, ThemeMode.DARK, 1180, 800),
    "train-failed-light": (train_failed, ThemeMode.LIGHT, 1180, 800),
    "train-waiting-dark": (waiting_for_training, ThemeMode.DARK, 1180, 800),
    "train-narrow-dark": (training, ThemeMode.DARK, 740, 600),
    "train-narrow-light": (train_pictures, ThemeMode.LIGHT, 740, 600),
    "train-finished-narrow-light": (train_finished, ThemeMode.LIGHT, 740, 700),
    "train-wide-dark": (training, ThemeMode.DARK, 1920, 1000),
    "convert-dark": (convert, ThemeMode.DARK, 1180, 800),
    "convert-light": (convert, ThemeMode.LIGHT, 1180, 800),
    "convert-all-dark": (convert_all, ThemeMode.DARK, 1180, 800),
    "convert-all-light": (convert_all, ThemeMode.LIGHT, 1180, 800),
    "convert-again-dark": (convert_again, ThemeMode.DARK, 1180, 800),
    "convert-again-light": (convert_again, ThemeMode.LIGHT, 1180, 800),
    "converting-dark": (converting, ThemeMode.DARK, 1180, 800),
    "converting-light": (converting, ThemeMode.LIGHT, 1180, 800),
    "converting-aside-dark": (converting_aside, ThemeMode.DARK, 1180, 800),
    "convert-stopped-light": (convert_stopped, ThemeMode.LIGHT, 1180, 800),
    "convert-failed-dark": (convert_failed, ThemeMode.DARK, 1180, 800),
    "converted-dark": (converted, ThemeMode.DARK, 1180, 800),
    "converted-light": (converted, ThemeMode.LIGHT, 1180, 800),
    "narrow-dark": (four, ThemeMode.DARK, 740, 600),
    "wide-dark": (four, ThemeMode.DARK, 1920, 1000),
}


def readme(scene: Scene) -> None:
    """Show the real engine at work with the model that ships."""
    defaults = CreateSettings()
    scene.window.panel.set_defaults()
    for prompt in (
        "a green square left of a pink ring on a white background",
        "three orange rings on a black background",
    ):
        scene.set(prompt=prompt, count=3)
        scene.window.page.generate()
    scene.finish()
    scene.set(prompt=PROMPT, count=defaults.count, steps=40)
    scene.window.page.generate()
    bar = scene.window.page.results.run_bar
    scene.run(lambda: "Step 24" in bar.text.accessibleName())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("names", nargs="*", help=f"of {', '.join(SCENES)}; all if left out")
    parser.add_argument("--real", action="store_true", help="the README's, with the real engine")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    QApplication([])
    if options.real:
        for theme in (ThemeMode.DARK, ThemeMode.LIGHT):
            scene = Scene(theme, 1180, 800, real=True)
            readme(scene)
            scene.grab(options.folder / f"readme-{theme}.png")
            scene.close()
        return
    for name in options.names or SCENES:
        act, theme, width, height = SCENES[name]
        scene = Scene(theme, width, height)
        act(scene)
        scene.grab(options.folder / f"{name}.png")
        scene.close()


if __name__ == "__main__":
    main()
