#!/bin/bash
# edgerelay with SPF, DKIM and greylisting; FILTERS chooses among them.
export FILTERS="${FILTERS-spf dkim greylisting}"
. "$(dirname "$0")/edgerelay.sh"
