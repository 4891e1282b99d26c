"""Meshes that were written for the comparison: what no example and no conformance case has."""

from __future__ import annotations

SIDECAR_LISTENERS = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: shop}
spec: {selector: {app: b}, ports: [{name: http, port: 80}, {name: http-admin, port: 9000}]}
---
apiVersion: v1
kind: Service
metadata: {name: c, namespace: far}
spec: {selector: {app: c}, ports: [{name: http, port: 80}, {name: http-admin, port: 9000}]}
---
apiVersion: v1
kind: Pod
metadata: {name: a, namespace: shop, labels: {app: a}}
spec: {containers: [{name: a, image: a}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: b, namespace: shop}
spec:
  hosts: [b]
  http:
  - match: [{uri: {prefix: /v1}, port: 9000}]
    rewrite: {uri: /}
    route: [{destination: {host: b, port: {number: 80}}}]
  - route: [{destination: {host: b, port: {number: 9000}}}]
---
apiVersion: networking.istio.io/v1
kind: Sidecar
metadata: {name: a, namespace: shop}
spec:
  workloadSelector: {labels: {app: a}}
  egress:
  - {port: {number: 9000, protocol: HTTP, name: admin}, hosts: [./b.shop.svc.cluster.local], captureMode: NONE}
  - {port: {number: 3128, protocol: HTTP_PROXY, name: proxy}, hosts: ["far/*", "./b.shop.svc.cluster.local"], captureMode: NONE}
  - {hosts: [./a.shop.svc.cluster.local, far/*]}
  outboundTrafficPolicy: {mode: REGISTRY_ONLY}
  ingress:
  - {port: {number: 8080, protocol: HTTP, name: http}, defaultEndpoint: 127.0.0.1:7070}
  - {port: {number: 8081, protocol: HTTP, name: other}, bind: 127.0.0.7, defaultEndpoint: 127.0.0.1:7071}
"""
"""A sidecar that listens where its Sidecar says: a port, a proxy of its own, and what it accepts."""

DELEGATES = """\
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {selector: {app: a}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: b, namespace: shop}
spec: {selector: {app: b}, ports: [{name: http, port: 80}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: shop}
spec:
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}}
    spec: {containers: [{name: edge, image: edge}]}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*.shop.test"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: root, namespace: shop}
spec:
  hosts: [www.shop.test]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /books}, headers: {x-plan: {exact: paid}}}]
    delegate: {name: books, namespace: teams}
    headers: {request: {add: {x-from-root: "1"}}}
  - match: [{uri: {prefix: /books}}]
    delegate: {name: books, namespace: teams}
    timeout: 5s
  - match: [{uri: {prefix: /old}}]
    redirect: {uri: /books, redirectCode: 302}
  - route: [{destination: {host: a}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: books, namespace: teams}
spec:
  http:
  - match: [{uri: {prefix: /books/new}}, {uri: {exact: /books}, method: {exact: POST}}]
    rewrite: {uri: /fresh}
    headers: {response: {set: {x-team: books}}}
    route:
    - {destination: {host: b.shop.svc.cluster.local}, weight: 100, headers: {request: {set: {x-to: b}}}}
    mirror: {host: a.shop.svc.cluster.local}
  - match: [{uri: {prefix: /books/bad}, queryParams: {q: {exact: "1"}}}]
    fault: {abort: {httpStatus: 451, percentage: {value: 100}}}
    route: [{destination: {host: b.shop.svc.cluster.local}}]
  - route: [{destination: {host: b.shop.svc.cluster.local}}]
"""
"""A VirtualService that hands parts of its host to another team's, which match, edit, mirror and fail on their own."""

ORIGINATION = """\
apiVersion: apps/v1
kind: Deployment
metadata: {name: edge, namespace: shop}
spec:
  selector: {matchLabels: {app: edge}}
  template:
    metadata: {labels: {app: edge}}
    spec: {containers: [{name: edge, image: edge}]}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: outside, namespace: shop}
spec:
  hosts: [one.outside.test, two.outside.test, three.outside.test]
  ports: [{number: 443, name: http-tls, protocol: HTTP}]
  resolution: STATIC
  location: MESH_EXTERNAL
  endpoints: [{address: 10.0.0.1}]
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: one, namespace: shop}
spec:
  host: one.outside.test
  trafficPolicy: {tls: {mode: SIMPLE, credentialName: outside-ca, sni: front.outside.test, subjectAltNames: [back.outside.test]}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: two, namespace: shop}
spec:
  host: two.outside.test
  trafficPolicy:
    tls: {mode: MUTUAL, credentialName: outside-client}
    connectionPool: {http: {h2UpgradePolicy: UPGRADE}}
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: three, namespace: shop}
spec: {host: three.outside.test, trafficPolicy: {tls: {mode: SIMPLE, insecureSkipVerify: true}}}
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: edge, namespace: shop}
spec: {selector: {app: edge}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}]}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: out, namespace: shop}
spec:
  hosts: ["*"]
  gateways: [edge]
  http:
  - match: [{uri: {prefix: /one}}]
    route: [{destination: {host: one.outside.test, port: {number: 443}}}]
  - match: [{uri: {prefix: /two}}]
    route: [{destination: {host: two.outside.test, port: {number: 443}}}]
  - route: [{destination: {host: three.outside.test, port: {number: 443}}}]
"""
"""TLS that is originated: with another server name and other names, with a client certificate over HTTP/2, and unverified."""

WRITTEN = {"sidecar listeners": SIDECAR_LISTENERS, "delegates": DELEGATES, "origination": ORIGINATION}
