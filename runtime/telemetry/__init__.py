"""What a proxy says about its traffic and about itself. Nothing here waits, opens or reads a clock.

Failure          why an exchange did not go its way; one table turns it into the reply, the flag and the log's details
RequestSeries    one combination of labels of Istio's request metrics; observed once per exchange
TcpSeries        the same for a TCP connection
Instruments      weft's own metrics (``weft_*``), declared in one table
MetricsSnapshot  what a worker sends its supervisor, which merges and prints them
ExchangeRecord   what one access-log line is made of
"""

from runtime.telemetry.access_log import AccessLogFormat, ExchangeRecord
from runtime.telemetry.exposition import exposition, merge
from runtime.telemetry.flags import FLAGS, REPLIES, Failure
from runtime.telemetry.instruments import Instruments
from runtime.telemetry.labels import WorkloadFacts, request_labels, tcp_labels
from runtime.telemetry.metrics import MetricsSnapshot, RequestSeries, TcpSeries, TrafficMetrics

__all__ = [
    "FLAGS",
    "REPLIES",
    "AccessLogFormat",
    "ExchangeRecord",
    "Failure",
    "Instruments",
    "MetricsSnapshot",
    "RequestSeries",
    "TcpSeries",
    "TrafficMetrics",
    "WorkloadFacts",
    "exposition",
    "merge",
    "request_labels",
    "tcp_labels",
]
