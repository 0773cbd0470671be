#!/usr/bin/env bash
# Makes sure that Debian's Chromium and its driver are here: installs them where that is allowed, else says what is missing.
set -uo pipefail
have() { command -v chromium >/dev/null && command -v chromedriver >/dev/null; }
have && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
  echo "Installing chromium and chromium-driver ..." >&2
  apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver fonts-dejavu-core >/dev/null
fi
have || echo "no chromium or no chromedriver here, and they cannot be installed: the tests of the page will be skipped" >&2
exit 0
