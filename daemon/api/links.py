"""The customer's page behind a one-time link: GET shows a button and no secret, POST shows the passwords once.

Mail scanners follow links; none of them presses the button.
"""

from __future__ import annotations

import base64
import hashlib
from html import escape

from aiohttp import web

from daemon.api.deps import Faces
from daemon.api.endpoint import plain_endpoint
from daemon.domain.errors import Refused
from daemon.provisioning.access import Access

TAG = "access"
STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:40em;margin:3em auto;padding:0 1em}"
    "dt{font-weight:bold}dd{margin:0 0 1em;font-family:monospace;overflow-wrap:anywhere}"
    "button{font:inherit;padding:.5em 1.5em}"
)
_STYLE_HASH = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        f"default-src 'none'; style-src 'sha256-{_STYLE_HASH}'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "X-Robots-Tag": "noindex, nofollow",
}
GONE = {404: "the link was used already, has expired or never existed"}
_LONGEST = 200


def _page(title: str, body: str, status: int = 200) -> web.Response:
    text = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="robots" content="noindex">'
        '<meta name="viewport" content="width=device-width"><meta name="referrer" content="no-referrer">'
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body><h1>{escape(title)}</h1>{body}</body></html>"
    )
    return web.Response(status=status, text=text, content_type="text/html", headers=HEADERS)


def _gone(message: str) -> web.Response:
    return _page("This link has ended", f"<p>{escape(message)}</p><p>Ask your provider for the passwords.</p>", 404)


@plain_endpoint("GET", "/access/{token}", tag=TAG, media="text/html", refusals=GONE)
async def access_page(faces: Faces, request: web.Request) -> web.Response:
    """The page behind a one-time link, with a button."""
    secret = request.match_info["token"]
    if len(secret) > _LONGEST or not await faces.access.link_is_usable(secret):
        return _gone("It was used already, has expired or never existed.")
    return _page(
        "Access to your server",
        "<p>The passwords are shown once. Have a safe place for them at hand.</p>"
        '<form method="post"><button type="submit">Show the passwords</button></form>',
    )


@plain_endpoint("POST", "/access/{token}", tag=TAG, media="text/html", refusals=GONE)
async def use_access_page(faces: Faces, request: web.Request) -> web.Response:
    """Show the passwords, once."""
    secret = request.match_info["token"]
    if len(secret) > _LONGEST:
        return _gone("It never existed.")
    try:
        access = await faces.access.use_link(secret)
    except Refused as refused:
        return _gone(refused.message[0].upper() + refused.message[1:] + ".")
    return _page(f"Access to {access.hostname}", _facts(access))


def _facts(access: Access) -> str:
    facts = [
        ("Server", access.hostname),
        ("Address", access.address),
        ("Password of root", access.root_password),
        ("User of the panel", access.user),
        ("Password of that user", access.user_password),
    ]
    rows = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in facts if value)
    kept = (
        "<p>Your panel user was there before: its password is the one you have.</p>"
        if access.user and not access.user_password
        else ""
    )
    return f"<dl>{rows}</dl>{kept}<p>This page can't be opened again.</p>"


ENDPOINTS = (access_page, use_access_page)
