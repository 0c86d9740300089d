"""The parts that need no window."""

import dataclasses
import os
import subprocess
import sys

import numpy as np
import pytest
from PySide6.QtCore import QRectF, QSize
from PySide6.QtGui import QColor, QPalette
from PySide6.QtWidgets import QApplication

from core.events import Preview, Step
from core.request import PreviewDecoder, TextToImage
from desktop.colours import DARK, LIGHT
from desktop.icons import FOLDER, tinted_pixmap
from desktop.images import SHOWN_SIDE, enlarged, image_of, pixels_of, shown
from desktop.live import LiveRun
from desktop.progress import Progress, duration
from desktop.theme import Theme, ThemeMode, palette_of
from desktop.widgets.canvas import GAP, fitted, grid
from desktop.widgets.size_field import sized
from desktop.widgets.strip import pictures_in


@pytest.mark.parametrize("width", [1, 5, 64, 101])
def test_pixels_survive_the_way_to_qt_and_back(width):
    pixels = np.random.default_rng(0).integers(0, 256, (7, width, 3), np.uint8)
    assert np.array_equal(pixels_of(image_of(pixels)), pixels)
    flipped = pixels[:, ::-1]
    assert np.array_equal(pixels_of(image_of(flipped)), flipped)


def test_image_shares_no_memory_with_its_pixels():
    pixels = np.zeros((4, 4, 3), np.uint8)
    image = image_of(pixels)
    pixels[:] = 255
    assert image.pixelColor(1, 1) == QColor(0, 0, 0)


def test_small_previews_are_enlarged_and_large_pictures_are_left_alone():
    small, large = np.zeros((16, 8, 3), np.uint8), np.zeros((600, 8, 3), np.uint8)
    assert shown(small).size() == QSize(SHOWN_SIDE // 2, SHOWN_SIDE)
    assert enlarged(large) is large


@pytest.mark.parametrize("colours", [DARK, LIGHT])
def test_text_can_be_read(colours):
    def luminance(colour):
        parts = [QColor(colour).redF(), QColor(colour).greenF(), QColor(colour).blueF()]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    def contrast(one, other):
        low, high = sorted((luminance(one), luminance(other)))
        return (high + 0.05) / (low + 0.05)

    # WCAG 2.2, 1.4.3: 4.5 for text.
    for ground in (colours.window, colours.field, colours.canvas, colours.error_ground):
        assert contrast(colours.text, ground) >= 4.5
    for ground in (colours.window, colours.field, colours.canvas):
        assert contrast(colours.quiet, ground) >= 4.5
    assert contrast(colours.on_accent, colours.accent) >= 4.5
    assert contrast(colours.error, colours.error_ground) >= 4.5


def test_theme_changes_at_once(qapp):
    theme = Theme(qapp, ThemeMode.DARK)
    assert QApplication.palette().color(QPalette.ColorRole.Window) == QColor(DARK.window)
    theme.set_mode(ThemeMode.LIGHT)
    assert QApplication.palette().color(QPalette.ColorRole.Window) == QColor(LIGHT.window)
    assert LIGHT.field in qapp.styleSheet()
    theme.set_mode(ThemeMode.SYSTEM)
    assert theme.colours in (LIGHT, DARK)


def test_many_previews_cost_no_more_than_one():
    request = TextToImage(prompts=("a",), count=16)
    run = LiveRun(request)
    pixels = np.zeros((64, 64, 3), np.uint8)
    previews = tuple(
        Preview(picture=i, pixels=pixels, decoder=PreviewDecoder.LINEAR) for i in range(16)
    )
    step = Step(
        index=1, total=2, pictures=tuple(range(16)), total_pictures=16, seconds=1, previews=previews
    )
    assert run.take(step)
    painted = sum(tile.image.width() * tile.image.height() for tile in run.tiles())
    assert painted <= SHOWN_SIDE**2


def test_every_icon_is_drawn_in_the_colour_asked_for(qapp):
    for path in FOLDER.glob("*.svg"):
        if path.stem.startswith("field-"):
            continue
        image = tinted_pixmap(path.stem, QColor("#ff0000"), 24).toImage()
        inked = [
            image.pixelColor(x, y)
            for x in range(24)
            for y in range(24)
            if image.pixelColor(x, y).alpha() > 250
        ]
        assert inked, path
        assert all(colour.red() > 240 and colour.green() < 15 for colour in inked), path


def test_palette_names_every_colour_it_is_asked_for():
    for colours in (DARK, LIGHT):
        values = dataclasses.asdict(colours).values()
        assert all(QColor(value).isValid() for value in values)
        assert palette_of(colours).color(QPalette.ColorRole.Dark) == QColor(colours.canvas)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 9, 16])
@pytest.mark.parametrize("shape", [QSize(512, 512), QSize(768, 432), QSize(384, 640)])
def test_grid_cells_lie_apart_inside_the_canvas(count, shape):
    area = QRectF(0, 0, 900, 600)
    cells = grid(count, shape, QSize(900, 600))
    assert len(cells) == count
    for i, cell in enumerate(cells):
        assert area.contains(cell)
        assert cell.width() / cell.height() == pytest.approx(shape.width() / shape.height())
        for other in cells[i + 1 :]:
            apart = cell.adjusted(-GAP / 2 + 0.1, -GAP / 2 + 0.1, GAP / 2 - 0.1, GAP / 2 - 0.1)
            assert not apart.intersects(other)


def test_grid_uses_the_room_there_is():
    two = grid(2, QSize(512, 512), QSize(1000, 500))
    assert two[0].y() == two[1].y()
    two = grid(2, QSize(512, 512), QSize(500, 1000))
    assert two[0].x() == two[1].x()


def test_fitted_keeps_the_shape():
    place = fitted(QSize(100, 50), QRectF(0, 0, 400, 400))
    assert place == QRectF(0, 100, 400, 200)


def test_progress_counts_the_batches_to_come():
    step = Step(index=5, total=20, pictures=(2, 3), total_pictures=6, seconds=2.5)
    progress = Progress.of(step)
    assert progress.steps_per_second == 2.0
    assert progress.seconds_left == pytest.approx((15 + 20) / 2.0)
    assert progress.fraction == pytest.approx((2 + 2 * 0.25) / 6)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.2, "0 s"), (59.4, "59 s"), (125, "2 min 5 s"), (4320, "1 h 12 min")]
)
def test_durations_are_said_as_people_do(seconds, text):
    assert duration(seconds) == text


def test_sizes_keep_shape_and_area():
    for ratio in ((1, 1), (16, 9), (2, 3)):
        size = sized(ratio, 512 * 512, 8)
        assert size.width() % 8 == size.height() % 8 == 0
        assert size.width() / size.height() == pytest.approx(ratio[0] / ratio[1], rel=0.03)
        assert size.width() * size.height() == pytest.approx(512 * 512, rel=0.05)


def test_one_bad_name_hides_no_other_picture(tmp_path):
    names = ("old.png", "middle.JPG", "new.webp")
    for age, name in enumerate(reversed(names)):
        file = tmp_path / name
        file.write_bytes(b"")
        os.utime(file, (1000 - age, 1000 - age))
    (tmp_path / "gone.png").symlink_to(tmp_path / "nothing.png")
    for other in ("preview.png", "notes.txt"):
        (tmp_path / other).write_bytes(b"")
    assert [path.name for path in pictures_in(tmp_path)] == list(reversed(names))
    assert pictures_in(tmp_path / "nowhere") == []


def test_window_imports_no_torch():
    code = (
        "import sys, desktop.app; "
        "sys.exit(', '.join({'torch', 'diffusers', 'transformers'} & set(sys.modules)) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
