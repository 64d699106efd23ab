"""How good super-resolution is (section 4.2): PSNR, SSIM, LPIPS; figures 8 and 9.

Imports `core`, `data`, `images`, `inference`, `loss_network`, `networks`.
"""
