#!/usr/bin/env python3
"""Writes a BERT of torch_files.py anew, with its mask and its guard of rows without keys in other forms.

    torch_masks.py FILE.onnx OUT_FOLDER FORM…

torch writes `Where(mask, 0, -inf)` with a mask of queries by keys for each layer, and `Where(IsNaN(weights), 0,
weights)` behind each softmax. A form is `plain`, or parts of these joined by +:
    narrow    the mask of keys alone, before it is repeated for each query
    log       Log(Cast(mask)) instead of Where, once for all layers
    late      the guard behind the product after attention, which is zero for rows of zeros
    bare      no guard at all, which is wrong for rows without keys: what the guard costs

Needs onnx and numpy.
"""

import pathlib
import sys

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Model:
    def __init__(self, path):
        self.model = onnx.load(path)
        self.graph = self.model.graph
        self.count = 0

    def maker(self, name):
        return next((node for node in self.graph.node if name in node.output), None)

    def readers(self, name):
        return [node for node in self.graph.node if name in node.input]

    def constant(self, values):
        self.count += 1
        name = f"form_constant_{self.count}"
        self.graph.initializer.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def node(self, kind, *inputs, **attributes):
        self.count += 1
        name = f"form_{kind}_{self.count}"
        self.graph.node.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def replace(self, old, new, but=()):
        for node in self.graph.node:
            if node.name not in but:
                for i, name in enumerate(node.input):
                    if name == old:
                        node.input[i] = new

    def save(self, path):
        """In an order in which each node follows those it reads, without what nothing reads."""
        nodes, made = {name: node for node in self.graph.node for name in node.output}, set()
        ordered = []
        waiting = [output.name for output in self.graph.output]
        while waiting:
            name = waiting[-1]
            node = nodes.get(name)
            if node is None or id(node) in made:
                waiting.pop()
                continue
            missing = [i for i in node.input if i in nodes and id(nodes[i]) not in made]
            if missing:
                waiting.extend(missing)
                continue
            made.add(id(node))
            ordered.append(node)
            waiting.pop()
        del self.graph.node[:]
        self.graph.node.extend(ordered)
        onnx.checker.check_model(self.model)
        onnx.save(self.model, path)


def written(path, form):
    model, form = Model(path), set(form.split("+"))
    softmaxes = [node for node in model.graph.node if node.op_type == "Softmax"]
    logged = {}
    for softmax in softmaxes:
        scores = model.maker(softmax.input[0])
        place = next(i for i, name in enumerate(scores.input) if model.maker(name).op_type == "Where")
        where = model.maker(scores.input[place])
        mask = where.input[0]
        if "narrow" in form:
            # And(all true, mask of keys), repeated by Expand.
            both = model.maker(model.maker(mask).input[0])
            mask = both.input[1]
        if "log" in form:
            if mask not in logged:
                logged[mask] = model.node("Log", model.node("Cast", mask, to=TensorProto.FLOAT))
            added = logged[mask]
        else:
            added = model.node("Where", mask, *where.input[1:])
        scores.input[place] = added
        guard = next(node for node in model.readers(softmax.output[0]) if node.op_type == "Where")
        if not {"late", "bare"} & form:
            continue
        model.replace(guard.output[0], softmax.output[0], but=[guard.name])
        if "late" in form:
            if ("flag", added) not in logged:
                most = model.node("ReduceMax", added, model.constant(np.array([3])), keepdims=1)
                flag = model.node("Equal", most, model.constant(np.float32(-np.inf)))
                sizes = [0, 1, 1] if "narrow" in form else [0, -1, 1]
                logged["flag", added] = model.node("Reshape", flag, model.constant(np.array(sizes)))
            name = softmax.output[0]
            while True:
                node = next(node for node in model.readers(name) if node.op_type in ("MatMul", "Transpose", "Reshape"))
                name = node.output[0]
                if node.op_type == "MatMul" and node.input[1] in {w.name for w in model.graph.initializer}:
                    break
            guarded = model.node("Where", logged["flag", added], model.constant(np.zeros(1, np.float32)), name)
            model.replace(name, guarded, but=[guarded])
    return model


def main():
    path, folder, forms = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3:]
    folder.mkdir(parents=True, exist_ok=True)
    for form in forms:
        if not set(form.split("+")) <= {"plain", "narrow", "log", "late", "bare"}:
            sys.exit(f"no form is called {form}")
        written(path, form).save(folder / f"{path.stem}.{form}.onnx")


if __name__ == "__main__":
    main()
