"""One admin port, asked over HTTP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import click
import httpx

LIMIT_S = 10.0


def read_page(address: str, path: str, query: Mapping[str, str] | None = None) -> Any:
    """A page as plain data; raises ClickException where the proxy does not answer, or not with JSON."""
    text = read_text(address, path, query)
    try:
        return json.loads(text)
    except ValueError:
        raise click.ClickException(f"{address}{path} is not JSON: is this a proxy's admin port?") from None


def read_text(
    address: str, path: str, query: Mapping[str, str] | None = None, *, method: str = "GET", token: str = ""
) -> str:
    """A page as text; raises ClickException with the proxy's own sentence where it refuses. An address that begins with a slash is a Unix
    socket's path; ``token`` is what pages that act want of who comes over a port."""
    over_socket = address.startswith("/")
    transport = httpx.HTTPTransport(uds=address if over_socket else None)
    url = f"http://{'admin' if over_socket else address}{path}"
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with httpx.Client(transport=transport, timeout=LIMIT_S, trust_env=False, follow_redirects=False) as client:
            reply = client.request(method, url, params=query, headers=headers)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise click.ClickException(
            f"{address} does not answer ({error or type(error).__name__}); the admin port is `ports.admin` of the "
            "bootstrap, 15000 unless it says otherwise"
        ) from None
    if reply.status_code != httpx.codes.OK:
        raise click.ClickException(f"{address}{path}: {reply.text.strip() or reply.status_code}")
    return reply.text


def dumped(address: str, kind: str, fields: Mapping[str, str]) -> list[dict[str, Any]]:
    """The resources of one part of ``/config_dump`` (``ClustersConfigDump`` ...). ``fields`` are its lists, and where an item keeps its resource."""
    found = []
    for part in read_page(address, "/config_dump").get("configs", ()):
        if part.get("@type", "").rpartition(".")[2] != kind:
            continue
        for field, inner in fields.items():
            for item in part.get(field, ()):
                resource = item
                for step in inner.split("."):
                    resource = resource.get(step, {})
                if resource:
                    found.append(resource)
    return found
