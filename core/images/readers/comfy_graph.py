"""ComfyUI's graph of nodes: what feeds what. Imports no torch.

A graph may be of any shape, cyclic too: whatever walks it goes to no node twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from core.images.loose_json import as_object, as_text

MOST_NODES = 20_000
"""Nodes above which a graph is not read."""

LONGEST_KIND = 200
"""Letters of a class's name that are kept."""

FARTHEST = 200
"""Nodes that one value is followed through."""

_VALUE_INPUTS = ("value", "text", "string", "int", "float", "seed", "noise_seed", "number", "Value")
_PASSING = ("value", "text", "string", "any", "anything", "input", "source", "")


@dataclass(frozen=True, slots=True)
class Link:
    """Where an input comes from.

    Attributes:
        node: Of which node.
        output: Which of its outputs.
    """

    node: str
    output: int


@dataclass(frozen=True, slots=True)
class Node:
    """One node.

    Attributes:
        kind: Its class in ComfyUI.
        inputs: Plain values and links by name.
    """

    kind: str
    inputs: Mapping[str, Any]

    def link(self, name: str) -> Link | None:
        """Give an input that is a link."""
        return as_link(self.inputs.get(name))

    def links(self) -> dict[str, Link]:
        """Give all inputs that are links."""
        found = {name: as_link(value) for name, value in self.inputs.items()}
        return {name: link for name, link in found.items() if link is not None}


Graph = Mapping[str, Node]


def as_link(value: object) -> Link | None:
    """Read ``["12", 0]``, which is how a link is written."""
    match value:
        case [str() | int() as node, int() as output]:
            return Link(str(node), output)
        case Link():
            return value
    return None


def read_graph(values: Mapping[str, Any]) -> Graph:
    """Read a graph in the form of ComfyUI's API; what is no node is left out."""
    if len(values) > MOST_NODES:
        return {}
    nodes = {name: as_object(value) for name, value in values.items()}
    return {
        name: Node(as_text(node.get("class_type"))[:LONGEST_KIND], as_object(node.get("inputs")))
        for name, node in nodes.items()
        if as_text(node.get("class_type"))
    }


def upstream(
    graph: Graph, start: Link | None, follow: Callable[[str], bool] = lambda _name: True
) -> Iterator[tuple[str, Node]]:
    """Give the nodes that feed a link, nearest first, each once.

    Args:
        graph: All nodes.
        start: The link; none feeds nothing.
        follow: Which inputs are followed, by name.
    """
    waiting = [start.node] if start else []
    seen = set(waiting)
    while waiting:
        following: list[str] = []
        for name in waiting:
            node = graph.get(name)
            if node is None:
                continue
            yield name, node
            for key, link in node.links().items():
                if link.node not in seen and follow(key):
                    seen.add(link.node)
                    following.append(link.node)
        waiting = following


def value_of(graph: Graph, node: Node, *names: str) -> object:
    """Give the plain value of the first of a node's inputs that has one, through its links."""
    for name in names:
        value = node.inputs.get(name)
        link = as_link(value)
        if link is not None:
            value = _through(graph, link, name)
        if value is not None and not isinstance(value, list | dict):
            return value
    return None


def _through(graph: Graph, link: Link, name: str) -> object:
    """Follow a link to a node that holds the value: a primitive, a seed, a text box, a reroute."""
    for _ in range(FARTHEST):
        node = graph.get(link.node)
        if node is None:
            return None
        for key in (name, *_VALUE_INPUTS):
            value = node.inputs.get(key)
            if value is not None and not isinstance(value, list | dict | Link):
                return value
        found = (node.link(key) for key in (name, *_PASSING))
        further = next((other for other in found if other is not None), None)
        if further is None:
            return None
        link = further
    return None
