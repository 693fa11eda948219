#!/bin/bash
# edgerelay as a relay, its spool synced. EDGERELAY: the command. WORKERS: default 2.
# FILTERS: policies, of "spf dkim greylisting"; none by default.
. "$(dirname "$0")/lib.sh"
peer_start() {
  mkdir -p "$BENCH_RUN/state"
  cat > "$BENCH_RUN/edgerelay.toml" <<EOT
hostname = "relay.test"
state_dir = "$BENCH_RUN/state"
workers = ${WORKERS:-2}

[[listener]]
address = "127.0.0.1:$BENCH_PORT"
tls = "off"

[limits]
connections = 20000
connections_per_client = 20000
rate_per_client = "off"

[[route]]
domains = ["example.test"]
next_hop = ["smtp://127.0.0.1:$BENCH_SINK_PORT"]
recipients = "any"
tls = "off"

[queue]
concurrency_per_destination = 20
EOT
  for policy in ${FILTERS:-}; do
    printf '\n[[policy]]\nuse = "%s"\n' "$policy" >> "$BENCH_RUN/edgerelay.toml"
    [ "$policy" != greylisting ] || echo 'delay = "1s"' >> "$BENCH_RUN/edgerelay.toml"
  done
  background ${EDGERELAY:-edgerelay} serve -c "$BENCH_RUN/edgerelay.toml"
}
dispatch "$@"
