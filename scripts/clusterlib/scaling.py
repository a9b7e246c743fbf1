"""One processor, then two, each on a core of its own, counting what waits in the log."""

import json
import os
import subprocess
import time

from .process import Failed, ask, say, wait_until

#: A rate is taken over so long, once all partitions are being counted.
SPAN = 15.0
LOOK = 0.25


def fill(cluster, events):
    """Events in the log that nobody counts yet."""
    gateway = cluster.add_role("gateway", 1, "log")
    say(f"{events} events into the log")
    command = [cluster.program, "load", "--url", gateway.url, "--events", str(events), "--items", "1000", "--skew", "0",
               "--batch", "1000", "--connections", "8", "--retry-for", "180", "--json"]
    done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    accepted = json.loads(done.stdout)["accepted"]
    cluster.stop_one("gateway-1")
    return accepted


def partitions(processors):
    """What is counted and what waits in each partition, of all processors together."""
    rows = []
    for processor in processors:
        status, body = ask(processor.url + "/v1/admin/partitions")
        if status == 200:
            rows += json.loads(body)["partitions"]
    return {row["partition"]: (row["counted"], row["lag_events"]) for row in rows}


def rate(cluster, cores):
    """Events a second that so many processors count, while all partitions have events that wait."""
    processors = [
        cluster.add_processor(number, wait=False, before=["taskset", "-c", str(core)])
        for number, core in enumerate(cores, 1)]
    for processor in processors:
        processor.wait()
    all_of_them = int(cluster.sizes.partitions)
    seen = {}

    def are_all_counted():
        if len(processors) > 1 and any(not partitions([processor]) for processor in processors):
            return False
        now = partitions(processors)
        is_moving = len(now) == all_of_them and all(
            counted > seen.get(number, (counted, 0))[0] for number, (counted, _) in now.items())
        seen.update(now)
        return is_moving

    wait_until("all partitions are counted", are_all_counted)
    began, first = time.monotonic(), partitions(processors)
    last, ended = first, began
    while ended - began < SPAN and all(lag > 0 for _, lag in last.values()):
        time.sleep(LOOK)
        now = partitions(processors)
        if len(now) < all_of_them:
            raise Failed("a partition changed hands while the rate was taken; try again with more --events")
        last, ended = now, time.monotonic()
    if ended - began < SPAN / 3:
        raise Failed(f"all was counted within {ended - began:.0f} s; try again with more --events")
    counted = sum(last[number][0] - first[number][0] for number in first)
    for number in range(1, len(cores) + 1):
        cluster.stop_one(f"processor-{number}")
    return counted / (ended - began)


def scaling(cluster, events):
    """Prints the rates and their ratio; whether that is 1.7 at least."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("this takes two cores")
    accepted = fill(cluster, events)
    one = rate(cluster, cores[:1])
    say(f"one processor: {one:.0f} events/s")
    two = rate(cluster, cores[:2])
    print(f"{accepted} events waited; one processor on a core: {one:.0f} events/s, "
          f"two on a core each: {two:.0f} events/s, {two / one:.2f} times as many")
    if len(cores) == 2:
        print("(the engines share these two cores, so two processors have less of them than one)")
    return two / one >= 1.7
