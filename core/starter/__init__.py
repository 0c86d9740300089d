"""The model that ships: the pictures it learns from, its training, its evaluation, its weights."""
