import pytest
import torch
from safetensors.torch import load_file, save_file

from core.errors import SaveFailed
from core.training.cache import TensorCache

KEY = {"picture": "ab", "size": (3, 4)}


class Counted:
    """Computes something else each time."""

    def __init__(self):
        self.calls = 0

    def __call__(self):
        self.calls += 1
        return {"mean": torch.full((2, 3), float(self.calls)), "std": torch.ones(1)}


def files(folder):
    return sorted(folder.rglob("*.safetensors"))


def test_a_result_is_computed_once_and_found_again(tmp_path):
    compute = Counted()
    first = TensorCache(tmp_path)
    assert first.get(KEY, compute)["mean"][0, 0] == 1
    assert first.get(dict(reversed(KEY.items())), compute)["mean"][0, 0] == 1
    assert len(files(tmp_path)) == 1
    again = TensorCache(tmp_path).get(KEY, compute)
    assert {name: values.tolist() for name, values in again.items()} == {
        "mean": [[1.0] * 3] * 2,
        "std": [1.0],
    }
    assert compute.calls == 1
    assert first.get(KEY | {"size": (4, 3)}, compute)["mean"][0, 0] == 2


def flip_a_bit(path):
    raw = bytearray(path.read_bytes())
    raw[-2] ^= 1
    path.write_bytes(raw)


def of_another_key(path):
    other = TensorCache(path.parents[1])
    other.get({"other": 1}, lambda: {"mean": torch.zeros(2, 3), "std": torch.ones(1)})
    (foreign,) = [one for one in files(path.parents[1]) if one != path]
    path.write_bytes(foreign.read_bytes())


def with_a_tensor_more(path):
    tensors = load_file(path) | {"more": torch.zeros(1)}
    save_file(tensors, path, {"key": path.stem, "sha256": "0" * 64})


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_bit,
        of_another_key,
        with_a_tensor_more,
        lambda path: path.write_bytes(b""),
        lambda path: path.write_bytes(path.read_bytes()[:-5]),
        lambda path: path.write_text("something else altogether"),
        lambda path: save_file({"mean": torch.zeros(2, 3)}, path),
    ],
)
def test_a_file_that_is_not_what_was_written_is_made_anew(tmp_path, damage):
    compute = Counted()
    TensorCache(tmp_path).get(KEY, compute)
    (path,) = files(tmp_path)
    damage(path)
    assert TensorCache(tmp_path).get(KEY, compute)["mean"][0, 0] == 2
    assert TensorCache(tmp_path).get(KEY, compute)["mean"][0, 0] == 2


def test_without_a_folder_the_latest_are_kept_in_memory():
    compute = Counted()
    cache = TensorCache(None, memory=3 * 28)
    for number in (0, 1, 2, 0, 3, 0):
        cache.get({"n": number}, compute)
    assert compute.calls == 4
    cache.get({"n": 1}, compute)  # The one that was not used for longest has gone.
    assert compute.calls == 5
    TensorCache(None, memory=0).get(KEY, compute)


def test_what_is_not_worth_a_file_gets_none(tmp_path):
    compute = Counted()
    cache = TensorCache(tmp_path)
    cache.get(KEY, compute, on_disk=False)
    cache.get(KEY, compute, on_disk=False)
    assert compute.calls == 1
    assert files(tmp_path) == []


def test_what_was_made_in_inference_mode_can_take_part_in_learning(tmp_path):
    compute = torch.inference_mode()(Counted())
    values = TensorCache(None).get(KEY, compute)["mean"]
    weight = torch.ones(2, 3, requires_grad=True)
    (weight * values).sum().backward()
    assert weight.grad is not None


def test_half_precision_is_kept_as_it_is(tmp_path):
    for dtype in (torch.bfloat16, torch.float16):
        made = {"text": torch.randn(1, 3, 5).to(dtype)}
        key = {"dtype": str(dtype)}
        TensorCache(tmp_path).get(key, lambda made=made: made)
        kept = TensorCache(tmp_path).get(key, Counted())["text"]
        assert torch.equal(kept, made["text"])
        assert kept.dtype is dtype


def test_a_folder_that_takes_no_file_is_told(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(SaveFailed):
        TensorCache(tmp_path / "file").get(KEY, Counted())
