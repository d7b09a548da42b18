#!/bin/sh
# Reads the stream of a prediction with curl, as it comes.
#
#   UNSPOOL_API_KEY=... ./examples/read_stream.sh "Write a haiku about rivers."
#
# The defaults are those of `unspool demo`.
set -eu

url=${UNSPOOL_URL:-http://127.0.0.1:8080}
model=${UNSPOOL_MODEL:-smollm2/135m-instruct}
key=${UNSPOOL_API_KEY:?set UNSPOOL_API_KEY to the key that the server printed}

# JSON wants quotation marks and backslashes escaped.
prompt=$(printf '%s' "${1:-Write a haiku about rivers.}" | sed 's/[\\"]/\\&/g')

curl --silent --show-error --location --request POST "$url/api/v3/$model" \
  --header 'Content-Type: application/json' \
  --header "Authorization: Bearer $key" \
  --data-raw '{"prompt": "'"$prompt"'", "stream": true}'
