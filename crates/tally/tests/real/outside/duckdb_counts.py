"""Counts of raw files, by DuckDB: python duckdb_counts.py FOLDER-OR-URL MINUTES prints JSON."""

import json
import sys

import duckdb

folder, minutes = sys.argv[1], int(sys.argv[2])
db = duckdb.connect()
db.execute("set timezone = 'UTC'")
events = f"read_parquet('{folder}/raw/**/*.parquet', hive_partitioning = true)"
columns = db.execute(f"describe select * from {events}").fetchall()
counts = db.execute(
    f"""
    select item, type, count(*), count(value), sum(value)::varchar
    from (
      select *, lag(append_time) over same as before
      from {events}
      window same as (partition by partition, item, type, id order by "offset")
    )
    where before is null or epoch_ms(append_time) // 60000 - epoch_ms(before) // 60000 > {minutes}
    group by item, type
    """
).fetchall()
rows, least, greatest = db.execute(
    f"select count(*), min(append_time)::varchar, max(append_time)::varchar from {events}"
).fetchone()
attributes = db.execute(
    f"select attributes, source, sequence from {events} where item = 'odd'"
).fetchall()
metadata = db.execute(
    f"""
    select decode(key), decode(value) from parquet_kv_metadata('{folder}/raw/**/*.parquet')
    where decode(key) like 'tally.%'
    """
).fetchall()
print(
    json.dumps(
        {
            "columns": {name: kind for name, kind, *_ in columns},
            "counts": counts,
            "rows": rows,
            "first": least,
            "last": greatest,
            "odd": attributes,
            "metadata": metadata,
        }
    )
)
