import struct
from html import escape

import pytest

from core.images.metadata import read_metadata
from core.request import SchedulerName

CAPTION = (
    "Include in Image: a cat; with Model: airs, café; Exclude from Image: dog; "
    "Model: sd15; Steps: 25; Guidance Scale: 11.0; Seed: 42; Size: 512x768; "
    "Scheduler: DPM-Solver++; ML Compute Unit: CPU & Neural Engine; "
    "Generator: Mochi Diffusion 4.2"
)


def photoshop(caption: bytes) -> bytes:
    charset = b"\x1c\x01\x5a" + struct.pack(">H", 3) + b"\x1b%G"
    title = b"\x1c\x02\x05" + struct.pack(">H", 3) + b"cat"
    long = b"\x1c\x02\x78" + struct.pack(">HI", 0x8004, len(caption)) + caption
    record = charset + title + long
    other = b"8BIM" + struct.pack(">H", 0x03ED) + b"\x03odd" + struct.pack(">I", 3) + b"abc\0"
    iptc = b"8BIM" + struct.pack(">H", 0x0404) + b"\0\0" + struct.pack(">I", len(record)) + record
    return b"Photoshop 3.0\0" + other + iptc


def check(found) -> None:
    assert (found.source, found.program) == ("mochi", "Mochi Diffusion 4.2")
    assert (found.prompt, found.negative_prompt) == ("a cat; with Model: airs, café", "dog")
    assert (found.steps, found.guidance_scale, found.seed) == (25, 11.0, 42)
    assert (found.width, found.height, found.model) == (512, 768, "sd15")
    assert found.match.scheduler is SchedulerName.DPMPP_2M


def test_the_caption_of_a_jpeg(build):
    check(read_metadata(build.jpeg(build.segment(0xED, photoshop(CAPTION.encode())))))


def test_a_short_caption_has_a_short_length(build):
    text = b"Include in Image: a; Seed: 3; Generator: Mochi Diffusion 4.2"
    record = b"\x1c\x02\x78" + struct.pack(">H", len(text)) + text
    data = b"8BIM\x04\x04\0\0" + struct.pack(">I", len(record)) + record
    found = read_metadata(build.jpeg(build.segment(0xED, b"Photoshop 3.0\0" + data)))
    assert (found.prompt, found.seed) == ("a", 3)


@pytest.mark.parametrize("kind", ["png", "jpeg"])
def test_the_description_of_a_packet(build, kind):
    body = (
        "<dc:description><rdf:Alt>"
        f'<rdf:li xml:lang="x-default">{escape(CAPTION)}</rdf:li>'
        "</rdf:Alt></dc:description>"
    )
    packet = build.packet(body, 'xmlns:dc="http://purl.org/dc/elements/1.1/"')
    if kind == "png":
        path = build.png(build.itxt("XML:com.adobe.xmp", packet.decode()))
    else:
        path = build.jpeg(build.segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0" + packet))
    check(read_metadata(path))


def test_a_prompt_that_names_a_key_is_not_torn_where_the_key_comes_again(build):
    caption = CAPTION.replace("with Model: airs", "Seed: 9; Model: none")
    found = read_metadata(build.jpeg(build.segment(0xED, photoshop(caption.encode()))))
    assert found.prompt == "a cat; Seed: 9; Model: none, café"
    assert (found.seed, found.model) == (42, "sd15")


def test_the_keys_of_the_first_versions(build):
    caption = (
        "Prompt: a cat; Negative: ; Model: sd15; Scheduler: pndmScheduler; Seed: 5; Steps: 28; "
        "Guidance: 7.5; Generator: Mochi Diffusion 2.2"
    )
    found = read_metadata(build.jpeg(build.segment(0xED, photoshop(caption.encode()))))
    assert (found.prompt, found.negative_prompt, found.guidance_scale) == ("a cat", "", 7.5)
    assert found.match.scheduler is SchedulerName.PNDM


def test_another_caption_says_nothing(build):
    path = build.jpeg(build.segment(0xED, photoshop(b"Model: Anna; Seed: of doubt")))
    assert read_metadata(path) is None


def test_resources_cut_anywhere_are_no_error(build):
    data = photoshop(CAPTION.encode())
    for end in range(0, len(data), 3):
        read_metadata(build.jpeg(build.segment(0xED, data[:end])))
