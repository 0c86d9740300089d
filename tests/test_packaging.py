import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "coreml_export", "desktop")


@pytest.fixture(scope="module")
def project():
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> set[PurePosixPath]:
    """The files in a wheel that hatchling builds from this tree."""
    folder = tmp_path_factory.mktemp("wheel")
    code = f"from hatchling.build import build_wheel; print(build_wheel({str(folder)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    (path,) = folder.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return set(map(PurePosixPath, archive.namelist()))


def test_the_packages_are_listed_by_name(project):
    assert tuple(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == PACKAGES


def test_the_command_exists(project):
    module, _, function = project["project"]["scripts"]["stepwise"].partition(":")
    __import__(module)
    assert callable(getattr(sys.modules[module], function))


def test_the_wheel_holds_the_packages_and_no_tests(wheel):
    tops = {path.parts[0] for path in wheel}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_the_wheel_holds_every_file_of_a_package(wheel, package):
    there = {
        PurePosixPath(path.relative_to(ROOT).as_posix())
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there <= wheel


def test_the_wheel_holds_the_starter_model(wheel):
    weights = PurePosixPath("core/starter/weights")
    if not (ROOT / weights).exists():
        pytest.skip("the starter model's weights are not in this tree")
    for part in ("text_encoder", "unet", "vae"):
        assert any(path.suffix == ".safetensors" for path in wheel if path.parent == weights / part)
    assert weights / "model_index.json" in wheel


def test_the_wheel_holds_the_captioner(wheel):
    folder = PurePosixPath("core/starter/captioner_weights")
    if not (ROOT / folder).exists():
        pytest.skip("the captioner's weights are not in this tree")
    assert {folder / name for name in ("config.json", "model.safetensors", "vocab.txt")} <= wheel
