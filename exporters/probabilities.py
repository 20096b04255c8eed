"""The end of a graph: what makes probabilities of the logits stays in full precision, whatever the rest is in."""

from artifacts.bundle import OUTPUT
from exporters.graph import WEIGHTED, Graph

ACTIVATIONS = ("Softmax", "Sigmoid")


def made(graph: Graph) -> set[str]:
    """Names of the tensors that are computed from the last activation on."""
    found: set[str] = set()
    waiting = [OUTPUT]
    while waiting:
        node = graph.makers.get(waiting.pop())
        if node is not None and node.op_type not in WEIGHTED:
            found.update(node.output)
            waiting += [] if node.op_type in ACTIVATIONS else node.input
    return found
