from core.request import EmbeddingUse, TextToImage
from desktop.prompt_words import with_embeddings


def test_an_embedding_that_the_request_has_already_is_not_added_again():
    own = EmbeddingUse(path="/lib/BadWord.safetensors", token="BadWord")
    request = TextToImage(
        prompts=("a fox, soft-light",), negative_prompt="badword", embeddings=(own,)
    )
    found = with_embeddings(request, {"badword", "soft-light", "unused"})
    assert found.embeddings == (own, EmbeddingUse(path="soft-light", token="soft-light"))
