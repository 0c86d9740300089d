"""Readers of other programs' pictures, one module each: texts in, settings in our terms out."""
