"""Records -> OpenTelemetry spans, made afterwards, off the request's way.

POST /predict
├── decode
├── wait
└── infer

Names and attributes: https://opentelemetry.io/docs/specs/semconv/http/http-spans/#http-server
"""

import os
import threading
from collections.abc import Sequence
from http import HTTPMethod, HTTPStatus

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.semconv.attributes.error_attributes import ERROR_TYPE
from opentelemetry.semconv.attributes.http_attributes import HTTP_REQUEST_METHOD, HTTP_RESPONSE_STATUS_CODE, HTTP_ROUTE
from opentelemetry.semconv.attributes.url_attributes import URL_PATH, URL_SCHEME
from opentelemetry.trace import Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from serving.records import Record
from serving.telemetry.routes import OTHER

SERVICE = "tintype"  # unless OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES says otherwise
QUEUE = 8192  # spans that wait for the collector, unless OTEL_BSP_MAX_QUEUE_SIZE says otherwise: ours come in bursts
_QUEUE_NAME = "OTEL_BSP_MAX_QUEUE_SIZE"
_METHODS = frozenset(HTTPMethod)
_SECOND = 1_000_000_000  # nanoseconds


class Spans:
    """A tracer of our own, with the sampler, the endpoint and the headers of OpenTelemetry's environment variables."""

    def __init__(self) -> None:
        resource = Resource.create({SERVICE_NAME: SERVICE}).merge(OTELResourceDetector().detect())
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        queue = None if os.environ.get(_QUEUE_NAME) else QUEUE
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_queue_size=queue))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._parents = TraceContextTextMapPropagator()

    def add(self, records: Sequence[Record]) -> None:
        """Make the spans of requests that were answered; they are sent by a thread of OpenTelemetry's."""
        for record in records:
            self._add(record)

    def close(self, seconds: float) -> None:
        """Send what waits; what a collector does not take within `seconds` is lost."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces-close", daemon=True)
        closing.start()
        closing.join(seconds)

    def _add(self, record: Record) -> None:
        start = int(record.started * _SECOND)
        end = start + int(record.total * _SECOND)
        parent = self._parents.extract({"traceparent": record.traceparent}) if record.traceparent else Context()
        span = self._tracer.start_span(_name(record), parent, SpanKind.SERVER, _attributes(record), start_time=start)
        if span.is_recording():
            if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
                span.set_status(StatusCode.ERROR)
            self._add_stages(span, record, start, end)
        span.end(end)

    def _add_stages(self, span: Span, record: Record, start: int, end: int) -> None:
        """The stages, one after the other, up to the end: what is left before them went by with receiving."""
        stages = {"decode": record.decode, "wait": record.wait, "infer": record.infer}
        context = set_span_in_context(span, Context())
        begin = max(start, end - int(sum(stages.values()) * _SECOND))
        for name, seconds in stages.items():
            if seconds:
                over = min(end, begin + int(seconds * _SECOND))
                self._tracer.start_span(name, context, start_time=begin).end(over)
                begin = over


def _name(record: Record) -> str:
    method = record.method if record.method in _METHODS else "HTTP"
    return method if record.route == OTHER else f"{method} {record.route}"


def _attributes(record: Record) -> dict[str, str | int]:
    known = record.method in _METHODS
    attributes: dict[str, str | int] = {
        HTTP_REQUEST_METHOD: record.method if known else "_OTHER",
        HTTP_RESPONSE_STATUS_CODE: record.status,
        URL_PATH: record.path,
        URL_SCHEME: "http",
        "tintype.request_id": record.request_id,
        "tintype.outcome": record.outcome,
    }
    if record.route != OTHER:
        attributes[HTTP_ROUTE] = record.route
    if record.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        attributes[ERROR_TYPE] = record.outcome
    if record.model:
        attributes["tintype.model"] = record.model
        attributes["tintype.version"] = record.version
        attributes["tintype.variant"] = record.variant
        attributes["tintype.pictures"] = record.pictures
        attributes["tintype.batch"] = record.batch
    return attributes
