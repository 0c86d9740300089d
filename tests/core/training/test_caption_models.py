import pytest

from core.errors import InvalidRequest, ModelInvalid, ModelMissing
from core.training import caption_models
from core.training.caption_models import SHIPPED, find_captioner


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A Hugging Face cache with one captioner."""
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    repo = tmp_path / "models--Salesforce--blip-image-captioning-base"
    commit = "0123456789abcdef0123456789abcdef01234567"
    (repo / "snapshots" / commit).mkdir(parents=True)
    (repo / "snapshots" / commit / "config.json").write_text("{}")
    (repo / "refs").mkdir()
    (repo / "refs" / "main").write_text(commit)
    return tmp_path


def test_the_one_that_ships_has_a_name():
    assert find_captioner("Starter") == SHIPPED


def test_a_folder_is_taken_as_it_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "blip").mkdir()
    assert find_captioner("blip") == tmp_path / "blip"


def test_a_repository_is_found_in_the_cache(cache):
    found = find_captioner("salesforce/blip-image-captioning-base")
    assert (found / "config.json").is_file()


def test_what_is_nowhere_is_said_so_with_what_to_do(cache):
    repo = "Salesforce/blip-image-captioning-large"
    with pytest.raises(ModelMissing, match=f"no captioner {repo}, .* `hf download {repo}` gets it"):
        find_captioner(repo)
    with pytest.raises(ModelMissing, match=r"no captioner blip, .* give a folder's path"):
        find_captioner("blip")


def test_a_file_and_nothing_are_no_captioner(tmp_path):
    (tmp_path / "blip.safetensors").touch()
    with pytest.raises(ModelInvalid, match="is a file; give the folder"):
        find_captioner(str(tmp_path / "blip.safetensors"))
    with pytest.raises(InvalidRequest, match=r"^model: is empty"):
        find_captioner(" ")


def test_an_installation_without_it_is_said_so(tmp_path, monkeypatch):
    monkeypatch.setattr(caption_models, "SHIPPED", tmp_path / "gone")
    with pytest.raises(ModelMissing, match=r"is not installed at .* install the package again"):
        find_captioner("starter")
