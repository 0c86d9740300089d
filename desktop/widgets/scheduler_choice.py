"""The sampling method, by the names people know."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication

from core.request import SchedulerName
from desktop.widgets.choice import Choice


def _tr(text: str) -> str:
    return QCoreApplication.translate("SchedulerChoice", text)


class SchedulerChoice(Choice[SchedulerName]):
    """A drop-down of the sampling methods, each with a word on when to take it."""

    def __init__(self) -> None:
        """Offer all of them."""
        name = SchedulerName
        super().__init__(
            _tr("Scheduler"),
            {
                name.DDIM: ("DDIM", _tr("Steady and exact; the same steps forwards and back.")),
                name.PNDM: ("PNDM", _tr("The first Stable Diffusion's own; good from 20 steps.")),
                name.LMS: ("K-LMS", _tr("Linear multistep; good from 30 steps.")),
                name.EULER: ("Euler", _tr("Plain and fast.")),
                name.EULER_ANCESTRAL: (
                    "Euler ancestral",
                    _tr("Adds noise at every step: more variety, never settles."),
                ),
                name.HEUN: ("Heun", _tr("Two evaluations a step: slower, more exact.")),
                name.DPMPP_2M: ("DPM++ 2M", _tr("Good pictures from 15 steps.")),
                name.DPMPP_2M_KARRAS: (
                    "DPM++ 2M Karras",
                    _tr("The same with finer steps at the end; a good first choice."),
                ),
                name.DPMPP_SDE: ("DPM++ 2M SDE", _tr("Adds noise at every step; rich in detail.")),
                name.UNIPC: ("UniPC", _tr("Good pictures from 10 steps.")),
                name.DDPM: ("DDPM", _tr("The original, for many steps.")),
                name.LCM: ("LCM", _tr("For models distilled to 2 to 8 steps.")),
                name.TCD: ("TCD", _tr("For models distilled to few steps.")),
            },
        )
