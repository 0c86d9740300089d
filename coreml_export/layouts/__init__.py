"""A model's networks as modules that take and give what an exported part does."""
