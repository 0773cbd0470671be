"""The worker: thin Faust shells around the scoring core, one short file a job; `runtime` is a layer of its own."""
