"""The Stepwise window."""
