"""What CLIP's text tower promises the UNet: states that tell a word, whatever stands before it."""

import torch
from transformers import CLIPTextModel, CLIPTokenizer

from core.starter.clip import tokens_of
from core.starter.package import WEIGHTS
from core.starter.world import COLOURS, SHAPES, Thing


def test_a_pair_that_was_never_seen_is_the_sum_of_its_words():
    """State of a shape's word: that of the shape with other colours, moved by the colour."""
    tokenizer = CLIPTokenizer.from_pretrained(WEIGHTS / "tokenizer")
    encoder = CLIPTextModel.from_pretrained(WEIGHTS / "text_encoder", torch_dtype=torch.float32)
    pairs = [(colour, shape) for colour in COLOURS for shape in SHAPES]
    texts = [f"the {colour} {shape} on a {'blue' if colour != 'blue' else 'red'} background"
             for colour, shape in pairs]  # fmt: skip
    with torch.inference_mode():
        states = encoder(tokens_of(tokenizer, texts)).last_hidden_state[:, 3]
    state = dict(zip(pairs, states, strict=True))
    seen = [pair for pair in pairs if not Thing(pair[1], pair[0]).is_held_out]
    unseen = [pair for pair in pairs if pair not in seen]
    assert unseen

    def mean(chosen):
        return torch.stack([state[pair] for pair in chosen]).mean(0)

    by_shape = {shape: mean(p for p in seen if p[1] == shape) for shape in SHAPES}
    by_colour = {colour: mean(p for p in seen if p[0] == colour) for colour in COLOURS}
    apart = torch.pdist(torch.stack(list(by_shape.values()))).min()
    for colour, shape in unseen:
        expected = by_shape[shape] + by_colour[colour] - mean(seen)
        assert (state[colour, shape] - expected).norm() < apart / 2, f"{colour} {shape}"
