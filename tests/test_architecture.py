import ast
import re
import sys
from pathlib import Path

import pytest

import core

ROOT = Path(__file__).parent.parent
PACKAGES = ("core", "coreml_export", "desktop")
SOURCES = sorted(
    path for package in (*PACKAGES, "tests") for path in (ROOT / package).rglob("*.py")
)
SHIPPED = [path for path in SOURCES if path.relative_to(ROOT).parts[0] in PACKAGES]

TOP_LEVEL = {*PACKAGES, "tests", "pyproject.toml", "README.md", "LICENSE"}
MADE_BY_TOOLS = {"build", "dist", "outputs", "runs", "__pycache__"}

NEVER_IN = {
    "core": {"desktop", "coreml_export", "PySide6", "shiboken6", "pytest", "tests"},
    "coreml_export": {"desktop", "PySide6", "shiboken6", "pytest", "tests"},
    "desktop": {"torch", "diffusers", "transformers", "accelerate", "pytest", "tests"},
}
ONLY_IN = {
    "coremltools": ("coreml_export/", "core/coreml.py"),
    "coreai": ("coreml_export/coreai.py", "core/coreai.py"),
    "coreai_torch": ("coreml_export/coreai.py",),
}
ANY_EXCEPTION_IN = {"desktop/worker.py", "core/cli.py"}
VAGUE = {"utils", "util", "helpers", "helper", "common", "misc", "tools", "stuff"}


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def imports(path: Path) -> list[tuple[str, int]]:
    """Each module that a file imports anywhere in it, with the level of a relative import."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(alias.name, 0) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.module or "", node.level))
    return found


def test_the_package_under_test_is_this_one():
    assert Path(core.__file__).parent == ROOT / "core"


def test_the_top_level_is_closed():
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert {name for name in there if not name.endswith(".egg-info")} <= TOP_LEVEL | MADE_BY_TOOLS


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_imports_keep_to_the_layers(path):
    layer = path.relative_to(ROOT).parts[0]
    for module, level in imports(path):
        assert level == 0, f"a relative import of {module}"
        top = module.partition(".")[0]
        assert top not in NEVER_IN.get(layer, ()), f"{layer} imports {module}"
        if top in ONLY_IN:
            assert name_of(path).startswith((*ONLY_IN[top], "tests/")), f"imports {module}"


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_a_package_says_what_it_is_for_and_nothing_else(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree), "a module without a docstring"
    if path.name == "__init__.py":
        assert len(tree.body) == 1, "more than a docstring"


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_names_say_what_a_module_is(path):
    assert path.stem not in VAGUE
    if path.stem not in {"__init__", "__main__"}:
        assert path.stem not in sys.stdlib_module_names


@pytest.mark.parametrize("path", SHIPPED, ids=name_of)
def test_any_exception_is_caught_in_two_places_only(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ExceptHandler):
            continue
        caught = ast.unparse(node.type) if node.type else "everything"
        if re.search(r"\b(everything|Exception|BaseException)\b", caught):
            assert name_of(path) in ANY_EXCEPTION_IN, f"line {node.lineno} catches {caught}"


def test_tests_are_no_packages():
    assert not list((ROOT / "tests").rglob("__init__.py"))
