import importlib.util
import subprocess
import sys

import pytest

from core.coreml import import_coremltools
from core.errors import Unsupported


def test_where_it_is_missing_one_sentence_says_what_to_do(monkeypatch):
    # Other tests may have loaded its modules, which are found by their own names then.
    loaded = [name for name in sys.modules if name.startswith("coremltools.")]
    for name in ("coremltools", *loaded):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(Unsupported, match=r"pip install 'coremltools>=9,<10'"):
        import_coremltools("coremltools.proto.Model_pb2")


@pytest.mark.skipif(
    importlib.util.find_spec("coremltools") is None,
    reason="coremltools is not installed; there is none for this system",
)
def test_it_loads_without_a_word():
    code = "from core.coreml import import_coremltools; print(import_coremltools().__name__)"
    loaded = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert (loaded.stdout, loaded.stderr) == ("coremltools\n", "")
