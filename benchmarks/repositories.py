"""Mesh repositories of any size, made the same way every time: what the compiler's speed is measured on.

Every service has a Service and a Deployment, every second a VirtualService, two of five a DestinationRule; twenty share a namespace, which
has an AuthorizationPolicy: three resources per service in all, one file per service, as teams keep them. Services are exported to their
own namespace, as large meshes have it, or to all, as Istio has it where nobody says otherwise; then a Sidecar per namespace can say what is
known there, as Istio advises.
"""

from __future__ import annotations

from pathlib import Path

SERVICES_PER_NAMESPACE = 20
DOMAIN = "svc.cluster.local"


def write_repository(folder: Path, services: int, *, exported: bool = False, sidecars: bool = False) -> int:
    """Writes the files of so many services below a folder; returns how many resources they hold.

    ``exported`` shows each to all namespaces; with ``sidecars`` each namespace says that it knows its own services alone.
    """
    resources = 0
    for number in range(services):
        documents = _service(number, exported=exported)
        if number % SERVICES_PER_NAMESPACE == 0:
            shared = _shared(_namespace(number), sidecars=sidecars)
            _write(folder / _namespace(number) / "namespace.yaml", shared)
            resources += len(shared)
        _write(service_file(folder, number), documents)
        resources += len(documents)
    return resources


def service_file(folder: Path, number: int) -> Path:
    """The file of one service: changing it is a change of one resource."""
    return folder / _namespace(number) / f"service-{number}.yaml"


def _write(path: Path, documents: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("---\n".join(documents), "utf-8")


def _namespace(number: int) -> str:
    return f"team-{number // SERVICES_PER_NAMESPACE}"


def _service(number: int, *, exported: bool) -> list[str]:
    name, namespace = f"service-{number}", _namespace(number)
    documents = [_SERVICE, _DEPLOYMENT]
    if number % 2 == 0:
        documents.append(_VIRTUAL_SERVICE)
    if number % 5 in (0, 2):
        documents.append(_DESTINATION_RULE)
    if exported:
        documents = [text.replace(_SERVICE_SCOPE, "").replace(_RULE_SCOPE, "") for text in documents]
    return [text.format(name=name, namespace=namespace, host=f"{name}.{namespace}.{DOMAIN}") for text in documents]


def _shared(namespace: str, *, sidecars: bool) -> list[str]:
    texts = (_NAMESPACE, _POLICY, _SIDECAR) if sidecars else (_NAMESPACE, _POLICY)
    return [text.format(namespace=namespace) for text in texts]


_SERVICE_SCOPE = """\
  annotations:
    networking.istio.io/exportTo: "."
"""
_RULE_SCOPE = """\
  exportTo: ["."]
"""

_NAMESPACE = """\
apiVersion: v1
kind: Namespace
metadata:
  name: {namespace}
  labels:
    istio-injection: enabled
"""

_POLICY = """\
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata:
  name: callers
  namespace: {namespace}
spec:
  action: ALLOW
  rules:
  - from:
    - source:
        namespaces: ["{namespace}"]
    to:
    - operation:
        methods: ["GET", "POST", "PUT", "DELETE"]
        paths: ["/*"]
"""

_SIDECAR = """\
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata:
  name: default
  namespace: {namespace}
spec:
  egress:
  - hosts:
    - ./*
"""

_SERVICE = """\
# What {name} offers to the mesh.
apiVersion: v1
kind: Service
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: {name}
    team: {namespace}
  annotations:
    networking.istio.io/exportTo: "."
spec:
  selector:
    app: {name}
  ports:
  - name: http
    port: 80
    targetPort: 8080
  - name: grpc
    port: 9000
    targetPort: 9000
"""

_DEPLOYMENT = """\
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {name}
  namespace: {namespace}
  labels:
    app: {name}
spec:
  replicas: 2
  selector:
    matchLabels:
      app: {name}
  template:
    metadata:
      labels:
        app: {name}
        version: v1
    spec:
      serviceAccountName: {name}
      containers:
      - name: app
        image: registry.example/{name}:1.4.2
        ports:
        - name: http
          containerPort: 8080
        - name: grpc
          containerPort: 9000
"""

_VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata:
  name: {name}
  namespace: {namespace}
spec:
  hosts:
  - {host}
  exportTo: ["."]
  http:
  - name: beta
    match:
    - headers:
        x-beta:
          exact: "1"
      uri:
        prefix: /api/
    timeout: 3s
    retries:
      attempts: 2
      perTryTimeout: 1s
      retryOn: 5xx,connect-failure
    route:
    - destination:
        host: {host}
        port:
          number: 80
  - name: everything
    timeout: 5s
    route:
    - destination:
        host: {host}
        port:
          number: 80
      headers:
        request:
          set:
            x-team: {namespace}
"""

_DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata:
  name: {name}
  namespace: {namespace}
spec:
  host: {host}
  exportTo: ["."]
  trafficPolicy:
    loadBalancer:
      simple: LEAST_REQUEST
    connectionPool:
      tcp:
        maxConnections: 100
  subsets:
  - name: v1
    labels:
      version: v1
"""
