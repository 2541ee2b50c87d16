"""Prints as JSON what the tensorboard package finds in a folder of event files.

    python read_events.py FOLDER

Exit code 77: skipped, with the reason.
"""

import json
import math
import sys

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError as error:
    print(f"needs the tensorboard package (scripts/setup --tests): {error}")
    sys.exit(77)


def number(value):  # JSON has no NaN
    return value if math.isfinite(value) else repr(value)


# 0: keep every event
run = EventAccumulator(sys.argv[1], size_guidance={"scalars": 0, "images": 0, "tensors": 0})
run.Reload()
tags = run.Tags()
print(json.dumps({
    "file_version": run.file_version,
    "scalars": {tag: [[e.wall_time, e.step, number(e.value)] for e in run.Scalars(tag)] for tag in tags["scalars"]},
    "images": {tag: [[e.wall_time, e.step, e.width, e.height, e.encoded_image_string.hex()] for e in run.Images(tag)]
               for tag in tags["images"]},
}))
