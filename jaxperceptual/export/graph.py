"""An ONNX graph as it grows, node by node."""

import numpy as np
import onnx

from jaxperceptual.core.types import AnyArray

OPSET, IR = 17, 8  # of 2022: what runtimes of today and those in browsers read


class Graph:
    """Nodes in the order in which they were added; each call adds one.

    half_weights: weights lie in the file as float16, and are made float32 when it is
        loaded.
    """

    def __init__(self, *, half_weights: bool = False):
        self._half = half_weights
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}
        self.styles: str | None = None  # of a gallery, its input of weights [1 s]

    def __call__(
        self, op: str, *inputs: str | np.ndarray | np.generic, **attributes
    ) -> str:
        """The name of what the operation `op` makes of the inputs.

        An input is a name, "" for one left out, or an array, which becomes a constant.
        """
        out = f"{op}_{len(self._nodes)}"
        names = [i if isinstance(i, str) else self._constant(i) for i in inputs]
        node = onnx.helper.make_node(op, names, [out], name=out, **attributes)
        self._nodes.append(node)
        return out

    def weight(self, name: str, value: AnyArray) -> str:
        """A trained array, under the name that the model file has it by."""
        value = np.asarray(value, np.float32)
        if not self._half:
            return self._constant(value, name)
        stored = self._constant(value.astype(np.float16), name)
        return self("Cast", stored, to=onnx.TensorProto.FLOAT)

    def _constant(self, value: np.ndarray | np.generic, name: str | None = None) -> str:
        name = name or f"constant_{len(self._constants)}"
        value = np.ascontiguousarray(value).reshape(np.shape(value))
        self._constants[name] = onnx.numpy_helper.from_array(value, name)
        return name

    def finished(
        self,
        inputs: dict[str, list],
        outputs: dict[str, list],
        last: str,
        metadata: dict[str, str],
    ) -> onnx.ModelProto:
        """The whole model, checked. `inputs`, `outputs`: names and their dimensions.

        last: what becomes the one output.
        """
        (name,) = outputs
        self._nodes.append(onnx.helper.make_node("Identity", [last], [name], name=name))
        told = [
            [
                onnx.helper.make_tensor_value_info(key, onnx.TensorProto.FLOAT, dims)
                for key, dims in some.items()
            ]
            for some in (inputs, outputs)
        ]
        made = onnx.helper.make_model(
            onnx.helper.make_graph(
                self._nodes, "jaxperceptual", *told, [*self._constants.values()]
            ),
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=IR,
            producer_name="jaxperceptual",
        )
        onnx.helper.set_model_props(made, metadata)
        onnx.checker.check_model(made, full_check=True)
        return made


def integers(*values: int) -> np.ndarray:
    """As ONNX has shapes, axes and pads."""
    return np.array(values, np.int64)
