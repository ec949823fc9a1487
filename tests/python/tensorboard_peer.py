"""Reads event files with TensorBoard's own loader, and says what it holds as JSON.

Usage: tensorboard_peer.py FOLDER

`{"scalars": {tag: [[step, value], …]}, "texts": {tag: [[step, text], …]}}`. Nothing is left out: the loader's reservoirs are unbounded.
"""

import json
import pathlib
import struct
import sys

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c


def check_frames(path):
    """Every record's two checksums, by TensorBoard's own function."""
    data, at = path.read_bytes(), 0
    while at < len(data):
        (length,) = struct.unpack("<Q", data[at : at + 8])
        body = data[at + 12 : at + 12 + length]
        if struct.unpack("<I", data[at + 8 : at + 12])[0] != masked_crc32c(data[at : at + 8]):
            sys.exit(f"{path}: checksum of a length at {at}")
        if struct.unpack("<I", data[at + 12 + length : at + 16 + length])[0] != masked_crc32c(body):
            sys.exit(f"{path}: checksum of a record at {at}")
        at += 16 + length


def main():
    folder = pathlib.Path(sys.argv[1])
    for path in folder.glob("events.out.tfevents.*"):
        check_frames(path)
    events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
    events.Reload()
    tags = events.Tags()
    scalars = {tag: [[e.step, e.value] for e in events.Scalars(tag)] for tag in tags["scalars"]}
    texts = {}
    for tag in tags["tensors"]:
        plugin = events.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin != "text":
            sys.exit(f"{tag} is shown by {plugin!r}")
        texts[tag] = [[e.step, e.tensor_proto.string_val[0].decode()] for e in events.Tensors(tag)]
    print(json.dumps({"scalars": scalars, "texts": texts}))


main()
