"""Which RequestAuthentications hold for a proxy, and where they are asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from compiler.link.authorization import holds_for
from compiler.mesh import Mesh
from compiler.resources.cursor import Labels
from snapshot.section import FilterChain, HttpChain, Listener, Section, TokenSet

TOKENS = "tokens"
"""The name of a slice's token set; a slice that asks for no tokens has none."""


def guarded(
    sections: Iterable[Section], mesh: Mesh, namespace: str, labels: Labels, *, gateway: str = ""
) -> Iterator[Section]:
    """The sections of what a proxy lets in, where tokens are asked for with the rules for them.

    ``gateway`` is the Gateway API Gateway that the proxy stands for. The rules of all policies hold together, sorted by issuer (Istio).
    """
    rules = [
        rule
        for policy in mesh.token_policies
        if holds_for(mesh, policy.meta.namespace, policy.selector, policy.targets, namespace, labels, gateway)
        for rule in policy.rules
    ]
    if not rules:
        yield from sections
        return
    yield TokenSet(TOKENS, tuple(sorted(rules, key=lambda rule: rule.issuer)))
    for section in sections:
        if isinstance(section, Listener) and section.direction != "outbound":
            yield msgspec.structs.replace(section, chains=tuple(map(_asking, section.chains)))
        else:
            yield section


def _asking(chain: FilterChain) -> FilterChain:
    if not isinstance(chain.network, HttpChain):
        return chain
    return msgspec.structs.replace(chain, network=msgspec.structs.replace(chain.network, tokens=TOKENS))
