"""How long a person waits: from the process's start to the window, and from there to a picture.

    python -m tests.benchmarks.first_paint [--runs 5] [--model MODEL]

Each run is the app in a new process, on a profile that remembers the model alone, without a display
unless QT_QPA_PLATFORM says otherwise. The clock starts before the process does and stops when the
window's first paint is over, by the wall and, for a busy machine, in processor time of the process;
whether torch was imported by then is asked of the process itself. The picture, of the model's own
size and steps, is asked for in that moment: its time holds the import of torch and the loading of
the model. Without ``--model`` that is a tiny one with random weights: the time is then the app's.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FIGURES = ("first_paint_s", "first_paint_cpu_s", "first_picture_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", help="a name or a folder, such as starter")
    parser.add_argument("--child", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
    if options.child:
        open_app(options.child, options.model)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = options.model or write_model(Path(folder) / "tiny")
        runs = [measured(Path(folder) / f"profile-{run}", model) for run in range(options.runs)]
    sys.stdout.write(json.dumps(summary(runs), indent=2) + "\n")


def write_model(folder: Path) -> str:
    from tests.conftest import write_tiny_model

    return str(write_tiny_model(folder, "epsilon"))


def measured(profile: Path, model: str) -> dict[str, float]:
    """Open the app once and give its figures, in seconds."""
    command = [sys.executable, "-m", "tests.benchmarks.first_paint"]
    began = time.time()
    done = subprocess.run(
        [*command, "--child", str(profile), "--model", model],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise SystemExit(f"the app ended with {done.returncode}:\n{done.stderr}")
    told = json.loads(done.stdout)
    return {
        "first_paint_s": told["painted"] - began,
        "first_paint_cpu_s": told["cpu"],
        "first_picture_s": told["saved"] - told["painted"],
        "imported": told["imported"],
    }


def summary(runs: list[dict[str, float]]) -> dict[str, object]:
    figures: dict[str, object] = {"runs": len(runs), "torch_at_first_paint": runs[0]["imported"]}
    for name in FIGURES:
        values = [run[name] for run in runs]
        figures[name] = {
            "median": round(statistics.median(values), 2),
            "least": round(min(values), 2),
            "most": round(max(values), 2),
        }
    return figures


def open_app(profile: Path, model: str) -> None:
    """Be the app: tell by the wall clock when its window and its first picture were there."""
    from core.events import Saved
    from core.paths import Profile
    from desktop.app import open_session

    settings = Profile(root=profile).settings_file
    settings.parent.mkdir(parents=True)
    settings.write_text(json.dumps({"version": 1, "create": {"model": model}}))
    told: dict[str, float] = {}
    session = open_session(Profile(root=profile))
    panel = session.window.panel

    def on_painted() -> None:
        told["painted"] = time.time()
        told["cpu"] = time.process_time()
        told["imported"] = "torch" in sys.modules
        panel.set_defaults()
        panel.prompt.set_text("a red circle on a blue background")
        session.window.page.generate()

    def on_progress(_job: int, event: object) -> None:
        if isinstance(event, Saved):
            told["saved"] = time.time()
            session.window.close()

    def on_ended(job: object) -> None:
        if "saved" not in told:
            sys.stderr.write(f"{job}\n")
            session.window.close()

    session.window.first_painted.connect(on_painted)
    session.jobs.progressed.connect(on_progress)
    session.jobs.ended.connect(on_ended)
    status = session.run()
    sys.stdout.write(json.dumps(told))
    sys.exit(status or "saved" not in told)


if __name__ == "__main__":
    main()
