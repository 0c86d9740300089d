from core.models import catalog, curated
from core.models.curated import CURATED
from core.models.library_names import slug
from core.models.verdict import Kind
from core.request import TextToImage


def test_ids_are_names_and_unlike():
    ids = [model.id for model in CURATED]
    assert len({name.casefold() for name in (*ids, *catalog.SHIPPED)}) == len(ids) + 1
    assert all(slug(name) == name for name in ids)
    assert len({model.repo for model in CURATED}) == len(ids)
    assert 8 <= len(ids) <= 12


def test_the_settings_are_ones_that_a_request_takes():
    for model in CURATED:
        if model.kind is Kind.MODEL:
            request = TextToImage(
                prompts=("a",),
                model=model.id,
                width=model.width,
                height=model.height,
                steps=model.steps,
                guidance_scale=model.guidance_scale,
                scheduler=model.scheduler,
            )
            assert request.width % 64 == 0
        else:
            assert not model.steps


def test_a_model_is_found_by_id_and_by_repository():
    for model in CURATED:
        assert curated.find(model.id.upper()) is model
        assert curated.find(model.repo) is model
    assert curated.find("none") is None
