"""What Vitals costs and how fast it is, measured on real parts: `make bench`; docs/benchmarks.md explains it."""
