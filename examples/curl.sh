#!/usr/bin/env bash
# Counts a view of one item, then three events of a file, and asks for the counts.
set -euo pipefail
url=${TALLY_URL:-http://127.0.0.1:8080}
# curl sends the same request again where that helps; as the id is the same it counts once.
ask=(curl -sS --fail-with-body --retry 5 --retry-all-errors ${TALLY_KEY:+-H "Authorization: Bearer $TALLY_KEY"})

id=$(cat /proc/sys/kernel/random/uuid)
"${ask[@]}" -X POST "$url/v1/items/curl-example/events?type=view&value=12.5&id=$id"
echo

# A line of JSON for each event.
"${ask[@]}" "$url/v1/events" -H 'Content-Type: application/x-ndjson' --data-binary @- <<END
{"id":"$id-1","item":"curl-example","type":"like"}
{"id":"$id-2","item":"curl-example","type":"share","attributes":{"country":"DE"}}
{"id":"$id-2","item":"curl-example","type":"share","attributes":{"country":"DE"}}
END
echo

# Counted within a second.
sleep 1
for type in view like share; do
  "${ask[@]}" "$url/v1/items/curl-example/count?type=$type"
  echo
done
