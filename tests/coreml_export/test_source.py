from core.models.library import Library
from core.paths import Profile
from coreml_export.request import ExportRequest
from coreml_export.source import open_source
from tests.conftest import write_tiny_control


def test_every_file_is_told_by_its_place(tiny_model, tmp_path, monkeypatch):
    net = write_tiny_control(tmp_path / "lines", tiny_model)
    monkeypatch.chdir(tmp_path)
    request = ExportRequest(model=str(tiny_model), out="o", controls=("lines",))
    library = Library(Profile(root=tmp_path / "profile"))
    found = []

    def opened():
        found.append((yield from open_source(request, library, tmp_path / "cache")))

    list(opened())
    assert found[0].request.controls == (str(net),)
    assert set(found[0].controls) == {"Lines"}
