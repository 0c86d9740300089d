import dataclasses
import json
import logging

import pytest

from core.request import ImageToImage, SchedulerName
from desktop.settings import CreateSettings, Settings, WindowSettings, read, write
from desktop.theme import ThemeMode


def test_round_trip(tmp_path):
    settings = Settings(
        create=CreateSettings(prompt="ä", steps=7, scheduler=SchedulerName.TCD, seed=2**32 - 1),
        window=WindowSettings(theme=ThemeMode.DARK, advanced_open=True, models=("/a", "/b")),
    )
    write(tmp_path / "new" / "settings.json", settings)
    assert read(tmp_path / "new" / "settings.json") == settings


def test_missing_file_gives_the_defaults(tmp_path):
    assert read(tmp_path / "settings.json") == Settings()


def test_bad_values_give_their_default_and_are_logged(tmp_path, caplog):
    path = tmp_path / "settings.json"
    write(path, Settings(create=CreateSettings(prompt="kept")))
    values = json.loads(path.read_text())
    values["create"] |= {
        "steps": "many",
        "guidance_scale": float("nan"),
        "scheduler": "none of ours",
        "seed_locked": 1,
        "count": True,
        "unknown": 3,
    }
    values["window"] = {"models": ["/a", 3], "theme": None}
    path.write_text(json.dumps(values))
    with caplog.at_level(logging.WARNING):
        settings = read(path)
    assert settings == Settings(create=CreateSettings(prompt="kept"))
    for name in ("steps", "guidance_scale", "scheduler", "seed_locked", "count", "models", "theme"):
        assert name in caplog.text


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '{"version": "x"}', '{"version": 0}', "{}"])
def test_file_that_is_no_settings_is_kept_aside(tmp_path, text):
    path = tmp_path / "settings.json"
    path.write_text(text)
    assert read(path) == Settings()
    assert (tmp_path / "settings.json.bak").read_text() == text


def test_migrations_run_in_order_after_a_backup(tmp_path):
    path = tmp_path / "settings.json"
    old = {"version": 1, "creation": {"prompt": "old", "step_count": 9}}
    path.write_text(json.dumps(old))

    def rename_part(values):
        return {"create": values["creation"]}

    def rename_field(values):
        create = values["create"]
        return {"create": {"prompt": create["prompt"], "steps": create["step_count"]}}

    settings = read(path, (rename_part, rename_field))
    assert settings.create == CreateSettings(prompt="old", steps=9)
    assert json.loads((tmp_path / "settings.json.bak").read_text()) == old


def test_file_of_a_later_version_is_understood_as_far_as_possible(tmp_path):
    path = tmp_path / "settings.json"
    write(path, Settings(create=CreateSettings(prompt="later")), version=99)
    assert read(path).create.prompt == "later"
    assert (tmp_path / "settings.json.bak").exists()


def test_controls_make_the_request_and_the_request_the_controls():
    create = CreateSettings(
        prompt="a", negative_prompt="b", steps=9, width=64, height=72, seed=5, count=3
    )
    request = create.request()
    again = CreateSettings().recalled(request, 2)
    expected = dataclasses.replace(create, seed=7, seed_locked=True, count=1)
    assert again == expected


def test_start_picture_makes_it_image_to_image():
    create = CreateSettings(prompt="a", start_image="/x.png", strength=0.4)
    request = create.request()
    assert isinstance(request, ImageToImage)
    again = CreateSettings().recalled(request, 0)
    assert (again.start_image, again.strength) == ("/x.png", 0.4)
