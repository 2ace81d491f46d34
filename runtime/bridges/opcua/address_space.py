"""The companion specification's types in a server's address space, and how nodes are added."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from asyncua import Server, ua

from kenpin.config.errors import ConfigError
from kenpin.runtime.bridges.opcua.structures import (
    define_structures,
    structure_definition,
    type_id,
)
from kenpin.runtime.bridges.opcua.table import (
    COMPANION_URI,
    Arguments,
    DataType,
    Member,
    NodeTable,
    StructureField,
    companion,
)

__all__ = ["AddressSpace", "opened", "variable"]

_MANDATORY = {"M": ua.ObjectIds.ModellingRule_Mandatory, "O": ua.ObjectIds.ModellingRule_Optional}


async def opened(server: Server, nodeset: Path | None) -> AddressSpace:
    """The address space of a server that was initialised, with the specification's types in it.

    Parameters
    ----------
    nodeset
        The official file; None: the nodes that kenpin has written out itself.

    Raises
    ------
    ConfigError
        If the file cannot be read, or lacks what is needed.
    """
    index = await server.register_namespace(COMPANION_URI)
    space = AddressSpace(server, index, companion())
    if nodeset is None:
        await _Writer(space).write()
    else:
        await _import(space, nodeset)
    define_structures(index)
    return space


class AddressSpace:
    """Where nodes are found and added.

    server  of asyncua
    index   of the companion specification's namespace
    """

    def __init__(self, server: Server, index: int, table: NodeTable) -> None:
        self.server = server
        self.index = index
        self.table = table

    def type_id(self, name: str) -> ua.NodeId:
        """Of a type, by its name: of the companion specification, or of OPC UA itself."""
        return type_id(name, self.index)

    def structured(self, name: str, **fields: Any) -> Any:
        """A value of one of the specification's structures; what is left out is missing."""
        return define_structures(self.index)[name](**fields)

    def member_id(self, type_name: str, name: str) -> ua.NodeId:
        """Of a member of one of the specification's object types."""
        return ua.NodeId(self.table.member(type_name, name).number, self.index)

    async def add(
        self,
        node: ua.NodeId,
        name: ua.QualifiedName,
        parent: ua.NodeId,
        by: int,
        attributes: Any,
        kind: ua.NodeId | None = None,
    ) -> None:
        """Add one node.

        by          number of the type of the reference from its parent
        attributes  of asyncua, which say its class, too
        kind        its type definition
        """
        attributes.DisplayName = ua.LocalizedText(name.Name)
        item = ua.AddNodesItem(
            RequestedNewNodeId=node,
            BrowseName=name,
            NodeClass=_CLASSES[type(attributes)],
            ParentNodeId=parent,
            ReferenceTypeId=ua.NodeId(by),
            TypeDefinition=ua.NodeId() if kind is None else kind,
            NodeAttributes=attributes,
        )
        (result,) = await self.server.iserver.isession.add_nodes([item])
        result.StatusCode.check()

    async def refer(
        self, source: ua.NodeId, by: int, target: ua.NodeId, *, forward: bool = True
    ) -> None:
        """Add a reference to a node that is there."""
        item = ua.AddReferencesItem(
            SourceNodeId=source,
            ReferenceTypeId=ua.NodeId(by),
            TargetNodeId=target,
            IsForward=forward,
        )
        (status,) = await self.server.iserver.isession.add_references([item])
        status.check()

    async def add_method(
        self,
        node: ua.NodeId,
        name: ua.QualifiedName,
        parent: ua.NodeId,
        given: tuple[ua.NodeId, tuple[StructureField, ...]] | None,
        gives: tuple[ua.NodeId, tuple[StructureField, ...]] | None,
    ) -> None:
        """Add a method with its arguments, each with the node that describes them."""
        await self.add(
            node, name, parent, ua.ObjectIds.HasComponent,
            ua.MethodAttributes(Executable=True, UserExecutable=True),
        )  # fmt: skip
        for called, arguments in (("InputArguments", given), ("OutputArguments", gives)):
            if arguments is not None:
                await self._add_arguments(node, called, *arguments)

    async def _add_arguments(
        self, method: ua.NodeId, called: str, node: ua.NodeId, fields: tuple[StructureField, ...]
    ) -> None:
        value = [
            ua.Argument(
                Name=field.name,
                DataType=self.type_id(field.kind),
                ValueRank=1 if field.many else -1,
                ArrayDimensions=[0] if field.many else [],
                Description=ua.LocalizedText(""),
            )
            for field in fields
        ]
        variant = ua.Variant(value, ua.VariantType.ExtensionObject)
        attributes = variable(ua.NodeId(ua.ObjectIds.Argument), many=True, value=variant)
        await self.add(
            node, ua.QualifiedName(called, 0), method, ua.ObjectIds.HasProperty, attributes,
            ua.NodeId(ua.ObjectIds.PropertyType),
        )  # fmt: skip


def variable(kind: ua.NodeId, *, many: bool = False, value: Any = None) -> ua.VariableAttributes:
    """Attributes of a variable that may be read."""
    may_read = 1 << ua.AccessLevel.CurrentRead
    return ua.VariableAttributes(
        DataType=kind,
        ValueRank=1 if many else -1,
        ArrayDimensions=[0] if many else [],
        Value=value if value is not None else ua.Variant(),
        AccessLevel=may_read,
        UserAccessLevel=may_read,
    )


_CLASSES = {
    ua.ObjectAttributes: ua.NodeClass.Object,
    ua.VariableAttributes: ua.NodeClass.Variable,
    ua.MethodAttributes: ua.NodeClass.Method,
    ua.ObjectTypeAttributes: ua.NodeClass.ObjectType,
    ua.DataTypeAttributes: ua.NodeClass.DataType,
}


class _Writer:
    """Adds the nodes of the table."""

    def __init__(self, space: AddressSpace) -> None:
        self._space = space

    def _id(self, number: int) -> ua.NodeId:
        return ua.NodeId(number, self._space.index)

    def _name(self, name: str) -> ua.QualifiedName:
        return ua.QualifiedName(name, self._space.index)

    async def write(self) -> None:
        space = self._space
        for data in space.table.data.values():
            await self._data(data)
        for found in space.table.types.values():
            attributes = ua.ObjectTypeAttributes(IsAbstract=found.abstract)
            await space.add(
                self._id(found.number), self._name(found.name), space.type_id(found.above),
                ua.ObjectIds.HasSubtype, attributes,
            )  # fmt: skip
        for found in space.table.types.values():
            for member in found.members:
                await self._member(self._id(found.number), member)
        for found in space.table.types.values():
            for member in found.members:
                await self._transition(member)

    async def _data(self, data: DataType) -> None:
        space, node = self._space, self._id(data.number)
        attributes = ua.DataTypeAttributes(IsAbstract=data.abstract)
        if data.binary:
            attributes.DataTypeDefinition = structure_definition(data, space.index)
        elif data.values:
            attributes.DataTypeDefinition = ua.EnumDefinition(
                [ua.EnumField(Name=field.name, Value=field.value) for field in data.fields]
            )
        await space.add(
            node, self._name(data.name), space.type_id(data.above), ua.ObjectIds.HasSubtype,
            attributes,
        )  # fmt: skip
        if data.binary:
            await space.add(
                self._id(data.binary), ua.QualifiedName("Default Binary", 0), node,
                ua.ObjectIds.HasEncoding, ua.ObjectAttributes(),
                ua.NodeId(ua.ObjectIds.DataTypeEncodingType),
            )  # fmt: skip
        if data.values:
            await self._enum_values(node, data)

    async def _enum_values(self, node: ua.NodeId, data: DataType) -> None:
        values = [
            ua.EnumValueType(field.value, ua.LocalizedText(field.name)) for field in data.fields
        ]
        variant = ua.Variant(values, ua.VariantType.ExtensionObject)
        attributes = variable(ua.NodeId(ua.ObjectIds.EnumValueType), many=True, value=variant)
        await self._space.add(
            self._id(data.values), ua.QualifiedName("EnumValues", 0), node,
            ua.ObjectIds.HasProperty, attributes, ua.NodeId(ua.ObjectIds.PropertyType),
        )  # fmt: skip
        await self._rule(self._id(data.values), "M")

    async def _rule(self, node: ua.NodeId, rule: str) -> None:
        if rule in _MANDATORY:
            target = ua.NodeId(_MANDATORY[rule])
            await self._space.refer(node, ua.ObjectIds.HasModellingRule, target)

    async def _member(self, parent: ua.NodeId, member: Member) -> None:
        space, node, name = self._space, self._id(member.number), self._name(member.name)
        component = ua.ObjectIds.HasComponent
        if member.what == "method":
            given, gives = (self._described(found) for found in (member.given, member.gives))
            await space.add_method(node, name, parent, given, gives)
        elif member.field is None:
            transition = member.what == "transition"
            kind = ua.ObjectIds.TransitionType if transition else ua.ObjectIds.StateType
            await space.add(node, name, parent, component, ua.ObjectAttributes(), ua.NodeId(kind))
            await self._count(node, member)
        elif member.what == "object":
            kind_id = space.type_id(member.field.kind)
            await space.add(node, name, parent, component, ua.ObjectAttributes(), kind_id)
        else:
            is_property = member.what == "property"
            attributes = variable(space.type_id(member.field.kind), many=member.field.many)
            kind = ua.ObjectIds.PropertyType if is_property else ua.ObjectIds.BaseDataVariableType
            by = ua.ObjectIds.HasProperty if is_property else component
            await space.add(node, name, parent, by, attributes, ua.NodeId(kind))
        await self._rule(node, member.rule)

    def _described(
        self, arguments: Arguments | None
    ) -> tuple[ua.NodeId, tuple[StructureField, ...]] | None:
        if arguments is None:
            return None
        return self._id(arguments.number), arguments.fields

    async def _count(self, node: ua.NodeId, member: Member) -> None:
        assert member.counted is not None
        number, value = member.counted
        called = "TransitionNumber" if member.what == "transition" else "StateNumber"
        variant = ua.Variant(value, ua.VariantType.UInt32)
        attributes = variable(ua.NodeId(ua.ObjectIds.UInt32), value=variant)
        await self._space.add(
            self._id(number), ua.QualifiedName(called, 0), node, ua.ObjectIds.HasProperty,
            attributes, ua.NodeId(ua.ObjectIds.PropertyType),
        )  # fmt: skip
        await self._rule(self._id(number), "M")

    async def _transition(self, member: Member) -> None:
        if member.between is None:
            return
        node, space = self._id(member.number), self._space
        begin, end = member.between
        await space.refer(node, ua.ObjectIds.FromState, self._id(begin))
        await space.refer(node, ua.ObjectIds.ToState, self._id(end))
        for number in member.by:
            await space.refer(node, ua.ObjectIds.HasCause, self._id(number))
        for number in member.then:
            await space.refer(node, ua.ObjectIds.HasEffect, self._id(number))


async def _import(space: AddressSpace, nodeset: Path) -> None:
    """The user's own file, its structures completed: an heir may say nothing of its fields."""
    try:
        await space.server.import_xml(str(nodeset))
    except Exception as error:
        # Whatever asyncua finds wrong, it is the file.
        raise ConfigError(
            f"bridges.nodeset {nodeset}: {type(error).__name__} {error}; give the official "
            "Opc.Ua.MachineVision.NodeSet2.xml, or leave it out"
        ) from error
    for data in space.table.data.values():
        node = space.type_id(data.name)
        if node not in space.server.iserver.aspace:
            raise ConfigError(f"bridges.nodeset {nodeset}: has no {data.name} ({node.to_string()})")
        if data.binary:
            value = ua.DataValue(
                ua.Variant(structure_definition(data, space.index), ua.VariantType.ExtensionObject)
            )
            attribute = ua.AttributeIds.DataTypeDefinition
            await space.server.write_attribute_value(node, value, attribute)
