"""Writes weights as files that other programs read: LoRAs, embeddings, whole models."""
