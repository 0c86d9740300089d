"""What the tests of sampling share."""

from collections.abc import Iterator

import pytest

from core.engine import TorchEngine
from core.request import DeviceName
from tests.core.sampling.parity import Ours, quadrature


@pytest.fixture(scope="module")
def integrator() -> Iterator[None]:
    """Stands in for SciPy's, without which diffusers' K-LMS does not run."""
    with quadrature():
        yield


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchEngine:
    return TorchEngine(DeviceName.CPU, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture
def ours(engine: TorchEngine, monkeypatch: pytest.MonkeyPatch) -> Ours:
    return Ours(engine, monkeypatch)
