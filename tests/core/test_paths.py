from pathlib import Path

from core.about import version
from core.paths import Profile, expanded


def test_a_profile_holds_everything(tmp_path):
    profile = Profile(tmp_path)
    inside = (profile.pictures, profile.settings_file, profile.cache, profile.logs)
    assert len({*inside, tmp_path}) == 5
    assert all(path.parent == tmp_path for path in inside)
    assert not list(tmp_path.iterdir())


def test_without_one_the_users_own_folders_are_taken(monkeypatch, tmp_path):
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.delenv("XDG_DATA_HOME", raising=False)
    monkeypatch.delenv("XDG_PICTURES_DIR", raising=False)
    profile = Profile.default()
    assert profile.root.name == profile.pictures.name == "Stepwise"
    assert profile.settings_file.parent == profile.root
    assert profile.root not in profile.pictures.parents
    assert Path.home() == tmp_path


def test_a_home_that_nobody_has_stays_as_it_is():
    assert expanded(Path("~/a")) == Path.home() / "a"
    assert expanded(Path("~nobody-of-this-name/a")) == Path("~nobody-of-this-name/a")


def test_the_version_is_a_word():
    assert version().split() == [version()]
