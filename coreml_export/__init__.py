"""Conversion of models to Core ML. It knows no Qt."""
