"""The generation and fine-tuning layer of Stepwise. It knows no Qt.

Letters in shape notes mean the same everywhere: ``B`` batch, ``C`` channels, ``H`` and ``W`` the
height and width of the picture in PIXELS (latents are ``(B, 4, H/8, W/8)``), ``T`` tokens, ``D``
width of an embedding. "scaled" latents are those that the UNet sees: the VAE's latents times its
``scaling_factor``. Pictures outside of torch are ``(H, W, 3) uint8``, RGB.
"""
