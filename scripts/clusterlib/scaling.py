"""One processor, then two, each on a core of its own, counting what waits in the log."""

import json
import os
import signal
import subprocess
import threading
import time

from . import engines
from .process import Failed, ask, say, wait_until

#: A rate is taken over so long, once all partitions are being counted.
SPAN = 15.0
LOOK = 0.25
#: A processor that has a share of its core runs and stands still in turns, together so long.
TURN = 0.05
TARGET = 1.7


class Share:
    """Lets a process run for a share of the time, so that the engines have the rest of its core."""

    def __init__(self, process, share):
        self.process, self.share, self.is_over = process, share, threading.Event()
        self.thread = threading.Thread(target=self.act, daemon=True)
        if share < 1:
            self.thread.start()

    def act(self):
        while not self.is_over.wait(TURN * self.share):
            self.process.signal(signal.SIGSTOP)
            time.sleep(TURN * (1 - self.share))
            self.process.signal(signal.SIGCONT)

    def end(self):
        self.is_over.set()
        if self.thread.is_alive():
            self.thread.join()


def start(cluster):
    """What processors need, and nothing else: the engines of a cluster leave them little of two cores."""
    cluster.brokers = engines.start_kafka(cluster)
    cluster.s3, cluster.redis = {}, None
    cluster.nodes = engines.start_cassandra(cluster)
    cluster.init_store()


def fill(cluster, events):
    """Events in the log that nobody counts yet; how many."""
    gateway = cluster.add_role("gateway", 1, "log")
    say(f"{events} events into the log")
    command = [cluster.program, "load", "--url", gateway.url, "--events", str(events), "--items", "1000", "--skew", "0",
               "--batch", "1000", "--connections", "8", "--retry-for", "180", "--json"]
    done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    gateway.ask_to_end()
    gateway.join()
    return json.loads(done.stdout)["accepted"]


def partitions(processor):
    """What is counted and what waits in each partition that a processor has."""
    status, body = ask(processor.url + "/v1/admin/partitions")
    rows = json.loads(body)["partitions"] if status == 200 else []
    return {row["partition"]: (row["counted"], row["lag_events"]) for row in rows}


def rate(cluster, cores, share):
    """Events a second that a processor on each of the cores counts, while all partitions have events that wait."""
    processors = [
        cluster.add_role("processor", number, "log", "store", wait=False, before=["taskset", "-c", str(core)])
        for number, core in enumerate(cores, 1)]
    for processor in processors:
        processor.wait()
    shares = [Share(processor, share) for processor in processors]

    def look():
        of_each = [partitions(processor) for processor in processors]
        return {number: row for rows in of_each for number, row in rows.items()}, all(of_each)

    seen = {}

    def are_all_counted():
        now, has_each_some = look()
        is_moving = has_each_some and len(now) == int(cluster.sizes.partitions) and all(
            counted > seen.get(number, (counted, 0))[0] for number, (counted, _) in now.items())
        seen.update(now)
        if has_each_some and all(lag == 0 for _, lag in now.values()):
            raise Failed("all was counted before the rate was taken; try again with more --events")
        return is_moving

    try:
        wait_until("all partitions are counted", are_all_counted)
        began, (first, _) = time.monotonic(), look()
        last, ended = first, began
        while ended - began < SPAN and all(lag > 0 for _, lag in last.values()):
            time.sleep(LOOK)
            (last, _), ended = look(), time.monotonic()
            if last.keys() != first.keys():
                raise Failed("a partition changed hands while the rate was taken; try again with more --events")
    finally:
        for one in shares:
            one.end()
    for processor in processors:
        processor.ask_to_end()
    for processor in processors:
        processor.join()
    if ended - began < SPAN / 3:
        raise Failed(f"all was counted within {ended - began:.0f} s; try again with more --events")
    return sum(last[number][0] - first[number][0] for number in first) / (ended - began)


def scaling(cluster, events, share):
    """Prints the rates and their ratio; whether that is good."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("this takes two cores")
    accepted = fill(cluster, events)
    of_core = "" if share == 1 else f", each with {share:.0%} of its core"
    print(f"{accepted} events wait in the log{of_core}", flush=True)
    one = rate(cluster, cores[:1], share)
    print(f"one processor:  {one:9.0f} events/s", flush=True)
    two = rate(cluster, cores[:2], share)
    is_good = two / one >= TARGET
    print(f"two processors: {two:9.0f} events/s, {two / one:.2f} times as many (at least {TARGET}): "
          f"{'good' if is_good else 'NOT GOOD'}")
    return is_good
