"""Our nodes beside the official file, where npm's node-opcua-nodesets has brought it."""

from __future__ import annotations

import asyncio
import os
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from asyncua import Server, ua

from kenpin.runtime.bridges.opcua.address_space import AddressSpace, opened
from kenpin.runtime.bridges.opcua.table import companion

NAME = "node-opcua-nodesets/nodesets/Opc.Ua.MachineVision.NodeSet2.xml"
PLACES = (
    os.environ.get("KENPIN_NODE_MODULES", ""),
    "/usr/local/lib/node_modules",
    "/usr/lib/node_modules",
)
OFFICIAL = next((path for place in PLACES if (path := Path(place, NAME)).exists()), None)
XML = "{http://opcfoundation.org/UA/2011/03/UANodeSet.xsd}"

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(OFFICIAL is None, reason="npm install --global node-opcua-nodesets"),
]


async def space_of(nodeset: Path | None) -> AddressSpace:
    server = Server()
    await server.init()
    return await opened(server, nodeset)


def test_every_node_of_ours_is_the_official_one() -> None:
    """Class, names, types, ranks and references, node by node."""

    async def compare() -> None:
        # Theirs first: asyncua reads the file's own structures only while it knows none.
        theirs, ours = [await space_of(nodeset) for nodeset in (OFFICIAL, None)]
        every = list(ours.server.iserver.aspace.keys())
        nodes = [node for node in every if node.NamespaceIndex == ours.index]
        assert len(nodes) > 200
        for node in nodes:
            mine, official = (space.server.iserver.aspace[node] for space in (ours, theirs))
            for name in ("NodeClass", "BrowseName", "DataType", "ValueRank", "IsAbstract"):
                attribute = getattr(ua.AttributeIds, name)
                pair = [
                    found.attributes[attribute].value.Value.Value
                    if attribute in found.attributes
                    else None
                    for found in (mine, official)
                ]
                # The file leaves out what is the default.
                if name == "DataType" and pair[1] == ua.NodeId():
                    pair[1] = ua.NodeId(ua.ObjectIds.BaseDataType)
                assert pair[0] == pair[1], (node, name)
            known = {(r.ReferenceTypeId, r.NodeId, r.IsForward) for r in official.references}
            for r in mine.references:
                assert (r.ReferenceTypeId, r.NodeId, r.IsForward) in known, (node, r)

    asyncio.run(compare())


def test_what_is_left_out_of_a_type_is_optional() -> None:
    assert OFFICIAL is not None
    found = ElementTree.parse(OFFICIAL).getroot()
    ours = {m.number for kind in companion().types.values() for m in kind.members}
    types = {kind.number for kind in companion().types.values()}
    for node in found:
        if not node.tag.removeprefix(XML).startswith("UA"):
            continue
        number = int(node.get("NodeId", "=0").rpartition("=")[2])
        references = [
            (r.get("ReferenceType"), r.get("IsForward"), r.text or "")
            for r in node.iter(f"{XML}Reference")
        ]
        mandatory = ("HasModellingRule", None, "i=78") in references
        parents = {
            int(text.rpartition("=")[2])
            for kind, forward, text in references
            if forward == "false" and kind in ("HasComponent", "HasProperty") and "ns=1" in text
        }
        if mandatory and parents & types:
            assert number in ours, (number, node.get("BrowseName"))
