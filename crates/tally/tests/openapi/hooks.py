"""What schemathesis needs to know of Tally beside the document; scripts/test-openapi loads it."""

import io
import json
import os
import pathlib
import urllib.parse
import uuid

import fastavro
import jsonschema_rs
import schemathesis
from hypothesis import strategies as st
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

HERE = pathlib.Path(__file__).parent
SCRATCH = pathlib.Path(os.environ["TALLY_SCRATCH"])
# `tk_`, an id, `_`, a secret.
OWN_KEY_ID = os.environ.get("TALLY_KEY", "__").split("_")[1]

# Bodies that no schema describes: made here, so that most of them are good.
EVENTS = st.lists(
    st.fixed_dictionaries(
        {"item": st.text("abcdefü/+ ", min_size=1, max_size=8)},
        optional={
            "id": st.uuids(version=4).map(str),
            "type": st.sampled_from(["view", "like"]),
            "value": st.integers(-1000, 1000),
            "attributes": st.dictionaries(st.text("ab", min_size=1, max_size=3), st.text(max_size=3)),
        },
    ),
    min_size=1,
    max_size=5,
)
SCHEMA = fastavro.parse_schema(json.loads((HERE / "../../../model/src/event.avsc").read_text()))


def lines(events):
    return "".join(json.dumps(event) + "\n" for event in events).encode()


def avro(events):
    file = io.BytesIO()
    plain = [{"item": e["item"], "type": e.get("type", "view"), "attributes": e.get("attributes", {})} for e in events]
    fastavro.writer(file, SCHEMA, plain)
    return file.getvalue()


def csv(events):
    rows = [f"{event['item']},{event.get('type', 'view')}\n" for event in events]
    return ("item,type\n" + "".join(rows)).encode()


schemathesis.openapi.media_type("application/x-ndjson", EVENTS.map(lines))
schemathesis.openapi.media_type("application/avro", EVENTS.map(avro))
schemathesis.openapi.media_type("text/csv", EVENTS.map(csv))
# Kept whole and read later: whether it can be is told by the job.
parquet = st.binary(max_size=64).map(lambda some: b"PAR1" + some)
schemathesis.openapi.media_type("application/vnd.apache.parquet", parquet)


@schemathesis.hook
def before_init_operation(context, operation):
    # NDJSON by another name is taken from a public key alone (tests/it/keys.rs), which is none of these runs'.
    operation.body.items = [body for body in operation.body if body.media_type != "text/plain"]
    # Beside the bodies made above only bytes are taken as examples.
    for body in operation.body:
        example = body.definition.get("example")
        if body.media_type == "application/x-ndjson" and isinstance(example, str):
            body.definition["example"] = example.encode()


@schemathesis.hook
def before_call(context, case, kwargs):
    # What no schema says: these two headers come together.
    if case.headers and ("Tally-Source" in case.headers) != ("Tally-Sequence" in case.headers):
        case.headers.pop("Tally-Source", None)
        case.headers.pop("Tally-Sequence", None)
    # Nor that a window has no start and no end.
    if case.query and "window" in case.query:
        case.query.pop("start", None)
        case.query.pop("end", None)
    # Bodies are not compressed here, whatever is said of them (src/http/body.rs has tests of that).
    if case.headers and case.headers.get("Content-Encoding") in ("gzip", "zstd"):
        case.headers["Content-Encoding"] = "identity"
    operation = case.operation.definition.raw.get("operationId")
    # A backup goes where it is told to on this machine: it is told to go to the scratch folder.
    if operation == "beginBackup" and isinstance(case.body, dict):
        folder = case.body.get("folder")
        if isinstance(folder, str) and folder.startswith("/"):
            case.body["folder"] = str(SCRATCH / "backups" / uuid.uuid4().hex)
    # Whoever revokes the own key can ask for nothing more.
    if operation == "revokeKey" and case.path_parameters.get("id") == OWN_KEY_ID:
        case.path_parameters["id"] = "0" * 12


@schemathesis.check
def bad_events_are_rejected(context, response, case):
    """Where some of a list is bad, the answer says of what."""
    is_list = case.operation.definition.raw.get("operationId") in ("postEvents", "postItems")
    body = case.meta.components.get(ParameterLocation.BODY) if case.meta else None
    is_bad = body is not None and body.mode == GenerationMode.NEGATIVE
    if is_list and is_bad and response.status_code < 300:
        assert response.json()["rejected"], "nothing of what is bad was rejected"


# What no schema can say: how old an event is, that a range begins before it ends and is not too long, which
# scopes go together, which partitions there are, what a filter of log lines is.
BEYOND_SCHEMAS = {
    *("event_too_old", "event_in_future", "invalid_time"),
    *("invalid_range", "too_many_points"),
    *("invalid_key", "invalid_routing", "invalid_filter"),
}
# Nor how many bytes a text has that is not ASCII.
OF_BYTES = {"invalid_item", "invalid_details", "invalid_attributes"}


@schemathesis.check
def what_the_document_allows_is_refused_for_a_reason(context, response, case):
    """422 for what the document allows is only for rules that it cannot say."""
    is_good = case.meta is not None and case.meta.generation.mode == GenerationMode.POSITIVE
    if response.status_code != 422 or not is_good:
        return
    problem = response.json()
    codes = {event["code"] for event in problem.get("rejected", [])} or {problem["code"]}
    texts = urllib.parse.unquote(response.request.url) + json.dumps(case.body, ensure_ascii=False, default=str)
    # Values that other paths took are tried too: the pages of items take any.
    is_plain = texts.isascii() and texts.isprintable()
    allowed = BEYOND_SCHEMAS if is_plain else BEYOND_SCHEMAS | OF_BYTES
    assert codes <= allowed, problem


@schemathesis.check
def problems_say_their_status(context, response, case):
    """An error body has the status of the answer, and a code that the document lists."""
    if response.headers.get("content-type", [""])[0] != "application/problem+json":
        return
    problem = response.json()
    assert problem["status"] == response.status_code, problem
    codes = case.operation.schema.raw_schema["components"]["schemas"]["ProblemCode"]["enum"]
    assert problem["code"] in codes, problem
    assert problem["type"] == f"/problems/{problem['code']}", problem
    assert problem.get("detail"), "it does not say what happened"


@schemathesis.check
def lines_conform(context, response, case):
    """Every line of NDJSON is what the document says of a line."""
    if response.headers.get("content-type", [""])[0] != "application/x-ndjson":
        return
    document = case.operation.schema.raw_schema
    media = case.operation.definition.raw["responses"][str(response.status_code)]["content"]
    line = {**media["application/x-ndjson"]["schema"], "components": document["components"]}
    validator = jsonschema_rs.Draft202012Validator(line)
    for text in response.content.splitlines():
        errors = [error.message for error in validator.iter_errors(json.loads(text))]
        assert not errors, errors
