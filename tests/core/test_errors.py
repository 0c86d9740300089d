import inspect
import pickle

import pytest

from core import errors
from core.errors import CoreError, InvalidRequest

KINDS = [kind for _, kind in inspect.getmembers(errors, inspect.isclass)]
OF_SETTINGS = [kind for kind in KINDS if issubclass(kind, InvalidRequest)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_error_is_one_that_is_explained(kind):
    assert issubclass(kind, CoreError)
    assert kind.__doc__


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in OF_SETTINGS])
def test_errors_cross_a_process_border(kind):
    error = pickle.loads(pickle.dumps(kind("what, where, what next")))
    assert type(error) is kind
    assert str(error) == "what, where, what next"


@pytest.mark.parametrize("kind", OF_SETTINGS)
def test_an_error_of_a_setting_names_it_on_both_sides_of_a_process_border(kind):
    error = pickle.loads(pickle.dumps(kind("steps", "must be more.")))
    assert type(error) is kind
    assert (error.field, error.reason) == ("steps", "must be more.")
    assert str(error) == "steps: must be more."
