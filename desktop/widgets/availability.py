"""Controls that cannot be used now and say why."""

from __future__ import annotations

from PySide6.QtWidgets import QWidget

_OWN_TIP = "ownToolTip"


def set_unavailable(control: QWidget, reason: str) -> None:
    """Disable ``control`` and give ``reason`` as its tooltip; an empty reason enables it again."""
    if control.property(_OWN_TIP) is None:
        control.setProperty(_OWN_TIP, control.toolTip())
    control.setEnabled(not reason)
    control.setToolTip(reason or control.property(_OWN_TIP))
