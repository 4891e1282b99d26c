"""What is configured, made from the serving slice alone: ``/config_dump`` as Envoy shapes it, ``/sections`` as weft has it.

Slow for a large slice (it decodes all of it): callers run it in a thread. Keys are never in a slice; certificates are added by the caller.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from runtime.bootstrap import Bootstrap
from runtime.interception import OUTBOUND, by_port, called_where_meant
from runtime.pages.clusters import ClusterStatus, lb_endpoint, locality_of
from runtime.pages.resources import TYPE, Plain, cluster, listener, route_table
from snapshot.encode import decode, decode_section
from snapshot.index import ProvenanceRow, Slice
from snapshot.live import Credential, Svid
from snapshot.section import Cluster, Listener, Proxy, Route, RouteBlock, RouteTable, Section, VirtualHost

_REDACTED = base64.b64encode(b"[redacted]").decode()


def config_dump(
    slice_: Slice,
    bootstrap: Bootstrap,
    svid: Svid | None,
    swapped_at: float,
    *,
    credentials: Sequence[Credential] = (),
    endpoints: Sequence[ClusterStatus] | None = None,
) -> dict[str, Any]:
    """Envoy's ``/config_dump``: bootstrap, clusters, listeners, routes, secrets, and where they are given the clusters' endpoints."""
    sections = {(ref.kind, ref.name): decode_section(slice_.blobs[ref.behaviour]) for ref in slice_.index.sections}
    if bootstrap.interception != "none":
        sections |= _redirected(sections.values())
    versions = {(ref.kind, ref.name): ref.behaviour for ref in slice_.index.sections}
    since = _when(swapped_at)

    def active(key: tuple[str, str], name: str, resource: Plain) -> Plain:
        return {"version_info": versions[key], name: resource, "last_updated": since}

    found: dict[str, list[Plain]] = {"clusters": [], "listeners": [], "routes": []}
    for key, section in sections.items():
        match section:
            case Cluster():
                found["clusters"].append(active(key, "cluster", cluster(section)))
            case Listener() if (shown := listener(section, bootstrap)) is not None:
                state = active(key, "listener", shown)
                found["listeners"].append({"name": section.name, "active_state": state})
            case RouteTable():
                table = route_table(section, _hosts(section, sections))
                found["routes"].append(active(key, "route_config", table))
            case _:
                pass
    for one in _led_by_port(sections, bootstrap):
        state = active(("table", OUTBOUND), "listener", listener(one, bootstrap) or {})
        found["listeners"].append({"name": one.name, "active_state": state})
    clusters, *rest = _dumps(slice_.snapshot, found)
    dumps = [clusters, *([_endpoints(endpoints)] if endpoints is not None else []), *rest]
    return {"configs": [_bootstrap(sections, bootstrap, since), *dumps, _secrets(svid, credentials, since)]}


def _redirected(sections: Iterable[Section]) -> dict[tuple[str, str], Section]:
    """The clusters that are others where connections are redirected."""
    every = list(sections)
    clusters = {one.name: one for one in every if isinstance(one, Cluster)}
    found = called_where_meant(clusters, [one for one in every if isinstance(one, Listener)])
    return {("cluster", name): one for name, one in found.items()}


def _led_by_port(sections: dict[tuple[str, str], Section], bootstrap: Bootstrap) -> list[Listener]:
    """The listeners that only the kernel's redirection leads to."""
    own = sections.get(("table", OUTBOUND))
    if bootstrap.interception == "none" or not isinstance(own, RouteTable):
        return []
    return by_port(own, [one for one in sections.values() if isinstance(one, RouteTable) and not one.group])


def _dumps(version: str, found: dict[str, list[Plain]]) -> Iterator[Plain]:
    kinds = (
        ("ClustersConfigDump", "dynamic_active_clusters", "clusters"),
        ("ListenersConfigDump", "dynamic_listeners", "listeners"),
        ("RoutesConfigDump", "dynamic_route_configs", "routes"),
    )
    for kind, field, name in kinds:
        yield {"@type": f"{TYPE}admin.v3.{kind}", "version_info": version, field: found[name]}


def _endpoints(statuses: Sequence[ClusterStatus]) -> Plain:
    """What Envoy adds for ``include_eds``: each cluster's endpoints by locality, with their health."""
    configs = []
    for status in statuses:
        groups: dict[tuple[str, int], list[Plain]] = {}
        for host in status.hosts:
            groups.setdefault((host.locality, host.priority), []).append(lb_endpoint(host))
        shown = [
            {
                "locality": locality_of(locality),
                "lb_endpoints": members,
                **({"priority": priority} if priority else {}),
            }
            for (locality, priority), members in sorted(groups.items())
        ]
        assignment = {"@type": f"{TYPE}config.endpoint.v3.ClusterLoadAssignment", "cluster_name": status.name}
        configs.append({"endpoint_config": {**assignment, "endpoints": shown}})
    return {"@type": f"{TYPE}admin.v3.EndpointsConfigDump", "dynamic_endpoint_configs": configs}


def _bootstrap(sections: dict[tuple[str, str], Section], bootstrap: Bootstrap, since: str) -> Plain:
    proxy = sections["proxy", "proxy"]
    assert isinstance(proxy, Proxy)
    node = node_of(proxy)
    return {
        "@type": f"{TYPE}admin.v3.BootstrapConfigDump",
        "bootstrap": {"node": node, "weft": msgspec.to_builtins(bootstrap)},
        "last_updated": since,
    }


def node_of(proxy: Proxy) -> Plain:
    """Who this proxy is, as Envoy calls it."""
    workload = proxy.workload
    return {
        "id": f"{workload.name}.{workload.namespace}",
        "cluster": f"{workload.canonical_name}.{workload.namespace}",
        "metadata": msgspec.to_builtins(workload),
    }


def _secrets(svid: Svid | None, credentials: Sequence[Credential], since: str) -> Plain:
    """Certificates and what they are trusted by; of a key only that there is one."""
    secrets = []
    if svid is not None:
        issued = _when(svid.issued_at)
        secrets.append(_secret("default", issued, chain=svid.certificate_chain))
        secrets.append(_secret("ROOTCA", issued, bundle=svid.bundle))
    for one in credentials:
        if one.certificate_chain:
            secrets.append(_secret(one.name, since, chain=one.certificate_chain))
        if one.ca:
            # Istio's gateways name the two halves of one secret so.
            secrets.append(_secret(f"{one.name}-cacert" if one.certificate_chain else one.name, since, bundle=one.ca))
    return {"@type": f"{TYPE}admin.v3.SecretsConfigDump", "dynamic_active_secrets": secrets}


def _secret(name: str, since: str, *, chain: bytes = b"", bundle: bytes = b"") -> Plain:
    what: Plain = {"validation_context": {"trusted_ca": {"inline_bytes": base64.b64encode(bundle).decode()}}}
    if chain:
        public = {"inline_bytes": base64.b64encode(chain).decode()}
        what = {"tls_certificate": {"certificate_chain": public, "private_key": {"inline_bytes": _REDACTED}}}
    return {"name": name, "last_updated": since, "secret": {"@type": f"{TYPE}{_SECRET}", "name": name, **what}}


_SECRET = "extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  a type's name


def _hosts(table: RouteTable, sections: dict[tuple[str, str], Section]) -> Iterator[tuple[VirtualHost, list[Route]]]:
    for section in sections.values():
        if isinstance(section, VirtualHost) and section.table == table.name:
            blocks = (sections["routes", f"{table.name}/{section.name}/{at}"] for at in range(section.blocks))
            yield section, [route for block in blocks if isinstance(block, RouteBlock) for route in block.routes]


def section_page(slice_: Slice) -> dict[str, object]:
    """The slice that runs: its digests, and every section with the position of its source."""
    sections = []
    for ref in slice_.index.sections:
        section = decode_section(slice_.blobs[ref.behaviour])
        places = positions(slice_.blobs[ref.provenance]) if ref.provenance else {}
        source = getattr(section, "source", None)
        sections.append(
            {
                "kind": ref.kind,
                "name": ref.name,
                "digest": ref.behaviour,
                "position": places.get(str(source)),
                "positions": places,
                "section": msgspec.to_builtins(section),
            }
        )
    return {"snapshot": slice_.snapshot, "behaviour": slice_.entry.behaviour, "sections": sections}


def positions(table: bytes) -> dict[str, str]:
    """Where each source that a section names stands: its rules, routes and policies, by SourceRef."""
    return {str(row.source): str(row.position) for row in decode(table, tuple[ProvenanceRow, ...])}


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
