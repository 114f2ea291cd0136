"""Triton's own client against the server whose address is the argument."""

import sys

import ml_dtypes
import numpy as np
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

client = triton.InferenceServerClient(sys.argv[1], concurrency=8)
assert client.is_server_live() and client.is_server_ready()
assert client.is_model_ready("affine") and client.is_model_ready("affine", "1")
assert not client.is_model_ready("none")
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert client.get_model_metadata("affine")["inputs"][0]["shape"] == [-1, 4]
assert client.get_model_config("affine")["max_batch_size"] == 32
names = {model["name"] for model in client.get_model_repository_index()}
assert names >= {"affine", "BOOL", "UINT8", "INT32", "INT64", "FP16", "FP32", "FP64"}, names


def infer(model, name, values, binary, datatype=None, outputs=None, **more):
    datatype = datatype or np_to_triton_dtype(values.dtype)
    given = triton.InferInput(name, list(values.shape), datatype)
    given.set_data_from_numpy(values, binary_data=binary)
    if outputs is not None:
        outputs = [triton.InferRequestedOutput(output, binary_data=binary) for output in outputs]
    return client.infer(model, [given], outputs=outputs, **more)


x = np.arange(12, dtype=np.float32).reshape(3, 4) - 5
for binary in (True, False):
    for outputs in (None, ["y", "z"]):
        result = infer("affine", "x", x, binary, outputs=outputs, request_id="one")
        assert result.get_response()["id"] == "one"
        np.testing.assert_array_equal(result.as_numpy("y"), 2 * x + 1)
        np.testing.assert_array_equal(result.as_numpy("z"), x + 1)
result = infer("affine", "x", x, True, outputs=["z"], model_version="1")
assert result.as_numpy("y") is None

# Values at the ends of each type, as bytes, and in JSON where it has a form.
types = {
    "BOOL": np.array([[True, False], [False, True]]),
    "UINT8": np.array([[0, 255]], dtype=np.uint8),
    "INT32": np.array([[-(2**31), 2**31 - 1]], dtype=np.int32),
    "INT64": np.array([[-(2**63), 2**63 - 1], [2**53 + 1, -1]], dtype=np.int64),
    "FP16": np.array([[1.5, -65504], [6e-8, np.inf]], dtype=np.float16),
    "BF16": np.array([[1.5, -3e38], [9e-41, 7]], dtype=ml_dtypes.bfloat16),
    "FP32": np.array([[0.1, -3.4028235e38], [1e-45, 7]], dtype=np.float32),
    "FP64": np.array([[0.1, -1.7976931348623157e308], [5e-324, 7]], dtype=np.float64),
}
for datatype, values in types.items():
    if datatype not in names:
        print(f"not served here: {datatype}")
        continue
    result = infer(datatype, "x", values, True).as_numpy("y")
    assert result.dtype == values.dtype and (result == values).all(), datatype
    if datatype not in ("FP16", "BF16"):
        result = infer(datatype, "x", values, False, outputs=["y"]).as_numpy("y")
        assert result.dtype == values.dtype and (result == values).all(), datatype

# Many at once, each with its own answer.
pending = []
for i in range(64):
    row = triton.InferInput("x", [1, 4], "FP32")
    row.set_data_from_numpy(np.full((1, 4), i, dtype=np.float32))
    pending.append(client.async_infer("affine", [row]))
for i, answer in enumerate(pending):
    np.testing.assert_array_equal(answer.get_result().as_numpy("y"), np.full((1, 4), 2 * i + 1))

statistics = client.get_inference_statistics("affine")["model_stats"][0]
assert statistics["inference_stats"]["success"]["count"] == 69, statistics
assert statistics["execution_count"] <= statistics["inference_count"]

for model, name, values, text in [
    ("none", "x", x, "there is no model `none`"),
    ("affine", "w", x, "no input `w`"),
    ("affine", "x", x[:, :3], "model `affine`: submit: tensor `x`, axis 1: expected 4, got 3"),
    ("affine", "x", x.astype(np.float64), "tensor `x`: expected f32, got f64"),
]:
    try:
        infer(model, name, values, True)
        raise SystemExit(f"no error: {text}")
    except InferenceServerException as error:
        assert text in error.message(), error
        assert error.status() in ("400", "404"), error.status()
print("tritonclient: done")
