"""What Fusion and a palette cannot say about the look."""

from __future__ import annotations

from desktop.colours import Colours
from desktop.icons import FOLDER


def style_sheet(colours: Colours) -> str:
    """Give what Fusion and a palette cannot say: flat fields, the one strong button, chips."""
    c = colours
    icons = FOLDER.as_posix()
    return f"""
    QToolTip {{ background: {c.field}; color: {c.text}; border: 1px solid {c.line};
        padding: 4px 6px; }}
    QLabel[quiet="true"] {{ color: {c.quiet}; }}
    QLabel[quiet="true"]:disabled {{ color: {c.disabled}; }}
    QLabel[big="true"] {{ font-size: 17pt; font-weight: 600; }}

    QPlainTextEdit, QLineEdit, QDoubleSpinBox, QComboBox {{
        background: {c.field}; color: {c.text}; border: 1px solid {c.line}; border-radius: 6px;
        padding: 3px 6px; selection-background-color: {c.accent};
        selection-color: {c.on_accent}; }}
    QLineEdit, QDoubleSpinBox, QComboBox {{ min-height: 20px; }}
    QAbstractSpinBox QLineEdit {{ background: transparent; border: none; padding: 0 4px;
        min-height: 0; margin: 0; }}
    QDoubleSpinBox {{ padding: 2px 0; min-height: 22px; max-height: 22px; }}
    QComboBox {{ padding-left: 8px; }}
    QPlainTextEdit {{ padding: 4px; }}
    QPlainTextEdit, QLineEdit {{ placeholder-text-color: {c.quiet}; }}
    QPlainTextEdit:disabled, QLineEdit:disabled {{ placeholder-text-color: {c.disabled}; }}
    QPlainTextEdit:hover, QLineEdit:hover, QDoubleSpinBox:hover, QComboBox:hover {{
        border-color: {c.quiet}; }}
    QPlainTextEdit:focus, QLineEdit:focus, QDoubleSpinBox:focus, QComboBox:focus {{
        border-color: {c.accent_line}; }}
    QPlainTextEdit:disabled, QLineEdit:disabled, QDoubleSpinBox:disabled,
    QComboBox:disabled {{ color: {c.disabled}; background: {c.window}; border-color: {c.line}; }}
    QDoubleSpinBox::up-button, QDoubleSpinBox::down-button {{
        background: transparent; border: none; width: 16px; }}
    QDoubleSpinBox::up-arrow {{ image: url({icons}/field-up.svg);
        width: 11px; height: 11px; }}
    QDoubleSpinBox::down-arrow {{ image: url({icons}/field-down.svg);
        width: 11px; height: 11px; }}
    QComboBox::drop-down {{ border: none; width: 22px; }}
    QComboBox::down-arrow {{ image: url({icons}/field-down.svg); width: 13px; height: 13px; }}
    QComboBox QAbstractItemView {{ background: {c.field}; color: {c.text};
        border: 1px solid {c.line}; outline: none; padding: 4px;
        selection-background-color: {c.accent}; selection-color: {c.on_accent}; }}

    QPushButton {{ background: {c.field}; color: {c.text}; border: 1px solid {c.line};
        border-radius: 6px; padding: 5px 14px; min-height: 20px; }}
    QPushButton:hover {{ background: {c.hover}; }}
    QPushButton:focus {{ border-color: {c.accent_line}; }}
    QPushButton:pressed {{ background: {c.line}; }}
    QPushButton:disabled {{ color: {c.disabled}; background: {c.window}; }}
    QPushButton[primary="true"] {{ background: {c.accent}; color: {c.on_accent};
        border: 1px solid {c.accent}; font-weight: 600; min-height: 24px; }}
    QPushButton[primary="true"]:hover {{ background: {c.accent_hover}; }}
    QPushButton[primary="true"]:focus {{ border-color: {c.text}; }}
    QPushButton[primary="true"]:pressed {{ background: {c.accent_line}; }}
    QPushButton[primary="true"]:disabled {{ background: {c.hover}; color: {c.disabled};
        border-color: {c.line}; }}
    QPushButton[chip="true"] {{ border-radius: 14px; padding: 4px 14px; }}

    QPushButton[tight="true"] {{ padding: 2px 4px; }}
    QPushButton[tab="true"] {{ background: transparent; border-color: transparent;
        color: {c.quiet}; padding: 3px 12px; }}
    QPushButton[tab="true"]:hover {{ background: {c.hover}; }}
    QPushButton[tab="true"]:checked {{ background: {c.field}; border-color: {c.line};
        color: {c.text}; }}
    QPushButton[tab="true"]:focus {{ border-color: {c.accent_line}; }}

    QCheckBox {{ min-height: 24px; spacing: 8px; }}
    QCheckBox::indicator {{ width: 15px; height: 15px; border: 1px solid {c.quiet};
        border-radius: 4px; background: {c.field}; }}
    QCheckBox::indicator:hover, QCheckBox::indicator:focus {{
        border-color: {c.accent_line}; }}
    QCheckBox::indicator:checked {{ background: {c.accent}; border-color: {c.accent};
        image: url({icons}/field-check.svg); }}
    QCheckBox::indicator:checked:focus {{ border-color: {c.text}; }}
    QCheckBox::indicator:disabled {{ background: {c.window}; border-color: {c.line}; }}
    QCheckBox::indicator:checked:disabled {{ background: {c.disabled};
        border-color: {c.disabled}; }}

    QToolButton {{ background: transparent; color: {c.text}; border: 1px solid transparent;
        border-radius: 6px; padding: 4px; }}
    QToolButton:hover {{ background: {c.hover}; }}
    QToolButton:focus {{ border-color: {c.accent_line}; }}
    QToolButton:pressed, QToolButton:checked {{ background: {c.line}; }}
    QToolButton:disabled {{ color: {c.disabled}; }}
    QToolButton::menu-indicator {{ image: none; }}
    QToolButton[fold="true"] {{ font-weight: 600; padding: 4px 0; border: none;
        margin-left: -6px; }}
    QToolButton[fold="true"]:hover {{ background: transparent; color: {c.accent_line}; }}
    QToolButton[fold="true"]:focus {{ color: {c.accent_line}; }}
    QToolButton[framed="true"] {{ background: {c.field}; border: 1px solid {c.line}; }}
    QToolButton[framed="true"]:hover {{ background: {c.hover}; }}
    QToolButton[framed="true"]:focus {{ border-color: {c.accent_line}; }}
    QToolButton[framed="true"]:disabled {{ background: {c.window}; }}
    QToolButton[fold="true"]:checked {{ background: transparent; }}

    QSlider {{ min-height: 22px; }}
    QSlider::groove:horizontal {{ height: 4px; border-radius: 2px; background: {c.line}; }}
    QSlider::sub-page:horizontal {{ height: 4px; border-radius: 2px; background: {c.accent}; }}
    QSlider::sub-page:horizontal:disabled {{ background: {c.line}; }}
    QSlider::handle:horizontal {{ width: 14px; height: 14px; margin: -6px 0; border-radius: 8px;
        background: {c.on_accent}; border: 1px solid {c.quiet}; }}
    QSlider::handle:horizontal:hover, QSlider::handle:horizontal:focus {{
        border: 2px solid {c.accent_line}; width: 12px; height: 12px; }}
    QSlider::handle:horizontal:disabled {{ background: {c.hover}; border-color: {c.line}; }}

    QProgressBar {{ background: transparent; border: none; max-height: 3px; min-height: 3px; }}
    QProgressBar::chunk {{ background: {c.accent_line}; }}

    QScrollArea, QScrollArea > QWidget > QWidget#panel {{ background: {c.window}; border: none; }}
    QScrollBar {{ background: transparent; border: none; }}
    QScrollBar:vertical {{ width: 10px; }}
    QScrollBar:horizontal {{ height: 10px; }}
    QScrollBar::handle {{ background: {c.line}; border-radius: 3px; margin: 2px; }}
    QScrollBar::handle:vertical {{ min-height: 28px; }}
    QScrollBar::handle:horizontal {{ min-width: 28px; }}
    QScrollBar::handle:hover {{ background: {c.quiet}; }}
    QScrollBar::add-line, QScrollBar::sub-line {{ width: 0; height: 0; }}
    QScrollBar::add-page, QScrollBar::sub-page {{ background: transparent; }}

    QMenuBar {{ background: {c.window}; color: {c.text}; border-bottom: 1px solid {c.line}; }}
    QMenuBar::item {{ background: transparent; padding: 4px 10px; border-radius: 4px; }}
    QMenuBar::item:selected {{ background: {c.hover}; }}
    QMenu {{ background: {c.field}; color: {c.text}; border: 1px solid {c.line}; padding: 5px; }}
    QMenu::item {{ padding: 5px 28px 5px 14px; border-radius: 4px; }}
    QMenu::item:selected {{ background: {c.accent}; color: {c.on_accent}; }}
    QMenu::item:disabled {{ color: {c.disabled}; background: transparent; }}
    QMenu::separator {{ height: 1px; background: {c.line}; margin: 5px 8px; }}
    QSplitter::handle {{ background: {c.line}; }}

    #banner[kind="error"] {{ background: {c.error_ground};
        border-bottom: 1px solid {c.error}; }}
    #banner[kind="notice"] {{ background: {c.notice_ground};
        border-bottom: 1px solid {c.accent_line}; }}
    #banner QLabel {{ background: transparent; }}
    #startWell {{ border: 1px dashed {c.disabled}; border-radius: 8px; background: {c.window}; }}
    #startWell[filled="true"] {{ border: 1px solid {c.line}; background: {c.field}; }}
    #startWell[over="true"] {{ border: 1px dashed {c.accent_line}; background: {c.notice_ground}; }}
    #startWell:hover {{ border-color: {c.quiet}; }}
    #startWell:focus {{ border-color: {c.accent_line}; }}
    #models {{ background: {c.window}; border: none; outline: none; }}
    #details {{ background: {c.canvas}; }}
    #trouble {{ background: {c.notice_ground}; border-radius: 8px; }}
    #trouble[grave="true"] {{ background: {c.error_ground}; }}
    #details QPushButton, #convertFooter QPushButton {{ min-height: 24px; }}
    #trouble QLabel {{ background: transparent; }}
    #dropHint {{ background: #e6{c.notice_ground[1:]}; color: {c.accent_line};
        border: 2px dashed {c.accent_line}; border-radius: 12px; font-size: 15pt; }}
    #strip {{ background: {c.window}; border: none; border-top: 1px solid {c.line};
        outline: none; }}
    #trainSide {{ background: {c.canvas}; }}
    #pictures, #samples {{ background: {c.canvas}; border: none; outline: none; }}
    #samples QTableCornerButton::section {{ background: {c.canvas}; border: none; }}
    #samples::item {{ border: none; background: transparent; }}
    #samples QHeaderView, #samples QHeaderView::section {{ background: {c.canvas};
        color: {c.quiet}; border: none; padding: 2px 4px; }}
    #tags {{ background: transparent; color: {c.text}; border: none; outline: none; }}
    #tags::item {{ padding: 3px 6px; border-radius: 4px; }}
    #tags::item:hover {{ background: {c.hover}; }}
    #tags::item:selected {{ background: {c.line}; color: {c.text}; }}
    #captionEditor {{ padding: 0; }}
    #captionTools {{ background: {c.window}; border-left: 1px solid {c.line}; }}
    #footer {{ background: {c.window}; }}
    #statusLine {{ background: {c.window}; border-top: 1px solid {c.line}; }}
    #rail {{ background: {c.canvas}; border-right: 1px solid {c.line}; }}
    """
