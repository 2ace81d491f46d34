"""Sparkplug B's payload by protobuf's own library, from the field numbers that are published."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

__all__ = ["payload_class"]

_FIELD = descriptor_pb2.FieldDescriptorProto
_TYPES = {
    "string": _FIELD.TYPE_STRING, "uint64": _FIELD.TYPE_UINT64, "uint32": _FIELD.TYPE_UINT32,
    "bool": _FIELD.TYPE_BOOL, "float": _FIELD.TYPE_FLOAT, "double": _FIELD.TYPE_DOUBLE,
    "bytes": _FIELD.TYPE_BYTES, "message": _FIELD.TYPE_MESSAGE,
}  # fmt: skip
_METRIC = (
    (1, "name", "string"), (2, "alias", "uint64"), (3, "timestamp", "uint64"),
    (4, "datatype", "uint32"), (5, "is_historical", "bool"), (6, "is_transient", "bool"),
    (7, "is_null", "bool"), (10, "int_value", "uint32"), (11, "long_value", "uint64"),
    (12, "float_value", "float"), (13, "double_value", "double"), (14, "boolean_value", "bool"),
    (15, "string_value", "string"), (16, "bytes_value", "bytes"),
)  # fmt: skip
_PAYLOAD = ((1, "timestamp", "uint64"), (3, "seq", "uint64"), (4, "uuid", "string"))


def payload_class() -> Any:
    """The message class `Payload`, of proto2 like the published one."""
    file = descriptor_pb2.FileDescriptorProto(
        name="sparkplug.proto", package="sparkplug", syntax="proto2"
    )
    metric = file.message_type.add(name="Metric")
    metric.oneof_decl.add(name="value")
    for number, name, kind in _METRIC:
        field = _add(metric, number, name, kind)
        if number >= 10:
            field.oneof_index = 0
    payload = file.message_type.add(name="Payload")
    for number, name, kind in _PAYLOAD:
        _add(payload, number, name, kind)
    metrics = _add(payload, 2, "metrics", "message")
    metrics.label, metrics.type_name = _FIELD.LABEL_REPEATED, ".sparkplug.Metric"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sparkplug.Payload"))


def _add(message: Any, number: int, name: str, kind: str) -> Any:
    return message.field.add(
        number=number, name=name, type=_TYPES[kind], label=_FIELD.LABEL_OPTIONAL
    )
