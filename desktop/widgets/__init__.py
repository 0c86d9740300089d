"""The parts of the window, one control or pane a file."""
