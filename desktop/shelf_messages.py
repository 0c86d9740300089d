"""What the window says about work on the library, in a sentence each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from PySide6.QtCore import QCoreApplication

from core.models.copying import format_size
from core.models.library_events import Added, Checked, Outcome, Removed, State
from desktop.library_work import Refused

MOST_LINES = 3
"""So many refused files are named; the others are counted."""


class MessageKind(StrEnum):
    """How grave it is."""

    NOTICE = "notice"
    ERROR = "error"
    FAULT = "fault"  # The app's own.


@dataclass(frozen=True, slots=True)
class Message:
    """What the person is told."""

    kind: MessageKind
    text: str


def of_added(events: Sequence[Added | Refused]) -> Message:
    """Say what became of one model or several that were to be added."""
    refused = [event for event in events if isinstance(event, Refused)]
    added = [event for event in events if isinstance(event, Added)]
    if len(events) == 1:
        return (
            Message(MessageKind.ERROR, refused[0].message)
            if refused
            else Message(MessageKind.NOTICE, _of_one(added[0]))
        )
    known = sum(event.outcome is Outcome.KNOWN for event in added)
    lines = [_tr("{0} of {1} are in the library now.").format(len(added), len(events))]
    if known:
        lines[0] += " " + _tr("{0} of them were before.").format(known)
    lines += [event.message for event in refused[:MOST_LINES]]
    if len(refused) > MOST_LINES:
        lines.append(_tr("And {0} more were refused.").format(len(refused) - MOST_LINES))
    return Message(MessageKind.ERROR if refused else MessageKind.NOTICE, "\n".join(lines))


def of_checked(event: Checked) -> Message:
    """Say what a check found."""
    name = event.entry.name
    match event.state:
        case State.SOUND:
            text = _tr("{0} is sound: every byte is what it was when it was added.")
            return Message(MessageKind.NOTICE, text.format(name))
        case State.MOVED:
            text = _tr("{0} is found again: it lies at {1} now.")
            return Message(MessageKind.NOTICE, text.format(name, event.entry.path))
        case State.MISSING:
            text = _tr("{0} is neither at {1} nor near it; look for it elsewhere, or remove it.")
            return Message(MessageKind.ERROR, text.format(name, event.entry.path))
        case State.CHANGED:
            return Message(MessageKind.ERROR, event.reason)


def of_removed(event: Removed) -> Message:
    """Say what became of a model's files."""
    entry = event.entry
    if event.deleted:
        text = _tr("{0} is removed and its files are deleted, which frees {1}.")
        return Message(MessageKind.NOTICE, text.format(entry.name, format_size(entry.size)))
    text = _tr("{0} is removed from the library; its files stay at {1}.")
    return Message(MessageKind.NOTICE, text.format(entry.name, entry.path))


def _of_one(event: Added) -> str:
    entry = event.entry
    match event.outcome:
        case Outcome.NEW:
            text = _tr("{0} is in the library now: {1}.").format(entry.name, entry.title)
            if event.same_as:
                same = _tr("It has the same bytes as {0}.").format(", ".join(event.same_as))
                text = f"{text} {same}"
            return text
        case Outcome.KNOWN:
            return _tr("{0} is in the library already, at {1}.").format(entry.name, entry.path)
        case Outcome.FOUND_AGAIN:
            return _tr("{0} is found again, at {1}.").format(entry.name, entry.path)
        case Outcome.UPDATED:
            return _tr("{0} is brought up to date, at {1}.").format(entry.name, entry.path)


def _tr(text: str) -> str:
    return QCoreApplication.translate("Shelf", text)
