"""Moving pictures: read, stylised, kept steady, written with their sound.

`reading` and `writing` know files, by PyAV; `steady` blends along optical flow, by
OpenCV, and `measures` says how well; `run` has them work side by side. Both libraries
are the extra `video`. Imports `core`, `images`, `inference`.
"""
