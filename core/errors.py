"""Errors that a person can do something about, named by what that is.

Every message says what went wrong, where, and what to do next. Anything raised that is not a
``CoreError`` is a bug and is shown as one. Cancelling is an outcome, not an error.
"""


class CoreError(Exception):
    """The base of every error that the app explains in one sentence."""


class InvalidRequest(CoreError):
    """A setting lies outside of what can be made.

    Attributes:
        field: The name of the setting, as it stands in the request (``"steps"``).
        reason: The sentence: what is wrong and what would be right.
    """

    def __init__(self, field: str, reason: str) -> None:
        """Name the setting and say the reason."""
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason

    def __reduce__(self) -> tuple[type["InvalidRequest"], tuple[str, str]]:
        """Pickle by the two arguments; the base class would replay the joined message."""
        return type(self), (self.field, self.reason)


class NeedsExport(InvalidRequest):
    """An exported model cannot serve a setting, and could if it were exported again for it.

    Its reason is a sentence that needs no name of the setting before it.
    """


class ModelMissing(CoreError):
    """The model named is not on this machine."""


class ModelInvalid(CoreError):
    """The model's files are damaged, incomplete or contradict each other."""


class UnsafeFile(CoreError):
    """A file asks for code to be run or hides what it is; nothing of it was run."""


class Unsupported(CoreError):
    """The model or the device cannot do what was asked."""


class PartNotLoaded(Unsupported):
    """The system does not bring a part of an exported model to its processors."""


class OutOfMemory(CoreError):
    """The job needs more memory than the device has free."""


class SaveFailed(CoreError):
    """A file could not be written: no space, no right, no folder."""


class DatasetInvalid(CoreError):
    """The training pictures or captions cannot be used."""


class TrainingDiverged(CoreError):
    """The loss became infinite or not a number and did not recover."""


class ExportFailed(CoreError):
    """A model could not be converted."""


class DownloadFailed(CoreError):
    """A download did not arrive whole."""
