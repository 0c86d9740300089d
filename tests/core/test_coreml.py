"""Exported models at work: the same pictures as torch's, by the modules behind Core ML's seam."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import pytest
import torch

from core.compute_units import ComputeUnits
from core.coreml_folder import Layout
from core.engine import TorchEngine
from core.errors import InvalidRequest, ModelInvalid, ModelMissing, PartNotLoaded, Unsupported
from core.events import Event, ImageReady, Loading, Notice, PreviewSettings, Step
from core.models.catalog import SHIPPED
from core.models.exported import Package
from core.models.exported_parts import Arrays
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.request import (
    ControlUse,
    DeviceName,
    ImageToImage,
    MemoryMode,
    PreviewDecoder,
    Request,
    TextToImage,
)
from tests.conftest import write_tiny_control
from tests.fixtures.exported import NUMBERS, Stand, manifest_of, request_of
from tests.fixtures.packages import (
    NOISE,
    UNET_INPUTS,
    residuals,
    write_compiled,
    write_foreign,
    write_foreign_control,
)

OFF = PreviewSettings(decoder=PreviewDecoder.OFF)
WATCHED = PreviewSettings(budget=math.inf)


def run(engine: TorchEngine, request: Request, preview: PreviewSettings = OFF) -> list[Event]:
    return list(engine.generate(request, preview=preview))


def images(events: Sequence[Event]) -> list[ImageReady]:
    return [event for event in events if isinstance(event, ImageReady)]


def decibels(one: ImageReady, other: ImageReady) -> float:
    error = np.square(one.pixels.astype(float) - other.pixels.astype(float)).mean()
    return math.inf if error == 0 else 20 * math.log10(255 / math.sqrt(error))


@dataclasses.dataclass
class Bench:
    """A stand, the engine that has it, and what torch makes."""

    stand: Stand
    engine: TorchEngine
    scratch: Path

    def write(self, name: str, **changes: Any) -> Path:
        folder = self.scratch / name
        return folder if folder.exists() else self.stand.write(folder, **changes)

    def request(self, folder: object, **changes: Any) -> TextToImage:
        return request_of(folder, self.stand.size[0], **changes)


def bench_of(model: Path, scratch: Path, side: int, **options: Any) -> Bench:
    stand = Stand(model, scratch, size=(side, side), **options)
    engine = TorchEngine(DeviceName.CPU, cache=scratch / "cache", open_part=stand.open)
    return Bench(stand, engine, scratch)


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(SHIPPED["starter"], tmp_path_factory.mktemp("starter"), 128)


@pytest.fixture(scope="module")
def tiny(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return bench_of(tiny_model, tmp_path_factory.mktemp("tiny"), 64)


@pytest.fixture(scope="module")
def torchs(starter: Bench) -> ImageReady:
    """The starter's picture of 20 steps, by torch."""
    return images(run(starter.engine, starter.request("starter")))[0]


def test_a_picture_of_twenty_steps_is_that_of_torch(starter: Bench, torchs: ImageReady) -> None:
    request = starter.request(starter.write("whole"))
    events = run(starter.engine, request, WATCHED)
    made = images(events)[0]
    assert decibels(made, torchs) > 40
    assert made.seed == torchs.seed
    assert len(made.model_sha256) == 64
    assert made.model_sha256 != torchs.model_sha256
    loading = [event.what for event in events if isinstance(event, Loading)]
    assert loading[0] == f"the model {request.model}"
    assert [what.partition(" ")[0] for what in loading[1:5]] == [
        "Unet",
        "TextEncoder",
        "VAEDecoder",
        "VAEEncoder",
    ]
    steps = [event for event in events if isinstance(event, Step)]
    assert len(steps) == 20
    assert steps[0].previews[0].pixels.shape == (16, 16, 3)
    again = images(run(starter.engine, made.request))[0]
    assert again.request == made.request
    np.testing.assert_array_equal(again.pixels, made.pixels)


@pytest.mark.parametrize(
    "parts", [("Unet",), ("TextEncoder",), ("VAEDecoder", "VAEEncoder"), ("TextEncoder", "Unet")]
)
def test_parts_that_are_missing_are_torchs(
    starter: Bench, torchs: ImageReady, parts: tuple[str, ...]
) -> None:
    folder = starter.write("-".join(parts), parts=parts, source="starter")
    before = len(starter.stand.opened)
    made = images(run(starter.engine, starter.request(folder)))[0]
    assert decibels(made, torchs) > 40
    assert {name for name, *_ in starter.stand.opened[before:]} == set(parts)


def test_an_image_to_image_run_reads_its_picture(starter: Bench, start_picture: Path) -> None:
    def made(model: object) -> ImageReady:
        plain = starter.request(model, steps=4)
        fields = {f.name: getattr(plain, f.name) for f in dataclasses.fields(plain)}
        request = ImageToImage(**fields, init_image=str(start_picture), strength=0.5)
        return images(run(starter.engine, request))[0]

    assert decibels(made(starter.write("whole")), made("starter")) > 40


@pytest.mark.parametrize("batch", [1, 2])
def test_pictures_are_cut_into_as_many_rows_as_the_unet_takes(
    tiny_model: Path, tmp_path: Path, batch: int
) -> None:
    bench = bench_of(tiny_model, tmp_path, 64, batch=batch)
    request = bench.request(bench.write("whole"), steps=3, count=3, batch_size=3)
    made = images(run(bench.engine, request))
    assert bench.stand.rows == [batch] * (3 * 6 // batch)
    for one, other in zip(
        made,
        images(run(bench.engine, bench.request(tiny_model, steps=3, count=3, batch_size=3))),
        strict=True,
    ):
        assert decibels(one, other) > 40


def test_the_split_layout_gives_the_same_picture(tiny_model: Path, tmp_path: Path) -> None:
    bench = bench_of(tiny_model, tmp_path, 64, layout=Layout.SPLIT_EINSUM)
    made = images(run(bench.engine, bench.request(bench.write("whole"), steps=4)))[0]
    assert decibels(made, images(run(bench.engine, bench.request(tiny_model, steps=4)))[0]) > 40


def test_a_model_with_two_text_encoders(tiny_xl_model: Path, tmp_path: Path) -> None:
    bench = bench_of(tiny_xl_model, tmp_path, 64)
    folder = bench.write("whole")
    made = images(run(bench.engine, bench.request(folder, steps=4, negative_prompt="night")))[0]
    by_torch = bench.request(tiny_xl_model, steps=4, negative_prompt="night")
    assert decibels(made, images(run(bench.engine, by_torch))[0]) > 40


def test_control_nets_lead_a_unet_that_takes_what_they_give(
    tiny_model: Path, start_picture: Path, tmp_path: Path
) -> None:
    bench = bench_of(tiny_model, tmp_path, 64, control=True)
    net = write_tiny_control(tmp_path / "net", tiny_model)
    controls = (ControlUse(path=str(net), image=str(start_picture)),)

    def made(model: object, **changes: Any) -> ImageReady:
        return images(run(bench.engine, bench.request(model, steps=4, **changes)))[0]

    folder = bench.write("whole")
    led = made(folder, controls=controls)
    assert decibels(led, made(tiny_model, controls=controls)) > 40
    assert decibels(made(folder), made(tiny_model)) > 40
    assert decibels(led, made(folder)) < 40


def led_bench(model: Path, net: Path, scratch: Path, **options: Any) -> Bench:
    """A bench with a ControlNet among its parts, ``Lines``."""
    lines = {"Lines": diffusers.ControlNetModel.from_pretrained(net).eval()}
    return bench_of(model, scratch, 64, control=True, nets=lines, **options)


@pytest.fixture(scope="module")
def tiny_net(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_control(tmp_path_factory.mktemp("net") / "lines", tiny_model)


@pytest.fixture(scope="module")
def led(tiny_model: Path, tiny_net: Path, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return led_bench(tiny_model, tiny_net, tmp_path_factory.mktemp("led"))


@pytest.fixture
def followed(start_picture: Path) -> Callable[..., dict[str, Any]]:
    """Let a ControlNet of that name or path lead a request, so strongly that it is seen."""

    def controls(path: object, weight: float = 3.0) -> dict[str, Any]:
        use = ControlUse(path=str(path), image=str(start_picture), weight=weight)
        return {"controls": (use,)}

    return controls


def one_of(bench: Bench, model: object, **changes: Any) -> ImageReady:
    return images(run(bench.engine, bench.request(model, **{"steps": 4} | changes)))[0]


def test_an_exported_control_net_leads_an_exported_unet(
    led: Bench, tiny_net: Path, followed: Callable[..., dict[str, Any]]
) -> None:
    folder = led.write("whole")
    opened, model = len(led.stand.opened), led.stand.model
    made = one_of(led, folder, **followed("lines"), compute_units="cpu-ane")
    assert decibels(made, one_of(led, model, **followed(tiny_net))) > 40
    assert decibels(made, one_of(led, model, **followed(tiny_net, weight=1))) < 40
    (use,) = made.request.controls
    assert use.path == str(folder / "controlnet" / "Lines.mlpackage")
    assert len(use.sha256) == 64
    # As the UNet.
    assert ("controlnet/Lines", ComputeUnits.CPU_ANE, "") in led.stand.opened[opened:]
    again = images(run(led.engine, made.request))[0]
    assert again.request == made.request
    np.testing.assert_array_equal(again.pixels, made.pixels)


def test_an_exported_control_net_leads_a_torch_unet(
    led: Bench, tiny_net: Path, followed: Callable[..., dict[str, Any]]
) -> None:
    part, model = led.write("whole") / "controlnet" / "Lines.mlpackage", led.stand.model
    made = one_of(led, model, count=3, batch_size=3, **followed(part))
    assert decibels(made, one_of(led, model, count=3, batch_size=3, **followed(tiny_net))) > 40
    # What it was is kept, and with it what ran it.
    assert made.request.compute_units in ("cpu-gpu", "cpu")
    assert led.stand.opened[-1] == (
        "controlnet/Lines",
        ComputeUnits(made.request.compute_units),
        "",
    )
    with pytest.raises(InvalidRequest, match="75 tokens that an exported ControlNet reads"):
        one_of(led, model, prompts=("night " * 90,), **followed(part))


def test_an_exported_control_net_of_a_model_that_is_told_sizes(
    tiny_xl_model: Path, tmp_path: Path, followed: Callable[..., dict[str, Any]]
) -> None:
    net = write_tiny_control(tmp_path / "net", tiny_xl_model)
    bench = led_bench(tiny_xl_model, net, tmp_path, only=["controlnet/Lines"], batch=1)
    part = bench.write("whole") / "controlnet" / "Lines.mlpackage"
    made = one_of(bench, tiny_xl_model, **followed(part))
    assert decibels(made, one_of(bench, tiny_xl_model, **followed(net))) > 40
    assert decibels(made, one_of(bench, tiny_xl_model)) < 40


def test_another_size_is_another_function_of_the_same_control_net(
    tiny_model: Path, tiny_net: Path, tmp_path: Path, followed: Callable[..., dict[str, Any]]
) -> None:
    only = {"only": ["controlnet/Lines"]}
    square = led_bench(tiny_model, tiny_net, tmp_path, **only)
    lines = {"Lines": diffusers.ControlNetModel.from_pretrained(tiny_net).eval()}
    wide = Stand(tiny_model, tmp_path, size=(128, 64), control=True, nets=lines, **only)

    def opened(package: Package, units: ComputeUnits, function: str) -> Any:
        return (wide if function == "size_128x64" else square.stand).open(package, units, function)

    bench = dataclasses.replace(
        square, engine=TorchEngine(DeviceName.CPU, cache=tmp_path / "cache", open_part=opened)
    )
    folder = bench.write("sizes", sizes=((64, 64), (128, 64)))
    use = followed(folder / "controlnet" / "Lines.mlpackage")
    one_of(bench, tiny_model, **use)
    made = one_of(bench, tiny_model, width=128, **use)
    assert decibels(made, one_of(bench, tiny_model, width=128, **followed(tiny_net))) > 40
    assert len(square.stand.opened) == len(wide.opened) == 1


def test_a_control_net_stays_beside_its_unet_where_memory_is_low(
    led: Bench, followed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path, open_part=led.stand.open)
    low = dataclasses.replace(led, engine=engine)
    before, folder = len(led.stand.opened), led.write("whole")
    one_of(low, folder, memory=MemoryMode.LOW, **followed("Lines"))
    names = [name for name, *_ in led.stand.opened[before:]]
    # Each once to have it compiled, and then again when it has to work.
    assert names[:4] == ["ControlledUnet", "TextEncoder", "VAEDecoder", "VAEEncoder"]
    assert names[4:6] == ["controlnet/Lines", "TextEncoder"]
    assert names[6:] == ["controlnet/Lines", "ControlledUnet", "VAEDecoder"]


def test_nothing_stands_in_for_what_an_exported_control_net_leads(
    led: Bench, followed: Callable[..., dict[str, Any]], tmp_path: Path
) -> None:
    def failing(package: Package, units: ComputeUnits, function: str) -> Any:
        if package.name == "controlnet/Lines":
            raise RuntimeError("it gave up")
        return led.stand.open(package, units, function)

    engine = TorchEngine(DeviceName.CPU, cache=tmp_path, open_part=failing)
    folder = led.write("whole")
    for model, net in ((folder, "lines"), (led.stand.model, folder / "controlnet/Lines.mlpackage")):
        with pytest.raises(PartNotLoaded, match=r"controlnet/Lines \(.+\) cannot be loaded"):
            run(engine, led.request(model, steps=2, **followed(net)))


def test_parts_take_turns_where_memory_is_low(tiny: Bench) -> None:
    request = tiny.request(tiny.write("whole"), steps=3)
    full = images(run(tiny.engine, dataclasses.replace(request, memory=MemoryMode.FULL)))[0]
    engine = TorchEngine(DeviceName.CPU, cache=tiny.scratch / "low", open_part=tiny.stand.open)
    low = dataclasses.replace(request, memory=MemoryMode.LOW)
    before = len(tiny.stand.opened)
    made = images(run(engine, low))[0]
    np.testing.assert_array_equal(made.pixels, full.pixels)
    names = [name for name, *_ in tiny.stand.opened[before:]]
    # Each once to have it compiled while that can be told, and then again when it has to work.
    assert names[:4] == ["Unet", "TextEncoder", "VAEDecoder", "VAEEncoder"]
    assert names[4:] == ["TextEncoder", "Unet", "VAEDecoder"]


def test_the_units_that_are_asked_for_are_those_that_work(tiny: Bench) -> None:
    before = len(tiny.stand.opened)
    request = tiny.request(tiny.write("whole"), steps=2, compute_units="cpu-gpu,Unet=cpu-ane")
    made = images(run(tiny.engine, request))[0]
    units = {name: units for name, units, _ in tiny.stand.opened[before:]}
    assert units["Unet"] is ComputeUnits.CPU_ANE
    assert units["VAEDecoder"] is ComputeUnits.CPU_GPU
    assert "Unet=cpu-ane" in made.request.compute_units


def test_without_what_reads_pictures_there_are_no_linear_previews(tiny: Bench) -> None:
    folder = tiny.write("no-encoder", parts=("TextEncoder", "Unet", "VAEDecoder"))
    events = run(tiny.engine, tiny.request(folder, steps=2), WATCHED)
    assert [event.previews for event in events if isinstance(event, Step)] == [(), ()]


def test_a_vae_of_torchs_takes_the_place_of_the_exported_one(
    tiny: Bench, tiny_v_model: Path
) -> None:
    vae = str(tiny_v_model / "vae")
    folder = tiny.write("whole")
    made = images(run(tiny.engine, tiny.request(folder, steps=3, vae=vae)))[0]
    by_torch = images(run(tiny.engine, tiny.request(tiny.stand.model, steps=3, vae=vae)))[0]
    assert decibels(made, by_torch) > 40
    assert decibels(made, images(run(tiny.engine, tiny.request(folder, steps=3)))[0]) < 30


def test_words_that_were_taught_are_known_by_their_numbers(tiny: Bench, tmp_path: Path) -> None:
    tokenizer: Any = tiny.stand.components.tokenizer
    numbers = tokenizer("moon night", add_special_tokens=False).input_ids
    words = {"<selene>": [*numbers]}
    model = manifest_of(tiny.stand, ()).model
    folder = tiny.stand.write(tmp_path / "taught", model=dict(model) | {"words": words})

    def made(prompt: str) -> ImageReady:
        return images(run(tiny.engine, tiny.request(folder, prompts=(prompt,), steps=2)))[0]

    one, other = made("a (red:1.2) <selene>"), made("a (red:1.2) moon night")
    np.testing.assert_array_equal(one.pixels, other.pixels)
    assert one.tokens == other.tokens


def test_a_longer_prompt_than_it_reads_is_refused(tiny: Bench) -> None:
    with pytest.raises(InvalidRequest, match="75 tokens"):
        run(tiny.engine, tiny.request(tiny.write("whole"), prompts=("night " * 90,)))


def test_numbers_that_are_none_name_the_way_out(tiny: Bench) -> None:
    class Broken:
        def predict(self, inputs: Arrays) -> Arrays:
            return {"noise_pred": np.full((2, 4, 8, 8), np.nan, np.float32)}

    def opened(package: Package, units: ComputeUnits, function: str) -> Any:
        return Broken() if package.name == "Unet" else tiny.stand.open(package, units, function)

    engine = TorchEngine(DeviceName.CPU, cache=tiny.scratch / "nan", open_part=opened)
    with pytest.raises(ModelInvalid, match="--compute-units"):
        run(engine, tiny.request(tiny.write("whole"), steps=2))


def refusing(package: Package, units: ComputeUnits, function: str) -> Any:
    raise RuntimeError("ANECompilerService gave up\nand said much more")


def test_the_torch_model_stands_in_for_one_that_does_not_start(tiny: Bench) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tiny.scratch / "fails", open_part=refusing)
    events = run(engine, tiny.request(tiny.write("whole"), steps=2, compute_units="cpu-ane"))
    notices = [event.message for event in events if isinstance(event, Notice)]
    assert any("ANECompilerService gave up)" in notice for notice in notices)
    made = images(events)[0]
    assert made.request.model == str(tiny.stand.model)
    by_torch = images(run(engine, tiny.request(tiny.stand.model, steps=2)))[0]
    np.testing.assert_array_equal(made.pixels, by_torch.pixels)


@pytest.mark.parametrize("changes", [{"words": ("<cat>",)}, {"source": ""}, {"source": "gone"}])
def test_nothing_stands_in_for_what_torch_does_not_have(
    tiny: Bench, tmp_path: Path, changes: Any
) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tmp_path, open_part=refusing)
    folder = tiny.stand.write(tmp_path / "changed", **changes)
    with pytest.raises(PartNotLoaded, match="choose other compute units"):
        run(engine, tiny.request(folder, steps=2))


def test_a_source_that_has_gone_or_changed_is_named(
    tiny: Bench, tiny_v_model: Path, tmp_path: Path
) -> None:
    folder = tiny.stand.write(tmp_path / "gone", parts=("Unet",), source="gone")
    with pytest.raises(ModelMissing, match="takes it from gone"):
        run(tiny.engine, tiny.request(folder))
    folder = tiny.stand.write(tmp_path / "other", parts=("Unet",), source=str(tiny_v_model))
    with pytest.raises(ModelInvalid, match="not the model that"):
        run(tiny.engine, tiny.request(folder))
    folder = tiny.stand.write(tmp_path / "unnamed", parts=("Unet",), source="")
    with pytest.raises(ModelInvalid, match="has no text encoder and vae"):
        run(tiny.engine, tiny.request(folder))


@pytest.mark.skipif(sys.platform == "darwin", reason="Core ML is here")
def test_running_needs_a_mac(tiny: Bench) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tiny.scratch / "here")
    request = tiny.request(tiny.write("whole"))
    with pytest.raises(Unsupported, match="needs a Mac") as refused:
        run(engine, request)
    assert str(tiny.stand.model) in str(refused.value)


def test_it_can_be_made_ready_before_it_is_used(tiny: Bench) -> None:
    engine = TorchEngine(DeviceName.CPU, cache=tiny.scratch / "warm", open_part=tiny.stand.open)
    folder = tiny.write("whole")
    list(engine.warm_up(str(folder)))
    events = run(engine, tiny.request(folder, steps=2))
    assert not [event for event in events if isinstance(event, Loading)]


def test_its_weights_cannot_be_taught_or_exported(tiny: Bench, tmp_path: Path) -> None:
    with pytest.raises(Unsupported, match="can only make pictures"):
        load(
            identify(tiny.write("whole")),
            device=torch.device("cpu"),
            dtype=torch.float32,
            fingerprints=Fingerprints.kept_in(tmp_path),
        )


class Nothing:
    """Answers zeros, of the shapes that a part declares."""

    def __init__(self, package: Package) -> None:
        self.package = package

    def predict(self, inputs: Arrays) -> Arrays:
        for one in self.package.inputs:
            assert inputs[one.name].shape == one.shape
        return {one.name: np.zeros(one.shape, NUMBERS[one.dtype]) for one in self.package.outputs}


def test_a_folder_of_another_converter_makes_pictures(tmp_path: Path, start_picture: Path) -> None:
    opened = []

    def nothing(package: Package, units: ComputeUnits, function: str) -> Any:
        opened.append(package.name)
        return Nothing(package)

    engine = TorchEngine(DeviceName.CPU, cache=tmp_path / "cache", open_part=nothing)
    folder = write_foreign(tmp_path / "foreign", UNET_INPUTS)
    write_compiled(folder / "ControlledUnet.mlmodelc", UNET_INPUTS | residuals("float16"), NOISE)
    write_foreign_control(folder)
    controls = (ControlUse(path="canny", image=str(start_picture)),)
    request = request_of(folder, 512, steps=2, negative_prompt="blurry", controls=controls)
    made = images(run(engine, request))[0]
    assert made.pixels.shape == (512, 512, 3)
    assert {int(value) for value in np.unique(made.pixels)} == {128}
    assert opened[-1] == "controlnet/Canny"
