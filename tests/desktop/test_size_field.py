from __future__ import annotations

from PySide6.QtCore import QSize

from desktop.widgets.size_field import SHAPES, SizeField


def test_a_model_of_certain_sizes_offers_these_alone(qtbot):
    field = SizeField()
    qtbot.addWidget(field)
    field.set_value(QSize(640, 512))
    field.set_model_size(512, 512, 8, only=((512, 512), (512, 768)))
    assert field.value() == QSize(512, 512)
    assert [action.text().partition("\t")[2][:3] for action in field._menu.actions()] == ["512"] * 2
    for control in (field.width_spin, field.height_spin, field.swap):
        assert not control.isEnabled()
        assert "export it again" in control.toolTip()
    field._menu.actions()[1].trigger()
    assert field.value() == QSize(512, 768)


def test_another_model_after_it_has_any_size(qtbot):
    field = SizeField()
    qtbot.addWidget(field)
    field.set_model_size(512, 512, 8, only=((512, 512),))
    field.set_model_size(768, 768, 8)
    assert field.width_spin.isEnabled()
    assert "export" not in field.width_spin.toolTip()
    offered = [action for action in field._menu.actions() if action.text()]
    assert len(offered) == len(SHAPES) + 1
