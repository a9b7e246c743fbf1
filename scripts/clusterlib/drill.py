"""One fault after the other under load, and a table of what came of them."""

import time

from .faults import FAULTS, UNNOTICED
from .load import Load, Oracle, Users
from .process import Failed, say

HEAD = ("fault", "recovered, s", "events", "equal", "counters wrong", "client errors", "longest write, s",
        "questions", "failed", "longest, s", "counters' age: usual, worst, s")
#: The load goes on for so long before anything happens, so that it is known what is usual.
BEFORE = 10.0


def under_load(cluster, oracle, name, seconds, rate):
    """Runs a fault in the middle of a load; a row of the table, and what was wrong."""
    title, proxy, fault, longer = FAULTS[name]
    url = cluster.urls[proxy]
    users, load, wrong = Users(url), Load(cluster, url, BEFORE + seconds + longer, rate), []
    try:
        time.sleep(BEFORE)
        fault_at = time.monotonic()
        fault(cluster)
        report = load.finish()
    finally:
        load.kill()
        users.finish()
    check = report.get("verification") or {}
    oracle.events += check.get("expected", 0)
    oracle.probes += users.probes
    differs = oracle.differs(url)
    errors = sum(report["errors"].values()) + users.refused
    if check.get("mismatches") != 0:
        wrong.append(f"{check.get('mismatches')} counters differ: {check.get('examples')}")
    if differs:
        wrong.append(differs)
    if report["rejected"] or report["unknown"] or report.get("stopped_by"):
        wrong.append(f"{report['rejected']} events rejected, {report['unknown']} unknown: {report['errors']}")
    is_equal = not wrong
    if users.failed_questions():
        wrong.append(f"{users.failed_questions()} questions had no answer")
    if errors and name in UNNOTICED:
        wrong.append(f"clients met errors: {report['errors']}, {users.refused} of the probes")
    died = cluster.died()
    if died:
        wrong.append(f"{', '.join(died)} ended by itself")
    row = (title, f"{users.recovered(fault_at):.1f}", report["accepted"], "yes" if is_equal else "NO",
           check.get("mismatches"), errors, f"{users.slowest(users.writes):.1f}", len(users.questions),
           users.failed_questions(), f"{users.slowest(users.questions):.1f}",
           f"{users.usual_age(fault_at):.1f}, {users.oldest(fault_at):.1f}")
    return row, wrong


def table(rows):
    widths = [max(len(str(row[at])) for row in [HEAD, *rows]) for at in range(len(HEAD))]
    lines = ["  ".join(str(cell).ljust(width) for cell, width in zip(row, widths)).rstrip() for row in [HEAD, *rows]]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def drill(cluster, names, seconds, rate):
    """Whether all went as it must."""
    rows, all_wrong, oracle = [], [], Oracle()
    for name in names or FAULTS:
        say(FAULTS[name][0])
        try:
            row, wrong = under_load(cluster, oracle, name, seconds, rate)
        except Failed as error:
            all_wrong.append(f"{name}: {error}")
            say(f"  {error}")
            break
        rows.append(row)
        say("  " + ", ".join(f"{head} {cell}" for head, cell in zip(HEAD[1:], row[1:])))
        for what in wrong:
            say(f"  WRONG: {what}")
        all_wrong += [f"{name}: {what}" for what in wrong]
    print(table(rows))
    print(f"\n{oracle.events} different events and {oracle.probes} probes at {rate} events/s: "
          + ("every counter equals the oracle after every fault" if not all_wrong else "NOT as it must be:"))
    print("".join(f"  {what}\n" for what in all_wrong), end="", flush=True)
    return not all_wrong
