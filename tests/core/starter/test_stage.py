import pytest
import torch
from torch import nn

from core.errors import TrainingDiverged
from core.starter.stage import StageSettings, train_stage


def settings(steps, rate=1e-2, **more):
    return StageSettings(
        name="part", steps=steps, learning_rate=rate, save_every=10, log_every=10, **more
    )


def make_model():
    torch.manual_seed(0)
    return nn.Linear(3, 1)


MUON = pytest.mark.parametrize("muon", [False, True], ids=["adamw", "muon"])


def losses_of(model):
    def losses(step):
        x = torch.randn(8, 3, generator=torch.Generator().manual_seed(step))
        return {"loss": (model(x)[:, 0] - x.sum(1)).square().mean()}

    return losses


@MUON
def test_a_resumed_run_ends_with_the_same_weights(tmp_path, muon):
    whole = make_model()
    train_stage(settings(40, muon=muon), whole, losses_of(whole), tmp_path / "whole")

    def interrupted(step):
        if step == 25:
            raise KeyboardInterrupt
        return losses_of(first)(step)

    first, second = make_model(), make_model()
    with pytest.raises(KeyboardInterrupt):
        train_stage(settings(40, muon=muon), first, interrupted, tmp_path / "parts")
    train_stage(settings(40, muon=muon), second, losses_of(second), tmp_path / "parts")
    assert torch.equal(whole.weight, second.weight)
    assert torch.equal(whole.bias, second.bias)


@pytest.mark.parametrize(("muon", "rate"), [(False, 1e-2), (True, 5e-2)], ids=["adamw", "muon"])
def test_it_learns(tmp_path, muon, rate):
    model = make_model()
    trained = train_stage(
        settings(600, rate, average=0.98, muon=muon), model, losses_of(model), tmp_path
    )
    assert trained is not model
    assert losses_of(trained)(10_000)["loss"] < 0.02


def test_a_loss_that_is_no_number_ends_with_the_checkpoint_named(tmp_path):
    model = make_model()

    def broken(step):
        return {"loss": losses_of(model)(step)["loss"] * (float("nan") if step == 15 else 1)}

    with pytest.raises(TrainingDiverged, match=r"part\.pt"):
        train_stage(settings(40), model, broken, tmp_path)
    assert (tmp_path / "part.pt").exists()


def test_the_rate_warms_up_holds_and_falls_to_zero():
    rates = [settings(1000).rate_at(step) for step in range(1000)]
    assert rates[0] < rates[50] < rates[100] == rates[700] == 1e-2
    assert rates[-1] < rates[900] < rates[800]
    assert rates[-1] < 1e-4
