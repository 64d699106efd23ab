"""How good super-resolution is (section 4.2; figures 8 and 9): PSNR, SSIM, LPIPS.

`super_resolution` judges a photo by `metrics` and `lpips`, `run` folders of them,
`report` writes tables and strips; `pattern` measures what networks draw on flat
colours. Imports `core`, `data`, `images`, `inference`,
`loss_network`, `networks`.
"""
