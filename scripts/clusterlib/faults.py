"""What happens to a cluster under load."""

import signal
import time


def killed(name, away=3.0):
    """A process is killed and comes back."""
    def fault(cluster):
        cluster[name].kill()
        time.sleep(away)
        cluster[name].start()
    return fault


def zombie(cluster):
    """Longer than the session of 10 s, and than it takes the others to take over."""
    cluster["processor-2"].signal(signal.SIGSTOP)
    time.sleep(30)
    cluster["processor-2"].signal(signal.SIGCONT)
    cluster["processor-2"].wait()


def storm(cluster):
    """A third processor comes and is killed, again and again: its share moves each time."""
    for _ in range(4):
        third = cluster.add_processor(3)
        time.sleep(2)
        third.kill()
        time.sleep(1)
    # It leaves orderly for once.
    third.start()
    third.ask_to_end()
    third.join()


def together(cluster):
    names = ["processor-1", "gateway-1", "kafka-2", "cassandra-2", "redis", "query-1"]
    for name in names:
        cluster[name].kill()
    time.sleep(3)
    for name in reversed(names):
        cluster[name].start(wait=False)
    for name in names:
        cluster[name].wait()


#: Name: what happens, what stands before the cluster, how, how much longer than usual the load is.
FAULTS = {
    "processor": ("kill -9 of a processor", "nginx", killed("processor-1"), 20),
    "gateway": ("kill -9 of a gateway behind NGINX", "nginx", killed("gateway-1"), 0),
    "query": ("kill -9 of a query node behind NGINX", "nginx", killed("query-1"), 0),
    "gateway-haproxy": ("kill -9 of a gateway behind HAProxy", "haproxy", killed("gateway-2"), 0),
    "query-haproxy": ("kill -9 of a query node behind HAProxy", "haproxy", killed("query-2"), 0),
    "broker": ("kill -9 of a Kafka broker", "nginx", killed("kafka-1"), 30),
    "node": ("kill -9 of a Cassandra node", "nginx", killed("cassandra-2"), 40),
    "redis": ("kill -9 of Redis", "nginx", killed("redis"), 0),
    "zombie": ("a processor stopped for 30 s (its session: 10 s), then woken", "nginx", zombie, 50),
    "storm": ("a third processor comes and is killed, four times", "nginx", storm, 40),
    "s3": ("the S3 server gone for a minute", "nginx", killed("s3", 60), 60),
    "together": ("processor, gateway, broker, node, Redis and query node at once", "haproxy", together, 60),
}
#: Of these no client must notice anything.
UNNOTICED = {"gateway", "query", "gateway-haproxy", "query-haproxy", "redis", "s3"}
