"""Faust, extended for whole batches and for state that commits exactly.

A layer of its own: it knows Faust and Kafka, and nothing about health. What it replaces in Faust, and why, is told in
`docs/runtime.md`; the versions whose hooks it knows are in `versions`. The pieces, in the order of a record's way:

    transport   one chunk of one partition travels through Faust as one event (`RecordBatch`)
    table       state per partition in a dictionary, dirty keys flushed together (`PartitionedTable`)
    commit      fix offsets, flush and await every ack, publish what the flush decided, commit (`Committer`)
    recovery    whole chunks of the changelog straight into the table (`ChunkedRecovery`)
    app         puts the pieces into a `faust.App`
    runner      runs an app until a signal or a crash, within a time
"""
