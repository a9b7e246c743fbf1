"""The schema registry, and events of other versions of the schema, by Confluent's client and fastavro:
python registry_versions.py URL MESSAGES prints JSON. MESSAGES has messages in Confluent's wire format, in
hexadecimal digits, one a line."""

import io
import json
import sys
import urllib.request

import fastavro
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.serialization import MessageField, SerializationContext

SUBJECT = "tally-events-value"
url, messages = sys.argv[1], sys.argv[2]
registry = SchemaRegistryClient({"url": url})


def refusal(ask):
    """How the client understands an error."""
    try:
        return ask()
    except SchemaRegistryError as error:
        return [error.http_status_code, error.error_code]


def fields(schema, *without):
    return [field for field in schema["fields"] if field["name"] not in without]


today = json.loads(registry.get_schema(1).schema_str)
# Before stamps and attributes came; and with what may come, in another order.
older = {**today, "fields": fields(today, "source", "attributes")}
more = [
    {"name": "campaign", "type": ["null", "string"], "default": None},
    {"name": "priority", "type": "int", "default": 3},
]
newer = {**today, "fields": [more[0], *reversed(today["fields"]), more[1]]}
versions = {"older": older, "today": today, "newer": newer}


def plain(value):
    return value.hex() if isinstance(value, bytes) else str(value)


def read(reader, message):
    """A message as a consumer sees it that was built with the schema of another version."""
    deserialize = AvroDeserializer(registry, schema_str=json.dumps(reader))
    return deserialize(message, SerializationContext("tally-events", MessageField.VALUE))


def send(name, writer):
    """Sends a file that a producer of a version wrote."""
    event = {"id": f"by-{name}", "item": f"by-{name}", "type": "view", "time": None, "value": None}
    event |= {"attributes": {"country": "DE"}, "source": None, "campaign": "spring", "priority": 9}
    file = io.BytesIO()
    fastavro.writer(file, fastavro.parse_schema(json.loads(json.dumps(writer))), [event, event])
    headers = {"content-type": "application/avro"}
    request = urllib.request.Request(f"{url}/v1/events", file.getvalue(), headers)
    with urllib.request.urlopen(request) as answer:
        return json.load(answer)


latest = registry.get_latest_version(SUBJECT)
with open(messages) as lines:
    written = [bytes.fromhex(line) for line in lines]
print(
    json.dumps(
        {
            "subjects": registry.get_subjects(),
            "versions": registry.get_versions(SUBJECT),
            "latest": [latest.schema_id, latest.version, latest.subject, latest.schema.schema_type],
            "refusals": [
                refusal(lambda: registry.get_schema(7)),
                refusal(lambda: registry.get_versions("other")),
                refusal(lambda: registry.get_latest_version("other")),
                refusal(lambda: registry.get_version(SUBJECT, 2)),
            ],
            "read": {
                name: [read(schema, message) for message in written]
                for name, schema in versions.items()
            },
            "sent": {name: send(name, schema) for name, schema in versions.items()},
        },
        default=plain,
    )
)
