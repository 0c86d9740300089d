"""The menu bar: every action by its name and keys."""

from __future__ import annotations

from collections.abc import Callable

from PySide6.QtCore import QCoreApplication
from PySide6.QtGui import QAction, QActionGroup, QKeySequence
from PySide6.QtWidgets import QMenu, QWidget

from desktop.theme import ThemeMode
from desktop.training import TrainingSnapshot
from desktop.widgets.create_page import CreatePage
from desktop.widgets.train_page import TrainPage
from desktop.widgets.train_side import PICTURES, PROGRESS


def add_action(
    menu: QMenu, text: str, do: Callable[[], object], *keys: str | QKeySequence.StandardKey
) -> QAction:
    """Add an action to a menu and give it."""
    action = menu.addAction(text)
    action.setShortcuts([QKeySequence(key) for key in keys])
    action.triggered.connect(lambda _checked=False: do())
    return action


START_KEYS = ("Ctrl+Return", "Ctrl+Enter")
"""They start what is done on the page in sight; see ``MainWindow``."""


def fill_run_menu(menu: QMenu, page: CreatePage) -> tuple[QAction, QAction]:
    """Add what starts and stops a run; gives both actions."""
    start = add_action(menu, _tr("Generate"), page.generate)
    stop = add_action(menu, _tr("Stop"), page.stop, "Esc")
    menu.addSeparator()
    add_action(menu, _tr("Back to the Run"), page.results.follow, "Ctrl+B")
    return start, stop


def fill_train_menu(menu: QMenu, page: TrainPage) -> QAction:
    """Add what is done with a training; gives the action that starts it."""
    start = add_action(menu, _tr("Start, Pause or Resume"), page.panel.press)
    end = add_action(menu, _tr("End the Training"), page.panel.stop.click)
    menu.addSeparator()
    choose = add_action(menu, _tr("Choose Pictures…"), page.choose_pictures)
    opening = add_action(menu, _tr("Open Training…"), page.open_training)
    settings = add_action(menu, _tr("Open Settings…"), page.open_settings)
    menu.addSeparator()
    add_action(menu, _tr("Show the Pictures"), lambda: page.side.show_part(PICTURES), "Ctrl+4")
    add_action(menu, _tr("Show the Training"), lambda: page.side.show_part(PROGRESS), "Ctrl+5")

    def refresh(training: TrainingSnapshot) -> None:
        end.setEnabled(training.phase.is_held)
        choose.setEnabled(not training.phase.is_held)
        settings.setEnabled(not training.phase.is_held)
        opening.setEnabled(not training.phase.is_busy)

    page.training.changed.connect(refresh)
    refresh(page.training.snapshot)
    return start


def fill_edit_menu(menu: QMenu, page: CreatePage) -> None:
    """Add what changes the controls."""
    add_action(menu, _tr("Edit Prompt"), page.panel.edit_prompt, "Ctrl+L")
    add_action(menu, _tr("Roll Seed"), page.panel.seed.roll, "Ctrl+D")
    menu.addSeparator()
    add_action(menu, _tr("Paste Start Picture"), page.paste, QKeySequence.StandardKey.Paste)


def fill_picture_menu(menu: QMenu, page: CreatePage) -> None:
    """Add what is done with the picture shown."""
    page.results.picture.fill(menu)
    menu.addSeparator()
    add_action(menu, _tr("Next Picture"), lambda: page.results.strip.step(1), "Alt+Right")
    add_action(menu, _tr("Previous Picture"), lambda: page.results.strip.step(-1), "Alt+Left")


def fill_theme_menu(
    menu: QMenu, now: ThemeMode, choose: Callable[[ThemeMode], None], owner: QWidget
) -> None:
    """Add the choice of a palette, ``now`` being the present one."""
    group = QActionGroup(owner)
    for mode, text in (
        (ThemeMode.SYSTEM, _tr("As the System")),
        (ThemeMode.LIGHT, _tr("Light")),
        (ThemeMode.DARK, _tr("Dark")),
    ):
        action = menu.addAction(text)
        action.setCheckable(True)
        action.setChecked(mode is now)
        action.triggered.connect(lambda _checked=False, mode=mode: choose(mode))
        group.addAction(action)


def _tr(text: str) -> str:
    return QCoreApplication.translate("Menus", text)
