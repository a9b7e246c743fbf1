"""Counts events with Tally from Python, with nothing but the standard library.

Every event gets its id before the first attempt, so a request may be sent again: it counts once.
"""

import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid

URL = os.environ.get("TALLY_URL", "http://127.0.0.1:8080")
KEY = os.environ.get("TALLY_KEY")
TEMPORARY = {408, 429, 500, 502, 503, 504}


def ask(path, body=None, attempts=6):
    """One request, again while the reason to fail is temporary. Returns the JSON of the answer."""
    headers = {"Authorization": f"Bearer {KEY}"} if KEY else {}
    if body is not None:
        headers["Content-Type"] = "application/json"
        body = json.dumps(body).encode()
    for attempt in range(attempts):
        pause = 0.1 * 2**attempt
        try:
            request = urllib.request.Request(URL + path, data=body, headers=headers)
            with urllib.request.urlopen(request, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code not in TEMPORARY or attempt + 1 == attempts:
                raise RuntimeError(error.read().decode()) from error
            pause = max(pause, float(error.headers.get("Retry-After", 0)))
        except (urllib.error.URLError, TimeoutError):
            if attempt + 1 == attempts:
                raise
        time.sleep(pause)


def count(events):
    """Counts events, each once. Returns how many were accepted."""
    for event in events:
        event.setdefault("id", str(uuid.uuid4()))
    answer = ask("/v1/events", events)
    for refused in answer["rejected"]:
        print("refused:", events[refused["index"]], refused["detail"])
    return answer["accepted"]


if __name__ == "__main__":
    accepted = count(
        [
            {"item": "python-example", "type": "watch", "value": 12.5},
            {"item": "python-example", "type": "watch", "value": 30, "attributes": {"country": "DE"}},
        ]
    )
    print(f"{accepted} accepted")
    time.sleep(1)  # counted within a second
    item = urllib.parse.quote("python-example", safe="")
    stats = ask(f"/v1/items/{item}/stats?type=watch&function=count,sum,average&step=total")
    print(stats["total"])
