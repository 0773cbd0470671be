"""All of Vitals on one machine, started together and stopped together: broker, Redis, worker, projector and API.

`vitals up` runs it for its user's own data, the demo for a simulated stream. The roles are started as their users start
them, by the command line in processes of their own.
"""
