#!/bin/sh
# Greets whoever is named.
set -eu

name=${1:-}
if [ -z "$name" ]; then
    echo "whom?" >&2
    exit 1
fi

greeting=Hello
end='.'

echo "$greeting, $name$end"
