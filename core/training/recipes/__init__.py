"""One file for each method: which weights learn, and what is saved."""
