"""Finishes exported networks for shipping."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import onnx


def strip_metadata(path: Path) -> None:
    """Remove from the ONNX file what the exporter noted about the machine it ran on.

    torch.onnx writes each node's Python stack, with the paths of source files, into the file.
    """
    model = onnx.load(path)
    graph = model.graph
    graph.doc_string = ""
    del model.metadata_props[:]
    del graph.metadata_props[:]
    for part in chain(graph.node, graph.value_info, graph.input, graph.output, graph.initializer):
        part.doc_string = ""
        del part.metadata_props[:]
    onnx.checker.check_model(model)
    onnx.save(model, path)
