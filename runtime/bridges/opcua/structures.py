"""The specification's structures as asyncua encodes and decodes them, without asking any server."""

from __future__ import annotations

from functools import cache

from asyncua import ua
from asyncua.common.structures104 import make_structure

from kenpin.runtime.bridges.opcua.table import DataType, companion

__all__ = ["define_structures", "structure_definition", "type_id"]


def type_id(name: str, index: int) -> ua.NodeId:
    """Of a type, by its name: of the companion specification, or of OPC UA itself.

    Parameters
    ----------
    index
        Of the companion specification's namespace.
    """
    number = companion().number(name)
    if number is not None:
        return ua.NodeId(number, index)
    return ua.NodeId(getattr(ua.ObjectIds, name))


def structure_definition(data: DataType, index: int) -> ua.StructureDefinition:
    """Of all fields of a structure, its supertype's among them."""
    fields = companion().whole(data)
    kinds = ua.StructureType
    optional = any(field.optional for field in fields)
    return ua.StructureDefinition(
        DefaultEncodingId=ua.NodeId(data.binary, index),
        BaseDataType=type_id(data.above, index),
        StructureType=kinds.StructureWithOptionalFields if optional else kinds.Structure,
        Fields=[
            ua.StructureField(
                Name=field.name,
                DataType=type_id(field.kind, index),
                ValueRank=1 if field.many else -1,
                ArrayDimensions=[0] if field.many else [],
                IsOptional=field.optional,
            )
            for field in fields
        ],
    )


@cache
def define_structures(index: int) -> dict[str, type]:
    """Their classes by name, known to asyncua from now on.

    asyncua would read them from the address space, but takes the specification's TrimmedString for
    OPC UA's own one, and a structure that adds no field to its supertype for its supertype.
    """
    found = {}
    for data in companion().data.values():
        node = ua.NodeId(data.number, index)
        if not data.binary:
            ua.basetype_by_datatype[node] = "Int32" if data.values else data.above
            continue
        definition = structure_definition(data, index)
        made = make_structure(node, data.name, definition)[data.name]
        made.data_type = node
        ua.register_extension_object(data.name, ua.NodeId(data.binary, index), made, node)
        found[data.name] = made
    return found
