from core.models.clip_tokenizer.vocabulary import bundled_merges, bundled_vocabulary


def test_what_a_caller_adds_is_its_own():
    numbers, merges = bundled_vocabulary()
    numbers["<fox>"] = 49408
    merges.append(("<", "fox>"))
    assert "<fox>" not in bundled_vocabulary()[0]
    assert len(bundled_vocabulary()[1]) == len(bundled_merges()) == len(merges) - 1
    assert numbers["<|endoftext|>"] == 49407
