"""coremltools as it is, and small packages written by it."""

from __future__ import annotations

import gc
import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from core.coreml import import_coremltools

OF_NO_CONCERN = (
    # coremltools converts what torch.jit has traced, and torch would rather be rid of it.
    "`torch.jit",
    "Conversion of an array with ndim > 0 to a scalar is deprecated",
    # torch.jit asks every property of a module, also those that transformers is giving up.
    "`is_gradient_checkpointing` is deprecated",
    # It names some values anew, and leaves a folder to be removed with the model.
    "Output.*renamed",
    "Implicitly cleaning up <TemporaryDirectory",
)


@contextmanager
def _quiet() -> Iterator[None]:
    """Pass over what coremltools and torch warn of while a model is converted."""
    with warnings.catch_warnings():
        for message in OF_NO_CONCERN:
            warnings.filterwarnings("ignore", message)
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield
        gc.collect()


@pytest.fixture(scope="session")
def quiet() -> Callable[[], AbstractContextManager[None]]:
    """Give what to convert or to compress within, lest a warning of a library's be an error."""
    return _quiet


@pytest.fixture(scope="session")
def ct() -> Any:
    """The module coremltools."""
    if importlib.util.find_spec("coremltools") is None:
        pytest.skip("coremltools is not installed; there is none for this system")
    import_coremltools("coremltools.optimize.coreml")
    return import_coremltools()


@pytest.fixture(scope="session")
def save(ct: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Give a function that writes a model, as coremltools has it, to a new package."""

    def write(model: Any) -> Path:
        path = tmp_path_factory.mktemp("packages") / "Model.mlpackage"
        model.save(str(path))
        return path

    return write


@pytest.fixture(scope="session")
def convert(ct: Any) -> Callable[..., Any]:
    """Give a function that traces a torch module and converts it, to fp16 unless told otherwise."""

    def converted(
        module: torch.nn.Module,
        inputs: dict[str, torch.Tensor],
        *,
        target: str = "iOS16",
        precision: str = "FLOAT16",
        shapes: dict[str, Any] | None = None,
    ) -> Any:
        with _quiet(), torch.no_grad():
            traced = torch.jit.trace(module.eval(), tuple(inputs.values()), check_trace=False)
            return ct.convert(
                traced,
                inputs=[
                    ct.TensorType(
                        name=name,
                        shape=(shapes or {}).get(name, value.shape),
                        dtype=value.numpy().dtype,
                    )
                    for name, value in inputs.items()
                ],
                minimum_deployment_target=ct.target[target],
                compute_precision=ct.precision[precision],
                skip_model_load=True,
            )

    return converted


@pytest.fixture(scope="session")
def build(ct: Any) -> Callable[..., Any]:
    """Give a function that makes a program of operations as they are, with nothing optimised."""

    def built(
        body: Callable[..., Any], shapes: list[tuple[int, ...]], *, target: str = "iOS16"
    ) -> Any:
        builder = import_coremltools("coremltools.converters.mil").Builder
        program = builder.program(
            input_specs=[builder.TensorSpec(shape=shape) for shape in shapes],
            opset_version=ct.target[target],
        )(body)
        with _quiet():
            return ct.convert(
                program,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=ct.target[target],
                compute_precision=ct.precision.FLOAT32,
                pass_pipeline=ct.PassPipeline.EMPTY,
                skip_model_load=True,
            )

    return built
