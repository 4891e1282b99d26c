"""The proxy's own pages, as one table per port: admin (15000), metrics (15090), merged metrics and health (15020), readiness (15021).

What is only read is answered to GET; what acts is asked for with POST, and never by a browser on behalf of another site.
"""

from __future__ import annotations

from runtime.pages import draining, envoys, names, owns
from runtime.pages.asked import Asked, Page, text_answer
from runtime.service import Handler, ServiceRequest, ServiceResponse

ADMIN: dict[str, Page] = {
    "/ready": envoys.ready,
    "/server_info": envoys.server_info,
    "/snapshot": owns.snapshot,
    "/sections": owns.sections,
    "/explain": owns.explain,
    "/connections": owns.connections,
    "/dns": names.dns,
    "/config_dump": envoys.config_dump,
    "/listeners": envoys.listeners,
    "/clusters": envoys.clusters,
    "/certs": envoys.certs,
    "/stats": envoys.stats,
    "/stats/prometheus": envoys.prometheus,
    "/memory": envoys.memory,
    "/logging": envoys.levels,
}
ACTIONS: dict[str, Page] = {
    "/logging": draining.guarded(envoys.set_levels),
    "/healthcheck/fail": draining.guarded(draining.fail_health),
    "/healthcheck/ok": draining.guarded(draining.restore_health),
    "/drain_listeners": draining.guarded(draining.drain_listeners),
    "/upgrade": draining.guarded(draining.upgrade),
    "/quitquitquit": draining.guarded(draining.quit_gracefully),
}
"""What may be asked for on the admin port with POST."""

METRICS: dict[str, Page] = {"/stats/prometheus": envoys.prometheus}
MERGED: dict[str, Page] = {
    "/stats/prometheus": envoys.merged,
    "/metrics": envoys.merged,
    "/healthz/ready": envoys.ready,
}
READINESS: dict[str, Page] = {"/healthz/ready": envoys.ready}


def pages(table: dict[str, Page], asked: Asked, actions: dict[str, Page] | None = None) -> Handler:
    """A handler that answers GET and HEAD from a table of pages, POST from a table of actions, and lists both at ``/``."""
    acting = actions or {}
    commands = _listed(table, acting)

    async def answer(request: ServiceRequest) -> ServiceResponse:
        if request.method == "POST" and request.path in acting:
            if _from_a_browser(request):
                return text_answer("a page of another site may not act on this proxy\n", status=403)
            return await acting[request.path](asked, request)
        if request.method not in ("GET", "HEAD"):
            return text_answer(f"Method {request.method} not allowed, GET required.\n", status=405)
        if request.path in acting and request.path not in table:
            return text_answer(f"Method {request.method} not allowed, POST required.\n", status=405)
        page = table.get(request.path)
        if page is not None:
            return await page(asked, request)
        if request.path in ("/", "/help"):
            return text_answer(f"admin commands are:\n{commands}")
        return text_answer(f"invalid path. admin commands are:\n{commands}", status=404)

    return answer


def _listed(table: dict[str, Page], acting: dict[str, Page]) -> str:
    """Every page with the first sentence of what it says of itself, as Envoy lists its own."""
    named = [*table.items(), *((f"{path} (POST)", page) for path, page in acting.items())]
    return "".join(f"  {name}: {_first_sentence(page.__doc__ or '')}\n" for name, page in sorted(named))


def _first_sentence(text: str) -> str:
    return " ".join(text.split()).split(". ", 1)[0].rstrip(".")


def _from_a_browser(request: ServiceRequest) -> bool:
    """Browsers name the site whose script asks. Without this any page that an operator opens could act on a proxy on loopback."""
    return any(name in (b"origin", b"sec-fetch-site") for name, _ in request.headers)
