"""What a terminal may be given to show. Imports no torch."""

from __future__ import annotations

import unicodedata


def harmless(text: str) -> str:
    """Show what could move the cursor or colour the terminal as the code that it is."""
    return "".join(
        repr(letter)[1:-1]
        if unicodedata.category(letter) in ("Cc", "Cs") and letter not in "\n\t"
        else letter
        for letter in text
    )
