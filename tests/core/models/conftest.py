"""A hub on this machine, with a tiny model in it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from core.models import catalog
from core.models.library import Library
from core.paths import Profile
from tests.core.models.hub_stand_in import HubStandIn

REPO = "some-one/tiny"


@pytest.fixture
def shelf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Library:
    """An empty library, which the catalog does not know."""
    monkeypatch.setattr(catalog, "_shelf", None)
    return Library(Profile(tmp_path / "profile"))


@pytest.fixture
def hub(tiny_model: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubStandIn]:
    """A hub that this process talks to; its one repository holds things many times, as many do."""
    from huggingface_hub import close_session, constants

    files = {
        path.relative_to(tiny_model).as_posix(): path.read_bytes()
        for path in sorted(tiny_model.rglob("*"))
        if path.is_file()
    }
    unet = files["unet/diffusion_pytorch_model.safetensors"]
    files |= {
        "README.md": b"---\nlicense: mit\n---\n",
        "tiny.ckpt": b"a pickle of everything",
        "tiny.safetensors": unet,
        "unet/diffusion_pytorch_model.bin": b"a pickle",
        "unet/diffusion_pytorch_model.fp16.safetensors": unet,
        "safety_checker/config.json": b"{}",
        "safety_checker/model.safetensors": unet,
    }
    with HubStandIn(repos={REPO: files}) as stand_in:
        monkeypatch.setenv("HF_ENDPOINT", stand_in.url)
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
        yield stand_in
        stand_in.stalls.set()
        close_session()
