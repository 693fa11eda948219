#!/bin/bash
# What `make bench` compares with and measures by (Debian 12, root). Starts nothing.
set -eu
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
fi
echo 'postfix postfix/main_mailer_type select No configuration' | debconf-set-selections
apt-get -qq update
DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends \
  postfix strace gcc libc6-dev unbound opendkim postgrey postfix-policyd-spf-python
