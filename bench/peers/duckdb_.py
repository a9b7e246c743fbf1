"""DuckDB, in batch: reads the file, drops repeats, counts; nothing is durable before the end."""

import time

import duckdb

import events

path, folder = events.arguments()
database = duckdb.connect(folder + "/counts.duckdb")
began = time.perf_counter()
database.execute(f"""
  create table minutes as
  select item, type, time_bucket(interval 1 minute, time) as time, count(*) as count,
    sum(round(value * 1000000)::hugeint) as micros
  from (
    select distinct on (item, type, id) item, type, time, value
    from read_json('{path}', format = 'newline_delimited', columns =
      {{id: 'varchar', item: 'varchar', type: 'varchar', time: 'timestamp', value: 'double'}}))
  group by all""")
for name, of_time in [("hours", "time_bucket(interval 1 hour, time)"), ("totals", "epoch_ms(0)")]:
    database.execute(f"""
      create table {name} as select item, type, {of_time} as time, sum(count) as count, sum(micros) as micros
      from minutes group by all""")
seconds = time.perf_counter() - began
lines = sum(chunk.count(b"\n") for chunk in iter(lambda f=open(path, "rb"): f.read(1 << 24), b""))
counted = database.execute("select sum(count)::bigint from totals").fetchone()[0]
events.report(lines, counted, seconds)
