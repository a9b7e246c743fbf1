"""One processor, then two, each on a core of its own, counting what waits in the log."""

import collections
import json
import os
import signal
import subprocess
import threading
import time
import typing

from . import engines
from .process import Failed, ask, say, wait_until

#: A rate is taken over so long, once all partitions are being counted.
SPAN = 15.0
LOOK = 0.25
#: A processor that has a share of its core runs and stands still in turns, together so long.
TURN = 0.05
TARGET = 1.7
WARM_UP = "60s"


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


def load(cluster, *how):
    """Sends events through a gateway that is there for that alone; how many."""
    gateway = cluster.add_role("gateway", 1, "log")
    command = [cluster.program, "load", "--url", gateway.url, "--items", "1000", "--skew", "0", "--batch", "1000",
               "--connections", "8", "--retry-for", "180", "--json", *how]
    done = subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True)
    gateway.ask_to_end()
    gateway.join()
    return json.loads(done.stdout)["accepted"]


def warm_up(cluster):
    """Lets the engines compile what counting asks of them: that took more of a core than their work."""
    say(f"warming up, {WARM_UP}")
    processor = cluster.add_role("processor", 0, "log", "store", flush_interval="200ms")
    load(cluster, "--duration", WARM_UP, "--rate", "100000")
    processor.ask_to_end()
    processor.join()


def partitions(processor):
    """What is counted and what waits in each partition that a processor has."""
    status, body = ask(processor.url + "/v1/admin/partitions")
    rows = json.loads(body)["partitions"] if status == 200 else []
    return {row["partition"]: (row["counted"], row["lag_events"]) for row in rows}


class Rate(typing.NamedTuple):
    """How fast events were counted, and the CPU-seconds that a million of them took of each kind of process."""

    per_second: float
    cpu_seconds: dict

    def __str__(self):
        taken = ", ".join(f"{seconds:.2f} {kind}" for kind, seconds in self.cpu_seconds.items())
        return f"{self.per_second:9.0f} events/s; CPU-seconds a million events: {taken}"


def cpu_seconds(cluster):
    """CPU time that each kind of process has taken so far."""
    taken = collections.Counter()
    for name, process in cluster.all.items():
        if not process.has_ended():
            taken[name.split("-")[0]] += process.cpu_seconds()
    return taken


def rate(cluster, cores, share):
    """A processor on each of the cores, while all partitions have events that wait."""
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
        before = cpu_seconds(cluster)
        began, (first, _) = time.monotonic(), look()
        last, ended = first, began
        while ended - began < SPAN and all(lag > 0 for _, lag in last.values()):
            time.sleep(LOOK)
            (last, _), ended = look(), time.monotonic()
            if last.keys() != first.keys():
                raise Failed("a partition changed hands while the rate was taken; try again with more --events")
        after = cpu_seconds(cluster)
    finally:
        for one in shares:
            one.end()
    for processor in processors:
        processor.ask_to_end()
    for processor in processors:
        processor.join()
    if ended - began < SPAN / 3:
        raise Failed(f"all was counted within {ended - began:.0f} s; try again with more --events")
    events = sum(last[number][0] - first[number][0] for number in first)
    taken = {kind: seconds / events * 1e6 for kind, seconds in (after - before).items()}
    return Rate(events / (ended - began), taken)


def scaling(cluster, events, share):
    """Prints the rates and their ratio; whether that is good."""
    cores = sorted(os.sched_getaffinity(0))
    if len(cores) < 2:
        raise Failed("this takes two cores")
    warm_up(cluster)
    say(f"{events} events into the log")
    accepted = load(cluster, "--events", str(events))
    of_core = "" if share == 1 else f", each with {share:.0%} of its core"
    print(f"{accepted} events wait in the log{of_core}", flush=True)
    one = rate(cluster, cores[:1], share)
    print(f"one processor:  {one}", flush=True)
    two = rate(cluster, cores[:2], share)
    print(f"two processors: {two}", flush=True)
    ratio = two.per_second / one.per_second
    is_good = ratio >= TARGET
    print(f"{ratio:.2f} times as many (at least {TARGET}): {'good' if is_good else 'NOT GOOD'}")
    return is_good
