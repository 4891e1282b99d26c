"""Routes to hosts, ports, subsets and delegates that do not exist: their requests would be answered 503."""

from __future__ import annotations

from collections.abc import Iterator

from compiler.analysis.meant_hosts import advice
from compiler.catalog import diagnostic
from compiler.delegates import delegate_of, merged_rules
from compiler.diagnostic import Diagnostic, Span
from compiler.hosts import full_host
from compiler.link.view import View, Views
from compiler.mesh import Mesh, MeshService
from compiler.resources.cursor import Cursor, Located
from compiler.resources.meta import Meta
from compiler.resources.virtual_service import DelegateRef, HttpRule, Target, VirtualService, targets_of
from compiler.resources.written import Written


def check(mesh: Mesh) -> Iterator[Diagnostic]:
    """IST0101 for what is missing, IST0112 where a service has several ports and the destination names none, IST0130 for delegates' dead rules."""
    views = Views(mesh)
    for service in mesh.virtual_services:
        view = views.of(service.meta.namespace)
        for target in targets_of(service):
            yield from _target(view, service, target)
        for leaving in service.http:
            if leaving.delegate is not None:
                yield from _delegate(mesh, service, leaving, leaving.delegate)
    for item in mesh.written("VirtualService"):
        for rule in item.spec.each("http"):
            mirrors = [rule.at("mirror"), *(mirror.at("destination") for mirror in rule.each("mirrors"))]
            for mirror in mirrors:
                if mirror is not None:
                    yield from _mirror(views.of(item.meta.namespace), item, mirror)


def _delegate(mesh: Mesh, owner: VirtualService, rule: HttpRule, ref: DelegateRef) -> Iterator[Diagnostic]:
    delegate = delegate_of(owner, ref, mesh.delegates)
    if delegate is None:
        named = f"{ref.namespace}/{ref.name}"
        message = f"delegate {named} is no VirtualService without hosts that {owner.meta.namespace} can see"
        yield diagnostic("IST0101", message, ref.span, resource=owner.meta.id)
        return
    held = len(merged_rules(rule, delegate, owner.meta.namespace))
    if held < len(delegate.http):
        message = (
            f"{len(delegate.http) - held} of {len(delegate.http)} rules of delegate {ref.namespace}/{ref.name} take no request: "
            f"what they match is not part of what {rule.source.path} matches"
        )
        yield diagnostic("IST0130", message, ref.span, resource=owner.meta.id)


def _target(view: View, owner: VirtualService, target: Target) -> Iterator[Diagnostic]:
    host = full_host(target.host.value, owner.meta.namespace)
    service = view.services.get(host)
    if service is None:
        seen = f"is no Service and no ServiceEntry that {owner.meta.namespace} can see"
        message = f"host `{target.host.value}` ({host}) {seen}{advice(view.mesh, host, owner.meta.namespace)}"
        yield diagnostic("IST0101", message, target.host.span, resource=owner.meta.id)
        yield from _undefined(view.mesh, owner.meta, host, target.subset)
        return
    yield from _port(owner.meta, target.port, target.span, service)
    subset = target.subset
    if subset is not None and subset.value:
        known = view.rule(service).subsets
        if subset.value not in known:
            defined = f"it has {', '.join(sorted(known))}" if known else "no DestinationRule defines one for it"
            message = f"subset `{subset.value}` of {host} is not defined; {defined}"
            yield diagnostic("IST0101", message, subset.span, resource=owner.meta.id)


def _port(owner: Meta, number: int, span: Span, service: MeshService) -> Iterator[Diagnostic]:
    numbers = ", ".join(str(port.number) for port in service.ports) or "none"
    if number and service.port(number) is None:
        message = f"{service.host} has no port {number}; it has {numbers}"
        yield diagnostic("IST0101", message, span, resource=owner.id)
    elif not number and len(service.ports) > 1:
        message = f"{service.host} has ports {numbers}; say which one with `port.number`"
        yield diagnostic("IST0112", message, span, resource=owner.id)


def _mirror(view: View, item: Written, mirror: Cursor) -> Iterator[Diagnostic]:
    written = mirror.located("host")
    if written is None:
        return
    host = full_host(written.value, item.meta.namespace)
    service = view.services.get(host)
    port = mirror.at("port")
    number = port.number("number") if port else 0
    if service is None:
        seen = f"is no Service and no ServiceEntry that {item.meta.namespace} can see"
        message = f"mirror host `{written.value}` ({host}) {seen}{advice(view.mesh, host, item.meta.namespace)}"
        yield diagnostic("IST0101", message, written.span, resource=item.meta.id)
    else:
        yield from _port(item.meta, number, mirror.span, service)
    yield from _undefined(view.mesh, item.meta, host, mirror.located("subset"))


def _undefined(mesh: Mesh, owner: Meta, host: str, subset: Located | None) -> Iterator[Diagnostic]:
    """A subset that no DestinationRule for its host defines, where the host itself is not in Git or the destination is a mirror."""
    rules = [rule for rule in mesh.destination_rules if full_host(rule.host.value, rule.meta.namespace) == host]
    known = {defined.name for rule in rules for defined in rule.subsets}
    if rules and subset is not None and subset.value and subset.value not in known:
        message = f"subset `{subset.value}` of {host} is not defined; it has {', '.join(sorted(known)) or 'none'}"
        yield diagnostic("IST0101", message, subset.span, resource=owner.id)
