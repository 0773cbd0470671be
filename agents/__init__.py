"""The worker: thin Faust shells around the scoring core, one short file for each job; `runtime` is a layer of its own."""
