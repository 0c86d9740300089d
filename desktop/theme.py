"""The look: Fusion with a light and a dark palette of our own, and a little style sheet.

Widgets that paint themselves take their colours from their ``palette()``, by these roles: ``Dark``
the canvas, ``Window`` the panels, ``Base`` fields, ``Mid`` lines, ``Midlight`` what the pointer is
over, ``PlaceholderText`` quiet text, ``Highlight`` the accent as a ground and ``Link`` as a line or
a text, ``BrightText`` errors.
"""

from __future__ import annotations

from enum import StrEnum

from PySide6.QtCore import QObject, Qt
from PySide6.QtGui import QColor, QFont, QFontDatabase, QPalette
from PySide6.QtWidgets import QApplication, QWidget

from desktop.colours import DARK, LIGHT, Colours
from desktop.style_sheet import style_sheet


class ThemeMode(StrEnum):
    """Which palette is used. ``SYSTEM`` follows the desktop, also when it changes."""

    SYSTEM = "system"
    LIGHT = "light"
    DARK = "dark"


class Theme(QObject):
    """Dresses the application and keeps it dressed when the desktop's colour scheme changes."""

    def __init__(self, app: QApplication, mode: ThemeMode) -> None:
        """Set style, font, palette and style sheet of ``app``."""
        super().__init__(app)
        self._app = app
        app.setStyle("Fusion")
        app.setFont(_interface_font())
        self._mode = mode
        self.set_mode(mode)
        app.styleHints().colorSchemeChanged.connect(self._on_scheme_changed)

    @property
    def mode(self) -> ThemeMode:
        """The mode chosen."""
        return self._mode

    @property
    def colours(self) -> Colours:
        """The colours in use."""
        match self._mode:
            case ThemeMode.LIGHT:
                return LIGHT
            case ThemeMode.DARK:
                return DARK
            case ThemeMode.SYSTEM:
                # Where the desktop does not say, dark: pictures look truest on a dark ground.
                scheme = self._app.styleHints().colorScheme()
                return LIGHT if scheme == Qt.ColorScheme.Light else DARK

    def set_mode(self, mode: ThemeMode) -> None:
        """Change to another mode at once."""
        self._mode = mode
        # Tells the desktop too, so that title bar and file dialogs match.
        self._app.styleHints().setColorScheme(
            {
                ThemeMode.SYSTEM: Qt.ColorScheme.Unknown,
                ThemeMode.LIGHT: Qt.ColorScheme.Light,
                ThemeMode.DARK: Qt.ColorScheme.Dark,
            }[mode]
        )
        self._dress()

    def _on_scheme_changed(self) -> None:
        if self._mode is ThemeMode.SYSTEM:
            self._dress()

    def _dress(self) -> None:
        self._app.setPalette(palette_of(self.colours))
        self._app.setStyleSheet(style_sheet(self.colours))


def mark(widget: QWidget, name: str, *, on: bool = True) -> None:
    """Set a property that the style sheet looks at, and dress the widget accordingly."""
    widget.setProperty(name, on)
    widget.style().unpolish(widget)
    widget.style().polish(widget)


def palette_of(colours: Colours) -> QPalette:
    """Give the palette of ``colours``, by the roles that the module lists."""
    role = QPalette.ColorRole
    palette = QPalette()
    for which, colour in {
        role.Window: colours.window,
        role.WindowText: colours.text,
        role.Base: colours.field,
        role.AlternateBase: colours.hover,
        role.Text: colours.text,
        role.PlaceholderText: colours.quiet,
        role.Button: colours.field,
        role.ButtonText: colours.text,
        role.BrightText: colours.error,
        role.ToolTipBase: colours.field,
        role.ToolTipText: colours.text,
        role.Highlight: colours.accent,
        role.Accent: colours.accent,
        role.HighlightedText: colours.on_accent,
        role.Link: colours.accent_line,
        role.LinkVisited: colours.accent_line,
        role.Light: colours.hover,
        role.Midlight: colours.hover,
        role.Mid: colours.line,
        role.Dark: colours.canvas,
        role.Shadow: "#000000",
    }.items():
        palette.setColor(which, QColor(colour))
    for which in (role.Text, role.WindowText, role.ButtonText, role.PlaceholderText):
        palette.setColor(QPalette.ColorGroup.Disabled, which, QColor(colours.disabled))
    palette.setColor(QPalette.ColorGroup.Disabled, role.Highlight, QColor(colours.line))
    return palette


def _interface_font() -> QFont:
    """Give the desktop's own font; where it names none, the best of the free ones there are."""
    font = QFontDatabase.systemFont(QFontDatabase.SystemFont.GeneralFont)
    if font.family() in {"", "Sans", "Sans Serif", "DejaVu Sans", "Bitstream Vera Sans"}:
        families = set(QFontDatabase.families())
        for family in ("Inter", "Noto Sans", "Cantarell", "Open Sans"):
            if family in families:
                font.setFamily(family)
                font.setPointSizeF(10.0)
                break
    return font
