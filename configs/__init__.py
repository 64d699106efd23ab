"""One experiment a file, each with a `get_config()`; style images in `styles/`."""
