"""Load on a cluster, what its users see of it meanwhile, and whether every event was counted once."""

import datetime
import json
import pathlib
import subprocess
import threading
import time
import urllib.parse
import uuid

from .process import Failed, ask, wait_until

#: Items of the load: few, so that each fault meets rows that are being written.
ITEMS = 200
TYPES = ("view", "like", "share")
#: An item of its own tells how soon an event is taken.
PROBE = "drill-probe"
#: A request that takes longer stood still.
SLOW = 2.0
#: Users who wait between two looks.
PAUSE = 0.2
#: Disturbances that are nearer to each other are one.
MEND = 2.0
#: What a late writer would count twice shows after so long.
CALM = 5.0


def now():
    return datetime.datetime.now(datetime.timezone.utc)


class Users:
    """Somebody who writes and somebody who asks, one request after the other, through a load balancer."""

    def __init__(self, url):
        self.url = url
        self.is_over = threading.Event()
        #: Beginning, end, whether it was answered well.
        self.writes, self.questions = [], []
        #: When it was asked, and how old the counters were, in seconds.
        self.ages = []
        #: Probes that were accepted, and attempts that were not.
        self.probes = self.refused = 0
        self.threads = [threading.Thread(target=act, daemon=True) for act in (self.write, self.question)]
        for thread in self.threads:
            thread.start()

    def write(self):
        while not self.is_over.wait(PAUSE):
            key, began = str(uuid.uuid4()), time.monotonic()
            event = json.dumps({"item": PROBE, "id": key, "type": "view"}).encode()
            headers = {"Content-Type": "application/json", "Idempotency-Key": key}
            # What was not confirmed is sent again, as it was: an event that is given up proves nothing.
            for _ in range(600):
                status, _ = ask(self.url + "/v1/events", event, headers, 40)
                if status == 202:
                    break
                self.refused += 1
                time.sleep(PAUSE)
            self.probes += 1
            self.writes.append((began, time.monotonic()))

    def question(self):
        while not self.is_over.wait(PAUSE):
            began = time.monotonic()
            status, body = ask(f"{self.url}/v1/top?type=view&window=1h&limit=3")
            ended = time.monotonic()
            self.questions.append((began, ended, status == 200))
            if status == 200:
                as_of = datetime.datetime.fromisoformat(json.loads(body)["as_of"].replace("Z", "+00:00"))
                self.ages.append((ended, (now() - as_of).total_seconds()))

    def finish(self):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def failed_questions(self):
        return sum(not is_good for _, _, is_good in self.questions)

    def slowest(self, what):
        return max((entry[1] - entry[0] for entry in what), default=0.0)

    def disturbed(self, fault_at):
        """From when until when something was not as before the fault: writes, questions, or how old counters are."""
        usual = self.usual_age(fault_at)
        spans = [(began, ended) for began, ended in self.writes if ended - began > SLOW]
        spans += [(began, ended) for began, ended, is_good in self.questions if not is_good or ended - began > SLOW]
        # What is too old now has stood still since it was as old as usual.
        spans += [(at - (age - usual), at) for at, age in self.ages if at > fault_at and age > 2 * usual + 1.0]
        return sorted(span for span in spans if span[1] > fault_at)

    def usual_age(self, fault_at):
        """How old counters are while nothing is wrong. The first events after a pause make them look older."""
        before = sorted(age for at, age in self.ages if at < fault_at)
        return before[len(before) // 2] if before else 0.0

    def oldest(self, fault_at):
        """How old counters were at worst."""
        return max((age for at, age in self.ages if at > fault_at), default=0.0)

    def recovered(self, fault_at):
        """Seconds until all was as before again: the longest stretch in which it was not."""
        longest, began, until = 0.0, fault_at, fault_at
        for start, ended in self.disturbed(fault_at):
            if start > until + MEND:
                began = start
            until = max(until, ended)
            longest = max(longest, until - max(began, fault_at))
        return longest


class Oracle:
    """What must be counted by now, of all loads together."""

    def __init__(self):
        self.events, self.probes, self.began = 0, 0, now()

    def counted(self, url):
        """All counters together, as totals and as hours say, and the probes."""
        start = self.began.replace(minute=0, second=0, microsecond=0)
        end = start + datetime.timedelta(hours=24)
        span = urllib.parse.urlencode({"start": start.isoformat(), "end": end.isoformat(), "limit": 1000})
        totals = hours = probes = 0
        for kind in TYPES:
            ranked = {row["item"]: row["count"] for row in get(f"{url}/v1/top?type={kind}&{span}")["items"]}
            probes += ranked.pop(PROBE, 0)
            hours += sum(ranked.values())
            items = urllib.parse.urlencode([("item", item) for item in ranked])
            if items:
                totals += sum(row["count"] for row in get(f"{url}/v1/counts?type={kind}&{items}")["counts"])
        return totals, hours, probes

    def differs(self, url, patience=60):
        """Waits until all is counted; what differs even so, or none."""
        expected = (self.events, self.events, self.probes)
        found = [self.counted(url)]

        def is_equal():
            found[0] = self.counted(url)
            return found[0] == expected

        try:
            wait_until("all is counted", is_equal, patience)
            time.sleep(CALM)
        except Failed:
            pass
        return None if is_equal() else f"totals, hours, probes: {found[0]} instead of {expected}"


def get(url):
    status, body = ask(url, seconds=30)
    if status != 200:
        raise Failed(f"{url[:120]}: status {status}: {body[:300]}")
    return json.loads(body)


class Load:
    """Events by schedule through a load balancer, and their oracle."""

    def __init__(self, cluster, url, seconds, rate):
        self.output = pathlib.Path(cluster.folder) / "load.log"
        command = [
            cluster.program, "load", "--url", url, "--rate", str(rate), "--duration", f"{int(seconds)}s",
            "--items", str(ITEMS), "--batch", "50", "--connections", "8", "--duplicates", "0.02",
            "--seed", str(time.time_ns() % 1_000_000_007), "--idempotency-keys", "--verify", "--patience", "120s",
            "--retry-for", "180", "--json"]
        with open(self.output, "ab") as errors:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=errors,
                                          text=True, start_new_session=True)

    def finish(self):
        printed, _ = self.child.communicate()
        try:
            return json.loads(printed)
        except ValueError:
            raise Failed(f"the load ended with {self.child.returncode}; see {self.output}") from None

    def kill(self):
        if self.child.poll() is None:
            self.child.kill()
            self.child.wait()
