"""CLIP's own tokenizer, for models in one file, which bring none."""
