"""From a request to latents and pixels: text, noise, schedulers, guidance, the loop, the VAE."""
