"""The whole app under a real X server, worked by real key presses."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.images.metadata import read_metadata
from core.models import catalog

ROOT = Path(__file__).parents[2]
PROGRAMS = ("Xvfb", "xdotool", "openbox")
WEIGHTS = ROOT / "core" / "starter" / "weights"

pytestmark = [
    pytest.mark.skipif(sys.platform != "linux", reason="Xvfb is of Linux"),
    *(
        pytest.mark.skipif(shutil.which(program) is None, reason=f"{program} is not installed")
        for program in PROGRAMS
    ),
]


@pytest.fixture(scope="module")
def display():
    """The name of a display of our own, with a window manager, for focus."""
    read, write = os.pipe()
    server = subprocess.Popen(
        ["Xvfb", "-displayfd", str(write), "-screen", "0", "1400x900x24"],
        pass_fds=[write],
        stderr=subprocess.DEVNULL,
    )
    os.close(write)
    with os.fdopen(read) as number:
        name = f":{number.readline().strip()}"
    manager = subprocess.Popen(
        ["openbox"], env=os.environ | {"DISPLAY": name}, stderr=subprocess.DEVNULL
    )
    yield name
    for process in (manager, server):
        process.terminate()
        process.wait(10)


class App:
    """The app in a process of its own, and the hands at its keyboard."""

    def __init__(self, display: str, profile: Path) -> None:
        self.profile = profile
        self.env = os.environ | {"DISPLAY": display, "QT_QPA_PLATFORM": "xcb"}
        self.log = (profile.parent / "output.txt").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "desktop", "--profile", str(profile)],
            cwd=ROOT,
            env=self.env,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        self.window = self.xdotool("search", "--sync", "--onlyvisible", "--name", "^Stepwise$")
        self.xdotool("windowactivate", "--sync", self.window)

    def xdotool(self, *arguments: str) -> str:
        done = subprocess.run(
            ["xdotool", *arguments],
            env=self.env,
            timeout=60,
            check=True,
            capture_output=True,
            text=True,
        )
        return done.stdout.strip()

    def type(self, text: str) -> None:
        self.xdotool("type", "--delay", "15", text)

    def key(self, keys: str) -> None:
        self.xdotool("key", keys)

    def pictures(self) -> list[Path]:
        return sorted((self.profile / "pictures").glob("*.png"))

    def wait_for_pictures(self, count: int) -> list[Path]:
        deadline = time.monotonic() + 240
        while len(self.pictures()) < count:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.1)
        return self.pictures()

    def quit(self) -> None:
        self.key("ctrl+q")
        assert self.process.wait(60) == 0, self.said()
        assert self.said() == ""

    def said(self) -> str:
        return (self.profile.parent / "output.txt").read_text()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


@pytest.fixture
def open_app(display, tmp_path):
    apps = []

    def open_it() -> App:
        apps.append(App(display, tmp_path / "profile"))
        return apps[-1]

    yield open_it
    for app in apps:
        app.close()


def remember(profile: Path, **create: object) -> None:
    profile.mkdir(parents=True)
    values = {"version": 1, "create": create}
    (profile / "settings.json").write_text(json.dumps(values))


def shows_red_on_blue(picture: Path) -> bool:
    with Image.open(picture) as file:
        red, _green, blue = np.asarray(file, np.float32).reshape(-1, 3).T
    return bool((red > blue + 60).mean() > 0.03 and (blue > red + 60).mean() > 0.1)


@pytest.mark.skipif(not WEIGHTS.is_dir(), reason="the starter model's weights are not there yet")
def test_prompt_becomes_a_picture_of_it(open_app):
    app = open_app()
    app.type("a big red circle on a blue background")
    # The seeds are drawn by chance, and of some hundred one gives something else.
    for _ in range(3):
        app.key("ctrl+Return")
    pictures = app.wait_for_pictures(3)
    card = catalog.card("starter")
    for picture in pictures:
        request = read_metadata(picture).request
        assert request.prompts == ("a big red circle on a blue background",)
        assert (request.width, request.height) == (card.width, card.height)
    assert sum(map(shows_red_on_blue, pictures)) >= 2
    app.quit()


def test_typed_generated_and_remembered(open_app, tmp_path, tiny_model):
    profile = tmp_path / "profile"
    remember(profile, model=str(tiny_model), steps=4, width=64, height=64)
    app = open_app()
    app.type("the moon at night")
    app.key("ctrl+Return")
    app.wait_for_pictures(1)
    app.key("ctrl+Return")
    app.key("ctrl+KP_Enter")
    pictures = app.wait_for_pictures(3)
    seeds = {read_metadata(picture).seed for picture in pictures}
    assert len(seeds) == 3
    assert {read_metadata(picture).request.prompts for picture in pictures} == {
        ("the moon at night",)
    }
    app.quit()
    create = json.loads((profile / "settings.json").read_text())["create"]
    assert create["prompt"] == "the moon at night"
    assert create["seed"] in seeds


def test_quitting_in_the_middle_keeps_what_is_finished(open_app, tmp_path, tiny_model):
    remember(tmp_path / "profile", model=str(tiny_model), steps=40, width=64, height=64, count=1)
    app = open_app()
    app.key("ctrl+Return")
    app.wait_for_pictures(1)
    app.key("ctrl+a")
    for _ in range(5):
        app.key("ctrl+Return")
    began = time.monotonic()
    app.quit()
    assert time.monotonic() - began < 30
    for picture in app.pictures():
        with Image.open(picture) as file:
            file.load()
    assert not list((tmp_path / "profile" / "pictures").glob("*.part"))
