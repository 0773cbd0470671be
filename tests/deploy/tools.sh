#!/usr/bin/env bash
# Makes sure that Debian's Prometheus and docker-compose (which reads a compose file without an engine) are here: installs
# them where that is allowed, else says what is missing. Neither is started.
set -uo pipefail
have() { command -v promtool >/dev/null && command -v prometheus >/dev/null && command -v docker-compose >/dev/null; }
have && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing prometheus and docker-compose ..." >&2
  apt-get update -qq && RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends prometheus docker-compose >/dev/null
fi
have || echo "no prometheus or no docker-compose here, and they cannot be installed: tests of deploy/ that need them will be skipped" >&2
exit 0
