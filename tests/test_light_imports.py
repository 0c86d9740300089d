import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
HEAVY = ("torch", "diffusers", "transformers", "accelerate", "coremltools")

LIGHT = [
    "core.about",
    "core.child_process",
    "core.cli",
    "core.caption_options",
    "core.compute_units",
    "core.coreml_folder",
    "core.commands.caption",
    "core.commands.generate",
    "core.control_options",
    "core.commands.grid",
    "core.commands.inspect_picture",
    "core.commands.models",
    "core.commands.upscale",
    "core.errors",
    "core.events",
    "core.files",
    "core.images.lineage",
    "core.grid",
    "core.grid_axes",
    "core.grid_sheet",
    "core.images.canny",
    "core.images.canvas",
    "core.images.control_map",
    "core.images.grids",
    "core.images.mask",
    "core.images.metadata",
    "core.images.nearest",
    "core.images.reading",
    "core.images.scaling",
    "core.images.writing",
    "core.models.catalog",
    "core.models.control_file",
    "core.models.curated",
    "core.models.download",
    "core.models.fingerprint",
    "core.models.found_files",
    "core.models.hub",
    "core.models.hub_cache",
    "core.models.exported_limits",
    "core.models.exported_source",
    "core.models.identify",
    "core.models.taught",
    "core.models.verdict",
    "core.models.lora_keys",
    "core.models.matching",
    "core.models.names",
    "core.models.original_names",
    "core.models.writing.metadata",
    "core.models.library",
    "core.models.listing",
    "core.models.refiner_file",
    "core.models.upscaler_file",
    "core.models.upscaler_kinds",
    "core.paths",
    "core.request",
    "core.request_checks",
    "core.request_parts",
    "core.sampling.chunks",
    "core.sampling.prompt_syntax",
    "core.sampling.served",
    "core.sampling.settle",
    "core.sampling.token_count",
    "core.training.buckets",
    "core.training.captions",
    "core.train_options",
    "core.training.folder",
    "core.training.presets",
    "core.training.defaults",
    "core.training.seal",
    "core.commands.train",
    "core.commands.training_report",
    "core.training.caption_events",
    "core.training.caption_models",
    "core.training.caption_request",
    "core.training.captioning",
    "core.training.config",
    "core.training.config_parts",
    "core.training.material",
    "core.training.metadata_lines",
    "core.training.needs",
    "core.training.order",
    "core.training.pictures",
    "core.training.showing",
    "core.training.wording",
    "coreml_export.__main__",
    "coreml_export.command",
    "coreml_export.export",
    "coreml_export.folder",
    "coreml_export.plan",
    "coreml_export.progress",
    "coreml_export.tokenizer_files",
    "desktop.__main__",
    "desktop.app",
    "desktop.widgets.main_window",
]


def run(code: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("module", LIGHT)
def test_a_light_module_imports_no_engine(module):
    done = run(
        f"import sys, {module}\n"
        f"heavy = [name for name in {HEAVY} if name in sys.modules]\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr


def test_the_command_line_itself_imports_no_numbers_and_no_window():
    done = run(
        "import sys, desktop.__main__\n"
        "heavy = [name for name in ('numpy', 'PIL', 'PySide6', 'tqdm') if name in sys.modules]\n"
        "sys.exit(f'imported {heavy}' if heavy else 0)"
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("module", ["core", "desktop"])
def test_help_waits_for_no_heavy_import(module):
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", module, "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "core.cli" in imported
    assert not imported & {*HEAVY, "numpy", "PIL", "PySide6", "tqdm"}
