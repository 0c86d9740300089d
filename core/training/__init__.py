"""Fine-tuning: from a folder of pictures to a checked file that generates at once.

A recipe says which weights learn and what is saved; the data, the loop, the checkpoints, the
samples and the self-check are shared by all.
"""
