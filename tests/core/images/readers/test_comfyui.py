import json

import pytest

from core.images.foreign import UsedEmbedding, UsedLora, UsedSecondPass
from core.images.metadata import read_metadata
from core.images.nearest import nearest
from core.request import SchedulerName


def node(kind: str, **inputs: object) -> dict[str, object]:
    return {"class_type": kind, "inputs": inputs}


def simple() -> dict[str, object]:
    return {
        "3": node(
            "KSampler",
            seed=2**40 + 7,
            steps=20,
            cfg=8.0,
            sampler_name="dpmpp_2m",
            scheduler="karras",
            denoise=1.0,
            model=["10", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "4": node("CheckpointLoaderSimple", ckpt_name="sd15.safetensors"),
        "5": node("EmptyLatentImage", width=512, height=768, batch_size=1),
        "6": node("CLIPTextEncode", text="a cat 😀", clip=["10", 1]),
        "7": node("CLIPTextEncode", text="dog", clip=["10", 1]),
        "8": node("VAEDecode", samples=["3", 0], vae=["4", 2]),
        "9": node("SaveImage", filename_prefix="x", images=["8", 0]),
        "10": node(
            "LoraLoader",
            lora_name="fur.safetensors",
            strength_model=0.8,
            strength_clip=1.0,
            model=["4", 0],
            clip=["4", 1],
        ),
    }


def check_simple(found) -> None:
    assert (found.source, found.prompt, found.negative_prompt) == ("comfyui", "a cat 😀", "dog")
    assert (found.steps, found.guidance_scale, found.seed) == (20, 8.0, 2**40 + 7)
    assert (found.sampler, found.schedule) == ("dpmpp_2m", "karras")
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert (found.width, found.height, found.strength) == (512, 768, None)
    assert found.model == "sd15.safetensors"
    assert found.loras == (UsedLora(name="fur.safetensors", weight=0.8, text_weight=1.0),)
    assert (found.unexpressed, found.notes) == ({}, ())


WORKFLOW = {
    "last_node_id": 10,
    "nodes": [
        {
            "id": 3,
            "type": "KSampler",
            "mode": 0,
            "inputs": [
                {"name": "model", "link": 1},
                {"name": "positive", "link": 2},
                {"name": "negative", "link": 3},
                {"name": "latent_image", "link": 4},
            ],
            "widgets_values": [2**40 + 7, "randomize", 20, 8.0, "dpmpp_2m", "karras", 1.0],
        },
        {"id": 4, "type": "CheckpointLoaderSimple", "widgets_values": ["sd15.safetensors"]},
        {"id": 5, "type": "EmptyLatentImage", "widgets_values": [512, 768, 1]},
        {"id": 6, "type": "CLIPTextEncode", "widgets_values": ["a cat 😀"]},
        {"id": 7, "type": "CLIPTextEncode", "widgets_values": ["dog"]},
        {"id": 8, "type": "VAEDecode", "inputs": [{"name": "samples", "link": 5}]},
        {"id": 9, "type": "SaveImage", "inputs": [{"name": "images", "link": 6}]},
        {
            "id": 10,
            "type": "LoraLoader",
            "inputs": [{"name": "model", "link": 7}],
            "widgets_values": ["fur.safetensors", 0.8, 1.0],
        },
        {"id": 11, "type": "KSampler", "mode": 2, "widgets_values": [1, "fixed", 2]},
        {"id": 12, "type": "Note", "widgets_values": ["hello"]},
    ],
    "links": [
        [1, 10, 0, 3, 0, "MODEL"],
        [2, 6, 0, 3, 1, "CONDITIONING"],
        [3, 7, 0, 3, 2, "CONDITIONING"],
        [4, 5, 0, 3, 3, "LATENT"],
        [5, 3, 0, 8, 0, "LATENT"],
        [6, 8, 0, 9, 0, "IMAGE"],
        [7, 4, 0, 10, 0, "MODEL"],
    ],
}


@pytest.mark.parametrize("ascii_only", [True, False])
def test_the_graph_in_a_png(build, ascii_only):
    text = json.dumps(simple(), ensure_ascii=ascii_only)
    check_simple(read_metadata(build.texts(prompt=text, workflow=WORKFLOW)))


def test_the_drawn_graph_alone(build):
    check_simple(read_metadata(build.texts(workflow=WORKFLOW)))


@pytest.mark.parametrize("order", [">", "<"])
def test_the_texts_of_a_webp(build, order):
    main = {
        0x0110: b"prompt:" + json.dumps(simple()).encode(),
        0x010F: b"workflow:" + json.dumps(WORKFLOW).encode(),
    }
    check_simple(read_metadata(build.webp((b"EXIF", build.exif(main=main, order=order)))))


def test_the_drawn_graph_alone_in_a_webp(build):
    main = {0x010F: b"workflow:" + json.dumps(WORKFLOW).encode()}
    check_simple(read_metadata(build.webp((b"EXIF", build.exif(main=main)))))


def test_both_in_one_comment(build):
    comment = json.dumps({"prompt": simple(), "workflow": WORKFLOW})
    check_simple(read_metadata(build.jpeg_exif(build.exif(b"ASCII\0\0\0" + comment.encode()))))


def test_the_chunk_of_an_animated_png(build):
    data = b"prompt\0" + json.dumps(simple()).encode()
    check_simple(read_metadata(build.png(late=(build.chunk(b"comf", data),))))


def test_values_that_are_nan_do_not_hide_the_graph(build):
    graph = simple()
    graph["3"]["is_changed"] = [float("nan")]
    check_simple(read_metadata(build.texts(prompt=graph)))


def test_of_two_passes_the_first_gives_the_settings_and_the_second_is_named(build):
    graph = simple() | {
        "20": node("LatentUpscale", samples=["3", 0], width=1024, height=1536),
        "21": node(
            "KSampler",
            seed=9,
            steps=10,
            cfg=5.0,
            sampler_name="euler",
            scheduler="normal",
            denoise=0.5,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["20", 0],
        ),
        "8": node("VAEDecode", samples=["21", 0], vae=["4", 2]),
    }
    found = read_metadata(build.texts(prompt=graph))
    assert (found.seed, found.steps, found.strength) == (2**40 + 7, 20, None)
    assert found.unexpressed == {
        "Pass 2": "steps 10, cfg 5.0, sampler_name euler, scheduler normal, denoise 0.5"
    }


@pytest.mark.parametrize(
    ("kind", "inputs", "size"),
    [
        ("LatentUpscaleBy", {"scale_by": 1.5}, {"scale": 1.5}),
        ("LatentUpscale", {"width": 768, "height": 1152}, {"width": 768, "height": 1152}),
    ],
)
def test_the_first_pass_again_over_larger_latents_is_a_second_pass(build, kind, inputs, size):
    graph = simple() | {"20": node(kind, samples=["3", 0], **inputs)}
    again = graph["3"]["inputs"] | {"seed": 9, "denoise": 0.6, "latent_image": ["20", 0]}
    graph |= {
        "21": node("KSampler", **again),
        "8": node("VAEDecode", samples=["21", 0], vae=["4", 2]),
    }
    found = read_metadata(build.texts(prompt=graph))
    assert found.second_pass == UsedSecondPass(**size, steps=34, strength=0.6, upscaler="Latent")
    assert found.unexpressed == {}
    near = nearest(found).settings["second_pass"]
    # Of 34 steps at 0.6 run 20, as many as there.
    assert (near.scale, near.upscaler, int(near.steps * near.strength)) == (1.5, "latent", 20)


def test_each_half_of_a_lora_has_its_weight(build):
    graph = simple()
    graph["10"]["inputs"]["strength_clip"] = 0.0
    (used,) = read_metadata(build.texts(prompt=graph)).loras
    assert (used.weight, used.text_weight) == (0.8, 0.0)
    graph["10"]["inputs"] |= {"strength_model": 0.0, "strength_clip": 0.8}
    (used,) = read_metadata(build.texts(prompt=graph)).loras
    assert (used.weight, used.text_weight) == (0.0, 0.8)
    graph["10"] = node("LoraLoaderModelOnly", lora_name="a", strength_model=0.5, model=["4", 0])
    (used,) = read_metadata(build.texts(prompt=graph)).loras
    assert (used.weight, used.text_weight) == (0.5, 0.0)


def test_embeddings_in_the_texts_are_named_and_become_words(build):
    graph = simple()
    graph["7"]["inputs"]["text"] = "(embedding:sub\\easyneg.pt:1.2), dog"
    found = read_metadata(build.texts(prompt=graph))
    assert found.embeddings == (UsedEmbedding(name="easyneg"),)
    assert nearest(found).settings["negative_prompt"] == "(easyneg:1.2), dog"


def test_a_node_that_rescales_guidance(build):
    graph = simple() | {"90": node("RescaleCFG", model=["10", 0], multiplier=0.7)}
    graph["3"]["inputs"]["model"] = ["90", 0]
    found = read_metadata(build.texts(prompt=graph))
    assert (found.guidance_rescale, found.unexpressed, len(found.loras)) == (0.7, {}, 1)
    assert nearest(found).settings["guidance_rescale"] == 0.7


def test_an_advanced_sampler_and_values_from_other_nodes(build):
    graph = simple() | {
        "3": node(
            "KSamplerAdvanced",
            add_noise="enable",
            noise_seed=["30", 0],
            steps=["31", 0],
            cfg=7,
            sampler_name="euler_ancestral",
            scheduler="normal",
            start_at_step=0,
            end_at_step=10000,
            model=["4", 0],
            positive=["6", 0],
            negative=["7", 0],
            latent_image=["5", 0],
        ),
        "6": node("CLIPTextEncode", text=["32", 0], clip=["4", 1]),
        "30": node("Seed (rgthree)", seed=77),
        "31": node("PrimitiveInt", value=33),
        "32": node("Reroute", **{"": ["33", 0]}),
        "33": node("PrimitiveString", value="through links"),
    }
    found = read_metadata(build.texts(prompt=graph))
    assert (found.seed, found.steps, found.guidance_scale) == (77, 33, 7.0)
    assert found.prompt == "through links"
    assert found.match.scheduler is SchedulerName.EULER_ANCESTRAL


def test_a_sampler_of_parts(build):
    graph = simple() | {
        "3": node(
            "SamplerCustomAdvanced",
            noise=["40", 0],
            guider=["41", 0],
            sampler=["42", 0],
            sigmas=["43", 0],
            latent_image=["5", 0],
        ),
        "40": node("RandomNoise", noise_seed=5),
        "41": node("CFGGuider", cfg=3.5, model=["10", 0], positive=["6", 0], negative=["7", 0]),
        "42": node("KSamplerSelect", sampler_name="dpmpp_2m"),
        "43": node("KarrasScheduler", steps=12, sigma_max=14.6, sigma_min=0.03, rho=7.0),
    }
    found = read_metadata(build.texts(prompt=graph))
    assert (found.seed, found.steps, found.guidance_scale) == (5, 12, 3.5)
    assert (found.prompt, found.negative_prompt) == ("a cat 😀", "dog")
    assert found.match.scheduler is SchedulerName.DPMPP_2M_KARRAS
    assert found.loras
    assert found.model == "sd15.safetensors"


def test_a_start_picture_and_its_strength(build):
    graph = simple() | {
        "5": node("VAEEncode", pixels=["50", 0], vae=["4", 2]),
        "50": node("LoadImage", image="start.png"),
    }
    graph["3"]["inputs"]["denoise"] = 0.6
    found = read_metadata(build.texts(prompt=graph))
    assert (found.strength, found.start_picture, found.width) == (0.6, "start.png", None)
    assert any("start.png" in sentence for sentence in nearest(found).lost)


def test_a_controlnet_passes_each_half_to_its_own_prompt_and_is_named(build):
    graph = simple() | {
        "60": node(
            "ControlNetApplyAdvanced",
            positive=["6", 0],
            negative=["7", 0],
            control_net=["61", 0],
            image=["62", 0],
            strength=1.0,
        ),
        "61": node("ControlNetLoader", control_net_name="canny"),
        "62": node("LoadImage", image="map.png"),
    }
    graph["3"]["inputs"] |= {"positive": ["60", 0], "negative": ["60", 1]}
    found = read_metadata(build.texts(prompt=graph))
    assert (found.prompt, found.negative_prompt) == ("a cat 😀", "dog")
    assert found.unexpressed == {"Nodes": "ControlNetApplyAdvanced, ControlNetLoader"}


def test_texts_that_are_combined_are_joined_and_said(build):
    graph = simple() | {
        "70": node("ConditioningCombine", conditioning_1=["6", 0], conditioning_2=["71", 0]),
        "71": node("CLIPTextEncode", text="at night", clip=["4", 1]),
        "7": node("ConditioningZeroOut", conditioning=["6", 0]),
    }
    graph["3"]["inputs"]["positive"] = ["70", 0]
    found = read_metadata(build.texts(prompt=graph))
    assert (found.prompt, found.negative_prompt) == ("a cat 😀, at night", "")
    assert "joined" in found.notes[0]


def test_a_prompt_from_an_unknown_node_is_said(build):
    graph = simple() | {"80": node("MagicPrompt", seed_words={"a": 1})}
    graph["6"]["inputs"]["text"] = ["80", 0]
    found = read_metadata(build.texts(prompt=graph))
    assert found.prompt == ""
    assert "cannot be read" in found.notes[0]


def test_loras_in_a_row_of_one_node(build):
    graph = simple() | {
        "10": node(
            "Power Lora Loader (rgthree)",
            lora_1={"on": True, "lora": "a.safetensors", "strength": 0.5},
            lora_2={"on": False, "lora": "b.safetensors", "strength": 1},
            model=["4", 0],
        )
    }
    found = read_metadata(build.texts(prompt=graph))
    assert found.loras == (UsedLora(name="a.safetensors", weight=0.5),)
    assert found.model == "sd15.safetensors"


def test_layers_left_out_are_counted_from_the_end(build):
    graph = simple() | {"90": node("CLIPSetLastLayer", stop_at_clip_layer=-2, clip=["4", 1])}
    assert read_metadata(build.texts(prompt=graph)).clip_skip == 2


@pytest.mark.timeout(20)
def test_a_graph_that_goes_in_circles_ends(build):
    graph = simple()
    for one in graph.values():
        one["inputs"] |= {
            "model": ["10", 0],
            "latent_image": ["3", 0],
            "samples": ["3", 0],
            "text": ["6", 0],
            "conditioning": ["6", 0],
            "clip": ["7", 0],
            "images": ["9", 0],
        }
    found = read_metadata(build.texts(prompt=graph))
    assert found is None or found.source == "comfyui"


@pytest.mark.timeout(20)
def test_a_long_chain_and_many_ends_take_little_time(build):
    count = 15_000
    graph = {str(i): node("KSampler", latent_image=[str(i + 1), 0]) for i in range(count)}
    graph |= {f"s{i}": node("SaveImage", images=[f"s{i + 1}", 0]) for i in range(4000)}
    found = read_metadata(build.texts(prompt=graph))
    assert found.source == "comfyui"


@pytest.mark.timeout(20)
def test_a_class_with_a_long_name_takes_little_time(build):
    graph = simple() | {"4": node("Text" * 10**6 + "!")}
    assert read_metadata(build.texts(prompt=graph)).seed == 2**40 + 7


@pytest.mark.parametrize(
    "graph",
    [
        {},
        {"3": 5},
        {"3": {"class_type": 7, "inputs": []}},
        {"3": {"class_type": "KSampler", "inputs": None}},
        {"3": {"class_type": "KSampler", "inputs": {"seed": [[]], "model": [1, "x"], "steps": {}}}},
        {"nodes": 3, "links": 4},
        {"nodes": [None, 3, {"id": {}, "inputs": 7, "widgets_values": 8}], "links": [[1], 5, []]},
    ],
    ids=str,
)
@pytest.mark.parametrize("keyword", ["prompt", "workflow"])
def test_a_graph_of_any_shape_is_no_error(build, graph, keyword):
    read_metadata(build.texts(**{keyword: graph}))
