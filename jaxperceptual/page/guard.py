"""Who may talk to the server, and how much: before any of it is read.

A page from elsewhere, opened in the same browser, could send requests here, and read
the answers if its own name were made to resolve to this machine (DNS rebinding). So a
request must name a host that this server is known by, and come from its own page.
"""

import ipaddress
from collections.abc import Collection, Mapping
from urllib.parse import SplitResult, urlsplit

# Sent with everything: nothing is fetched from elsewhere, nobody may frame the page,
# and it has a camera if its user allows it.
HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; "
    "style-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; "
    "connect-src 'self' blob:; form-action 'none'; base-uri 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


def check(headers: Mapping[str, str], names: Collection[str]) -> str:
    """Why a request of these headers (lower case) is refused; "" if it is not.

    names: hosts that the server answers to, besides this machine's own and addresses.
    """
    host = headers.get("host", "")
    name = _split(f"//{host}").hostname or ""
    if not (_is_address(name) or name in {"localhost", *names}):
        return (
            f"This server does not answer to the name {name!r}. Open it by its "
            "address, or start it with --allow-host."
        )
    origin = headers.get("origin")
    if origin is not None and _split(origin).netloc != host:
        return "Requests from other pages are refused."
    if headers.get("sec-fetch-site", "none") not in ("same-origin", "none"):
        return "Requests from other pages are refused."
    return ""


def _split(url: str) -> SplitResult:
    """Its parts, or none of it."""
    try:
        return urlsplit(url)
    except ValueError:
        return urlsplit("")


def _is_address(name: str) -> bool:
    """Numbers cannot be made to point elsewhere, as names can."""
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
