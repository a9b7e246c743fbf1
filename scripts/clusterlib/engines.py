"""The engines beneath Tally: Kafka, Cassandra, Redis, an S3 server, and what stands before it."""

import base64
import os
import subprocess
import uuid

from .process import ROOT, answers, ask, free_port, outside, say

KEY = {"AWS_ACCESS_KEY_ID": "tally", "AWS_SECRET_ACCESS_KEY": "only-on-loopback", "AWS_REGION": "us-east-1"}
#: Small machines have many of these at once.
JAVA = ["java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xss512k"]

BROKER = """\
process.roles=broker,controller
node.id={node}
controller.quorum.voters={voters}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs={folder}/data
num.network.threads=2
num.io.threads=4
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=1
transaction.state.log.replication.factor={copies}
group.initial.rebalance.delay.ms=0
auto.create.topics.enable=false
broker.session.timeout.ms=6000
unclean.leader.election.enable=false
"""


def start_kafka(cluster):
    """As many brokers as there are copies; their addresses."""
    say(f"Kafka brokers: {cluster.copies}")
    jars = outside("kafka")
    # The first byte keeps it from beginning with a dash, which the tool would take for an option.
    name = base64.urlsafe_b64encode(b"t" + uuid.uuid4().bytes[1:]).decode().rstrip("=")
    ports = [(free_port(), free_port()) for _ in range(cluster.copies)]
    voters = ",".join(f"{node}@127.0.0.1:{controller}" for node, (_, controller) in enumerate(ports, 1))
    java = [*(JAVA if cluster.copies > 1 else ["java"]), f"-Xmx{cluster.sizes.kafka_heap}", "-cp", f"{jars}/*"]
    for node, (port, controller) in enumerate(ports, 1):
        folder = cluster.folder / f"kafka-{node}"
        folder.mkdir()
        settings = folder / "server.properties"
        settings.write_text(
            BROKER.format(node=node, voters=voters, port=port, controller=controller, folder=folder,
                          copies=cluster.copies))
        with open(folder / "format.log", "wb") as output:
            subprocess.run([*java, "kafka.tools.StorageTool", "format", "--cluster-id", name, "--config", settings],
                           check=True, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        cluster.add(f"kafka-{node}", [*java, "kafka.Kafka", settings],
                    lambda port=port: answers("127.0.0.1", port), wait=False)
    for node, _ in enumerate(ports, 1):
        cluster[f"kafka-{node}"].wait()
    return ",".join(f"127.0.0.1:{port}" for port, _ in ports)


def start_cassandra(cluster):
    """As many nodes as there are copies; their addresses."""
    say(f"Cassandra nodes, one after the other, some 30 seconds each: {cluster.copies}")
    addresses = [f"127.0.0.{node}" for node in range(1, cluster.copies + 1)]
    native, storage = free_port(addresses), free_port(addresses)
    for node, address in enumerate(addresses, 1):
        cluster.add(f"cassandra-{node}", [ROOT / "scripts/cassandra-node", cluster.folder / f"cassandra-{node}", native],
                    lambda address=address: answers(address, native),
                    {"CASSANDRA_ADDRESS": address, "CASSANDRA_STORAGE_PORT": str(storage),
                     "CASSANDRA_SEED": f"{addresses[0]}:{storage}", "CASSANDRA_HEAP": cluster.sizes.cassandra_heap})
    return ",".join(f"{address}:{native}" for address in addresses)


def start_redis(cluster):
    """One Redis, a cache and nothing else; its URL."""
    say("Redis")
    program, port = outside("redis"), free_port()
    cluster.add("redis", [program, "--port", port, "--bind", "127.0.0.1", "--save", "", "--maxmemory", "64mb",
                          "--maxmemory-policy", "allkeys-lru", "--dir", cluster.folder],
                lambda: answers("127.0.0.1", port))
    return f"redis://127.0.0.1:{port}"


def start_s3(cluster):
    """An S3 server with one bucket; the environment that finds it."""
    say("an S3 server")
    jar, port = outside("s3"), free_port()
    (cluster.folder / "s3/tally").mkdir(parents=True)
    settings = cluster.folder / "s3.conf"
    settings.write_text(f"""\
s3proxy.endpoint=http://127.0.0.1:{port}
s3proxy.authorization=aws-v2-or-v4
s3proxy.identity={KEY["AWS_ACCESS_KEY_ID"]}
s3proxy.credential={KEY["AWS_SECRET_ACCESS_KEY"]}
jclouds.provider=filesystem-nio2
jclouds.filesystem.basedir={cluster.folder}/s3
""")
    cluster.add("s3", [*JAVA, "-Xmx256m", "-jar", jar, "--properties", settings], lambda: answers("127.0.0.1", port))
    return {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}", **KEY}


def placed(cluster, file, port):
    """The shipped configuration of a load balancer, in which ports alone are other ones."""
    text = (ROOT / "deploy/cluster" / file).read_text()
    ports = {"80": port, "8081": cluster["gateway-1"].port, "8082": cluster["gateway-2"].port,
             "8083": cluster["query-1"].port, "8084": cluster["query-2"].port}
    for usual, real in ports.items():
        before = text
        for end in (";", " ", "\n"):
            text = text.replace(f"127.0.0.1:{usual}{end}", f"127.0.0.1:{real}{end}")
        if text == before:
            raise AssertionError(f"{file} has no address with port {usual}")
    return text


def start_nginx(cluster):
    """NGINX before gateways and query nodes; its URL."""
    say("NGINX before them")
    port, folder = free_port(), cluster.folder / "nginx"
    folder.mkdir()
    # Nobody's files are not to be found under a scratch folder: workers stay who they are.
    user = "user root;\n" if os.getuid() == 0 else ""
    head = f"{user}daemon off;\nworker_processes 2;\npid {folder}/pid;\nerror_log stderr;\n"
    head += "events { worker_connections 4096; }\nhttp {\naccess_log off;\n"
    paths = "".join(f"{kind}_temp_path {folder}/{kind};\n"
                    for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi"))
    settings = folder / "nginx.conf"
    settings.write_text(head + paths + placed(cluster, "nginx.conf", port) + "}\n")
    command = [outside("nginx"), "-p", folder, "-e", folder / "early", "-c", settings]
    url = f"http://127.0.0.1:{port}"
    cluster.add("proxy-nginx", command, lambda: ask(url + "/readyz")[0] == 200)
    return url


def start_haproxy(cluster):
    """HAProxy before gateways and query nodes; its URL."""
    say("HAProxy before them")
    port, folder = free_port(), cluster.folder / "haproxy"
    folder.mkdir()
    text = placed(cluster, "haproxy.cfg", port)
    # It is nobody else here, and needs no right to become one.
    text = text.replace("    user haproxy\n    group haproxy\n", "")
    settings = folder / "haproxy.cfg"
    settings.write_text(text)
    url = f"http://127.0.0.1:{port}"
    cluster.add("proxy-haproxy", [outside("haproxy"), "-f", settings], lambda: ask(url + "/readyz")[0] == 200)
    return url
