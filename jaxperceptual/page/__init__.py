"""A page in the browser for f_W: photos, styles, mixtures, enlarging.

`studio` makes pictures of uploads, one at a time; `server` is what the page talks to,
and `guard` keeps others from talking to it; `static/` is the page itself, which asks
nothing of any other host; `site` writes it for any web server, with the network in the
browser (`alone/`). Starlette and uvicorn are the extra `page`. Imports `core`,
`export`, `images`, `inference`, `networks`.
"""
