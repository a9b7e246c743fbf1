"""All of it together: engines, roles, load balancers."""

import subprocess

from . import engines
from .process import Process, ask, free_port, say

#: Who writes first; engines last, all of one kind at once.
STOP_ORDER = ("proxy", "gateway", "processor", "query", "redis", "s3", "kafka", "cassandra")


class Cluster:
    """Everything that runs, by name."""

    def __init__(self, folder, program, sizes, copies=3):
        self.folder, self.program, self.sizes = folder, program, sizes
        #: Of everything, each on a broker or node of its own.
        self.copies = copies
        self.all, self.urls = {}, {}

    def add(self, name, command, is_up, env=None, wait=True, tries=1):
        self.all[name] = Process(self.folder, name, command, is_up, env, tries)
        return self.all[name].start(wait)

    def __getitem__(self, name):
        return self.all[name]

    def died(self):
        """The names of those that ended although nobody ended them."""
        return [name for name, process in self.all.items() if process.wanted and process.has_ended()]

    def start(self):
        self.brokers = engines.start_kafka(self)
        self.s3 = engines.start_s3(self)
        self.redis = engines.start_redis(self)
        self.nodes = engines.start_cassandra(self)
        self.init_store()
        self.start_roles()
        self.urls = {"nginx": engines.start_nginx(self), "haproxy": engines.start_haproxy(self)}

    def stop(self):
        """Stops everything; the names of those that had to be killed."""
        killed = []
        for kind in STOP_ORDER:
            processes = [process for name, process in self.all.items() if name.startswith(kind)]
            for process in processes:
                process.ask_to_end()
            killed += [process.name for process in processes if process.join() is None]
        return killed

    def settings(self, *names):
        """Flags that place what a role uses."""
        places = {
            "log": f"kafka://{self.brokers}/events?replication-factor={self.copies}",
            "store": f"cassandra://{self.nodes}/tally",
            "cache": self.redis,
            "archive": "s3://tally/archive",
        }
        return [part for name in names for part in (f"--{name}", places[name])]

    def init_store(self):
        say("the schema of the counters")
        store = self.settings("store")[1]
        with open(self.folder / "store-init.log", "ab") as output:
            subprocess.run([self.program, "store", "init", "--store", store, "--replication",
                            str(self.copies)],
                           check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)

    def add_role(self, kind, number, *names, wait=True, before=(), flush_interval=None):
        """Starts a role; the words `before` its command may place it."""
        port, name = free_port(), f"{kind}-{number}"
        url = f"http://127.0.0.1:{port}"
        command = [*before, self.program, kind, "--listen", f"127.0.0.1:{port}", "--data-dir", self.folder / name,
                   "--partitions", self.sizes.partitions, "--flush-interval",
                   flush_interval or self.sizes.flush_interval,
                   "--drain-delay", "1s", *self.settings(*names)]
        env = {**self.s3, "TALLY_LOG_LEVEL": "info"}
        process = self.add(name, command, lambda: ask(url + "/readyz")[0] == 200, env, wait, tries=30)
        process.port, process.url = port, url
        return process

    def add_processor(self, number, **how):
        return self.add_role("processor", number, "log", "store", "archive", **how)

    def start_roles(self):
        say("two gateways, two processors, two query nodes")
        # One makes the topic.
        self.add_role("gateway", 1, "log")
        self.add_role("gateway", 2, "log", wait=False)
        for number in (1, 2):
            self.add_processor(number, wait=False)
            self.add_role("query", number, "log", "store", "cache", "archive", wait=False)
        for name in ("gateway-2", "processor-1", "processor-2", "query-1", "query-2"):
            self[name].wait()
