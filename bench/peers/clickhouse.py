"""ClickHouse in this process: blocks of 100,000 into a table and views that count and sum, each durable
before the next.

What was there before is not looked for while inserting: a question would have to do that. So this
counts repeats twice, and does less than Tally.
"""

import time

import chdb.session

import events

path, folder = events.arguments()
session = chdb.session.Session(folder + "/clickhouse")
session.query("create database counts engine = Atomic")
session.query("use counts")
# Else an insert returns before it is durable.
durable = "settings fsync_after_insert = 1, fsync_part_directory = 1"
session.query(f"""
  create table events (id String, item String, type LowCardinality(String), time DateTime64(3), value Nullable(Float64))
  engine = MergeTree order by (item, type, time) {durable}""")
for name, of_time in [
    ("minutes", "toStartOfMinute(time)"),
    ("hours", "toStartOfHour(time)"),
    ("totals", "toDateTime(0)"),
]:
    session.query(f"""
      create table {name} (item String, type LowCardinality(String), time DateTime, count UInt64, micros Int128)
      engine = SummingMergeTree order by (item, type, time) {durable}""")
    session.query(f"""
      create materialized view into_{name} to {name} as
      select item, type, {of_time} as time, count() as count,
        sum(toInt128(round(ifNull(value, 0) * 1000000))) as micros
      from events group by item, type, time""")

# ClickHouse reads NDJSON itself; files of a block each are what a client would post.
began = time.perf_counter()
taken = 0
block = f"{folder}/block.ndjson"
seconds = 0.0
with open(path, "rb") as file:
    while lines := [line for _, line in zip(range(100_000), file)]:
        with open(block, "wb") as out:
            out.writelines(lines)
        began = time.perf_counter()
        session.query(f"""
          insert into events (id, item, type, time, value)
          select id, item, type, parseDateTime64BestEffort(time, 3, 'UTC'), value
          from file('{block}', JSONEachRow, 'id String, item String, type String, time String, value Nullable(Float64)')""")
        seconds += time.perf_counter() - began
        taken += len(lines)
counted = int(str(session.query("select sum(count) from totals", "TabSeparated")).strip())
events.report(taken, counted, seconds)
session.close()
