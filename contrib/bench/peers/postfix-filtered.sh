#!/bin/bash
# Postfix with policyd-spf, opendkim and postgrey; FILTERS chooses among "spf dkim greylisting".
POSTFIX_FILTERED=1
. "$(dirname "$0")/postfix.sh"
filters=" ${FILTERS-spf dkim greylisting} "
checks= milters=
case "$filters" in *" spf "*) checks="$checks, check_policy_service unix:private/policyd-spf" ;; esac
case "$filters" in *" greylisting "*) checks="$checks, check_policy_service inet:127.0.0.1:20323" ;; esac
case "$filters" in *" dkim "*) milters=inet:127.0.0.1:20324 ;; esac
# The client must be nobody's friend, or no filter would look at it.
POSTFIX_MAIN="mynetworks = 192.0.2.199/32
smtpd_recipient_restrictions = reject_unauth_destination$checks
policyd-spf_time_limit = 3600
smtpd_milters = $milters
milter_default_action = tempfail
smtpd_client_connection_count_limit = 0"
POSTFIX_MASTER="policyd-spf unix - n n - 0 spawn user=policyd-spf argv=/usr/bin/policyd-spf $BENCH_RUN/policyd-spf.conf"

eval "bare_start() $(declare -f peer_start | tail -n +2)"
peer_start() {
  cat > "$BENCH_RUN/policyd-spf.conf" <<EOT
debugLevel = 1
TestOnly = 1
HELO_reject = Fail
Mail_From_reject = Fail
PermError_reject = False
TempError_Defer = False
skip_addresses = 192.0.2.199/32
EOT
  case "$filters" in *" dkim "*)
    cat > "$BENCH_RUN/opendkim.conf" <<EOT
Syslog no
Mode v
Socket inet:20324@127.0.0.1
InternalHosts csl:192.0.2.199
Nameservers 127.0.0.1
AlwaysAddARHeader yes
AuthservID relay.test
Background no
UserID opendkim
EOT
    opendkim -f -x "$BENCH_RUN/opendkim.conf" > "$BENCH_RUN/opendkim.log" 2>&1 &
    echo $! > "$BENCH_RUN/pid.dkim" ;;
  esac
  case "$filters" in *" greylisting "*)
    mkdir -p "$BENCH_RUN/greydb"
    chown postgrey "$BENCH_RUN/greydb"
    postgrey --inet=127.0.0.1:20323 --dbdir="$BENCH_RUN/greydb" --user=postgrey --group=postgrey \
      --delay=1 --auto-whitelist-clients=0 > "$BENCH_RUN/postgrey.log" 2>&1 &
    echo $! > "$BENCH_RUN/pid.grey" ;;
  esac
  sleep 1
  bare_start
}
peer_stop() {
  postfix -c "$etc" stop > /dev/null 2>&1
  stop_pid
  for file in "$BENCH_RUN/pid.dkim" "$BENCH_RUN/pid.grey"; do
    [ ! -s "$file" ] || kill "$(cat "$file")"
  done
}
dispatch "$@"
