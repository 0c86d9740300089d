from core.training.config import LoraTraining
from core.training.config_parts import DataSettings
from core.training.folder import Folder
from desktop.training_diary import FILE_NAME, Diary, Ended, read_diary

FAILED = Ended(saved=5, has_failed=True, message="The disk is full.", is_bug=False)


def begin(root):
    Folder(root).write_config(LoraTraining(out=str(root), data=DataSettings(folder="/moons")))


def test_lines_and_the_end_are_read_back(tmp_path):
    begin(tmp_path)
    diary = Diary(tmp_path, anew=True)
    diary.note("12:00  Beginning")
    diary.end(FAILED)
    diary.write()
    assert read_diary(tmp_path) == (("12:00  Beginning",), FAILED)
    again = Diary(tmp_path, anew=False)
    again.note("12:30  Going on")
    again.write()
    assert read_diary(tmp_path) == (("12:00  Beginning", "12:30  Going on"), None)
    other = Diary(tmp_path, anew=True)
    other.note("13:00  Beginning")
    other.write()
    assert read_diary(tmp_path) == (("13:00  Beginning",), None)


def test_nothing_is_written_before_there_is_a_training(tmp_path):
    diary = Diary(tmp_path, anew=True)
    diary.note("12:00  Beginning")
    diary.write()
    assert not list(tmp_path.iterdir())
    begin(tmp_path)
    diary.write()
    assert read_diary(tmp_path)[0] == ("12:00  Beginning",)


def test_what_cannot_be_read_is_left_out(tmp_path):
    assert read_diary(tmp_path) == ((), None)
    (tmp_path / FILE_NAME).write_bytes(
        b'{"line": "one"}\n[]\n{"line": 3}\n\xff\n{"ended": {"saved": "x"}}\n{"line": "tw'
    )
    assert read_diary(tmp_path) == (("one",), None)
