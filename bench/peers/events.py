"""Events of a file of NDJSON, a block at a time, as every peer takes them."""

import json
import sys
import time


def blocks(path, size):
    """Lists of (id, item, type, time, micros) of `size` events; micros are 0 without a value."""
    block = []
    with open(path, "rb") as file:
        for line in file:
            event = json.loads(line)
            micros = round(event.get("value", 0) * 1_000_000)
            block.append((event["id"], event["item"], event["type"], event["time"], micros))
            if len(block) == size:
                yield block
                block = []
    if block:
        yield block


def report(events, counted, seconds):
    """Prints what a run did; seconds are without starting the engine and reading JSON in Python."""
    print(json.dumps({"events": events, "counted": counted, "seconds": seconds}))


def measure(path, size, take):
    """Gives each block to `take` and adds up the time it needs."""
    events, seconds = 0, 0.0
    for block in blocks(path, size):
        began = time.perf_counter()
        take(block)
        seconds += time.perf_counter() - began
        events += len(block)
    return events, seconds


def arguments():
    """The file of events and a folder for the engine's data."""
    return sys.argv[1], sys.argv[2]
