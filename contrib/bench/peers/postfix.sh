#!/bin/bash
# Postfix as a pure relay in a directory of its own; an installed Postfix is not touched.
. "$(dirname "$0")/lib.sh"
etc=$BENCH_RUN/etc
peer_start() {
  mkdir -p "$etc" "$BENCH_RUN/spool" "$BENCH_RUN/data" "$BENCH_RUN/log"
  chown postfix "$BENCH_RUN/data"
  cat > "$etc/main.cf" <<EOT
compatibility_level = 3.6
queue_directory = $BENCH_RUN/spool
data_directory = $BENCH_RUN/data
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
mail_owner = postfix
setgid_group = postdrop
maillog_file = $BENCH_RUN/log/maillog
maillog_file_prefixes = /var, /tmp, $BENCH_RUN
myhostname = relay.test
mydestination =
local_recipient_maps =
local_transport = error:no local mail
alias_maps =
alias_database =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
relay_domains = example.test
relayhost = [127.0.0.1]:$BENCH_SINK_PORT
disable_dns_lookups = yes
smtp_dns_support_level = disabled
smtp_host_lookup = native
smtpd_peername_lookup = no
smtpd_recipient_restrictions = permit_mynetworks, reject_unauth_destination
smtpd_tls_security_level = none
smtp_tls_security_level = none
message_size_limit = 104857600
mailbox_size_limit = 0
notify_classes =
smtp_bind_address = 127.0.0.1
${POSTFIX_MAIN:-}
EOT
  cat > "$etc/master.cf" <<EOT
127.0.0.1:$BENCH_PORT inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
tlsmgr unix - - n 1000? 1 tlsmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
scache unix - - n - 1 scache
anvil unix - - n - 1 anvil
postlog unix-dgram n - n - 1 postlogd
${POSTFIX_MASTER:-}
EOT
  postfix -c "$etc" start > "$BENCH_RUN/output.log" 2>&1 < /dev/null
  tr -d ' ' < "$BENCH_RUN/spool/pid/master.pid" > "$BENCH_RUN/pid"
}
peer_stop() {
  postfix -c "$etc" stop > /dev/null 2>&1
  stop_pid
}
[ -n "${POSTFIX_FILTERED:-}" ] || dispatch "$@"
