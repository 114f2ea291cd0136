"""Asks a server what the real client of Triton asks, and compares the answers. Address and model are given.

Needs tritonclient[http] and numpy.
"""

import sys

import numpy
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException

client = triton.InferenceServerClient(sys.argv[1], concurrency=4)
assert client.is_server_live() and client.is_server_ready()
assert client.get_server_metadata()["name"] == "accelerant"
assert "binary_tensor_data" in client.get_server_metadata()["extensions"]
assert [row["name"] for row in client.get_model_repository_index()] == ["double", "fixed"]

for model in ["double", "fixed"]:
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
metadata = client.get_model_metadata("double")
assert metadata["inputs"] == [
    {"name": "x", "datatype": "FP32", "shape": [-1, 3]},
    {"name": "k", "datatype": "INT64", "shape": [-1, 2]},
], metadata
assert metadata["outputs"][0] == {"name": "y", "datatype": "FP32", "shape": [-1, 3]}, metadata


def ask(x, k, binary_in, binary_out, **more):
    inputs = [triton.InferInput("k", k.shape, "INT64"), triton.InferInput("x", x.shape, "FP32")]
    inputs[0].set_data_from_numpy(k, binary_data=binary_in)
    inputs[1].set_data_from_numpy(x, binary_data=binary_in)
    outputs = [triton.InferRequestedOutput(name, binary_data=binary_out) for name in ["y", "l"]]
    return client.infer("double", inputs, outputs=outputs, **more)


random = numpy.random.default_rng(0)
for rows in [1, 2, 8]:
    x = random.uniform(-1, 1, (rows, 3)).astype("f4")
    k = random.integers(-(2**40), 2**40, (rows, 2))
    for binary_in in [False, True]:
        for binary_out in [False, True]:
            answer = ask(x, k, binary_in, binary_out, request_id="7")
            assert answer.get_response()["id"] == "7"
            numpy.testing.assert_array_equal(answer.as_numpy("y"), 2 * x)
            numpy.testing.assert_array_equal(answer.as_numpy("l"), k)

# Nothing is said of outputs: all of them come, as bytes, which this client asks for.
inputs = [triton.InferInput("x", x.shape, "FP32"), triton.InferInput("k", k.shape, "INT64")]
inputs[0].set_data_from_numpy(x)
inputs[1].set_data_from_numpy(k)
answer = client.infer("double", inputs, model_version="1")
numpy.testing.assert_array_equal(answer.as_numpy("y"), 2 * x)

# Many at once, each with its own answer.
pending = []
for i in range(64):
    inputs = [triton.InferInput("x", [1, 3], "FP32"), triton.InferInput("k", [1, 2], "INT64")]
    inputs[0].set_data_from_numpy(numpy.full((1, 3), i, "f4"))
    inputs[1].set_data_from_numpy(numpy.full((1, 2), i, "i8"))
    pending.append(client.async_infer("double", inputs))
for i, waiting in enumerate(pending):
    assert (waiting.get_result().as_numpy("y") == 2 * i).all()

# A model that takes no batches.
inputs = [triton.InferInput("x", [3], "FP32")]
inputs[0].set_data_from_numpy(numpy.array([1, 2, 3], "f4"))
assert (client.infer("fixed", inputs).as_numpy("y") == [-1, -2, -3]).all()


def refused(status, words, ask):
    try:
        ask()
    except InferenceServerException as e:
        assert e.status() == status and words in e.message(), (e.status(), e.message())
    else:
        raise AssertionError(f"no error with {words}")


refused("404", "no model is called `none`", lambda: client.get_model_metadata("none"))
refused("404", "has the version 1, not 2", lambda: client.infer("fixed", inputs, model_version="2"))
refused("400", "input `k` is missing", lambda: client.infer("double", inputs))
refused("400", "axis", lambda: ask(numpy.zeros((1, 4), "f4"), numpy.zeros((1, 2), "i8"), True, True))
refused("400", "", lambda: ask(numpy.zeros((9, 3), "f4"), numpy.zeros((9, 2), "i8"), True, True))
refused("415", "compressed", lambda: client.infer("fixed", inputs, request_compression_algorithm="gzip"))
print("all answers are right")
