#!/bin/bash
# The ceiling of generator and sink: the "relay" is smtp-sink, which throws mail away.
. "$(dirname "$0")/lib.sh"
PEER_SINK=0
peer_start() { background smtp-sink -u nobody -m 20000 "127.0.0.1:$BENCH_PORT" 4096; }
dispatch "$@"
