"""Counts of raw files, by Spark: python spark_counts.py FOLDER MINUTES prints JSON."""

import json
import sys

from pyspark.sql import SparkSession, Window
from pyspark.sql import functions as f

folder, minutes = sys.argv[1], int(sys.argv[2])
spark = (
    SparkSession.builder.master("local[1]")
    .config("spark.ui.enabled", "false")
    .config("spark.sql.session.timeZone", "UTC")
    .config("spark.sql.shuffle.partitions", "2")
    .config("spark.driver.host", "127.0.0.1")
    .config("spark.driver.bindAddress", "127.0.0.1")
    .getOrCreate()
)
events = spark.read.parquet(f"{folder}/raw")
same = Window.partitionBy("partition", "item", "type", "id").orderBy("offset")
minute = lambda column: f.floor(f.unix_millis(column) / 60000)
counted = events.withColumn("before", f.lag("append_time").over(same)).where(
    f.col("before").isNull() | (minute(f.col("append_time")) - minute(f.col("before")) > minutes)
)
counts = counted.groupBy("item", "type").agg(
    f.count("*"), f.count("value"), f.sum("value").cast("string")
)
print(
    json.dumps(
        {
            "columns": dict(events.dtypes),
            "counts": [list(row) for row in counts.collect()],
            "rows": events.count(),
        }
    )
)
