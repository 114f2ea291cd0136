"""Reads a config.pbtxt by Triton's own schema, and prints it as JSON.

Needs tritonclient[grpc], or its file model_config_pb2.py in PYTHONPATH, and protobuf.
"""

import importlib.util
import pathlib
import sys

from google.protobuf import json_format, text_format

# The package around the file imports gRPC, which nothing here needs.
package = importlib.util.find_spec("tritonclient")
folder = pathlib.Path(package.submodule_search_locations[0])
spec = importlib.util.spec_from_file_location("model_config_pb2", folder / "grpc" / "model_config_pb2.py")
schema = importlib.util.module_from_spec(spec)
spec.loader.exec_module(schema)

if len(sys.argv) > 1:
    config = text_format.Parse(pathlib.Path(sys.argv[1]).read_text(), schema.ModelConfig())
    print(json_format.MessageToJson(config, preserving_proto_field_name=True))
