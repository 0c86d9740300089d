"""Picture files: writing them whole, and the settings that travel inside them."""
