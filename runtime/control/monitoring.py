"""The control plane's monitoring port: ``/ready`` and ``/metrics``, plain text, meant for loopback."""

from __future__ import annotations

from collections.abc import Callable

from runtime.control.metrics import Values, expose
from runtime.service import Handler, ServiceRequest, ServiceResponse


def monitoring(values: Callable[[], Values], problem: Callable[[], str]) -> Handler:
    """A handler of the two pages. ``problem`` says why the control plane cannot do its work now, "" where it can."""

    async def answer(request: ServiceRequest) -> ServiceResponse:
        match request.path:
            case "/metrics" | "/stats/prometheus":
                headers = ((b"content-type", b"text/plain; version=0.0.4; charset=utf-8"),)
                return ServiceResponse(headers=headers, body=expose(values()))
            case "/ready":
                said = problem()
                return ServiceResponse(status=503 if said else 200, body=f"{said or 'ready'}\n".encode())
            case _:
                return ServiceResponse(status=404, body=b"pages: /ready /metrics\n")

    return answer
