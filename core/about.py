"""What the app is called and which version runs. Imports no torch."""

from __future__ import annotations

from importlib import metadata

APP_NAME = "Stepwise"
DISTRIBUTION = "stepwise-diffusion"


def version() -> str:
    """The installed version, or ``source`` where the app runs without having been installed."""
    try:
        return metadata.version(DISTRIBUTION)
    except metadata.PackageNotFoundError:
        return "source"
