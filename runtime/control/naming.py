"""Secure naming on registration: who may stand for which workload is what the published snapshot says, never what the registrant says.

A registration is granted where the slice that the claimed namespace and labels select belongs to the caller's identity. What is kept
are the labels of that slice's entry: a label that Git does not know would let a workload slip into another service's endpoints.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from runtime.control.interface import Reason
from runtime.control.refusal import Refused
from snapshot.encode import FormatError, decode, decode_section, digest
from snapshot.index import Selector, SliceEntry, SliceIndex, SnapshotIndex, select
from snapshot.live import RegisteredWorkload
from snapshot.section import Proxy, Workload

PROXIES = ("sidecar", "egress", "ingress")
"""A claim does not say what its proxy is called; labels that fit a sidecar's slice are a sidecar's."""

ReadBlob = Callable[[str], bytes]
"""Reads one blob by its sha256; the bytes need not be trusted, they are checked here."""


class Naming(msgspec.Struct, frozen=True):
    """The workloads of one published snapshot: its index, and per slice name who its proxy is."""

    snapshot: str
    index: SnapshotIndex
    workloads: dict[str, Workload]

    def grant(self, claim: RegisteredWorkload, identity: str) -> RegisteredWorkload:
        """The registration as it may stand: identity and labels set, claim checked; raises Refused (``naming``, ``identity``)."""
        labels = dict(claim.labels)
        if len(labels) != len(claim.labels):
            raise Refused(Reason.NAMING, f"{claim.namespace}/{claim.name} claims a label twice")
        selectors = (Selector(namespace=claim.namespace, labels=claim.labels, proxy=proxy) for proxy in PROXIES)
        entry = next((found for selector in selectors if (found := select(self.index, selector))), None)
        workload = self.workloads.get(entry.name) if entry else None
        if entry is None or workload is None:
            raise Refused(
                Reason.NAMING,
                f"the published snapshot knows no workload of namespace {claim.namespace} with these labels: publish it first",
            )
        if workload.identity != identity:
            raise Refused(
                Reason.IDENTITY, f"workload {entry.name} belongs to {workload.identity}; this caller is {identity}"
            )
        return msgspec.structs.replace(claim, identity=identity, labels=entry.labels)


def grant(namings: Sequence[Naming], claim: RegisteredWorkload, identity: str) -> RegisteredWorkload:
    """The registration as any channel's snapshot grants it; raises Refused, of several refusals the last."""
    refused = Refused(Reason.UNAVAILABLE, "nothing is published yet, so no workload is known: publish a snapshot first")
    for naming in namings:
        try:
            return naming.grant(claim, identity)
        except Refused as error:
            refused = error
    raise refused


def load_naming(index: SnapshotIndex, snapshot: str, read_blob: ReadBlob, previous: Naming | None) -> Naming:
    """Reads who each sidecar slice belongs to. Blocks (it reads blobs); unchanged slices are taken over. Raises FormatError."""
    known = {entry.name: entry.index for entry in previous.index.slices} if previous else {}
    workloads = {}
    for entry in index.slices:
        if previous is not None and known.get(entry.name) == entry.index:
            workloads[entry.name] = previous.workloads[entry.name]
        else:
            workloads[entry.name] = _workload(entry, read_blob)
    return Naming(snapshot=snapshot, index=index, workloads=workloads)


def _workload(entry: SliceEntry, read_blob: ReadBlob) -> Workload:
    sections = decode(_checked(read_blob, entry.index), SliceIndex).sections
    proxies = [ref for ref in sections if ref.kind == "proxy"]
    if len(proxies) != 1:
        raise FormatError("undecodable", f"slice {entry.name} has {len(proxies)} proxy sections, not one")
    section = decode_section(_checked(read_blob, proxies[0].behaviour))
    if not isinstance(section, Proxy):
        raise FormatError("undecodable", f"slice {entry.name}: its proxy section is a {type(section).__name__}")
    return section.workload


def _checked(read_blob: ReadBlob, name: str) -> bytes:
    raw = read_blob(name)
    if digest(raw) != name:
        raise FormatError("digest", f"blob {name[:12]} has other bytes than its name says")
    return raw
