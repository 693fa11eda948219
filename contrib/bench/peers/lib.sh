# Common to the peer scripts, which are called as: peers/NAME.sh start|stop|rcpt|sink
#   start  brings the relay up on 127.0.0.1:$BENCH_PORT, writes $BENCH_RUN/pid and returns;
#          every process inherits the caller's cgroup, which is how its CPU is counted
#   stop   ends the process whose pid it wrote, and no other
#   rcpt   prints the forward-path to send to;  sink prints 1 if mail goes on to $BENCH_SINK_PORT
set -u
: "${BENCH_PORT:=20025}" "${BENCH_SINK_PORT:=20026}" "${BENCH_RUN:?a directory of its own}"
mkdir -p "$BENCH_RUN"
chmod 755 "$BENCH_RUN"
ulimit -n "${BENCH_NOFILE:-20000}" 2>/dev/null || true

background() {
  "$@" > "$BENCH_RUN/output.log" 2>&1 < /dev/null &
  echo $! > "$BENCH_RUN/pid"
}

stop_pid() {
  [ -s "$BENCH_RUN/pid" ] || return 0
  pid=$(cat "$BENCH_RUN/pid")
  kill -TERM "$pid" 2>/dev/null
  for _ in $(seq 100); do
    kill -0 "$pid" 2>/dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2>/dev/null
}

peer_stop() { stop_pid; }

dispatch() {
  case "${1:-}" in
    start) peer_start ;;
    stop) peer_stop ;;
    rcpt) echo "b@example.test" ;;
    sink) echo "${PEER_SINK:-1}" ;;
    *) echo "usage: $0 start|stop|rcpt|sink" >&2; exit 2 ;;
  esac
}
