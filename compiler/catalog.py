"""Every code that a diagnostic may carry: one ordered table, codes never reused, never renumbered.

Where Istio's analyzer has a code for the same condition, that code and its name are used (IST####), so that what a team knows about
``istioctl analyze`` holds here. Our own codes are WFT####, by range:

    WFT0001-0099    loading and schema: the file, the YAML, the object's shape
    WFT0100-0199    resources, mesh and analysis: what objects say about each other
    WFT0200-0299    link: what a schema accepts and this version does not carry yet
    WFT0300-0399    guardrails: the organisation's own rules, and waivers

To add a code, add a row in its range's order and a good and a bad case with it.
"""

from __future__ import annotations

from compiler.analysis_codes import ISTIO_CODES, OWN_CODES
from compiler.code import Code
from compiler.diagnostic import Diagnostic, Related, ResourceId, Severity, Span
from compiler.guardrail_codes import GUARDRAIL_CODES

NOTE, WARNING, ERROR = Severity.NOTE, Severity.WARNING, Severity.ERROR


CATALOG: tuple[Code, ...] = (
    # --- loading and schema ------------------------------------------------------------------------------------------------------
    Code(
        "IST0106",
        "SchemaValidationError",
        ERROR,
        "A resource does not have the shape that its kind asks for.",
        "Compare the field with the reference of its kind.",
    ),
    Code(
        "WFT0001",
        "YamlSyntaxError",
        ERROR,
        "The text is not YAML.",
        "Correct the text at the position; the documents after the next `---` are still checked.",
    ),
    Code(
        "WFT0002",
        "DuplicateKey",
        ERROR,
        "A mapping has the same key twice; which one would win differs between tools.",
        "Remove one of the two.",
    ),
    Code(
        "WFT0003",
        "NotText",
        ERROR,
        "The file holds bytes that are not UTF-8 text, or control characters that YAML forbids.",
        "Save the file as UTF-8, or rename it if it is not configuration.",
    ),
    Code("WFT0004", "FileTooLarge", ERROR, "The file is larger than 16 MiB.", "Split the file into several."),
    Code(
        "WFT0005",
        "DocumentTooComplex",
        ERROR,
        "A document nests deeper, or expands through aliases to more nodes, than any real configuration does.",
        "Write the repeated parts out, or split the document.",
    ),
    Code(
        "WFT0006",
        "UnreadableValue",
        ERROR,
        "A value has no form in JSON: an unknown tag, an alias to nothing, a number that is not finite, a key that is not a scalar.",
        "Write the value as plain YAML; quote it if it is a string.",
    ),
    Code(
        "WFT0007",
        "LinkRefused",
        ERROR,
        "A symbolic link leads out of the tree, to a folder, or to nothing; or what has a file's name is a pipe or a device.",
        "Put the file itself there.",
    ),
    Code(
        "WFT0008",
        "SubmoduleRefused",
        ERROR,
        "A Git submodule stands where configuration is read; its content is not part of this commit.",
        "Copy the files into this repository, or move the submodule into a hidden folder.",
    ),
    Code(
        "WFT0009",
        "NotAResource",
        NOTE,
        "A document has next to nothing of a resource (apiVersion, kind, metadata, spec), so it is not configuration of the mesh.",
        "Move it to a hidden folder to silence this note.",
    ),
    Code(
        "WFT0010",
        "IncompleteResource",
        ERROR,
        "A resource lacks apiVersion, kind or metadata.name.",
        "Add the missing field.",
    ),
    Code(
        "WFT0011",
        "UnknownKind",
        NOTE,
        "weft does not read resources of this kind; they are skipped.",
        "Leave it to the tool that reads it; if it was meant for the mesh, correct kind and apiVersion.",
    ),
    Code(
        "WFT0012",
        "UnknownVersion",
        ERROR,
        "The kind is known, but not in this version of its API.",
        "Change apiVersion to one that is served.",
    ),
    Code(
        "WFT0013",
        "BooleanKey",
        WARNING,
        "An unquoted key such as y, on or no is a boolean in Kubernetes YAML, so the key becomes `true` or `false`.",
        "Quote the key.",
    ),
    Code(
        "WFT0014",
        "MisspeltKind",
        ERROR,
        "The kind or the API group is nearly one that weft reads; skipping the resource as unknown would drop what it says.",
        "Correct the spelling.",
    ),
    # --- resources, mesh and analysis --------------------------------------------------------------------------------------------
    Code(
        "IST0101",
        "ReferencedResourceNotFound",
        ERROR,
        "A resource being referred to does not exist.",
        "Correct the name, or add the resource.",
    ),
    Code(
        "WFT0100",
        "DefinedTwice",
        ERROR,
        "The same kind, namespace and name is defined twice in the repository.",
        "Keep one of the two, or rename one.",
    ),
    Code(
        "WFT0102",
        "OnlyTheNameDecides",
        WARNING,
        "Two resources compete, and nothing but their names says which one holds.",
        "Remove one, or give one the annotation `weft.dev/priority`; the higher number holds.",
    ),
    Code(
        "WFT0103",
        "PatternNotUsable",
        ERROR,
        "A regular expression or a condition cannot be compiled, so no proxy could load it.",
        "Write it in RE2's syntax, without look-around and back-references.",
    ),
    Code(
        "WFT0110",
        "RouteNotAttached",
        WARNING,
        "A parentRef of a route comes to nothing: the parent does not exist, or does not take the route.",
        "Correct the parentRef, or the parent's allowedRoutes and hostname.",
    ),
    Code(
        "WFT0111",
        "BackendNotUsable",
        WARNING,
        "A backend does not exist or must not be referred to; its share of requests is answered 500.",
        "Correct the backendRef, or add a ReferenceGrant in the backend's namespace.",
    ),
    Code(
        "WFT0112",
        "ListenerNotServed",
        WARNING,
        "A listener of a Gateway conflicts with another or refers to what it must not use; it is left out.",
        "Change the listener's port, hostname or certificate.",
    ),
    Code(
        "IST0109",
        "ConflictingMeshGatewayVirtualServiceHosts",
        ERROR,
        "Several VirtualServices route one host in the mesh; only the first holds.",
        "Merge them into one VirtualService.",
    ),
    Code(
        "IST0112",
        "VirtualServiceDestinationPortSelectorRequired",
        ERROR,
        "A destination has several ports and the route does not say which.",
        "Add `port.number` to the destination.",
    ),
    Code(
        "IST0116",
        "DeploymentAssociatedToMultipleServices",
        WARNING,
        "Services disagree on what one port of a workload speaks.",
        "Give the ports the same protocol, or different target ports.",
    ),
    Code(
        "IST0118",
        "PortNameIsNotUnderNamingConvention",
        NOTE,
        "A port does not say its protocol.",
        "Name the port `<protocol>[-suffix]`, or set appProtocol.",
    ),
    Code(
        "IST0130",
        "VirtualServiceUnreachableRule",
        WARNING,
        "A rule is never used, because an earlier one takes its requests.",
        "Move the rule up, or remove it.",
    ),
    Code(
        "IST0131",
        "VirtualServiceIneffectiveMatch",
        NOTE,
        "A match repeats one of an earlier rule.",
        "Remove the match.",
    ),
    Code(
        "IST0132",
        "VirtualServiceHostNotFoundInGateway",
        WARNING,
        "A VirtualService has a host that its gateway does not serve.",
        "Add the host to the gateway's server, or correct it.",
    ),
    Code(
        "IST0145",
        "ConflictingGateways",
        WARNING,
        "Gateways with the same selector have servers with the same port and host.",
        "Keep one of the servers.",
    ),
    Code(
        "IST0150",
        "ExternalNameServiceTypeInvalidPortName",
        WARNING,
        "A port of an ExternalName service is TCP or does not say its protocol.",
        "Name the port for its protocol, such as `https` or `tls`.",
    ),
    Code(
        "IST0173",
        "DestinationRuleSubsetNotSelectPods",
        WARNING,
        "A subset's labels select no workload of its service.",
        "Correct the labels, or add the workload.",
    ),
    Code(
        "IST0174",
        "UnknownDestinationRuleHost",
        WARNING,
        "A DestinationRule's host is not in the mesh.",
        "Correct the host, or add the Service or ServiceEntry.",
    ),
    *ISTIO_CODES,
    *OWN_CODES,
    # --- link --------------------------------------------------------------------------------------------------------------------
    Code(
        "WFT0200",
        "NotCarriedYet",
        WARNING,
        "The configuration is valid and this version of weft does not carry that part; publishing refuses it.",
        "Remove the part, or publish the rest with `--allow-partial`.",
    ),
    # --- guardrails and waivers --------------------------------------------------------------------------------------------------
    *GUARDRAIL_CODES,
)

MAX_MESSAGE = 1000
"""Characters; a message may repeat what a file says, which may be megabytes."""

BY_CODE: dict[str, Code] = {row.code: row for row in CATALOG}


def diagnostic(
    code: str,
    message: str,
    span: Span,
    *,
    resource: ResourceId | None = None,
    related: tuple[Related, ...] = (),
    help: str | None = None,  # noqa: A002  the field's name in every output format
    severity: Severity | None = None,
) -> Diagnostic:
    """Makes a finding of a catalogued code; severity and help are the catalog's where not given. Raises KeyError for an unknown code."""
    row = BY_CODE[code]
    return Diagnostic(
        code=code,
        severity=row.severity if severity is None else severity,
        message=message if len(message) <= MAX_MESSAGE else f"{message[:MAX_MESSAGE]}...",
        span=span,
        resource=resource,
        related=related,
        help=row.help if help is None else help,
    )
