"""PostgreSQL: COPY of 100,000 events, the new ones among them counted, one transaction a block."""

import os
import subprocess
import tempfile

import psycopg

import events

path, folder = events.arguments()
programs = os.environ["POSTGRES_PROGRAMS"]
data, sockets = folder + "/postgres", tempfile.mkdtemp()
# The server refuses to run as root.
user = [] if os.getuid() else ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
if user:
    for place in (folder, sockets):
        os.chown(place, 65534, 65534)
run = lambda *command: subprocess.run([*user, *command], check=True, stdout=subprocess.DEVNULL)
run(f"{programs}/initdb", "-D", data, "-U", "tally", "-A", "trust", "--no-sync")
server = subprocess.Popen(
    [*user, f"{programs}/postgres", "-D", data, "-k", sockets, "-c", "listen_addresses=",
     "-c", "shared_buffers=1GB", "-c", "max_wal_size=8GB", "-c", "work_mem=256MB"],
    stderr=subprocess.DEVNULL)
try:
    while True:
        try:
            connection = psycopg.connect(host=sockets, user="tally", dbname="postgres")
            break
        except psycopg.OperationalError:
            if server.poll() is not None:
                raise
    with connection:
        connection.execute("create table seen (item text, type text, id text, primary key (item, type, id))")
        for name in ("minutes", "hours", "totals"):
            connection.execute(
                f"create table {name} (item text, type text, time timestamptz, count bigint, micros numeric,"
                " primary key (item, type, time))")
        connection.execute(
            "create temp table block (id text, item text, type text, time timestamptz, micros bigint)")
        connection.commit()
        count = "".join(
            f""", {name} as (
              insert into {name} select item, type, {of_time} as at, count(*), sum(micros)
              from fresh group by item, type, at
              on conflict (item, type, time) do update
              set count = {name}.count + excluded.count, micros = {name}.micros + excluded.micros)"""
            for name, of_time in [
                ("minutes", "date_trunc('minute', time)"),
                ("hours", "date_trunc('hour', time)"),
                ("totals", "'epoch'::timestamptz"),
            ])

        def take(block):
            with connection.cursor() as cursor:
                cursor.execute("truncate block")
                with cursor.copy("copy block from stdin") as copy:
                    copy.write("".join("\t".join(map(str, event)) + "\n" for event in block))
                cursor.execute(f"""
                  with novel as (
                    insert into seen select distinct item, type, id from block
                    on conflict do nothing returning item, type, id),
                  fresh as (
                    select distinct on (item, type, id) block.*
                    from block join novel using (item, type, id)){count}
                  select""")
            connection.commit()

        taken, seconds = events.measure(path, 100_000, take)
        counted = connection.execute("select sum(count) from totals").fetchone()[0]
        events.report(taken, int(counted), seconds)
finally:
    server.terminate()
    server.wait()
