import pytest
from PIL import Image

from core.training.config_parts import DataSettings
from desktop.picture_folder import PictureFolder
from desktop.shelf_messages import MessageKind
from tests.desktop.fake_engine import disc


@pytest.fixture
def folder(qtbot):
    folder = PictureFolder()
    yield folder
    folder.close()


def fill(root, captions):
    root.mkdir(parents=True, exist_ok=True)
    for index, caption in enumerate(captions):
        Image.fromarray(disc(64, 64 + 8 * index, index, 1.0)).save(root / f"p{index}.png")
        if caption is not None:
            (root / f"p{index}.txt").write_text(caption)
    return root


def look(folder, qtbot, root, **settings):
    folder.show(DataSettings(folder=str(root), **settings), 64)
    qtbot.waitUntil(lambda: not folder.snapshot.is_reading, timeout=8000)
    return folder.snapshot


def test_pictures_captions_and_what_is_left_out(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["a, b", "b", None])
    (root / "broken.jpg").write_bytes(b"no picture")
    snapshot = look(folder, qtbot, root)
    assert [picture.caption for picture in snapshot.pictures] == ["a, b", "b", ""]
    (problem,) = snapshot.problems
    assert problem.path.name == "broken.jpg"
    assert "picture" in problem.reason
    assert snapshot.pictures[0].tags == ("a", "b")


def test_caption_is_seen_at_once_and_written_soon(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["old", "other"])
    look(folder, qtbot, root)
    folder.edit({root / "p0.png": "new\n words "})
    assert folder.snapshot.pictures[0].caption == "new words"
    qtbot.waitUntil(lambda: (root / "p0.txt").read_text() == "new words\n", timeout=8000)
    assert (root / "p1.txt").read_text() == "other"


def test_words_are_replaced_in_all_captions(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["a red disc", "a blue disc", "a star"])
    look(folder, qtbot, root)
    assert folder.replace("disc", "ball", [root / f"p{i}.png" for i in range(3)]) == 2
    folder.close()
    texts = [(root / f"p{i}.txt").read_text().strip() for i in range(3)]
    assert texts == ["a red ball", "a blue ball", "a star"]


def test_words_are_replaced_in_some_captions_and_that_is_undone(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["a red disc", "a blue disc", "a disc"])
    look(folder, qtbot, root)
    assert folder.replace("disc", "ball", [root / "p0.png", root / "p1.png"]) == 2
    assert [p.caption for p in folder.snapshot.pictures] == ["a red ball", "a blue ball", "a disc"]
    assert folder.snapshot.replaced == 2
    folder.edit({root / "p1.png": "a moon"})
    folder.undo_replace()
    assert folder.snapshot.replaced == 0
    folder.close()
    texts = [(root / f"p{i}.txt").read_text().strip() for i in range(3)]
    assert texts == ["a red disc", "a moon", "a disc"]


def test_folder_without_pictures_is_refused_in_a_sentence(folder, qtbot, tmp_path):
    snapshot = look(folder, qtbot, tmp_path)
    assert snapshot.pictures == ()
    assert "no pictures" in snapshot.refusal
    root = fill(tmp_path / "set", ["a"])
    assert look(folder, qtbot, root).refusal == ""


def test_same_folder_is_read_once_and_another_resolution_anew(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["a"])
    look(folder, qtbot, root)
    fill(root, ["a", "b"])
    assert len(look(folder, qtbot, root).pictures) == 1
    assert len(look(folder, qtbot, root, resolution=128).pictures) == 2


def test_dropped_pictures_are_copied_with_their_captions(folder, qtbot, tmp_path):
    root = fill(tmp_path / "from", ["one", None])
    (root / "letter.pdf").write_bytes(b"%PDF")
    told, gathered = [], []
    folder.told.connect(told.append)
    folder.gathered.connect(gathered.append)
    folder.gather([root / "p0.png", root / "p1.png", root / "letter.pdf"], tmp_path / "to")
    qtbot.waitUntil(lambda: bool(gathered), timeout=8000)
    assert gathered == [tmp_path / "to"]
    names = sorted(path.name for path in (tmp_path / "to").iterdir())
    assert names == ["p0.png", "p0.txt", "p1.png"]
    assert "letter.pdf" in told[0].text


def test_caption_that_cannot_be_written_is_told(folder, qtbot, tmp_path):
    root = fill(tmp_path / "set", ["old"])
    look(folder, qtbot, root)
    told = []
    folder.told.connect(told.append)
    (root / "p0.txt").unlink()
    (root / "p0.txt").mkdir()
    folder.edit({root / "p0.png": "new"})
    qtbot.waitUntil(lambda: bool(told), timeout=8000)
    assert told[0].kind is MessageKind.ERROR
