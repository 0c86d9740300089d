"""LoRA files of every form on a tiny model: what they add, and that it can be taken away."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from core.errors import ModelInvalid, UnsafeFile, Unsupported
from core.models.fingerprint import Fingerprints
from core.models.identify import identify
from core.models.load import load
from core.models.lora import AppliedLoras, Bound, Strength, bind, merge_into
from core.models.lora_file import read_lora
from core.models.lora_keys import TEXT, UNET

BLOCK = "down_blocks.0.attentions.0"
LINEAR = f"{BLOCK}.transformer_blocks.0.attn2.to_k"
SMALL_KERNEL = f"{BLOCK}.proj_in"
KERNEL = "down_blocks.0.resnets.0.conv1"
STRIDED = "down_blocks.0.downsamplers.0.conv"
NORM = f"{BLOCK}.norm"
QUERY = "encoder.layers.0.self_attn.q_proj"
TEXT_OUT = "encoder.layers.0.self_attn.out_proj"
RANK, ALPHA = 3, 1.5
# Transformers takes every tensor whose name holds the adapter's for one of the adapter's.
ADAPTER = "under_test"

Modules = dict[str, nn.Module]
Tensors = dict[str, Tensor]
Form = Callable[[Tensor, "Numbers"], tuple[Tensors, Tensor]]


class Numbers:
    """Seeded random numbers."""

    def __init__(self, seed: int = 0) -> None:
        self.generator = torch.Generator().manual_seed(seed)

    def __call__(self, *shape: int) -> Tensor:
        return torch.randn(shape, generator=self.generator) * 0.3


@pytest.fixture(scope="module")
def model(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Modules:
    loaded = load(
        identify(tiny_model),
        device=torch.device("cpu"),
        dtype=torch.float32,
        fingerprints=Fingerprints.kept_in(tmp_path_factory.mktemp("cache")),
    )
    return {UNET: loaded.unet, TEXT: loaded.text_encoder}


def module_of(model: Modules, name: str) -> nn.Module:
    if name.startswith("encoder."):
        encoder = model["text_encoder"]
        return encoder.get_submodule(next(n for n, _ in encoder.named_modules() if name in n))
    return model["unet"].get_submodule(name)


def kohya(name: str) -> str:
    prefix = "lora_te_text_model_" if name.startswith("encoder.") else "lora_unet_"
    return prefix + name.replace(".", "_")


def sides_of(weight: Tensor) -> tuple[int, int, tuple[int, ...]]:
    return weight.shape[0], weight.shape[1], tuple(weight.shape[2:])


def product(up: Tensor, down: Tensor, weight: Tensor) -> Tensor:
    return (up.flatten(1) @ down.flatten(1)).reshape(weight.shape)


def lora(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    down, up = numbers(RANK, width, *kernel), numbers(out, RANK, *(1 for _ in kernel))
    tensors = {"lora_down.weight": down, "lora_up.weight": up, "alpha": torch.tensor(ALPHA)}
    return tensors, ALPHA / RANK * product(up, down, weight)


def lora_without_alpha(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    tensors, delta = lora(weight, numbers)
    del tensors["alpha"]
    return tensors, delta * RANK / ALPHA


def lora_with_middle(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    down, mid, up = (
        numbers(RANK, width, 1, 1),
        numbers(RANK, RANK, *kernel),
        numbers(out, RANK, 1, 1),
    )
    delta = torch.zeros_like(weight)
    for i in range(kernel[0]):
        for j in range(kernel[1]):
            delta[:, :, i, j] = up[:, :, 0, 0] @ mid[:, :, i, j] @ down[:, :, 0, 0]
    return {"lora_down.weight": down, "lora_mid.weight": mid, "lora_up.weight": up}, delta


def loha(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width = weight.shape[0], weight[0].numel()
    a, b, c, d = numbers(out, RANK), numbers(RANK, width), numbers(out, RANK), numbers(RANK, width)
    tensors = {"hada_w1_a": a, "hada_w1_b": b, "hada_w2_a": c, "hada_w2_b": d}
    delta = ALPHA / RANK * ((a @ b) * (c @ d)).reshape(weight.shape)
    return tensors | {"alpha": torch.tensor(ALPHA)}, delta


def tucker(core: Tensor, out: Tensor, width: Tensor) -> Tensor:
    """The core ``(r, r, k, k)`` times ``(r, out)`` and ``(r, in)``, kernel place by place."""
    places = [
        [out.T @ core[:, :, i, j] @ width for j in range(core.shape[3])]
        for i in range(core.shape[2])
    ]
    return torch.stack([torch.stack(row, -1) for row in places], -2)


def loha_with_cores(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    tensors, halves = {}, []
    for number in (1, 2):
        a, b, core = numbers(RANK, out), numbers(RANK, width), numbers(RANK, RANK, *kernel)
        tensors |= {f"hada_w{number}_a": a, f"hada_w{number}_b": b, f"hada_t{number}": core}
        halves.append(tucker(core, a, b))
    return tensors, halves[0] * halves[1]


def kron(first: Tensor, second: Tensor, weight: Tensor) -> Tensor:
    """Blocks of ``second`` times each number of ``first``."""
    rows = [torch.cat([number * second for number in row], dim=1) for row in first]
    return torch.cat(rows).reshape(weight.shape)


def lokr(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    first, second = numbers(2, 4), numbers(out // 2, width // 4, *kernel)
    # Neither has a rank, and so the alpha that LyCORIS writes all the same says nothing.
    tensors = {"lokr_w1": first, "lokr_w2": second, "alpha": torch.tensor(ALPHA)}
    return tensors, kron(first, second, weight)


def lokr_of_factors(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    taps = int(torch.tensor(kernel or (1,)).prod())
    a, b = numbers(2, RANK), numbers(RANK, 4)
    c, d = numbers(out // 2, RANK), numbers(RANK, width // 4 * taps)
    tensors = {"lokr_w1_a": a, "lokr_w1_b": b, "lokr_w2_a": c, "lokr_w2_b": d}
    second = (c @ d).reshape(out // 2, width // 4, *kernel)
    delta = ALPHA / RANK * kron(a @ b, second, weight)
    return tensors | {"alpha": torch.tensor(ALPHA)}, delta


def lokr_with_core(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    out, width, kernel = sides_of(weight)
    first, core = numbers(2, 4), numbers(RANK, RANK, *kernel)
    c, d = numbers(RANK, out // 2), numbers(RANK, width // 4)
    tensors = {"lokr_w1": first, "lokr_w2_a": c, "lokr_w2_b": d, "lokr_t2": core}
    return tensors, kron(first, tucker(core, c, d), weight)


def lengths_of(weight: Tensor, axis: int) -> Tensor:
    return weight.transpose(0, axis).flatten(1).norm(dim=1)


def along(values: Tensor, weight: Tensor, axis: int) -> Tensor:
    return values.reshape([len(values) if i == axis else 1 for i in range(weight.ndim)])


def dora(axis: int, key: str, *, flat: bool = False) -> Form:
    def make(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
        tensors, delta = lora(weight, numbers)
        wanted = numbers(weight.shape[axis]).abs() + 0.5
        changed = weight + delta
        factor = along(wanted / lengths_of(changed, axis), weight, axis)
        tensors[key] = wanted if flat else along(wanted, weight, axis)
        return tensors, changed * factor - weight

    return make


def difference(weight: Tensor, numbers: Numbers) -> tuple[Tensors, Tensor]:
    delta = numbers(*weight.shape)
    return {"diff": delta}, delta


FORMS: list[tuple[Form, str]] = [
    *[(form, name) for form in (lora, loha, lokr, lokr_of_factors, difference)
      for name in (LINEAR, SMALL_KERNEL, KERNEL, STRIDED, QUERY)],
    (lora_without_alpha, LINEAR),
    *[(form, name) for form in (lora_with_middle, loha_with_cores, lokr_with_core)
      for name in (KERNEL, STRIDED)],
    *[(dora(axis, "dora_scale"), name) for axis in (0, 1) for name in (LINEAR, KERNEL, QUERY)],
    (dora(0, "lora_magnitude_vector", flat=True), LINEAR),
    (dora(0, "lora_magnitude_vector", flat=True), KERNEL),
    (difference, NORM),
]  # fmt: skip


def saved(path: Path, tensors: Tensors, **metadata: str) -> Path:
    file = path / "a.safetensors"
    save_file({key: value.contiguous() for key, value in tensors.items()}, file, metadata)
    return file


def bound(path: Path, model: Modules, tensors: Tensors, **metadata: str) -> Bound:
    return bind(read_lora(saved(path, tensors, **metadata)), model)


def file_of(name: str, form: Form, weight: Tensor, seed: int = 0) -> tuple[Tensors, Tensor]:
    tensors, delta = form(weight, Numbers(seed))
    return {f"{kohya(name)}.{key}": value for key, value in tensors.items()}, delta


def input_for(module: nn.Module) -> Tensor:
    match module:
        case nn.Linear():
            return Numbers(9)(2, 5, module.in_features)
        case nn.Conv2d():
            return Numbers(9)(2, module.in_channels, 6, 6)
        case _:
            return Numbers(9)(2, module.num_channels, 6, 6)


@torch.no_grad()
def with_weight(module: nn.Module, weight: Tensor, values: Tensor) -> Tensor:
    other = copy.deepcopy(module)
    vars(other).pop("forward", None)
    other.get_parameter("weight").copy_(weight)
    return other(values)


@torch.no_grad()
@pytest.mark.parametrize(("form", "name"), FORMS)
def test_a_file_does_what_its_method_says(
    form: Form, name: str, model: Modules, tmp_path: Path
) -> None:
    module = module_of(model, name)
    weight = module.get_parameter("weight").clone()
    tensors, delta = file_of(name, form, weight)
    adapter = bound(tmp_path, model, tensors)
    assert adapter.summary == f"{len(tensors)} of {len(tensors)} tensors applied"
    values = input_for(module)
    plain = module(values)
    applied = AppliedLoras(model)
    for strength in (1.0, 0.4, -0.5):
        applied.set([Strength(adapter, strength, strength)])
        expected = with_weight(module, weight + strength * delta, values)
        torch.testing.assert_close(module(values), expected, rtol=1e-4, atol=1e-5)
    assert torch.equal(module.get_parameter("weight"), weight)
    applied.set([])
    assert torch.equal(module(values), plain)
    assert "forward" not in vars(module)

    merged = copy.deepcopy(model)
    merge_into(merged, [Strength(adapter, 0.4, 0.4)])
    changed = module_of(merged, name).get_parameter("weight")
    torch.testing.assert_close(changed, weight + 0.4 * delta, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_several_at_once_add_up(model: Modules, tmp_path: Path) -> None:
    module = module_of(model, KERNEL)
    weight = module.get_parameter("weight")
    files = [file_of(KERNEL, form, weight, seed) for seed, form in enumerate((lora, lora, loha))]
    adapters = []
    for number, (tensors, _) in enumerate(files):
        (tmp_path / str(number)).mkdir()
        adapters.append(bound(tmp_path / str(number), model, tensors))
    applied = AppliedLoras(model)
    factors = (0.5, -1.0, 2.0)
    applied.set([Strength(a, f, 0.0) for a, f in zip(adapters, factors, strict=True)])
    total = sum(f * delta for f, (_, delta) in zip(factors, files, strict=True))
    values = input_for(module)
    expected = with_weight(module, weight + total, values)
    torch.testing.assert_close(module(values), expected, rtol=1e-4, atol=1e-5)
    applied.set([Strength(adapters[0], 0.0, 1.0)])  # Nothing of it is in the text encoder.
    assert "forward" not in vars(module)


@torch.no_grad()
def test_biases_change_too(model: Modules, tmp_path: Path) -> None:
    for name in (NORM, LINEAR):  # The second has none of its own.
        module = module_of(model, name)
        shift = Numbers()(module.get_parameter("weight").shape[0])
        adapter = bound(tmp_path, model, {f"{kohya(name)}.diff_b": shift})
        applied, values = AppliedLoras(model), input_for(module)
        plain = module(values)
        applied.set([Strength(adapter, 0.5, 0.5)])
        axis = 1 if name == NORM else -1
        expected = plain + 0.5 * along(shift, plain, axis % plain.ndim)
        torch.testing.assert_close(module(values), expected)
        applied.set([])
        merged = copy.deepcopy(model)
        merge_into(merged, [Strength(adapter, 0.5, 0.5)])
        torch.testing.assert_close(module_of(merged, name)(values), expected)


@torch.no_grad()
def test_half_precision_is_kept(model: Modules, tmp_path: Path) -> None:
    half = {name: copy.deepcopy(module).to(torch.bfloat16) for name, module in model.items()}
    module = module_of(half, LINEAR)
    weight = module.get_parameter("weight")
    for number, form in enumerate((lora, dora(0, "dora_scale"))):
        (tmp_path / str(number)).mkdir()
        tensors, delta = file_of(LINEAR, form, weight.float())
        adapter = bound(tmp_path / str(number), half, tensors)
        applied, values = AppliedLoras(half), input_for(module).bfloat16()
        applied.set([Strength(adapter, 1, 1)])
        assert module(values).dtype is torch.bfloat16
        expected = values.float() @ (weight.float() + delta).T
        torch.testing.assert_close(module(values).float(), expected, rtol=0.05, atol=0.05)
        # A UNet that overflowed goes on in fp32, and so does what is applied to it.
        module.float()
        torch.testing.assert_close(module(values.float()), expected, rtol=0.02, atol=0.02)
        module.bfloat16()
        applied.set([])


@pytest.fixture
def pipe(tiny_model: Path) -> Any:
    return diffusers.StableDiffusionPipeline.from_pretrained(
        tiny_model, local_files_only=True, safety_checker=None
    )


class TestDiffusers:
    """The same file gives what diffusers makes of it."""

    @torch.no_grad()
    def results(self, unet: nn.Module, encoder: nn.Module) -> tuple[Tensor, Tensor]:
        numbers = Numbers(5)
        ids = torch.arange(77)[None] % 50
        states = encoder(ids)[0]
        prediction = unet(numbers(1, 4, 8, 8), torch.tensor(500), encoder_hidden_states=states)
        return prediction[0], states

    def assert_same(self, pipe: Any, model: Modules, file: Path) -> None:
        plain = self.results(pipe.unet, pipe.text_encoder)
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name=ADAPTER)
        pipe.set_adapters([ADAPTER], [0.7])
        theirs = self.results(pipe.unet, pipe.text_encoder)
        adapter = bind(read_lora(file), model)
        applied = AppliedLoras(model)
        applied.set([Strength(adapter, 0.7, 0.7)])
        try:
            ours = self.results(model["unet"], model["text_encoder"])
        finally:
            applied.set([])
        for one, other, base in zip(ours, theirs, plain, strict=True):
            assert not torch.allclose(other, base, atol=1e-3)
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
        for one, base in zip(
            self.results(model["unet"], model["text_encoder"]), plain, strict=True
        ):
            assert torch.equal(one, base)

    def factors(self, model: Modules, forms: list[tuple[str, str, str]]) -> Tensors:
        """Factors for some modules: (module, their prefix, their name for down and up)."""
        numbers, tensors = Numbers(3), {}
        for name, down, up in forms:
            weight = module_of(model, name).get_parameter("weight")
            made, _ = lora_without_alpha(weight, numbers)
            tensors |= {down: made["lora_down.weight"], up: made["lora_up.weight"]}
        return tensors

    def test_kohya(self, pipe: Any, model: Modules, tmp_path: Path) -> None:
        tensors: Tensors = {}
        # Diffusers knows kohya's text encoders by their output projections.
        for name in (LINEAR, SMALL_KERNEL, KERNEL, STRIDED, QUERY, TEXT_OUT):
            weight = module_of(model, name).get_parameter("weight")
            tensors |= file_of(name, lora, weight)[0]
        self.assert_same(pipe, model, saved(tmp_path, tensors))

    def test_peft(self, pipe: Any, model: Modules, tmp_path: Path) -> None:
        stems = [f"unet.{LINEAR}", f"unet.{KERNEL}", f"text_encoder.text_model.{QUERY}"]
        forms = [
            (name, f"{stem}.lora_A.weight", f"{stem}.lora_B.weight")
            for name, stem in zip((LINEAR, KERNEL, QUERY), stems, strict=True)
        ]
        self.assert_same(pipe, model, saved(tmp_path, self.factors(model, forms)))

    def test_first_diffusers_scripts(self, pipe: Any, model: Modules, tmp_path: Path) -> None:
        attention = f"unet.{BLOCK}.transformer_blocks.0.attn2.processor"
        out = f"{BLOCK}.transformer_blocks.0.attn2.to_out.0"
        text = f"text_encoder.text_model.{QUERY}.lora_linear_layer"
        forms = [
            (LINEAR, f"{attention}.to_k_lora.down.weight", f"{attention}.to_k_lora.up.weight"),
            (out, f"{attention}.to_out_lora.down.weight", f"{attention}.to_out_lora.up.weight"),
            (QUERY, f"{text}.down.weight", f"{text}.up.weight"),
        ]
        self.assert_same(pipe, model, saved(tmp_path, self.factors(model, forms)))

    def test_dora(self, pipe: Any, model: Modules, tmp_path: Path) -> None:
        tensors = file_of(QUERY, lora, module_of(model, QUERY).get_parameter("weight"))[0]
        weight = module_of(model, LINEAR).get_parameter("weight")
        made, _ = dora(0, "lora_magnitude_vector", flat=True)(weight, Numbers(3))
        stems = {QUERY: f"text_encoder.text_model.{QUERY}", LINEAR: f"unet.{LINEAR}"}
        tensors = {
            f"{stems[QUERY]}.lora_A.weight": tensors[f"{kohya(QUERY)}.lora_down.weight"],
            f"{stems[QUERY]}.lora_B.weight": tensors[f"{kohya(QUERY)}.lora_up.weight"],
            f"{stems[LINEAR]}.lora_A.weight": made["lora_down.weight"],
            f"{stems[LINEAR]}.lora_B.weight": made["lora_up.weight"],
            f"{stems[LINEAR]}.lora_magnitude_vector": made["lora_magnitude_vector"],
        }
        settings = {"r": RANK, "lora_alpha": RANK, "use_dora": True, "target_modules": [LINEAR]}
        plain = settings | {"use_dora": False, "target_modules": ["q_proj"]}
        packed = {f"unet.{k}": v for k, v in settings.items()}
        packed |= {f"text_encoder.{k}": v for k, v in plain.items()}
        file = saved(tmp_path, tensors, lora_adapter_metadata=json.dumps(packed))
        pipe.load_lora_weights(file.parent, weight_name=file.name, adapter_name=ADAPTER)
        theirs = self.results(pipe.unet, pipe.text_encoder)
        applied = AppliedLoras(model)
        applied.set([Strength(bind(read_lora(file), model), 1, 1)])
        ours = self.results(model["unet"], model["text_encoder"])
        applied.set([])
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def peft_file(model: Modules) -> Tensors:
    made, _ = lora_without_alpha(module_of(model, LINEAR).get_parameter("weight"), Numbers())
    return {
        f"unet.{LINEAR}.lora_A.weight": made["lora_down.weight"],
        f"unet.{LINEAR}.lora_B.weight": made["lora_up.weight"],
    }


@torch.no_grad()
@pytest.mark.parametrize(
    ("settings", "scale"),
    [
        ({}, 1.0),
        ({"unet.lora_alpha": 6}, 6 / RANK),
        ({"unet.lora_alpha": 6, "unet.use_rslora": True}, 6 / RANK**0.5),
        ({"unet.lora_alpha": 6, "unet.alpha_pattern": {"attn2.to_k": 9}}, 9 / RANK),
        ({"text_encoder.lora_alpha": 6}, 1.0),
    ],
)
def test_the_scale_that_peft_writes_down_is_taken(
    model: Modules, tmp_path: Path, settings: dict[str, Any], scale: float
) -> None:
    text = json.dumps(settings)
    adapter = bound(tmp_path, model, peft_file(model), lora_adapter_metadata=text)
    factors = adapter.changes["unet", LINEAR].low_rank
    assert factors is not None
    assert factors.scale == pytest.approx(scale)


def test_a_file_of_peft_itself_needs_its_configuration(model: Modules, tmp_path: Path) -> None:
    stem = f"base_model.model.{LINEAR}"
    tensors = {key.replace(f"unet.{LINEAR}", stem): t for key, t in peft_file(model).items()}
    with pytest.raises(ModelInvalid, match=r"needs the adapter_config\.json"):
        bound(tmp_path, model, tensors)
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 6, "r": RANK}))
    factors = bound(tmp_path, model, tensors).changes["unet", LINEAR].low_rank
    assert factors is not None
    assert factors.scale == pytest.approx(6 / RANK)


def test_words_that_come_with_a_lora(model: Modules, tmp_path: Path) -> None:
    tensors = file_of(LINEAR, lora, module_of(model, LINEAR).get_parameter("weight"))[0]
    tensors["bundle_emb.my fox.clip_l"] = Numbers()(2, 16)
    file = read_lora(saved(tmp_path, tensors))
    assert file.tensors == 4
    (embedding,) = file.embeddings
    assert embedding.token == "my fox"
    assert torch.equal(embedding.vectors["text_encoder"], tensors["bundle_emb.my fox.clip_l"])


def test_what_a_word_has_for_the_encoders_output_is_counted_as_left_out(
    model: Modules, tmp_path: Path
) -> None:
    tensors = peft_file(model) | {"bundle_emb.my fox.clip_l_out": Numbers()(2, 16)}
    assert bound(tmp_path, model, tensors).summary == "2 of 3 tensors applied"
    assert read_lora(saved(tmp_path, tensors)).unused == ("bundle_emb.my fox.clip_l_out",)


def test_one_factor_under_two_names_is_refused(model: Modules, tmp_path: Path) -> None:
    tensors = peft_file(model)
    down = next(key for key in tensors if ".lora_A." in key)
    tensors[down.replace("lora_A", "lora_down")] = tensors[down].clone()
    message = refusal(ModelInvalid, tmp_path, model, tensors)
    assert f"both {down} and" in message or f"and {down}, which" in message


def refusal(error: type[Exception], path: Path, model: Modules, tensors: Tensors) -> str:
    with pytest.raises(error) as caught:
        bound(path, model, tensors)
    message = str(caught.value)
    assert message.endswith(".")
    assert "\n" not in message
    return message


def test_tensors_without_a_place_are_counted_and_named(model: Modules, tmp_path: Path) -> None:
    tensors = file_of(LINEAR, lora, module_of(model, LINEAR).get_parameter("weight"))[0]
    stem = "lora_unet_input_blocks_8_1_transformer_blocks_9_attn2_to_k"
    tensors |= {
        f"{stem}.lora_down.weight": torch.zeros(4, 2048),
        f"{stem}.lora_up.weight": torch.zeros(1280, 4),
        "lora_te2_text_model_encoder_layers_0_mlp_fc1.lora_down.weight": torch.zeros(4, 1280),
    }
    message = refusal(Unsupported, tmp_path, model, tensors)
    assert "3 of its 6 tensors have no place in it, such as those of lora_te2_text" in message
    assert "looks made for SDXL" in message


def test_another_familys_shapes_are_told(model: Modules, tmp_path: Path) -> None:
    stem = kohya(LINEAR)
    message = refusal(
        Unsupported,
        tmp_path,
        model,
        {
            f"{stem}.lora_down.weight": torch.zeros(4, 768),
            f"{stem}.lora_up.weight": torch.zeros(320, 4),
        },
    )
    assert "it has 768 to 320 where the model has 16 to 8. It looks made for Stable Diff" in message


@pytest.mark.parametrize(
    ("key", "looks"),
    [
        ("lora_unet_x.oft_blocks", "look like an OFT or BOFT adapter"),
        ("lora_unet_x.a1.weight", "look like a GLoRA adapter"),
        ("model.diffusion_model.out.2.weight", "look like a whole model"),
        ("lora_unet_double_blocks_0.x.weight", "look like those of FLUX.1"),
        ("emb_params", "such as emb_params; choose"),
    ],
)
def test_forms_that_are_not_known_are_named(
    key: str, looks: str, model: Modules, tmp_path: Path
) -> None:
    tensors = peft_file(model) | {key: torch.zeros(2, 2)}
    message = refusal(Unsupported, tmp_path, model, tensors)
    assert "1 of its 3 tensors are of no form that is known" in message
    assert looks in message


def test_damaged_files(model: Modules, tmp_path: Path) -> None:
    weight = module_of(model, LINEAR).get_parameter("weight")
    whole, stem = file_of(LINEAR, lora, weight)[0], kohya(LINEAR)

    def fails(error: type[Exception], match: str, **changes: Tensor | None) -> None:
        changed = whole | {f"{stem}.{k.replace('__', '.')}": t for k, t in changes.items()}
        tensors = {key: tensor for key, tensor in changed.items() if tensor is not None}
        assert match in refusal(error, tmp_path, model, tensors)

    fails(ModelInvalid, f"has no up for {stem}", lora_up__weight=None)
    fails(ModelInvalid, "do not fit each other", lora_up__weight=torch.zeros(8, RANK + 1))
    fails(ModelInvalid, "do not fit each other", lora_up__weight=torch.zeros(8))
    fails(ModelInvalid, "not finite", lora_up__weight=torch.full((8, RANK), float("nan")))
    fails(ModelInvalid, "mixes the forms", hada_w1_a=torch.zeros(8, RANK))
    fails(Unsupported, "DoRA lengths", dora_scale=torch.zeros(5, 1))
    twice = whole | peft_file(model)
    assert "twice, under two names" in refusal(ModelInvalid, tmp_path, model, twice)
    empty = tmp_path / "empty.safetensors"
    empty.touch()
    with pytest.raises(ModelInvalid, match="is damaged"):
        read_lora(empty)
    save_file({}, empty)
    with pytest.raises(Unsupported, match="holds no LoRA"):
        read_lora(empty)


class Trap:
    """What a pickle can carry: a call that is made while it is read."""

    def __reduce__(self) -> tuple[Any, tuple[str, ...]]:
        return (Path.touch, (Path("trapped"),))


def test_pickles_are_read_as_tensors_or_not_at_all(
    model: Modules, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    tensors = file_of(LINEAR, lora, module_of(model, LINEAR).get_parameter("weight"))[0]
    torch.save(tensors, tmp_path / "a.pt")
    assert bind(read_lora(tmp_path / "a.pt"), model).tensors == 3
    torch.save(tensors | {"x": Trap()}, tmp_path / "b.pt")
    with pytest.raises(UnsafeFile, match="nothing of it was run"):
        read_lora(tmp_path / "b.pt")
    assert not Path("trapped").exists()
    for data in (b"", b"no pickle", (tmp_path / "a.pt").read_bytes()[:400]):
        (tmp_path / "c.pt").write_bytes(data)
        with pytest.raises(ModelInvalid, match="is damaged"):
            read_lora(tmp_path / "c.pt")
